/* Columns of numbers, dates and booleans: FLOAT, DECIMAL, INT, BOOL. */
#ifndef LMPY_ENCODE_NUMBERS_H
#define LMPY_ENCODE_NUMBERS_H

#include "codec/encode/gather.h"

/* As many cells of an INT column whose element is not int: their number, or -1 and an exception. */
Py_ssize_t lmpy_take_int_like(struct lmpy_pack *pack, struct lmpy_gather *gather,
                              PyObject *const *cells, size_t n);

/* The rest writes to the pack's sections: 0, or -1 and an exception. */
int lmpy_write_floats(struct lmpy_pack *pack, struct lmpy_gather *gather);
/* The column that n doubles are. */
int lmpy_write_doubles(struct lmpy_pack *pack, const double *doubles, size_t n, uint8_t element,
                       bool may_be_const);
/* The column that n integers are. Changes them. */
int lmpy_write_ints(struct lmpy_pack *pack, int64_t *numbers, size_t n, uint8_t element);
/* A byte for the kind, then a bit a cell. */
int lmpy_write_bits(struct lmpy_pack *pack, uint8_t kind, const uint8_t *cells, uint32_t n);
/* Of the cells of a TEXT or LIST: n of uint32_t. */
int lmpy_write_lengths(struct lmpy_pack *pack, const struct lm_buf *gathered, uint32_t n);

/* As many cells of the column's kind as there are in a row: their number, or -1 and an exception.
 * Inline, since a list of short lists comes here for each of them. */

static inline Py_ssize_t
lmpy_take_floats(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                 size_t n)
{
  PyTypeObject *type = gather->element == LM_FLOAT ? &PyFloat_Type : pack->state->float64;
  uint8_t *at = lmpy_gather_room(&gather->data, n * 8);
  if (at == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  for (; i < n && Py_IS_TYPE(cells[i], type); i++) {
    double number = PyFloat_AS_DOUBLE(cells[i]); /* numpy.float64 is a float, too */
    memcpy(at + 8 * i, &number, 8);
  }
  gather->data.len += i * 8;
  return lmpy_gather_count(pack, gather, i, i * 8) != 0 ? -1 : (Py_ssize_t)i;
}

static inline Py_ssize_t
lmpy_take_ints(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  uint8_t *at = lmpy_gather_room(&gather->data, n * 8);
  if (at == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  for (; i < n; i++) {
    int64_t number;
    if (!PyLong_CheckExact(cells[i]) || lmpy_int_value(cells[i], &number) != 0)
      break;
    memcpy(at + 8 * i, &number, 8);
  }
  gather->data.len += i * 8;
  return lmpy_gather_count(pack, gather, i, i * 8) != 0 ? -1 : (Py_ssize_t)i;
}

static inline Py_ssize_t
lmpy_take_bools(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                size_t n)
{
  uint8_t *at = lmpy_gather_room(&gather->data, n);
  if (at == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  for (; i < n && PyBool_Check(cells[i]); i++)
    at[i] = cells[i] == Py_True;
  gather->data.len += i;
  return lmpy_gather_count(pack, gather, i, i) != 0 ? -1 : (Py_ssize_t)i;
}

#endif
