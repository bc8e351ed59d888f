/* The reader of one column: opened, with the state its kind needs, then asked for cells until all are
 * made. Bounded: lm_column_read checks every length, and cells are charged before they are made. */
#ifndef LMPY_DECODE_READER_H
#define LMPY_DECODE_READER_H

#include "codec/decode/unpack.h"

struct lmpy_reader {
  struct lm_column column;
  unsigned depth;
  uint64_t next;             /* index of the next cell */
  const uint8_t *at, *end;   /* ANY: values */
  const uint8_t *indices;    /* UNIQUE */
  const uint8_t *text;       /* TEXT: the next text */
  PyObject *constant;        /* CONST, FRAMES; strong */
  PyObject *row;             /* DICT: the last row made; strong or NULL */
  struct lmpy_reader *inner; /* n_inner; owned, as are the next two arrays */
  PyObject **values;         /* UNIQUE: texts; DICT: keys; n_values strong references */
  PyObject **cells; /* DICT, TUPLE: for each column, its cell of the previous row and those of
                              `group` rows */
  uint32_t n_inner, n_values, group;
  uint64_t first; /* SPLIT: number of cells of the first part */
};

/* Makes the next n cells at out, at most as many as the column has left. 0; or -1 and an exception, with
 * NULL for the cells that were not made. */
typedef int lmpy_fill(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out,
                      size_t n);

/* Allocate columns inside, values, and cells, unset: 0, or -1 and an exception. */
int lmpy_reader_room(struct lmpy_reader *reader, uint64_t n_inner, uint64_t n_values,
                     uint64_t n_cells);
void lmpy_reader_close(struct lmpy_reader *reader);
/* Read the head of a column of n cells and charge for them: 0, or -1 and an exception. */
int lmpy_reader_begin(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                      const uint8_t *end, uint64_t n, unsigned depth, enum lm_place place);

/* Set the cells that were not made to NULL. Returns -1. */
static inline int
lmpy_give_up(PyObject **out, size_t made, size_t n)
{
  memset(out + made, 0, (n - made) * sizeof *out);
  return -1;
}

/* Make n cells with `fill`, pausing in between. */
int lmpy_fill_by(lmpy_fill *fill, struct lmpy_unpack *unpack, struct lmpy_reader *reader,
                 PyObject **out, size_t n);

#endif
