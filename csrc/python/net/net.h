/* What the files of lambdamap._net share: the module's state and its three types. */
#ifndef LMPY_NET_H
#define LMPY_NET_H

#include <pthread.h>

#include "lmpy.h"

#include "dispatch/dispatch.h"
#include "dispatch/map.h"

struct lmpy_net_state {
  PyTypeObject *target_type, *map_type, *completion_type; /* strong */
  struct lm_dispatch *dispatch; /* a hold; NULL before the first target, after shutdown */
  struct lm_dispatch *ended;    /* strong; was shut down at exit, by the thread ended_by */
  pthread_t ended_by;
  size_t budget_bytes;
  struct lm_coder *coder; /* owned; for recovering request frames, under the GIL */
};

extern struct PyModuleDef lmpy_net_module;
extern PyType_Spec lmpy_target_spec, lmpy_map_spec, lmpy_completion_spec;

/* The process's dispatcher, acquired at the first call; borrowed from the state. NULL and an exception. */
struct lm_dispatch *lmpy_net_dispatch(struct lmpy_net_state *state);

/* After a shutdown at exit, a daemon thread that uses a map of this dispatcher stays here for good. If it
 * got the map's end as an error instead, it might print a traceback while the interpreter finalizes. */
void lmpy_stay_if_ended(const struct lmpy_net_state *state, const struct lm_dispatch *dispatch);

/* open_target, open_map: METH_VARARGS | METH_KEYWORDS functions of the module. */
PyObject *lmpy_open_target(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *lmpy_open_map(PyObject *module, PyObject *args, PyObject *kwargs);

/* The lm_target inside a Target of this process (borrowed), or NULL and an exception. */
struct lm_target *lmpy_target_get(PyObject *target);
struct lm_dispatch *lmpy_target_dispatch(PyObject *target); /* borrowed */

/* A Completion that owns the taken job. NULL and an exception: the job was released. */
PyObject *lmpy_completion_new(struct lmpy_net_state *state, struct lm_job *job);

/* Their names in Python, as "connect" and "MAYBE"; static. */
const char *lmpy_failure_name(enum lm_failure failure);
const char *lmpy_ran_name(enum lm_ran ran);
/* A new tuple of all failures' names, or NULL and an exception. */
PyObject *lmpy_failure_names(void);

/* The text as a str, None for NULL and "". Invalid UTF-8 is replaced. */
PyObject *lmpy_text_or_none(const char *text);

/* For Map.notes: the notes as a list of dicts. */
PyObject *lmpy_take_notes(struct lm_notes *notes);

#endif
