/* The scheduler's part of a map: its jobs that are not in flight, and its limits. */
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
  struct lm_batch batch; /* which its jobs point to */

  /* Immutable after lm_sched_add_queue. */
  struct lm_sched *sched;       /* borrowed: outlives the queue */
  struct lm_function *function; /* borrowed from the scheduler, which never frees it */
  struct lm_renewal *renewal;   /* borrowed from the target; maps of one target share it */
  unsigned max_attempts;        /* of one job */
  int64_t connect_patience_ns;

  /* Guarded by the scheduler's lock. */
  struct lm_node ring;    /* in its function's ring while it has ready or retry jobs */
  struct lm_node known;   /* in the list of open maps */
  struct lm_list ready;   /* new jobs, by first_item */
  struct lm_list retry;   /* due retries; throttled jobs go to the front */
  size_t delayed;         /* its jobs in the scheduler's heap */
  struct lm_bound *bound; /* from lm_sched_add_queue to lm_sched_remove_queue */
  int64_t asked_ns;       /* when its first attempt started; 0: not yet */
  size_t unfinished;      /* submitted and not done */
};

/* The queue that a job's batch is a member of. */
static inline struct lm_queue *
lm_queue_of(const struct lm_job *job)
{
  return LM_CONTAINER(job->batch, struct lm_queue, batch);
}

#endif
