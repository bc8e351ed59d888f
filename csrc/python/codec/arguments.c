#include "codec/arguments.h"

int
lmpy_take_arguments(const char *function, PyObject *const *args, Py_ssize_t n, PyObject *given,
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

int
lmpy_take_flag(PyObject *given, bool *flag)
{
  int truth = given == NULL ? *flag : PyObject_IsTrue(given);
  *flag = truth > 0;
  return truth < 0 ? -1 : 0;
}

int
lmpy_take_size(PyObject *given, const char *name, size_t *size)
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
