/* Any value of a raw frame. Bounded by itself: every length is checked against what is left, the depth
 * is counted, and nothing is allocated for more items than bytes can hold. */
#ifndef LMPY_DECODE_VALUE_H
#define LMPY_DECODE_VALUE_H

#include "codec/decode/unpack.h"

/* Decode the value at *at, which moves past it; depth: how deep it may nest containers. NULL
 * and an exception. */
PyObject *lmpy_unpack_value(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end,
                            unsigned depth);

#endif
