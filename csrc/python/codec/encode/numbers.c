#include "codec/encode/numbers.h"

#include "codec/encode/dates.h"
#include "wire/numbers.h"

enum { MANY = 512 /* doubles; from here on they are not copied */ };

static int
encode_numbers_add_int(struct lmpy_pack *pack, struct lmpy_gather *gather, int64_t number)
{
  if (lmpy_gather_push(&gather->data, &number, sizeof number) != 0)
    return lmpy_gather_no_memory(pack);
  return lmpy_gather_count(pack, gather, 1, sizeof number);
}

static int
encode_numbers_add_numpy_int(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyObject *number = PyNumber_Index(value); /* numpy's own code */
  int64_t n;
  if (number == NULL)
    return -1;
  int result =
      lmpy_int_value(number, &n) != 0 ? LMPY_MISFIT : encode_numbers_add_int(pack, gather, n);
  Py_DECREF(number);
  return result;
}

static int
encode_numbers_add_date(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  uint8_t element;
  int64_t number;
  if (lmpy_date_number(value, &element, &number) != 1 || element != gather->element)
    return LMPY_MISFIT;
  return encode_numbers_add_int(pack, gather, number);
}

Py_ssize_t
lmpy_take_int_like(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                   size_t n)
{
  bool numpy = gather->element == LM_INT_NUMPY;
  size_t i = 0;
  int result = 0;
  for (; i < n && result == 0; i += result == 0)
    if (!numpy)
      result = encode_numbers_add_date(pack, gather, cells[i]);
    else if (Py_IS_TYPE(cells[i], pack->state->int64))
      result = encode_numbers_add_numpy_int(pack, gather, cells[i]);
    else
      result = LMPY_MISFIT;
  return result < 0 ? -1 : (Py_ssize_t)i;
}

/* --- writing --- */

/* Write the end of the header of an INT or DECIMAL, and its integers to the packed section. */
static int
encode_numbers_write_packed(struct lmpy_pack *pack, const int64_t *numbers, size_t n,
                            int64_t minimum, unsigned width)
{
  uint8_t *at = lm_buf_reserve(&pack->packed, n * width + LM_SLACK);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  if (lmpy_put_byte(pack, (uint8_t)width) != 0 || lmpy_put_varint(pack, lm_zigzag(minimum)) != 0 ||
      lmpy_put_varint(pack, pack->packed.len) != 0)
    return -1;
  lm_pack_ints(numbers, n, minimum, width, at);
  pack->packed.len += n * width;
  return 0;
}

int
lmpy_write_ints(struct lmpy_pack *pack, int64_t *numbers, size_t n, uint8_t element)
{
  int64_t low = INT64_MAX, high = INT64_MIN;
  for (size_t i = 0; i < n; i++) {
    low = numbers[i] < low ? numbers[i] : low;
    high = numbers[i] > high ? numbers[i] : high;
  }
  if (n == 0)
    low = high = 0;
  const uint8_t head[] = {LM_COLUMN_INT, element};
  if (lmpy_put(pack, head, sizeof head) != 0)
    return -1;
  return encode_numbers_write_packed(pack, numbers, n, low,
                                     lm_width_of((uint64_t)high - (uint64_t)low));
}

static bool
encode_numbers_all_same_bits(const double *doubles, size_t n)
{
  for (size_t i = 1; i < n; i++)
    if (memcmp(doubles, doubles + i, sizeof *doubles) != 0)
      return false;
  return n > 0;
}

int
lmpy_write_doubles(struct lmpy_pack *pack, const double *doubles, size_t n, uint8_t element,
                   bool may_be_const)
{
  struct lm_decimal decimal;
  lm_buf_clear(&pack->scratch);
  int64_t *numbers = (int64_t *)(void *)lm_buf_reserve(&pack->scratch, n * sizeof *numbers);
  if (numbers == NULL)
    return lmpy_pack_no_memory(pack);
  if (lm_decimal_find(doubles, n, numbers, &decimal)) {
    const uint8_t head[] = {LM_COLUMN_DECIMAL, element,
                            (uint8_t)(decimal.exponent | (decimal.has_nan ? 0x80 : 0))};
    if (lmpy_put(pack, head, sizeof head) != 0)
      return -1;
    return encode_numbers_write_packed(pack, numbers, n, decimal.minimum, decimal.width);
  }
  if (may_be_const && element == LM_FLOAT && encode_numbers_all_same_bits(doubles, n)) {
    uint8_t head[10] = {LM_COLUMN_CONST, 0xcb};
    uint64_t bits;
    memcpy(&bits, doubles, 8);
    for (int i = 9; i >= 2; i--, bits >>= 8)
      head[i] = (uint8_t)bits;
    return lmpy_put(pack, head, sizeof head);
  }
  const uint8_t head[] = {LM_COLUMN_FLOAT, element};
  if (lmpy_put(pack, head, sizeof head) != 0 ||
      lmpy_put_varint(pack, pack->words.len / LM_WORD) != 0)
    return -1;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  lm_buf_append(&pack->words, doubles, n * LM_WORD);
#else
  for (size_t i = 0; i < n; i++) {
    uint64_t bits;
    uint8_t bytes[8];
    memcpy(&bits, doubles + i, 8);
    for (int j = 0; j < 8; j++, bits >>= 8)
      bytes[j] = (uint8_t)bits;
    lm_buf_append(&pack->words, bytes, 8);
  }
#endif
  return pack->words.failed == LM_OK ? 0 : lmpy_pack_no_memory(pack);
}

/* Give the buffer of many doubles to the section of words without a copy. */
static int
encode_numbers_give_doubles(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  const uint8_t head[] = {LM_COLUMN_FLOAT, gather->element, 0};
  struct lm_buf empty = pack->words;
  pack->words = gather->data;
  pack->words.max = empty.max;
  gather->data = empty;
  return lmpy_put(pack, head, sizeof head);
#else
  return lmpy_write_doubles(pack, (const double *)(const void *)gather->data.data, gather->dense,
                            gather->element, false);
#endif
}

int
lmpy_write_floats(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  const double *doubles = (const double *)(const void *)gather->data.data;
  if (pack->words.len == 0 && gather->dense >= MANY && !lm_decimal_likely(doubles, gather->dense))
    return encode_numbers_give_doubles(pack, gather);
  return lmpy_write_doubles(pack, doubles, gather->dense, gather->element, true);
}

int
lmpy_write_lengths(struct lmpy_pack *pack, const struct lm_buf *gathered, uint32_t n)
{
  const uint32_t *lengths = (const uint32_t *)(const void *)gathered->data;
  uint32_t low = UINT32_MAX, high = 0;
  for (uint32_t i = 0; i < n; i++) {
    low = lengths[i] < low ? lengths[i] : low;
    high = lengths[i] > high ? lengths[i] : high;
  }
  if (n == 0 || low == high)
    return lmpy_put_byte(pack, 0) != 0 ? -1 : lmpy_put_varint(pack, high);
  uint8_t width = high < 256 ? 1 : high < 65536 ? 2 : 4;
  uint8_t *at = lmpy_put_room(pack, 1 + (size_t)n * width);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  *at++ = width;
  if (width == 1)
    for (uint32_t i = 0; i < n; i++)
      at[i] = (uint8_t)lengths[i];
  else
    for (uint32_t i = 0; i < n; i++)
      for (uint32_t j = 0; j < width; j++)
        *at++ = (uint8_t)(lengths[i] >> 8 * j);
  pack->structure.len += 1 + (size_t)n * width;
  return 0;
}

int
lmpy_write_bits(struct lmpy_pack *pack, uint8_t kind, const uint8_t *cells, uint32_t n)
{
  size_t bytes = ((size_t)n + 7) / 8;
  uint8_t *at = lmpy_put_room(pack, 1 + bytes);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  *at++ = kind;
  memset(at, 0, bytes);
  for (uint32_t i = 0; i < n; i++)
    at[i >> 3] |= (uint8_t)(cells[i] << (i & 7));
  pack->structure.len += 1 + bytes;
  return 0;
}
