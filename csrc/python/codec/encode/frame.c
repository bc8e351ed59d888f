#include "codec/encode/frame.h"

#include "codec/arguments.h"
#include "codec/encode/value.h"

/* Seal a frame; *result is the bytes or the text, or NULL and an exception. Small ones use the
 * module's coder under the GIL; a large one gets its own coder and releases the GIL. */
static PyObject *
encode_frame_finish(struct lmpy_codec_state *state, const struct lmpy_pack *pack, bool compression,
                    bool text)
{
  struct lm_frame_view view;
  struct lm_sealed sealed;
  struct lm_error err;
  struct lm_coder *coder = state->coder;
  PyObject *result = NULL;
  int failed;
  lmpy_pack_view(pack, &view);
  bool large =
      compression && view.structure_len + view.packed_len + view.words_len >= LMPY_RELEASE_BYTES;
  if (large && (coder = lmpy_state_take_coder(state)) == NULL)
    return PyErr_NoMemory();
  if (large) {
    Py_BEGIN_ALLOW_THREADS
    failed = lm_frame_prepare(coder, &view, compression, &sealed, &err);
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
    lmpy_state_give_coder(state, coder);
  return result;
}

static PyObject *
encode_frame_encode_as(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given,
                       bool text)
{
  static const char *const names[] = {"allow_pickle", "compression", "callables", NULL};
  PyObject *found[3] = {NULL, NULL, NULL}, *result = NULL;
  bool allow_pickle = false, compression = true, callables = true;
  struct lmpy_pack pack;
  if (lmpy_take_arguments(text ? "encode_text" : "encode", args, n, given, names, found) != 0 ||
      lmpy_take_flag(found[0], &allow_pickle) != 0 || lmpy_take_flag(found[1], &compression) != 0 ||
      lmpy_take_flag(found[2], &callables) != 0)
    return NULL;
  struct lmpy_codec_state *state = PyModule_GetState(module);
  lmpy_pack_init(&pack, state, allow_pickle, callables);
  /* Compression may release the GIL, and other threads may then write to the array. */
  pack.may_borrow = !compression;
  if (lmpy_pack_value(&pack, args[0]) != 0)
    lmpy_pack_path_error(&pack);
  else
    result = encode_frame_finish(state, &pack, compression, text);
  lmpy_pack_clean_up(&pack);
  return result;
}

PyObject *
lmpy_encode(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  return encode_frame_encode_as(module, args, n, given, false);
}

PyObject *
lmpy_encode_text(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given)
{
  return encode_frame_encode_as(module, args, n, given, true);
}
