/* Columns to lists: a column makes many cells at once, in a loop of its kind. ANY, CONST, NULLABLE and
 * SPLIT are forms of any list; each other kind is known to a file of its own. */
#ifndef LMPY_DECODE_COLUMNS_H
#define LMPY_DECODE_COLUMNS_H

#include "codec/decode/reader.h"

/* Payload of LM_EXT_LIST; NULL and an exception. */
PyObject *lmpy_unpack_list(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end,
                           unsigned depth);

/* A column of n cells, of any kind: 0, or -1 and an exception; closed by the caller either way. */
int lmpy_open_column(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                     const uint8_t *end, uint64_t n, unsigned depth, enum lm_place place);
lmpy_fill lmpy_fill_column;

#endif
