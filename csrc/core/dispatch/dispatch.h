/* The dispatcher: I/O threads, CPU threads and the scheduler. One per process, created at the first map and
 * shared by all interpreters of the process.
 *
 * Vocabulary. An interpreter has a *hold* on the dispatcher, from lm_dispatch_acquire to lm_dispatch_release;
 * the last release stops the threads. A *reference* keeps the memory; each hold, map and target has one. The
 * *crew* is the I/O threads with what they share. The *gate* is where they stop for a fork. A *generation*
 * counts forks: a child has another one than its parent.
 *
 * States.
 *
 *   acquire ─► running ◄─► parked (during a fork, in the parent)
 *                 │
 *                 └─ last release ─► stopping ─► ended ─► last reference ─► freed
 *
 * Stopping: the scheduler is closed and queued jobs are delivered as cancelled; CPU threads finish their
 * queue; then each I/O thread cancels the jobs on its connections, delivers them, and leaves the gate. A thread
 * that has not left in time is abandoned with everything it uses: the dispatcher is never freed.
 *
 * After a fork the child has no dispatcher: inherited descriptors are closed, inherited memory is not touched,
 * and the child's first map creates a new dispatcher. Objects made in the parent have another generation and
 * must not be used in the child.
 *
 * The path of a job: the caller's thread submits it to the scheduler and wakes an I/O thread. That thread takes
 * it in lm_sched_exchange, has it encoded (if large, by a CPU thread, which returns it to the inbox), and gives
 * it to the pool of its endpoint, or passes it to a thread that has an idle connection. The reply is decoded in
 * the same way. The job then waits in the thread's `ended` list, is classified in the next lm_sched_exchange,
 * and is delivered to its map's completions, where the caller takes it.
 *
 * Lock rules. Three pairs of locks are held together, the first one taken first: the process-wide lock (current
 * dispatcher, holds; held during a fork) and any other; the dispatcher's (endpoints) and that of the CA stores;
 * the scheduler's and a map's (completions, notes). An endpoint's lock is held while waiting I/O threads are
 * woken, which takes no lock. No lock is held while user code runs or the GIL is acquired.
 *
 * Who frees. A batch (job/batch.h) counts its jobs, so a map lives until its last job is freed. Maps and targets
 * have references to the dispatcher, which frees the threads' objects, endpoints and functions last.
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
  atomic_uint refs;    /* holds, maps and targets */
  unsigned generation; /* of the process that created it */
  struct lm_sched sched;
  struct lm_cpu_pool cpu_pool;
  struct lm_io_crew crew;
  unsigned holders; /* guarded by the process-wide lock in dispatch.c */
  struct lm_mutex lock;
  struct lm_endpoint *endpoints[64]; /* strong, guarded by lock; further ones are not shared */
  unsigned n_endpoints;
};

/* Get the process's dispatcher, with a hold and a reference; create and start it if there is none.
 * budget_bytes is used only then. */
int lm_dispatch_acquire(size_t budget_bytes, struct lm_dispatch **out, struct lm_error *err);

/* Release the hold and its reference. The last hold stops the threads and waits for at most join_ms; a thread
 * that has not ended by then is abandoned. */
void lm_dispatch_release(struct lm_dispatch *dispatch, int64_t join_ms);

struct lm_dispatch *lm_dispatch_ref(struct lm_dispatch *dispatch);
void lm_dispatch_unref(struct lm_dispatch *dispatch); /* never waits */

/* The current generation: an object made in another one must not be used. */
unsigned lm_dispatch_generation(void);

void lm_dispatch_set_budget(struct lm_dispatch *dispatch, size_t budget_bytes);

/* The endpoint that all targets with this spec share (a new reference). */
struct lm_endpoint *lm_dispatch_endpoint(struct lm_dispatch *dispatch,
                                         const struct lm_endpoint_spec *spec, struct lm_error *err);

/* How many connections there may be: four fifths of the descriptors that this process does not use for
 * anything else. */
unsigned lm_dispatch_descriptor_cap(const struct lm_dispatch *dispatch);

bool lm_dispatch_closed(struct lm_dispatch *dispatch); /* its last hold was released */

/* A target has new credentials: its jobs may start, and the time to request newer ones has changed. */
void lm_dispatch_look_again(struct lm_dispatch *dispatch);

#endif
