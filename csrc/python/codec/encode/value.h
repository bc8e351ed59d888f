/* Any value to the structure. Exact types only: a subclass is another type, and goes the way of
 * lambdamap.shipping.kinds. */
#ifndef LMPY_ENCODE_VALUE_H
#define LMPY_ENCODE_VALUE_H

#include "codec/encode/pack.h"

/* Append one value. -1 and an exception: EncodeFailure(message, path) where the value is at fault;
 * the sections then hold a part of it, to be cut off by the caller. */
int lmpy_pack_value(struct lmpy_pack *pack, PyObject *value);
/* An extension whose payload is an array of these. */
int lmpy_pack_parts(struct lmpy_pack *pack, int ext, PyObject *parts);

#endif
