#include "codec/encode/rows.h"

#include <string.h>

#include "base/alloc.h"
#include "codec/encode/columns.h"
#include "codec/encode/numbers.h"
#include "codec/encode/value.h"
#include "codec/types.h"
#include "wire/mpread.h"

enum {
  MAX_KEYS = 1024,
  MAX_PLACES = 64,
  MATRIX = 512 /* cells of dicts handled together */
};

static inline bool
encode_rows_is_same_key(PyObject *mine, PyObject *theirs)
{
  if (mine == theirs)
    return true;
  return PyUnicode_CheckExact(theirs) &&
         PyUnicode_GET_LENGTH(mine) == PyUnicode_GET_LENGTH(theirs) &&
         PyUnicode_KIND(mine) == PyUnicode_KIND(theirs) &&
         memcmp(PyUnicode_DATA(mine), PyUnicode_DATA(theirs),
                (size_t)PyUnicode_GET_LENGTH(mine) * PyUnicode_KIND(mine)) == 0;
}

/* --- beginning --- */

static int
encode_rows_begin_fields(struct lmpy_pack *pack, struct lmpy_gather *gather, uint32_t n)
{
  gather->inner = lm_alloc_zero(n > 0 ? n : 1, sizeof *gather->inner);
  if (gather->inner == NULL)
    return lmpy_gather_no_memory(pack);
  gather->n_inner = n;
  return 0;
}

int
lmpy_begin_list(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  int result = encode_rows_begin_fields(pack, gather, 1);
  if (result == 0)
    gather->kind = LMPY_LISTS;
  return result;
}

int
lmpy_begin_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict)
{
  Py_ssize_t n = PyDict_GET_SIZE(dict), at = 0;
  PyObject *key, *value;
  if (n == 0 || n > MAX_KEYS)
    return LMPY_MISFIT;
  while (PyDict_Next(dict, &at, &key, &value))
    if (!PyUnicode_CheckExact(key) || PyUnicode_AsUTF8(key) == NULL) {
      PyErr_Clear(); /* lone surrogates */
      return LMPY_MISFIT;
    }
  gather->keys = lm_alloc_zero((size_t)n, sizeof(PyObject *));
  if (gather->keys == NULL || encode_rows_begin_fields(pack, gather, (uint32_t)n) != 0) {
    lm_free(gather->keys);
    gather->keys = NULL;
    return lmpy_gather_no_memory(pack);
  }
  at = 0;
  for (Py_ssize_t i = 0; i < n && PyDict_Next(dict, &at, &key, &value); i++)
    gather->keys[i] = Py_NewRef(key);
  gather->kind = LMPY_DICTS;
  return 0;
}

int
lmpy_begin_tuple(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *tuple)
{
  if (PyTuple_GET_SIZE(tuple) > MAX_PLACES)
    return LMPY_MISFIT;
  int result = encode_rows_begin_fields(pack, gather, (uint32_t)PyTuple_GET_SIZE(tuple));
  if (result == 0)
    gather->kind = LMPY_TUPLES;
  return result;
}

int
lmpy_begin_frames(struct lmpy_codec_state *state, struct lmpy_gather *gather, PyObject *frame)
{
  if (lmpy_types_load_kinds(state) != 0)
    return -1;
  Py_INCREF(frame);
  PyObject *shape = PyObject_CallMethodOneArg(state->kinds, state->names[LMPY_FRAME_SHAPE], frame);
  Py_DECREF(frame);
  if (shape == NULL || shape == Py_None) {
    Py_XDECREF(shape);
    return shape == NULL ? -1 : LMPY_MISFIT;
  }
  Py_XSETREF(gather->shape, shape);
  Py_XSETREF(gather->frames, PyList_New(0));
  if (gather->frames == NULL)
    return -1;
  gather->kind = LMPY_FRAMES;
  return 0;
}

/* --- one cell --- */

int
lmpy_add_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list)
{
  struct lmpy_gather *inner = gather->inner;
  uint32_t before = lmpy_gather_size(inner), length;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  Py_INCREF(list);
  int result = lmpy_gather_list(pack, inner, list);
  Py_DECREF(list);
  pack->depth--;
  length = lmpy_gather_size(inner) - before;
  if (result == 0 && lmpy_gather_push(&gather->lengths, &length, sizeof length) != 0)
    result = lmpy_gather_no_memory(pack);
  if (result != 0) {
    lmpy_gather_cut(inner, before);
    return -1;
  }
  return lmpy_gather_count(pack, gather, 1, 1);
}

/* End a row: keep all of its cells, or none. */
static int
encode_rows_end_row(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *row, int result)
{
  Py_DECREF(row);
  pack->depth--;
  if (result == 0)
    return lmpy_gather_count(pack, gather, 1, 0);
  lmpy_gather_cut_fields(gather);
  return result;
}

int
lmpy_add_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict)
{
  PyObject *key, *value;
  Py_ssize_t at = 0;
  uint32_t i = 0, n = gather->n_inner;
  if (PyDict_GET_SIZE(dict) != (Py_ssize_t)n)
    return LMPY_MISFIT;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  int result = 0;
  Py_INCREF(dict);
  while (PyDict_Next(dict, &at, &key, &value)) {
    if (i == n || !encode_rows_is_same_key(gather->keys[i], key)) {
      result = LMPY_MISFIT;
      break;
    }
    result = lmpy_gather_append(pack, &gather->inner[i], value);
    if (result != 0) {
      lmpy_pack_key_step(pack, gather->keys[i]);
      break;
    }
    i++;
  }
  if (result == 0 && (i != n || PyDict_GET_SIZE(dict) != (Py_ssize_t)n))
    result = lmpy_pack_refuse(pack, "the dict was changed during encoding");
  return encode_rows_end_row(pack, gather, dict, result);
}

int
lmpy_add_tuple(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *tuple)
{
  uint32_t n = gather->n_inner;
  if (PyTuple_GET_SIZE(tuple) != (Py_ssize_t)n)
    return LMPY_MISFIT;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  int result = 0;
  Py_INCREF(tuple);
  for (uint32_t i = 0; i < n && result == 0; i++) {
    result = lmpy_gather_append(pack, &gather->inner[i], PyTuple_GET_ITEM(tuple, i));
    if (result != 0)
      lmpy_pack_index_step(pack, i);
  }
  return encode_rows_end_row(pack, gather, tuple, result);
}

int
lmpy_add_frame(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *frame)
{
  struct lmpy_codec_state *state = pack->state;
  Py_INCREF(frame);
  PyObject *answer =
      PyObject_CallMethodObjArgs(state->kinds, state->names[LMPY_FRAME_SNAPSHOT], gather->shape,
                                 frame, pack->eager ? Py_True : Py_False, NULL);
  Py_DECREF(frame);
  if (answer == NULL || answer == Py_None) {
    Py_XDECREF(answer);
    return answer == NULL ? -1 : LMPY_MISFIT;
  }
  PyObject *copy;
  Py_ssize_t bytes;
  int result = -1;
  if (PyArg_ParseTuple(answer, "On", &copy, &bytes) && PyList_Append(gather->frames, copy) == 0)
    result = lmpy_gather_count(pack, gather, 1, (size_t)bytes);
  Py_DECREF(answer);
  return result;
}

/* --- many cells at once: runs no Python code and creates no tracked object, so borrowed references stay valid --- */

Py_ssize_t
lmpy_take_lists(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                size_t n)
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

/* Take the columns of n dicts or tuples: all rows or none. */
static Py_ssize_t
encode_rows_take_fields(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *matrix,
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
  lmpy_gather_cut_fields(gather);
  return result < 0 ? -1 : 0;
}

Py_ssize_t
lmpy_take_dicts(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                size_t n)
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
      if (key != *keys && !encode_rows_is_same_key(*keys, key))
        goto misfit;
      *place = value;
      __builtin_prefetch(value); /* read soon, by column */
    }
  }
misfit:
  return encode_rows_take_fields(pack, gather, matrix, stride, row);
}

Py_ssize_t
lmpy_take_tuples(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                 size_t n)
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
  return encode_rows_take_fields(pack, gather, matrix, stride, row);
}

/* --- writing --- */

int
lmpy_write_lists(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (lmpy_put_byte(pack, LM_COLUMN_LIST) != 0 ||
      lmpy_write_lengths(pack, &gather->lengths, gather->dense) != 0)
    return -1;
  return lmpy_write_column(pack, gather->inner);
}

int
lmpy_write_fields(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (lmpy_put_byte(pack, gather->kind == LMPY_DICTS ? LM_COLUMN_DICT : LM_COLUMN_TUPLE) != 0 ||
      lmpy_put_varint(pack, gather->n_inner) != 0)
    return -1;
  for (uint32_t i = 0; i < gather->n_inner; i++) {
    if (gather->keys != NULL && lmpy_pack_value(pack, gather->keys[i]) != 0)
      return -1;
    if (lmpy_write_column(pack, &gather->inner[i]) != 0)
      return -1;
  }
  return 0;
}

int
lmpy_write_frames(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  struct lmpy_codec_state *state = pack->state;
  PyObject *parts = PyObject_CallMethodObjArgs(state->kinds, state->names[LMPY_FRAMES_REDUCE],
                                               gather->shape, gather->frames, NULL);
  if (parts == NULL)
    return -1;
  int result = -1;
  if (PyTuple_Check(parts) && lmpy_put_byte(pack, LM_COLUMN_FRAMES) == 0)
    result = lmpy_pack_parts(pack, LM_EXT_FRAMES, parts);
  Py_DECREF(parts);
  return result;
}
