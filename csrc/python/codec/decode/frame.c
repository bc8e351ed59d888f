#include "codec/decode/frame.h"

#include <limits.h>

#include "codec/arguments.h"
#include "codec/decode/value.h"
#include "wire/rules.h"

/* Whether it was raised by a signal handler while lambdamap.shipping.kinds ran. */
static bool
decode_frame_is_from_signal(struct lmpy_codec_state *state, PyObject *error)
{
  if (state->kinds == NULL)
    return false;
  PyObject *answer =
      PyObject_CallMethodObjArgs(state->kinds, state->names[LMPY_FROM_SIGNAL], error, NULL);
  bool from_signal = answer == Py_True;
  Py_XDECREF(answer);
  return from_signal;
}

/* Convert an exception that a malformed value raised to DecodeFailure, with it as the cause. */
static void
decode_frame_blame_frame(struct lmpy_codec_state *state)
{
  if (PyErr_ExceptionMatches(state->decode_failure) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
      !PyErr_ExceptionMatches(PyExc_Exception))
    return;
  PyObject *cause = lmpy_error_take();
  if (decode_frame_is_from_signal(state, cause)) {
    lmpy_error_put(cause);
    return;
  }
  if (PyErr_Occurred()) { /* for example a KeyboardInterrupt that arrived just now */
    Py_DECREF(cause);
    return;
  }
  PyErr_Format(state->decode_failure, "%s: %S", Py_TYPE(cause)->tp_name, cause);
  PyObject *error = lmpy_error_take();
  if (error != NULL) {
    PyException_SetCause(error, cause); /* steals */
    lmpy_error_put(error);
  } else {
    Py_DECREF(cause);
  }
}

/* Return the value of a raw frame (new reference). Safe for frames that lm_mpcheck has not checked. */
static PyObject *
decode_frame_unpack_frame(struct lmpy_codec_state *state, const uint8_t *raw, size_t raw_len,
                          const struct lmpy_unpack_opts *opts)
{
  struct lm_frame_view view;
  struct lm_error err;
  if (lm_frame_split(raw, raw_len, &view, &err) != 0)
    return lmpy_raise(&err, state->decode_failure);
  struct lmpy_budget *budget = lmpy_budget_new(state, opts->limits.max_output_bytes);
  if (budget == NULL)
    return NULL;
  struct lmpy_unpack unpack = {state, opts, {view, 0, 0, 0}, budget, 0, 0, 0, false, 0};
  const uint8_t *at = view.structure, *end = view.structure + view.structure_len;
  unsigned depth = opts->limits.max_depth < 512 ? opts->limits.max_depth : 512;
  /* Creates many containers and no garbage: collections would traverse them in vain. */
  unpack.collecting = PyGC_Disable();
  PyObject *made = lmpy_unpack_value(&unpack, &at, end, depth);
  if (unpack.collecting)
    PyGC_Enable();
  Py_DECREF(budget);
  const char *wrong = at != end                             ? LM_WRONG_TAIL
                      : !lm_sections_used(&unpack.sections) ? LM_WRONG_SECTIONS
                                                            : NULL;
  if (made != NULL && wrong != NULL) {
    Py_CLEAR(made);
    lmpy_unpack_refuse(&unpack, wrong);
  }
  if (made == NULL && !unpack.stopped)
    decode_frame_blame_frame(state);
  return made;
}

/* --- sealed frames, and texts --- */

static int
decode_frame_open_frame(struct lmpy_codec_state *state, const uint8_t *bytes, size_t len, bool text,
                        const struct lm_frame_limits *limits, struct lm_buf *raw,
                        struct lm_error *err)
{
  size_t estimate;
  if (len < LMPY_RELEASE_BYTES)
    return text ? lm_frame_from_text(state->coder, (const char *)bytes, len, limits, raw, &estimate,
                                     err)
                : lm_frame_open(state->coder, bytes, len, limits, raw, &estimate, err);
  struct lm_coder *coder = lmpy_state_take_coder(state);
  if (coder == NULL)
    return lm_error_nomem(err, 1);
  int result;
  Py_BEGIN_ALLOW_THREADS
  result = text ? lm_frame_from_text(coder, (const char *)bytes, len, limits, raw, &estimate, err)
                : lm_frame_open(coder, bytes, len, limits, raw, &estimate, err);
  Py_END_ALLOW_THREADS
  lmpy_state_give_coder(state, coder);
  return result;
}

static int
decode_frame_take_decode_arguments(const char *function, PyObject *const *args, Py_ssize_t n,
                                   PyObject *given, struct lmpy_unpack_opts *opts)
{
  static const char *const names[] = {"allow_pickle", "names", "max_output_bytes",
                                      "max_depth",    "check", NULL};
  PyObject *found[5] = {NULL, NULL, NULL, NULL, NULL};
  struct lm_frame_limits limits = LM_FRAME_LIMITS_DEFAULT;
  size_t depth = limits.max_depth;
  *opts = (struct lmpy_unpack_opts){false, Py_None, Py_None, limits};
  if (lmpy_take_arguments(function, args, n, given, names, found) != 0 ||
      lmpy_take_flag(found[0], &opts->allow_pickle) != 0 ||
      lmpy_take_size(found[2], names[2], &opts->limits.max_output_bytes) != 0 ||
      lmpy_take_size(found[3], names[3], &depth) != 0)
    return -1;
  if (found[1] != NULL)
    opts->names = found[1];
  if (found[4] != NULL)
    opts->check = found[4];
  opts->limits.max_depth = depth < UINT_MAX ? (unsigned)depth : UINT_MAX;
  return 0;
}

static PyObject *
decode_frame_decode_bytes(struct lmpy_codec_state *state, const void *bytes, size_t len, bool text,
                          bool changes, const struct lmpy_unpack_opts *opts)
{
  struct lm_buf raw = {.max = SIZE_MAX};
  struct lm_error err;
  PyObject *result = NULL;
  bool is_raw = !text && lm_frame_is_raw(bytes, len);
  if (is_raw && !changes)
    return decode_frame_unpack_frame(state, bytes, len, opts);
  lm_buf_move(&raw, &state->spare_raw); /* unpacking may run code that re-enters this function */
  int failed;
  if (is_raw) { /* the checked bytes must not change before they are used */
    lm_buf_append(&raw, bytes, len);
    failed = lm_buf_check(&raw, "the frame", &err);
  } else {
    failed = decode_frame_open_frame(state, bytes, len, text, &opts->limits, &raw, &err);
  }
  if (failed != 0)
    lmpy_raise(&err, state->decode_failure);
  else
    result = decode_frame_unpack_frame(state, raw.data, raw.len, opts);
  lmpy_state_keep(&state->spare_raw, &raw);
  return result;
}

PyObject *
lmpy_decode(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  struct lmpy_unpack_opts opts;
  Py_buffer view;
  if (decode_frame_take_decode_arguments("decode", args, n, given, &opts) != 0 ||
      PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0)
    return NULL;
  PyObject *result = decode_frame_decode_bytes(PyModule_GetState(module), view.buf,
                                               (size_t)view.len, false, !view.readonly, &opts);
  PyBuffer_Release(&view);
  return result;
}

PyObject *
lmpy_decode_text(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  struct lmpy_unpack_opts opts;
  Py_buffer view;
  if (decode_frame_take_decode_arguments("decode_text", args, n, given, &opts) != 0)
    return NULL;
  PyObject *text = args[0];
  if (PyUnicode_Check(text)) {
    struct lmpy_codec_state *state = PyModule_GetState(module);
    if (!lmpy_is_ascii(text)) {
      PyErr_SetString(state->decode_failure, "the text contains characters that are not base64");
      return NULL;
    }
    return decode_frame_decode_bytes(state, PyUnicode_1BYTE_DATA(text),
                                     (size_t)PyUnicode_GET_LENGTH(text), true, false, &opts);
  }
  if (PyObject_GetBuffer(text, &view, PyBUF_SIMPLE) != 0)
    return NULL;
  PyObject *result = decode_frame_decode_bytes(PyModule_GetState(module), view.buf,
                                               (size_t)view.len, true, false, &opts);
  PyBuffer_Release(&view);
  return result;
}
