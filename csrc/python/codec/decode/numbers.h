/* Columns of numbers, dates and booleans: FLOAT, DECIMAL, INT, BOOL. */
#ifndef LMPY_DECODE_NUMBERS_H
#define LMPY_DECODE_NUMBERS_H

#include "codec/decode/reader.h"

/* Prepare for the cells: 0, or -1 and an exception. */
int lmpy_open_numbers(struct lmpy_unpack *unpack, const struct lm_column *column);
lmpy_fill lmpy_fill_floats, lmpy_fill_ints, lmpy_fill_bools;

#endif
