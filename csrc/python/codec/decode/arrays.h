/* An array's bytes out of one column: LM_EXT_BUFFER, of which RAW is a kind of its own. */
#ifndef LMPY_DECODE_ARRAYS_H
#define LMPY_DECODE_ARRAYS_H

#include "codec/decode/unpack.h"

/* Payload of LM_EXT_BUFFER as a bytearray; NULL and an exception. */
PyObject *lmpy_unpack_buffer(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end);

#endif
