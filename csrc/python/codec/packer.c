#include "codec/packer.h"

#include "codec/encode/columns.h"
#include "codec/encode/value.h"

struct packer_object {
  PyObject_HEAD
  struct lmpy_pack pack;
  size_t spec_structure, spec_packed, spec_words; /* lengths of what every chunk begins with */
  struct lmpy_gather *gather;                     /* the open chunk's items; owned */
  uint64_t packed;                                /* items in all chunks */
  PyObject *held; /* an item kept for the next chunk; strong or NULL */
  bool exhausted, busy;
};

static struct lmpy_codec_state *
packer_state_of(PyObject *object)
{
  return PyModule_GetState(PyType_GetModule(Py_TYPE(object)));
}

static int
packer_pack_spec(struct lmpy_pack *pack, PyObject *spec)
{
  const size_t structure = pack->structure.len;
  int result = lmpy_pack_value(pack, spec);
  PyObject *whole = result == 0 ? NULL : lmpy_pack_whole(pack, spec);
  if (whole != NULL) {
    pack->structure.len = structure;
    pack->packed.len = pack->words.len = 0;
    pack->depth = 0;
    result = lmpy_pack_value(pack, whole);
    Py_DECREF(whole);
  }
  return result;
}

static int
packer_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
  static char *names[] = {"", "allow_pickle", NULL};
  struct packer_object *self = (struct packer_object *)object;
  PyObject *spec;
  int allow_pickle = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$p:ChunkPacker", names, &spec, &allow_pickle))
    return -1;
  if (self->pack.state != NULL) {
    PyErr_SetString(PyExc_TypeError, "ChunkPacker is already initialised");
    return -1;
  }
  lmpy_pack_init(&self->pack, packer_state_of(object), allow_pickle != 0, true);
  self->pack.eager = true;
  lm_buf_byte(&self->pack.structure, 0x92);
  if (packer_pack_spec(&self->pack, spec) != 0)
    return -1;
  self->gather = lmpy_gather_new();
  if (self->gather == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  self->spec_structure = self->pack.structure.len;
  self->spec_packed = self->pack.packed.len;
  self->spec_words = self->pack.words.len;
  return 0;
}

static int
packer_traverse(PyObject *object, visitproc visit, void *arg)
{
  struct packer_object *self = (struct packer_object *)object;
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->held);
  Py_VISIT(self->pack.path);
  return 0;
}

static int
packer_clear(PyObject *object)
{
  struct packer_object *self = (struct packer_object *)object;
  Py_CLEAR(self->held);
  Py_CLEAR(self->pack.path);
  return 0;
}

static void
packer_dealloc(PyObject *object)
{
  struct packer_object *self = (struct packer_object *)object;
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  packer_clear(object);
  lmpy_gather_destroy(self->gather);
  lmpy_pack_clean_up(&self->pack);
  type->tp_free(object);
  Py_DECREF(type);
}

static uint32_t
packer_items_of(const struct packer_object *self)
{
  return self->gather == NULL ? 0 : lmpy_gather_size(self->gather);
}

/* An upper bound: columns may be smaller. */
static size_t
packer_chunk_bytes(const struct packer_object *self)
{
  return self->pack.structure.len + self->pack.packed.len + self->pack.words.len +
         self->pack.gathered;
}

/* Lengths before an item was added, to remove it again. */
struct before {
  size_t packed, words, gathered;
};

static void
packer_cut(struct packer_object *self, const struct before *before, uint32_t items)
{
  struct lmpy_pack *pack = &self->pack;
  lmpy_gather_cut(self->gather, items);
  pack->structure.len = self->spec_structure;
  pack->packed.len = before->packed;
  pack->words.len = before->words;
  pack->gathered = before->gathered;
  pack->structure.failed = pack->packed.failed = pack->words.failed = LM_OK;
  pack->depth = 0;
}

/* Pack one item into the open chunk: 1; 0 if it does not fit and is kept for the next. */
static int
packer_add(struct packer_object *self, PyObject *item, size_t max_bytes)
{
  struct lmpy_pack *pack = &self->pack;
  const struct before before = {pack->packed.len, pack->words.len, pack->gathered};
  uint32_t items = packer_items_of(self);
  int result = lmpy_gather_append(pack, self->gather, item);
  if (result != 0) {
    packer_cut(self, &before, items);
    PyObject *whole = lmpy_pack_whole(pack, item);
    if (whole != NULL && (result = lmpy_gather_append(pack, self->gather, whole)) != 0)
      packer_cut(self, &before, items);
    Py_XDECREF(whole);
  }
  if (result != 0)
    return -1;
  if (items > 0 && packer_chunk_bytes(self) > max_bytes) {
    packer_cut(self, &before, items);
    return 0;
  }
  self->packed++;
  return 1;
}

static int
packer_fill_chunk(struct packer_object *self, PyObject *iterator, uint32_t max_items,
                  size_t max_bytes)
{
  while (packer_items_of(self) < max_items &&
         (packer_items_of(self) == 0 || packer_chunk_bytes(self) < max_bytes)) {
    PyObject *item = self->held;
    self->held = NULL;
    if (item == NULL) {
      if (self->exhausted)
        return 0;
      item = PyIter_Next(iterator);
      if (item == NULL) {
        if (PyErr_Occurred())
          return -1;
        self->exhausted = true;
        return 0;
      }
    }
    int added = packer_add(self, item, max_bytes);
    if (added == 0)
      self->held = item;
    else
      Py_DECREF(item);
    if (added <= 0)
      return added;
  }
  return 0;
}

static PyObject *
packer_fill(PyObject *object, PyObject *args)
{
  struct packer_object *self = (struct packer_object *)object;
  PyObject *iterator;
  unsigned long long max_items, max_bytes;
  if (!PyArg_ParseTuple(args, "OKK:fill", &iterator, &max_items, &max_bytes))
    return NULL;
  if (!PyIter_Check(iterator)) {
    PyErr_SetString(PyExc_TypeError, "fill() argument 1 must be an iterator");
    return NULL;
  }
  if (self->busy) { /* re-entered by the iterator or by code of an item */
    PyErr_SetString(PyExc_ValueError, "ChunkPacker already executing");
    return NULL;
  }
  self->busy = true;
  int result = packer_fill_chunk(
      self, iterator, max_items < UINT32_MAX ? (uint32_t)max_items : UINT32_MAX, (size_t)max_bytes);
  self->busy = false;
  if (result < 0)
    return lmpy_pack_path_error(&self->pack);
  return PyLong_FromUnsignedLong(packer_items_of(self));
}

static PyObject *
packer_take(PyObject *object, PyObject *unused)
{
  struct packer_object *self = (struct packer_object *)object;
  (void)unused;
  if (self->busy) {
    PyErr_SetString(PyExc_ValueError, "ChunkPacker already executing");
    return NULL;
  }
  struct lmpy_pack *pack = &self->pack;
  struct lm_frame_view view;
  const struct before spec = {self->spec_packed, self->spec_words, 0};
  if (self->gather == NULL) {
    PyErr_SetString(PyExc_ValueError, "ChunkPacker is not initialised");
    return NULL;
  }
  if (lmpy_gather_write(pack, self->gather) != 0)
    return NULL;
  lmpy_pack_view(pack, &view);
  PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)lm_frame_joined_len(&view));
  if (bytes != NULL)
    lm_frame_join(&view, (uint8_t *)PyBytes_AS_STRING(bytes));
  lmpy_gather_clear(self->gather);
  packer_cut(self, &spec, 0);
  return bytes;
}

static PyObject *
packer_skip(PyObject *object, PyObject *unused)
{
  struct packer_object *self = (struct packer_object *)object;
  (void)unused;
  if (self->busy || packer_items_of(self) > 0) {
    PyErr_SetString(PyExc_ValueError, "skip() needs an empty chunk");
    return NULL;
  }
  self->packed++;
  Py_RETURN_NONE;
}

static PyObject *
packer_get_exhausted(PyObject *object, void *unused)
{
  struct packer_object *self = (struct packer_object *)object;
  (void)unused;
  return PyBool_FromLong(self->exhausted && self->held == NULL);
}

static PyObject *
packer_get_items_packed(PyObject *object, void *unused)
{
  (void)unused;
  return PyLong_FromUnsignedLongLong(((struct packer_object *)object)->packed);
}

static PyObject *
packer_get_chunk_items(PyObject *object, void *unused)
{
  (void)unused;
  return PyLong_FromUnsignedLong(packer_items_of((struct packer_object *)object));
}

static PyObject *
packer_get_chunk_bytes(PyObject *object, void *unused)
{
  (void)unused;
  return PyLong_FromSize_t(packer_chunk_bytes((struct packer_object *)object));
}

PyDoc_STRVAR(
    fill_doc,
    "fill($self, iterator, max_items, max_bytes, /)\n--\n\n"
    "Append items until the open chunk holds max_items or max_bytes, or the iterator "
    "ends.\n\nReturns the number of items in the open chunk. An item that does not fit after "
    "others is kept\nfor the next chunk. On an exception the chunk stays as it was before "
    "the item.");
PyDoc_STRVAR(take_doc,
             "take($self, /)\n--\n\nReturn the open chunk as a raw frame, and open a new one.");
PyDoc_STRVAR(skip_doc,
             "skip($self, /)\n--\n\nCount an item that could not be packed. The open chunk "
             "must be empty.");

static PyMethodDef packer_methods[] = {
    {"fill", packer_fill, METH_VARARGS, fill_doc},
    {"take", packer_take, METH_NOARGS, take_doc},
    {"skip", packer_skip, METH_NOARGS, skip_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef packer_getset[] = {
    {"exhausted", packer_get_exhausted, NULL,
     PyDoc_STR("Whether the iterator has ended and no item is kept for the next chunk."), NULL},
    {"items_packed", packer_get_items_packed, NULL,
     PyDoc_STR("Number of items in all chunks, which is the index of the next one."), NULL},
    {"chunk_items", packer_get_chunk_items, NULL, PyDoc_STR("Number of items in the open chunk."),
     NULL},
    {"chunk_bytes", packer_get_chunk_bytes, NULL,
     PyDoc_STR("Upper bound of the bytes in the open chunk."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot packer_slots[] = {
    {Py_tp_init, packer_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, packer_dealloc},
    {Py_tp_traverse, packer_traverse},
    {Py_tp_clear, packer_clear},
    {Py_tp_methods, packer_methods},
    {Py_tp_getset, packer_getset},
    {Py_tp_doc, PyDoc_STR("ChunkPacker(spec, /, *, allow_pickle=False)\n--\n\n"
                          "Packs [spec, [item, ...]] chunk after chunk; spec is encoded once.")},
    {0, NULL},
};

PyType_Spec lmpy_packer_spec = {
    .name = "lambdamap._codec.ChunkPacker",
    .basicsize = sizeof(struct packer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = packer_slots,
};
