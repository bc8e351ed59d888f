/* A raw frame's sections, and the limits for reading it. */
#ifndef LM_WIRE_VIEW_H
#define LM_WIRE_VIEW_H

#include <stddef.h>
#include <stdint.h>

enum { LM_WORD = 8 /* bytes of one cell in the section of words */ };

/* The sections of a raw frame, in their order. Columns in the structure refer to the other three. */
struct lm_frame_view {
  const uint8_t *structure; /* one msgpack value */
  size_t structure_len;
  const uint8_t *packed; /* integers of any width */
  size_t packed_len;
  const uint8_t *words; /* doubles and arrays; a multiple of LM_WORD */
  size_t words_len;
  const uint8_t *blobs; /* arrays that are sent without copying; a multiple of LM_WORD */
  size_t blobs_len;
};

struct lm_frame_limits {
  size_t max_output_bytes; /* inflated sections plus the estimate of the built objects */
  unsigned max_depth;      /* nesting of containers */
};
#define LM_FRAME_LIMITS_DEFAULT ((struct lm_frame_limits){(size_t)256 << 20, 512})

#endif
