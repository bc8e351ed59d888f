/* For decoding: resolving names, and numpy's scalar types. */
#ifndef LMPY_DECODE_TYPES_H
#define LMPY_DECODE_TYPES_H

#include "codec/decode/unpack.h"

/* Return the resolver of names: the caller's, or that of lambdamap.shipping.lookup. Borrowed; NULL and
 * an exception on failure. */
PyObject *lmpy_unpack_names(struct lmpy_unpack *unpack);
/* Find numpy's scalar types, importing numpy if allowed: 0, or -1 and an exception. */
int lmpy_unpack_need_numpy(struct lmpy_unpack *unpack);
/* Make a scalar of these types. */
PyObject *lmpy_numpy_float(struct lmpy_codec_state *state, double number);
PyObject *lmpy_numpy_int(struct lmpy_codec_state *state, int64_t number);

#endif
