/* Columns with columns inside: LIST, DICT, TUPLE and FRAMES. The columns of dicts and tuples are turned
 * into rows in groups. */
#ifndef LMPY_DECODE_ROWS_H
#define LMPY_DECODE_ROWS_H

#include "codec/decode/reader.h"

/* Open the columns inside: 0, or -1 and an exception. depth: that of the cells. */
int lmpy_open_lists(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                    const uint8_t *end, unsigned depth);
int lmpy_open_fields(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                     const uint8_t *end, uint64_t n, unsigned depth);
int lmpy_open_frames(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                     const uint8_t *end, uint64_t n, unsigned depth);
lmpy_fill lmpy_fill_lists, lmpy_fill_rows, lmpy_fill_frames;

#endif
