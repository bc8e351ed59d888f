/* Jobs that are done, on their way to whoever takes them. Any thread; no lock may be held.
 *
 * Each function keeps a job's map alive until it has returned, though the job may be taken, and the
 * map freed, by another thread meanwhile. */
#ifndef LM_SCHED_DELIVER_H
#define LM_SCHED_DELIVER_H

#include "base/list.h"
#include "sched/queue.h"

/* Jobs that the scheduler has called done go to their maps (moved), those that stand together at once.
 * A map that one of them stops has nothing queued afterwards. */
void lm_deliver_done(struct lm_list *jobs);

/* The same for jobs that never started: CANCELLED or DEADLINE, NOT run. */
void lm_deliver_unstarted(struct lm_list *jobs, enum lm_failure failure, const char *text);

/* What is queued completes as CANCELLED, NOT run. */
void lm_deliver_queued(struct lm_queue *queue);

/* A job that was taken, or that nobody takes: its charge goes back to the budget, its buffers go.
 * NULL is allowed. */
void lm_deliver_release(struct lm_job *job);

#endif
