/* The process's dispatcher: I/O threads, CPU threads, scheduler. One per process, made at the first
 * map; shared by the interpreters of the process, each of which holds it through acquire.
 *
 * Vocabulary. A *hold* is an interpreter's: the last one that is released stops the threads. A *reference*
 * keeps the memory: holders, maps and targets have one. The *crew* is the I/O threads with what they work
 * for; the *gate* is where they park for a fork. A *generation* counts forks.
 *
 * States.
 *
 *   acquire ─► running ◄─► parked (from before a fork until after it, in the parent)
 *                 │
 *                 └─ last release ─► stopping ─► ended ─► last reference ─► freed
 *
 * Stopping: the scheduler is closed, queued jobs are delivered as cancelled; CPU threads finish what they
 * have; then each I/O thread cancels what is on its connections, delivers, and leaves the gate. A thread that
 * has not left in time is abandoned with everything it uses: a reference is never given back.
 *
 * After a fork the child has no dispatcher: what it inherited is closed and otherwise left alone, and its
 * first map makes a new one. Objects of the parent know by their generation that they must not be used in
 * the child.
 *
 * One job's way through the threads: the caller's thread submits it to the scheduler and wakes an I/O thread;
 * that takes it in lm_sched_exchange, has it encoded (by a CPU thread when it is large, which returns it to
 * the inbox), and gives it to the pool of its endpoint, or passes it to a thread with an idle connection. The
 * reply is decoded the same way; the job waits in the thread's `ended` list, is classified in the next
 * lm_sched_exchange, and is delivered to its map's completions, from where the caller takes it.
 *
 * Lock rules. An endpoint's lock is held while it wakes those who wait for its address, which takes no lock.
 * Three pairs of locks are held together, the first one taken first: the process-wide lock
 * (current dispatcher, holds; held across a fork) and any other; the dispatcher's (endpoints) and that of the
 * CA stores; the scheduler's and a map's (completions, notes). None is held while user code runs or the GIL
 * is taken.
 *
 * Who frees. A batch (job/batch.h) counts its jobs, so a map lives until its last job was released; a map and
 * a target have references to the dispatcher, which frees threads' objects, endpoints and functions last.
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
