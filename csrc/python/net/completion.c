/* Completion: one finished chunk. Its attributes are read from the job on access. */
#include "net.h"

#include <stddef.h>
#include <string.h>

#include "job/coding.h"

struct completion_object {
  PyObject_HEAD
  struct lm_job *job; /* owned */
  unsigned generation;
};

#define NAME(kind, name) name,
static const char *const FAILURES[] = {"", LM_FAILURES(NAME)};
#undef NAME

static const char *const RAN[] = {
    [LM_RAN_NOT] = "NOT",
    [LM_RAN_MAYBE] = "MAYBE",
    [LM_RAN_YES] = "RAN",
};

const char *
lmpy_failure_name(enum lm_failure failure)
{
  return FAILURES[failure];
}

PyObject *
lmpy_failure_names(void)
{
  size_t n = sizeof FAILURES / sizeof FAILURES[0];
  PyObject *names = PyTuple_New((Py_ssize_t)n - 1);
  for (size_t i = LM_FAIL_NONE + 1; names != NULL && i < n; i++) {
    PyObject *name = PyUnicode_FromString(FAILURES[i]);
    if (name == NULL)
      Py_CLEAR(names);
    else
      PyTuple_SET_ITEM(names, (Py_ssize_t)i - 1, name);
  }
  return names;
}

const char *
lmpy_ran_name(enum lm_ran ran)
{
  return RAN[ran];
}

PyObject *
lmpy_completion_new(struct lmpy_net_state *state, struct lm_job *job)
{
  struct completion_object *self =
      (struct completion_object *)state->completion_type->tp_alloc(state->completion_type, 0);
  if (self == NULL) {
    lm_deliver_release(job);
    return NULL;
  }
  self->job = job;
  self->generation = lm_dispatch_generation();
  return (PyObject *)self;
}

static void
completion_dealloc(PyObject *object)
{
  struct completion_object *self = (struct completion_object *)object;
  PyTypeObject *type = Py_TYPE(object);
  if (self->generation == lm_dispatch_generation())
    lm_deliver_release(self->job);
  type->tp_free(object);
  Py_DECREF(type);
}

/* The job's memory is readable in the child of a fork, too. */
static struct lm_job *
completion_job_of(PyObject *object)
{
  return ((struct completion_object *)object)->job;
}

PyObject *
lmpy_text_or_none(const char *text)
{
  if (text == NULL || text[0] == '\0')
    Py_RETURN_NONE;
  return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *
completion_span_or_none(const struct lm_span *span)
{
  if (span->at == NULL)
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize(span->at, (Py_ssize_t)span->len);
}

static bool
completion_is_raw(const struct lm_job *job)
{
  return job->batch->opts.envelope == NULL;
}

static uint32_t
completion_items_done(const struct lm_job *job)
{
  if (completion_is_raw(job))
    return job->outcome.failure == LM_FAIL_NONE ? job->n_items : 0;
  return job->view.has_done ? job->view.done : 0;
}

#define GETTER(name) static PyObject *completion_##name(PyObject *object, void *unused)
#define JOB                                                                                        \
  (void)unused;                                                                                    \
  const struct lm_job *job = completion_job_of(object)

GETTER(first_item)
{
  JOB;
  return PyLong_FromUnsignedLongLong(job->first_item);
}
GETTER(n_items)
{
  JOB;
  return PyLong_FromUnsignedLong(job->n_items);
}
GETTER(ok)
{
  JOB;
  return PyBool_FromLong(job->outcome.failure == LM_FAIL_NONE && job->view.error.at == NULL &&
                         completion_items_done(job) == job->n_items);
}
GETTER(failure)
{
  JOB;
  return PyUnicode_FromString(FAILURES[job->outcome.failure]);
}
GETTER(ran)
{
  JOB;
  return PyUnicode_FromString(RAN[job->outcome.ran]);
}
GETTER(worst_ran)
{
  JOB;
  return PyUnicode_FromString(RAN[job->worst.ran]);
}
GETTER(message)
{
  JOB;
  if (job->outcome.failure == LM_FAIL_NONE)
    return PyUnicode_FromString("");
  return PyUnicode_DecodeUTF8(job->error.text, (Py_ssize_t)strlen(job->error.text), "replace");
}
GETTER(stops_map)
{
  JOB;
  return PyBool_FromLong(job->outcome.failure != LM_FAIL_NONE && job->outcome.stops_map);
}
GETTER(split)
{
  JOB;
  return PyBool_FromLong(job->outcome.action == LM_DO_SPLIT);
}
GETTER(attempts)
{
  JOB;
  return PyLong_FromUnsignedLong(job->attempts);
}
GETTER(throttles)
{
  JOB;
  return PyLong_FromUnsignedLong(job->throttles);
}
GETTER(request_id)
{
  JOB;
  return lmpy_text_or_none(job->head.request_id);
}
GETTER(executed_version)
{
  JOB;
  return lmpy_text_or_none(job->head.executed_version);
}
GETTER(status)
{
  JOB;
  return PyLong_FromLong(job->head.status);
}
GETTER(done)
{
  JOB;
  return PyLong_FromUnsignedLong(completion_items_done(job));
}
GETTER(worker_us)
{
  JOB;
  return PyLong_FromUnsignedLongLong(job->view.worker_us);
}
GETTER(seconds)
{
  JOB;
  return PyFloat_FromDouble((double)job->took_ns / 1e9);
}
GETTER(stale_code)
{
  JOB;
  if (!job->view.stale_code || job->view.code.at == NULL)
    Py_RETURN_NONE;
  return PyUnicode_DecodeUTF8(job->view.code.at, (Py_ssize_t)job->view.code.len, "replace");
}
GETTER(error)
{
  JOB;
  if (job->view.error.at == NULL && job->outcome.failure != LM_FAIL_NONE && job->reply.len > 0)
    return PyBytes_FromStringAndSize((const char *)job->reply.data, (Py_ssize_t)job->reply.len);
  return completion_span_or_none(&job->view.error);
}
GETTER(output)
{
  JOB;
  return completion_span_or_none(&job->view.output);
}
GETTER(frame)
{
  JOB;
  if (job->result.len == 0)
    Py_RETURN_NONE;
  return PyMemoryView_FromObject(object);
}
GETTER(body)
{
  JOB;
  if (!completion_is_raw(job) || job->outcome.failure != LM_FAIL_NONE)
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize((const char *)job->reply.data, (Py_ssize_t)job->reply.len);
}
GETTER(bytes_sent)
{
  JOB;
  return PyLong_FromUnsignedLongLong(job->bytes_sent);
}
GETTER(bytes_received)
{
  JOB;
  return PyLong_FromUnsignedLongLong(job->bytes_received);
}

static PyObject *
completion_request_frame(PyObject *object, PyObject *unused)
{
  struct lm_buf frame;
  struct lm_error err;
  (void)unused;
  struct lmpy_net_state *state = PyModule_GetState(PyType_GetModule(Py_TYPE(object)));
  PyObject *bytes = NULL;
  lm_buf_init(&frame, SIZE_MAX);
  if (lm_coding_recover(state->coder, completion_job_of(object), &frame, &err) == 0)
    bytes = PyBytes_FromStringAndSize((const char *)frame.data, (Py_ssize_t)frame.len);
  else
    lmpy_raise(&err, PyExc_ValueError);
  lm_buf_clean_up(&frame);
  return bytes;
}

static int
completion_get_buffer(PyObject *object, Py_buffer *view, int flags)
{
  const struct lm_job *job = completion_job_of(object);
  return PyBuffer_FillInfo(view, object, job->result.data, (Py_ssize_t)job->result.len, 1, flags);
}

PyDoc_STRVAR(request_frame_doc, "request_frame($self, /)\n--\n\n"
                                "Return the raw request frame, or the payload, to send its items "
                                "again.\n\n"
                                "Raises ValueError if the request contains no chunk.");

static PyMethodDef methods[] = {
    {"request_frame", completion_request_frame, METH_NOARGS, request_frame_doc},
    {NULL, NULL, 0, NULL},
};

#define ATTRIBUTE(name, doc)                                                                       \
  {                                                                                                \
#name, completion_##name, NULL, PyDoc_STR(doc), NULL                                           \
  }

static PyGetSetDef getset[] = {
    ATTRIBUTE(first_item, "Index of the chunk's first item."),
    ATTRIBUTE(n_items, "Number of items in the chunk."),
    ATTRIBUTE(ok, "Whether every item has a result."),
    ATTRIBUTE(failure, "Kind of failure; \"\": none."),
    ATTRIBUTE(ran, "Whether the function ran: \"NOT\", \"MAYBE\" or \"RAN\"."),
    ATTRIBUTE(worst_ran, "The strongest `ran` of the failed attempts."),
    ATTRIBUTE(message, "Error message; \"\": none."),
    ATTRIBUTE(stops_map, "Whether every other chunk would fail like this one."),
    ATTRIBUTE(split, "Whether the chunk is too large and must be split; see request_frame."),
    ATTRIBUTE(attempts, "Number of attempts, not counting those answered with 429 or 409."),
    ATTRIBUTE(throttles, "Number of 429 replies."),
    ATTRIBUTE(request_id, "AWS request id of the last attempt, or None."),
    ATTRIBUTE(executed_version, "Version of the function that ran, or None."),
    ATTRIBUTE(status, "HTTP status of the last reply; 0: none."),
    ATTRIBUTE(done, "Number of items that have run, from the first."),
    ATTRIBUTE(worker_us, "Time that the worker took for these items, in microseconds."),
    ATTRIBUTE(seconds, "Duration of the last attempt in seconds, including connecting."),
    ATTRIBUTE(stale_code, "Digest of the worker's source if it is not the caller's, or None."),
    ATTRIBUTE(error, "Error of the reply as JSON, or None."),
    ATTRIBUTE(output, "Output of the items as JSON, or None."),
    ATTRIBUTE(frame, "The checked result frame as a memoryview, or None."),
    ATTRIBUTE(body, "The reply of a map without envelope, or None."),
    ATTRIBUTE(bytes_sent, "Bytes sent in all attempts, including headers."),
    ATTRIBUTE(bytes_received, "Bytes received in all attempts, including headers."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, completion_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_bf_getbuffer, completion_get_buffer},
    {Py_tp_doc, PyDoc_STR("One finished chunk.")},
    {0, NULL},
};

PyType_Spec lmpy_completion_spec = {
    .name = "lambdamap._net.Completion",
    .basicsize = sizeof(struct completion_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
