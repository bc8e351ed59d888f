/* The allocator.
 *
 * Everything in the core allocates here, so that a test can make the n-th allocation fail and count
 * the blocks that are still allocated. Thread-safe; usable without the GIL.
 */
#ifndef LM_BASE_ALLOC_H
#define LM_BASE_ALLOC_H

#include <stddef.h>

/* NULL when out of memory or size is 0. The caller owns the block and frees it with lm_free. */
void *lm_alloc(size_t size);
void *lm_alloc_zero(size_t count, size_t size); /* NULL also when count * size overflows */
void *lm_realloc(void *block, size_t size);     /* on NULL the old block is unchanged */
void lm_free(void *block);                      /* NULL is allowed */
void lm_free_secret(char *text); /* overwrites the NUL-terminated text, then frees it */

#ifdef LM_ALLOC_TEST
/* Tests only: the n-th allocation from now (1 = the next) and all after it fail, until this is called
 * again; 0 = none fails. */
void lm_alloc_fail_from(unsigned long n);
/* Allocations since the last lm_alloc_fail_from, and blocks not freed yet. */
unsigned long lm_alloc_count(void);
long lm_alloc_live(void);
#endif

#endif
