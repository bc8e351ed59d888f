#include "wire/columns.h"

#include "wire/mpread.h"
#include "wire/rules.h"

bool
lm_varint_read(const uint8_t **at, const uint8_t *end, uint64_t *n)
{
  const uint8_t *p = *at;
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
    uint8_t byte = *p++;
    if (shift == 63 && byte > 1)
      return false;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *at = p;
      *n = value;
      return byte != 0 || shift == 0; /* each number has exactly one encoding */
    }
  }
  return false;
}

size_t
lm_varint_write(uint8_t *at, uint64_t n)
{
  size_t used = 0;
  for (; n >= 0x80; n >>= 7)
    at[used++] = (uint8_t)(n | 0x80);
  at[used++] = (uint8_t)n;
  return used;
}

/* --- the parts of a head --- */

static const char BROKEN[] = "truncated column";

static const char *
columns_read_lengths(const uint8_t **at, const uint8_t *end, uint64_t n, struct lm_lengths *lengths,
                     uint64_t *total)
{
  if (*at == end)
    return BROKEN;
  lengths->width = *(*at)++;
  if (lengths->width == 0) {
    uint64_t same;
    if (!lm_varint_read(at, end, &same))
      return BROKEN;
    if (same > UINT32_MAX || (same != 0 && n > UINT32_MAX / same))
      return "column is too long";
    lengths->same = (uint32_t)same;
    *total = same * n;
    return NULL;
  }
  if (lengths->width != 1 && lengths->width != 2 && lengths->width != 4)
    return "invalid width of lengths in column";
  if (n > (uint64_t)(end - *at) / lengths->width)
    return BROKEN;
  lengths->at = *at;
  *at += n * lengths->width;
  *total = 0; /* n is at most 2^32, and so is each */
  for (uint64_t i = 0; i < n; i++)
    *total += lm_length_at(lengths, i);
  return *total > UINT32_MAX ? "column is too long" : NULL;
}

/* Read the offset of a column's numbers in their section, in the section's unit. */
static const char *
columns_read_place(const uint8_t **at, const uint8_t *end, uint64_t bytes, unsigned unit,
                   const uint8_t *section, size_t section_len, uint64_t *used, const uint8_t **data)
{
  uint64_t offset;
  if (!lm_varint_read(at, end, &offset))
    return BROKEN;
  if (bytes > section_len || offset > (section_len - bytes) / unit)
    return "column exceeds its section";
  *used += (bytes + unit - 1) / unit * unit;
  *data = bytes == 0 ? *at : section + offset * unit; /* never NULL */
  return NULL;
}

static const char *
columns_read_packed(const uint8_t **at, const uint8_t *end, uint64_t n,
                    struct lm_sections *sections, struct lm_column *column)
{
  uint64_t minimum;
  if (end - *at < 1)
    return BROKEN;
  column->width = *(*at)++;
  if (column->width > 8)
    return "integers in column are wider than 8 bytes";
  if (!lm_varint_read(at, end, &minimum))
    return BROKEN;
  column->minimum = lm_unzigzag(minimum);
  return columns_read_place(at, end, n * column->width, 1, sections->view.packed,
                            sections->view.packed_len, &sections->packed_used, &column->data);
}

static const char *
columns_read_bits(const uint8_t **at, const uint8_t *end, uint64_t n, struct lm_column *column)
{
  uint64_t bytes = (n + 7) / 8;
  if (bytes > (uint64_t)(end - *at))
    return BROKEN;
  column->data = *at;
  *at += bytes;
  if (n % 8 != 0 && column->data[bytes - 1] >> n % 8 != 0)
    return "column has bits after its last cell";
  return NULL;
}

static uint64_t
columns_count_bits(const uint8_t *bits, uint64_t n)
{
  uint64_t count = 0;
  for (uint64_t i = 0; i < (n + 7) / 8; i++)
    count += (uint64_t)__builtin_popcount(bits[i]);
  return count;
}

static const char *
columns_read_element(const uint8_t **at, const uint8_t *end, unsigned elements,
                     struct lm_column *column)
{
  if (*at == end)
    return BROKEN;
  column->element = *(*at)++;
  column->unknown = column->element >= elements;
  return column->unknown ? "a column with an unknown element type" : NULL;
}

static bool
columns_is_ascii(const uint8_t *at, uint64_t n)
{
  uint8_t high = 0;
  for (uint64_t i = 0; i < n; i++)
    high |= at[i];
  return high < 0x80;
}

static const char *
columns_read_text(const uint8_t **at, const uint8_t *end, uint64_t n, struct lm_column *column)
{
  const char *wrong = columns_read_lengths(at, end, n, &column->lengths, &column->inner);
  if (wrong != NULL)
    return wrong;
  if (column->inner > (uint64_t)(end - *at))
    return BROKEN;
  column->data = *at;
  *at += column->inner;
  if ((column->element == LM_TEXT_ASCII || column->element == LM_TEXT_DECIMAL) &&
      !columns_is_ascii(column->data, column->inner))
    return "ASCII column contains other bytes";
  return NULL;
}

static const char *
columns_read_raw(const uint8_t **at, const uint8_t *end, uint64_t bytes,
                 struct lm_sections *sections, struct lm_column *column)
{
  const struct lm_frame_view *view = &sections->view;
  const char *wrong = columns_read_element(at, end, LM_RAW_PLACES, column);
  if (wrong != NULL)
    return wrong;
  if (column->element == LM_RAW_PACKED)
    return columns_read_place(at, end, bytes, 1, view->packed, view->packed_len,
                              &sections->packed_used, &column->data);
  if (column->element == LM_RAW_BLOBS)
    return columns_read_place(at, end, bytes, LM_WORD, view->blobs, view->blobs_len,
                              &sections->blobs_used, &column->data);
  return columns_read_place(at, end, bytes, LM_WORD, view->words, view->words_len,
                            &sections->words_used, &column->data);
}

/* Whether the next value is a scalar, from its type byte. */
static bool
columns_is_scalar_next(const uint8_t *at, const uint8_t *end)
{
  struct lm_mp_token token = {0};
  lm_mp_next(&at, end, &token);
  return token.kind != LM_MP_BAD && token.kind <= LM_MP_STR;
}

static bool
columns_is_ext_next(const uint8_t *at, const uint8_t *end, enum lm_ext ext)
{
  struct lm_mp_token token = {0};
  lm_mp_next(&at, end, &token);
  return token.kind == LM_MP_EXT && token.ext == (int)ext;
}

static const char *
columns_read_unique(const uint8_t **at, const uint8_t *end, uint64_t n, struct lm_column *column)
{
  if (*at == end)
    return BROKEN;
  column->width = *(*at)++;
  if (column->width != 1 && column->width != 2 && column->width != 4)
    return "invalid width of indices in UNIQUE column";
  if (!lm_varint_read(at, end, &column->inner) || column->inner > n)
    return "UNIQUE column has more values than cells";
  return *at == end || **at != LM_COLUMN_TEXT ? "UNIQUE column does not contain a TEXT column"
                                              : NULL;
}

/* item: bytes of one item in a buffer; 0 in a list. */
static const char *
columns_read_column(const uint8_t **at, const uint8_t *end, uint64_t n, unsigned item,
                    enum lm_place place, struct lm_sections *sections, struct lm_column *column)
{
  const struct lm_frame_view *view = &sections->view;
  const char *wrong;
  memset(column, 0, sizeof *column);
  if (*at == end)
    return BROKEN;
  if (n > UINT32_MAX)
    return "column is too long";
  uint8_t kind = *(*at)++;
  if (item != 0 && kind != LM_COLUMN_FLOAT && kind != LM_COLUMN_INT && kind != LM_COLUMN_DECIMAL &&
      kind != LM_COLUMN_RAW)
    return "invalid kind of column in buffer";
  if (item == 0 && kind == LM_COLUMN_RAW)
    return "RAW column in a list";
  column->kind = (enum lm_column_kind)kind;
  column->unknown = kind >= LM_COLUMN_KINDS;
  if (column->unknown)
    return "a column of unknown kind";
  switch (column->kind) {
  case LM_COLUMN_ANY:
    return NULL;
  case LM_COLUMN_CONST:
    return columns_is_scalar_next(*at, end) ? NULL : "CONST column does not contain a scalar";
  case LM_COLUMN_FRAMES:
    return columns_is_ext_next(*at, end, LM_EXT_FRAMES)
               ? NULL
               : "FRAMES column does not contain a FRAMES extension";
  case LM_COLUMN_FLOAT:
    if ((wrong = columns_read_element(at, end, LM_FLOAT_ELEMENTS, column)) != NULL)
      return wrong;
    return columns_read_place(at, end, n * LM_WORD, LM_WORD, view->words, view->words_len,
                              &sections->words_used, &column->data);
  case LM_COLUMN_INT:
    if ((wrong = columns_read_element(at, end, LM_INT_ELEMENTS, column)) != NULL)
      return wrong;
    return columns_read_packed(at, end, n, sections, column);
  case LM_COLUMN_DECIMAL:
    if ((wrong = columns_read_element(at, end, LM_FLOAT_ELEMENTS, column)) != NULL)
      return wrong;
    if (end - *at < 1)
      return BROKEN;
    column->exponent = **at & 0x7f;
    column->has_nan = *(*at)++ >> 7;
    if (column->exponent > LM_MAX_EXPONENT)
      return "exponent of DECIMAL column is too large";
    return columns_read_packed(at, end, n, sections, column);
  case LM_COLUMN_TEXT:
    if ((wrong = columns_read_element(at, end, LM_TEXT_ELEMENTS, column)) != NULL)
      return wrong;
    return columns_read_text(at, end, n, column);
  case LM_COLUMN_LIST:
    return columns_read_lengths(at, end, n, &column->lengths, &column->inner);
  case LM_COLUMN_DICT:
  case LM_COLUMN_TUPLE:
    if (!lm_varint_read(at, end, &column->inner) || column->inner > (uint64_t)(end - *at) ||
        column->inner > LM_MAX_COLUMNS)
      return BROKEN;
    return NULL;
  case LM_COLUMN_BOOL:
    return columns_read_bits(at, end, n, column);
  case LM_COLUMN_NULLABLE:
    if (place >= LM_AT_PRESENT)
      return "NULLABLE column inside a column that cannot contain one";
    if ((wrong = columns_read_bits(at, end, n, column)) != NULL)
      return wrong;
    column->inner = columns_count_bits(column->data, n);
    return NULL;
  case LM_COLUMN_UNIQUE:
    return columns_read_unique(at, end, n, column);
  case LM_COLUMN_SPLIT:
    if (place >= LM_AT_PART)
      return "SPLIT column inside a column that cannot contain one";
    return lm_varint_read(at, end, &column->inner) && column->inner <= n ? NULL : BROKEN;
  case LM_COLUMN_RAW:
    break;
  }
  return columns_read_raw(at, end, n * item, sections, column);
}

const char *
lm_column_read(const uint8_t **at, const uint8_t *end, uint64_t n, enum lm_place place,
               struct lm_sections *sections, struct lm_column *column)
{
  return columns_read_column(at, end, n, 0, place, sections, column);
}

const char *
lm_column_read_key(const uint8_t **at, const uint8_t *end, struct lm_mp_token *key)
{
  lm_mp_next(at, end, key);
  return key->kind == LM_MP_STR ? NULL : "DICT column has a key that is not a string";
}

const char *
lm_list_read(const uint8_t **at, const uint8_t *end, uint64_t *n)
{
  return lm_varint_read(at, end, n) && *n <= UINT32_MAX ? NULL : "invalid length of list";
}

const char *
lm_buffer_read(const uint8_t *at, const uint8_t *end, struct lm_sections *sections,
               struct lm_buffer *buffer)
{
  struct lm_column *column = &buffer->column;
  memset(buffer, 0, sizeof *buffer);
  buffer->item = at == end ? 0 : *at++;
  if (buffer->item != 1 && buffer->item != 2 && buffer->item != 4 && buffer->item != 8)
    return "invalid item size in buffer";
  if (!lm_varint_read(&at, end, &buffer->n))
    return "invalid length of buffer";
  const char *wrong =
      columns_read_column(&at, end, buffer->n, buffer->item, LM_AT_FIELD, sections, column);
  if (wrong != NULL)
    return wrong;
  if ((column->kind == LM_COLUMN_FLOAT || column->kind == LM_COLUMN_DECIMAL) && buffer->item != 8)
    return "buffer of doubles has items that are not 8 bytes";
  return at == end ? NULL : LM_WRONG_EXT_TAIL;
}

const char *
lm_column_read_indices(const uint8_t **at, const uint8_t *end, uint64_t n,
                       const struct lm_column *column, const uint8_t **indices)
{
  if (n > (uint64_t)(end - *at) / column->width)
    return BROKEN;
  struct lm_lengths each = {column->width, 0, *at};
  for (uint64_t i = 0; i < n; i++)
    if (lm_length_at(&each, i) >= column->inner)
      return "UNIQUE column has an index out of range";
  *indices = *at;
  *at += n * column->width;
  return NULL;
}

uint64_t
lm_column_cost(const struct lm_column *column, uint64_t n)
{
  switch (column->kind) {
  case LM_COLUMN_FLOAT:
  case LM_COLUMN_DECIMAL:
    return n * LM_COST_NUMBER;
  case LM_COLUMN_INT:
    return n * LM_COST_OBJECT; /* a datetime is larger than an int */
  case LM_COLUMN_TEXT:
    if (column->element == LM_TEXT_DECIMAL)
      return n * 3 * LM_COST_OBJECT + column->inner;
    return n * LM_COST_OBJECT + column->inner * (column->element == LM_TEXT_UTF8 ? 4 : 1);
  case LM_COLUMN_LIST:
    return n * LM_COST_OBJECT + column->inner * LM_COST_SLOT;
  case LM_COLUMN_TUPLE:
    return n * (LM_COST_OBJECT + column->inner * LM_COST_SLOT);
  case LM_COLUMN_DICT:
    return n * (LM_COST_OBJECT + column->inner * LM_COST_PAIR);
  case LM_COLUMN_FRAMES:
    return n * LM_COST_FRAME;
  case LM_COLUMN_ANY: /* the rest is charged when it is read */
  case LM_COLUMN_CONST:
  case LM_COLUMN_BOOL:
  case LM_COLUMN_NULLABLE:
  case LM_COLUMN_UNIQUE:
  case LM_COLUMN_SPLIT:
  case LM_COLUMN_RAW:
    break;
  }
  return 0;
}

bool
lm_sections_used(const struct lm_sections *sections)
{
  return sections->words_used == sections->view.words_len &&
         sections->packed_used == sections->view.packed_len &&
         sections->blobs_used == sections->view.blobs_len;
}
