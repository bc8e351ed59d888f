#include "codec/digester.h"

#include "codec/encode/value.h"

#include "wire/numbers.h"
#include "wire/siphash.h"

enum { DIGEST = 8 };

struct digester_object {
  PyObject_HEAD
  PyObject *iterator, *slow; /* strong */
  struct lm_buf digests;     /* of the items that take() has not returned */
};

static int
digester_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
  struct digester_object *self = (struct digester_object *)object;
  PyObject *iterator, *slow;
  if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
    PyErr_SetString(PyExc_TypeError, "Digester takes no keyword arguments");
    return -1;
  }
  if (!PyArg_ParseTuple(args, "OO:Digester", &iterator, &slow))
    return -1;
  if (!PyIter_Check(iterator)) {
    PyErr_SetString(PyExc_TypeError, "Digester() argument 1 must be an iterator");
    return -1;
  }
  if (self->iterator != NULL) {
    PyErr_SetString(PyExc_TypeError, "Digester is already initialised");
    return -1;
  }
  lm_buf_init(&self->digests, SIZE_MAX);
  self->iterator = Py_NewRef(iterator);
  self->slow = Py_NewRef(slow);
  return 0;
}

static int
digester_traverse(PyObject *object, visitproc visit, void *arg)
{
  struct digester_object *self = (struct digester_object *)object;
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->iterator);
  Py_VISIT(self->slow);
  return 0;
}

static int
digester_clear(PyObject *object)
{
  struct digester_object *self = (struct digester_object *)object;
  Py_CLEAR(self->iterator);
  Py_CLEAR(self->slow);
  return 0;
}

static void
digester_dealloc(PyObject *object)
{
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  digester_clear(object);
  lm_buf_clean_up(&((struct digester_object *)object)->digests);
  type->tp_free(object);
  Py_DECREF(type);
}

/* Append the bytes that a Python function makes for an item without a canonical encoding. */
static int
digester_add_slowly(struct digester_object *self, PyObject *item)
{
  PyObject *made = PyObject_CallOneArg(self->slow, item);
  if (made == NULL)
    return -1;
  int result = -1;
  if (PyBytes_Check(made) && PyBytes_GET_SIZE(made) == DIGEST) {
    lm_buf_append(&self->digests, PyBytes_AS_STRING(made), DIGEST);
    result = 0;
  } else {
    PyErr_SetString(PyExc_TypeError, "a digest must be 8 bytes");
  }
  Py_DECREF(made);
  return result;
}

static int
digester_add(struct digester_object *self, PyObject *item)
{
  struct lmpy_codec_state *state = PyModule_GetState(PyType_GetModule(Py_TYPE((PyObject *)self)));
  struct lmpy_pack pack;
  lmpy_pack_init(&pack, state, false, true);
  pack.canonical = true;
  int result = lmpy_pack_value(&pack, item);
  if (result == 0) {
    struct lm_frame_view view;
    struct lm_siphash hash;
    uint8_t digest[DIGEST];
    lmpy_pack_view(&pack, &view);
    lm_siphash_init(&hash);
    uint8_t lengths[16]; /* without these, sections could be taken for each other */
    lm_store64(lengths, view.structure_len);
    lm_store64(lengths + 8, view.packed_len);
    lm_siphash_add(&hash, lengths, sizeof lengths);
    lm_siphash_add(&hash, view.structure, view.structure_len);
    lm_siphash_add(&hash, view.packed, view.packed_len);
    lm_siphash_add(&hash, view.words, view.words_len);
    lm_store64(digest, lm_siphash_end(&hash));
    lm_buf_append(&self->digests, digest, DIGEST);
  }
  lmpy_pack_clean_up(&pack);
  if (result != 0) {
    if (!PyErr_ExceptionMatches(state->encode_failure))
      return -1;
    PyErr_Clear();
    if (digester_add_slowly(self, item) != 0)
      return -1;
  }
  if (self->digests.failed != LM_OK) {
    PyErr_NoMemory();
    return -1;
  }
  return 0;
}

static PyObject *
digester_next(PyObject *object)
{
  struct digester_object *self = (struct digester_object *)object;
  if (self->iterator == NULL) {
    PyErr_SetString(PyExc_ValueError, "Digester is not initialised");
    return NULL;
  }
  PyObject *item = PyIter_Next(self->iterator);
  if (item != NULL && digester_add(self, item) != 0)
    Py_CLEAR(item);
  return item;
}

static PyObject *
digester_take(PyObject *object, PyObject *number)
{
  struct lm_buf *digests = &((struct digester_object *)object)->digests;
  size_t items = PyLong_AsSize_t(number);
  if (items == (size_t)-1 && PyErr_Occurred())
    return NULL;
  if (items > digests->len / DIGEST) {
    PyErr_SetString(PyExc_ValueError, "so many items were not read");
    return NULL;
  }
  PyObject *taken =
      PyBytes_FromStringAndSize((const char *)digests->data, (Py_ssize_t)(items * DIGEST));
  if (taken != NULL && items > 0) {
    digests->len -= items * DIGEST;
    memmove(digests->data, digests->data + items * DIGEST, digests->len);
  }
  return taken;
}

static PyObject *
digester_get_last(PyObject *object, void *unused)
{
  const struct lm_buf *digests = &((struct digester_object *)object)->digests;
  (void)unused;
  if (digests->len == 0)
    return PyBytes_FromStringAndSize(NULL, 0);
  return PyBytes_FromStringAndSize((const char *)digests->data + digests->len - DIGEST, DIGEST);
}

PyDoc_STRVAR(take_doc, "take($self, items, /)\n--\n\n"
                       "Return the digests of the first items, 8 bytes each, and forget them.");

static PyMethodDef digester_methods[] = {
    {"take", digester_take, METH_O, take_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef digester_getset[] = {
    {"last", digester_get_last, NULL, PyDoc_STR("The digest of the last item that was read."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot digester_slots[] = {
    {Py_tp_init, digester_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, digester_dealloc},
    {Py_tp_traverse, digester_traverse},
    {Py_tp_clear, digester_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, digester_next},
    {Py_tp_methods, digester_methods},
    {Py_tp_getset, digester_getset},
    {Py_tp_doc, PyDoc_STR("Digester(iterator, slow, /)\n--\n\n"
                          "Iterates over the items of another iterator, and takes their digests.")},
    {0, NULL},
};

PyType_Spec lmpy_digester_spec = {
    .name = "lambdamap._codec.Digester",
    .basicsize = sizeof(struct digester_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = digester_slots,
};
