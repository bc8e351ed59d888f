/* Decode columns to lists: a column makes many cells at once, in one loop per kind. ANY, CONST, NULLABLE
 * and SPLIT are forms of any list; each other kind has its own file. */
#ifndef LMPY_DECODE_COLUMNS_H
#define LMPY_DECODE_COLUMNS_H

#include "codec/decode/reader.h"

/* Decode the payload of LM_EXT_LIST; NULL and an exception on failure. */
PyObject *lmpy_unpack_list(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end,
                           unsigned depth);

/* Open a column of n cells of any kind. 0, or -1 and an exception; the caller closes it in both cases. */
int lmpy_open_column(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                     const uint8_t *end, uint64_t n, unsigned depth, enum lm_place place);
lmpy_fill lmpy_fill_column;

#endif
