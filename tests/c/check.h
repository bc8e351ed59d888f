/* The test harness: a failed CHECK prints its place and aborts. A test is a program whose main returns 0. */
#ifndef LM_TESTS_CHECK_H
#define LM_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                      \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

/* Run `scenario` with its first allocation failing, then its second, and so on until it succeeds. It must
 * free everything that it allocated each time. */
static inline void
check_every_allocation(void (*scenario)(void))
{
  long live = lm_alloc_live();
  for (unsigned long n = 1;; n++) {
    CHECK(n < 100000);
    lm_alloc_fail_from(n);
    scenario();
    unsigned long made = lm_alloc_count();
    lm_alloc_fail_from(0);
    CHECK(lm_alloc_live() == live);
    if (made < n)
      return;
  }
}

#endif
