/* What the scheduler keeps of one map: its jobs that are not in flight, and its bounds. */
#ifndef LM_SCHED_QUEUE_H
#define LM_SCHED_QUEUE_H

#include <stdint.h>

#include "base/list.h"
#include "job/batch.h"
#include "sched/renewal.h"

struct lm_bound;    /* sched.h */
struct lm_function; /* sched.h */
struct lm_sched;

struct lm_queue {
  struct lm_batch batch; /* what its jobs point to */

  /* Immutable once lm_sched_add_queue was called. */
  struct lm_sched *sched;       /* borrowed: outlives the queue */
  struct lm_function *function; /* borrowed from the scheduler, which keeps it for ever */
  struct lm_renewal *renewal;   /* borrowed from the target; maps of one target share it */
  unsigned max_attempts;        /* of one job */
  int64_t connect_patience_ns;

  /* Guarded by the scheduler's lock. */
  struct lm_node ring;    /* in its function's ring while it has startable jobs */
  struct lm_node known;   /* in the list of open maps */
  struct lm_list ready;   /* new jobs by first_item */
  struct lm_list retry;   /* due retries, those throttled last first */
  size_t delayed;         /* jobs in the heap */
  struct lm_bound *bound; /* from lm_sched_add_queue to lm_sched_remove_queue */
  int64_t asked_ns;       /* when its first chunk was sent, 0: not yet */
  size_t unfinished;      /* submitted and not DONE */
};

/* A job's queue: each job belongs to the batch of one. */
static inline struct lm_queue *
lm_queue_of(const struct lm_job *job)
{
  return LM_CONTAINER(job->batch, struct lm_queue, batch);
}

#endif
