/* Map: one map in flight, for the thread that submits and takes. */
#include "net.h"

#include <string.h>

#include "os/event.h"
#include "os/seams.h"
#include "records.h"

enum {
  SLICE_MS = 50,      /* delay until a signal delivered to another thread is noticed */
  LARGE_BYTES = 65536 /* copied without the GIL */
};

struct map_object {
  PyObject_HEAD
  struct lm_map *map; /* strong */
  unsigned generation;
  Py_ssize_t outstanding;
  struct lmpy_records records;
};

static void
map_stay_if_ended(const struct map_object *self)
{
  lmpy_stay_if_ended(PyType_GetModuleState(Py_TYPE(self)), self->map->dispatch);
}

static struct map_object *
map_get(PyObject *object)
{
  struct map_object *self = (struct map_object *)object;
  if (self->generation == lm_dispatch_generation()) {
    map_stay_if_ended(self);
    return self;
  }
  PyErr_SetString(PyExc_RuntimeError,
                  "this map was started before a fork: use it in the parent process only");
  return NULL;
}

static void
map_dealloc(PyObject *object)
{
  struct map_object *self = (struct map_object *)object;
  PyTypeObject *type = Py_TYPE(object);
  if (self->map != NULL && self->generation == lm_dispatch_generation()) {
    lm_map_close(self->map);
    lm_map_unref(self->map);
  }
  lmpy_records_clean_up(&self->records);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject *
lmpy_open_map(PyObject *module, PyObject *args, PyObject *kwargs)
{
  static char *names[] = {"",
                          "envelope",
                          "map_id",
                          "compression",
                          "idempotent",
                          "invocation_timeout_ms",
                          "timeout_ms",
                          "max_result_bytes",
                          "max_reply_bytes",
                          "notes",
                          "trace",
                          "bound_id",
                          "billing",
                          NULL};
  struct lmpy_net_state *state = PyModule_GetState(module);
  struct lm_batch_opts opts = {0};
  PyObject *target_object;
  const char *map_id;
  const char *bound_id;
  Py_ssize_t envelope_len, map_id_len, max_result, max_reply;
  int compress, idempotent, billing, notes = 0, trace = 0;
  struct lm_error err;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$z#s#ppLLnnppsi:open_map", names,
                                   state->target_type, &target_object, &opts.envelope,
                                   &envelope_len, &map_id, &map_id_len, &compress, &idempotent,
                                   &opts.invocation_timeout_ms, &opts.timeout_ms, &max_result,
                                   &max_reply, &notes, &trace, &bound_id, &billing))
    return NULL;
  if (map_id_len != LM_MAP_ID_LEN || strlen(bound_id) > LM_MAP_ID_LEN || max_result < 0 ||
      max_reply < 0 || billing < LM_BILLING_NONE || billing > LM_BILLING_ALL) {
    PyErr_Format(PyExc_ValueError,
                 "map_id must have %d characters, bound_id at most as many, byte limits must not "
                 "be negative, and billing must be 0, 1 or 2",
                 LM_MAP_ID_LEN);
    return NULL;
  }
  struct lm_target *target = lmpy_target_get(target_object);
  if (target == NULL)
    return NULL;
  memcpy(opts.map_id, map_id, LM_MAP_ID_LEN);
  memcpy(opts.bound_id, bound_id, strlen(bound_id) + 1);
  opts.envelope_len = opts.envelope == NULL ? 0 : (size_t)envelope_len;
  opts.compress = compress != 0;
  opts.idempotent = idempotent != 0;
  opts.keep_notes = notes != 0;
  opts.trace = trace != 0;
  opts.billing = (enum lm_billing)billing;
  opts.max_result_bytes = (size_t)max_result;
  opts.max_reply_bytes = (size_t)max_reply;

  struct map_object *self = (struct map_object *)state->map_type->tp_alloc(state->map_type, 0);
  if (self == NULL)
    return NULL;
  self->generation = lm_dispatch_generation();
  lmpy_records_init(&self->records);
  lmpy_stay_if_ended(state, lmpy_target_dispatch(target_object));
  if (lm_map_open(lmpy_target_dispatch(target_object), target, &opts, &self->map, &err) != 0) {
    Py_DECREF(self);
    return lmpy_raise(&err, PyExc_ValueError);
  }
  return (PyObject *)self;
}

/* Whether the text is valid as X-Amz-Durable-Execution-Name. */
static bool
map_is_name(const char *text)
{
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  size_t len = strlen(text);
  return len > 0 && len <= 64 && strspn(text, allowed) == len;
}

static PyObject *
map_submit(PyObject *object, PyObject *args)
{
  struct map_object *self = map_get(object);
  Py_buffer chunk;
  unsigned long long first_item;
  unsigned n_items;
  const char *durable_name = NULL;
  if (self == NULL ||
      !PyArg_ParseTuple(args, "y*KI|z:submit", &chunk, &first_item, &n_items, &durable_name))
    return NULL;
  if (durable_name != NULL && !map_is_name(durable_name)) {
    PyBuffer_Release(&chunk);
    PyErr_SetString(PyExc_ValueError,
                    "invalid durable execution name: expected 1 to 64 of A-Z a-z 0-9 - _");
    return NULL;
  }
  struct lm_buf frame;
  struct lm_error err;
  PyObject *result = NULL;
  lm_buf_init(&frame, SIZE_MAX);
  if (chunk.len < LARGE_BYTES) {
    lm_buf_append(&frame, chunk.buf, (size_t)chunk.len);
  } else {
    Py_BEGIN_ALLOW_THREADS; /* `chunk` holds the bytes */
    lm_buf_append(&frame, chunk.buf, (size_t)chunk.len);
    Py_END_ALLOW_THREADS;
  }
  if (lm_buf_check(&frame, "the chunk", &err) != 0) {
    lmpy_raise(&err, PyExc_ValueError);
  } else if (lm_map_submit(self->map, &frame, first_item, n_items, durable_name, &err) == 0) {
    self->outstanding++;
    result = Py_NewRef(Py_True);
  } else if (err.code == LM_E_FULL) {
    result = Py_NewRef(Py_False);
  } else {
    lmpy_raise(&err, PyExc_ValueError);
  }
  lm_buf_clean_up(&frame);
  PyBuffer_Release(&chunk);
  return result;
}

static PyObject *
map_take(PyObject *object, PyObject *unused)
{
  struct map_object *self = map_get(object);
  (void)unused;
  if (self == NULL)
    return NULL;
  struct lm_job *job = lm_map_take(self->map);
  if (job == NULL)
    Py_RETURN_NONE;
  self->outstanding--;
  lmpy_records_add(&self->records, job);
  return lmpy_completion_new(PyModule_GetState(PyType_GetModule(Py_TYPE(object))), job);
}

/* Wait without the GIL: 1 readable, 0 not, -1 and an exception (of a signal handler, usually). */
static int
map_wait_slice(int fd, int timeout_ms)
{
  int ready;
  Py_BEGIN_ALLOW_THREADS
  ready = lm_event_await(fd, timeout_ms);
  Py_END_ALLOW_THREADS
  if (ready < 0) {
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
  }
  return PyErr_CheckSignals() != 0 ? -1 : ready;
}

static PyObject *
map_wait(PyObject *object, PyObject *timeout)
{
  struct map_object *self = map_get(object);
  double seconds = PyFloat_AsDouble(timeout);
  if (self == NULL || (seconds == -1 && PyErr_Occurred()))
    return NULL;
  int64_t limit_ns = seconds < 0 ? 0 : seconds > 1e9 ? INT64_MAX / 2 : (int64_t)(seconds * 1e9);
  int64_t until = lm_seams.now_ns() + limit_ns;
  for (;;) {
    int64_t left_ms = (until - lm_seams.now_ns() + 999999) / 1000000;
    int slice = left_ms < 0 ? 0 : left_ms < SLICE_MS ? (int)left_ms : SLICE_MS;
    int ready = map_wait_slice(lm_map_fd(self->map), slice);
    map_stay_if_ended(self);
    if (ready < 0)
      return NULL;
    if (ready > 0)
      Py_RETURN_TRUE;
    if (left_ms <= 0)
      Py_RETURN_FALSE;
  }
}

static PyObject *
map_file_number(PyObject *object, PyObject *unused)
{
  struct map_object *self = map_get(object);
  (void)unused;
  return self == NULL ? NULL : PyLong_FromLong(lm_map_fd(self->map));
}

static PyObject *
map_cancel(PyObject *object, PyObject *unused)
{
  struct map_object *self = map_get(object);
  (void)unused;
  if (self == NULL)
    return NULL;
  lm_map_cancel(self->map);
  Py_RETURN_NONE;
}

static PyObject *
map_quiesce(PyObject *object, PyObject *timeout)
{
  struct map_object *self = map_get(object);
  double seconds = PyFloat_AsDouble(timeout);
  if (self == NULL || (seconds == -1 && PyErr_Occurred()))
    return NULL;
  bool quiet;
  Py_BEGIN_ALLOW_THREADS
  quiet = lm_map_quiesce(self->map, (int64_t)(seconds * 1000));
  Py_END_ALLOW_THREADS
  return PyBool_FromLong(quiet);
}

static PyObject *
map_wants_credentials(PyObject *object, void *unused)
{
  struct map_object *self = (struct map_object *)object;
  (void)unused;
  return PyBool_FromLong(self->generation == lm_dispatch_generation() &&
                         atomic_load(&self->map->queue.renewal->wants) != LM_WANTS_NOTHING);
}

static PyObject *
map_outstanding(PyObject *object, void *unused)
{
  (void)unused;
  return PyLong_FromSsize_t(((struct map_object *)object)->outstanding);
}

static PyObject *
map_stats(PyObject *object, void *unused)
{
  struct map_object *self = map_get(object);
  (void)unused;
  if (self == NULL)
    return NULL;
  struct lm_batch_stats *counts = &self->map->queue.batch.stats;
  return Py_BuildValue(
      "{sKsKsKsKsKsKsKsn}", "requests", (unsigned long long)atomic_load(&counts->requests),
      "retries", (unsigned long long)atomic_load(&counts->retries), "throttles",
      (unsigned long long)atomic_load(&counts->throttles), "bytes_sent",
      (unsigned long long)atomic_load(&counts->bytes_sent), "bytes_received",
      (unsigned long long)atomic_load(&counts->bytes_received), "connections",
      (unsigned long long)atomic_load(&counts->connections), "streams",
      (unsigned long long)atomic_load(&counts->streams), "in_flight", self->outstanding);
}

static PyObject *
map_latency(PyObject *object, void *unused)
{
  static const double shares[] = {0.5, 0.9, 0.99};
  struct map_object *self = map_get(object);
  (void)unused;
  if (self == NULL)
    return NULL;
  double seconds[4];
  struct lm_latency found;
  lm_completions_latency(&self->map->queue.batch.completions, &found);
  if (found.total == 0)
    Py_RETURN_NONE;
  for (size_t i = 0; i < 3; i++)
    seconds[i] = (double)lm_latency_quantile(&found, shares[i]) / 1e9;
  seconds[3] = (double)found.max_ns / 1e9;
  return Py_BuildValue("(dddd)", seconds[0], seconds[1], seconds[2], seconds[3]);
}

static PyObject *
map_bill_part(const struct lm_bill_part *part)
{
  return Py_BuildValue("KKKKK", (unsigned long long)part->replies,
                       (unsigned long long)part->worker_us, (unsigned long long)part->reports,
                       (unsigned long long)part->reported_worker_us,
                       (unsigned long long)part->billed_ms);
}

static PyObject *
map_bill(PyObject *object, void *unused)
{
  struct map_object *self = map_get(object);
  struct lm_bill bill;
  (void)unused;
  if (self == NULL)
    return NULL;
  lm_completions_bill(&self->map->queue.batch.completions, &bill);
  return Py_BuildValue("NNKKII", map_bill_part(&bill.first), map_bill_part(&bill.later),
                       (unsigned long long)bill.cold, (unsigned long long)bill.init_us,
                       (unsigned)bill.memory_mb, (unsigned)bill.max_memory_mb);
}

static PyObject *
map_notes(PyObject *object, PyObject *unused)
{
  struct map_object *self = map_get(object);
  (void)unused;
  return self == NULL ? NULL : lmpy_take_notes(&self->map->queue.batch.notes);
}

static PyObject *
map_record(PyObject *object, PyObject *limit)
{
  struct map_object *self = map_get(object);
  size_t most = self == NULL ? 0 : PyLong_AsSize_t(limit);
  if (PyErr_Occurred())
    return NULL;
  lmpy_records_start(&self->records, most);
  Py_RETURN_NONE;
}

static PyObject *
map_records(PyObject *object, PyObject *unused)
{
  struct map_object *self = map_get(object);
  (void)unused;
  return self == NULL ? NULL : lmpy_records_copy(&self->records);
}

PyDoc_STRVAR(record_doc, "record($self, limit, /)\n--\n\nRecord the times of the chunks taken from "
                         "now on; of at most `limit` of them.");
PyDoc_STRVAR(records_doc, "records($self, /)\n--\n\nReturn the records, as bytes, and how many "
                          "chunks they were selected from.");
PyDoc_STRVAR(notes_doc,
             "notes($self, /)\n--\n\nReturn the events since the last call, for the "
             "log, as a list of dicts.\n\nEmpty unless open_map was called with notes=True.");
PyDoc_STRVAR(submit_doc, "submit($self, frame, first_item, n_items, durable_name=None, /)\n--\n\n"
                         "Queue one chunk. Return False if there is no room: take a completion "
                         "first.");
PyDoc_STRVAR(take_doc, "take($self, /)\n--\n\nReturn a finished chunk, or None. Never blocks.");
PyDoc_STRVAR(wait_doc, "wait($self, timeout_s, /)\n--\n\n"
                       "Wait without the GIL for a completion. Return False on timeout.\n\n"
                       "Signal handlers run meanwhile, so Ctrl-C raises here.");
PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\nReturn a descriptor that is readable "
                         "while there are completions.");
PyDoc_STRVAR(cancel_doc, "cancel($self, /)\n--\n\nCancel the map. Idempotent. Every outstanding "
                         "chunk completes, those in flight as \"cancelled\".");
PyDoc_STRVAR(quiesce_doc, "quiesce($self, timeout_s, /)\n--\n\nAfter cancel, wait until no native "
                          "thread holds a buffer of the map. Return False on timeout.");

static PyMethodDef methods[] = {
    {"submit", map_submit, METH_VARARGS, submit_doc},
    {"take", map_take, METH_NOARGS, take_doc},
    {"wait", map_wait, METH_O, wait_doc},
    {"fileno", map_file_number, METH_NOARGS, fileno_doc},
    {"cancel", map_cancel, METH_NOARGS, cancel_doc},
    {"quiesce", map_quiesce, METH_O, quiesce_doc},
    {"notes", map_notes, METH_NOARGS, notes_doc},
    {"record", map_record, METH_O, record_doc},
    {"records", map_records, METH_NOARGS, records_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"outstanding", map_outstanding, NULL,
     PyDoc_STR("Number of chunks submitted and not taken yet."), NULL},
    {"wants_credentials", map_wants_credentials, NULL,
     PyDoc_STR("Whether chunks wait for Target.set_credentials. `wait` returns when this changes."),
     NULL},
    {"stats", map_stats, NULL, PyDoc_STR("Counters of the map, as a dict of int."), NULL},
    {"latency", map_latency, NULL,
     PyDoc_STR("p50, p90, p99 and maximum of the last attempts of chunks with a 200 reply, in "
               "seconds; None: no reply yet."),
     NULL},
    {"bill", map_bill, NULL,
     PyDoc_STR("What REPORT lines say: see struct lm_bill, whose fields these are, in its order."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_tp_doc, PyDoc_STR("One map in flight. Deallocation cancels it.")},
    {0, NULL},
};

PyType_Spec lmpy_map_spec = {
    .name = "lambdamap._net.Map",
    .basicsize = sizeof(struct map_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
