#include "lmpy.h"

#include <errno.h>

PyObject *
lmpy_raise(const struct lm_error *err, PyObject *rejected)
{
  PyObject *type = PyExc_SystemError;
  switch (err->code) {
  case LM_OK:
    PyErr_SetString(PyExc_SystemError, "lmpy_raise was called without an error");
    return NULL;
  case LM_E_NOMEM:
    type = PyExc_MemoryError;
    break;
  case LM_E_INVALID:
    type = PyExc_ValueError;
    break;
  case LM_E_LIMIT:
  case LM_E_FORMAT:
  case LM_E_VERSION:
    type = rejected;
    break;
  case LM_E_SYSTEM:
    type = PyExc_RuntimeError;
    if (err->os_errno != 0) {
      PyObject *args = Py_BuildValue("(is)", err->os_errno, err->text);
      if (args != NULL) {
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
      }
      return NULL;
    }
    break;
  case LM_E_FULL:
  case LM_E_CLOSED:
    type = PyExc_RuntimeError;
    break;
  }
  /* Text from a reply may be invalid UTF-8. */
  PyObject *text = PyUnicode_DecodeUTF8(err->text, (Py_ssize_t)strlen(err->text), "replace");
  if (text != NULL) {
    PyErr_SetObject(type, text);
    Py_DECREF(text);
  }
  return NULL;
}

Py_ssize_t
lmpy_int_bytes(PyObject *number)
{
  PyObject *bits = PyObject_CallMethod(number, "bit_length", NULL);
  if (bits == NULL)
    return -1;
  Py_ssize_t n = PyLong_AsSsize_t(bits);
  Py_DECREF(bits);
  if (n < 0)
    return -1;
  return n / 8 + 1;
}

PyObject *
lmpy_int_to_bytes(PyObject *number, Py_ssize_t n_bytes)
{
  PyObject *result = NULL;
  PyObject *method = PyObject_GetAttrString(number, "to_bytes");
  PyObject *args = Py_BuildValue("(ns)", n_bytes, "little");
  PyObject *kwargs = Py_BuildValue("{sO}", "signed", Py_True);
  if (method != NULL && args != NULL && kwargs != NULL)
    result = PyObject_Call(method, args, kwargs);
  Py_XDECREF(kwargs);
  Py_XDECREF(args);
  Py_XDECREF(method);
  return result;
}

PyObject *
lmpy_int_from_bytes(const uint8_t *bytes, Py_ssize_t n_bytes)
{
  PyObject *result = NULL;
  PyObject *method = PyObject_GetAttrString((PyObject *)&PyLong_Type, "from_bytes");
  PyObject *args = Py_BuildValue("(y#s)", (const char *)bytes, n_bytes, "little");
  PyObject *kwargs = Py_BuildValue("{sO}", "signed", Py_True);
  if (method != NULL && args != NULL && kwargs != NULL)
    result = PyObject_Call(method, args, kwargs);
  Py_XDECREF(kwargs);
  Py_XDECREF(args);
  Py_XDECREF(method);
  return result;
}

int
lmpy_loaded_module(const char *name, PyObject **module)
{
  *module = NULL;
  PyObject *modules = PyImport_GetModuleDict();
  if (modules == NULL)
    return 0;
  PyObject *key = PyUnicode_FromString(name);
  if (key == NULL)
    return -1;
  int found = lmpy_dict_get_ref(modules, key, module);
  Py_DECREF(key);
  if (found > 0 && *module == Py_None) {
    Py_CLEAR(*module);
    found = 0;
  }
  return found;
}
