/* What the two bindings share: Python.h, the differences between its versions, errors.
 *
 * Every file under csrc/python includes this instead of Python.h. Only documented CPython API is
 * used; what is newer than 3.10 is written here in terms of what 3.10 has. All functions need the
 * GIL unless they say otherwise.
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
 * `rejected` is borrowed. LM_OK is a bug of the caller and becomes SystemError. */
PyObject *lmpy_raise(const struct lm_error *err, PyObject *rejected);

/* ---- one spelling for all versions ---------------------------------------------------------- */

/* A module slot. Interpreters that share a GIL are supported, as the tests show. Those with one of
 * their own are refused by the import: CPython's hashlib and ssl cannot be relied on there (3.12,
 * 3.13), and datetime has no C type (3.12). Nothing is said of running without a GIL, so that a
 * free-threaded build turns it on. */
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

/* Look a key up: 1 and a new reference, 0 and NULL when absent, -1 and an exception. */
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

/* Read an attribute that may be absent: 1 and a new reference, 0 and NULL, -1 and an exception. */
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

/* Take the pending exception (new reference, normalised, or NULL); put one back (stolen). */
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

/* The value of an exact int when it fits 64 signed bits: 0; +1 or -1 when it is above or below
 * them. Never fails for an exact int. */
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

/* Whether a text is ASCII, and its bytes are at PyUnicode_1BYTE_DATA. */
static inline bool
lmpy_is_ascii(PyObject *text)
{
#if PY_VERSION_HEX < 0x030C0000
  return PyUnicode_IS_READY(text) && PyUnicode_IS_ASCII(text);
#else
  return PyUnicode_IS_ASCII(text);
#endif
}

/* Magnitude of an int as little-endian bytes and back (Python's own algorithm, any size). */
PyObject *lmpy_int_to_bytes(PyObject *number, Py_ssize_t n_bytes);       /* two's complement */
PyObject *lmpy_int_from_bytes(const uint8_t *bytes, Py_ssize_t n_bytes); /* two's complement */
Py_ssize_t lmpy_int_bytes(PyObject *number); /* bytes needed, sign bit included; -1 on failure */

/* module.attribute of an already imported module, found through sys.modules: 1 and a new
 * reference, 0 and NULL when the module is absent or not yet complete, -1 and an exception. */
int lmpy_loaded_module(const char *name, PyObject **module);

#endif
