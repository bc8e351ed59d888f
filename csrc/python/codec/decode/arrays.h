/* Decode an array's bytes from one column: LM_EXT_BUFFER, with the kind RAW, which exists only there. */
#ifndef LMPY_DECODE_ARRAYS_H
#define LMPY_DECODE_ARRAYS_H

#include "codec/decode/unpack.h"

/* Decode the payload of LM_EXT_BUFFER to a bytearray; NULL and an exception on failure. */
PyObject *lmpy_unpack_buffer(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end);

#endif
