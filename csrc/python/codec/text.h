/* Helpers for the bytes of a text, for both directions. */
#ifndef LMPY_CODEC_TEXT_H
#define LMPY_CODEC_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Copy a text, inline since most are too short for a call of memcpy. */
static inline void
lmpy_copy_text(uint8_t *to, const uint8_t *from, size_t n)
{
  uint64_t eight, last;
  uint32_t four, tail;
  if (n > 16) {
    memcpy(to, from, n);
  } else if (n >= 8) {
    memcpy(&eight, from, 8);
    memcpy(&last, from + n - 8, 8);
    memcpy(to, &eight, 8);
    memcpy(to + n - 8, &last, 8);
  } else if (n >= 4) {
    memcpy(&four, from, 4);
    memcpy(&tail, from + n - 4, 4);
    memcpy(to, &four, 4);
    memcpy(to + n - 4, &tail, 4);
  } else {
    for (size_t i = 0; i < n; i++)
      to[i] = from[i];
  }
}

#endif
