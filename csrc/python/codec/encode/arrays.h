/* An array's bytes as one column: LM_EXT_BUFFER, of which RAW is a kind of its own. */
#ifndef LMPY_ENCODE_ARRAYS_H
#define LMPY_ENCODE_ARRAYS_H

#include "codec/encode/pack.h"

/* `parts` is the tuple of lambdamap.shipping.kinds: a buffer, what its items are, and their size. 0, or
 * -1 and an exception. */
int lmpy_pack_array(struct lmpy_pack *pack, PyObject *parts);

#endif
