#include "codec/decode/columns.h"

#include "codec/decode/numbers.h"
#include "codec/decode/rows.h"
#include "codec/decode/text.h"
#include "codec/decode/value.h"
#include "wire/mpread.h"
#include "wire/rules.h"

/* --- opening --- */

/* Skip n msgpack values; their objects are made with their rows. */
static int
decode_columns_open_any(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                        const uint8_t *end, uint64_t n)
{
  reader->at = *at;
  if (lmpy_unpack_charge(unpack, n * LM_COST_NUMBER) != 0)
    return -1;
  for (uint64_t left = n; left > 0; left--) {
    struct lm_mp_token token = {0};
    lm_mp_next(at, end, &token);
    if (token.kind == LM_MP_BAD)
      return lmpy_unpack_bad(unpack, LM_WRONG_TOKEN);
    if (lmpy_unpack_work(unpack, 1) != 0)
      return -1;
    if (token.kind == LM_MP_ARRAY)
      left += token.count;
    else if (token.kind == LM_MP_MAP)
      left += (uint64_t)token.count * 2;
  }
  reader->end = *at;
  return 0;
}

int
lmpy_open_column(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                 const uint8_t *end, uint64_t n, unsigned depth, enum lm_place place)
{
  struct lm_column *column = &reader->column;
  if (lmpy_reader_begin(unpack, reader, at, end, n, depth, place) != 0)
    return -1;
  switch (column->kind) {
  case LM_COLUMN_ANY:
    return decode_columns_open_any(unpack, reader, at, end, n);
  case LM_COLUMN_CONST:
    reader->constant = lmpy_unpack_value(unpack, at, end, 0);
    return reader->constant == NULL ? -1 : 0;
  case LM_COLUMN_FLOAT:
  case LM_COLUMN_DECIMAL:
  case LM_COLUMN_INT:
    return lmpy_open_numbers(unpack, column);
  case LM_COLUMN_TEXT:
    return lmpy_open_texts(unpack, reader);
  case LM_COLUMN_UNIQUE:
    return lmpy_open_unique(unpack, reader, at, end, n, depth);
  case LM_COLUMN_FRAMES:
    return lmpy_open_frames(unpack, reader, at, end, n, depth);
  case LM_COLUMN_NULLABLE:
    if (lmpy_reader_room(reader, 1, 0, 0) != 0)
      return -1;
    return lmpy_open_column(unpack, reader->inner, at, end, column->inner, depth, LM_AT_PRESENT);
  case LM_COLUMN_SPLIT:
    reader->first = column->inner;
    if (lmpy_reader_room(reader, 2, 0, 0) != 0 ||
        lmpy_open_column(unpack, reader->inner, at, end, column->inner, depth, LM_AT_PART) != 0)
      return -1;
    return lmpy_open_column(unpack, reader->inner + 1, at, end, n - column->inner, depth,
                            LM_AT_PART);
  case LM_COLUMN_LIST:
  case LM_COLUMN_DICT:
  case LM_COLUMN_TUPLE:
    if (depth == 0)
      return lmpy_unpack_bad(unpack, LM_WRONG_DEPTH);
    if (column->kind == LM_COLUMN_LIST)
      return lmpy_open_lists(unpack, reader, at, end, depth - 1);
    return lmpy_open_fields(unpack, reader, at, end, n, depth - 1);
  case LM_COLUMN_BOOL:
  case LM_COLUMN_RAW: /* refused in lists */
    break;
  }
  return 0;
}

/* --- cells --- */

static int
decode_columns_fill_any(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out,
                        size_t n)
{
  for (size_t i = 0; i < n; i++)
    if ((out[i] = lmpy_unpack_value(unpack, &reader->at, reader->end, reader->depth)) == NULL)
      return lmpy_give_up(out, i, n);
  return 0;
}

static int
decode_columns_fill_const(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out,
                          size_t n)
{
  (void)unpack;
  for (size_t i = 0; i < n; i++)
    out[i] = Py_NewRef(reader->constant);
  return 0;
}

/* Make the cells that are not None, then move them to their places, last one first. */
static int
decode_columns_fill_present(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out,
                            size_t n)
{
  const uint8_t *bits = reader->column.data;
  const uint64_t next = reader->next;
  size_t there = 0;
  for (size_t i = 0; i < n; i++)
    there += lm_bit(bits, next + i);
  if (lmpy_fill_column(unpack, reader->inner, out, there) != 0)
    return lmpy_give_up(out, there, n);
  for (size_t i = n; i > there; i--)
    out[i - 1] = lm_bit(bits, next + i - 1) ? out[--there] : Py_NewRef(Py_None);
  return 0;
}

static int
decode_columns_fill_parts(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out,
                          size_t n)
{
  uint64_t left = reader->next < reader->first ? reader->first - reader->next : 0;
  size_t some = n < left ? n : (size_t)left;
  if (some > 0 && lmpy_fill_column(unpack, reader->inner, out, some) != 0)
    return lmpy_give_up(out, some, n);
  return n == some ? 0 : lmpy_fill_column(unpack, reader->inner + 1, out + some, n - some);
}

int
lmpy_fill_column(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  static lmpy_fill *const kinds[LM_COLUMN_KINDS] = {[LM_COLUMN_ANY] = decode_columns_fill_any,
                                                    [LM_COLUMN_FLOAT] = lmpy_fill_floats,
                                                    [LM_COLUMN_INT] = lmpy_fill_ints,
                                                    [LM_COLUMN_TEXT] = lmpy_fill_texts,
                                                    [LM_COLUMN_CONST] = decode_columns_fill_const,
                                                    [LM_COLUMN_LIST] = lmpy_fill_lists,
                                                    [LM_COLUMN_DICT] = lmpy_fill_rows,
                                                    [LM_COLUMN_BOOL] = lmpy_fill_bools,
                                                    [LM_COLUMN_NULLABLE] =
                                                        decode_columns_fill_present,
                                                    [LM_COLUMN_DECIMAL] = lmpy_fill_floats,
                                                    [LM_COLUMN_UNIQUE] = lmpy_fill_unique,
                                                    [LM_COLUMN_TUPLE] = lmpy_fill_rows,
                                                    [LM_COLUMN_SPLIT] = decode_columns_fill_parts,
                                                    [LM_COLUMN_FRAMES] = lmpy_fill_frames};
  return lmpy_fill_by(kinds[reader->column.kind], unpack, reader, out, n);
}

PyObject *
lmpy_unpack_list(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end, unsigned depth)
{
  uint64_t n;
  struct lmpy_reader reader = {0};
  PyObject *list = NULL;
  const char *wrong = lm_list_read(&at, end, &n);
  if (wrong != NULL)
    return lmpy_unpack_refuse(unpack, wrong);
  if (lmpy_unpack_charge(unpack, n * LM_COST_SLOT) != 0)
    return NULL;
  if (lmpy_open_column(unpack, &reader, &at, end, n, depth, LM_AT_FIELD) != 0)
    goto done;
  if (at != end) {
    lmpy_unpack_bad(unpack, LM_WRONG_EXT_TAIL);
    goto done;
  }
  list = PyList_New((Py_ssize_t)n);
  if (list != NULL && lmpy_fill_column(unpack, &reader, PySequence_Fast_ITEMS(list), n) != 0)
    Py_CLEAR(list);

done:
  lmpy_reader_close(&reader);
  return list;
}
