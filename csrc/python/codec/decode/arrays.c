#include "codec/decode/arrays.h"

#include "wire/numbers.h"

/* Write the low `size` bytes of n integers of the column; `size` is a compile-time constant. */
static inline void
decode_arrays_narrow_to(const struct lm_column *column, size_t n, uint8_t *out, size_t size)
{
  const uint8_t *data = column->data;
  const int64_t minimum = column->minimum;
  const unsigned width = column->width;
  for (size_t i = 0; i < n; i++, out += size) {
    int64_t number = lm_packed_at(data, i, minimum, width);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, &number, size);
#else
    memcpy(out, (const uint8_t *)&number + 8 - size, size);
#endif
  }
}

static void
decode_arrays_narrow(const struct lm_column *column, size_t n, size_t size, uint8_t *out)
{
  if (size == 1)
    decode_arrays_narrow_to(column, n, out, 1);
  else if (size == 2)
    decode_arrays_narrow_to(column, n, out, 2);
  else
    decode_arrays_narrow_to(column, n, out, 4);
}

PyObject *
lmpy_unpack_buffer(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end)
{
  struct lm_buffer buffer;
  const char *wrong = lm_buffer_read(at, end, &unpack->sections, &buffer);
  if (wrong != NULL)
    return lmpy_unpack_refuse(unpack, wrong);
  const struct lm_column *column = &buffer.column;
  const size_t n = buffer.n, size = buffer.item;
  if (lmpy_unpack_charge(unpack, n * size) != 0)
    return NULL;
  if (column->kind == LM_COLUMN_RAW || column->kind == LM_COLUMN_FLOAT)
    return PyByteArray_FromStringAndSize((const char *)column->data, (Py_ssize_t)(n * size));
  PyObject *made = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(n * size));
  if (made == NULL || n == 0)
    return made;
  uint8_t *out = (uint8_t *)PyByteArray_AS_STRING(made);
  if (column->kind == LM_COLUMN_DECIMAL) {
    struct lm_decimal decimal = {column->exponent, column->width, column->has_nan, column->minimum};
    lm_decimal_unpack(column->data, n, &decimal, (double *)(void *)out);
  } else if (size == 8) {
    lm_unpack_ints(column->data, n, column->minimum, column->width, (int64_t *)(void *)out);
  } else {
    decode_arrays_narrow(column, n, size, out);
  }
  return made;
}
