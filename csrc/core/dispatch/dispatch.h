/* The process's dispatcher: I/O threads, CPU threads, scheduler. One per process, made at the first
 * map; shared by the interpreters of the process, each of which holds it through acquire.
 *
 * After a fork the child has none: what it inherited is closed and otherwise left alone, and its
 * first map makes a new one. Objects of the parent know by their generation that they are not for
 * use in the child.
 */
#ifndef LM_DISPATCH_DISPATCH_H
#define LM_DISPATCH_DISPATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dispatch/cpu_pool.h"
#include "dispatch/io_thread.h"
#include "os/threads.h"
#include "sched/sched.h"
#include "transport/endpoint.h"
#include "transport/target.h"

struct lm_dispatch {
  atomic_uint refs;    /* holders, maps and targets */
  unsigned generation; /* of the process that made it */
  struct lm_sched sched;
  struct lm_cpu_pool cpu_pool;
  struct lm_io_crew crew;
  unsigned holders; /* guarded by the process-wide lock in dispatch.c */
  struct lm_mutex lock;
  struct lm_endpoint *endpoints[64]; /* strong, guarded by lock; the first ones asked for */
  unsigned n_endpoints;
};

/* The process's dispatcher, made and started when there is none; *out is a reference and a hold.
 * budget_bytes counts when it is made. */
int lm_dispatch_acquire(size_t budget_bytes, struct lm_dispatch **out, struct lm_error *err);

/* Give the hold back. The last one stops the threads, waiting for at most join_ms; a thread that
 * does not end by then is left with all it uses. */
void lm_dispatch_release(struct lm_dispatch *dispatch, int64_t join_ms);

struct lm_dispatch *lm_dispatch_ref(struct lm_dispatch *dispatch);
void lm_dispatch_unref(struct lm_dispatch *dispatch); /* never waits */

/* Counts forks of this process: an object made in another generation must be left alone. */
unsigned lm_dispatch_generation(void);

void lm_dispatch_set_budget(struct lm_dispatch *dispatch, size_t budget_bytes);

/* The endpoint (a new reference) that all targets with this spec share. */
struct lm_endpoint *lm_dispatch_endpoint(struct lm_dispatch *dispatch,
                                         const struct lm_endpoint_spec *spec, struct lm_error *err);

/* How many connections there may be: four fifths of the descriptors that this process may still
 * open, those that are open for connections included. */
unsigned lm_dispatch_descriptor_cap(const struct lm_dispatch *dispatch);

bool lm_dispatch_closed(struct lm_dispatch *dispatch); /* its last hold was given back */

/* A target has new credentials: jobs may start, and others have to be asked for later. */
void lm_dispatch_look_again(struct lm_dispatch *dispatch);

#endif
