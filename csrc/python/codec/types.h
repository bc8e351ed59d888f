/* Types of other modules that have a kind of column, found without unneeded imports, and the module
 * that handles all other types. Functions return 0 or more, or -1 and an exception. */
#ifndef LMPY_CODEC_TYPES_H
#define LMPY_CODEC_TYPES_H

#include "codec/state.h"

/* Load the functions of lambdamap.shipping.kinds. */
int lmpy_types_load_kinds(struct lmpy_codec_state *state);
/* 1, and set the state's member, if this type is, by its name, pandas.DataFrame, numpy.float64,
 * numpy.int64 or decimal.Decimal and its module is loaded; else 0. */
int lmpy_types_meet(struct lmpy_codec_state *state, PyTypeObject *type);
/* The same for both numpy types. */
int lmpy_types_meet_numpy(struct lmpy_codec_state *state);
/* Get decimal.Decimal; imports decimal if it is not loaded. */
int lmpy_types_need_decimal(struct lmpy_codec_state *state);

#endif
