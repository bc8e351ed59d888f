/* Columns to lists: a column writes many cells at once, in a loop of its kind; those of a dict's or a
 * tuple's columns become rows a group at a time. Bounded by itself: lm_column_read checks every length,
 * and what the cells will take is counted before they are made. */
#include "codec/codec.h"

#include "base/alloc.h"
#include "wire/mpread.h"
#include "wire/numbers.h"

enum {
  FEW_KEYS = 5,      /* up to here a dict grows faster than another is copied */
  GROUP_CELLS = 512, /* of all columns of a dict or tuple, made before their rows */
  NUMBERS = 64       /* unpacked at once */
};

struct reader {
  struct lm_column column;
  unsigned depth;
  uint64_t next;           /* cell */
  const uint8_t *at, *end; /* ANY: values */
  const uint8_t *indices;  /* UNIQUE */
  const uint8_t *text;     /* TEXT: the next one */
  PyObject *constant;      /* CONST, FRAMES; strong */
  PyObject *row;           /* DICT: the last one; strong or NULL */
  struct reader *inner;    /* n_inner of them; owned, with what the next two point to */
  PyObject **values;       /* UNIQUE: the texts; DICT: the keys; n_values, strong */
  PyObject **cells;        /* DICT, TUPLE: for each column its cell of the row before and those of
                              `group` rows */
  uint32_t n_inner, n_values, group;
  uint64_t first; /* SPLIT: cells of the first part */
};

/* Where a column stands; as in lm_mpcheck. */
enum place { AT_FIELD, AT_PART, AT_PRESENT };

static int fill(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n);
static int open_reader(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
                       const uint8_t *end, uint64_t n, unsigned depth, enum place place);

static int
refuse(struct lmpy_unpack *unpack, const char *text)
{
  lmpy_unpack_refuse(unpack, text);
  return -1;
}

static int
charge(struct lmpy_unpack *unpack, uint64_t bytes)
{
  return lmpy_budget_charge(unpack->budget, bytes);
}

static void
close_reader(struct reader *reader)
{
  for (uint32_t i = 0; i < reader->n_inner; i++)
    close_reader(&reader->inner[i]);
  for (uint32_t i = 0; i < reader->n_values; i++)
    Py_XDECREF(reader->values[i]);
  lm_free(reader->inner);
  Py_XDECREF(reader->row);
  Py_XDECREF(reader->constant);
}

/* --- opening --- */

/* Room for columns inside, values, and cells, which are not set yet. */
static int
make_room(struct reader *reader, uint64_t n_inner, uint64_t n_values, uint64_t n_cells)
{
  size_t zeroed = (size_t)n_inner * sizeof *reader->inner + (size_t)n_values * sizeof(PyObject *);
  reader->inner = lm_alloc(zeroed + (size_t)n_cells * sizeof(PyObject *) + 1);
  if (reader->inner == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  memset(reader->inner, 0, zeroed);
  reader->values = (PyObject **)(void *)(reader->inner + n_inner);
  reader->cells = reader->values + n_values;
  reader->n_inner = (uint32_t)n_inner;
  reader->n_values = (uint32_t)n_values;
  return 0;
}

static int
open_fields(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
            const uint8_t *end, uint64_t n, unsigned depth)
{
  uint64_t fields = reader->column.inner, group = fields < GROUP_CELLS ? GROUP_CELLS : fields;
  bool dict = reader->column.kind == LM_COLUMN_DICT;
  group = fields == 0 ? 1 : group / fields;
  reader->group = (uint32_t)(n < group ? n : group);
  /* The cells have been charged: they are no more than there are rows. */
  if (charge(unpack, fields * (sizeof *reader + 2 * sizeof(PyObject *))) != 0 ||
      make_room(reader, fields, dict ? fields : 0, fields * (reader->group + 1)) != 0)
    return -1;
  for (uint64_t i = 0; i < fields; i++) {
    if (dict) {
      struct lm_mp_token key = {0};
      lm_mp_next(at, end, &key);
      if (key.kind != LM_MP_STR)
        return refuse(unpack, "a column of dicts with a key that is no text");
      if ((reader->values[i] = lmpy_unpack_key(unpack, key.data, key.len)) == NULL)
        return -1;
    }
    if (open_reader(unpack, &reader->inner[i], at, end, n, depth, AT_FIELD) != 0)
      return -1;
  }
  return 0;
}

static int
open_unique(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
            const uint8_t *end, uint64_t n, unsigned depth)
{
  struct reader texts = {0};
  if (*at == end || **at != LM_COLUMN_TEXT)
    return refuse(unpack, "a column of different values that are no texts");
  int result = -1;
  if (open_reader(unpack, &texts, at, end, reader->column.inner, depth, AT_PRESENT) == 0) {
    const char *wrong = lm_column_read_indices(at, end, n, &reader->column, &reader->indices);
    if (wrong != NULL)
      refuse(unpack, wrong);
    else
      result = make_room(reader, 0, reader->column.inner, 0);
  }
  if (result == 0)
    result = fill(unpack, &texts, reader->values, reader->n_values);
  close_reader(&texts);
  return result;
}

static int
open_const(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
           const uint8_t *end)
{
  const uint8_t *from = *at;
  struct lm_mp_token token = {0};
  lm_mp_next(at, end, &token);
  if (token.kind == LM_MP_BAD || token.kind > LM_MP_STR)
    return refuse(unpack, "a column of one value that is no scalar");
  *at = from;
  reader->constant = lmpy_unpack_value(unpack, at, end, 0);
  return reader->constant == NULL ? -1 : 0;
}

static int
open_frames(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
            const uint8_t *end, uint64_t n, unsigned depth)
{
  const uint8_t *from = *at;
  struct lm_mp_token token = {0};
  lm_mp_next(at, end, &token);
  if (token.kind != LM_MP_EXT || token.ext != LM_EXT_FRAMES || depth == 0)
    return refuse(unpack, "a column of frames that are none, or are nested too deep");
  *at = from;
  reader->constant = lmpy_unpack_value(unpack, at, end, depth);
  if (reader->constant == NULL)
    return -1;
  if (!PyList_CheckExact(reader->constant) || PyList_GET_SIZE(reader->constant) != (Py_ssize_t)n)
    return refuse(unpack, "a column of more or fewer frames than it has cells");
  return 0;
}

/* n values of msgpack, stepped over; they are made when their rows are. */
static int
open_any(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at, const uint8_t *end,
         uint64_t n)
{
  reader->at = *at;
  if (charge(unpack, n * LM_CELL_NUMBER) != 0)
    return -1;
  for (uint64_t left = n; left > 0; left--) {
    struct lm_mp_token token = {0};
    lm_mp_next(at, end, &token);
    if (token.kind == LM_MP_BAD)
      return refuse(unpack, "it ends in its middle, or holds a byte that begins nothing");
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

static int
open_reader(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
            const uint8_t *end, uint64_t n, unsigned depth, enum place place)
{
  struct lm_column *column = &reader->column;
  bool unknown;
  const char *wrong = lm_column_read(at, end, n, 0, &unpack->sections, column, &unknown);
  if (wrong != NULL)
    return refuse(unpack, wrong);
  reader->depth = depth;
  /* The kind that makes frames charges for them itself. */
  if (column->kind != LM_COLUMN_FRAMES && charge(unpack, lm_column_cost(column, n)) != 0)
    return -1;
  switch (column->kind) {
  case LM_COLUMN_ANY:
    return open_any(unpack, reader, at, end, n);
  case LM_COLUMN_CONST:
    return open_const(unpack, reader, at, end);
  case LM_COLUMN_FRAMES:
    return open_frames(unpack, reader, at, end, n, depth);
  case LM_COLUMN_TEXT:
    reader->text = column->data;
    return column->element == LM_TEXT_DECIMAL && unpack->state->decimal == NULL
               ? lmpy_codec_need_decimal(unpack->state)
               : 0;
  case LM_COLUMN_FLOAT:
  case LM_COLUMN_DECIMAL:
    return column->element == LM_FLOAT_NUMPY ? lmpy_codec_need_numpy(unpack) : 0;
  case LM_COLUMN_INT:
    return column->element == LM_INT_NUMPY ? lmpy_codec_need_numpy(unpack) : 0;
  case LM_COLUMN_UNIQUE:
    return open_unique(unpack, reader, at, end, n, depth);
  case LM_COLUMN_NULLABLE:
    if (place >= AT_PRESENT)
      return refuse(unpack, "a column of missing cells inside of another");
    if (make_room(reader, 1, 0, 0) != 0)
      return -1;
    return open_reader(unpack, reader->inner, at, end, column->inner, depth, AT_PRESENT);
  case LM_COLUMN_SPLIT:
    if (place >= AT_PART)
      return refuse(unpack, "a column in parts inside of another");
    reader->first = column->inner;
    if (make_room(reader, 2, 0, 0) != 0 ||
        open_reader(unpack, reader->inner, at, end, column->inner, depth, AT_PART) != 0)
      return -1;
    return open_reader(unpack, reader->inner + 1, at, end, n - column->inner, depth, AT_PART);
  case LM_COLUMN_LIST:
  case LM_COLUMN_DICT:
  case LM_COLUMN_TUPLE:
    if (depth == 0)
      return refuse(unpack, "the value is nested too deep");
    if (column->kind != LM_COLUMN_LIST)
      return open_fields(unpack, reader, at, end, n, depth - 1);
    if (make_room(reader, 1, 0, 0) != 0)
      return -1;
    return open_reader(unpack, reader->inner, at, end, column->inner, depth - 1, AT_FIELD);
  default:
    return 0;
  }
}

/* --- cells: each of these makes n at *out. On failure, -1 and an exception, it leaves NULL for those
 * that were not made. --- */

static int
give_up(PyObject **out, size_t made, size_t n)
{
  memset(out + made, 0, (n - made) * sizeof *out);
  return -1;
}

/* n doubles of the column, little-endian or packed. */
static void
read_doubles(const struct lm_column *column, uint64_t from, size_t n, double *numbers)
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

static int
fill_floats(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  double numbers[NUMBERS];
  for (size_t i = 0; i < n;) {
    size_t some = n - i < NUMBERS ? n - i : NUMBERS, j = 0;
    PyObject **place = out + i;
    read_doubles(&reader->column, reader->next + i, some, numbers);
    if (reader->column.element == LM_FLOAT)
      while (j < some && (place[j] = PyFloat_FromDouble(numbers[j])) != NULL)
        j++;
    else
      while (j < some && (place[j] = lmpy_numpy_float(unpack->state, numbers[j])) != NULL)
        j++;
    i += j;
    if (j < some)
      return give_up(out, i, n);
  }
  return 0;
}

static PyObject *
new_int(struct lmpy_unpack *unpack, uint8_t element, int64_t number)
{
  if (element == LM_INT)
    return PyLong_FromLongLong(number);
  if (element == LM_INT_NUMPY)
    return lmpy_numpy_int(unpack->state, number);
  return lmpy_date_from(element, number);
}

static int
fill_ints(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  const struct lm_column *column = &reader->column;
  const uint8_t *at = column->data + reader->next * column->width;
  int64_t numbers[NUMBERS];
  for (size_t i = 0; i < n;) {
    size_t some = n - i < NUMBERS ? n - i : NUMBERS;
    lm_unpack_ints(at, some, column->minimum, column->width, numbers);
    at += some * column->width;
    for (size_t j = 0; j < some; j++, i++)
      if ((out[i] = new_int(unpack, column->element, numbers[j])) == NULL)
        return give_up(out, i, n);
  }
  return 0;
}

/* A text that is not ASCII, or what is written as one. */
static PyObject *
new_text(struct lmpy_unpack *unpack, uint8_t element, const uint8_t *at, uint32_t len)
{
  if (element == LM_TEXT_BYTES)
    return PyBytes_FromStringAndSize((const char *)at, len);
  PyObject *text = lmpy_text(at, len), *made = NULL;
  if (element != LM_TEXT_DECIMAL || text == NULL)
    return text;
  made = PyObject_CallOneArg((PyObject *)unpack->state->decimal, text);
  Py_DECREF(text);
  return made;
}

static int
fill_texts(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  const struct lm_lengths lengths = reader->column.lengths;
  const uint8_t *at = reader->text;
  const uint8_t *bytes = lengths.width == 1 ? lengths.at + reader->next : NULL;
  uint32_t len;
  size_t i = 0;
  if (reader->column.element == LM_TEXT_ASCII) /* most are this */
    for (; i < n; i++) {
      len = bytes != NULL ? bytes[i] : lm_length_at(&lengths, reader->next + i);
      if ((out[i] = PyUnicode_New(len, 127)) == NULL)
        return give_up(out, i, n);
      lmpy_copy_text(PyUnicode_1BYTE_DATA(out[i]), at, len);
      at += len;
    }
  for (uint32_t before = UINT32_MAX; i < n; i++, before = len) {
    len = lm_length_at(&lengths, reader->next + i);
    if (len == before && memcmp(at, at - len, len) == 0) /* cheaper than to make it again */
      out[i] = Py_NewRef(out[i - 1]);
    else
      out[i] = new_text(unpack, reader->column.element, at, len);
    if (out[i] == NULL)
      return give_up(out, i, n);
    at += len;
  }
  reader->text = at;
  return 0;
}

static int
fill_lists(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t len = lm_length_at(&reader->column.lengths, reader->next + i);
    out[i] = PyList_New(len);
    if (out[i] == NULL || fill(unpack, reader->inner, PySequence_Fast_ITEMS(out[i]), len) != 0)
      return give_up(out, i + 1, n);
  }
  return 0;
}

/* The cells that are there, then moved to their places from behind. */
static int
fill_present(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  const uint8_t *bits = reader->column.data;
  size_t there = 0;
  for (size_t i = 0; i < n; i++)
    there += lm_bit(bits, reader->next + i);
  if (fill(unpack, reader->inner, out, there) != 0)
    return give_up(out, there, n);
  for (size_t i = n; i > there; i--)
    out[i - 1] = lm_bit(bits, reader->next + i - 1) ? out[--there] : Py_NewRef(Py_None);
  return 0;
}

static int
fill_parts(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  uint64_t left = reader->next < reader->first ? reader->first - reader->next : 0;
  size_t some = n < left ? n : (size_t)left;
  if (some > 0 && fill(unpack, reader->inner, out, some) != 0)
    return give_up(out, some, n);
  return n == some ? 0 : fill(unpack, reader->inner + 1, out + some, n - some);
}

/* --- rows: the cells of n of them first, which stand behind those of the row before --- */

static void
drop_cells(struct reader *reader, uint32_t columns, size_t from, size_t n)
{
  for (uint32_t i = 0; i < columns; i++)
    for (size_t row = from; row < n; row++)
      Py_XDECREF(reader->cells[i * (reader->group + (size_t)1) + 1 + row]);
}

static int
fill_fields(struct lmpy_unpack *unpack, struct reader *reader, size_t n)
{
  size_t stride = reader->group + (size_t)1;
  for (uint32_t i = 0; i < reader->n_inner; i++)
    if (fill(unpack, &reader->inner[i], reader->cells + i * stride + 1, n) != 0) {
      drop_cells(reader, i + 1, 0, n);
      return -1;
    }
  return 0;
}

/* Takes the cells, which stand `stride` apart, whether it succeeds or not. A dict is cheapest as a copy
 * of the one before it, in which the cells that differ are set. */
static PyObject *
new_dict(struct lmpy_unpack *unpack, struct reader *reader, PyObject **cells)
{
  uint32_t n = reader->n_inner, i = 0;
  size_t stride = reader->group + (size_t)1;
  bool copy = reader->row != NULL;
  PyObject *dict = copy ? PyDict_Copy(reader->row) : PyDict_New();
  for (; dict != NULL && i < n; i++, cells += stride) {
    PyObject *cell = cells[0];
    if (!(copy && cell == cells[-1]) && PyDict_SetItem(dict, reader->values[i], cell) != 0)
      Py_CLEAR(dict);
    Py_DECREF(cell);
  }
  for (; i < n; i++, cells += stride)
    Py_DECREF(cells[0]);
  if (dict != NULL && PyDict_GET_SIZE(dict) != (Py_ssize_t)n) {
    Py_CLEAR(dict);
    lmpy_unpack_refuse(unpack, "a dict has the same key twice");
  }
  if (n > FEW_KEYS)
    Py_XSETREF(reader->row, Py_XNewRef(dict));
  return dict;
}

static PyObject *
new_tuple(struct reader *reader, PyObject **cells)
{
  size_t stride = reader->group + (size_t)1;
  PyObject *tuple = PyTuple_New(reader->n_inner);
  for (uint32_t i = 0; i < reader->n_inner; i++, cells += stride) {
    if (tuple != NULL)
      PyTuple_SET_ITEM(tuple, i, cells[0]);
    else
      Py_DECREF(cells[0]);
  }
  return tuple;
}

static int
fill_rows(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  size_t stride = reader->group + (size_t)1;
  bool dict = reader->column.kind == LM_COLUMN_DICT;
  for (size_t i = 0; i < n;) {
    size_t some = n - i < reader->group ? n - i : reader->group;
    if (fill_fields(unpack, reader, some) != 0)
      return give_up(out, i, n);
    for (size_t row = 0; row < some; row++, i++) {
      PyObject **cells = reader->cells + 1 + row;
      if ((out[i] = dict ? new_dict(unpack, reader, cells) : new_tuple(reader, cells)) == NULL) {
        drop_cells(reader, reader->n_inner, row + 1, some);
        return give_up(out, i, n);
      }
    }
    for (uint32_t column = 0; column < reader->n_inner; column++)
      reader->cells[column * stride] = reader->cells[column * stride + some];
  }
  return 0;
}

/* The next n cells; no more are asked for than the column has. */
static int
fill_others(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  const struct lm_column *column = &reader->column;
  const struct lm_lengths indices = {column->width, 0, reader->indices};
  for (size_t i = 0; i < n; i++) {
    uint64_t at = reader->next + i;
    switch (column->kind) {
    case LM_COLUMN_CONST:
      out[i] = Py_NewRef(reader->constant);
      break;
    case LM_COLUMN_FRAMES:
      out[i] = Py_NewRef(PyList_GET_ITEM(reader->constant, (Py_ssize_t)at));
      break;
    case LM_COLUMN_UNIQUE:
      out[i] = Py_NewRef(reader->values[lm_length_at(&indices, at)]);
      break;
    case LM_COLUMN_BOOL:
      out[i] = Py_NewRef(lm_bit(column->data, at) ? Py_True : Py_False);
      break;
    default:
      out[i] = lmpy_unpack_value(unpack, &reader->at, reader->end, reader->depth);
      if (out[i] == NULL)
        return give_up(out, i, n);
    }
  }
  return 0;
}

static int
fill(struct lmpy_unpack *unpack, struct reader *reader, PyObject **out, size_t n)
{
  static int (*const kinds[LM_COLUMN_KINDS])(struct lmpy_unpack *, struct reader *, PyObject **,
                                             size_t) = {
      [LM_COLUMN_ANY] = fill_others,       [LM_COLUMN_FLOAT] = fill_floats,
      [LM_COLUMN_INT] = fill_ints,         [LM_COLUMN_TEXT] = fill_texts,
      [LM_COLUMN_CONST] = fill_others,     [LM_COLUMN_LIST] = fill_lists,
      [LM_COLUMN_DICT] = fill_rows,        [LM_COLUMN_BOOL] = fill_others,
      [LM_COLUMN_NULLABLE] = fill_present, [LM_COLUMN_DECIMAL] = fill_floats,
      [LM_COLUMN_UNIQUE] = fill_others,    [LM_COLUMN_TUPLE] = fill_rows,
      [LM_COLUMN_SPLIT] = fill_parts,      [LM_COLUMN_FRAMES] = fill_others};
  for (size_t i = 0; i < n;) {
    size_t some = n - i < LMPY_PAUSE ? n - i : LMPY_PAUSE;
    if (kinds[reader->column.kind](unpack, reader, out + i, some) != 0)
      return give_up(out, i + some, n);
    reader->next += some;
    i += some;
    if (lmpy_unpack_work(unpack, (unsigned)some) != 0)
      return give_up(out, i, n);
  }
  return 0;
}

PyObject *
lmpy_unpack_list(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end, unsigned depth)
{
  uint64_t n;
  struct reader reader = {0};
  PyObject *list = NULL;
  if (!lm_varint_read(&at, end, &n) || n > UINT32_MAX)
    return lmpy_unpack_refuse(unpack, "a list with a length that cannot be");
  if (charge(unpack, n * LM_CELL_SLOT) != 0)
    return NULL;
  if (open_reader(unpack, &reader, &at, end, n, depth, AT_FIELD) != 0)
    goto done;
  if (at != end) {
    refuse(unpack, "a list with something behind its column");
    goto done;
  }
  list = PyList_New((Py_ssize_t)n);
  if (list != NULL && fill(unpack, &reader, PySequence_Fast_ITEMS(list), n) != 0)
    Py_CLEAR(list);

done:
  close_reader(&reader);
  return list;
}
