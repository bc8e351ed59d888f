/* encode and encode_text, METH_FASTCALL | METH_KEYWORDS functions of the module: encode one value as a
 * sealed frame. */
#ifndef LMPY_ENCODE_FRAME_H
#define LMPY_ENCODE_FRAME_H

#include "lmpy.h"

PyObject *lmpy_encode(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given);
PyObject *lmpy_encode_text(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given);

#endif
