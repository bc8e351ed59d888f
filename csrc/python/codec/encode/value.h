/* Encode any value into the structure. Only exact types are handled here: subclasses go through
 * lambdamap.shipping.kinds. */
#ifndef LMPY_ENCODE_VALUE_H
#define LMPY_ENCODE_VALUE_H

#include "codec/encode/pack.h"

/* Append one value. -1 and an exception, EncodeFailure(message, path) if the value cannot be sent;
 * the caller must then remove the part of it that was appended. */
int lmpy_pack_value(struct lmpy_pack *pack, PyObject *value);
/* Append an extension whose payload is an array of the parts. */
int lmpy_pack_parts(struct lmpy_pack *pack, int ext, PyObject *parts);

#endif
