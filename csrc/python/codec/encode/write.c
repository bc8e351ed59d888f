/* Gathered columns to the sections of a frame, each in the form that takes the least. */
#include "codec/codec.h"

#include "base/alloc.h"
#include "wire/mpread.h"
#include "wire/numbers.h"

enum {
  MIN_UNIQUE_CELLS = 24, /* below, an index is not worth its column */
  FEW_UNIQUE = 255,      /* an index takes one byte, and their table stands on the stack */
  MANY_CELLS = 4096,     /* from here on, up to MAX_UNIQUE are looked for */
  MAX_UNIQUE = 65535,
  MANY = 512, /* doubles, from which on a copy is saved */
  FEW_SLOTS = 1024
};

static inline uint8_t *
reserve(struct lmpy_pack *pack, size_t n)
{
  return lm_buf_reserve(&pack->structure, n);
}

static int
put(struct lmpy_pack *pack, const void *bytes, size_t n)
{
  lm_buf_append(&pack->structure, bytes, n);
  return pack->structure.failed == LM_OK ? 0 : lmpy_pack_no_memory(pack);
}

static int
put_byte(struct lmpy_pack *pack, uint8_t byte)
{
  return put(pack, &byte, 1);
}

int
lmpy_write_varint(struct lmpy_pack *pack, uint64_t n)
{
  uint8_t *at = reserve(pack, 10);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  pack->structure.len += lm_varint_write(at, n);
  return 0;
}

/* --- numbers --- */

/* The end of a head of INT or DECIMAL, and the integers to the packed section. */
static int
write_packed(struct lmpy_pack *pack, const int64_t *numbers, size_t n, int64_t minimum,
             unsigned width)
{
  uint8_t *at = lm_buf_reserve(&pack->packed, n * width + LM_SLACK);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  if (put_byte(pack, (uint8_t)width) != 0 || lmpy_write_varint(pack, lm_zigzag(minimum)) != 0 ||
      lmpy_write_varint(pack, pack->packed.len) != 0)
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
  if (put(pack, head, sizeof head) != 0)
    return -1;
  return write_packed(pack, numbers, n, low, lm_width_of((uint64_t)high - (uint64_t)low));
}

static bool
all_same_bits(const double *doubles, size_t n)
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
    if (put(pack, head, sizeof head) != 0)
      return -1;
    return write_packed(pack, numbers, n, decimal.minimum, decimal.width);
  }
  if (may_be_const && element == LM_FLOAT && all_same_bits(doubles, n)) {
    uint8_t head[10] = {LM_COLUMN_CONST, 0xcb};
    uint64_t bits;
    memcpy(&bits, doubles, 8);
    for (int i = 9; i >= 2; i--, bits >>= 8)
      head[i] = (uint8_t)bits;
    return put(pack, head, sizeof head);
  }
  const uint8_t head[] = {LM_COLUMN_FLOAT, element};
  if (put(pack, head, sizeof head) != 0 || lmpy_write_varint(pack, pack->words.len / LM_WORD) != 0)
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

/* --- lengths, bits --- */

static int
write_lengths(struct lmpy_pack *pack, const struct lm_buf *gathered, uint32_t n)
{
  const uint32_t *lengths = (const uint32_t *)(const void *)gathered->data;
  uint32_t low = UINT32_MAX, high = 0;
  for (uint32_t i = 0; i < n; i++) {
    low = lengths[i] < low ? lengths[i] : low;
    high = lengths[i] > high ? lengths[i] : high;
  }
  if (n == 0 || low == high)
    return put_byte(pack, 0) != 0 ? -1 : lmpy_write_varint(pack, high);
  uint8_t width = high < 256 ? 1 : high < 65536 ? 2 : 4;
  uint8_t *at = reserve(pack, 1 + (size_t)n * width);
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

static int
write_bits(struct lmpy_pack *pack, uint8_t kind, const uint8_t *cells, uint32_t n)
{
  size_t bytes = ((size_t)n + 7) / 8;
  uint8_t *at = reserve(pack, 1 + bytes);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  *at++ = kind;
  memset(at, 0, bytes);
  for (uint32_t i = 0; i < n; i++)
    at[i >> 3] |= (uint8_t)(cells[i] << (i & 7));
  pack->structure.len += 1 + bytes;
  return 0;
}

/* --- texts --- */

struct text {
  uint32_t start, len;
  uint64_t first; /* its first bytes */
};

/* Different texts; slots is a table by hash of 1 + index, or 0. */
struct unique {
  uint16_t *slots;
  struct text *texts;
  uint32_t n, most, mask;
};

/* The first 8 bytes, zeros where the text is shorter. Gathers leave room to read them. */
static inline uint64_t
first_bytes(const uint8_t *at, uint32_t len)
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
slot_of(const uint8_t *at, uint32_t len, uint64_t first)
{
  uint64_t hash = (first ^ len) * UINT64_C(0xff51afd7ed558ccd);
  if (len > 8) {
    uint64_t last;
    memcpy(&last, at + len - 8, sizeof last);
    hash = (hash ^ hash >> 32 ^ last) * UINT64_C(0x9e3779b97f4a7c15);
  }
  return (uint32_t)(hash >> 40);
}

/* Which of the different texts each cell is, at *indices; false: they are too many. */
static bool
find_unique(const struct lmpy_gather *gather, struct unique *unique, uint16_t *indices)
{
  const uint32_t *lengths = (const uint32_t *)(const void *)gather->lengths.data;
  const uint8_t *data = gather->data.data, *at = data;
  uint32_t n = gather->dense, looked_at = 16;
  for (uint32_t i = 0; i < n; at += lengths[i++]) {
    uint32_t len = lengths[i];
    uint64_t first = first_bytes(at, len);
    uint32_t slot = slot_of(at, len, first) & unique->mask, index;
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
    if (i == looked_at) { /* most of the first cells being new, the rest will be no better */
      if (unique->n > looked_at / 8 * 5)
        return false;
      looked_at *= 4;
    }
  }
  return true;
}

static int
write_text_column(struct lmpy_pack *pack, uint8_t element, const struct lm_buf *lengths,
                  const struct lm_buf *bytes, uint32_t n)
{
  const uint8_t head[] = {LM_COLUMN_TEXT, element};
  if (put(pack, head, sizeof head) != 0 || write_lengths(pack, lengths, n) != 0)
    return -1;
  return put(pack, bytes->data, bytes->len);
}

/* One text for all cells. */
static int
write_same_text(struct lmpy_pack *pack, const uint8_t *bytes, uint32_t n)
{
  uint8_t *at = reserve(pack, (size_t)n + 6);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  *at++ = LM_COLUMN_CONST;
  pack->structure.len += 1 + lm_mp_write_text_head(at, n);
  return put(pack, bytes, n);
}

static int
write_unique(struct lmpy_pack *pack, const struct lmpy_gather *gather, uint8_t element,
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
  if (put(pack, head, sizeof head) != 0 || lmpy_write_varint(pack, unique->n) != 0 ||
      write_text_column(pack, element, &lengths, &bytes, unique->n) != 0)
    goto done;
  uint8_t *at = reserve(pack, (size_t)gather->dense * width);
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

/* As few different texts, where they are: 1; 0 and nothing written where they are not. */
static int
write_few(struct lmpy_pack *pack, const struct lmpy_gather *gather, uint8_t element)
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
  else if (!find_unique(gather, &unique, indices))
    result = 0;
  else
    result = write_unique(pack, gather, element, &unique, indices) != 0 ? -1 : 1;
  lm_free(large);
  return result;
}

static bool
are_same_texts(const struct lmpy_gather *gather)
{
  const uint32_t *lengths = (const uint32_t *)(const void *)gather->lengths.data;
  const uint8_t *data = gather->data.data;
  uint32_t n = gather->dense, len = lengths[0];
  for (uint32_t i = 1; i < n; i++)
    if (lengths[i] != len || memcmp(data + (size_t)i * len, data, len) != 0)
      return false;
  return n > 1;
}

static int
write_texts(struct lmpy_pack *pack, const struct lmpy_gather *gather)
{
  uint8_t element = gather->element;
  if (element == LM_TEXT_ASCII && !gather->ascii)
    element = LM_TEXT_UTF8;
  if (element <= LM_TEXT_UTF8 && are_same_texts(gather))
    return write_same_text(pack, gather->data.data, (uint32_t)(gather->data.len / gather->dense));
  if (gather->dense >= MIN_UNIQUE_CELLS && element <= LM_TEXT_UTF8) {
    int written = write_few(pack, gather, element);
    if (written != 0)
      return written < 0 ? -1 : 0;
  }
  return write_text_column(pack, element, &gather->lengths, &gather->data, gather->dense);
}

/* --- columns --- */

static int write_column(struct lmpy_pack *pack, struct lmpy_gather *gather);

static int
write_fields(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (put_byte(pack, gather->kind) != 0 || lmpy_write_varint(pack, gather->n_inner) != 0)
    return -1;
  for (uint32_t i = 0; i < gather->n_inner; i++) {
    if (gather->keys != NULL && lmpy_pack_value(pack, gather->keys[i]) != 0)
      return -1;
    if (write_column(pack, &gather->inner[i]) != 0)
      return -1;
  }
  return 0;
}

static int
write_frames(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  struct lmpy_codec_state *state = pack->state;
  PyObject *parts = PyObject_CallMethodObjArgs(state->kinds, state->names[LMPY_FRAMES_REDUCE],
                                               gather->shape, gather->frames, NULL);
  if (parts == NULL)
    return -1;
  int result = -1;
  if (PyTuple_Check(parts) && put_byte(pack, LM_COLUMN_FRAMES) == 0)
    result = lmpy_pack_parts(pack, LM_EXT_FRAMES, parts);
  Py_DECREF(parts);
  return result;
}

/* Many doubles that become the words as they are: no copy. */
static int
give_doubles(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  const uint8_t head[] = {LM_COLUMN_FLOAT, gather->element, 0};
  struct lm_buf empty = pack->words;
  pack->words = gather->data;
  pack->words.max = empty.max;
  gather->data = empty;
  return put(pack, head, sizeof head);
#else
  return lmpy_write_doubles(pack, (const double *)(const void *)gather->data.data, gather->dense,
                            gather->element, false);
#endif
}

/* The cells before the tail. */
static int
write_typed(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (gather->dense == 0)
    return put(pack, "\x04\xc0", 2); /* CONST: None */
  if (gather->dense < gather->n &&
      write_bits(pack, LM_COLUMN_NULLABLE, gather->present.data, gather->n) != 0)
    return -1;
  switch (gather->kind) {
  case LM_COLUMN_FLOAT:
    if (pack->words.len == 0 && gather->dense >= MANY &&
        !lm_decimal_likely((const double *)(const void *)gather->data.data, gather->dense))
      return give_doubles(pack, gather);
    return lmpy_write_doubles(pack, (const double *)(const void *)gather->data.data, gather->dense,
                              gather->element, true);
  case LM_COLUMN_INT:
    return lmpy_write_ints(pack, (int64_t *)(void *)gather->data.data, gather->dense,
                           gather->element);
  case LM_COLUMN_TEXT:
    return write_texts(pack, gather);
  case LM_COLUMN_BOOL:
    return write_bits(pack, LM_COLUMN_BOOL, gather->data.data, gather->dense);
  case LM_COLUMN_LIST:
    if (put_byte(pack, LM_COLUMN_LIST) != 0 ||
        write_lengths(pack, &gather->lengths, gather->dense) != 0)
      return -1;
    return write_column(pack, gather->inner);
  case LM_COLUMN_FRAMES:
    return write_frames(pack, gather);
  default:
    return write_fields(pack, gather);
  }
}

static int
write_column(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (gather->n_tail == 0)
    return write_typed(pack, gather);
  if (gather->n > 0) {
    if (put_byte(pack, LM_COLUMN_SPLIT) != 0 || lmpy_write_varint(pack, gather->n) != 0 ||
        write_typed(pack, gather) != 0)
      return -1;
  }
  if (put_byte(pack, LM_COLUMN_ANY) != 0)
    return -1;
  return put(pack, gather->tail.data, gather->tail.len);
}

int
lmpy_gather_write(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  size_t mark;
  if (lmpy_pack_begin_ext(pack, &mark) != 0 ||
      lmpy_write_varint(pack, lmpy_gather_size(gather)) != 0 || write_column(pack, gather) != 0)
    return -1;
  return lmpy_pack_end_ext(pack, LM_EXT_LIST, mark);
}
