/* Many cells into a column at once, in loops that keep their state in registers. Nothing here runs
 * Python code or makes an object that the collector knows, so borrowed pointers stay good. */
#include "codec/encode/gather.h"

enum {
  MATRIX = 512, /* cells of dicts that are looked at together */
  LOOSE_BYTES =
      8 /* room behind a text, so that its first 8 bytes can be read whatever its length */
};

/* --- as many cells of the column's kind as there are in a row --- */

/* NULL without an exception: it has lone surrogates, or there is no memory for it. */
static const void *
wide_text(PyObject *text, size_t *len)
{
  Py_ssize_t n;
  const char *bytes = PyUnicode_AsUTF8AndSize(text, &n);
  if (bytes == NULL)
    PyErr_Clear();
  *len = bytes == NULL ? 0 : (size_t)n;
  return bytes;
}

static Py_ssize_t
take_texts(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
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
    } else if ((text = wide_text(cell, &len)) != NULL) {
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

static Py_ssize_t
take_floats(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  PyTypeObject *type = gather->element == LM_FLOAT ? &PyFloat_Type : pack->state->float64;
  uint8_t *at = lmpy_gather_room(&gather->data, n * 8);
  if (at == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  for (; i < n && Py_IS_TYPE(cells[i], type); i++) {
    double number = PyFloat_AS_DOUBLE(cells[i]); /* numpy.float64 is a float, too */
    memcpy(at + 8 * i, &number, 8);
  }
  gather->data.len += i * 8;
  return lmpy_gather_count(pack, gather, i, i * 8) != 0 ? -1 : (Py_ssize_t)i;
}

static Py_ssize_t
take_ints(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  uint8_t *at = lmpy_gather_room(&gather->data, n * 8);
  if (at == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  for (; i < n; i++) {
    int64_t number;
    if (!PyLong_CheckExact(cells[i]) || lmpy_int_value(cells[i], &number) != 0)
      break;
    memcpy(at + 8 * i, &number, 8);
  }
  gather->data.len += i * 8;
  return lmpy_gather_count(pack, gather, i, i * 8) != 0 ? -1 : (Py_ssize_t)i;
}

static Py_ssize_t
take_bools(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  uint8_t *at = lmpy_gather_room(&gather->data, n);
  if (at == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  for (; i < n && PyBool_Check(cells[i]); i++)
    at[i] = cells[i] == Py_True;
  gather->data.len += i;
  return lmpy_gather_count(pack, gather, i, i) != 0 ? -1 : (Py_ssize_t)i;
}

static Py_ssize_t
take_lists(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  uint8_t *lengths = lmpy_gather_room(&gather->lengths, n * sizeof(uint32_t));
  if (lengths == NULL)
    return lmpy_gather_no_memory(pack);
  size_t i = 0;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  for (; i < n && PyList_CheckExact(cells[i]); i++) {
    size_t items = (size_t)PyList_GET_SIZE(cells[i]);
    uint32_t before = lmpy_gather_size(gather->inner), length = (uint32_t)items;
    if (items > LMPY_GATHER_BYTES || before > LMPY_GATHER_BYTES)
      break;
    int result = lmpy_cells_append(pack, gather->inner, PySequence_Fast_ITEMS(cells[i]), items);
    if (result != 0) {
      lmpy_gather_cut(gather->inner, before);
      if (result < 0)
        return -1;
      break;
    }
    memcpy(lengths + i * sizeof length, &length, sizeof length);
  }
  pack->depth--;
  gather->lengths.len += i * sizeof(uint32_t);
  return lmpy_gather_count(pack, gather, i, i) != 0 ? -1 : (Py_ssize_t)i;
}

/* Columns inside of dicts and tuples: all or none of n rows. */
static Py_ssize_t
take_fields(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *matrix,
            size_t stride, size_t n)
{
  int result = 0;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  for (uint32_t i = 0; i < gather->n_inner && result == 0; i++)
    result = lmpy_cells_append(pack, &gather->inner[i], matrix + i * stride, n);
  pack->depth--;
  if (result == 0)
    return lmpy_gather_count(pack, gather, n, 0) != 0 ? -1 : (Py_ssize_t)n;
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_cut(&gather->inner[i], gather->dense);
  return result < 0 ? -1 : 0;
}

static Py_ssize_t
take_dicts(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  PyObject *matrix[MATRIX], *key, *value;
  size_t columns = gather->n_inner, stride = columns == 0 ? 0 : MATRIX / columns, row = 0;
  if (n < stride)
    stride = n;
  for (; row < stride; row++) {
    PyObject *dict = cells[row], **place = matrix + row, *const *keys = gather->keys;
    Py_ssize_t at = 0;
    if (row + 4 < stride)
      __builtin_prefetch(cells[row + 4]);
    if (!PyDict_CheckExact(dict) || PyDict_GET_SIZE(dict) != (Py_ssize_t)columns)
      break;
    for (; PyDict_Next(dict, &at, &key, &value); keys++, place += stride) {
      if (key != *keys && !lmpy_is_same_key(*keys, key))
        goto misfit;
      *place = value;
      __builtin_prefetch(value); /* read soon, by column */
    }
  }
misfit:
  return take_fields(pack, gather, matrix, stride, row);
}

static Py_ssize_t
take_tuples(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  PyObject *matrix[MATRIX];
  size_t columns = gather->n_inner, stride = columns == 0 ? n : MATRIX / columns, row = 0;
  if (n < stride)
    stride = n;
  for (; row < stride; row++) {
    PyObject *tuple = cells[row];
    if (!PyTuple_CheckExact(tuple) || PyTuple_GET_SIZE(tuple) != (Py_ssize_t)columns)
      break;
    for (size_t column = 0; column < columns; column++)
      matrix[column * stride + row] = PyTuple_GET_ITEM(tuple, (Py_ssize_t)column);
  }
  return take_fields(pack, gather, matrix, stride, row);
}

/* --- one cell that is less common --- */

static int
add_bytes(struct lmpy_pack *pack, struct lmpy_gather *gather, const void *bytes, Py_ssize_t n)
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
add_decimal(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyObject *text = PyObject_Str(value); /* decimal's own code */
  if (text == NULL)
    return -1;
  int result = lmpy_is_ascii(text)
                   ? add_bytes(pack, gather, PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text))
                   : LMPY_MISFIT;
  Py_DECREF(text);
  return result;
}

static int
add_number(struct lmpy_pack *pack, struct lmpy_gather *gather, int64_t number)
{
  if (lmpy_gather_push(&gather->data, &number, sizeof number) != 0)
    return lmpy_gather_no_memory(pack);
  return lmpy_gather_count(pack, gather, 1, sizeof number);
}

static int
add_numpy_int(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyObject *number = PyNumber_Index(value); /* numpy's own code */
  int64_t n;
  if (number == NULL)
    return -1;
  int result = lmpy_int_value(number, &n) != 0 ? LMPY_MISFIT : add_number(pack, gather, n);
  Py_DECREF(number);
  return result;
}

static int
add_one(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  if (value == Py_None)
    return lmpy_gather_none(pack, gather);
  if (gather->kind == LM_COLUMN_TEXT) {
    if (gather->element == LM_TEXT_BYTES)
      return type == &PyBytes_Type
                 ? add_bytes(pack, gather, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
                 : LMPY_MISFIT;
    if (gather->element == LM_TEXT_DECIMAL)
      return type == pack->state->decimal ? add_decimal(pack, gather, value) : LMPY_MISFIT;
    return LMPY_MISFIT; /* taken before, or it has lone surrogates */
  }
  if (gather->kind == LM_COLUMN_INT && gather->element == LM_INT_NUMPY)
    return type == pack->state->int64 ? add_numpy_int(pack, gather, value) : LMPY_MISFIT;
  if (gather->kind == LM_COLUMN_INT && gather->element != LM_INT) {
    uint8_t element;
    int64_t number;
    if (lmpy_date_number(value, &element, &number) == 1 && element == gather->element)
      return add_number(pack, gather, number);
  }
  return LMPY_MISFIT;
}

static Py_ssize_t
take(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells, size_t n)
{
  switch (gather->kind) {
  case LM_COLUMN_TEXT:
    return gather->element <= LM_TEXT_UTF8 ? take_texts(pack, gather, cells, n) : 0;
  case LM_COLUMN_FLOAT:
    return take_floats(pack, gather, cells, n);
  case LM_COLUMN_INT:
    return gather->element == LM_INT ? take_ints(pack, gather, cells, n) : 0;
  case LM_COLUMN_BOOL:
    return take_bools(pack, gather, cells, n);
  case LM_COLUMN_LIST:
    return take_lists(pack, gather, cells, n);
  case LM_COLUMN_DICT:
    return take_dicts(pack, gather, cells, n);
  case LM_COLUMN_TUPLE:
    return take_tuples(pack, gather, cells, n);
  default:
    return 0;
  }
}

int
lmpy_cells_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                  size_t n)
{
  if (gather->n_tail > 0)
    return LMPY_MISFIT;
  for (size_t i = 0; i < n;) {
    Py_ssize_t taken = take(pack, gather, cells + i, n - i);
    if (taken < 0)
      return -1;
    i += (size_t)taken;
    if (i == n)
      return 0;
    if (taken > 0)
      continue; /* a matrix was full */
    int result = add_one(pack, gather, cells[i]);
    if (result != 0)
      return result;
    i++;
  }
  return 0;
}
