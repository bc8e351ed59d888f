#include "codec/chunker.h"

#include "policy/chunk.h"

struct chunker_object {
  PyObject_HEAD
  struct lm_chunker chunker;
};

static int
chunker_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
  unsigned fixed;
  if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
    PyErr_SetString(PyExc_TypeError, "Chunker takes no keyword arguments");
    return -1;
  }
  if (!PyArg_ParseTuple(args, "I:Chunker", &fixed))
    return -1;
  lm_chunker_init(&((struct chunker_object *)object)->chunker, fixed);
  return 0;
}

static void
chunker_dealloc(PyObject *object)
{
  PyTypeObject *type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyObject *
chunker_next(PyObject *object, PyObject *args)
{
  unsigned window;
  long long left, deadline_left_us;
  if (!PyArg_ParseTuple(args, "ILL:next", &window, &left, &deadline_left_us))
    return NULL;
  return PyLong_FromUnsignedLong(
      lm_chunker_next(&((struct chunker_object *)object)->chunker, window, left, deadline_left_us));
}

static PyObject *
chunker_observe(PyObject *object, PyObject *args)
{
  unsigned items, window;
  unsigned long long worker_us;
  if (!PyArg_ParseTuple(args, "IKI:observe", &items, &worker_us, &window))
    return NULL;
  lm_chunker_observe(&((struct chunker_object *)object)->chunker, items, worker_us, window);
  Py_RETURN_NONE;
}

static PyObject *
chunker_max_bytes(PyObject *object, void *unused)
{
  (void)unused;
  return PyLong_FromSize_t(lm_chunker_max_bytes(&((struct chunker_object *)object)->chunker));
}

PyDoc_STRVAR(next_doc,
             "next($self, window, left, deadline_left_us, /)\n--\n\n"
             "Return the number of items for the next chunk; 0: wait for a reply first.\n\n"
             "left and deadline_left_us are -1 if unknown.");
PyDoc_STRVAR(observe_doc, "observe($self, items, worker_us, window, /)\n--\n\n"
                          "Record that a reply's items took worker_us microseconds.");

static PyMethodDef chunker_methods[] = {
    {"next", chunker_next, METH_VARARGS, next_doc},
    {"observe", chunker_observe, METH_VARARGS, observe_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef chunker_getset[] = {
    {"max_bytes", chunker_max_bytes, NULL,
     PyDoc_STR("Bytes at which a chunk is full, whatever its number of items."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot chunker_slots[] = {
    {Py_tp_init, chunker_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, chunker_dealloc},
    {Py_tp_methods, chunker_methods},
    {Py_tp_getset, chunker_getset},
    {Py_tp_doc,
     PyDoc_STR("Chunker(fixed, /)\n--\n\n"
               "Decides the number of items per chunk; fixed 0: adapted while the map runs.")},
    {0, NULL},
};

PyType_Spec lmpy_chunker_spec = {
    .name = "lambdamap._codec.Chunker",
    .basicsize = sizeof(struct chunker_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = chunker_slots,
};
