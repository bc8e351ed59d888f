#include "codec/encode/columns.h"

#include <string.h>

#include "codec/encode/dates.h"
#include "codec/encode/numbers.h"
#include "codec/encode/rows.h"
#include "codec/encode/text.h"
#include "codec/encode/value.h"
#include "codec/types.h"
#include "wire/mpread.h"

enum {
  GROUP = 1024, /* rows taken at once */
  FIRST = 2     /* rows taken one by one first, which determine the columns */
};

/* Append a value in msgpack to the tail; may run Python code. */
static int
encode_columns_append_to_tail(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  struct lm_buf *tail = &gather->tail;
  if (tail->max == 0)
    lm_buf_init(tail, LMPY_GATHER_BYTES);
  size_t before = tail->len;
  /* Packing writes to the structure, which is swapped with the tail for this value. */
  struct lm_buf structure = pack->structure;
  pack->structure = *tail;
  Py_INCREF(value);
  int result = lmpy_pack_value(pack, value);
  Py_DECREF(value);
  *tail = pack->structure;
  pack->structure = structure;
  uint32_t length = (uint32_t)(tail->len - before);
  if (result == 0 && lmpy_gather_push(&gather->tail_lengths, &length, sizeof length) != 0)
    result = lmpy_gather_no_memory(pack);
  if (result != 0) {
    tail->len = before;
    tail->failed = LM_OK;
    return -1;
  }
  gather->n_tail++;
  pack->gathered += length;
  return 0;
}

/* --- the kind of a column --- */

/* The kind for a first value whose type is not a builtin. */
static int
encode_columns_begin_other(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  struct lmpy_codec_state *state = pack->state;
  PyTypeObject *type = Py_TYPE(value);
  int64_t ignored;
  int met = lmpy_types_meet(state, type);
  if (met < 0)
    return -1;
  if (type == state->float64) {
    gather->kind = LMPY_FLOATS;
    gather->element = LM_FLOAT_NUMPY;
  } else if (type == state->int64) {
    gather->kind = LMPY_INTS;
    gather->element = LM_INT_NUMPY;
  } else if (type == state->frame || type == state->series) {
    return lmpy_begin_frames(state, gather, value);
  } else if (type == state->decimal) {
    gather->kind = LMPY_TEXTS;
    gather->element = LM_TEXT_DECIMAL;
  } else if (lmpy_date_number(value, &gather->element, &ignored) == 1) {
    gather->kind = LMPY_INTS;
  } else {
    return LMPY_MISFIT;
  }
  return 0;
}

static int
encode_columns_begin(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  int result = 0;
  lmpy_gather_drop_shape(gather);
  gather->element = 0;
  gather->ascii = true;
  if (type == &PyFloat_Type) {
    gather->kind = LMPY_FLOATS;
  } else if (type == &PyLong_Type) {
    gather->kind = LMPY_INTS;
  } else if (type == &PyUnicode_Type) {
    gather->kind = LMPY_TEXTS;
  } else if (type == &PyBool_Type) {
    gather->kind = LMPY_BOOLS;
  } else if (type == &PyBytes_Type) {
    gather->kind = LMPY_TEXTS;
    gather->element = LM_TEXT_BYTES;
  } else if (type == &PyDict_Type) {
    result = lmpy_begin_dict(pack, gather, value);
  } else if (type == &PyList_Type) {
    result = lmpy_begin_list(pack, gather);
  } else if (type == &PyTuple_Type) {
    result = lmpy_begin_tuple(pack, gather, value);
  } else {
    result = encode_columns_begin_other(pack, gather, value);
  }
  if (result == 0 && gather->n > 0) { /* None so far */
    uint8_t *at = lmpy_gather_room(&gather->present, gather->n);
    if (at == NULL)
      return lmpy_gather_no_memory(pack);
    memset(at, 0, gather->n);
    gather->present.len = gather->n;
  }
  return result;
}

/* --- cells --- */

/* Take the leading cells of the column's kind. Returns their number. */
static Py_ssize_t
encode_columns_take(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                    size_t n)
{
  switch (gather->kind) {
  case LMPY_TEXTS:
    return gather->element <= LM_TEXT_UTF8 ? lmpy_take_texts(pack, gather, cells, n)
                                           : lmpy_take_text_like(pack, gather, cells, n);
  case LMPY_FLOATS:
    return lmpy_take_floats(pack, gather, cells, n);
  case LMPY_INTS:
    return gather->element == LM_INT ? lmpy_take_ints(pack, gather, cells, n)
                                     : lmpy_take_int_like(pack, gather, cells, n);
  case LMPY_BOOLS:
    return lmpy_take_bools(pack, gather, cells, n);
  case LMPY_LISTS:
    return lmpy_take_lists(pack, gather, cells, n);
  case LMPY_DICTS:
    return lmpy_take_dicts(pack, gather, cells, n);
  case LMPY_TUPLES:
    return lmpy_take_tuples(pack, gather, cells, n);
  case LMPY_EMPTY:
  case LMPY_FRAMES:
    break;
  }
  return 0;
}

int
lmpy_cells_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                  size_t n)
{
  if (gather->n_tail > 0)
    return LMPY_MISFIT;
  for (size_t i = 0; i < n;) {
    if (cells[i] == Py_None) {
      if (lmpy_gather_none(pack, gather) != 0)
        return -1;
      i++;
      continue;
    }
    Py_ssize_t taken = encode_columns_take(pack, gather, cells + i, n - i);
    if (taken <= 0)
      return taken < 0 ? -1 : LMPY_MISFIT;
    i += (size_t)taken;
  }
  return 0;
}

/* 0, -1 and an exception, or LMPY_MISFIT. */
static int
encode_columns_append_fitting(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  switch (gather->kind) {
  case LMPY_LISTS:
    if (PyList_CheckExact(value))
      return lmpy_add_list(pack, gather, value);
    break;
  case LMPY_DICTS:
    if (PyDict_CheckExact(value))
      return lmpy_add_dict(pack, gather, value);
    break;
  case LMPY_TUPLES:
    if (PyTuple_CheckExact(value))
      return lmpy_add_tuple(pack, gather, value);
    break;
  case LMPY_FRAMES:
    if (Py_IS_TYPE(value, pack->state->frame) || Py_IS_TYPE(value, pack->state->series))
      return lmpy_add_frame(pack, gather, value);
    break;
  case LMPY_EMPTY:
  case LMPY_FLOATS:
  case LMPY_INTS:
  case LMPY_TEXTS:
  case LMPY_BOOLS:
    break;
  }
  return lmpy_cells_append(pack, gather, &value, 1);
}

int
lmpy_gather_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  if (gather->n_tail == 0) {
    int result = encode_columns_append_fitting(pack, gather, value);
    if (result != LMPY_MISFIT)
      return result;
    if (gather->dense == 0) {
      result = encode_columns_begin(pack, gather, value);
      if (result == 0)
        result = encode_columns_append_fitting(pack, gather, value);
      if (result != LMPY_MISFIT)
        return result;
    }
  }
  return encode_columns_append_to_tail(pack, gather, value);
}

/* Whether taking more cells like the present ones, at any depth, runs no Python code. */
static bool
encode_columns_runs_no_code(const struct lmpy_gather *gather)
{
  if (gather->n_tail > 0 || gather->kind == LMPY_FRAMES)
    return false;
  for (uint32_t i = 0; i < gather->n_inner; i++)
    if (!encode_columns_runs_no_code(&gather->inner[i]))
      return false;
  return true;
}

/* Append items from..until of a list, one by one. */
static int
encode_columns_append_singly(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list,
                             Py_ssize_t from, Py_ssize_t until, Py_ssize_t n)
{
  for (Py_ssize_t i = from; i < until; i++) {
    if (PyList_GET_SIZE(list) != n) /* changed by code of an item */
      return lmpy_pack_refuse(pack, "the list was changed during encoding");
    if (lmpy_gather_append(pack, gather, PyList_GET_ITEM(list, i)) != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  }
  return PyList_GET_SIZE(list) == n
             ? 0
             : lmpy_pack_refuse(pack, "the list was changed during encoding");
}

int
lmpy_gather_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list)
{
  Py_ssize_t n = PyList_GET_SIZE(list);
  if ((size_t)n > LMPY_GATHER_BYTES || lmpy_gather_size(gather) > LMPY_GATHER_BYTES)
    return lmpy_pack_refuse(pack, "the list has more than %d items", LMPY_GATHER_BYTES);
  for (Py_ssize_t i = 0; i < n;) {
    Py_ssize_t some = n - i < GROUP ? n - i : GROUP;
    if (gather->kind == LMPY_EMPTY || !encode_columns_runs_no_code(gather)) {
      some = some < FIRST ? some : FIRST;
    } else {
      uint32_t before = lmpy_gather_size(gather);
      int result = lmpy_cells_append(pack, gather, PySequence_Fast_ITEMS(list) + i, (size_t)some);
      if (result == 0) {
        i += some;
        continue;
      }
      lmpy_gather_cut(gather, before);
      if (result < 0)
        return -1;
    }
    if (encode_columns_append_singly(pack, gather, list, i, i + some, n) != 0)
      return -1;
    i += some;
  }
  return 0;
}

/* --- writing --- */

/* Write the cells before the tail. */
static int
encode_columns_write_typed(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  static const uint8_t none[] = {LM_COLUMN_CONST, 0xc0};
  if (gather->dense == 0)
    return lmpy_put(pack, none, sizeof none);
  if (gather->dense < gather->n &&
      lmpy_write_bits(pack, LM_COLUMN_NULLABLE, gather->present.data, gather->n) != 0)
    return -1;
  switch (gather->kind) {
  case LMPY_FLOATS:
    return lmpy_write_floats(pack, gather);
  case LMPY_INTS:
    return lmpy_write_ints(pack, (int64_t *)(void *)gather->data.data, gather->dense,
                           gather->element);
  case LMPY_TEXTS:
    return lmpy_write_texts(pack, gather);
  case LMPY_BOOLS:
    return lmpy_write_bits(pack, LM_COLUMN_BOOL, gather->data.data, gather->dense);
  case LMPY_LISTS:
    return lmpy_write_lists(pack, gather);
  case LMPY_DICTS:
  case LMPY_TUPLES:
    return lmpy_write_fields(pack, gather);
  case LMPY_FRAMES:
    return lmpy_write_frames(pack, gather);
  case LMPY_EMPTY: /* handled above: every cell is None */
    break;
  }
  return 0;
}

int
lmpy_write_column(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (gather->n_tail == 0)
    return encode_columns_write_typed(pack, gather);
  if (gather->n > 0) {
    if (lmpy_put_byte(pack, LM_COLUMN_SPLIT) != 0 || lmpy_put_varint(pack, gather->n) != 0 ||
        encode_columns_write_typed(pack, gather) != 0)
      return -1;
  }
  if (lmpy_put_byte(pack, LM_COLUMN_ANY) != 0)
    return -1;
  return lmpy_put(pack, gather->tail.data, gather->tail.len);
}

int
lmpy_gather_write(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  size_t mark;
  if (lmpy_pack_begin_ext(pack, &mark) != 0 ||
      lmpy_put_varint(pack, lmpy_gather_size(gather)) != 0 || lmpy_write_column(pack, gather) != 0)
    return -1;
  return lmpy_pack_end_ext(pack, LM_EXT_LIST, mark);
}

int
lmpy_pack_column(struct lmpy_pack *pack, PyObject *list)
{
  struct lmpy_codec_state *state = pack->state;
  struct lmpy_gather *gather = state->spare;
  state->spare = NULL; /* in use until this list is written */
  if (gather == NULL && (gather = lmpy_gather_new()) == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  int result = lmpy_gather_list(pack, gather, list);
  if (result == 0)
    result = lmpy_gather_write(pack, gather);
  lmpy_gather_clear(gather);
  if (state->spare == NULL && result == 0 && lmpy_gather_memory(gather) <= LMPY_KEPT_BYTES)
    state->spare = gather;
  else
    lmpy_gather_destroy(gather);
  return result;
}
