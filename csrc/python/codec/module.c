/* lambdamap._codec: encodes values as frames and decodes them. The only extension a worker imports: no
 * threads, no network. */
#include <string.h>

#include "codec/chunker.h"
#include "codec/constants.h"
#include "codec/decode/budget.h"
#include "codec/decode/frame.h"
#include "codec/digester.h"
#include "codec/encode/frame.h"
#include "codec/encode/gather.h"
#include "codec/encode/json.h"
#include "codec/packer.h"

#define DECODE_SIGNATURE                                                                           \
  "allow_pickle=False, names=None, max_output_bytes=268435456,\n          "                        \
  "max_depth=512, check=None)\n--\n\n"

PyDoc_STRVAR(
    encode_doc,
    "encode($module, value, /, *, allow_pickle=False, compression=True,\n"
    "       callables=True)\n--\n\n"
    "Encode a value as a sealed frame.\n\n"
    "callables: whether functions may be sent by name. Raises EncodeFailure(message, path)\n"
    "for values that cannot be sent.");
PyDoc_STRVAR(encode_text_doc,
             "encode_text($module, value, /, *, allow_pickle=False, compression=True,\n"
             "            callables=True)\n--\n\n"
             "Encode a value as a frame in text form: \"lm1:\" and base64.");
PyDoc_STRVAR(
    decode_doc,
    "decode($module, frame, /, *, " DECODE_SIGNATURE "Decode a frame, sealed or raw.\n\n"
    "names resolves names of callables, classes and modules; None: DATA of "
    "lambdamap.shipping.lookup,\nor TRUSTED with allow_pickle. check is called periodically; "
    "its exceptions end decoding.\nRaises DecodeFailure.");
PyDoc_STRVAR(decode_text_doc,
             "decode_text($module, text, /, *, " DECODE_SIGNATURE "Decode a frame in text form.");

PyDoc_STRVAR(encode_json_doc,
             "encode_json($module, value, /)\n--\n\n"
             "Encode a value as JSON in UTF-8.\n\n"
             "Raises EncodeFailure(message, path) for what JSON cannot represent.");

static PyMethodDef methods[] = {
    {"encode", (PyCFunction)(void (*)(void))lmpy_encode, METH_FASTCALL | METH_KEYWORDS, encode_doc},
    {"encode_text", (PyCFunction)(void (*)(void))lmpy_encode_text, METH_FASTCALL | METH_KEYWORDS,
     encode_text_doc},
    {"decode", (PyCFunction)(void (*)(void))lmpy_decode, METH_FASTCALL | METH_KEYWORDS, decode_doc},
    {"decode_text", (PyCFunction)(void (*)(void))lmpy_decode_text, METH_FASTCALL | METH_KEYWORDS,
     decode_text_doc},
    {"encode_json", lmpy_encode_json, METH_O, encode_json_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *
codec_new_error(PyObject *module, const char *name, const char *doc, PyObject *base)
{
  char full[64] = "lambdamap._codec.";
  PyObject *error = PyErr_NewExceptionWithDoc(strcat(full, name), doc, base, NULL);
  if (error != NULL && lmpy_module_add(module, name, error) != 0)
    Py_CLEAR(error);
  return error;
}

static int
codec_exec(PyObject *module)
{
  static const char *const names[] = {
      "reduce", "restore",     "float64",        "int64",         "Decimal", "DataFrame",
      "Series", "frame_shape", "frame_snapshot", "frames_reduce", "DATA",    "TRUSTED",
      "module", "numpy",       "from_signal",    "whole"};
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
  state->codec_error = codec_new_error(module, "CodecError",
                                       "Base of EncodeFailure and DecodeFailure.", PyExc_Exception);
  if (state->codec_error == NULL)
    return -1;
  state->encode_failure =
      codec_new_error(module, "EncodeFailure",
                      "args are the message and the path inside the value.", state->codec_error);
  state->decode_failure =
      codec_new_error(module, "DecodeFailure", "The bytes cannot be decoded.", state->codec_error);
  if (state->encode_failure == NULL || state->decode_failure == NULL)
    return -1;
  state->entangled = codec_new_error(
      module, "Entangled", "The value cannot be sent in parts; one pickle of the whole can be.",
      state->encode_failure);
  state->pickle_refused = codec_new_error(
      module, "PickleRefused", "The bytes contain a pickle, and pickles are not allowed.",
      state->decode_failure);
  if (state->entangled == NULL || state->pickle_refused == NULL)
    return -1;
  state->packer_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_packer_spec, NULL);
  if (state->packer_type == NULL || PyModule_AddType(module, state->packer_type) != 0)
    return -1;
  state->chunker_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_chunker_spec, NULL);
  if (state->chunker_type == NULL || PyModule_AddType(module, state->chunker_type) != 0)
    return -1;
  state->digester_type =
      (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_digester_spec, NULL);
  if (state->digester_type == NULL || PyModule_AddType(module, state->digester_type) != 0)
    return -1;
  state->budget_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lmpy_budget_spec, NULL);
  if (state->budget_type == NULL || PyModule_AddType(module, state->budget_type) != 0)
    return -1;
  return lmpy_add_constants(module);
}

static int
codec_traverse(PyObject *module, visitproc visit, void *arg)
{
  struct lmpy_codec_state *state = PyModule_GetState(module);
  Py_VISIT(state->codec_error);
  Py_VISIT(state->encode_failure);
  Py_VISIT(state->decode_failure);
  Py_VISIT(state->entangled);
  Py_VISIT(state->pickle_refused);
  Py_VISIT(state->packer_type);
  Py_VISIT(state->chunker_type);
  Py_VISIT(state->budget_type);
  Py_VISIT(state->digester_type);
  Py_VISIT(state->kinds);
  Py_VISIT(state->reduce);
  Py_VISIT(state->restore);
  Py_VISIT(state->data);
  Py_VISIT(state->trusted);
  Py_VISIT(state->float64);
  Py_VISIT(state->int64);
  Py_VISIT(state->decimal);
  Py_VISIT(state->frame);
  Py_VISIT(state->series);
  return 0;
}

static int
codec_clear(PyObject *module)
{
  struct lmpy_codec_state *state = PyModule_GetState(module);
  Py_CLEAR(state->codec_error);
  Py_CLEAR(state->encode_failure);
  Py_CLEAR(state->decode_failure);
  Py_CLEAR(state->entangled);
  Py_CLEAR(state->pickle_refused);
  Py_CLEAR(state->packer_type);
  Py_CLEAR(state->chunker_type);
  Py_CLEAR(state->budget_type);
  Py_CLEAR(state->digester_type);
  Py_CLEAR(state->kinds);
  Py_CLEAR(state->reduce);
  Py_CLEAR(state->restore);
  Py_CLEAR(state->data);
  Py_CLEAR(state->trusted);
  Py_CLEAR(state->float64);
  Py_CLEAR(state->int64);
  Py_CLEAR(state->decimal);
  Py_CLEAR(state->frame);
  Py_CLEAR(state->series);
  for (size_t i = 0; i < sizeof state->names / sizeof state->names[0]; i++)
    Py_CLEAR(state->names[i]);
  for (size_t i = 0; i < LMPY_KEYS; i++)
    Py_CLEAR(state->keys[i].text);
  return 0;
}

static void
codec_free_state(void *module)
{
  struct lmpy_codec_state *state = PyModule_GetState(module);
  codec_clear(module);
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
    {Py_mod_exec, codec_exec},
    LMPY_INTERPRETERS,
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "lambdamap._codec",
    .m_doc = PyDoc_STR("Native codec: encodes Python values as frames and decodes them."),
    .m_size = sizeof(struct lmpy_codec_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = codec_traverse,
    .m_clear = codec_clear,
    .m_free = codec_free_state,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
  return PyModuleDef_Init(&definition);
}
