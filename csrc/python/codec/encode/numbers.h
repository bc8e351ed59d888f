/* Columns of numbers, dates and booleans: FLOAT, DECIMAL, INT, BOOL. */
#ifndef LMPY_ENCODE_NUMBERS_H
#define LMPY_ENCODE_NUMBERS_H

#include "codec/encode/gather.h"

/* Take the leading cells of an INT column whose element is not int: their number, or -1 and an exception. */
Py_ssize_t lmpy_take_int_like(struct lmpy_pack *pack, struct lmpy_gather *gather,
                              PyObject *const *cells, size_t n);

/* The following write to the pack's sections: 0, or -1 and an exception. */
int lmpy_write_floats(struct lmpy_pack *pack, struct lmpy_gather *gather);
/* Write n doubles as a column. */
int lmpy_write_doubles(struct lmpy_pack *pack, const double *doubles, size_t n, uint8_t element,
                       bool may_be_const);
/* Write n integers as a column. Overwrites them. */
int lmpy_write_ints(struct lmpy_pack *pack, int64_t *numbers, size_t n, uint8_t element);
/* Write a byte for the kind, then a bit per cell. */
int lmpy_write_bits(struct lmpy_pack *pack, uint8_t kind, const uint8_t *cells, uint32_t n);
/* Write the lengths of n cells of a TEXT or LIST, each a uint32_t. */
int lmpy_write_lengths(struct lmpy_pack *pack, const struct lm_buf *gathered, uint32_t n);

/* Take the leading cells of the column's kind: their number, or -1 and an exception. Inline, since it
 * is called for each of a list's short lists. */

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
