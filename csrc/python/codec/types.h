/* Types of other modules that have a kind of column, found without importing what is not needed, and
 * the module that knows all rarer types. All: 0 or more, or -1 and an exception. */
#ifndef LMPY_CODEC_TYPES_H
#define LMPY_CODEC_TYPES_H

#include "codec/state.h"

/* The functions of lambdamap.shipping.kinds. */
int lmpy_types_load_kinds(struct lmpy_codec_state *state);
/* If this is pandas' DataFrame, numpy.float64, numpy.int64 or decimal.Decimal by its name, and its
 * module is loaded: 1 and the state's member set; else 0. */
int lmpy_types_meet(struct lmpy_codec_state *state, PyTypeObject *type);
/* The same for numpy's two. */
int lmpy_types_meet_numpy(struct lmpy_codec_state *state);
/* decimal.Decimal, imported where it is not loaded. */
int lmpy_types_need_decimal(struct lmpy_codec_state *state);

#endif
