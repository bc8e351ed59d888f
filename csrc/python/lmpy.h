/* Shared by the two bindings: Python.h, the differences between its versions, errors.
 *
 * Every file under csrc/python includes this instead of Python.h. Only the documented CPython API is used;
 * functions that 3.10 lacks are implemented here. All functions need the GIL.
 */
#ifndef LMPY_H
#define LMPY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030A0000
#error "lambdamap needs CPython 3.10 or newer"
#endif

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Raise the Python exception for *err and return NULL.
 *
 *   LM_E_NOMEM                         MemoryError
 *   LM_E_INVALID                       ValueError
 *   LM_E_LIMIT, _FORMAT, _VERSION      `rejected`: DecodeFailure in _codec, ValueError in _net
 *   LM_E_SYSTEM                        OSError with its errno, RuntimeError when there is none
 *   LM_E_FULL, _CLOSED                 RuntimeError
 *
 * `rejected` is borrowed. LM_OK is a bug in the caller: SystemError. */
PyObject *lmpy_raise(const struct lm_error *err, PyObject *rejected);

/* ---- differences between versions ---------------------------------------------------------- */

/* A module slot. Subinterpreters that share the GIL are supported. Import fails in those with their own GIL:
 * CPython's hashlib and ssl are not reliable there (3.12, 3.13), and datetime has no C type (3.12).
 * Py_mod_gil is not set, so a free-threaded build enables the GIL. */
#if PY_VERSION_HEX >= 0x030C0000
#define LMPY_INTERPRETERS                                                                          \
  {                                                                                                \
    Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED                           \
  }
#else
#define LMPY_INTERPRETERS                                                                          \
  {                                                                                                \
    0, NULL                                                                                        \
  }
#endif

/* Look up a key: 1 and a new reference, 0 and NULL if it is missing, -1 and an exception. */
static inline int
lmpy_dict_get_ref(PyObject *dict, PyObject *key, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
  return PyDict_GetItemRef(dict, key, value);
#else
  PyObject *found = PyDict_GetItemWithError(dict, key);
  *value = Py_XNewRef(found);
  if (found != NULL)
    return 1;
  return PyErr_Occurred() ? -1 : 0;
#endif
}

/* Get an attribute: 1 and a new reference, 0 and NULL if it is missing, -1 and an exception. */
static inline int
lmpy_attr_get_ref(PyObject *object, PyObject *name, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
  return PyObject_GetOptionalAttr(object, name, value);
#else
  *value = PyObject_GetAttr(object, name);
  if (*value != NULL)
    return 1;
  if (!PyErr_ExceptionMatches(PyExc_AttributeError))
    return -1;
  PyErr_Clear();
  return 0;
#endif
}

/* Take the pending exception (new reference, normalized, or NULL); set one (stolen reference). */
static inline PyObject *
lmpy_error_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  if (type == NULL)
    return NULL;
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace != NULL)
    PyException_SetTraceback(value, trace);
  Py_DECREF(type);
  Py_XDECREF(trace);
  return value;
#endif
}

static inline void
lmpy_error_put(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
  PyErr_SetRaisedException(exception);
#else
  PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception,
                PyException_GetTraceback(exception));
#endif
}

/* Add a borrowed object to a module; -1 and an exception on failure. */
static inline int
lmpy_module_add(PyObject *module, const char *name, PyObject *object)
{
  return PyModule_AddObjectRef(module, name, object);
}

/* The value of an exact int: 0 if it fits into int64_t, else +1 or -1, its sign. Never fails. */
static inline int
lmpy_int_value(PyObject *number, int64_t *value)
{
#if PY_VERSION_HEX >= 0x030C0000
  if (PyUnstable_Long_IsCompact((PyLongObject *)number)) {
    *value = PyUnstable_Long_CompactValue((PyLongObject *)number);
    return 0;
  }
#endif
  int over = 0;
  *value = PyLong_AsLongLongAndOverflow(number, &over);
  return over;
}

/* Whether a str is ASCII, so that its bytes are at PyUnicode_1BYTE_DATA. */
static inline bool
lmpy_is_ascii(PyObject *text)
{
#if PY_VERSION_HEX < 0x030C0000
  return PyUnicode_IS_READY(text) && PyUnicode_IS_ASCII(text);
#else
  return PyUnicode_IS_ASCII(text);
#endif
}

/* An int of any size as little-endian bytes and back, by int.to_bytes and int.from_bytes. */
PyObject *lmpy_int_to_bytes(PyObject *number, Py_ssize_t n_bytes);       /* two's complement */
PyObject *lmpy_int_from_bytes(const uint8_t *bytes, Py_ssize_t n_bytes); /* two's complement */
Py_ssize_t lmpy_int_bytes(PyObject *number); /* bytes needed, sign bit included; -1 on failure */

/* A module from sys.modules: 1 and a new reference, 0 and NULL if it was not imported, -1 and an exception. */
int lmpy_loaded_module(const char *name, PyObject **module);

#endif
