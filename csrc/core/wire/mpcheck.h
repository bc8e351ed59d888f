/* Walks a raw frame's value without building anything. What it has accepted can be built by a reader
 * that trusts no length either; hostile bytes end here, off the GIL and fuzzed. */
#ifndef LM_WIRE_MPCHECK_H
#define LM_WIRE_MPCHECK_H

#include <stddef.h>

#include "base/error.h"
#include "wire/view.h"

/* 0 when the structure is exactly one value within the limits whose blocks use up exactly the
 * numeric section; *estimate is then at least the bytes of the objects that it stands for. Bounded
 * in time by the frame's length, in stack by max_depth (at most 512 frames of some 100 bytes). */
int lm_mpcheck(const struct lm_frame_view *view, const struct lm_frame_limits *limits,
               size_t *estimate, struct lm_error *err);

#endif
