/* Python values to a raw frame. Exact types only: a subclass is another type, and goes the way of
 * lambdamap.shipping.kinds. */
#include "codec/codec.h"

#include "wire/mpread.h"

enum {
  MAX_DEPTH = 400,     /* a reader takes 512; an extension counts like a container */
  MIN_COLUMN = 4,      /* from so many floats or dicts a list is a column */
  MIN_SHORT = 12,      /* the same for values that are short in msgpack, too */
  MIN_BORROWED = 4096, /* smaller arrays are copied */
  MAX_SECTION = 1 << 30,
  KEPT_BYTES = 1 << 20 /* of buffers kept for the next encode */
};

static struct lm_buf *
buffer(struct lmpy_pack *pack, int i)
{
  struct lm_buf *all[] = {&pack->structure, &pack->packed, &pack->words, &pack->scratch};
  return all[i];
}

void
lmpy_pack_init(struct lmpy_pack *pack, struct lmpy_codec_state *state, bool allow_pickle,
               bool callables)
{
  *pack = (struct lmpy_pack){.state = state, .allow_pickle = allow_pickle, .callables = callables};
  for (int i = 0; i < 4; i++) {
    lm_buf_move(buffer(pack, i), &state->spare_bufs[i]);
    buffer(pack, i)->max = MAX_SECTION;
  }
}

void
lmpy_codec_keep(struct lm_buf *spare, struct lm_buf *buf)
{
  if (spare->data == NULL && buf->cap <= KEPT_BYTES) {
    lm_buf_move(spare, buf);
    lm_buf_clear(spare);
  } else {
    lm_buf_clean_up(buf);
  }
}

void
lmpy_pack_clean_up(struct lmpy_pack *pack)
{
  for (int i = 0; i < 4; i++)
    if (pack->state != NULL)
      lmpy_codec_keep(&pack->state->spare_bufs[i], buffer(pack, i));
  if (pack->blob.obj != NULL)
    PyBuffer_Release(&pack->blob);
  Py_CLEAR(pack->path);
}

void
lmpy_pack_view(const struct lmpy_pack *pack, struct lm_frame_view *view)
{
  *view = (struct lm_frame_view){pack->structure.data, pack->structure.len,   pack->packed.data,
                                 pack->packed.len,     pack->words.data,      pack->words.len,
                                 pack->blob.buf,       (size_t)pack->blob.len};
}

/* --- failures --- */

/* Put one step of the way to the failing value in front. The exception is kept whatever happens. */
static void
add_step(struct lmpy_pack *pack, const char *format, PyObject *step)
{
  PyObject *error = lmpy_error_take();
  PyObject *text = PyUnicode_FromFormat(format, step);
  if (pack->path == NULL)
    pack->path = PyList_New(0);
  if (text != NULL && pack->path != NULL)
    (void)PyList_Append(pack->path, text);
  Py_XDECREF(text);
  PyErr_Clear();
  lmpy_error_put(error);
}

void
lmpy_pack_index_step(struct lmpy_pack *pack, Py_ssize_t index)
{
  PyObject *error = lmpy_error_take();
  PyObject *number = PyLong_FromSsize_t(index);
  lmpy_error_put(error);
  if (number != NULL)
    add_step(pack, "[%R]", number);
  Py_XDECREF(number);
}

void
lmpy_pack_key_step(struct lmpy_pack *pack, PyObject *key)
{
  add_step(pack, "[%.200R]", key);
}

int
lmpy_pack_refuse(struct lmpy_pack *pack, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  PyObject *text = PyUnicode_FromFormatV(format, args);
  va_end(args);
  if (text != NULL) {
    PyErr_SetObject(pack->state->encode_failure, text);
    Py_DECREF(text);
  }
  return -1;
}

PyObject *
lmpy_pack_whole(struct lmpy_pack *pack, PyObject *value)
{
  struct lmpy_codec_state *state = pack->state;
  if (!pack->allow_pickle || !PyErr_ExceptionMatches(state->entangled))
    return NULL;
  PyObject *failure = lmpy_error_take();
  PyObject *whole = NULL;
  if (lmpy_codec_load_kinds(state) == 0)
    whole =
        PyObject_CallMethodObjArgs(state->kinds, state->names[LMPY_WHOLE], value, failure, NULL);
  if (whole != NULL) {
    Py_XDECREF(failure);
    Py_CLEAR(pack->path);
  } else if (PyErr_ExceptionMatches(PyExc_Exception)) {
    PyErr_Clear();
    lmpy_error_put(failure);
  } else {
    Py_XDECREF(failure); /* such as a KeyboardInterrupt */
  }
  return whole;
}

int
lmpy_pack_no_memory(struct lmpy_pack *pack)
{
  if (pack->structure.failed == LM_E_LIMIT || pack->packed.failed == LM_E_LIMIT ||
      pack->words.failed == LM_E_LIMIT || pack->scratch.failed == LM_E_LIMIT)
    return lmpy_pack_refuse(pack, "it takes more than %d bytes", MAX_SECTION);
  PyErr_NoMemory();
  return -1;
}

/* --- heads --- */

static inline void
put_be(uint8_t *at, uint64_t n, int bytes)
{
  for (int i = bytes - 1; i >= 0; i--, n >>= 8)
    at[i] = (uint8_t)n;
}

/* msgpack's head of a str, bin, array or map; room for it must be there. Returns its bytes. */
static inline size_t
head(uint8_t *at, uint32_t n, uint8_t fix, uint32_t fix_max, uint8_t code8, uint8_t code16)
{
  if (fix != 0 && n <= fix_max) {
    at[0] = (uint8_t)(fix | n);
    return 1;
  }
  if (code8 != 0 && n < 256) {
    at[0] = code8;
    at[1] = (uint8_t)n;
    return 2;
  }
  if (n < 65536) {
    at[0] = code16;
    put_be(at + 1, n, 2);
    return 3;
  }
  at[0] = (uint8_t)(code16 + 1);
  put_be(at + 1, n, 4);
  return 5;
}

static int
put_bytes(struct lmpy_pack *pack, const void *bytes, size_t n)
{
  lm_buf_append(&pack->structure, bytes, n);
  return pack->structure.failed == LM_OK ? 0 : lmpy_pack_no_memory(pack);
}

static int
put_container(struct lmpy_pack *pack, Py_ssize_t n, uint8_t fix, uint8_t code16)
{
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "a container of more than 2^32 items");
  uint8_t *at = lm_buf_reserve(&pack->structure, 5);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  pack->structure.len += head(at, (uint32_t)n, fix, 15, 0, code16);
  return 0;
}

static int
put_ext(struct lmpy_pack *pack, int ext, const void *bytes, size_t n)
{
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "a value of more than 4 GB");
  uint8_t *at = lm_buf_reserve(&pack->structure, n + 6);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  size_t used = head(at, (uint32_t)n, 0, 0, 0xc7, 0xc8);
  at[used++] = (uint8_t)ext;
  memcpy(at + used, bytes, n);
  pack->structure.len += used + n;
  return 0;
}

/* Where an ext with a value inside begins; its head is written by end_ext. */
int
lmpy_pack_begin_ext(struct lmpy_pack *pack, size_t *mark)
{
  *mark = pack->structure.len;
  return put_bytes(pack, "\0\0\0\0\0\0", 6);
}

int
lmpy_pack_end_ext(struct lmpy_pack *pack, int ext, size_t mark)
{
  size_t n = pack->structure.len - mark - 6;
  uint8_t *at = pack->structure.data + mark;
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "a value of more than 4 GB");
  if (n < 256) { /* most are small: close the gap of the longer head */
    at[0] = 0xc7;
    at[1] = (uint8_t)n;
    at[2] = (uint8_t)ext;
    memmove(at + 3, at + 6, n);
    pack->structure.len -= 3;
  } else {
    at[0] = 0xc9;
    put_be(at + 1, n, 4);
    at[5] = (uint8_t)ext;
  }
  return 0;
}

/* --- scalars --- */

static int
pack_int(struct lmpy_pack *pack, PyObject *value)
{
  int64_t n;
  int over = lmpy_int_value(value, &n);
  uint8_t *at = lm_buf_reserve(&pack->structure, 9);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  if (over > 0) {
    unsigned long long u = PyLong_AsUnsignedLongLong(value);
    if (u != (unsigned long long)-1 || !PyErr_Occurred()) {
      at[0] = 0xcf;
      put_be(at + 1, u, 8);
      pack->structure.len += 9;
      return 0;
    }
    PyErr_Clear();
  }
  if (over != 0) {
    Py_ssize_t size = lmpy_int_bytes(value);
    PyObject *bytes = size < 0 ? NULL : lmpy_int_to_bytes(value, size);
    int result = bytes == NULL ? -1
                               : put_ext(pack, LM_EXT_BIG_INT, PyBytes_AS_STRING(bytes),
                                         (size_t)PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    return result;
  }
  size_t used = 1;
  if (n >= -32 && n < 128) {
    at[0] = (uint8_t)n;
  } else {
    int log = n >= 0 ? (n < 256           ? 0
                        : n < 65536       ? 1
                        : n <= UINT32_MAX ? 2
                                          : 3)
                     : (n >= -128        ? 0
                        : n >= -32768    ? 1
                        : n >= INT32_MIN ? 2
                                         : 3);
    at[0] = (uint8_t)((n >= 0 ? 0xcc : 0xd0) + log);
    put_be(at + 1, (uint64_t)n, 1 << log);
    used += (size_t)1 << log;
  }
  pack->structure.len += used;
  return 0;
}

static int
pack_float(struct lmpy_pack *pack, double value)
{
  uint64_t bits;
  memcpy(&bits, &value, 8);
  uint8_t *at = lm_buf_reserve(&pack->structure, 9);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  at[0] = 0xcb;
  put_be(at + 1, bits, 8);
  pack->structure.len += 9;
  return 0;
}

static int
pack_str(struct lmpy_pack *pack, PyObject *value)
{
  Py_ssize_t n;
  const char *text = PyUnicode_AsUTF8AndSize(value, &n);
  if (text == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
      return -1;
    PyErr_Clear();
    PyObject *bytes = PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass");
    int result = bytes == NULL ? -1
                               : put_ext(pack, LM_EXT_WIDE_STR, PyBytes_AS_STRING(bytes),
                                         (size_t)PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    return result;
  }
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "a text of more than 4 GB");
  uint8_t *at = lm_buf_reserve(&pack->structure, (size_t)n + 5);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  size_t used = head(at, (uint32_t)n, 0xa0, 31, 0xd9, 0xda);
  memcpy(at + used, text, (size_t)n);
  pack->structure.len += used + (size_t)n;
  return 0;
}

static int
pack_bytes(struct lmpy_pack *pack, const char *bytes, Py_ssize_t n)
{
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "more than 4 GB of bytes");
  uint8_t *at = lm_buf_reserve(&pack->structure, (size_t)n + 5);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  size_t used = head(at, (uint32_t)n, 0, 0, 0xc4, 0xc5);
  memcpy(at + used, bytes, (size_t)n);
  pack->structure.len += used + (size_t)n;
  return 0;
}

/* --- containers --- */

int
lmpy_pack_enter(struct lmpy_pack *pack)
{
  if (pack->depth == MAX_DEPTH) {
    PyErr_Format(pack->state->entangled, "it is nested deeper than %d levels, or contains itself",
                 MAX_DEPTH);
    return -1;
  }
  pack->depth++;
  return 0;
}

/* Whether a list looks as if it were of one kind: its first, middle and last item are. */
static bool
looks_even(PyObject *list, Py_ssize_t n)
{
  PyTypeObject *type = NULL;
  const Py_ssize_t places[] = {0, n / 2, n - 1};
  for (int i = 0; i < 3; i++) {
    PyObject *item = PyList_GET_ITEM(list, places[i]);
    if (item == Py_None)
      continue;
    if (type != NULL && Py_TYPE(item) != type)
      return false;
    type = Py_TYPE(item);
  }
  return type == NULL || n >= MIN_SHORT || type == &PyFloat_Type || type == &PyDict_Type ||
         (type != &PyLong_Type && type != &PyUnicode_Type && type != &PyBool_Type &&
          type != &PyList_Type && type != &PyTuple_Type);
}

static int
pack_column(struct lmpy_pack *pack, PyObject *list)
{
  struct lmpy_codec_state *state = pack->state;
  struct lmpy_gather *gather = state->spare;
  state->spare = NULL; /* this list's own until it is written */
  if (gather == NULL && (gather = lmpy_gather_new()) == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  int result = lmpy_gather_list(pack, gather, list);
  if (result == 0)
    result = lmpy_gather_write(pack, gather);
  lmpy_gather_clear(gather);
  if (state->spare == NULL && result == 0 && lmpy_gather_memory(gather) <= KEPT_BYTES)
    state->spare = gather;
  else
    lmpy_gather_destroy(gather);
  return result;
}

static int
pack_list(struct lmpy_pack *pack, PyObject *list)
{
  Py_ssize_t n = PyList_GET_SIZE(list);
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  if (n >= MIN_COLUMN && looks_even(list, n)) {
    int result = pack_column(pack, list);
    if (result == 0)
      pack->depth--;
    return result;
  }
  if (put_container(pack, n, 0x90, 0xdc) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < n; i++) {
    if (PyList_GET_SIZE(list) != n) /* some object's own code has run */
      return lmpy_pack_refuse(pack, "the list was changed while it was read");
    PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));
    int result = lmpy_pack_value(pack, item);
    Py_DECREF(item);
    if (result != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  }
  pack->depth--;
  return 0;
}

static int
pack_tuple(struct lmpy_pack *pack, PyObject *tuple)
{
  size_t mark;
  Py_ssize_t n = PyTuple_GET_SIZE(tuple);
  if (lmpy_pack_enter(pack) != 0 || lmpy_pack_begin_ext(pack, &mark) != 0 ||
      put_container(pack, n, 0x90, 0xdc) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < n; i++)
    if (lmpy_pack_value(pack, PyTuple_GET_ITEM(tuple, i)) != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  pack->depth--;
  return lmpy_pack_end_ext(pack, LM_EXT_TUPLE, mark);
}

static int
pack_dict(struct lmpy_pack *pack, PyObject *dict)
{
  Py_ssize_t n = PyDict_GET_SIZE(dict), at = 0, seen = 0;
  PyObject *key, *value;
  if (lmpy_pack_enter(pack) != 0 || put_container(pack, n, 0x80, 0xde) != 0)
    return -1;
  while (PyDict_Next(dict, &at, &key, &value)) {
    if (seen++ == n)
      return lmpy_pack_refuse(pack, "the dict was changed while it was read");
    Py_INCREF(key);
    Py_INCREF(value);
    int result = lmpy_pack_value(pack, key);
    if (result == 0 && (result = lmpy_pack_value(pack, value)) != 0)
      add_step(pack, "[%.200R]", key);
    Py_DECREF(value);
    Py_DECREF(key);
    if (result != 0)
      return -1;
    if (PyDict_GET_SIZE(dict) != n)
      return lmpy_pack_refuse(pack, "the dict was changed while it was read");
  }
  if (seen != n)
    return lmpy_pack_refuse(pack, "the dict was changed while it was read");
  pack->depth--;
  return 0;
}

static int
pack_set(struct lmpy_pack *pack, PyObject *set)
{
  size_t mark;
  PyObject *items = PySequence_List(set); /* its own copy */
  if (items == NULL)
    return -1;
  int result = -1;
  Py_ssize_t n = PyList_GET_SIZE(items);
  if (lmpy_pack_enter(pack) == 0 && lmpy_pack_begin_ext(pack, &mark) == 0 &&
      put_container(pack, n + 1, 0x90, 0xdc) == 0 &&
      put_bytes(pack, PyFrozenSet_CheckExact(set) ? "\xc3" : "\xc2", 1) == 0) {
    result = 0;
    for (Py_ssize_t i = 0; i < n && result == 0; i++)
      result = lmpy_pack_value(pack, PyList_GET_ITEM(items, i));
    if (result == 0) {
      pack->depth--;
      result = lmpy_pack_end_ext(pack, LM_EXT_SET, mark);
    }
  }
  Py_DECREF(items);
  return result;
}

/* --- everything else: lambdamap.shipping.kinds says as what it travels --- */

int
lmpy_pack_parts(struct lmpy_pack *pack, int ext, PyObject *parts)
{
  size_t mark;
  Py_ssize_t n = PyTuple_GET_SIZE(parts);
  if (lmpy_pack_begin_ext(pack, &mark) != 0 || put_container(pack, n, 0x90, 0xdc) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < n; i++)
    if (lmpy_pack_value(pack, PyTuple_GET_ITEM(parts, i)) != 0)
      return -1;
  return lmpy_pack_end_ext(pack, ext, mark);
}

static int
pack_kind(struct lmpy_pack *pack, PyObject *value)
{
  struct lmpy_codec_state *state = pack->state;
  if (lmpy_codec_load_kinds(state) != 0)
    return -1;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  PyObject *answer =
      PyObject_CallFunctionObjArgs(state->reduce, value, pack->allow_pickle ? Py_True : Py_False,
                                   pack->callables ? Py_True : Py_False, NULL);
  if (answer == NULL)
    return -1;
  int result = -1;
  PyObject *payload;
  int ext;
  if (!PyArg_ParseTuple(answer, "iO", &ext, &payload))
    goto done;
  if (ext == LM_EXT_BUFFER) {
    result = lmpy_pack_array(pack, payload);
  } else if (ext == 0) { /* as another value, which means the same */
    result = lmpy_pack_value(pack, payload);
  } else if (ext == LM_EXT_PICKLE) {
    result = put_ext(pack, ext, PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload));
  } else {
    result = lmpy_pack_parts(pack, ext, payload);
  }
  if (result == 0)
    pack->depth--;
done:
  Py_DECREF(answer);
  return result;
}

int
lmpy_pack_value(struct lmpy_pack *pack, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  if (type == &PyUnicode_Type)
    return pack_str(pack, value);
  if (type == &PyLong_Type)
    return pack_int(pack, value);
  if (type == &PyFloat_Type)
    return pack_float(pack, PyFloat_AS_DOUBLE(value));
  if (type == &PyDict_Type)
    return pack_dict(pack, value);
  if (type == &PyList_Type)
    return pack_list(pack, value);
  if (value == Py_None)
    return put_bytes(pack, "\xc0", 1);
  if (type == &PyBool_Type)
    return put_bytes(pack, value == Py_True ? "\xc3" : "\xc2", 1);
  if (type == &PyTuple_Type)
    return pack_tuple(pack, value);
  if (type == &PyBytes_Type)
    return pack_bytes(pack, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
  if (type == &PyByteArray_Type)
    return put_ext(pack, LM_EXT_BYTEARRAY, PyByteArray_AS_STRING(value),
                   (size_t)PyByteArray_GET_SIZE(value));
  if (type == &PySet_Type || type == &PyFrozenSet_Type)
    return pack_set(pack, value);
  return pack_kind(pack, value);
}
