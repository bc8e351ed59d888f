/* What one map has finished, for the thread that takes it: a list, a descriptor that is readable
 * while something waits, and a count of what is not finished yet.
 *
 * Adding and nudging may be done from any thread; taking belongs to one. The lock is a leaf but for
 * the event: it may be taken under the scheduler's. */
#ifndef LM_JOB_COMPLETIONS_H
#define LM_JOB_COMPLETIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "os/event.h"
#include "os/threads.h"
#include "policy/latency.h"

struct lm_job;

struct lm_completions {
  struct lm_mutex lock;
  struct lm_cond quiet; /* nothing is expected any more */
  struct lm_list done;
  struct lm_latency latency; /* of the last attempt of each chunk that was answered 200 */
  bool closed;               /* nobody will take */
  bool rung;             /* the event has been set, or is about to be, and was not cleared since */
  struct lm_event event; /* set once done is not empty, cleared by a take that finds nothing */
  atomic_uint expected;  /* jobs that a native thread or the scheduler holds; 1 to 0 under lock */

  struct lm_list taken; /* of done, moved here by lm_completions_take: the calling thread's */
};

int lm_completions_open(struct lm_completions *completions, struct lm_error *err);
void lm_completions_clean_up(struct lm_completions *completions);

void lm_completions_expect(struct lm_completions *completions); /* one job more will come */
void lm_completions_forgo(struct lm_completions *completions);  /* one will not */
bool lm_completions_expects(const struct lm_completions *completions);

/* These n jobs, at least one, are done (moved). After a close they stay in the list, and are the
 * caller's. */
void lm_completions_add(struct lm_completions *completions, struct lm_list *jobs, unsigned n);

/* Wake whoever waits on the descriptor, once, with nothing to take. */
void lm_completions_nudge(struct lm_completions *completions);

/* Never blocks; the caller owns the job. NULL: none. */
struct lm_job *lm_completions_take(struct lm_completions *completions);

/* Wait until nothing is expected. False: the time is over. */
bool lm_completions_quiesce(struct lm_completions *completions, int64_t timeout_ms);

/* Nobody takes any more: what was not taken is moved to *left. */
void lm_completions_close(struct lm_completions *completions, struct lm_list *left);

void lm_completions_latency(struct lm_completions *completions, struct lm_latency *copy);

#endif
