/* Types of other modules that have a kind of column, found without importing what is not needed. */
#include "codec/codec.h"

int
lmpy_codec_load_kinds(struct lmpy_codec_state *state)
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
take(struct lmpy_codec_state *state, PyObject *module, enum lmpy_name name, PyTypeObject **type)
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
meet(struct lmpy_codec_state *state, const char *module, enum lmpy_name name, PyTypeObject **type)
{
  PyObject *loaded;
  int found = lmpy_loaded_module(module, &loaded);
  if (found <= 0)
    return found;
  found = take(state, loaded, name, type);
  Py_DECREF(loaded);
  return found;
}

/* A float64 is written to by its layout, which must be float's. */
static int
meet_numpy(struct lmpy_codec_state *state)
{
  int found = 1;
  if (state->float64 == NULL)
    found = meet(state, "numpy", LMPY_FLOAT64, &state->float64);
  if (found > 0 && state->int64 == NULL)
    found = meet(state, "numpy", LMPY_INT64, &state->int64);
  if (found > 0 && (!PyType_IsSubtype(state->float64, &PyFloat_Type) ||
                    state->float64->tp_basicsize != PyFloat_Type.tp_basicsize ||
                    state->float64->tp_alloc == NULL)) {
    Py_CLEAR(state->float64);
    return 0;
  }
  return found;
}

int
lmpy_codec_meet(struct lmpy_codec_state *state, PyTypeObject *type)
{
  const char *name = type->tp_name;
  if (strcmp(name, "numpy.float64") == 0 || strcmp(name, "numpy.int64") == 0)
    return state->float64 != NULL && state->int64 != NULL ? 1 : meet_numpy(state);
  if (strcmp(name, "decimal.Decimal") == 0)
    return state->decimal != NULL ? 1 : meet(state, "decimal", LMPY_DECIMAL, &state->decimal);
  if (strcmp(name, "DataFrame") == 0)
    return state->frame != NULL ? 1 : meet(state, "pandas", LMPY_DATAFRAME, &state->frame);
  return 0;
}

int
lmpy_codec_need_decimal(struct lmpy_codec_state *state)
{
  if (state->decimal != NULL)
    return 0;
  PyObject *module = PyImport_ImportModule("decimal");
  if (module == NULL)
    return -1;
  int found = take(state, module, LMPY_DECIMAL, &state->decimal);
  Py_DECREF(module);
  return found > 0 ? 0 : -1;
}

PyObject *
lmpy_codec_names(struct lmpy_unpack *unpack)
{
  struct lmpy_codec_state *state = unpack->state;
  bool trusted = unpack->opts->allow_pickle;
  if (unpack->opts->names != Py_None)
    return unpack->opts->names;
  PyObject **names = trusted ? &state->trusted : &state->data;
  if (*names == NULL) { /* importing may run others, who come here as well */
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
lmpy_codec_need_numpy(struct lmpy_unpack *unpack)
{
  struct lmpy_codec_state *state = unpack->state;
  if (state->float64 != NULL && state->int64 != NULL)
    return 0;
  int found = meet_numpy(state);
  if (found == 0) { /* a worker may import what it is sent */
    PyObject *names = lmpy_codec_names(unpack);
    PyObject *module = names == NULL ? NULL
                                     : PyObject_CallMethodObjArgs(names, state->names[LMPY_MODULE],
                                                                  state->names[LMPY_NUMPY], NULL);
    if (module == NULL)
      return -1;
    Py_DECREF(module);
    found = meet_numpy(state);
  }
  if (found == 0)
    lmpy_unpack_refuse(unpack,
                       "it holds data of numpy, which is not imported here: import it first");
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
  PyObject *plain = PyLong_FromLongLong(number);
  PyObject *made =
      plain == NULL ? NULL : PyObject_CallFunctionObjArgs((PyObject *)state->int64, plain, NULL);
  Py_XDECREF(plain);
  return made;
}
