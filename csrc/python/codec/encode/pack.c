#include "codec/encode/pack.h"

#include "codec/types.h"

enum {
  MAX_SECTION = 1 << 30,
  STEPS_SHOWN = 8 /* at each end of the path to a value */
};

static struct lm_buf *
encode_pack_buffer(struct lmpy_pack *pack, int i)
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
    lm_buf_move(encode_pack_buffer(pack, i), &state->spare_bufs[i]);
    encode_pack_buffer(pack, i)->max = MAX_SECTION;
  }
}

void
lmpy_pack_clean_up(struct lmpy_pack *pack)
{
  for (int i = 0; i < 4; i++)
    if (pack->state != NULL)
      lmpy_state_keep(&pack->state->spare_bufs[i], encode_pack_buffer(pack, i));
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

/* Prepend one step to the path to the failing value. Keeps the pending exception in any case. */
static void
encode_pack_add_step(struct lmpy_pack *pack, const char *format, PyObject *step)
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
    encode_pack_add_step(pack, "[%R]", number);
  Py_XDECREF(number);
}

void
lmpy_pack_key_step(struct lmpy_pack *pack, PyObject *key)
{
  encode_pack_add_step(pack, "[%.200R]", key);
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

/* Replace the middle of a long path by dots; return whether that succeeded. */
static bool
encode_pack_shorten(PyObject *steps)
{
  Py_ssize_t n = PyList_GET_SIZE(steps);
  if (n <= 2 * STEPS_SHOWN)
    return true;
  PyObject *dots = Py_BuildValue("[s]", "...");
  bool done = dots != NULL && PyList_SetSlice(steps, STEPS_SHOWN, n - STEPS_SHOWN, dots) == 0;
  Py_XDECREF(dots);
  return done;
}

PyObject *
lmpy_pack_path_error(struct lmpy_pack *pack)
{
  PyObject *steps = pack->path, *way = NULL, *args = NULL;
  pack->path = NULL;
  if (!PyErr_ExceptionMatches(pack->state->encode_failure)) {
    Py_XDECREF(steps);
    return NULL;
  }
  PyObject *error = lmpy_error_take();
  PyObject *before = PyObject_GetAttrString(error, "args");
  PyObject *empty = PyUnicode_FromString("");
  if (before != NULL && empty != NULL) {
    if (steps != NULL && PyList_Reverse(steps) == 0 && encode_pack_shorten(steps))
      way = PyUnicode_Join(empty, steps);
    else
      way = Py_NewRef(empty);
    PyObject *message = PyTuple_GET_SIZE(before) > 0 ? PyTuple_GET_ITEM(before, 0) : empty;
    if (way != NULL && (args = PyTuple_Pack(2, message, way)) != NULL)
      (void)PyObject_SetAttrString(error, "args", args);
  }
  PyErr_Clear();
  Py_XDECREF(args);
  Py_XDECREF(way);
  Py_XDECREF(empty);
  Py_XDECREF(before);
  Py_XDECREF(steps);
  lmpy_error_put(error);
  return NULL;
}

PyObject *
lmpy_pack_whole(struct lmpy_pack *pack, PyObject *value)
{
  struct lmpy_codec_state *state = pack->state;
  if (!pack->allow_pickle || !PyErr_ExceptionMatches(state->entangled))
    return NULL;
  PyObject *failure = lmpy_error_take();
  PyObject *whole = NULL;
  if (lmpy_types_load_kinds(state) == 0)
    whole =
        PyObject_CallMethodObjArgs(state->kinds, state->names[LMPY_WHOLE], value, failure, NULL);
  if (whole != NULL) {
    Py_XDECREF(failure);
    Py_CLEAR(pack->path);
  } else if (PyErr_ExceptionMatches(PyExc_Exception)) {
    PyErr_Clear();
    lmpy_error_put(failure);
  } else {
    Py_XDECREF(failure); /* for example a KeyboardInterrupt */
  }
  return whole;
}

int
lmpy_pack_no_memory(struct lmpy_pack *pack)
{
  if (pack->structure.failed == LM_E_LIMIT || pack->packed.failed == LM_E_LIMIT ||
      pack->words.failed == LM_E_LIMIT || pack->scratch.failed == LM_E_LIMIT)
    return lmpy_pack_refuse(pack, "the value takes more than %d bytes", MAX_SECTION);
  PyErr_NoMemory();
  return -1;
}

/* --- appending --- */

int
lmpy_pack_too_deep(struct lmpy_pack *pack)
{
  PyErr_Format(pack->state->entangled,
               "the value is nested deeper than %d levels or contains itself", LMPY_MAX_DEPTH);
  return -1;
}

int
lmpy_pack_end_ext(struct lmpy_pack *pack, int ext, size_t mark)
{
  size_t n = pack->structure.len - mark - 6;
  uint8_t *at = pack->structure.data + mark;
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "the value is larger than 4 GB");
  if (n < 256) { /* most are small: close the gap left for a longer header */
    at[0] = 0xc7;
    at[1] = (uint8_t)n;
    at[2] = (uint8_t)ext;
    memmove(at + 3, at + 6, n);
    pack->structure.len -= 3;
  } else {
    at[0] = 0xc9;
    lmpy_put_be(at + 1, n, 4);
    at[5] = (uint8_t)ext;
  }
  return 0;
}

int
lmpy_put_varint(struct lmpy_pack *pack, uint64_t n)
{
  uint8_t *at = lmpy_put_room(pack, 10);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  pack->structure.len += lm_varint_write(at, n);
  return 0;
}
