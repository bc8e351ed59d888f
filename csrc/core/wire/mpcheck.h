/* Checks a raw frame's value without building anything. Hostile bytes are rejected here, without the
 * GIL; the readers that build objects still check every length themselves. */
#ifndef LM_WIRE_MPCHECK_H
#define LM_WIRE_MPCHECK_H

#include <stddef.h>

#include "base/error.h"
#include "wire/view.h"

/* 0 if the structure is exactly one value, within the limits, whose columns use up every section;
 * *estimate is then an upper bound of the bytes of its objects. Else -1 and *err. Time is bounded by
 * the frame's length, stack by max_depth (at most 512 frames of about 100 bytes). */
int lm_mpcheck(const struct lm_frame_view *view, const struct lm_frame_limits *limits,
               size_t *estimate, struct lm_error *err);

#endif
