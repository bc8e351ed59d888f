/* Cells into columns: each is copied as it comes, so that what the caller does to it afterwards, or
 * its own code does to its neighbours, changes nothing that was taken. */
#include "codec.h"

#include "base/alloc.h"

enum { MAX_KEYS = 1024, MAX_PLACES = 64, MAX_BYTES = 1 << 30 };

enum fit { MISFIT = 1 }; /* beside 0 and -1: the cell is not of the column's kind */

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
    for (uint32_t i = 0; i < gather->n_inner; i++)
      lmpy_gather_cut(&gather->inner[i], gather->dense);
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
  if (misled)
    drop_shape(gather);
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_clear(&gather->inner[i]);
}

/* --- taking in --- */

static inline uint8_t *
room(struct lm_buf *buf, size_t n)
{
  if (buf->cap - buf->len >= n && buf->data != NULL)
    return buf->data + buf->len;
  if (buf->max == 0)
    lm_buf_init(buf, MAX_BYTES);
  return lm_buf_reserve(buf, n);
}

/* 0, or 1 when memory is short. */
static inline int
push(struct lm_buf *buf, const void *bytes, size_t n)
{
  uint8_t *at = room(buf, n);
  if (at == NULL)
    return 1;
  memcpy(at, bytes, n);
  buf->len += n;
  return 0;
}

static int
no_memory(struct lmpy_pack *pack)
{
  if (!PyErr_Occurred())
    lmpy_pack_refuse(pack, "a list with more than %d bytes of one kind, or no memory for it",
                     MAX_BYTES);
  return -1;
}

/* One more cell that is there. Its data has been pushed. */
static inline int
count(struct lmpy_pack *pack, struct lmpy_gather *gather, size_t bytes)
{
  if (gather->present.len > 0 && push(&gather->present, "\1", 1) != 0)
    return no_memory(pack);
  gather->n++;
  gather->dense++;
  pack->gathered += bytes;
  return 0;
}

static int
append_none(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (gather->kind != LMPY_EMPTY) {
    if (gather->present.len == 0 && gather->n > 0) {
      uint8_t *at = room(&gather->present, gather->n);
      if (at == NULL)
        return no_memory(pack);
      memset(at, 1, gather->n);
      gather->present.len = gather->n;
    }
    if (push(&gather->present, "\0", 1) != 0)
      return no_memory(pack);
  }
  gather->n++;
  pack->gathered++;
  return 0;
}

/* The copy of a few bytes that is not worth a call. */
static inline void
copy_short(uint8_t *to, const uint8_t *from, size_t n)
{
  uint64_t eight, last;
  uint32_t four, tail;
  if (n > 16) {
    memcpy(to, from, n);
  } else if (n >= 8) {
    memcpy(&eight, from, 8);
    memcpy(&last, from + n - 8, 8);
    memcpy(to, &eight, 8);
    memcpy(to + n - 8, &last, 8);
  } else if (n >= 4) {
    memcpy(&four, from, 4);
    memcpy(&tail, from + n - 4, 4);
    memcpy(to, &four, 4);
    memcpy(to + n - 4, &tail, 4);
  } else {
    for (size_t i = 0; i < n; i++)
      to[i] = from[i];
  }
}

static inline int
append_bytes(struct lmpy_pack *pack, struct lmpy_gather *gather, const void *bytes, Py_ssize_t n)
{
  uint32_t length = (uint32_t)n;
  if ((size_t)n > MAX_BYTES)
    return MISFIT;
  uint8_t *at = room(&gather->data, (size_t)n);
  if (at == NULL || push(&gather->lengths, &length, sizeof length) != 0)
    return no_memory(pack);
  copy_short(at, bytes, (size_t)n);
  gather->data.len += (size_t)n;
  return count(pack, gather, (size_t)n + 1);
}

static int
append_text(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *text)
{
  Py_ssize_t n;
  if (lmpy_is_ascii(text))
    return append_bytes(pack, gather, PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text));
  const char *bytes = PyUnicode_AsUTF8AndSize(text, &n);
  if (bytes == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
      return -1;
    PyErr_Clear(); /* lone surrogates */
    return MISFIT;
  }
  gather->ascii = false;
  return append_bytes(pack, gather, bytes, n);
}

static int
append_decimal(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyObject *text = PyObject_Str(value);
  if (text == NULL)
    return -1;
  int result = append_text(pack, gather, text);
  Py_DECREF(text);
  return result;
}

static inline int
append_int(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  int64_t n;
  if (lmpy_int_value(value, &n) != 0)
    return MISFIT;
  if (push(&gather->data, &n, sizeof n) != 0)
    return no_memory(pack);
  return count(pack, gather, sizeof n);
}

static int
append_numpy_int(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyObject *number = PyNumber_Index(value); /* numpy's own code */
  if (number == NULL)
    return -1;
  int result = append_int(pack, gather, number);
  Py_DECREF(number);
  return result;
}

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
  if (result == 0 && push(&gather->lengths, &length, sizeof length) != 0)
    result = no_memory(pack);
  if (result != 0) {
    lmpy_gather_cut(inner, before);
    return -1;
  }
  return count(pack, gather, 1);
}

static bool
is_same_key(PyObject *mine, PyObject *theirs)
{
  if (mine == theirs)
    return true;
  return PyUnicode_CheckExact(theirs) &&
         PyUnicode_GET_LENGTH(mine) == PyUnicode_GET_LENGTH(theirs) &&
         PyUnicode_KIND(mine) == PyUnicode_KIND(theirs) &&
         memcmp(PyUnicode_DATA(mine), PyUnicode_DATA(theirs),
                (size_t)PyUnicode_GET_LENGTH(mine) * PyUnicode_KIND(mine)) == 0;
}

static void
cut_fields(struct lmpy_gather *gather)
{
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_cut(&gather->inner[i], gather->dense);
}

static int
append_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict)
{
  PyObject *key, *value;
  Py_ssize_t at = 0;
  uint32_t i = 0, n = gather->n_inner;
  if (PyDict_GET_SIZE(dict) != (Py_ssize_t)n)
    return MISFIT;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  int result = 0;
  Py_INCREF(dict);
  while (PyDict_Next(dict, &at, &key, &value)) {
    if (i == n || !is_same_key(gather->keys[i], key)) {
      result = MISFIT;
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
  Py_DECREF(dict);
  pack->depth--;
  if (result != 0) {
    cut_fields(gather);
    return result;
  }
  return count(pack, gather, 0);
}

static int
append_tuple(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *tuple)
{
  uint32_t n = gather->n_inner;
  if (PyTuple_GET_SIZE(tuple) != (Py_ssize_t)n)
    return MISFIT;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  int result = 0;
  Py_INCREF(tuple);
  for (uint32_t i = 0; i < n && result == 0; i++) {
    result = lmpy_gather_append(pack, &gather->inner[i], PyTuple_GET_ITEM(tuple, i));
    if (result != 0)
      lmpy_pack_index_step(pack, i);
  }
  Py_DECREF(tuple);
  pack->depth--;
  if (result != 0) {
    cut_fields(gather);
    return result;
  }
  return count(pack, gather, 0);
}

/* A value in msgpack, which may run anybody's code. */
static int
append_to_tail(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  struct lm_buf *tail = &gather->tail;
  if (tail->max == 0)
    lm_buf_init(tail, MAX_BYTES);
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
  if (result == 0 && push(&gather->tail_lengths, &length, sizeof length) != 0)
    result = no_memory(pack);
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
    return no_memory(pack);
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
    return MISFIT;
  while (PyDict_Next(dict, &at, &key, &value))
    if (!PyUnicode_CheckExact(key) || PyUnicode_AsUTF8(key) == NULL) {
      PyErr_Clear(); /* lone surrogates */
      return MISFIT;
    }
  gather->keys = lm_alloc_zero((size_t)n, sizeof(PyObject *));
  if (gather->keys == NULL || begin_fields(pack, gather, (uint32_t)n) != 0) {
    lm_free(gather->keys);
    gather->keys = NULL;
    return no_memory(pack);
  }
  at = 0;
  for (Py_ssize_t i = 0; i < n && PyDict_Next(dict, &at, &key, &value); i++)
    gather->keys[i] = Py_NewRef(key);
  gather->kind = LM_COLUMN_DICT;
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
  } else if (type == state->decimal) {
    gather->kind = LM_COLUMN_TEXT;
    gather->element = LM_TEXT_DECIMAL;
  } else if (lmpy_date_number(value, &gather->element, &ignored) == 1) {
    gather->kind = LM_COLUMN_INT;
  } else {
    return MISFIT;
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
      return MISFIT;
    result = begin_fields(pack, gather, (uint32_t)PyTuple_GET_SIZE(value));
    if (result == 0)
      gather->kind = LM_COLUMN_TUPLE;
  } else {
    result = begin_other(pack, gather, value);
  }
  if (result == 0 && gather->n > 0) { /* None so far */
    uint8_t *at = room(&gather->present, gather->n);
    if (at == NULL)
      return no_memory(pack);
    memset(at, 0, gather->n);
    gather->present.len = gather->n;
  }
  return result;
}

/* 0, -1 and an exception, or MISFIT. */
static inline int
append_fitting(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  switch (gather->kind) {
  case LM_COLUMN_FLOAT:
    if (type == (gather->element == LM_FLOAT ? &PyFloat_Type : pack->state->float64)) {
      double number = PyFloat_AS_DOUBLE(value); /* numpy.float64 is a float, too */
      if (push(&gather->data, &number, sizeof number) != 0)
        return no_memory(pack);
      return count(pack, gather, sizeof number);
    }
    break;
  case LM_COLUMN_INT:
    if (gather->element == LM_INT) {
      if (type == &PyLong_Type)
        return append_int(pack, gather, value);
    } else if (gather->element == LM_INT_NUMPY) {
      if (type == pack->state->int64)
        return append_numpy_int(pack, gather, value);
    } else {
      uint8_t element;
      int64_t number;
      if (lmpy_date_number(value, &element, &number) == 1 && element == gather->element) {
        if (push(&gather->data, &number, sizeof number) != 0)
          return no_memory(pack);
        return count(pack, gather, sizeof number);
      }
    }
    break;
  case LM_COLUMN_TEXT:
    if (gather->element == LM_TEXT_BYTES) {
      if (type == &PyBytes_Type)
        return append_bytes(pack, gather, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    } else if (gather->element == LM_TEXT_DECIMAL) {
      if (type == pack->state->decimal)
        return append_decimal(pack, gather, value);
    } else if (type == &PyUnicode_Type) {
      return append_text(pack, gather, value);
    }
    break;
  case LM_COLUMN_BOOL:
    if (type == &PyBool_Type) {
      if (push(&gather->data, value == Py_True ? "\1" : "\0", 1) != 0)
        return no_memory(pack);
      return count(pack, gather, 1);
    }
    break;
  case LM_COLUMN_LIST:
    if (type == &PyList_Type)
      return append_list(pack, gather, value);
    break;
  case LM_COLUMN_DICT:
    if (type == &PyDict_Type)
      return append_dict(pack, gather, value);
    break;
  case LM_COLUMN_TUPLE:
    if (type == &PyTuple_Type)
      return append_tuple(pack, gather, value);
    break;
  default:
    break;
  }
  return value == Py_None ? append_none(pack, gather) : MISFIT;
}

int
lmpy_gather_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value)
{
  if (gather->n_tail == 0) {
    int result = append_fitting(pack, gather, value);
    if (result != MISFIT)
      return result;
    if (gather->dense == 0) {
      result = begin(pack, gather, value);
      if (result == 0)
        result = append_fitting(pack, gather, value);
      if (result != MISFIT)
        return result;
    }
  }
  return append_to_tail(pack, gather, value);
}

/* As many floats from `from` on as there are in a row. */
static Py_ssize_t
append_floats(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list, Py_ssize_t from,
              Py_ssize_t n)
{
  PyTypeObject *type = gather->element == LM_FLOAT ? &PyFloat_Type : pack->state->float64;
  uint8_t *at = room(&gather->data, (size_t)(n - from) * 8);
  if (at == NULL || gather->present.len > 0)
    return from; /* one by one */
  Py_ssize_t i = from;
  for (; i < n; i++, at += 8) {
    PyObject *item = PyList_GET_ITEM(list, i);
    if (!Py_IS_TYPE(item, type))
      break;
    double number = PyFloat_AS_DOUBLE(item);
    memcpy(at, &number, 8);
  }
  gather->data.len += (size_t)(i - from) * 8;
  gather->n += (uint32_t)(i - from);
  gather->dense += (uint32_t)(i - from);
  pack->gathered += (size_t)(i - from) * 8;
  return i;
}

int
lmpy_gather_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list)
{
  Py_ssize_t n = PyList_GET_SIZE(list), i = 0;
  if ((size_t)n > MAX_BYTES || lmpy_gather_size(gather) > MAX_BYTES)
    return lmpy_pack_refuse(pack, "more than %d items", MAX_BYTES);
  while (i < n) {
    if (PyList_GET_SIZE(list) != n) /* some object's own code has run */
      return lmpy_pack_refuse(pack, "the list was changed while it was read");
    if (gather->kind == LM_COLUMN_FLOAT && gather->n_tail == 0) {
      i = append_floats(pack, gather, list, i, n);
      if (i == n)
        break;
    }
    if (lmpy_gather_append(pack, gather, PyList_GET_ITEM(list, i)) != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
    i++;
  }
  return PyList_GET_SIZE(list) == n
             ? 0
             : lmpy_pack_refuse(pack, "the list was changed while it was read");
}
