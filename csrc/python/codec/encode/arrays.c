#include "codec/encode/arrays.h"

#include <string.h>

#include "codec/encode/numbers.h"
#include "wire/mpread.h"
#include "wire/numbers.h"

enum { MIN_BORROWED = 4096 /* smaller arrays are copied */ };

/* Kinds of items, as in lambdamap.shipping.kinds: bytes, signed or unsigned integers, or doubles, in
 * native byte order. */
enum items { BYTES, SIGNED, UNSIGNED, DOUBLES };

/* Write the bytes unchanged: without a copy where that is allowed, else into a section. */
static int
encode_arrays_write_raw(struct lmpy_pack *pack, Py_buffer *view, enum items items)
{
  size_t n = (size_t)view->len;
  uint8_t head[] = {LM_COLUMN_RAW, LM_RAW_WORDS};
  uint64_t offset = 0;
  if (pack->may_borrow && pack->blob.obj == NULL && n >= MIN_BORROWED && n % LM_WORD == 0) {
    head[1] = LM_RAW_BLOBS;
    pack->blob = *view; /* released with the pack */
    view->obj = NULL;
  } else if (n % LM_WORD == 0 && items != BYTES) {
    offset = pack->words.len / LM_WORD;
    lm_buf_append(&pack->words, view->buf, n);
  } else {
    head[1] = LM_RAW_PACKED;
    offset = pack->packed.len;
    lm_buf_append(&pack->packed, view->buf, n);
  }
  if (pack->words.failed != LM_OK || pack->packed.failed != LM_OK)
    return lmpy_pack_no_memory(pack);
  return lmpy_put(pack, head, sizeof head) != 0 ? -1 : lmpy_put_varint(pack, offset);
}

/* Whether all fit into int64_t; if so they are in *numbers. */
static bool
encode_arrays_widen(const void *items, size_t n, size_t size, bool has_sign, int64_t *numbers)
{
#define WIDEN(type)                                                                                \
  for (size_t i = 0; i < n; i++) {                                                                 \
    type item;                                                                                     \
    memcpy(&item, (const uint8_t *)items + i * sizeof item, sizeof item);                          \
    numbers[i] = (int64_t)item;                                                                    \
  }                                                                                                \
  return true
  switch (size) {
  case 1:
    if (has_sign) {
      WIDEN(int8_t);
    }
    WIDEN(uint8_t);
  case 2:
    if (has_sign) {
      WIDEN(int16_t);
    }
    WIDEN(uint16_t);
  case 4:
    if (has_sign) {
      WIDEN(int32_t);
    }
    WIDEN(uint32_t);
  default:
    memcpy(numbers, items, n * size);
    if (!has_sign)
      for (size_t i = 0; i < n; i++)
        if (numbers[i] < 0)
          return false;
    return true;
  }
#undef WIDEN
}

/* Write integers in fewer bytes: 1; 0, with nothing written, if that saves nothing. */
static int
encode_arrays_write_narrow(struct lmpy_pack *pack, const Py_buffer *view, size_t n, size_t size,
                           bool has_sign)
{
  struct lm_buf numbers;
  int result = 0;
  int64_t low = INT64_MAX, high = INT64_MIN;
  lm_buf_init(&numbers, SIZE_MAX);
  int64_t *place = (int64_t *)(void *)lm_buf_reserve(&numbers, n * sizeof *place);
  if (place == NULL) {
    PyErr_NoMemory();
    result = -1;
  } else if (encode_arrays_widen(view->buf, n, size, has_sign, place)) {
    for (size_t i = 0; i < n; i++) {
      low = place[i] < low ? place[i] : low;
      high = place[i] > high ? place[i] : high;
    }
    if (lm_width_of((uint64_t)high - (uint64_t)low) < size)
      result = lmpy_write_ints(pack, place, n, LM_INT) != 0 ? -1 : 1;
  }
  lm_buf_clean_up(&numbers);
  return result;
}

static int
encode_arrays_write_items(struct lmpy_pack *pack, Py_buffer *view, enum items items, size_t size)
{
  size_t n = (size_t)view->len / size;
  if (n > 0 && (items == SIGNED || items == UNSIGNED)) {
    int written = encode_arrays_write_narrow(pack, view, n, size, items == SIGNED);
    if (written != 0)
      return written < 0 ? -1 : 0;
  }
  if (n > 0 && items == DOUBLES) {
    /* Samples tell decimals from other doubles, which are written without a copy. */
    if (lm_decimal_likely(view->buf, n) || (!pack->may_borrow && n < 64))
      return lmpy_write_doubles(pack, view->buf, n, LM_FLOAT, false);
  }
  return encode_arrays_write_raw(pack, view, items);
}

int
lmpy_pack_array(struct lmpy_pack *pack, PyObject *parts)
{
  PyObject *object;
  int items, size;
  size_t mark;
  Py_buffer view;
  if (!PyArg_ParseTuple(parts, "Oii", &object, &items, &size) ||
      PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) != 0)
    return -1;
  int result = -1;
  const uint8_t item = (uint8_t)size;
  if (view.len % size != 0 || (size_t)view.len / (size_t)size > UINT32_MAX)
    lmpy_pack_refuse(pack, "the array has more than 2^32 items");
  else if (lmpy_pack_begin_ext(pack, &mark) == 0 && lmpy_put(pack, &item, 1) == 0 &&
           lmpy_put_varint(pack, (uint64_t)(view.len / size)) == 0 &&
           encode_arrays_write_items(pack, &view, (enum items)items, (size_t)size) == 0)
    result = lmpy_pack_end_ext(pack, LM_EXT_BUFFER, mark);
  PyBuffer_Release(&view); /* no-op if it was borrowed: obj is then NULL */
  return result;
}
