/* The scheduler decides which job starts next, and whether a job whose attempt has ended is retried.
 *
 * Vocabulary. A *job* is one chunk; an *attempt* is one request for it. A *queue* holds the jobs of one map
 * that are not in flight. A *function* is the state that maps with the same endpoint, path and qualifier
 * share: a window (limiter), a start rate, a retry quota. A *bound* limits the attempts in flight of one map
 * to its target's max_concurrency; the maps of an executor share one. A job starts when its bound and its
 * function's window have room, and the start rate and the credentials allow it.
 *
 * States of a job, as the scheduler moves it:
 *
 *   submit ─► READY ─► in flight (the steps of job.h) ─► done
 *               ▲          │ retry, reconnect, poll: after a delay
 *               │          ▼
 *               ├───── DELAYED
 *               └───── 429, expired credentials, wrong clock: at once
 *
 * READY jobs are in the queue's `ready` list (new ones, by first item) or its `retry` list (which starts
 * first). A queue with a READY job is in its function's ring, so that a short map gets its share beside a
 * long one. DELAYED jobs are in the heap. A job in flight is on no list of the scheduler and belongs to an I/O
 * or CPU thread. lm_sched_exchange takes ended jobs from an I/O thread and gives it jobs to start, with one
 * acquisition of the lock. lm_sched_withdraw, lm_sched_tick (past the map's deadline) and lm_sched_close take
 * out jobs that are not in flight.
 *
 * Lock rules. One mutex guards the functions, queues, bounds, the heap and the jobs on their lists. Under it
 * only leaf locks are taken: those of a map's completions (to wake the thread that renews credentials) and
 * notes. No system call but that wake-up is made under it. Done jobs are delivered (deliver.h) after it was
 * released. `used_bytes`, `startable`, `due_ns` and `sooner` are atomic and may be read without it.
 *
 * Who frees. The scheduler owns a submitted job until it gives it to a thread or takes it out; it frees no
 * job. Functions live as long as the scheduler. A queue belongs to its map, which removes it when it has no
 * job left; a bound is freed with its last queue.
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
  struct lm_list ring;     /* queues with READY jobs, the next one first */
  int64_t unreachable_ns;  /* since when no attempt got a connection; 0: the last one did */
  double mean_reply_bytes; /* moving mean, for reservations */
};

/* The limit on attempts in flight of one map, or of several that share it; guarded by the scheduler's lock. */
struct lm_bound {
  struct lm_node link; /* in the scheduler's list */
  unsigned refs;       /* queues that have it */
  unsigned max, in_flight;
  char id[LM_MAP_ID_LEN + 1]; /* queues with the same id share the bound; "": not shared */
};

struct lm_sched {
  struct lm_mutex lock;
  struct lm_list functions;   /* owned */
  struct lm_list queues;      /* of open maps, borrowed */
  struct lm_list bounds;      /* of these queues, owned */
  struct lm_heap delayed;     /* DELAYED jobs by due time, owned */
  atomic_int_fast64_t due_ns; /* when lm_sched_tick has something to do next */
  atomic_bool sooner;         /* due_ns was lowered: the ticking thread must look at it */
  size_t budget_bytes;
  atomic_size_t used_bytes;
  atomic_size_t startable; /* READY jobs; changed under the lock */
  bool closed;
};

void lm_sched_init(struct lm_sched *sched, size_t budget_bytes);
void lm_sched_clean_up(struct lm_sched *sched); /* no job may be queued */

/* The function with this key, created if it is new. cap: the most invocations in flight of all its maps
 * together; the latest call's value counts. */
struct lm_function *lm_sched_function(struct lm_sched *sched, const char *key, unsigned cap,
                                      int64_t now_ns, struct lm_error *err);
unsigned lm_sched_window(struct lm_sched *sched, struct lm_function *function);

/* Add the queue of a new map. Its bound is the one that queues with this id share, else a new one of at most
 * `max` attempts in flight. Borrowed until it is removed, when it must have no job. */
int lm_sched_add_queue(struct lm_sched *sched, struct lm_queue *queue, const char *bound_id,
                       unsigned max, struct lm_error *err);
void lm_sched_remove_queue(struct lm_sched *sched, struct lm_queue *queue);

/* Queue a job (moved on success). LM_E_FULL: the byte budget has no room and the map has an unfinished
 * chunk; a map's only unfinished chunk is always admitted. *may_start: bound and window have room, so an
 * I/O thread should be woken; otherwise the next exchange that ends an attempt will start it. */
int lm_sched_submit(struct lm_sched *sched, struct lm_job *job, bool *may_start,
                    struct lm_error *err);

/* First take the jobs of `ended`, whose attempts have ended as job->outcome says: done ones are moved to *done
 * (job->stops_map: every other chunk of the map would fail like this), the others are queued again (retry,
 * throttle, poll). Then move at most `max` jobs to start now to *start, counted against their bounds and
 * windows, and return their number. `random` returns a number in [0, 1), for the delay of a retry. */
unsigned lm_sched_exchange(struct lm_sched *sched, int64_t now_ns, double (*random)(void),
                           struct lm_list *ended, struct lm_list *done, unsigned max,
                           struct lm_list *start);

/* Move every job of the map that is not in flight to *out; they count as finished. */
void lm_sched_withdraw(struct lm_sched *sched, struct lm_queue *queue, struct lm_list *out);

/* Make due DELAYED jobs READY, move the queued jobs of maps past their deadline to *expired, and request
 * credentials that expire soon. Returns when to call again (lm_sched_due); LM_NEVER_NS: nothing waits. */
int64_t lm_sched_tick(struct lm_sched *sched, int64_t now_ns, struct lm_list *expired);

/* New credentials were set: lm_sched_tick has something to do now. */
void lm_sched_look_again(struct lm_sched *sched);

/* When lm_sched_tick has something to do next. `sooner` is set whenever this gets earlier. */
int64_t lm_sched_due(struct lm_sched *sched);

/* Change a job's charge to the byte budget: its true size, or 0. Takes no lock. */
void lm_sched_charge(struct lm_sched *sched, struct lm_job *job, size_t bytes);

/* Whether there are READY jobs; a hint, read without the lock. */
bool lm_sched_has_work(struct lm_sched *sched);

/* Close for good: no job starts or is accepted any more; every queued job is moved to *out. */
void lm_sched_close(struct lm_sched *sched, struct lm_list *out);

#endif
