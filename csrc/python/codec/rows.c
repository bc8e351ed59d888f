/* Columns to lists: each column is a reader that gives its cells one after the other, so that a row's
 * objects are made together. Bounded by itself: lm_column_read checks every length, and what the cells
 * will take is counted before they are made. */
#include "codec.h"

#include "base/alloc.h"
#include "wire/mpread.h"
#include "wire/numbers.h"

enum { FEW_KEYS = 5 /* up to here a dict grows faster than a template is copied */ };

struct reader {
  struct lm_column column;
  unsigned depth;
  uint64_t next;           /* cell */
  const uint8_t *at, *end; /* ANY: values */
  const uint8_t *indices;  /* UNIQUE */
  const uint8_t *text;     /* TEXT: the next one */
  PyObject *constant;      /* CONST; strong */
  PyObject *template;      /* DICT: all keys; strong */
  PyObject **values;       /* UNIQUE: column.inner; DICT: keys; strong */
  struct reader *inner;    /* owned, n_inner of them */
  uint32_t n_inner, n_values;
  uint64_t first; /* SPLIT: cells of the first part */
};

/* Where a column stands; as in lm_mpcheck. */
enum place { AT_FIELD, AT_PART, AT_PRESENT };

static PyObject *next(struct lmpy_unpack *unpack, struct reader *reader);
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
  if (bytes > unpack->left) {
    PyErr_Format(unpack->state->decode_failure, "the value would take more than %zu bytes",
                 unpack->opts->limits.max_output_bytes);
    return -1;
  }
  unpack->left -= (size_t)bytes;
  return 0;
}

static void
close_reader(struct reader *reader)
{
  for (uint32_t i = 0; i < reader->n_inner; i++)
    close_reader(&reader->inner[i]);
  lm_free(reader->inner);
  for (uint32_t i = 0; i < reader->n_values; i++)
    Py_XDECREF(reader->values[i]);
  lm_free(reader->values);
  Py_XDECREF(reader->template);
  Py_XDECREF(reader->constant);
}

/* --- opening --- */

static int
make_inner(struct reader *reader, uint64_t n)
{
  if (n == 0)
    return 0;
  reader->inner = lm_alloc_zero((size_t)n, sizeof *reader->inner);
  if (reader->inner == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  reader->n_inner = (uint32_t)n;
  return 0;
}

static int
make_values(struct reader *reader, uint64_t n)
{
  if (n == 0)
    return 0;
  reader->values = lm_alloc_zero((size_t)n, sizeof(PyObject *));
  if (reader->values == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  reader->n_values = (uint32_t)n;
  return 0;
}

static int
open_fields(struct lmpy_unpack *unpack, struct reader *reader, const uint8_t **at,
            const uint8_t *end, uint64_t n, unsigned depth)
{
  uint64_t fields = reader->column.inner;
  bool dict = reader->column.kind == LM_COLUMN_DICT;
  if (charge(unpack, fields * sizeof *reader) != 0 || make_inner(reader, fields) != 0)
    return -1;
  if (dict) {
    if (make_values(reader, fields) != 0 || (reader->template = PyDict_New()) == NULL)
      return -1;
  }
  for (uint64_t i = 0; i < fields; i++) {
    if (dict) {
      struct lm_mp_token key = {0};
      lm_mp_next(at, end, &key);
      if (key.kind != LM_MP_STR)
        return refuse(unpack, "a column of dicts with a key that is no text");
      reader->values[i] = lmpy_unpack_key(unpack, key.data, key.len);
      if (reader->values[i] == NULL ||
          PyDict_SetItem(reader->template, reader->values[i], Py_None) != 0)
        return -1;
    }
    if (open_reader(unpack, &reader->inner[i], at, end, n, depth, AT_FIELD) != 0)
      return -1;
  }
  if (dict && PyDict_GET_SIZE(reader->template) != (Py_ssize_t)fields)
    return refuse(unpack, "a dict has the same key twice");
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
      result = make_values(reader, reader->column.inner);
  }
  for (uint32_t i = 0; result == 0 && i < reader->n_values; i++)
    if ((reader->values[i] = next(unpack, &texts)) == NULL)
      result = -1;
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
  for (uint64_t left = n; left > 0; left--) {
    struct lm_mp_token token = {0};
    lm_mp_next(at, end, &token);
    if (token.kind == LM_MP_BAD)
      return refuse(unpack, "it ends in its middle, or holds a byte that begins nothing");
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
  if (charge(unpack, lm_column_cost(column, n)) != 0)
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
    if (make_inner(reader, 1) != 0)
      return -1;
    return open_reader(unpack, reader->inner, at, end, column->inner, depth, AT_PRESENT);
  case LM_COLUMN_SPLIT:
    if (place >= AT_PART)
      return refuse(unpack, "a column in parts inside of another");
    reader->first = column->inner;
    if (make_inner(reader, 2) != 0 ||
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
    if (make_inner(reader, 1) != 0)
      return -1;
    return open_reader(unpack, reader->inner, at, end, column->inner, depth - 1, AT_FIELD);
  default:
    return 0;
  }
}

/* --- cells --- */

static inline double
double_at(const uint8_t *at)
{
  uint64_t bits = lm_load_le(at, 8);
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static PyObject *
new_float(struct lmpy_unpack *unpack, uint8_t element, double number)
{
  if (element == LM_FLOAT)
    return PyFloat_FromDouble(number);
  return lmpy_numpy_float(unpack->state, number);
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

/* Most cells are this, so it is written out where cells are wanted. */
static inline PyObject *
next_ascii(struct reader *reader, uint64_t i)
{
  const struct lm_lengths *lengths = &reader->column.lengths;
  uint32_t len = lengths->width == 1 ? lengths->at[i] : lm_length_at(lengths, i);
  const uint8_t *at = reader->text;
  PyObject *text = PyUnicode_New(len, 127);
  reader->text = at + len;
  if (text != NULL && len > 0)
    lmpy_copy_text(PyUnicode_1BYTE_DATA(text), at, len);
  return text;
}

static PyObject *
next_text(struct lmpy_unpack *unpack, struct reader *reader, uint64_t i)
{
  if (reader->column.element == LM_TEXT_ASCII)
    return next_ascii(reader, i);
  uint32_t len = lm_length_at(&reader->column.lengths, i);
  const uint8_t *at = reader->text;
  reader->text += len;
  switch (reader->column.element) {
  case LM_TEXT_UTF8:
    return lmpy_text(at, len);
  case LM_TEXT_BYTES:
    return PyBytes_FromStringAndSize((const char *)at, len);
  default: {
    PyObject *text = lmpy_text(at, len);
    PyObject *made =
        text == NULL ? NULL
                     : PyObject_CallFunctionObjArgs((PyObject *)unpack->state->decimal, text, NULL);
    Py_XDECREF(text);
    return made;
  }
  }
}

/* Write n cells' objects; on failure the first *made of them are there. */
static int
fill(struct lmpy_unpack *unpack, struct reader *reader, PyObject *list, uint64_t n)
{
  struct lm_column *column = &reader->column;
  if (column->kind == LM_COLUMN_FLOAT && column->element == LM_FLOAT) {
    const uint8_t *at = column->data + 8 * reader->next;
    for (uint64_t i = 0; i < n; i++, at += 8) {
      PyObject *item = PyFloat_FromDouble(double_at(at));
      if (item == NULL)
        return -1;
      PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    reader->next += n;
    return 0;
  }
  if (column->kind == LM_COLUMN_DECIMAL && column->element == LM_FLOAT) {
    const struct lm_decimal decimal = {column->exponent, column->width, column->has_nan,
                                       column->minimum};
    double numbers[64];
    for (uint64_t i = 0; i < n;) {
      uint64_t count = n - i < 64 ? n - i : 64;
      lm_decimal_unpack(column->data + reader->next * column->width, count, &decimal, numbers);
      for (uint64_t j = 0; j < count; j++, i++) {
        PyObject *item = PyFloat_FromDouble(numbers[j]);
        if (item == NULL)
          return -1;
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
      }
      reader->next += count;
    }
    return 0;
  }
  for (uint64_t i = 0; i < n; i++) {
    PyObject *item = next(unpack, reader);
    if (item == NULL)
      return -1;
    PyList_SET_ITEM(list, (Py_ssize_t)i, item);
  }
  return 0;
}

static PyObject *
next_list(struct lmpy_unpack *unpack, struct reader *reader, uint64_t i)
{
  uint32_t n = lm_length_at(&reader->column.lengths, i);
  PyObject *list = PyList_New(n);
  if (list != NULL && fill(unpack, reader->inner, list, n) != 0)
    Py_CLEAR(list);
  return list;
}

static PyObject *
next_dict(struct lmpy_unpack *unpack, struct reader *reader)
{
  uint32_t n = reader->n_inner;
  PyObject *dict = n > FEW_KEYS ? PyDict_Copy(reader->template) : PyDict_New();
  for (uint32_t i = 0; dict != NULL && i < n; i++) {
    struct reader *inner = &reader->inner[i];
    PyObject *cell = inner->column.kind == LM_COLUMN_TEXT && inner->column.element == LM_TEXT_ASCII
                         ? next_ascii(inner, inner->next++)
                         : next(unpack, inner);
    if (cell == NULL || PyDict_SetItem(dict, reader->values[i], cell) != 0)
      Py_CLEAR(dict);
    Py_XDECREF(cell);
  }
  return dict;
}

static PyObject *
next_tuple(struct lmpy_unpack *unpack, struct reader *reader)
{
  PyObject *tuple = PyTuple_New(reader->n_inner);
  for (uint32_t i = 0; tuple != NULL && i < reader->n_inner; i++) {
    PyObject *cell = next(unpack, &reader->inner[i]);
    if (cell == NULL)
      Py_CLEAR(tuple);
    else
      PyTuple_SET_ITEM(tuple, i, cell);
  }
  return tuple;
}

/* The next cell; no more are asked for than the column has. */
static PyObject *
next(struct lmpy_unpack *unpack, struct reader *reader)
{
  const struct lm_column *column = &reader->column;
  uint64_t i = reader->next++;
  switch (column->kind) {
  case LM_COLUMN_FLOAT:
    return new_float(unpack, column->element, double_at(column->data + 8 * i));
  case LM_COLUMN_DECIMAL: {
    const struct lm_decimal decimal = {column->exponent, column->width, column->has_nan,
                                       column->minimum};
    return new_float(unpack, column->element, lm_decimal_at(column->data, i, &decimal));
  }
  case LM_COLUMN_INT:
    return new_int(unpack, column->element,
                   lm_packed_at(column->data, i, column->minimum, column->width));
  case LM_COLUMN_TEXT:
    return next_text(unpack, reader, i);
  case LM_COLUMN_CONST:
    return Py_NewRef(reader->constant);
  case LM_COLUMN_FRAMES:
    return Py_NewRef(PyList_GET_ITEM(reader->constant, (Py_ssize_t)i));
  case LM_COLUMN_UNIQUE: {
    struct lm_lengths each = {column->width, 0, reader->indices};
    return Py_NewRef(reader->values[lm_length_at(&each, i)]);
  }
  case LM_COLUMN_BOOL:
    return Py_NewRef(lm_bit(column->data, i) ? Py_True : Py_False);
  case LM_COLUMN_NULLABLE:
    return lm_bit(column->data, i) ? next(unpack, reader->inner) : Py_NewRef(Py_None);
  case LM_COLUMN_SPLIT:
    return next(unpack, reader->inner + (i >= reader->first));
  case LM_COLUMN_LIST:
    return next_list(unpack, reader, i);
  case LM_COLUMN_DICT:
    return next_dict(unpack, reader);
  case LM_COLUMN_TUPLE:
    return next_tuple(unpack, reader);
  default:
    return lmpy_unpack_value(unpack, &reader->at, reader->end, reader->depth);
  }
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
  if (list != NULL && fill(unpack, &reader, list, n) != 0)
    Py_CLEAR(list);

done:
  close_reader(&reader);
  return list;
}
