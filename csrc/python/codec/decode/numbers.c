#include "codec/decode/numbers.h"

#include "codec/decode/dates.h"
#include "codec/decode/types.h"
#include "wire/numbers.h"

enum { NUMBERS = 64 /* unpacked at once */ };

int
lmpy_open_numbers(struct lmpy_unpack *unpack, const struct lm_column *column)
{
  const uint8_t numpy = column->kind == LM_COLUMN_INT ? LM_INT_NUMPY : LM_FLOAT_NUMPY;
  return column->element == numpy ? lmpy_unpack_need_numpy(unpack) : 0;
}

/* Read n doubles of the column, little-endian or packed. */
static void
decode_numbers_read_doubles(const struct lm_column *column, uint64_t from, size_t n,
                            double *numbers)
{
  if (column->kind == LM_COLUMN_DECIMAL) {
    const struct lm_decimal decimal = {column->exponent, column->width, column->has_nan,
                                       column->minimum};
    lm_decimal_unpack(column->data + from * column->width, n, &decimal, numbers);
    return;
  }
  const uint8_t *at = column->data + 8 * from;
  for (size_t i = 0; i < n; i++, at += 8) {
    uint64_t bits = lm_load_le(at, 8);
    memcpy(numbers + i, &bits, sizeof bits);
  }
}

int
lmpy_fill_floats(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  double numbers[NUMBERS];
  for (size_t i = 0; i < n;) {
    size_t some = n - i < NUMBERS ? n - i : NUMBERS, j = 0;
    PyObject **place = out + i;
    decode_numbers_read_doubles(&reader->column, reader->next + i, some, numbers);
    if (reader->column.element == LM_FLOAT)
      while (j < some && (place[j] = PyFloat_FromDouble(numbers[j])) != NULL)
        j++;
    else
      while (j < some && (place[j] = lmpy_numpy_float(unpack->state, numbers[j])) != NULL)
        j++;
    i += j;
    if (j < some)
      return lmpy_give_up(out, i, n);
  }
  return 0;
}

static PyObject *
decode_numbers_new_int(struct lmpy_unpack *unpack, uint8_t element, int64_t number)
{
  if (element == LM_INT)
    return PyLong_FromLongLong(number);
  if (element == LM_INT_NUMPY)
    return lmpy_numpy_int(unpack->state, number);
  return lmpy_date_from(element, number);
}

int
lmpy_fill_ints(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  const struct lm_column *column = &reader->column;
  const uint8_t *at = column->data + reader->next * column->width;
  int64_t numbers[NUMBERS];
  for (size_t i = 0; i < n;) {
    size_t some = n - i < NUMBERS ? n - i : NUMBERS;
    lm_unpack_ints(at, some, column->minimum, column->width, numbers);
    at += some * column->width;
    for (size_t j = 0; j < some; j++, i++)
      if ((out[i] = decode_numbers_new_int(unpack, column->element, numbers[j])) == NULL)
        return lmpy_give_up(out, i, n);
  }
  return 0;
}

int
lmpy_fill_bools(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  (void)unpack;
  for (size_t i = 0; i < n; i++)
    out[i] = Py_NewRef(lm_bit(reader->column.data, reader->next + i) ? Py_True : Py_False);
  return 0;
}
