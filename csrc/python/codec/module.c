/* lambdamap._codec: values to frames and back. All that a worker imports: no thread, no network. */
#include "codec/codec.h"

#include <limits.h>
#include <string.h>

#include "wire/envelope.h"

enum { STEPS_SHOWN = 8 }; /* at each end of the way to a value */

/* Leave the middle of a long way out. Whether it worked. */
static bool
shorten(PyObject *steps)
{
  Py_ssize_t n = PyList_GET_SIZE(steps);
  if (n <= 2 * STEPS_SHOWN)
    return true;
  PyObject *dots = Py_BuildValue("[s]", "...");
  bool done = dots != NULL && PyList_SetSlice(steps, STEPS_SHOWN, n - STEPS_SHOWN, dots) == 0;
  Py_XDECREF(dots);
  return done;
}

/* The pending EncodeFailure with the way to the value as its second argument. Returns NULL. */
PyObject *
lmpy_codec_path_error(struct lmpy_pack *pack)
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
    if (steps != NULL && PyList_Reverse(steps) == 0 && shorten(steps))
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

/* --- arguments --- */

/* The keyword arguments behind the one that has none, where the caller gave them: *found[i] is the one
 * of names[i], borrowed. */
static int
take_arguments(const char *function, PyObject *const *args, Py_ssize_t n, PyObject *given,
               const char *const *names, PyObject **found)
{
  if (n != 1) {
    PyErr_Format(PyExc_TypeError, "%s() takes exactly one positional argument (%zd given)",
                 function, n);
    return -1;
  }
  for (Py_ssize_t i = 0; given != NULL && i < PyTuple_GET_SIZE(given); i++) {
    PyObject *name = PyTuple_GET_ITEM(given, i);
    size_t at = 0;
    while (names[at] != NULL && PyUnicode_CompareWithASCIIString(name, names[at]) != 0)
      at++;
    if (names[at] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
      return -1;
    }
    found[at] = args[n + i];
  }
  return 0;
}

/* Whether an argument is true: 0 and *flag, which stays where it was not given; or -1. */
static int
take_flag(PyObject *given, bool *flag)
{
  int truth = given == NULL ? *flag : PyObject_IsTrue(given);
  *flag = truth > 0;
  return truth < 0 ? -1 : 0;
}

static int
take_size(PyObject *given, const char *name, size_t *size)
{
  if (given == NULL)
    return 0;
  Py_ssize_t n = PyNumber_AsSsize_t(given, PyExc_OverflowError);
  if (n == -1 && PyErr_Occurred())
    return -1;
  if (n < 0) {
    PyErr_Format(PyExc_ValueError, "%s must not be negative", name);
    return -1;
  }
  *size = (size_t)n;
  return 0;
}

/* --- encode --- */

enum { RELEASE_BYTES = 16384 /* from here on others may run while bytes are deflated */ };

/* A coder for one thread: the spare one, or a new one. NULL when out of memory. */
static struct lm_coder *
take_coder(struct lmpy_codec_state *state)
{
  struct lm_coder *coder = state->spare_coder;
  state->spare_coder = NULL;
  return coder != NULL ? coder : lm_coder_new();
}

static void
give_coder(struct lmpy_codec_state *state, struct lm_coder *coder)
{
  if (state->spare_coder == NULL)
    state->spare_coder = coder;
  else
    lm_coder_destroy(coder);
}

/* Seal a frame; *result is the bytes or the text, or NULL and an exception. The module's coder serves
 * small ones under the GIL; a large one has a coder of its own, so that others may run meanwhile. */
static PyObject *
finish(struct lmpy_codec_state *state, const struct lmpy_pack *pack, bool compression, bool text)
{
  struct lm_frame_view view;
  struct lm_sealed sealed;
  struct lm_error err;
  struct lm_coder *coder = state->coder;
  PyObject *result = NULL;
  int failed;
  lmpy_pack_view(pack, &view);
  bool large =
      compression && view.structure_len + view.packed_len + view.words_len >= RELEASE_BYTES;
  if (large && (coder = take_coder(state)) == NULL)
    return PyErr_NoMemory();
  if (large) {
    Py_BEGIN_ALLOW_THREADS failed = lm_frame_prepare(coder, &view, compression, &sealed, &err);
    Py_END_ALLOW_THREADS
  } else {
    failed = lm_frame_prepare(coder, &view, compression, &sealed, &err);
  }
  if (failed != 0) {
    lmpy_raise(&err, state->encode_failure);
  } else if (text) {
    result = PyUnicode_New((Py_ssize_t)lm_frame_text_size(&sealed), 127);
    if (result != NULL)
      lm_frame_write_text(&sealed, (char *)PyUnicode_1BYTE_DATA(result));
  } else {
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)sealed.len);
    if (result != NULL)
      lm_frame_write(&sealed, (uint8_t *)PyBytes_AS_STRING(result));
  }
  if (large)
    give_coder(state, coder);
  return result;
}

static PyObject *
encode_as(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given, bool text)
{
  static const char *const names[] = {"allow_pickle", "compression", "callables", NULL};
  PyObject *found[3] = {NULL, NULL, NULL}, *result = NULL;
  bool allow_pickle = false, compression = true, callables = true;
  struct lmpy_pack pack;
  if (take_arguments(text ? "encode_text" : "encode", args, n, given, names, found) != 0 ||
      take_flag(found[0], &allow_pickle) != 0 || take_flag(found[1], &compression) != 0 ||
      take_flag(found[2], &callables) != 0)
    return NULL;
  struct lmpy_codec_state *state = PyModule_GetState(module);
  lmpy_pack_init(&pack, state, allow_pickle, callables);
  /* Compression may let other threads run, and they may write to the array. */
  pack.may_borrow = !compression;
  if (lmpy_pack_value(&pack, args[0]) != 0)
    lmpy_codec_path_error(&pack);
  else
    result = finish(state, &pack, compression, text);
  lmpy_pack_clean_up(&pack);
  return result;
}

static PyObject *
encode(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  return encode_as(module, args, n, given, false);
}

static PyObject *
encode_text(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  return encode_as(module, args, n, given, true);
}

/* --- decode --- */

static int
open_frame(struct lmpy_codec_state *state, const uint8_t *bytes, size_t len, bool text,
           const struct lm_frame_limits *limits, struct lm_buf *raw, struct lm_error *err)
{
  size_t estimate;
  if (len < RELEASE_BYTES)
    return text ? lm_frame_from_text(state->coder, (const char *)bytes, len, limits, raw, &estimate,
                                     err)
                : lm_frame_open(state->coder, bytes, len, limits, raw, &estimate, err);
  struct lm_coder *coder = take_coder(state);
  if (coder == NULL)
    return lm_error_nomem(err, 1);
  int result;
  Py_BEGIN_ALLOW_THREADS result =
      text ? lm_frame_from_text(coder, (const char *)bytes, len, limits, raw, &estimate, err)
           : lm_frame_open(coder, bytes, len, limits, raw, &estimate, err);
  Py_END_ALLOW_THREADS give_coder(state, coder);
  return result;
}

static int
take_decode_arguments(const char *function, PyObject *const *args, Py_ssize_t n, PyObject *given,
                      struct lmpy_unpack_opts *opts)
{
  static const char *const names[] = {"allow_pickle", "names", "max_output_bytes",
                                      "max_depth",    "check", NULL};
  PyObject *found[5] = {NULL, NULL, NULL, NULL, NULL};
  struct lm_frame_limits limits = LM_FRAME_LIMITS_DEFAULT;
  size_t depth = limits.max_depth;
  *opts = (struct lmpy_unpack_opts){false, Py_None, Py_None, limits};
  if (take_arguments(function, args, n, given, names, found) != 0 ||
      take_flag(found[0], &opts->allow_pickle) != 0 ||
      take_size(found[2], names[2], &opts->limits.max_output_bytes) != 0 ||
      take_size(found[3], names[3], &depth) != 0)
    return -1;
  if (found[1] != NULL)
    opts->names = found[1];
  if (found[4] != NULL)
    opts->check = found[4];
  opts->limits.max_depth = depth < UINT_MAX ? (unsigned)depth : UINT_MAX;
  return 0;
}

static PyObject *
decode_bytes(struct lmpy_codec_state *state, const void *bytes, size_t len, bool text, bool changes,
             const struct lmpy_unpack_opts *opts)
{
  struct lm_buf raw = {.max = SIZE_MAX};
  struct lm_error err;
  PyObject *result = NULL;
  bool is_raw = !text && lm_frame_is_raw(bytes, len);
  if (is_raw && !changes)
    return lmpy_unpack(state, bytes, len, opts);
  lm_buf_move(&raw, &state->spare_raw); /* unpacking may run code that comes back here */
  int failed;
  if (is_raw) { /* what was checked must not change before it is used */
    lm_buf_append(&raw, bytes, len);
    failed = lm_buf_check(&raw, "the frame", &err);
  } else {
    failed = open_frame(state, bytes, len, text, &opts->limits, &raw, &err);
  }
  if (failed != 0)
    lmpy_raise(&err, state->decode_failure);
  else
    result = lmpy_unpack(state, raw.data, raw.len, opts);
  lmpy_codec_keep(&state->spare_raw, &raw);
  return result;
}

static PyObject *
decode(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  struct lmpy_unpack_opts opts;
  Py_buffer view;
  if (take_decode_arguments("decode", args, n, given, &opts) != 0 ||
      PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0)
    return NULL;
  PyObject *result = decode_bytes(PyModule_GetState(module), view.buf, (size_t)view.len, false,
                                  !view.readonly, &opts);
  PyBuffer_Release(&view);
  return result;
}

static PyObject *
decode_text(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  struct lmpy_unpack_opts opts;
  Py_buffer view;
  if (take_decode_arguments("decode_text", args, n, given, &opts) != 0)
    return NULL;
  PyObject *text = args[0];
  if (PyUnicode_Check(text)) {
    struct lmpy_codec_state *state = PyModule_GetState(module);
    if (!lmpy_is_ascii(text)) {
      PyErr_SetString(state->decode_failure, "the text holds characters outside base64");
      return NULL;
    }
    return decode_bytes(state, PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text), true,
                        false, &opts);
  }
  if (PyObject_GetBuffer(text, &view, PyBUF_SIMPLE) != 0)
    return NULL;
  PyObject *result =
      decode_bytes(PyModule_GetState(module), view.buf, (size_t)view.len, true, false, &opts);
  PyBuffer_Release(&view);
  return result;
}

/* --- the module --- */

#define DECODE_SIGNATURE                                                                           \
  "allow_pickle=False, names=None, max_output_bytes=268435456,\n          "                        \
  "max_depth=512, check=None)\n--\n\n"

PyDoc_STRVAR(encode_doc,
             "encode($module, value, /, *, allow_pickle=False, compression=True,\n"
             "       callables=True)\n--\n\n"
             "One value as a sealed frame. callables: whether functions may be named in it.\n\n"
             "Raises EncodeFailure(message, path) for what cannot travel.");
PyDoc_STRVAR(encode_text_doc,
             "encode_text($module, value, /, *, allow_pickle=False, compression=True,\n"
             "            callables=True)\n--\n\n"
             "One value as text: \"lm1:\" and base64.");
PyDoc_STRVAR(decode_doc, "decode($module, frame, /, *, " DECODE_SIGNATURE
                         "The value of a frame, sealed or raw.\n\n"
                         "names follows the names of callables, classes and modules; None: DATA of "
                         "lambdamap.shipping.lookup,\nor TRUSTED with allow_pickle. check is called now and "
                         "then, and what it raises ends the\nreading. Raises DecodeFailure.");
PyDoc_STRVAR(decode_text_doc, "decode_text($module, text, /, *, " DECODE_SIGNATURE
                              "The value of a text that encode_text made.");

PyDoc_STRVAR(encode_json_doc, "encode_json($module, value, /)\n--\n\n"
                              "One value as plain JSON in UTF-8.\n\n"
                              "Raises EncodeFailure(message, path) for what JSON has no form for.");

static PyMethodDef methods[] = {
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL | METH_KEYWORDS, encode_doc},
    {"encode_text", (PyCFunction)(void (*)(void))encode_text, METH_FASTCALL | METH_KEYWORDS,
     encode_text_doc},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL | METH_KEYWORDS, decode_doc},
    {"decode_text", (PyCFunction)(void (*)(void))decode_text, METH_FASTCALL | METH_KEYWORDS,
     decode_text_doc},
    {"encode_json", lmpy_encode_json, METH_O, encode_json_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *
new_error(PyObject *module, const char *name, const char *doc, PyObject *base)
{
  char full[64] = "lambdamap._codec.";
  PyObject *error = PyErr_NewExceptionWithDoc(strcat(full, name), doc, base, NULL);
  if (error != NULL && lmpy_module_add(module, name, error) != 0)
    Py_CLEAR(error);
  return error;
}

static int
exec(PyObject *module)
{
  static const char *const names[] = {
      "reduce",    "restore",     "float64",        "int64",         "Decimal",
      "DataFrame", "frame_shape", "frame_snapshot", "frames_reduce", "DATA",
      "TRUSTED",   "module",      "numpy",          "from_signal",   "whole"};
  struct lmpy_codec_state *state = PyModule_GetState(module);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if ((state->names[i] = PyUnicode_InternFromString(names[i])) == NULL)
      return -1;
  state->spare_raw.max = SIZE_MAX;
  state->coder = lm_coder_new();
  if (state->coder == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  state->codec_error = new_error(module, "CodecError", "Base of the two below.", PyExc_Exception);
  if (state->codec_error == NULL)
    return -1;
  state->encode_failure =
      new_error(module, "EncodeFailure", "args are the message and the place inside the value.",
                state->codec_error);
  state->decode_failure =
      new_error(module, "DecodeFailure", "The bytes are no value.", state->codec_error);
  if (state->encode_failure == NULL || state->decode_failure == NULL)
    return -1;
  state->entangled =
      new_error(module, "Entangled", "Its parts cannot travel one by one: one pickle of all can.",
                state->encode_failure);
  if (state->entangled == NULL)
    return -1;
  state->packer_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_packer_spec, NULL);
  if (state->packer_type == NULL || PyModule_AddType(module, state->packer_type) != 0)
    return -1;
  state->chunker_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_chunker_spec, NULL);
  if (state->chunker_type == NULL || PyModule_AddType(module, state->chunker_type) != 0)
    return -1;
  state->budget_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_budget_spec, NULL);
  if (state->budget_type == NULL || PyModule_AddType(module, state->budget_type) != 0)
    return -1;
  if (PyModule_AddIntConstant(module, "WIRE_VERSION", LM_WIRE_VERSION) != 0 ||
      PyModule_AddIntConstant(module, "PROTOCOL", LM_PROTOCOL) != 0)
    return -1;
  return 0;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
  struct lmpy_codec_state *state = PyModule_GetState(module);
  Py_VISIT(state->codec_error);
  Py_VISIT(state->encode_failure);
  Py_VISIT(state->decode_failure);
  Py_VISIT(state->entangled);
  Py_VISIT(state->packer_type);
  Py_VISIT(state->chunker_type);
  Py_VISIT(state->budget_type);
  Py_VISIT(state->kinds);
  Py_VISIT(state->reduce);
  Py_VISIT(state->restore);
  Py_VISIT(state->data);
  Py_VISIT(state->trusted);
  Py_VISIT(state->float64);
  Py_VISIT(state->int64);
  Py_VISIT(state->decimal);
  Py_VISIT(state->frame);
  return 0;
}

static int
clear(PyObject *module)
{
  struct lmpy_codec_state *state = PyModule_GetState(module);
  Py_CLEAR(state->codec_error);
  Py_CLEAR(state->encode_failure);
  Py_CLEAR(state->decode_failure);
  Py_CLEAR(state->entangled);
  Py_CLEAR(state->packer_type);
  Py_CLEAR(state->chunker_type);
  Py_CLEAR(state->budget_type);
  Py_CLEAR(state->kinds);
  Py_CLEAR(state->reduce);
  Py_CLEAR(state->restore);
  Py_CLEAR(state->data);
  Py_CLEAR(state->trusted);
  Py_CLEAR(state->float64);
  Py_CLEAR(state->int64);
  Py_CLEAR(state->decimal);
  Py_CLEAR(state->frame);
  for (size_t i = 0; i < sizeof state->names / sizeof state->names[0]; i++)
    Py_CLEAR(state->names[i]);
  for (size_t i = 0; i < LMPY_KEYS; i++)
    Py_CLEAR(state->keys[i].text);
  return 0;
}

static void
free_state(void *module)
{
  struct lmpy_codec_state *state = PyModule_GetState(module);
  clear(module);
  lmpy_gather_destroy(state->spare);
  state->spare = NULL;
  for (size_t i = 0; i < sizeof state->spare_bufs / sizeof state->spare_bufs[0]; i++)
    lm_buf_clean_up(&state->spare_bufs[i]);
  lm_buf_clean_up(&state->spare_raw);
  lm_coder_destroy(state->spare_coder);
  state->spare_coder = NULL;
  lm_coder_destroy(state->coder);
  state->coder = NULL;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
    LMPY_INTERPRETERS,
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "lambdamap._codec",
    .m_doc = PyDoc_STR("Native codec: Python values to frames and back."),
    .m_size = sizeof(struct lmpy_codec_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_state,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
  return PyModuleDef_Init(&definition);
}
