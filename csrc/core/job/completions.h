/* The finished jobs of a map, for the thread that takes them: a list, a descriptor that is readable while
 * the list is not empty, and the number of unfinished jobs.
 *
 * Any thread may add and nudge; one thread takes. The lock is a leaf: it may be taken with the
 * scheduler's lock held, and no other lock is taken under it. */
#ifndef LM_JOB_COMPLETIONS_H
#define LM_JOB_COMPLETIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "job/bill.h"
#include "os/event.h"
#include "os/threads.h"
#include "policy/latency.h"

struct lm_job;

struct lm_completions {
  struct lm_mutex lock;
  struct lm_cond quiet; /* expected has become 0 */
  struct lm_list done;
  struct lm_latency latency; /* of the last attempt of each chunk whose reply was a 200 */
  struct lm_bill bill;       /* of the same chunks */
  bool closed;               /* no more jobs will be taken */
  bool rung;                 /* the event is set or about to be set */
  struct lm_event event;     /* set when done is not empty, cleared by a take that finds nothing */
  atomic_uint expected; /* jobs that a native thread or the scheduler holds; becomes 0 under lock */

  struct lm_list taken; /* moved here from done by lm_completions_take; the taking thread's */
};

int lm_completions_open(struct lm_completions *completions, struct lm_error *err);
void lm_completions_clean_up(struct lm_completions *completions);

void lm_completions_expect(struct lm_completions *completions); /* one more job will be added */
void lm_completions_forgo(struct lm_completions *completions);  /* one job fewer */
bool lm_completions_expects(const struct lm_completions *completions);

/* Add n >= 1 finished jobs (moved). After lm_completions_close they stay in the caller's list. */
void lm_completions_add(struct lm_completions *completions, struct lm_list *jobs, unsigned n);

/* Wake the thread that waits on the descriptor, though there is nothing to take. */
void lm_completions_nudge(struct lm_completions *completions);

/* Never blocks; the caller owns the job. NULL: none. */
struct lm_job *lm_completions_take(struct lm_completions *completions);

/* Wait until no job is expected. False: timed out. */
bool lm_completions_quiesce(struct lm_completions *completions, int64_t timeout_ms);

/* No more jobs will be taken: move the untaken ones to *left. */
void lm_completions_close(struct lm_completions *completions, struct lm_list *left);

void lm_completions_latency(struct lm_completions *completions, struct lm_latency *copy);
void lm_completions_bill(struct lm_completions *completions, struct lm_bill *copy);

#endif
