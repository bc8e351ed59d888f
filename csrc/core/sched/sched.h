/* The scheduler: which job starts next, and whether a job whose attempt has ended is retried.
 *
 * Vocabulary. A *job* is one chunk; an *attempt* is one request for it. A *queue* holds the jobs of one
 * map that are not in flight. A *function* is what maps with the same endpoint, path and qualifier
 * share: a window (limiter), a start rate, a retry quota. A *bound* limits the attempts at once of one
 * map, its target's max_concurrency; the maps of one executor share theirs. A job starts when its
 * bound and its function's window have room, and the rate and credentials allow it.
 *
 * States of a job, as the scheduler moves it:
 *
 *   submit ─► READY ─► in flight (the steps of job.h) ─► done
 *               ▲          │ retry, reconnect, poll: a time to wait for
 *               │          ▼
 *               ├───── DELAYED
 *               └───── 429, expired credentials, a clock that was off: at once
 *
 * READY jobs are in the queue's `ready` (new ones, by first item) or `retry` (which start first); a queue
 * with such a job is in its function's ring, so that a short map beside a long one gets its share.
 * DELAYED ones are in the heap. In flight, a job is on no list of the scheduler's and belongs to an I/O
 * or CPU thread. lm_sched_exchange is the way out and back: it classifies what has ended and hands out
 * what may start, for an I/O thread, under one lock. lm_sched_withdraw, lm_sched_tick (past the map's
 * deadline) and lm_sched_close take jobs out that never started.
 *
 * Lock rules. One mutex guards functions, queues, bounds, the heap and the jobs on their lists. Under it
 * only leaf locks are taken: a map's completions (to wake whoever brings credentials) and its notes. No
 * system call but that wake-up is made under it. What has ended is delivered (deliver.h) after it was
 * released. `used_bytes`, `startable`, `due_ns` and `sooner` are atomic, to be read without it.
 *
 * Who frees. A submitted job is the scheduler's until it is handed out or taken out, and then the
 * caller's: the scheduler frees no job. Functions live as long as the scheduler. A queue is its map's, which
 * removes it once it has no job left; a bound goes with its last queue.
 */
#ifndef LM_SCHED_SCHED_H
#define LM_SCHED_SCHED_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "os/threads.h"
#include "policy/limiter.h"
#include "policy/rate.h"
#include "policy/retry.h"
#include "sched/queue.h"

/* State of one function (endpoint, path, qualifier), shared by all maps of the process. */
struct lm_function {
  struct lm_node link;
  char *key;
  struct lm_limiter limiter;
  struct lm_rate rate;
  struct lm_quota quota;
  struct lm_list ring;     /* maps with startable jobs, next one first */
  int64_t unreachable_ns;  /* since when no attempt got a connection, 0: the last one had one */
  double mean_reply_bytes; /* moving mean, for reservations */
};

/* Attempts at once of one map, or of several that belong together; guarded by the scheduler's lock. */
struct lm_bound {
  struct lm_node link; /* in the scheduler's list */
  unsigned refs;       /* maps that have it */
  unsigned max, in_flight;
  char id[LM_MAP_ID_LEN + 1]; /* maps with the same one share it; "" is nobody else's */
};

struct lm_sched {
  struct lm_mutex lock;
  struct lm_list functions;   /* owned */
  struct lm_list queues;      /* of open maps, borrowed */
  struct lm_list bounds;      /* theirs, owned */
  struct lm_heap delayed;     /* jobs by due time, owned */
  atomic_int_fast64_t due_ns; /* when lm_sched_tick has something to do */
  atomic_bool sooner;         /* due_ns was lowered: who ticks must look at it */
  size_t budget_bytes;
  atomic_size_t used_bytes;
  atomic_size_t startable; /* jobs in ready and retry lists; changed under the lock */
  bool closed;
};

void lm_sched_init(struct lm_sched *sched, size_t budget_bytes);
void lm_sched_clean_up(struct lm_sched *sched); /* nothing may be queued any more */

/* The function with this key, made when new. cap: invocations at once of all its maps together, the
 * latest word counts. */
struct lm_function *lm_sched_function(struct lm_sched *sched, const char *key, unsigned cap,
                                      int64_t now_ns, struct lm_error *err);
unsigned lm_sched_window(struct lm_sched *sched, struct lm_function *function);

/* Make an open map's queue known, with a bound of max attempts at once: the one that maps with this id
 * have, else a new one. Borrowed until it is removed, with no job left. */
int lm_sched_add_queue(struct lm_sched *sched, struct lm_queue *queue, const char *bound_id,
                       unsigned max, struct lm_error *err);
void lm_sched_remove_queue(struct lm_sched *sched, struct lm_queue *queue);

/* Queue a job (moved on success). LM_E_FULL: the byte budget has no room, and the map has
 * another chunk unfinished; the oldest unfinished chunk of a map is always admitted. *may_start: both
 * bounds leave room, so somebody should ask for what is next; else that happens when one in flight
 * ends. */
int lm_sched_submit(struct lm_sched *sched, struct lm_job *job, bool *may_start,
                    struct lm_error *err);

/* The attempts of all jobs of `ended` are over, as job->outcome says: those that are done move to
 * *done (job->stops_map: every other chunk of the map would fail like it), the others go back (retry,
 * throttle, poll). Then at most `max` jobs to start now, charged against their maps' bounds and their
 * functions' windows, are moved to *start. Returns how many these are. `random` gives a number from
 * [0, 1) for each attempt that may be made again. */
unsigned lm_sched_exchange(struct lm_sched *sched, int64_t now_ns, double (*random)(void),
                           struct lm_list *ended, struct lm_list *done, unsigned max,
                           struct lm_list *start);

/* Take every job of the map that is not in flight; they are moved to *out and count as finished. */
void lm_sched_withdraw(struct lm_sched *sched, struct lm_queue *queue, struct lm_list *out);

/* Move due retries to their maps and jobs of maps past their deadline to *expired. Returns when to
 * come again (lm_sched_due), LM_NEVER_NS when nothing waits for a time. */
int64_t lm_sched_tick(struct lm_sched *sched, int64_t now_ns, struct lm_list *expired);

/* What lm_sched_tick goes by has changed: credentials. */
void lm_sched_look_again(struct lm_sched *sched);

/* When lm_sched_tick has something to do. `sooner` is set whenever that gets earlier. */
int64_t lm_sched_due(struct lm_sched *sched);

/* Change what a job holds in the budget: its true size, or 0. Takes no lock. */
void lm_sched_charge(struct lm_sched *sched, struct lm_job *job, size_t bytes);

/* Jobs that could start, as a hint without the lock. */
bool lm_sched_has_work(struct lm_sched *sched);

/* Close for ever: nothing starts any more; every queued job is moved to *out. */
void lm_sched_close(struct lm_sched *sched, struct lm_list *out);

#endif
