/* _simnet: the simulated network and clock for Python. In the same shared object is `_net`, the dispatcher's
 * binding, whose core runs on them; in no wheel.
 *
 * The thread that calls `begin` becomes a coroutine like those of the core: others run, time passes and the
 * server is called while it waits in `_net`, in `sleep` or in `wait`. */
#include "lmpy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fiber.h"
#include "net.h"
#include "os.h"
#include "os/seams.h"
#include "record.h"

static const int64_t SECOND = 1000000000;

static struct {
  PyObject *server, *kept; /* strong; a list of what is called later */
  struct sim_peer **peers; /* owned; each is the run's */
  size_t n_peers, room;
  FILE *file; /* of the history, which is in `text` */
  char *text;
  size_t size;
  bool interrupt;
  long live_before;
} simnet;

/* --- what calls Python: in the thread that waits, between two steps of the scheduler --- */

static PyObject *
simnet_call(PyObject *callable, const char *name, unsigned id, const void *bytes, size_t n)
{
  if (name == NULL)
    return PyObject_CallNoArgs(callable);
  if (bytes == NULL)
    return PyObject_CallMethod(callable, name, "I", id);
  return PyObject_CallMethod(callable, name, "Iy#", id, bytes, (Py_ssize_t)n);
}

static void
simnet_tell(PyObject *callable, const char *name, unsigned id, const void *bytes, size_t n)
{
  PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *pending = lmpy_error_take(); /* of the caller, which may be on its way out */
  PyObject *result = simnet_call(callable, name, id, bytes, n);
  if (result == NULL)
    PyErr_WriteUnraisable(callable);
  Py_XDECREF(result);
  if (pending != NULL)
    lmpy_error_put(pending);
  PyGILState_Release(gil);
}

void
sim_peer_accepted(struct sim_peer *peer)
{
  if (peer->id >= simnet.room) {
    simnet.room = peer->id * 2 + 64;
    simnet.peers = record_must(realloc(simnet.peers, simnet.room * sizeof(struct sim_peer *)));
  }
  while (simnet.n_peers <= peer->id)
    simnet.peers[simnet.n_peers++] = NULL;
  simnet.peers[peer->id] = peer;
  simnet_tell(simnet.server, "accepted", peer->id, NULL, 0);
}

void
sim_peer_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  simnet_tell(simnet.server, "received", peer->id, bytes, n);
}

void
sim_peer_lost(struct sim_peer *peer)
{
  peer->closed = true;
  if (peer->id < simnet.n_peers && simnet.peers[peer->id] == peer) /* else it was never accepted */
    simnet_tell(simnet.server, "lost", peer->id, NULL, 0);
}

/* Over HTTP/2, which no server here chooses. */
void
sim_peer_not_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  (void)peer, (void)bytes, (void)n;
}

/* Of a sweep's fault; there is none here. */
void
sim_peer_answer(struct sim_peer *peer)
{
  (void)peer;
}

static void
simnet_call_later(void *callable)
{
  simnet_tell(callable, NULL, 0, NULL, 0);
}

static void
simnet_set_interrupt(void *unused)
{
  (void)unused;
  simnet.interrupt = true;
}

/* The host has waited: a signal is noticed there, and nowhere else. */
static void
simnet_deliver_interrupt(void)
{
  if (simnet.interrupt)
    PyErr_SetInterrupt();
  simnet.interrupt = false;
}

/* --- functions --- */

static int64_t
simnet_ns(double seconds)
{
  return (int64_t)(seconds * (double)SECOND);
}

static bool
simnet_seconds(PyObject *seconds, int64_t *ns)
{
  *ns = simnet_ns(PyFloat_AsDouble(seconds));
  return !PyErr_Occurred();
}

static int
simnet_set_options(PyObject *given)
{
  struct {
    const char *name;
    unsigned *count;
    int64_t *ns;
  } known[] = {
      {"latency_s", NULL, &sim_net.latency_ns},
      {"connect_s", NULL, &sim_net.connect_ns},
      {"refuse_one_in", &sim_net.refuse_one_in, NULL},
      {"black_hole_one_in", &sim_net.black_hole_one_in, NULL},
      {"small_one_in", &sim_net.small_one_in, NULL},
      {"no_event_one_in", &sim_options.no_event_one_in, NULL},
      {"no_thread_one_in", &sim_options.no_thread_one_in, NULL},
      {"system_fails_one_in", &sim_options.system_fails_one_in, NULL},
  };
  PyObject *name, *value;
  Py_ssize_t at = 0;
  while (given != NULL && PyDict_Next(given, &at, &name, &value)) {
    size_t i = 0;
    while (i < sizeof known / sizeof known[0] &&
           PyUnicode_CompareWithASCIIString(name, known[i].name) != 0)
      i++;
    if (i == sizeof known / sizeof known[0]) {
      PyErr_Format(PyExc_TypeError, "unknown option '%U'", name);
    } else if (known[i].ns != NULL) {
      (void)simnet_seconds(value, known[i].ns);
    } else {
      *known[i].count = (unsigned)PyLong_AsUnsignedLong(value);
    }
    if (PyErr_Occurred())
      return -1;
  }
  return 0;
}

PyDoc_STRVAR(
    begin_doc,
    "begin(seed, server, **options)\n--\n\n"
    "Begin a run at time 0, in which the seed makes every choice. The server's accepted(id), "
    "received(id, bytes) and lost(id) are called for each connection.");

static PyObject *
simnet_begin(PyObject *module, PyObject *args, PyObject *options)
{
  unsigned long long seed;
  PyObject *server;
  (void)module;
  if (!PyArg_ParseTuple(args, "KO:begin", &seed, &server))
    return NULL;
  if (simnet.file != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the last run has not ended");
    return NULL;
  }
  sim_options = (struct sim_world_options){.cores = 2, .descriptors = 1000};
  sim_net = (struct sim_net_options){
      .latency_ns = SECOND / 1000, .connect_ns = SECOND / 1000, .send_buffer = 200000};
  if (simnet_set_options(options) != 0)
    return NULL;
  simnet.file = record_must(open_memstream(&simnet.text, &simnet.size));
  simnet.server = Py_NewRef(server);
  simnet.kept = PyList_New(0);
  simnet.n_peers = 0;
  simnet.interrupt = false;
  record_begin(simnet.file);
  sim_net_forget();
  sim_events_forget();
  sim_seed(seed);
  sim_awaited = simnet_deliver_interrupt;
  simnet.live_before = lm_alloc_live();
  sim_enter("python");
  Py_RETURN_NONE;
}

PyDoc_STRVAR(end_doc, "end()\n--\n\nEnd the run. Returns its history, the first broken promise or "
                      "None, and what is left.");

static PyObject *
simnet_end(PyObject *module, PyObject *unused)
{
  (void)module, (void)unused;
  if (simnet.file == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "no run has begun");
    return NULL;
  }
  record_begin(NULL); /* what was broken stays until the next run */
  fclose(simnet.file);
  simnet.file = NULL;
  PyObject *result =
      Py_BuildValue("s#{sIsIsIsl}", simnet.text, (Py_ssize_t)simnet.size, "connections",
                    sim_sockets_open(), "events", sim_events_open(), "threads", sim_alive() - 1,
                    "blocks", lm_alloc_live() - simnet.live_before);
  free(simnet.text);
  simnet.text = NULL;
  Py_CLEAR(simnet.server);
  Py_CLEAR(simnet.kept);
  return result;
}

PyDoc_STRVAR(now_doc, "now()\n--\n\nReturn the simulated time, in seconds since the run began.");

static PyObject *
simnet_now(PyObject *module, PyObject *unused)
{
  (void)module, (void)unused;
  return PyFloat_FromDouble((double)sim_now() / (double)SECOND);
}

PyDoc_STRVAR(unix_time_doc, "unix_time()\n--\n\nReturn the simulated time of day.");

static PyObject *
simnet_unix_time(PyObject *module, PyObject *unused)
{
  (void)module, (void)unused;
  return PyFloat_FromDouble((double)lm_seams.unix_s());
}

PyDoc_STRVAR(sleep_doc, "sleep(seconds)\n--\n\nLet simulated time pass.");

static PyObject *
simnet_sleep(PyObject *module, PyObject *seconds)
{
  int64_t ns;
  (void)module;
  if (!simnet_seconds(seconds, &ns))
    return NULL;
  sim_sleep(ns);
  Py_RETURN_NONE;
}

PyDoc_STRVAR(wait_doc,
             "wait(descriptors, seconds)\n--\n\nWait until one of these is readable; that is "
             "noticed some time later.");

static PyObject *
simnet_wait(PyObject *module, PyObject *args)
{
  PyObject *descriptors;
  double seconds;
  (void)module;
  if (!PyArg_ParseTuple(args, "O!d:wait", &PyList_Type, &descriptors, &seconds))
    return NULL;
  int64_t until = sim_now() + simnet_ns(seconds), pause = SECOND / 1000;
  for (; sim_now() < until; sim_sleep(pause), pause += pause / 4)
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(descriptors); i++) {
      long fd = PyLong_AsLong(PyList_GET_ITEM(descriptors, i));
      if (fd == -1 && PyErr_Occurred())
        return NULL;
      if (sim_await_event((int)fd, sim_now()))
        Py_RETURN_TRUE;
    }
  Py_RETURN_FALSE;
}

PyDoc_STRVAR(at_doc, "at(seconds, callable)\n--\n\nCall it then; it must not wait.");

static PyObject *
simnet_at(PyObject *module, PyObject *args)
{
  double seconds;
  PyObject *callable;
  (void)module;
  if (!PyArg_ParseTuple(args, "dO:at", &seconds, &callable) ||
      PyList_Append(simnet.kept, callable) != 0)
    return NULL;
  sim_at(simnet_ns(seconds), simnet_call_later, callable);
  Py_RETURN_NONE;
}

PyDoc_STRVAR(
    interrupt_at_doc,
    "interrupt_at(seconds)\n--\n\nA Ctrl-C from then on, noticed while a map is waited for.");

static PyObject *
simnet_interrupt_at(PyObject *module, PyObject *seconds)
{
  int64_t ns;
  (void)module;
  if (!simnet_seconds(seconds, &ns))
    return NULL;
  sim_at(ns, simnet_set_interrupt, NULL);
  Py_RETURN_NONE;
}

static struct sim_peer *
simnet_peer(unsigned id)
{
  if (id < simnet.n_peers && simnet.peers[id] != NULL)
    return simnet.peers[id];
  PyErr_SetString(PyExc_ValueError, "no such connection");
  return NULL;
}

PyDoc_STRVAR(send_doc, "send(id, bytes)\n--\n\nSend from the server's end of a connection.");

static PyObject *
simnet_send(PyObject *module, PyObject *args)
{
  unsigned id;
  Py_buffer given;
  (void)module;
  if (!PyArg_ParseTuple(args, "Iy*:send", &id, &given))
    return NULL;
  struct sim_peer *peer = simnet_peer(id);
  if (peer != NULL)
    sim_peer_send(peer, memcpy(sim_memory((size_t)given.len), given.buf, (size_t)given.len),
                  (size_t)given.len, 0);
  PyBuffer_Release(&given);
  return peer == NULL ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(close_doc, "close(id, reset)\n--\n\nClose the server's end, with a FIN or a reset.");

static PyObject *
simnet_close(PyObject *module, PyObject *args)
{
  unsigned id;
  int reset;
  (void)module;
  if (!PyArg_ParseTuple(args, "Ip:close", &id, &reset))
    return NULL;
  struct sim_peer *peer = simnet_peer(id);
  if (peer == NULL)
    return NULL;
  sim_peer_close(peer, reset != 0);
  Py_RETURN_NONE;
}

PyDoc_STRVAR(record_doc, "record(text)\n--\n\nAdd a line to the history.");

static PyObject *
simnet_record(PyObject *module, PyObject *text)
{
  (void)module;
  const char *line = PyUnicode_AsUTF8(text);
  if (line == NULL)
    return NULL;
  record_event("%s", line);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"begin", (PyCFunction)(void (*)(void))simnet_begin, METH_VARARGS | METH_KEYWORDS, begin_doc},
    {"end", simnet_end, METH_NOARGS, end_doc},
    {"now", simnet_now, METH_NOARGS, now_doc},
    {"unix_time", simnet_unix_time, METH_NOARGS, unix_time_doc},
    {"sleep", simnet_sleep, METH_O, sleep_doc},
    {"wait", simnet_wait, METH_VARARGS, wait_doc},
    {"at", simnet_at, METH_VARARGS, at_doc},
    {"interrupt_at", simnet_interrupt_at, METH_O, interrupt_at_doc},
    {"send", simnet_send, METH_VARARGS, send_doc},
    {"close", simnet_close, METH_VARARGS, close_doc},
    {"record", simnet_record, METH_O, record_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef simnet_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_simnet",
    .m_doc = PyDoc_STR("The network and the clock that `_net` of the same file runs on."),
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__simnet(void)
{
  return PyModule_Create(&simnet_module);
}
