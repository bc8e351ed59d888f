/* One I/O thread: an event loop, its connections, and the jobs on them.
 *
 * It never calls Python and blocks all signals. Other threads reach it only through its inbox, its atomic flags
 * and lm_io_wake. The I/O threads of a dispatcher are its crew: they share the work of one scheduler.
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

/* The I/O threads of a dispatcher and what they share. Outlives them. */
struct lm_io_crew {
  struct lm_sched *sched;       /* borrowed */
  struct lm_cpu_pool *cpu_pool; /* borrowed */
  struct lm_gate gate;
  unsigned n_io;
  struct lm_io *io[LM_MAX_IO_THREADS]; /* owned */
  atomic_uint connections;             /* number of connections of all threads, in any state */
};

struct lm_io {
  struct lm_io_crew *crew; /* borrowed */
  struct lm_turn turn;     /* what it shares with its connections */
  struct lm_coder *coder;  /* owned */
  struct lm_list pools;    /* owned */
  struct lm_list ended;    /* jobs whose attempt has ended, for the scheduler; owned */

  /* Written by the thread itself, read by all. */
  atomic_uint load;   /* jobs that it has started and that have not ended */
  atomic_bool behind; /* its last turn was long: others should start new jobs */

  atomic_bool asleep; /* it sleeps or is about to; who sets this to false must wake the loop */
  atomic_bool called; /* there is something to do before it sleeps */
  atomic_bool look_for_cancelled, look_for_addresses, drop_idle;

  struct lm_inbox inbox; /* jobs from the CPU pool and other I/O threads */
};

/* Create everything but the thread; start the thread. */
struct lm_io *lm_io_new(struct lm_io_crew *crew, unsigned index, unsigned n_threads,
                        struct lm_error *err);
int lm_io_start(struct lm_io *io, struct lm_error *err); /* enters the gate for it */
void lm_io_destroy(struct lm_io *io); /* its thread has ended or never started; NULL is allowed */

/* From any thread. */
void lm_io_wake(struct lm_io *io);

/* The following are called from any thread. There may be a job to start: wake the first thread that is not
 * behind, or the least busy one. */
void lm_io_kick(struct lm_io_crew *crew);
/* lm_sched_due has become earlier: wake thread 0, which calls lm_sched_tick. */
void lm_io_come_again(struct lm_io_crew *crew);
/* A map was cancelled: every thread ends the attempts of its jobs. */
void lm_io_drop_cancelled(struct lm_io_crew *crew);
/* Descriptors have run out: every thread closes its idle connections. */
void lm_io_drop_idle(struct lm_io_crew *crew);

/* After a fork, in the child: close the inherited descriptors; the memory is not touched. */
void lm_io_abandon(struct lm_io *io);

#endif
