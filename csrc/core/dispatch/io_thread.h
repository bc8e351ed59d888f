/* One I/O thread: an event loop, its connections, and the jobs on them.
 *
 * It never touches Python and blocks every signal. Other threads reach it through lm_io_wake and
 * its inbox only. The threads of a dispatcher are a crew: they share the work of one scheduler.
 */
#ifndef LM_DISPATCH_IO_THREAD_H
#define LM_DISPATCH_IO_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"
#include "dispatch/cpu_pool.h"
#include "dispatch/gate.h"
#include "job/inbox.h"
#include "os/threads.h"
#include "sched/sched.h"
#include "transport/pool.h"
#include "transport/turn.h"
#include "wire/frame.h"

/* The I/O threads of a dispatcher, and what each of them is given when it is made: the others, and
 * what they work for. Outlives them. */
struct lm_io_crew {
  struct lm_sched *sched;       /* borrowed */
  struct lm_cpu_pool *cpu_pool; /* borrowed */
  struct lm_gate gate;
  unsigned n_io;
  struct lm_io *io[LM_MAX_IO_THREADS]; /* owned */
  atomic_uint connections;             /* of all, whatever their state */
};

struct lm_io {
  struct lm_io_crew *crew; /* borrowed */
  struct lm_turn turn;     /* what its connections see of it */
  struct lm_coder *coder;  /* owned */
  struct lm_list pools;    /* owned */
  struct lm_list ended;    /* jobs whose attempt has ended, for the scheduler to judge; owned */

  /* Written by the thread itself, read by all. */
  atomic_uint load;   /* jobs in its hands */
  atomic_bool behind; /* its last turn was long: others should take what comes new */

  atomic_bool asleep; /* it waits, or is about to: who makes this false writes the wake-up */
  atomic_bool called; /* there is something to look at before it sleeps */
  atomic_bool look_for_cancelled, look_for_addresses, drop_idle;

  struct lm_inbox inbox; /* jobs from the CPU pool and other I/O threads */
};

/* Everything but the thread; then the thread. */
struct lm_io *lm_io_new(struct lm_io_crew *crew, unsigned index, struct lm_error *err);
int lm_io_start(struct lm_io *io, struct lm_error *err); /* which enters the gate */
void lm_io_destroy(struct lm_io *io); /* after its thread has ended or never began; NULL allowed */

/* From any thread. */
void lm_io_wake(struct lm_io *io);

/* From any thread, of a crew. There may be something to start: wake the first thread that is not
 * behind with its work, or the least busy one. */
void lm_io_kick(struct lm_io_crew *crew);
/* The scheduler's time (lm_sched_due) has come nearer: thread 0, which ticks, must look at it. */
void lm_io_come_again(struct lm_io_crew *crew);
/* A map was cancelled: every thread drops what it has of it. */
void lm_io_drop_cancelled(struct lm_io_crew *crew);
/* Descriptors have run out: every thread closes its idle connections. */
void lm_io_drop_idle(struct lm_io_crew *crew);

/* After a fork, in the child: close the inherited descriptors, leave all memory. */
void lm_io_abandon(struct lm_io *io);

#endif
