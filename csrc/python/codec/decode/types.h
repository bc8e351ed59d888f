/* For reading: names that may be followed, and the types of numpy. */
#ifndef LMPY_DECODE_TYPES_H
#define LMPY_DECODE_TYPES_H

#include "codec/decode/unpack.h"

/* Who follows names: the caller's, or lambdamap.shipping.lookup's. Borrowed; NULL and an exception. */
PyObject *lmpy_unpack_names(struct lmpy_unpack *unpack);
/* numpy's scalars found where numpy is loaded, or may be: 0, or -1 and an exception. */
int lmpy_unpack_need_numpy(struct lmpy_unpack *unpack);
/* One of those scalars. */
PyObject *lmpy_numpy_float(struct lmpy_codec_state *state, double number);
PyObject *lmpy_numpy_int(struct lmpy_codec_state *state, int64_t number);

#endif
