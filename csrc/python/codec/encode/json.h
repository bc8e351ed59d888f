/* Values as JSON, for codec="json": what JSON cannot represent is refused, with its path, and never
 * converted to something similar. */
#ifndef LMPY_ENCODE_JSON_H
#define LMPY_ENCODE_JSON_H

#include "lmpy.h"

/* encode_json: a METH_O function of the module. */
PyObject *lmpy_encode_json(PyObject *module, PyObject *object);

#endif
