/* Values as plain JSON, for codec="json": what JSON has no form for is refused with its place, never
 * changed to something near it. */
#ifndef LMPY_ENCODE_JSON_H
#define LMPY_ENCODE_JSON_H

#include "lmpy.h"

/* encode_json: a METH_O function of the module. */
PyObject *lmpy_encode_json(PyObject *module, PyObject *object);

#endif
