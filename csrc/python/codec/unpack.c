/* A raw frame to Python values. Bounded by itself: every length is checked against what is left, the
 * depth is counted, and nothing is allocated for more items than bytes can hold. */
#include "codec.h"

#include "wire/mpread.h"

PyObject *
lmpy_unpack_refuse(struct lmpy_unpack *unpack, const char *text)
{
  PyErr_SetString(unpack->state->decode_failure, text);
  return NULL;
}

/* --- texts --- */

PyObject *
lmpy_unpack_key(struct lmpy_unpack *unpack, const uint8_t *bytes, uint32_t len)
{
  if (len > LMPY_KEY_BYTES)
    return PyUnicode_DecodeUTF8((const char *)bytes, len, NULL);
  uint32_t hash = 2166136261u; /* FNV-1a */
  for (uint32_t i = 0; i < len; i++)
    hash = (hash ^ bytes[i]) * 16777619u;
  struct lmpy_key *kept = &unpack->state->keys[hash % LMPY_KEYS];
  if (kept->text != NULL && kept->hash == hash && kept->len == len &&
      memcmp(kept->bytes, bytes, len) == 0)
    return Py_NewRef(kept->text);
  PyObject *text = PyUnicode_DecodeUTF8((const char *)bytes, len, NULL);
  if (text == NULL)
    return NULL;
  PyUnicode_InternInPlace(&text);
  Py_XSETREF(kept->text, Py_NewRef(text));
  kept->hash = hash;
  kept->len = (uint8_t)len;
  memcpy(kept->bytes, bytes, len);
  return text;
}

/* --- containers --- */

static PyObject *
list(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end, uint32_t n, unsigned depth)
{
  PyObject *made = PyList_New(n);
  for (uint32_t i = 0; made != NULL && i < n; i++) {
    PyObject *item = lmpy_unpack_value(unpack, at, end, depth);
    if (item == NULL)
      Py_CLEAR(made);
    else
      PyList_SET_ITEM(made, i, item);
  }
  return made;
}

static PyObject *
dict(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end, uint32_t n, unsigned depth)
{
  PyObject *made = PyDict_New();
  for (uint32_t i = 0; made != NULL && i < n; i++) {
    PyObject *key = NULL, *item = NULL;
    struct lm_mp_token token = {0};
    const uint8_t *from = *at;
    lm_mp_next(at, end, &token);
    if (token.kind == LM_MP_STR) {
      key = lmpy_unpack_key(unpack, token.data, token.len);
    } else {
      *at = from;
      key = lmpy_unpack_value(unpack, at, end, depth);
    }
    if (key != NULL)
      item = lmpy_unpack_value(unpack, at, end, depth);
    if (item == NULL || PyDict_SetItem(made, key, item) != 0)
      Py_CLEAR(made);
    Py_XDECREF(item);
    Py_XDECREF(key);
  }
  if (made != NULL && PyDict_GET_SIZE(made) != (Py_ssize_t)n) {
    Py_DECREF(made);
    return lmpy_unpack_refuse(unpack, "a dict has the same key twice");
  }
  return made;
}

/* The array that is an ext's whole payload, as a tuple. */
static PyObject *
inner(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  const uint8_t *at = ext->data, *end = ext->data + ext->len;
  struct lm_mp_token token = {0};
  lm_mp_next(&at, end, &token);
  if (token.kind != LM_MP_ARRAY)
    return lmpy_unpack_refuse(unpack, "an extension that is no array");
  if (depth == 0)
    return lmpy_unpack_refuse(unpack, "the value is nested too deep");
  PyObject *made = PyTuple_New(token.count);
  for (uint32_t i = 0; made != NULL && i < token.count; i++) {
    PyObject *item = lmpy_unpack_value(unpack, &at, end, depth - 1);
    if (item == NULL)
      Py_CLEAR(made);
    else
      PyTuple_SET_ITEM(made, i, item);
  }
  if (made != NULL && at != end) {
    Py_DECREF(made);
    return lmpy_unpack_refuse(unpack, "an extension with something behind its value");
  }
  return made;
}

static PyObject *
set(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  PyObject *items = inner(unpack, ext, depth);
  if (items == NULL)
    return NULL;
  PyObject *made = NULL;
  Py_ssize_t n = PyTuple_GET_SIZE(items);
  if (n == 0 || !PyBool_Check(PyTuple_GET_ITEM(items, 0))) {
    lmpy_unpack_refuse(unpack, "a set that does not say which kind it is");
  } else {
    PyObject *rest = PyTuple_GetSlice(items, 1, n);
    if (rest != NULL)
      made = PyTuple_GET_ITEM(items, 0) == Py_True ? PyFrozenSet_New(rest) : PySet_New(rest);
    Py_XDECREF(rest);
    if (made != NULL && PySet_GET_SIZE(made) != n - 1) {
      Py_CLEAR(made);
      lmpy_unpack_refuse(unpack, "a set has the same item twice");
    }
  }
  Py_DECREF(items);
  return made;
}

/* --- extensions --- */

static PyObject *
kind(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  struct lmpy_codec_state *state = unpack->state;
  PyObject *payload = NULL, *number = NULL, *made = NULL;
  if (lmpy_codec_load_kinds(state) != 0)
    return NULL;
  if (ext->ext == LM_EXT_PICKLE) {
    if (!unpack->opts->allow_pickle)
      return lmpy_unpack_refuse(
          unpack, "it holds a pickle, and unpickling runs code of whoever made it: pass "
                  "allow_pickle=True if you trust the other side");
    payload = PyBytes_FromStringAndSize((const char *)ext->data, ext->len);
  } else {
    payload = inner(unpack, ext, depth);
  }
  number = PyLong_FromLong(ext->ext);
  if (payload != NULL && number != NULL)
    made =
        PyObject_CallFunctionObjArgs(state->restore, number, payload, unpack->opts->resolve, NULL);
  Py_XDECREF(number);
  Py_XDECREF(payload);
  return made;
}

static PyObject *
extension(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  switch (ext->ext) {
  case LM_EXT_LIST:
    return lmpy_unpack_list(unpack, ext->data, ext->data + ext->len, depth);
  case LM_EXT_BUFFER:
    return lmpy_unpack_buffer(unpack, ext->data, ext->data + ext->len);
  case LM_EXT_BIG_INT:
    if (ext->len == 0)
      return lmpy_unpack_refuse(unpack, "an integer without digits");
    return lmpy_int_from_bytes(ext->data, ext->len);
  case LM_EXT_TUPLE:
    return inner(unpack, ext, depth);
  case LM_EXT_WIDE_STR:
    return PyUnicode_DecodeUTF8((const char *)ext->data, ext->len, "surrogatepass");
  case LM_EXT_BYTEARRAY:
    return PyByteArray_FromStringAndSize((const char *)ext->data, ext->len);
  case LM_EXT_SET:
    return set(unpack, ext, depth);
  case LM_EXT_DATETIME:
  case LM_EXT_NDARRAY:
  case LM_EXT_DECIMAL:
  case LM_EXT_NAMED:
  case LM_EXT_PANDAS:
  case LM_EXT_NUMPY:
  case LM_EXT_FRAMES:
  case LM_EXT_PICKLE:
    return kind(unpack, ext, depth);
  default:
    PyErr_Format(unpack->state->decode_failure,
                 "it holds extension type %d; 1 to %d and %d are known", ext->ext, LM_EXT_FRAMES,
                 LM_EXT_PICKLE);
    return NULL;
  }
}

PyObject *
lmpy_unpack_value(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end,
                  unsigned depth)
{
  struct lm_mp_token token = {0};
  lm_mp_next(at, end, &token);
  switch (token.kind) {
  case LM_MP_BAD:
    return lmpy_unpack_refuse(unpack, "it ends in its middle, or holds a byte that begins nothing");
  case LM_MP_NIL:
    return Py_NewRef(Py_None);
  case LM_MP_FALSE:
    return Py_NewRef(Py_False);
  case LM_MP_TRUE:
    return Py_NewRef(Py_True);
  case LM_MP_UINT:
    return PyLong_FromUnsignedLongLong(token.value.u);
  case LM_MP_INT:
    return PyLong_FromLongLong(token.value.i);
  case LM_MP_FLOAT:
    return PyFloat_FromDouble(token.value.f);
  case LM_MP_STR:
    return lmpy_text(token.data, token.len);
  case LM_MP_BIN:
    return PyBytes_FromStringAndSize((const char *)token.data, token.len);
  case LM_MP_ARRAY:
  case LM_MP_MAP:
  case LM_MP_EXT:
    break;
  }
  if (depth == 0)
    return lmpy_unpack_refuse(unpack, "the value is nested too deep");
  if (token.kind == LM_MP_ARRAY)
    return list(unpack, at, end, token.count, depth - 1);
  if (token.kind == LM_MP_MAP)
    return dict(unpack, at, end, token.count, depth - 1);
  return extension(unpack, &token, depth - 1);
}

/* What a broken value raised on the way is the frame's fault: DecodeFailure, caused by it. */
static void
blame_frame(struct lmpy_codec_state *state)
{
  if (PyErr_ExceptionMatches(state->decode_failure) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
      !PyErr_ExceptionMatches(PyExc_Exception))
    return;
  PyObject *cause = lmpy_error_take();
  PyErr_Format(state->decode_failure, "%s: %S", Py_TYPE(cause)->tp_name, cause);
  PyObject *error = lmpy_error_take();
  if (error != NULL) {
    PyException_SetCause(error, cause); /* steals */
    lmpy_error_put(error);
  } else {
    Py_DECREF(cause);
  }
}

PyObject *
lmpy_unpack(struct lmpy_codec_state *state, const uint8_t *raw, size_t raw_len,
            const struct lmpy_unpack_opts *opts)
{
  struct lm_frame_view view;
  struct lm_error err;
  if (lm_frame_split(raw, raw_len, &view, &err) != 0)
    return lmpy_raise(&err, state->decode_failure);
  struct lmpy_unpack unpack = {state, opts, {view, 0, 0, 0}, opts->limits.max_output_bytes};
  const uint8_t *at = view.structure, *end = view.structure + view.structure_len;
  unsigned depth = opts->limits.max_depth < 512 ? opts->limits.max_depth : 512;
  /* Many containers, none of them garbage: the collector would look at them all for nothing. */
  int collecting = PyGC_Disable();
  PyObject *made = lmpy_unpack_value(&unpack, &at, end, depth);
  if (collecting)
    PyGC_Enable();
  if (made != NULL && (at != end || !lm_sections_used(&unpack.sections))) {
    Py_CLEAR(made);
    lmpy_unpack_refuse(&unpack, "something follows the value's end");
  }
  if (made == NULL)
    blame_frame(state);
  return made;
}
