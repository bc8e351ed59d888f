#include "codec/decode/rows.h"

#include "codec/decode/columns.h"
#include "codec/decode/text.h"
#include "codec/decode/value.h"
#include "wire/mpread.h"
#include "wire/rules.h"

enum {
  FEW_KEYS = 5,     /* up to this many, inserting is faster than copying a dict */
  GROUP_CELLS = 512 /* of all columns of a dict or tuple, made before their rows are */
};

int
lmpy_open_lists(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                const uint8_t *end, unsigned depth)
{
  if (lmpy_reader_room(reader, 1, 0, 0) != 0)
    return -1;
  return lmpy_open_column(unpack, reader->inner, at, end, reader->column.inner, depth, LM_AT_FIELD);
}

int
lmpy_open_fields(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                 const uint8_t *end, uint64_t n, unsigned depth)
{
  uint64_t fields = reader->column.inner, group = fields < GROUP_CELLS ? GROUP_CELLS : fields;
  bool dict = reader->column.kind == LM_COLUMN_DICT;
  group = fields == 0 ? 1 : group / fields;
  reader->group = (uint32_t)(n < group ? n : group);
  /* The rows have been charged, and there are at most as many cells. */
  if (lmpy_unpack_charge(unpack, fields * (sizeof *reader + 2 * sizeof(PyObject *))) != 0 ||
      lmpy_reader_room(reader, fields, dict ? fields : 0, fields * (reader->group + 1)) != 0)
    return -1;
  for (uint64_t i = 0; i < fields; i++) {
    if (dict) {
      struct lm_mp_token key = {0};
      const char *wrong = lm_column_read_key(at, end, &key);
      if (wrong != NULL)
        return lmpy_unpack_bad(unpack, wrong);
      if ((reader->values[i] = lmpy_unpack_key(unpack, key.data, key.len)) == NULL)
        return -1;
    }
    if (lmpy_open_column(unpack, &reader->inner[i], at, end, n, depth, LM_AT_FIELD) != 0)
      return -1;
  }
  return 0;
}

int
lmpy_open_frames(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                 const uint8_t *end, uint64_t n, unsigned depth)
{
  reader->constant = lmpy_unpack_value(unpack, at, end, depth);
  if (reader->constant == NULL)
    return -1;
  if (!PyList_CheckExact(reader->constant) || PyList_GET_SIZE(reader->constant) != (Py_ssize_t)n)
    return lmpy_unpack_bad(unpack, "FRAMES column: the numbers of frames and cells differ");
  return 0;
}

/* --- cells --- */

int
lmpy_fill_lists(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t len = lm_length_at(&reader->column.lengths, reader->next + i);
    out[i] = PyList_New(len);
    if (out[i] == NULL ||
        lmpy_fill_column(unpack, reader->inner, PySequence_Fast_ITEMS(out[i]), len) != 0)
      return lmpy_give_up(out, i + 1, n);
  }
  return 0;
}

/* --- rows: first the cells of n rows are made, stored after those of the previous row --- */

static void
decode_rows_drop_cells(struct lmpy_reader *reader, uint32_t columns, size_t from, size_t n)
{
  for (uint32_t i = 0; i < columns; i++)
    for (size_t row = from; row < n; row++)
      Py_XDECREF(reader->cells[i * (reader->group + (size_t)1) + 1 + row]);
}

static int
decode_rows_fill_fields(struct lmpy_unpack *unpack, struct lmpy_reader *reader, size_t n)
{
  size_t stride = reader->group + (size_t)1;
  for (uint32_t i = 0; i < reader->n_inner; i++)
    if (lmpy_fill_column(unpack, &reader->inner[i], reader->cells + i * stride + 1, n) != 0) {
      decode_rows_drop_cells(reader, i + 1, 0, n);
      return -1;
    }
  return 0;
}

/* Steals the cells, `stride` apart, also on failure. Copying the previous dict and setting the cells that
 * differ is the fastest way to make one. */
static PyObject *
decode_rows_new_dict(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **cells)
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
    lmpy_unpack_refuse(unpack, LM_WRONG_SAME_KEY);
  }
  if (n > FEW_KEYS)
    Py_XSETREF(reader->row, Py_XNewRef(dict));
  return dict;
}

static PyObject *
decode_rows_new_tuple(struct lmpy_reader *reader, PyObject **cells)
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

int
lmpy_fill_rows(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  size_t stride = reader->group + (size_t)1;
  bool dict = reader->column.kind == LM_COLUMN_DICT;
  for (size_t i = 0; i < n;) {
    size_t some = n - i < reader->group ? n - i : reader->group;
    if (decode_rows_fill_fields(unpack, reader, some) != 0)
      return lmpy_give_up(out, i, n);
    for (size_t row = 0; row < some; row++, i++) {
      PyObject **cells = reader->cells + 1 + row;
      if ((out[i] = dict ? decode_rows_new_dict(unpack, reader, cells)
                         : decode_rows_new_tuple(reader, cells)) == NULL) {
        decode_rows_drop_cells(reader, reader->n_inner, row + 1, some);
        return lmpy_give_up(out, i, n);
      }
    }
    for (uint32_t column = 0; column < reader->n_inner; column++)
      reader->cells[column * stride] = reader->cells[column * stride + some];
  }
  return 0;
}

int
lmpy_fill_frames(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  (void)unpack;
  for (size_t i = 0; i < n; i++)
    out[i] = Py_NewRef(PyList_GET_ITEM(reader->constant, (Py_ssize_t)(reader->next + i)));
  return 0;
}
