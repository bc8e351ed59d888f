/* decode and decode_text, METH_FASTCALL | METH_KEYWORDS functions of the module: decode a frame. */
#ifndef LMPY_DECODE_FRAME_H
#define LMPY_DECODE_FRAME_H

#include "lmpy.h"

PyObject *lmpy_decode(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given);
PyObject *lmpy_decode_text(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *given);

#endif
