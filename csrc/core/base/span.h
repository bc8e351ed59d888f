/* A borrowed piece of text. */
#ifndef LM_BASE_SPAN_H
#define LM_BASE_SPAN_H

#include <stddef.h>

struct lm_span {
  const char *at; /* borrowed, not NUL-terminated; NULL when absent */
  size_t len;
};

#endif
