#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>

#ifdef LM_ALLOC_TEST
#include <stdatomic.h>
#include <stdbool.h>

static atomic_ulong allocations;
static atomic_ulong fail_from;
static atomic_long live;

void
lm_alloc_fail_from(unsigned long n)
{
  atomic_store(&allocations, 0);
  atomic_store(&fail_from, n);
}

unsigned long
lm_alloc_count(void)
{
  return atomic_load(&allocations);
}

long
lm_alloc_live(void)
{
  return atomic_load(&live);
}

static bool
alloc_must_fail(void)
{
  unsigned long n = atomic_fetch_add(&allocations, 1) + 1;
  unsigned long from = atomic_load(&fail_from);
  return from != 0 && n >= from;
}

static void *
alloc_counted(void *block)
{
  if (block != NULL)
    atomic_fetch_add(&live, 1);
  return block;
}
#else
#define alloc_must_fail() 0
#define alloc_counted(block) (block)
#endif

void *
lm_alloc(size_t size)
{
  if (size == 0 || alloc_must_fail())
    return NULL;
  return alloc_counted(malloc(size));
}

void *
lm_alloc_zero(size_t count, size_t size)
{
  if (count == 0 || size == 0 || count > SIZE_MAX / size || alloc_must_fail())
    return NULL;
  return alloc_counted(calloc(count, size));
}

void *
lm_realloc(void *block, size_t size)
{
  if (block == NULL)
    return lm_alloc(size);
  if (size == 0 || alloc_must_fail())
    return NULL;
  return realloc(block, size);
}

void
lm_free(void *block)
{
#ifdef LM_ALLOC_TEST
  if (block != NULL)
    atomic_fetch_sub(&live, 1);
#endif
  free(block);
}

void
lm_free_secret(char *text)
{
  if (text != NULL)
    for (volatile char *at = text; *at != '\0';
         at++) /* volatile: so that it is not optimized away */
      *at = '\0';
  lm_free(text);
}
