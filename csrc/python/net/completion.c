/* Completion: one finished chunk; its attributes are read out of the job when asked for. */
#include "net.h"

#include <stddef.h>
#include <string.h>

#include "job/coding.h"

struct completion_object {
  PyObject_HEAD struct lm_job *job; /* owned */
  unsigned generation;
};

static const char *const FAILURES[] = {
    [LM_FAIL_NONE] = "",
    [LM_FAIL_CONFIG] = "config",
    [LM_FAIL_ACCESS_DENIED] = "access_denied",
    [LM_FAIL_FUNCTION_NOT_FOUND] = "function_not_found",
    [LM_FAIL_SERVICE] = "service",
    [LM_FAIL_THROTTLED] = "throttled",
    [LM_FAIL_CONNECT] = "connect",
    [LM_FAIL_CONNECTION_LOST] = "connection_lost",
    [LM_FAIL_DEADLINE] = "deadline",
    [LM_FAIL_REMOTE] = "remote",
    [LM_FAIL_WORKER_INIT] = "worker_init",
    [LM_FAIL_WORKER_TIMEOUT] = "worker_timeout",
    [LM_FAIL_WORKER_CRASHED] = "worker_crashed",
    [LM_FAIL_TOO_LARGE] = "too_large",
    [LM_FAIL_PROTOCOL] = "protocol",
    [LM_FAIL_CANCELLED] = "cancelled",
    [LM_FAIL_MEMORY] = "memory",
    [LM_FAIL_SYSTEM] = "system",
};
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
dealloc(PyObject *object)
{
  struct completion_object *self = (struct completion_object *)object;
  PyTypeObject *type = Py_TYPE(object);
  if (self->generation == lm_dispatch_generation())
    lm_deliver_release(self->job);
  type->tp_free(object);
  Py_DECREF(type);
}

/* The job's memory stays readable in the child of a fork, too. */
static struct lm_job *
job_of(PyObject *object)
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
span_or_none(const struct lm_span *span)
{
  if (span->at == NULL)
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize(span->at, (Py_ssize_t)span->len);
}

static bool
is_plain(const struct lm_job *job)
{
  return job->batch->opts.head == NULL;
}

static uint32_t
items_done(const struct lm_job *job)
{
  if (is_plain(job))
    return job->outcome.failure == LM_FAIL_NONE ? job->n_items : 0;
  return job->view.has_done ? job->view.done : 0;
}

#define GETTER(name) static PyObject *get_##name(PyObject *object, void *unused)
#define JOB                                                                                        \
  (void)unused;                                                                                    \
  const struct lm_job *job = job_of(object)

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
                         items_done(job) == job->n_items);
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
  return PyLong_FromUnsignedLong(items_done(job));
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
  return span_or_none(&job->view.error);
}
GETTER(output)
{
  JOB;
  return span_or_none(&job->view.output);
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
  if (!is_plain(job) || job->outcome.failure != LM_FAIL_NONE)
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
request_frame(PyObject *object, PyObject *unused)
{
  struct lm_buf frame;
  struct lm_error err;
  (void)unused;
  struct lmpy_net_state *state = PyModule_GetState(PyType_GetModule(Py_TYPE(object)));
  PyObject *bytes = NULL;
  lm_buf_init(&frame, SIZE_MAX);
  if (lm_code_recover(state->coder, job_of(object), &frame, &err) == 0)
    bytes = PyBytes_FromStringAndSize((const char *)frame.data, (Py_ssize_t)frame.len);
  else
    lmpy_raise(&err, PyExc_ValueError);
  lm_buf_clean_up(&frame);
  return bytes;
}

static int
get_buffer(PyObject *object, Py_buffer *view, int flags)
{
  const struct lm_job *job = job_of(object);
  return PyBuffer_FillInfo(view, object, job->result.data, (Py_ssize_t)job->result.len, 1, flags);
}

PyDoc_STRVAR(request_frame_doc, "request_frame($self, /)\n--\n\n"
                                "The raw request frame, to be packed again in parts.\n\n"
                                "Raises ValueError when this request holds no chunk.");

static PyMethodDef methods[] = {
    {"request_frame", request_frame, METH_NOARGS, request_frame_doc},
    {NULL, NULL, 0, NULL},
};

#define ATTRIBUTE(name, doc)                                                                       \
  {                                                                                                \
#name, get_##name, NULL, PyDoc_STR(doc), NULL                                                  \
  }

static PyGetSetDef getset[] = {
    ATTRIBUTE(first_item, "Index of the chunk's first item."),
    ATTRIBUTE(n_items, "Items in the chunk."),
    ATTRIBUTE(ok, "Every item has its result."),
    ATTRIBUTE(failure, "Kind of failure, \"\" for none."),
    ATTRIBUTE(ran, "\"NOT\", \"MAYBE\" or \"RAN\"."),
    ATTRIBUTE(message, "What went wrong, for people."),
    ATTRIBUTE(stops_map, "Every other chunk would fail like this one."),
    ATTRIBUTE(split, "Too large to be sent: halve request_frame()."),
    ATTRIBUTE(attempts, "Attempts made, those answered by 429 or 409 not counted."),
    ATTRIBUTE(throttles, "Times that this chunk was answered by 429."),
    ATTRIBUTE(request_id, "AWS's request id of the last attempt, or None."),
    ATTRIBUTE(executed_version, "Version of the function that ran, or None."),
    ATTRIBUTE(status, "HTTP status of the last reply, 0 for none."),
    ATTRIBUTE(done, "Items that the worker did, counted from the first."),
    ATTRIBUTE(worker_us, "Microseconds that the worker spent on them."),
    ATTRIBUTE(seconds, "The last attempt took, waiting for a connection included."),
    ATTRIBUTE(stale_code, "What the worker says about running another source, or None."),
    ATTRIBUTE(error, "The error in the reply as JSON, or None."),
    ATTRIBUTE(output, "What the items printed as JSON, or None."),
    ATTRIBUTE(frame, "View of the checked result frame, or None."),
    ATTRIBUTE(body, "The reply as it came, of a map without envelope, or None."),
    ATTRIBUTE(bytes_sent, "Over all attempts, heads included."),
    ATTRIBUTE(bytes_received, "Over all attempts, heads included."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_bf_getbuffer, get_buffer},
    {Py_tp_doc, PyDoc_STR("One finished chunk.")},
    {0, NULL},
};

PyType_Spec lmpy_completion_spec = {
    .name = "lambdamap._net.Completion",
    .basicsize = sizeof(struct completion_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
