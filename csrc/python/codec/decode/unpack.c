#include "codec/decode/unpack.h"

#include <time.h>

enum {
  SWITCH_MS =
      10 /* twice Python's switch interval: a waiting thread has requested the GIL by then */
};

PyObject *
lmpy_unpack_refuse(struct lmpy_unpack *unpack, const char *text)
{
  PyErr_SetString(unpack->state->decode_failure, text);
  return NULL;
}

/* Restore gc before other threads run: they may fork, or disable it permanently. */
static void
decode_unpack_collector_back(struct lmpy_unpack *unpack)
{
  if (unpack->collecting)
    PyGC_Enable();
}

int
lmpy_unpack_look(struct lmpy_unpack *unpack)
{
  decode_unpack_collector_back(unpack);
  bool fine = PyErr_CheckSignals() == 0;
  if (fine && unpack->opts->check != Py_None) {
    PyObject *answer = PyObject_CallNoArgs(unpack->opts->check);
    fine = answer != NULL;
    Py_XDECREF(answer);
  }
  unpack->collecting = PyGC_Disable();
  unpack->stopped = unpack->stopped || !fine;
  return fine ? 0 : -1;
}

static int64_t
decode_unpack_now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int
lmpy_unpack_pause(struct lmpy_unpack *unpack)
{
  int64_t now = decode_unpack_now_ms();
  unpack->work = 0;
  if (unpack->switched_ms == 0) {
    unpack->switched_ms = now;
  } else if (now - unpack->switched_ms >= SWITCH_MS) {
    /* Releasing it more often is useless: it would be taken back before another thread wakes up. */
    decode_unpack_collector_back(unpack);
    Py_BEGIN_ALLOW_THREADS;
    Py_END_ALLOW_THREADS;
    unpack->collecting = PyGC_Disable();
    unpack->switched_ms = decode_unpack_now_ms();
  }
  return lmpy_unpack_look(unpack);
}
