#include "codec/decode/types.h"

#include "codec/types.h"

PyObject *
lmpy_unpack_names(struct lmpy_unpack *unpack)
{
  struct lmpy_codec_state *state = unpack->state;
  bool trusted = unpack->opts->allow_pickle;
  if (unpack->opts->names != Py_None)
    return unpack->opts->names;
  PyObject **names = trusted ? &state->trusted : &state->data;
  if (*names == NULL) { /* importing may run threads that get here, too */
    PyObject *module = PyImport_ImportModule("lambdamap.shipping.lookup");
    PyObject *found =
        module == NULL ? NULL
                       : PyObject_GetAttr(module, state->names[trusted ? LMPY_TRUSTED : LMPY_DATA]);
    Py_XDECREF(module);
    if (found == NULL)
      return NULL;
    Py_XSETREF(*names, found);
  }
  return *names;
}

int
lmpy_unpack_need_numpy(struct lmpy_unpack *unpack)
{
  struct lmpy_codec_state *state = unpack->state;
  if (state->float64 != NULL && state->int64 != NULL)
    return 0;
  int found = lmpy_types_meet_numpy(state);
  if (found == 0) { /* a worker may import modules on request */
    PyObject *names = lmpy_unpack_names(unpack);
    PyObject *module = names == NULL ? NULL
                                     : PyObject_CallMethodObjArgs(names, state->names[LMPY_MODULE],
                                                                  state->names[LMPY_NUMPY], NULL);
    if (module == NULL)
      return -1;
    Py_DECREF(module);
    found = lmpy_types_meet_numpy(state);
  }
  if (found == 0)
    lmpy_unpack_refuse(
        unpack, "the value contains numpy data, but numpy is not imported here: import it first");
  return found > 0 ? 0 : -1;
}

PyObject *
lmpy_numpy_float(struct lmpy_codec_state *state, double number)
{
  PyObject *made = state->float64->tp_alloc(state->float64, 0);
  if (made != NULL)
    ((PyFloatObject *)made)->ob_fval = number;
  return made;
}

PyObject *
lmpy_numpy_int(struct lmpy_codec_state *state, int64_t number)
{
  PyObject *integer = PyLong_FromLongLong(number);
  PyObject *made = integer == NULL
                       ? NULL
                       : PyObject_CallFunctionObjArgs((PyObject *)state->int64, integer, NULL);
  Py_XDECREF(integer);
  return made;
}
