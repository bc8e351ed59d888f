#include "codec/decode/arrays.h"

#include "wire/numbers.h"

static void
narrow(const struct lm_column *column, size_t n, size_t size, uint8_t *out)
{
  for (size_t i = 0; i < n; i++) {
    int64_t number = lm_packed_at(column->data, i, column->minimum, column->width);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out + i * size, &number, size);
#else
    memcpy(out + i * size, (const uint8_t *)&number + 8 - size, size);
#endif
  }
}

PyObject *
lmpy_unpack_buffer(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end)
{
  struct lm_column column;
  uint64_t n;
  bool unknown;
  if (at == end)
    return lmpy_unpack_refuse(unpack, "a buffer without an item size");
  unsigned size = *at++;
  if (size != 1 && size != 2 && size != 4 && size != 8)
    return lmpy_unpack_refuse(unpack, "a buffer with an item size that cannot be");
  if (!lm_varint_read(&at, end, &n) || n > UINT32_MAX)
    return lmpy_unpack_refuse(unpack, "a buffer with a length that cannot be");
  const char *wrong = lm_column_read(&at, end, n, size, &unpack->sections, &column, &unknown);
  if (wrong != NULL)
    return lmpy_unpack_refuse(unpack, wrong);
  if (at != end)
    return lmpy_unpack_refuse(unpack, "a buffer with something behind its column");
  if (lmpy_budget_charge(unpack->budget, n * size) != 0)
    return NULL;
  if ((column.kind == LM_COLUMN_FLOAT || column.kind == LM_COLUMN_DECIMAL) && size != 8)
    return lmpy_unpack_refuse(unpack, "a buffer of doubles that are not 8 bytes each");
  if (column.kind == LM_COLUMN_RAW || column.kind == LM_COLUMN_FLOAT)
    return PyByteArray_FromStringAndSize((const char *)column.data, (Py_ssize_t)(n * size));
  PyObject *made = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(n * size));
  if (made == NULL || n == 0)
    return made;
  uint8_t *out = (uint8_t *)PyByteArray_AS_STRING(made);
  if (column.kind == LM_COLUMN_DECIMAL) {
    struct lm_decimal decimal = {column.exponent, column.width, column.has_nan, column.minimum};
    lm_decimal_unpack(column.data, n, &decimal, (double *)(void *)out);
  } else if (size == 8) {
    lm_unpack_ints(column.data, n, column.minimum, column.width, (int64_t *)(void *)out);
  } else {
    narrow(&column, n, size, out);
  }
  return made;
}
