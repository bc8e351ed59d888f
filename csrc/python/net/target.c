/* Target: an endpoint, a function and credentials. */
#include "net.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "os/seams.h"

enum { MAX_PATIENCE_MS = 1 << 30 };

struct target_object {
  PyObject_HEAD
  struct lm_target *target;     /* strong */
  struct lm_dispatch *dispatch; /* strong; owns the function's state */
  unsigned generation;
};

static bool
target_is_ours(const struct target_object *self)
{
  return self->generation == lm_dispatch_generation();
}

struct lm_target *
lmpy_target_get(PyObject *object)
{
  struct target_object *self = (struct target_object *)object;
  if (target_is_ours(self))
    return self->target;
  PyErr_SetString(PyExc_RuntimeError, "this Target was opened before a fork: open a new one");
  return NULL;
}

struct lm_dispatch *
lmpy_target_dispatch(PyObject *object)
{
  return ((struct target_object *)object)->dispatch;
}

static void
target_dealloc(PyObject *object)
{
  struct target_object *self = (struct target_object *)object;
  PyTypeObject *type = Py_TYPE(object);
  if (self->target != NULL && target_is_ours(self)) {
    lm_target_unref(self->target);
    lm_dispatch_unref(self->dispatch);
  }
  type->tp_free(object);
  Py_DECREF(type);
}

/* Whether the text may be part of a request's header: printable ASCII only. */
static bool
target_is_clean(const char *text)
{
  for (; *text != '\0'; text++)
    if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
      return false;
  return true;
}

/* A sequence of pairs as name, value, ..., NULL. The array is freed by lm_free, the strings are borrowed. */
static const char **
target_read_headers(PyObject *pairs)
{
  PyObject *fast = PySequence_Fast(pairs, "headers must be a sequence of (name, value) tuples");
  if (fast == NULL)
    return NULL;
  Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
  const char **headers = lm_alloc_zero((size_t)n * 2 + 1, sizeof *headers);
  if (headers == NULL)
    PyErr_NoMemory();
  for (Py_ssize_t i = 0; headers != NULL && i < n; i++) {
    PyObject *pair = PySequence_Fast_GET_ITEM(fast, i);
    if (!PyTuple_Check(pair) ||
        !PyArg_ParseTuple(pair, "ss", &headers[2 * i], &headers[2 * i + 1]) ||
        !target_is_clean(headers[2 * i]) || !target_is_clean(headers[2 * i + 1])) {
      if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "headers contain a character outside printable ASCII");
      lm_free(headers);
      headers = NULL;
    }
  }
  Py_DECREF(fast);
  return headers;
}

/* -1 and ValueError naming the argument. Its value is not shown: it may be a secret. */
static int
target_check_arguments(const struct lm_endpoint_spec *where, const char *http_version,
                       const struct lm_target_spec *how)
{
  const struct {
    const char *name, *text, *forbidden;
  } texts[] = {
      {"host", where->host, "/?#@ "}, {"path", how->path, " "},
      {"query", how->query, " "},     {"region", how->region, ""},
      {"token", how->token, ""},      {"access_key", how->access_key, ""},
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    if (texts[i].text != NULL &&
        (!target_is_clean(texts[i].text) || strpbrk(texts[i].text, texts[i].forbidden) != NULL)) {
      PyErr_Format(PyExc_ValueError, "%s contains a character that is not allowed in a request",
                   texts[i].name);
      return -1;
    }
  if (http_version != NULL && strcmp(http_version, "1.1") != 0 && strcmp(http_version, "2") != 0) {
    PyErr_SetString(PyExc_ValueError, "http_version must be None, '1.1' or '2'");
    return -1;
  }
  if (how->max_concurrency < 1 || how->max_attempts < 1) {
    PyErr_SetString(PyExc_ValueError, "max_concurrency and max_attempts must be at least 1");
    return -1;
  }
  if (how->connect_patience_ms < 0 || how->connect_patience_ms > MAX_PATIENCE_MS) {
    PyErr_Format(PyExc_ValueError, "connect_patience_ms must be between 0 and %d", MAX_PATIENCE_MS);
    return -1;
  }
  return 0;
}

PyObject *
lmpy_open_target(PyObject *module, PyObject *args, PyObject *kwargs)
{
  static char *names[] = {"scheme",
                          "host",
                          "port",
                          "path",
                          "query",
                          "region",
                          "access_key",
                          "secret_key",
                          "token",
                          "expires_at",
                          "headers",
                          "proxy",
                          "ca_file",
                          "ca_path",
                          "max_concurrency",
                          "max_attempts",
                          "max_connect_ms",
                          "connect_patience_ms",
                          "http_version",
                          NULL};
  struct lmpy_net_state *state = PyModule_GetState(module);
  const char *scheme, *http_version = NULL;
  struct lm_endpoint_spec where = {0};
  struct lm_target_spec how = {0};
  PyObject *expires_at, *headers, *proxy;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs,
                                   "$ssHsssssz"
                                   "OOOzzIILLz:open_target",
                                   names, &scheme, &where.host, &where.port, &how.path, &how.query,
                                   &how.region, &how.access_key, &how.secret_key, &how.token,
                                   &expires_at, &headers, &proxy, &where.ca_file, &where.ca_path,
                                   &how.max_concurrency, &how.max_attempts, &how.connect_timeout_ms,
                                   &how.connect_patience_ms, &http_version))
    return NULL;
  if (proxy != Py_None &&
      (!PyTuple_Check(proxy) ||
       !PyArg_ParseTuple(proxy, "ssH:proxy", &where.proxy, &where.proxy_host, &where.proxy_port))) {
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_TypeError, "proxy must be None or (url, host, port)");
    return NULL;
  }
  where.tls = strcmp(scheme, "https") == 0;
  if (!where.tls && strcmp(scheme, "http") != 0) {
    PyErr_Format(PyExc_ValueError, "scheme must be 'http' or 'https', not '%.20s'", scheme);
    return NULL;
  }
  if (http_version != NULL)
    where.http_version = strcmp(http_version, "2") == 0 ? LM_HTTP_2 : LM_HTTP_1;
  if (target_check_arguments(&where, http_version, &how) != 0)
    return NULL;
  how.expires_s = INT64_MAX;
  if (expires_at != Py_None) {
    double seconds = PyFloat_AsDouble(expires_at);
    if (seconds == -1 && PyErr_Occurred())
      return NULL;
    how.expires_s = (int64_t)seconds;
  }

  PyObject *result = NULL;
  struct lm_error err;
  struct lm_endpoint *endpoint = NULL;
  struct target_object *self = NULL;
  char key[2048];
  struct lm_dispatch *dispatch = lmpy_net_dispatch(state);
  if (dispatch == NULL || (how.headers = target_read_headers(headers)) == NULL)
    return NULL;
  self = (struct target_object *)state->target_type->tp_alloc(state->target_type, 0);
  if (self == NULL)
    goto done;
  self->generation = lm_dispatch_generation();
  unsigned fits = lm_dispatch_descriptor_cap(dispatch); /* the cap of the window, over all maps */
  Py_BEGIN_ALLOW_THREADS
  endpoint = lm_dispatch_endpoint(dispatch, &where, &err);
  Py_END_ALLOW_THREADS
  if (endpoint == NULL) {
    lmpy_raise(&err, PyExc_ValueError);
    goto done;
  }
  snprintf(key, sizeof key, "%s%s?%s", endpoint->url, how.path, how.query);
  struct lm_function *function =
      lm_sched_function(&dispatch->sched, key, fits, lm_seams.now_ns(), &err);
  if (function == NULL || (self->target = lm_target_new(endpoint, function, &how, &err)) == NULL) {
    lmpy_raise(&err, PyExc_ValueError);
    goto done;
  }
  self->dispatch = lm_dispatch_ref(dispatch);
  result = Py_NewRef((PyObject *)self);

done:
  lm_endpoint_unref(endpoint);
  Py_XDECREF(self);
  lm_free((void *)how.headers);
  return result;
}

static PyObject *
target_window(PyObject *object, void *unused)
{
  (void)unused;
  struct lm_target *target = lmpy_target_get(object);
  if (target == NULL)
    return NULL;
  unsigned open = lm_sched_window(&lmpy_target_dispatch(object)->sched, target->function);
  return PyLong_FromUnsignedLong(open < target->max_concurrency ? open : target->max_concurrency);
}

static PyObject *
target_set_credentials(PyObject *object, PyObject *args)
{
  const char *access_key, *secret_key, *token;
  PyObject *expires_at;
  struct lm_error err;
  int64_t expires_s = INT64_MAX;
  struct lm_target *target = lmpy_target_get(object);
  if (target == NULL || !PyArg_ParseTuple(args, "sszO:set_credentials", &access_key, &secret_key,
                                          &token, &expires_at))
    return NULL;
  if (expires_at != Py_None) {
    double seconds = PyFloat_AsDouble(expires_at);
    if (seconds == -1 && PyErr_Occurred())
      return NULL;
    expires_s = (int64_t)seconds;
  }
  if (!target_is_clean(access_key) || (token != NULL && !target_is_clean(token))) {
    PyErr_SetString(PyExc_ValueError, "credentials contain a character outside printable ASCII");
    return NULL;
  }
  if (lm_target_set_credentials(target, access_key, secret_key, token, expires_s, &err) != 0)
    return lmpy_raise(&err, PyExc_ValueError);
  lm_dispatch_look_again(lmpy_target_dispatch(object));
  Py_RETURN_NONE;
}

PyDoc_STRVAR(set_credentials_doc,
             "set_credentials($self, access_key, secret_key, token, expires_at, /)\n--\n\n"
             "Set the credentials for all attempts that are signed from now on.");

static PyObject *
target_wants(PyObject *object, void *unused)
{
  static const char *const words[] = {"", "fresh", "others"};
  (void)unused;
  struct lm_target *target = lmpy_target_get(object);
  return target == NULL ? NULL : PyUnicode_FromString(words[atomic_load(&target->renewal.wants)]);
}

static PyMethodDef methods[] = {
    {"set_credentials", target_set_credentials, METH_VARARGS, set_credentials_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *
target_closed(PyObject *object, void *unused)
{
  struct target_object *self = (struct target_object *)object;
  (void)unused;
  return PyBool_FromLong(!target_is_ours(self) || lm_dispatch_closed(self->dispatch));
}

static PyGetSetDef getset[] = {
    {"closed", target_closed, NULL,
     PyDoc_STR("Whether its dispatcher was shut down, or belongs to the parent of a fork."), NULL},
    {"window", target_window, NULL,
     PyDoc_STR("Invocations that one map may have in flight now: the lesser of max_concurrency "
               "and the function's window."),
     NULL},
    {"wants_credentials", target_wants, NULL,
     PyDoc_STR("Why nothing starts until set_credentials: \"fresh\", they expire soon; \"others\", "
               "AWS has refused them as expired; \"\", none are wanted."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, target_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_tp_doc,
     PyDoc_STR("Endpoint, function and credentials; made by open_target, shared by maps.")},
    {0, NULL},
};

PyType_Spec lmpy_target_spec = {
    .name = "lambdamap._net.Target",
    .basicsize = sizeof(struct target_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
