/* `decode` and `decode_text` through an embedded Python, the binding's own code being watched, too:
 * any bytes give a value or DecodeFailure. The first byte of an input says which form the rest is in. */
#include "lmpy.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
PyMODINIT_FUNC PyInit__codec(void);

/* Python keeps what it allocates for its whole life. */
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
  return "detect_leaks=0";
}

static PyObject *decode, *decode_text, *encode, *failure, *refusal, *limits;

static void
must(bool good)
{
  if (!good) {
    PyErr_Print();
    abort();
  }
}

static void
start(void)
{
  must(PyImport_AppendInittab("_codec", PyInit__codec) == 0);
  Py_InitializeEx(0);
  PyObject *codec = PyImport_ImportModule("_codec");
  must(codec != NULL);
  PyObject *modules = PyImport_GetModuleDict();
  must(PyDict_SetItemString(modules, "lambdamap._codec", codec) == 0);
  /* With numpy loaded, arrays are built, too. */
  if (PyImport_ImportModule("numpy") == NULL)
    PyErr_Clear();
  must(PyImport_ImportModule("datetime") != NULL && PyImport_ImportModule("decimal") != NULL);
  must(PyImport_ImportModule("lambdamap.shipping.kinds") != NULL);
  decode = PyObject_GetAttrString(codec, "decode");
  decode_text = PyObject_GetAttrString(codec, "decode_text");
  encode = PyObject_GetAttrString(codec, "encode");
  failure = PyObject_GetAttrString(codec, "DecodeFailure");
  refusal = PyObject_GetAttrString(codec, "EncodeFailure");
  limits = Py_BuildValue("{s:i,s:i}", "max_output_bytes", 1 << 20, "max_depth", 64);
  must(decode != NULL && decode_text != NULL && encode != NULL && failure != NULL &&
       limits != NULL);
}

static PyObject *
as_text(const uint8_t *bytes, size_t len)
{
  size_t chars = lm_base64_encoded_size(len);
  PyObject *text = PyUnicode_New((Py_ssize_t)(4 + chars), 127);
  must(text != NULL);
  memcpy(PyUnicode_1BYTE_DATA(text), "lm1:", 4);
  lm_base64_encode(bytes, len, (char *)PyUnicode_1BYTE_DATA(text) + 4);
  return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
  if (decode == NULL)
    start();
  if (len < 1)
    return 0;
  bool text = bytes[0] & 1;
  PyObject *input = text ? as_text(bytes + 1, len - 1)
                         : PyBytes_FromStringAndSize((const char *)bytes + 1, (Py_ssize_t)len - 1);
  PyObject *args = input == NULL ? NULL : PyTuple_Pack(1, input);
  must(args != NULL);
  PyObject *value = PyObject_Call(text ? decode_text : decode, args, limits);
  if (value == NULL) {
    must(PyErr_ExceptionMatches(failure) || PyErr_ExceptionMatches(PyExc_MemoryError));
    PyErr_Clear();
  } else {
    /* What was read can be written again, but for what a type refuses. */
    PyObject *again = PyObject_CallOneArg(encode, value);
    must(again != NULL || PyErr_ExceptionMatches(refusal) ||
         PyErr_ExceptionMatches(PyExc_MemoryError));
    PyErr_Clear();
    Py_XDECREF(again);
  }
  Py_XDECREF(value);
  Py_DECREF(args);
  Py_DECREF(input);
  return 0;
}
