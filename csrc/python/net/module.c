/* lambdamap._net: the dispatcher for Python. Imported at the first remote map. */
#include "net.h"

#include "os/seams.h"
#include "os/stream.h"
#include "os/tls.h"
#include "wire/frame.h"

static PyObject *
net_set_budget(PyObject *module, PyObject *number)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  size_t bytes = PyLong_AsSize_t(number);
  if (bytes == (size_t)-1 && PyErr_Occurred())
    return NULL;
  state->budget_bytes = bytes;
  if (state->dispatch != NULL && state->dispatch->generation == lm_dispatch_generation())
    lm_dispatch_set_budget(state->dispatch, bytes);
  Py_RETURN_NONE;
}

static PyObject *
net_shut_down(PyObject *module, PyObject *args)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  double seconds;
  int at_exit = 0;
  if (!PyArg_ParseTuple(args, "d|p:shutdown", &seconds, &at_exit))
    return NULL;
  struct lm_dispatch *dispatch = state->dispatch;
  state->dispatch = NULL;
  if (dispatch != NULL && at_exit && state->ended == NULL) {
    state->ended = lm_dispatch_ref(dispatch);
    state->ended_by = pthread_self();
  }
  if (dispatch != NULL) {
    Py_BEGIN_ALLOW_THREADS
    lm_dispatch_release(dispatch, (int64_t)(seconds * 1000));
    Py_END_ALLOW_THREADS
  }
  Py_RETURN_NONE;
}

static PyObject *
net_debug_state(PyObject *module, PyObject *unused)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  struct lm_dispatch *dispatch = state->dispatch;
  (void)unused;
  if (dispatch == NULL || dispatch->generation != lm_dispatch_generation())
    return Py_BuildValue("{sisisisnsn}", "io_threads", 0, "cpu_threads", 0, "maps", 0, "used_bytes",
                         (Py_ssize_t)0, "in_flight", (Py_ssize_t)0);
  int maps = 0;
  Py_ssize_t in_flight = 0;
  lm_mutex_lock(&dispatch->sched.lock);
  LM_LIST_EACH (&dispatch->sched.queues, node)
    maps++;
  size_t used = dispatch->sched.used_bytes;
  lm_mutex_unlock(&dispatch->sched.lock);
  for (unsigned i = 0; i < dispatch->crew.n_io; i++)
    in_flight += (Py_ssize_t)atomic_load(&dispatch->crew.io[i]->load);
  lm_mutex_lock(&dispatch->cpu_pool.lock);
  int cpu_threads = (int)dispatch->cpu_pool.threads;
  lm_mutex_unlock(&dispatch->cpu_pool.lock);
  return Py_BuildValue("{sisisisnsn}", "io_threads", (int)dispatch->crew.n_io, "cpu_threads",
                       cpu_threads, "maps", maps, "used_bytes", (Py_ssize_t)used, "in_flight",
                       in_flight);
}

static PyObject *
net_debug_periods(PyObject *module, PyObject *args, PyObject *kwargs)
{
  struct {
    const char *name;
    int64_t *ns;
  } known[] = {
      {"transient_base_s", &lm_periods.retry.transient_base_ns},
      {"throttle_base_s", &lm_periods.retry.throttle_base_ns},
      {"throttle_patience_s", &lm_periods.retry.throttle_patience_ns},
      {"poll_base_s", &lm_periods.retry.poll_base_ns},
      {"max_poll_s", &lm_periods.retry.max_poll_ns},
      {"poll_patience_s", &lm_periods.retry.poll_patience_ns},
      {"max_idle_s", &lm_periods.max_idle_ns},
      {"keepalive_idle_s", &lm_periods.keepalive_idle_ns},
      {"keepalive_interval_s", &lm_periods.keepalive_interval_ns},
      {"unacknowledged_s", &lm_periods.unacknowledged_ns},
      {"silence_s", &lm_periods.silence_ns},
      {"refresh_before_s", &lm_periods.refresh_before_ns},
      {"wall_shift_s", &lm_periods.wall_shift_ns},
  };
  (void)module;
  if (!PyArg_ParseTuple(args, ":debug_periods"))
    return NULL;
  PyObject *before = PyDict_New(), *name, *value;
  Py_ssize_t at = 0;
  for (size_t i = 0; before != NULL && i < sizeof known / sizeof known[0]; i++) {
    PyObject *seconds = PyFloat_FromDouble((double)*known[i].ns / 1e9);
    if (seconds == NULL || PyDict_SetItemString(before, known[i].name, seconds) != 0)
      Py_CLEAR(before);
    Py_XDECREF(seconds);
  }
  while (before != NULL && kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
    int64_t *ns = NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
      if (PyUnicode_CompareWithASCIIString(name, known[i].name) == 0)
        ns = known[i].ns;
    double seconds = PyFloat_AsDouble(value);
    if (ns == NULL)
      PyErr_Format(PyExc_TypeError, "unknown period '%U'", name);
    if (PyErr_Occurred())
      Py_CLEAR(before);
    else
      *ns = (int64_t)(seconds * 1e9);
  }
  return before;
}

PyDoc_STRVAR(set_budget_doc, "set_budget($module, max_inflight_bytes, /)\n--\n\n"
                             "Limit the bytes of requests, expected replies and results not taken "
                             "yet, over all maps.");
PyDoc_STRVAR(shutdown_doc,
             "shutdown($module, timeout_s, at_exit=False, /)\n--\n\n"
             "Stop the native threads and wait for at most timeout_s seconds.\n\n"
             "Outstanding chunks complete as cancelled. The next map starts new threads.\n"
             "With at_exit, daemon threads that use a map block for ever, since the\n"
             "interpreter is about to stop them.");
PyDoc_STRVAR(debug_state_doc,
             "debug_state($module, /)\n--\n\n"
             "Return threads, open maps, and bytes and jobs in flight, for tests.");
PyDoc_STRVAR(debug_periods_doc,
             "debug_periods($module, /, **seconds)\n--\n\n"
             "Change some of the dispatcher's periods, and return the previous ones, in seconds. "
             "For tests, while no map runs.");
PyDoc_STRVAR(
    open_target_doc,
    "open_target($module, /, *, scheme, host, port, path, query, region, access_key,\n"
    "            secret_key, token, expires_at, headers, proxy, ca_file, ca_path,\n"
    "            max_concurrency, max_attempts, max_connect_ms, connect_patience_ms,\n"
    "            http_version)\n--\n\n"
    "Return a Target for open_map: endpoint, function, credentials.\n\n"
    "Raises ValueError for an invalid argument, OSError or RuntimeError if no thread can be "
    "started.");
PyDoc_STRVAR(open_map_doc,
             "open_map($module, target, /, *, envelope, map_id, compression, idempotent,\n"
             "         invocation_timeout_ms, timeout_ms, max_result_bytes, max_reply_bytes,\n"
             "         notes, trace, bound_id, billing)\n--\n\n"
             "Start a map on a Target.");

static PyMethodDef methods[] = {
    {"open_target", (PyCFunction)(void (*)(void))lmpy_open_target, METH_VARARGS | METH_KEYWORDS,
     open_target_doc},
    {"open_map", (PyCFunction)(void (*)(void))lmpy_open_map, METH_VARARGS | METH_KEYWORDS,
     open_map_doc},
    {"set_budget", net_set_budget, METH_O, set_budget_doc},
    {"shutdown", net_shut_down, METH_VARARGS, shutdown_doc},
    {"debug_state", net_debug_state, METH_NOARGS, debug_state_doc},
    {"debug_periods", (PyCFunction)(void (*)(void))net_debug_periods, METH_VARARGS | METH_KEYWORDS,
     debug_periods_doc},
    {NULL, NULL, 0, NULL},
};

static int
net_stop_at_exit(PyObject *module)
{
  int result = -1;
  PyObject *atexit = PyImport_ImportModule("atexit");
  PyObject *function = PyObject_GetAttrString(module, "shutdown");
  PyObject *registered = NULL;
  if (atexit != NULL && function != NULL &&
      (registered = PyObject_CallMethod(atexit, "register", "OdO", function, 2.0, Py_True)) != NULL)
    result = 0;
  Py_XDECREF(registered);
  Py_XDECREF(function);
  Py_XDECREF(atexit);
  return result;
}

static int
net_exec(PyObject *module)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  state->budget_bytes = (size_t)512 << 20;
  state->coder = lm_coder_new();
  if (state->coder == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  struct {
    PyType_Spec *spec;
    PyTypeObject **type;
  } types[] = {
      {&lmpy_target_spec, &state->target_type},
      {&lmpy_map_spec, &state->map_type},
      {&lmpy_completion_spec, &state->completion_type},
  };
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    *types[i].type = (PyTypeObject *)PyType_FromModuleAndSpec(module, types[i].spec, NULL);
    if (*types[i].type == NULL || PyModule_AddType(module, *types[i].type) != 0)
      return -1;
  }
  if (PyModule_AddStringConstant(module, "CURL_VERSION", lm_stream_version()) != 0 ||
      PyModule_AddStringConstant(module, "TLS_VERSION", lm_tls_version()) != 0)
    return -1;
  PyObject *failures = lmpy_failure_names();
  int added = failures == NULL ? -1 : lmpy_module_add(module, "FAILURES", failures);
  Py_XDECREF(failures);
  return added == 0 ? net_stop_at_exit(module) : -1;
}

static int
net_traverse(PyObject *module, visitproc visit, void *arg)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  Py_VISIT(state->target_type);
  Py_VISIT(state->map_type);
  Py_VISIT(state->completion_type);
  return 0;
}

static int
net_clear(PyObject *module)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  Py_CLEAR(state->target_type);
  Py_CLEAR(state->map_type);
  Py_CLEAR(state->completion_type);
  return 0;
}

static void
net_free_state(void *module)
{
  struct lmpy_net_state *state = PyModule_GetState(module);
  if (state->dispatch != NULL)
    lm_dispatch_release(state->dispatch, 2000);
  if (state->ended != NULL)
    lm_dispatch_unref(state->ended);
  state->dispatch = state->ended = NULL;
  lm_coder_destroy(state->coder);
  state->coder = NULL;
  net_clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, net_exec},
    LMPY_INTERPRETERS,
    {0, NULL},
};

struct PyModuleDef lmpy_net_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "lambdamap._net",
    .m_doc = PyDoc_STR("Native dispatcher: signing, connections, retries, completions."),
    .m_size = sizeof(struct lmpy_net_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = net_traverse,
    .m_clear = net_clear,
    .m_free = net_free_state,
};

PyMODINIT_FUNC
PyInit__net(void)
{
  return PyModuleDef_Init(&lmpy_net_module);
}
