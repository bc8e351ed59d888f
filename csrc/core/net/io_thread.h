/* One I/O thread: an event loop, its connections, and the jobs on them.
 *
 * It never touches Python and blocks every signal. Other threads reach it through lm_io_wake and
 * its inbox only.
 */
#ifndef LM_NET_IO_THREAD_H
#define LM_NET_IO_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/heap.h"
#include "base/list.h"
#include "net/loop.h"
#include "net/pool.h"
#include "net/sigv4.h"
#include "wire/frame.h"

struct lm_dispatch;

enum { LM_SCRATCH_BYTES = 65536 };

struct lm_io {
  struct lm_dispatch *dispatch; /* borrowed: outlives the thread */
  unsigned index;
  struct lm_loop *loop;    /* owned */
  struct lm_coder *coder;  /* owned */
  struct lm_sigv4 *signer; /* owned */
  struct lm_list pools;    /* owned */
  struct lm_list ended;    /* jobs whose attempt has ended, for the scheduler to judge; owned */
  struct lm_list active;   /* connections with a job */
  struct lm_list again;    /* of those, the ones to go on with next turn */
  struct lm_heap timers;   /* of those, by deadline */
  uint8_t *scratch;        /* owned, LM_SCRATCH_BYTES for received bytes */
  int64_t now_ns;          /* start of the present turn */

  /* Written by the thread itself, read by all. */
  atomic_uint load;   /* jobs in its hands */
  atomic_bool behind; /* its last turn was long: others should take what comes new */

  atomic_bool asleep; /* it waits, or is about to: who makes this false writes the wake-up */
  atomic_bool called; /* there is something to look at before it sleeps */
  atomic_bool look_for_cancelled, look_for_addresses, drop_idle;

  atomic_bool returned; /* the inbox is not empty */

  pthread_mutex_t inbox_lock;
  struct lm_list inbox; /* jobs from the CPU pool and other I/O threads; guarded by inbox_lock */
  bool shut;            /* takes no job from another I/O thread any more; guarded by inbox_lock */
};

/* Everything but the thread; then the thread. */
struct lm_io *lm_io_new(struct lm_dispatch *dispatch, unsigned index, struct lm_error *err);
int lm_io_start(struct lm_io *io, struct lm_error *err);
void lm_io_destroy(struct lm_io *io); /* after its thread has ended or never began; NULL allowed */

/* From any thread. */
void lm_io_wake(struct lm_io *io);
void lm_io_address_known(void *io);                      /* lm_endpoint_dial's callback */
void lm_io_return(struct lm_io *io, struct lm_job *job); /* a CPU thread is done with the job */

/* For connections and pools, on the thread itself. The job (moved) has ended its attempt as its
 * outcome says; the scheduler hears of it later in this turn. Or, with a complete reply in it, is to be decoded and judged. */
void lm_io_ended(struct lm_io *io, struct lm_job *job);
void lm_io_replied(struct lm_io *io, struct lm_job *job);

/* After a fork, in the child: close the inherited descriptors, leave all memory. */
void lm_io_abandon(struct lm_io *io);

#endif
