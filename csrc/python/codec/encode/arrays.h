/* Encode an array's bytes as one column: LM_EXT_BUFFER, with the kind RAW, which exists only there. */
#ifndef LMPY_ENCODE_ARRAYS_H
#define LMPY_ENCODE_ARRAYS_H

#include "codec/encode/pack.h"

/* `parts` is the tuple from lambdamap.shipping.kinds: a buffer, the kind of its items, and their size.
 * 0, or -1 and an exception. */
int lmpy_pack_array(struct lmpy_pack *pack, PyObject *parts);

#endif
