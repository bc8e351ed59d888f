#include "codec/encode/text.h"

#include "base/alloc.h"
#include "codec/encode/numbers.h"
#include "codec/text.h"
#include "wire/mpread.h"

enum {
  LOOSE_BYTES =
      8, /* room after the texts: the first 8 bytes of each are read, whatever its length */
  MIN_UNIQUE_CELLS = 24, /* fewer cells are not worth an index column */
  FEW_UNIQUE = 255,      /* an index takes one byte, and the table fits on the stack */
  MANY_CELLS = 4096,     /* from this many on, up to MAX_UNIQUE are searched for */
  MAX_UNIQUE = 65535,
  FEW_SLOTS = 1024
};

/* NULL without an exception: lone surrogates, or out of memory. */
static const void *
encode_text_wide_text(PyObject *text, size_t *len)
{
  Py_ssize_t n;
  const char *bytes = PyUnicode_AsUTF8AndSize(text, &n);
  if (bytes == NULL)
    PyErr_Clear();
  *len = bytes == NULL ? 0 : (size_t)n;
  return bytes;
}

Py_ssize_t
lmpy_take_texts(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                size_t n)
{
  struct lm_buf *data = &gather->data;
  uint8_t *lengths = lmpy_gather_room(&gather->lengths, n * sizeof(uint32_t));
  uint8_t *at = lmpy_gather_room(data, n * 8 + LOOSE_BYTES);
  if (lengths == NULL || at == NULL)
    return lmpy_gather_no_memory(pack);
  uint8_t *end = data->data + data->cap;
  size_t i = 0, before = data->len;
  for (; i < n; i++) {
    PyObject *cell = cells[i];
    const void *text;
    size_t len;
    if (!PyUnicode_CheckExact(cell))
      break;
    if (lmpy_is_ascii(cell)) {
      text = PyUnicode_1BYTE_DATA(cell);
      len = (size_t)PyUnicode_GET_LENGTH(cell);
    } else if ((text = encode_text_wide_text(cell, &len)) != NULL) {
      gather->ascii = false;
    } else {
      break;
    }
    if ((size_t)(end - at) < len + LOOSE_BYTES) {
      if (len > LMPY_GATHER_BYTES)
        break;
      data->len = (size_t)(at - data->data);
      if ((at = lmpy_gather_room(data, len + LOOSE_BYTES)) == NULL)
        return lmpy_gather_no_memory(pack);
      end = data->data + data->cap;
    }
    uint32_t length = (uint32_t)len;
    lmpy_copy_text(at, text, len);
    memcpy(lengths + i * sizeof length, &length, sizeof length);
    at += len;
  }
  data->len = (size_t)(at - data->data);
  gather->lengths.len += i * sizeof(uint32_t);
  return lmpy_gather_count(pack, gather, i, data->len - before + i) != 0 ? -1 : (Py_ssize_t)i;
}

static int
encode_text_add_bytes(struct lmpy_pack *pack, struct lmpy_gather *gather, const void *bytes,
                      Py_ssize_t n)
{
  uint32_t length = (uint32_t)n;
  if ((size_t)n > LMPY_GATHER_BYTES)
    return LMPY_MISFIT;
  uint8_t *at = lmpy_gather_room(&gather->data, (size_t)n + LOOSE_BYTES);
  if (at == NULL || lmpy_gather_push(&gather->lengths, &length, sizeof length) != 0)
    return lmpy_gather_no_memory(pack);
  lmpy_copy_text(at, bytes, (size_t)n);
  gather->data.len += (size_t)n;
  return lmpy_gather_count(pack, gather, 1, (size_t)n + 1);
}

static int
encode_text_add_decimal(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyObject *text = PyObject_Str(value); /* decimal's own code */
  if (text == NULL)
    return -1;
  int result = lmpy_is_ascii(text) ? encode_text_add_bytes(pack, gather, PyUnicode_1BYTE_DATA(text),
                                                           PyUnicode_GET_LENGTH(text))
                                   : LMPY_MISFIT;
  Py_DECREF(text);
  return result;
}

Py_ssize_t
lmpy_take_text_like(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                    size_t n)
{
  bool decimals = gather->element == LM_TEXT_DECIMAL;
  PyTypeObject *type = decimals ? pack->state->decimal : &PyBytes_Type;
  size_t i = 0;
  int result = 0;
  for (; i < n && result == 0 && Py_IS_TYPE(cells[i], type); i += result == 0)
    result = decimals ? encode_text_add_decimal(pack, gather, cells[i])
                      : encode_text_add_bytes(pack, gather, PyBytes_AS_STRING(cells[i]),
                                              PyBytes_GET_SIZE(cells[i]));
  return result < 0 ? -1 : (Py_ssize_t)i;
}

/* --- writing --- */

struct text {
  uint32_t start, len;
  uint64_t first; /* its first bytes */
};

/* The distinct texts; slots is a hash table of 1 + index, 0 where empty. */
struct unique {
  uint16_t *slots;
  struct text *texts;
  uint32_t n, most, mask;
};

/* The first 8 bytes, zeros where the text is shorter. Gathers leave room to read them. */
static inline uint64_t
encode_text_first_bytes(const uint8_t *at, uint32_t len)
{
  uint64_t first;
  memcpy(&first, at, sizeof first);
  if (len < 8) {
    uint64_t mask = (UINT64_C(1) << 8 * len) - 1;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    mask = __builtin_bswap64(mask);
#endif
    first &= mask;
  }
  return first;
}

static inline uint32_t
encode_text_slot_of(const uint8_t *at, uint32_t len, uint64_t first)
{
  uint64_t hash = (first ^ len) * UINT64_C(0xff51afd7ed558ccd);
  if (len > 8) {
    uint64_t last;
    memcpy(&last, at + len - 8, sizeof last);
    hash = (hash ^ hash >> 32 ^ last) * UINT64_C(0x9e3779b97f4a7c15);
  }
  return (uint32_t)(hash >> 40);
}

/* Write the index of each cell's text to *indices; false: too many distinct texts. */
static bool
encode_text_find_unique(const struct lmpy_gather *gather, struct unique *unique, uint16_t *indices)
{
  const uint32_t *lengths = (const uint32_t *)(const void *)gather->lengths.data;
  const uint8_t *data = gather->data.data, *at = data;
  uint32_t n = gather->dense, looked_at = 16;
  for (uint32_t i = 0; i < n; at += lengths[i++]) {
    uint32_t len = lengths[i];
    uint64_t first = encode_text_first_bytes(at, len);
    uint32_t slot = encode_text_slot_of(at, len, first) & unique->mask, index;
    for (; (index = unique->slots[slot]) != 0; slot = (slot + 1) & unique->mask) {
      const struct text *text = &unique->texts[--index];
      if (text->first == first && text->len == len &&
          (len <= 8 || memcmp(data + text->start, at, len) == 0))
        break;
    }
    if (unique->slots[slot] == 0) {
      if (unique->n == unique->most)
        return false;
      index = unique->n++;
      unique->texts[index] = (struct text){(uint32_t)(at - data), len, first};
      unique->slots[slot] = (uint16_t)unique->n;
    }
    indices[i] = (uint16_t)index;
    if (i == looked_at) { /* most of the first cells are distinct, so the rest will be too */
      if (unique->n > looked_at / 8 * 5)
        return false;
      looked_at *= 4;
    }
  }
  return true;
}

static int
encode_text_write_text_column(struct lmpy_pack *pack, uint8_t element, const struct lm_buf *lengths,
                              const struct lm_buf *bytes, uint32_t n)
{
  const uint8_t head[] = {LM_COLUMN_TEXT, element};
  if (lmpy_put(pack, head, sizeof head) != 0 || lmpy_write_lengths(pack, lengths, n) != 0)
    return -1;
  return lmpy_put(pack, bytes->data, bytes->len);
}

/* Write one text for all cells. */
static int
encode_text_write_same_text(struct lmpy_pack *pack, const uint8_t *bytes, uint32_t n)
{
  uint8_t *at = lmpy_put_room(pack, (size_t)n + 6);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  *at++ = LM_COLUMN_CONST;
  pack->structure.len += 1 + lm_mp_write_text_head(at, n);
  return lmpy_put(pack, bytes, n);
}

static int
encode_text_write_unique(struct lmpy_pack *pack, const struct lmpy_gather *gather, uint8_t element,
                         const struct unique *unique, const uint16_t *indices)
{
  struct lm_buf lengths, bytes;
  int result = -1;
  uint8_t width = unique->n <= FEW_UNIQUE ? 1 : 2;
  lm_buf_init(&lengths, SIZE_MAX);
  lm_buf_init(&bytes, SIZE_MAX);
  for (uint32_t i = 0; i < unique->n; i++) {
    lm_buf_append(&lengths, &unique->texts[i].len, sizeof(uint32_t));
    lm_buf_append(&bytes, gather->data.data + unique->texts[i].start, unique->texts[i].len);
  }
  const uint8_t head[] = {LM_COLUMN_UNIQUE, width};
  if (lengths.failed != LM_OK || bytes.failed != LM_OK) {
    PyErr_NoMemory();
    goto done;
  }
  if (lmpy_put(pack, head, sizeof head) != 0 || lmpy_put_varint(pack, unique->n) != 0 ||
      encode_text_write_text_column(pack, element, &lengths, &bytes, unique->n) != 0)
    goto done;
  uint8_t *at = lmpy_put_room(pack, (size_t)gather->dense * width);
  if (at == NULL) {
    lmpy_pack_no_memory(pack);
    goto done;
  }
  for (uint32_t i = 0; i < gather->dense; i++) {
    *at++ = (uint8_t)indices[i];
    if (width == 2)
      *at++ = (uint8_t)(indices[i] >> 8);
  }
  pack->structure.len += (size_t)gather->dense * width;
  result = 0;

done:
  lm_buf_clean_up(&bytes);
  lm_buf_clean_up(&lengths);
  return result;
}

/* Write distinct texts and indices if there are few: 1; else 0, with nothing written. */
static int
encode_text_write_few(struct lmpy_pack *pack, const struct lmpy_gather *gather, uint8_t element)
{
  uint16_t few_slots[FEW_SLOTS];
  struct text few_texts[FEW_UNIQUE];
  uint32_t n = gather->dense;
  struct unique unique = {few_slots, few_texts, 0, n / 4, FEW_SLOTS - 1};
  uint32_t slots = FEW_SLOTS;
  void *large = NULL;
  if (n >= MANY_CELLS) {
    unique.most = n / 4 < MAX_UNIQUE ? n / 4 : MAX_UNIQUE;
    while (slots < 2 * unique.most)
      slots *= 2;
    size_t bytes = unique.most * sizeof *unique.texts;
    if ((large = lm_alloc(bytes + slots * sizeof *unique.slots)) == NULL)
      return 0;
    unique.texts = large;
    unique.slots = (uint16_t *)(void *)((uint8_t *)large + bytes);
    unique.mask = slots - 1;
  } else if (unique.most > FEW_UNIQUE) {
    unique.most = FEW_UNIQUE;
  }
  memset(unique.slots, 0, slots * sizeof *unique.slots);
  lm_buf_clear(&pack->scratch);
  uint16_t *indices = (uint16_t *)(void *)lm_buf_reserve(&pack->scratch, n * sizeof *indices);
  int result = -1;
  if (indices == NULL)
    lmpy_pack_no_memory(pack);
  else if (!encode_text_find_unique(gather, &unique, indices))
    result = 0;
  else
    result = encode_text_write_unique(pack, gather, element, &unique, indices) != 0 ? -1 : 1;
  lm_free(large);
  return result;
}

static bool
encode_text_are_same_texts(const struct lmpy_gather *gather)
{
  const uint32_t *lengths = (const uint32_t *)(const void *)gather->lengths.data;
  const uint8_t *data = gather->data.data;
  uint32_t n = gather->dense, len = lengths[0];
  for (uint32_t i = 1; i < n; i++)
    if (lengths[i] != len || memcmp(data + (size_t)i * len, data, len) != 0)
      return false;
  return n > 1;
}

int
lmpy_write_texts(struct lmpy_pack *pack, const struct lmpy_gather *gather)
{
  uint8_t element = gather->element;
  if (element == LM_TEXT_ASCII && !gather->ascii)
    element = LM_TEXT_UTF8;
  if (element <= LM_TEXT_UTF8 && encode_text_are_same_texts(gather))
    return encode_text_write_same_text(pack, gather->data.data,
                                       (uint32_t)(gather->data.len / gather->dense));
  if (gather->dense >= MIN_UNIQUE_CELLS && element <= LM_TEXT_UTF8) {
    int written = encode_text_write_few(pack, gather, element);
    if (written != 0)
      return written < 0 ? -1 : 0;
  }
  return encode_text_write_text_column(pack, element, &gather->lengths, &gather->data,
                                       gather->dense);
}
