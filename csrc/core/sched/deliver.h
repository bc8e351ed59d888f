/* Delivery of done jobs to the completions of their maps. From any thread, with no lock held.
 *
 * Another thread may take a delivered job and close its map at once; each function keeps the map alive
 * until it returns. */
#ifndef LM_SCHED_DELIVER_H
#define LM_SCHED_DELIVER_H

#include "base/list.h"
#include "sched/queue.h"

/* Deliver jobs that the scheduler has finished (moved); adjacent ones of one map together. If one of them stops
 * its map, the map's queued jobs are delivered as CANCELLED. */
void lm_deliver_done(struct lm_list *jobs);

/* Deliver jobs that never started (moved), with CANCELLED or DEADLINE and LM_RAN_NOT, or what an earlier
 * attempt left. */
void lm_deliver_unstarted(struct lm_list *jobs, enum lm_failure failure, const char *text);

/* Take the queued jobs of a map out of the scheduler and deliver them as CANCELLED. */
void lm_deliver_queued(struct lm_queue *queue);

/* Free a job that was taken, or that will not be: return its charge to the budget, free its buffers. NULL is
 * allowed. */
void lm_deliver_release(struct lm_job *job);

#endif
