/* Cells into columns: each is copied as it comes, so that what the caller does to it afterwards, or
 * its own code does to its neighbours, changes nothing that was taken. */
#include "codec/encode/gather.h"

enum {
  MAX_KEYS = 1024,
  MAX_PLACES = 64,
  GROUP = 1024, /* rows that are tried at once */
  FIRST = 2     /* rows taken singly, which say what the columns are */
};

struct lmpy_gather *
lmpy_gather_new(void)
{
  struct lmpy_gather *gather = lm_alloc_zero(1, sizeof *gather);
  if (gather != NULL)
    gather->kind = LMPY_EMPTY;
  return gather;
}

static void
drop_shape(struct lmpy_gather *gather)
{
  for (uint32_t i = 0; i < gather->n_inner; i++) {
    struct lmpy_gather *inner = &gather->inner[i];
    drop_shape(inner);
    lm_buf_clean_up(&inner->data);
    lm_buf_clean_up(&inner->lengths);
    lm_buf_clean_up(&inner->present);
    lm_buf_clean_up(&inner->tail);
    lm_buf_clean_up(&inner->tail_lengths);
    if (gather->keys != NULL)
      Py_DECREF(gather->keys[i]);
  }
  lm_free(gather->inner);
  lm_free(gather->keys);
  Py_CLEAR(gather->shape);
  Py_CLEAR(gather->frames);
  gather->inner = NULL;
  gather->keys = NULL;
  gather->n_inner = 0;
  gather->kind = LMPY_EMPTY;
}

void
lmpy_gather_destroy(struct lmpy_gather *gather)
{
  if (gather == NULL)
    return;
  drop_shape(gather);
  lm_buf_clean_up(&gather->data);
  lm_buf_clean_up(&gather->lengths);
  lm_buf_clean_up(&gather->present);
  lm_buf_clean_up(&gather->tail);
  lm_buf_clean_up(&gather->tail_lengths);
  lm_free(gather);
}

uint32_t
lmpy_gather_size(const struct lmpy_gather *gather)
{
  return gather->n + gather->n_tail;
}

size_t
lmpy_gather_memory(const struct lmpy_gather *gather)
{
  size_t bytes = gather->data.cap + gather->lengths.cap + gather->present.cap + gather->tail.cap +
                 gather->tail_lengths.cap + sizeof *gather;
  for (uint32_t i = 0; i < gather->n_inner; i++)
    bytes += lmpy_gather_memory(&gather->inner[i]);
  return bytes;
}

/* --- taking away --- */

static uint64_t
pop_lengths(struct lm_buf *lengths, uint32_t cells)
{
  uint64_t sum = 0;
  for (; cells > 0; cells--) {
    uint32_t length;
    lengths->len -= sizeof length;
    memcpy(&length, lengths->data + lengths->len, sizeof length);
    sum += length;
  }
  return sum;
}

static void
cut_fields(struct lmpy_gather *gather)
{
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_cut(&gather->inner[i], gather->dense);
}

void
lmpy_gather_cut(struct lmpy_gather *gather, uint32_t n)
{
  if (n < lmpy_gather_size(gather) && gather->n_tail > 0) {
    uint32_t kept = n > gather->n ? n - gather->n : 0;
    gather->tail.len -= (size_t)pop_lengths(&gather->tail_lengths, gather->n_tail - kept);
    gather->n_tail = kept;
  }
  if (n >= gather->n)
    return;
  uint32_t gone = gather->n - n; /* of them, not None: */
  if (gather->present.len > 0) {
    for (uint32_t i = n; i < gather->n; i++)
      gone -= !gather->present.data[i];
    gather->present.len = n;
  } else if (gather->kind == LMPY_EMPTY) {
    gone = 0;
  }
  gather->n = n;
  gather->dense -= gone;
  switch (gather->kind) {
  case LM_COLUMN_FLOAT:
  case LM_COLUMN_INT:
    gather->data.len = (size_t)gather->dense * 8;
    break;
  case LM_COLUMN_BOOL:
    gather->data.len = gather->dense;
    break;
  case LM_COLUMN_TEXT:
    gather->data.len -= (size_t)pop_lengths(&gather->lengths, gone);
    break;
  case LM_COLUMN_LIST: {
    uint32_t items = (uint32_t)pop_lengths(&gather->lengths, gone);
    lmpy_gather_cut(gather->inner, lmpy_gather_size(gather->inner) - items);
    break;
  }
  case LM_COLUMN_DICT:
  case LM_COLUMN_TUPLE:
    cut_fields(gather);
    break;
  case LM_COLUMN_FRAMES:
    if (PyList_SetSlice(gather->frames, gather->dense, PY_SSIZE_T_MAX, NULL) != 0)
      PyErr_Clear(); /* taking items away needs no memory */
    break;
  default:
    break;
  }
}

void
lmpy_gather_clear(struct lmpy_gather *gather)
{
  bool misled = gather->n_tail > 0;
  gather->n = gather->dense = gather->n_tail = 0;
  lm_buf_clear(&gather->data);
  lm_buf_clear(&gather->lengths);
  lm_buf_clear(&gather->present);
  lm_buf_clear(&gather->tail);
  lm_buf_clear(&gather->tail_lengths);
  gather->ascii = true;
  if (misled || gather->kind == LM_COLUMN_FRAMES)
    drop_shape(gather);
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_clear(&gather->inner[i]);
}

/* --- taking in --- */

static int
append_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list)
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

/* The end of a row that was begun: its cells count, or none of them. */
static int
end_row(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *row, int result)
{
  Py_DECREF(row);
  pack->depth--;
  if (result == 0)
    return lmpy_gather_count(pack, gather, 1, 0);
  cut_fields(gather);
  return result;
}

static int
append_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict)
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
    if (i == n || !lmpy_is_same_key(gather->keys[i], key)) {
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
    result = lmpy_pack_refuse(pack, "the dict was changed while it was read");
  return end_row(pack, gather, dict, result);
}

static int
append_tuple(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *tuple)
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
  return end_row(pack, gather, tuple, result);
}

static int
append_frame(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *frame)
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

/* A value in msgpack, which may run anybody's code. */
static int
append_to_tail(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  struct lm_buf *tail = &gather->tail;
  if (tail->max == 0)
    lm_buf_init(tail, LMPY_GATHER_BYTES);
  size_t before = tail->len;
  /* Packing writes to the structure: for this value, that is the tail. */
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

static int
begin_fields(struct lmpy_pack *pack, struct lmpy_gather *gather, uint32_t n)
{
  gather->inner = lm_alloc_zero(n > 0 ? n : 1, sizeof *gather->inner);
  if (gather->inner == NULL)
    return lmpy_gather_no_memory(pack);
  for (uint32_t i = 0; i < n; i++)
    gather->inner[i].kind = LMPY_EMPTY;
  gather->n_inner = n;
  return 0;
}

static int
begin_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict)
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
  if (gather->keys == NULL || begin_fields(pack, gather, (uint32_t)n) != 0) {
    lm_free(gather->keys);
    gather->keys = NULL;
    return lmpy_gather_no_memory(pack);
  }
  at = 0;
  for (Py_ssize_t i = 0; i < n && PyDict_Next(dict, &at, &key, &value); i++)
    gather->keys[i] = Py_NewRef(key);
  gather->kind = LM_COLUMN_DICT;
  return 0;
}

static int
begin_frames(struct lmpy_codec_state *state, struct lmpy_gather *gather, PyObject *frame)
{
  if (lmpy_codec_load_kinds(state) != 0)
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
  gather->kind = LM_COLUMN_FRAMES;
  return 0;
}

/* The kind for a first value of a type that is not Python's own. */
static int
begin_other(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  struct lmpy_codec_state *state = pack->state;
  PyTypeObject *type = Py_TYPE(value);
  int64_t ignored;
  int met = lmpy_codec_meet(state, type);
  if (met < 0)
    return -1;
  if (type == state->float64) {
    gather->kind = LM_COLUMN_FLOAT;
    gather->element = LM_FLOAT_NUMPY;
  } else if (type == state->int64) {
    gather->kind = LM_COLUMN_INT;
    gather->element = LM_INT_NUMPY;
  } else if (type == state->frame) {
    return begin_frames(state, gather, value);
  } else if (type == state->decimal) {
    gather->kind = LM_COLUMN_TEXT;
    gather->element = LM_TEXT_DECIMAL;
  } else if (lmpy_date_number(value, &gather->element, &ignored) == 1) {
    gather->kind = LM_COLUMN_INT;
  } else {
    return LMPY_MISFIT;
  }
  return 0;
}

static int
begin(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  int result = 0;
  drop_shape(gather);
  gather->element = 0;
  gather->ascii = true;
  if (type == &PyFloat_Type) {
    gather->kind = LM_COLUMN_FLOAT;
  } else if (type == &PyLong_Type) {
    gather->kind = LM_COLUMN_INT;
  } else if (type == &PyUnicode_Type) {
    gather->kind = LM_COLUMN_TEXT;
  } else if (type == &PyBool_Type) {
    gather->kind = LM_COLUMN_BOOL;
  } else if (type == &PyBytes_Type) {
    gather->kind = LM_COLUMN_TEXT;
    gather->element = LM_TEXT_BYTES;
  } else if (type == &PyDict_Type) {
    result = begin_dict(pack, gather, value);
  } else if (type == &PyList_Type) {
    result = begin_fields(pack, gather, 1);
    if (result == 0)
      gather->kind = LM_COLUMN_LIST;
  } else if (type == &PyTuple_Type) {
    if (PyTuple_GET_SIZE(value) > MAX_PLACES)
      return LMPY_MISFIT;
    result = begin_fields(pack, gather, (uint32_t)PyTuple_GET_SIZE(value));
    if (result == 0)
      gather->kind = LM_COLUMN_TUPLE;
  } else {
    result = begin_other(pack, gather, value);
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

/* 0, -1 and an exception, or LMPY_MISFIT. */
static int
append_fitting(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  if (gather->kind == LM_COLUMN_LIST && type == &PyList_Type)
    return append_list(pack, gather, value);
  if (gather->kind == LM_COLUMN_DICT && type == &PyDict_Type)
    return append_dict(pack, gather, value);
  if (gather->kind == LM_COLUMN_TUPLE && type == &PyTuple_Type)
    return append_tuple(pack, gather, value);
  if (gather->kind == LM_COLUMN_FRAMES && type == pack->state->frame)
    return append_frame(pack, gather, value);
  return lmpy_cells_append(pack, gather, &value, 1);
}

int
lmpy_gather_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  if (gather->n_tail == 0) {
    int result = append_fitting(pack, gather, value);
    if (result != LMPY_MISFIT)
      return result;
    if (gather->dense == 0) {
      result = begin(pack, gather, value);
      if (result == 0)
        result = append_fitting(pack, gather, value);
      if (result != LMPY_MISFIT)
        return result;
    }
  }
  return append_to_tail(pack, gather, value);
}

/* Whether cells like those so far, however deep inside, need nobody's code. */
static bool
is_plain(const struct lmpy_gather *gather)
{
  if (gather->n_tail > 0 || gather->kind == LM_COLUMN_FRAMES)
    return false;
  for (uint32_t i = 0; i < gather->n_inner; i++)
    if (!is_plain(&gather->inner[i]))
      return false;
  return true;
}

/* Items from..until of a list, one by one. */
static int
append_singly(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list, Py_ssize_t from,
              Py_ssize_t until, Py_ssize_t n)
{
  for (Py_ssize_t i = from; i < until; i++) {
    if (PyList_GET_SIZE(list) != n) /* some object's own code has run */
      return lmpy_pack_refuse(pack, "the list was changed while it was read");
    if (lmpy_gather_append(pack, gather, PyList_GET_ITEM(list, i)) != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  }
  return PyList_GET_SIZE(list) == n
             ? 0
             : lmpy_pack_refuse(pack, "the list was changed while it was read");
}

int
lmpy_gather_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list)
{
  Py_ssize_t n = PyList_GET_SIZE(list);
  if ((size_t)n > LMPY_GATHER_BYTES || lmpy_gather_size(gather) > LMPY_GATHER_BYTES)
    return lmpy_pack_refuse(pack, "more than %d items", LMPY_GATHER_BYTES);
  for (Py_ssize_t i = 0; i < n;) {
    Py_ssize_t some = n - i < GROUP ? n - i : GROUP;
    if (gather->kind == LMPY_EMPTY || !is_plain(gather)) {
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
    if (append_singly(pack, gather, list, i, i + some, n) != 0)
      return -1;
    i += some;
  }
  return 0;
}
