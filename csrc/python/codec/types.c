#include "codec/types.h"

#include <string.h>

int
lmpy_types_load_kinds(struct lmpy_codec_state *state)
{
  if (state->restore != NULL)
    return 0;
  PyObject *kinds = PyImport_ImportModule("lambdamap.shipping.kinds");
  if (kinds == NULL)
    return -1;
  Py_XSETREF(state->kinds, kinds);
  Py_XSETREF(state->reduce, PyObject_GetAttr(kinds, state->names[LMPY_REDUCE]));
  if (state->reduce == NULL)
    return -1;
  state->restore = PyObject_GetAttr(kinds, state->names[LMPY_RESTORE]);
  return state->restore == NULL ? -1 : 0;
}

static int
types_take(struct lmpy_codec_state *state, PyObject *module, enum lmpy_name name,
           PyTypeObject **type)
{
  PyObject *found;
  int result = lmpy_attr_get_ref(module, state->names[name], &found);
  if (result <= 0)
    return result;
  if (!PyType_Check(found)) {
    Py_DECREF(found);
    return 0;
  }
  *type = (PyTypeObject *)found;
  return 1;
}

static int
types_meet(struct lmpy_codec_state *state, const char *module, enum lmpy_name name,
           PyTypeObject **type)
{
  PyObject *loaded;
  int found = lmpy_loaded_module(module, &loaded);
  if (found <= 0)
    return found;
  found = types_take(state, loaded, name, type);
  Py_DECREF(loaded);
  return found;
}

/* float64 objects are written as floats, so their layout must be that of float. */
int
lmpy_types_meet_numpy(struct lmpy_codec_state *state)
{
  int found = 1;
  if (state->float64 == NULL)
    found = types_meet(state, "numpy", LMPY_FLOAT64, &state->float64);
  if (found > 0 && state->int64 == NULL)
    found = types_meet(state, "numpy", LMPY_INT64, &state->int64);
  if (found > 0 && (!PyType_IsSubtype(state->float64, &PyFloat_Type) ||
                    state->float64->tp_basicsize != PyFloat_Type.tp_basicsize ||
                    state->float64->tp_alloc == NULL)) {
    Py_CLEAR(state->float64);
    return 0;
  }
  return found;
}

int
lmpy_types_meet(struct lmpy_codec_state *state, PyTypeObject *type)
{
  const char *name = type->tp_name;
  if (strcmp(name, "numpy.float64") == 0 || strcmp(name, "numpy.int64") == 0)
    return state->float64 != NULL && state->int64 != NULL ? 1 : lmpy_types_meet_numpy(state);
  if (strcmp(name, "decimal.Decimal") == 0)
    return state->decimal != NULL ? 1 : types_meet(state, "decimal", LMPY_DECIMAL, &state->decimal);
  if (strcmp(name, "DataFrame") == 0)
    return state->frame != NULL ? 1 : types_meet(state, "pandas", LMPY_DATAFRAME, &state->frame);
  if (strcmp(name, "Series") == 0)
    return state->series != NULL ? 1 : types_meet(state, "pandas", LMPY_SERIES, &state->series);
  return 0;
}

int
lmpy_types_need_decimal(struct lmpy_codec_state *state)
{
  if (state->decimal != NULL)
    return 0;
  PyObject *module = PyImport_ImportModule("decimal");
  if (module == NULL)
    return -1;
  int found = types_take(state, module, LMPY_DECIMAL, &state->decimal);
  Py_DECREF(module);
  return found > 0 ? 0 : -1;
}
