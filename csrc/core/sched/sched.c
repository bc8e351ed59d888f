#include "sched/sched.h"

#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "os/seams.h"
#include "os/threads.h"
#include "policy/deadline.h"

static const unsigned MAX_REFRESHES = 2; /* of credentials, per job */
static const double MEAN_WEIGHT = 0.1;

void
lm_sched_init(struct lm_sched *sched, size_t budget_bytes)
{
  memset(sched, 0, sizeof *sched);
  lm_mutex_init(&sched->lock);
  lm_list_init(&sched->functions);
  lm_list_init(&sched->queues);
  lm_list_init(&sched->bounds);
  lm_heap_init(&sched->delayed);
  sched->budget_bytes = budget_bytes;
  atomic_init(&sched->due_ns, LM_NEVER_NS);
}

void
lm_sched_clean_up(struct lm_sched *sched)
{
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    lm_free(function->key);
    lm_free(function);
  }
  lm_heap_clean_up(&sched->delayed);
  lm_mutex_destroy(&sched->lock);
}

static struct lm_function *
sched_new_function(const char *key, unsigned cap, int64_t now_ns)
{
  struct lm_function *function = lm_alloc_zero(1, sizeof *function);
  size_t size = strlen(key) + 1;
  if (function == NULL || (function->key = lm_alloc(size)) == NULL) {
    lm_free(function);
    return NULL;
  }
  memcpy(function->key, key, size);
  lm_list_init(&function->ring);
  lm_limiter_init(&function->limiter, cap, now_ns);
  lm_rate_init(&function->rate, now_ns);
  lm_quota_init(&function->quota);
  return function;
}

struct lm_function *
lm_sched_function(struct lm_sched *sched, const char *key, unsigned cap, int64_t now_ns,
                  struct lm_error *err)
{
  struct lm_function *found = NULL;
  lm_mutex_lock(&sched->lock);
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (strcmp(function->key, key) == 0)
      found = function;
  }
  if (found != NULL) {
    lm_limiter_set_cap(&found->limiter, cap);
  } else if ((found = sched_new_function(key, cap, now_ns)) != NULL) {
    lm_list_push_back(&sched->functions, &found->link);
  } else {
    lm_error_nomem(err, sizeof *found);
  }
  lm_mutex_unlock(&sched->lock);
  return found;
}

unsigned
lm_sched_window(struct lm_sched *sched, struct lm_function *function)
{
  lm_mutex_lock(&sched->lock);
  unsigned window = lm_limiter_window(&function->limiter);
  lm_mutex_unlock(&sched->lock);
  return window;
}

/* With the lock held: the bound with this id, for one more queue. NULL: out of memory. */
static struct lm_bound *
sched_share_bound(struct lm_sched *sched, const char *id, unsigned max)
{
  LM_LIST_EACH (&sched->bounds, node) {
    struct lm_bound *bound = LM_CONTAINER(node, struct lm_bound, link);
    if (id[0] != '\0' && strcmp(bound->id, id) == 0) {
      bound->refs++;
      return bound;
    }
  }
  struct lm_bound *bound = lm_alloc_zero(1, sizeof *bound);
  if (bound == NULL)
    return NULL;
  bound->refs = 1;
  bound->max = max;
  memcpy(bound->id, id, strlen(id) + 1);
  lm_list_push_back(&sched->bounds, &bound->link);
  return bound;
}

int
lm_sched_add_queue(struct lm_sched *sched, struct lm_queue *queue, const char *bound_id,
                   unsigned max, struct lm_error *err)
{
  queue->sched = sched;
  lm_list_init(&queue->ready);
  lm_list_init(&queue->retry);
  lm_mutex_lock(&sched->lock);
  queue->bound = sched_share_bound(sched, bound_id, max);
  if (queue->bound != NULL)
    lm_list_push_back(&sched->queues, &queue->known);
  lm_mutex_unlock(&sched->lock);
  return queue->bound != NULL ? 0 : lm_error_nomem(err, sizeof *queue->bound);
}

void
lm_sched_remove_queue(struct lm_sched *sched, struct lm_queue *queue)
{
  lm_mutex_lock(&sched->lock);
  if (lm_list_linked(&queue->known))
    lm_list_remove(&queue->known);
  if (--queue->bound->refs == 0) {
    lm_list_remove(&queue->bound->link);
    lm_free(queue->bound);
  }
  queue->bound = NULL;
  lm_mutex_unlock(&sched->lock);
}

/* --- lists of READY jobs; all functions below are called with the lock held --- */

static void
sched_come_by(struct lm_sched *sched, int64_t time_ns)
{
  if (time_ns >= atomic_load(&sched->due_ns))
    return;
  atomic_store(&sched->due_ns, time_ns);
  atomic_store(&sched->sooner, true);
}

static void
sched_join_ring(struct lm_sched *sched, struct lm_queue *queue)
{
  sched->startable++;
  if (!lm_list_linked(&queue->ring))
    lm_list_push_back(&queue->function->ring, &queue->ring);
}

static void
sched_leave_ring_if_idle(struct lm_queue *queue)
{
  if (lm_list_linked(&queue->ring) && lm_list_empty(&queue->ready) && lm_list_empty(&queue->retry))
    lm_list_remove(&queue->ring);
}

static void
sched_make_ready(struct lm_sched *sched, struct lm_job *job)
{
  struct lm_queue *queue = lm_queue_of(job);
  struct lm_node *place = queue->ready.ends.prev;
  while (place != &queue->ready.ends &&
         LM_CONTAINER(place, struct lm_job, link)->first_item > job->first_item)
    place = place->prev;
  lm_list_insert_after(place, &job->link);
  sched_join_ring(sched, queue);
}

static void
sched_withdraw(struct lm_sched *sched, struct lm_queue *queue, struct lm_list *out)
{
  struct lm_list *waiting[] = {&queue->retry, &queue->ready};
  for (size_t i = 0; i < 2; i++)
    for (struct lm_node *node; (node = lm_list_pop_front(waiting[i])) != NULL;) {
      lm_list_push_back(out, node);
      sched->startable--;
      queue->unfinished--;
    }
  sched_leave_ring_if_idle(queue);
  for (size_t at = 0; queue->delayed > 0 && at < sched->delayed.count;) {
    struct lm_job *job = LM_CONTAINER(sched->delayed.items[at], struct lm_job, due);
    if (lm_queue_of(job) != queue) {
      at++;
      continue;
    }
    lm_heap_remove(&sched->delayed, &job->due);
    lm_list_push_back(out, &job->link);
    queue->delayed--;
    queue->unfinished--;
    at = 0; /* the heap was reordered */
  }
}

/* The map's deadline has passed. */
static void
sched_expire(struct lm_sched *sched, struct lm_queue *queue, struct lm_list *out)
{
  struct lm_list late;
  bool starved = queue->function->limiter.consecutive_429 > 0;
  lm_list_init(&late);
  sched_withdraw(sched, queue, &late);
  LM_LIST_EACH (&late, node) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    job->starved = starved && job->throttles > 0;
  }
  lm_list_splice(out, &late);
}

/* Whether the queue's bound allows one more attempt. */
static bool
sched_has_room(const struct lm_queue *queue)
{
  return queue->bound->in_flight < queue->bound->max;
}

/* --- the interface --- */

int
lm_sched_submit(struct lm_sched *sched, struct lm_job *job, bool *may_start, struct lm_error *err)
{
  struct lm_queue *queue = lm_queue_of(job);
  struct lm_function *function = queue->function;
  int result = 0;
  *may_start = false;
  lm_mutex_lock(&sched->lock);
  double mean = function->mean_reply_bytes * 1.5;
  size_t reply = mean > LM_MAX_REPLY_BYTES ? LM_MAX_REPLY_BYTES : (size_t)mean;
  size_t need = job->frame.len / 3 * 4 + reply;
  size_t used = atomic_load(&sched->used_bytes);
  bool fits = used <= sched->budget_bytes && need <= sched->budget_bytes - used;
  if (sched->closed) {
    result = lm_error_set(err, LM_E_CLOSED, "the dispatcher was shut down");
  } else if (!fits && queue->unfinished > 0) {
    result = lm_error_set(err, LM_E_FULL, "%zu of %zu bytes are in flight: take a completion first",
                          used, sched->budget_bytes);
  } else {
    lm_sched_charge(sched, job, need);
    if (queue->unfinished++ == 0)
      sched_come_by(sched, 0); /* the map's deadline may be the next one */
    sched_make_ready(sched, job);
    *may_start = sched_has_room(queue) && lm_limiter_has_room(&function->limiter);
  }
  lm_mutex_unlock(&sched->lock);
  return result;
}

/* The first queue of the ring whose bound has room and that does not wait for credentials, or NULL. */
static struct lm_queue *
sched_next_queue(struct lm_function *function)
{
  LM_LIST_EACH (&function->ring, node) {
    struct lm_queue *queue = LM_CONTAINER(node, struct lm_queue, ring);
    if (sched_has_room(queue) && atomic_load(&queue->renewal->wants) == LM_WANTS_NOTHING)
      return queue;
  }
  return NULL;
}

static struct lm_job *
sched_start_next_of(struct lm_sched *sched, struct lm_function *function, struct lm_queue *queue,
                    int64_t now_ns)
{
  lm_list_remove(&queue->ring);
  struct lm_node *node = lm_list_pop_front(&queue->retry);
  if (node == NULL)
    node = lm_list_pop_front(&queue->ready);
  if (!lm_list_empty(&queue->retry) || !lm_list_empty(&queue->ready))
    lm_list_push_back(&function->ring, &queue->ring);
  struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
  sched->startable--;
  queue->bound->in_flight++;
  lm_limiter_started(&function->limiter, now_ns);
  lm_rate_started(&function->rate, now_ns);
  if (queue->asked_ns == 0)
    queue->asked_ns = now_ns;
  job->attempts++;
  job->started_ns = now_ns;
  return job;
}

/* When the function's rate and limiter allow a start; now_ns or earlier: now. */
static int64_t
sched_may_start_ns(struct lm_function *function, int64_t now_ns)
{
  int64_t rate_ns = lm_rate_next_ns(&function->rate, now_ns);
  int64_t limiter_ns = lm_limiter_next_ns(&function->limiter);
  return rate_ns > limiter_ns ? rate_ns : limiter_ns;
}

/* With the lock held. */
static struct lm_job *
sched_next_job(struct lm_sched *sched, int64_t now_ns)
{
  if (atomic_load(&sched->startable) == 0 || sched->closed)
    return NULL;
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (lm_list_empty(&function->ring))
      continue;
    if (!lm_limiter_has_room(&function->limiter))
      continue;
    int64_t from_ns = sched_may_start_ns(function, now_ns);
    if (from_ns > now_ns) {
      sched_come_by(sched, from_ns);
      continue;
    }
    struct lm_queue *queue = sched_next_queue(function);
    if (queue == NULL)
      continue;
    struct lm_job *job = sched_start_next_of(sched, function, queue, now_ns);
    lm_list_remove(&function->link); /* the next call starts with another function */
    lm_list_push_back(&sched->functions, &function->link);
    return job;
  }
  return NULL;
}

static void
sched_move_mean(double *mean, double value)
{
  *mean = *mean == 0 ? value : *mean + MEAN_WEIGHT * (value - *mean);
}

/* Put the job into the heap. False: out of memory, the job must end. */
static bool
sched_delay(struct lm_sched *sched, struct lm_job *job, int64_t due_ns)
{
  if (lm_heap_set(&sched->delayed, &job->due, due_ns) != 0)
    return false;
  lm_queue_of(job)->delayed++;
  sched_come_by(sched, due_ns);
  return true;
}

static bool
sched_retry_later(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_queue *queue = lm_queue_of(job);
  if (!lm_outcome_retryable(&job->outcome, queue->batch.opts.idempotent) ||
      job->attempts >= queue->max_attempts)
    return false;
  enum lm_backoff kind =
      job->outcome.action == LM_DO_RETRY_SLOW ? LM_BACKOFF_THROTTLE : LM_BACKOFF_TRANSIENT;
  int64_t due = now_ns + lm_retry_delay_ns(&lm_periods.retry, kind, job->attempts, random,
                                           job->head.retry_after_ms);
  if (due >= queue->batch.deadline_ns || !lm_quota_take(&queue->function->quota))
    return false;
  atomic_fetch_add(&queue->batch.stats.retries, 1);
  lm_notes_add(&queue->batch.notes, LM_NOTE_RETRY, job, due - now_ns, now_ns - job->started_ns);
  return sched_delay(sched, job, due);
}

/* Put the job at the front of its queue; the attempt does not count. */
static void
sched_again_first(struct lm_sched *sched, struct lm_job *job)
{
  job->attempts--;
  struct lm_queue *queue = lm_queue_of(job);
  lm_list_push_front(&queue->retry, &job->link);
  sched_join_ring(sched, queue);
}

/* Delay the job until patience_ns after since_ns at most; the attempt does not count. False: patience or the
 * map's time has ended, or out of memory. */
static bool
sched_wait_for(struct lm_sched *sched, struct lm_job *job, int64_t since_ns, int64_t now_ns,
               int64_t delay_ns, int64_t patience_ns, enum lm_note_kind note)
{
  int64_t due = lm_retry_due_ns(since_ns, now_ns, delay_ns, patience_ns);
  bool again = due >= 0 && due < job->batch->deadline_ns;
  if (again)
    lm_notes_add(&job->batch->notes, note, job, due - now_ns, now_ns - job->started_ns);
  job->attempts--;
  return again && sched_delay(sched, job, due);
}

static bool
sched_poll_later(struct lm_sched *sched, struct lm_job *job, int64_t now_ns)
{
  if (job->polling_since_ns == 0)
    job->polling_since_ns = now_ns;
  int64_t wait = lm_retry_delay_ns(&lm_periods.retry, LM_BACKOFF_POLL, ++job->polls, 1,
                                   job->head.retry_after_ms);
  return sched_wait_for(sched, job, job->polling_since_ns, now_ns, wait,
                        lm_periods.retry.poll_patience_ns, LM_NOTE_POLL);
}

/* All chunks share one patience: it runs from when the function's endpoint became unreachable or, for a
 * map that started later, from the map's first attempt. */
static bool
sched_reconnect_later(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_queue *queue = lm_queue_of(job);
  int64_t since = queue->function->unreachable_ns;
  int64_t wait =
      lm_retry_delay_ns(&lm_periods.retry, LM_BACKOFF_CONNECT, ++job->reconnects, random, -1);
  bool again = sched_wait_for(sched, job, since > queue->asked_ns ? since : queue->asked_ns, now_ns,
                              wait, queue->connect_patience_ns, LM_NOTE_CONNECT);
  atomic_fetch_add(&queue->batch.stats.retries, again);
  return again;
}

static bool
sched_throttle(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_queue *queue = lm_queue_of(job);
  struct lm_function *function = queue->function;
  int64_t wait =
      lm_retry_delay_ns(&lm_periods.retry, LM_BACKOFF_THROTTLE,
                        function->limiter.consecutive_429 + 1, random, job->head.retry_after_ms);
  int64_t asked = job->head.retry_after_ms >= 0 ? wait : 0;
  if (job->outcome.action == LM_DO_SLOW_DOWN) {
    lm_limiter_refused(&function->limiter, now_ns, asked);
    lm_rate_throttled(&function->rate, job->started_ns, now_ns);
  } else {
    lm_limiter_throttled(&function->limiter, now_ns, wait, asked);
  }
  atomic_fetch_add(&queue->batch.stats.throttles, 1);
  lm_notes_add(&queue->batch.notes, LM_NOTE_THROTTLE, job, wait, now_ns - job->started_ns);
  job->throttles++;
  if (lm_limiter_exhausted(&function->limiter, queue->asked_ns, now_ns,
                           lm_periods.retry.throttle_patience_ns)) {
    job->attempts--;
    return false;
  }
  sched_again_first(sched, job);
  return true;
}

/* Request newer credentials: wake the threads that may renew them. */
static void
sched_want(struct lm_sched *sched, struct lm_renewal *renewal, enum lm_wants wants)
{
  if (atomic_load(&renewal->wants) >= (int)wants)
    return;
  atomic_store(&renewal->wants, (int)wants);
  LM_LIST_EACH (&sched->queues, node) {
    struct lm_queue *queue = LM_CONTAINER(node, struct lm_queue, known);
    if (queue->renewal == renewal)
      lm_completions_nudge(&queue->batch.completions);
  }
}

/* Signed with expired credentials: retry once there are others. */
static bool
sched_refresh(struct lm_sched *sched, struct lm_job *job)
{
  struct lm_queue *queue = lm_queue_of(job);
  struct lm_renewal *renewal = queue->renewal;
  if (job->signed_with == atomic_load(&renewal->generation)) {
    if (job->refreshes++ == MAX_REFRESHES)
      return false;
    sched_want(sched, renewal, LM_WANTS_OTHERS);
    if (job->signed_with != atomic_load(&renewal->generation)) /* they were set meanwhile */
      atomic_store(&renewal->wants, LM_WANTS_NOTHING);
  }
  lm_notes_add(&queue->batch.notes, LM_NOTE_REFRESH, job, 0, 0);
  sched_again_first(sched, job);
  return true;
}

/* Sign again at once, but only once. */
static bool
sched_resign(struct lm_sched *sched, struct lm_job *job, int64_t now_ns)
{
  if (job->resigns++ > 0)
    return false;
  lm_notes_add(&job->batch->notes, LM_NOTE_RESIGN, job, 0, now_ns - job->started_ns);
  sched_again_first(sched, job);
  return true;
}

/* With the lock held: whether the job is done. */
static bool
sched_finished(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_queue *queue = lm_queue_of(job);
  struct lm_function *function = queue->function;
  bool again = false;
  job->stops_map = false;
  if (job->outcome.failure != LM_FAIL_NONE && job->worst.ran <= job->outcome.ran) {
    job->worst.ran = job->outcome.ran;
    job->worst.failure = job->outcome.failure;
    job->worst.error = job->error;
  }
  job->took_ns = now_ns - job->started_ns;
  queue->bound->in_flight--;
  if (job->outcome.ran != LM_RAN_NOT || job->head.status != 0)
    function->unreachable_ns = 0;
  else if (job->outcome.action == LM_DO_RECONNECT && function->unreachable_ns == 0)
    function->unreachable_ns = job->started_ns;
  bool over = sched->closed || lm_batch_given_up(&queue->batch);
  bool throttled = job->outcome.action == LM_DO_THROTTLE || job->outcome.action == LM_DO_SLOW_DOWN;
  if (throttled && !over) {
    again = sched_throttle(sched, job, now_ns, random);
  } else {
    lm_limiter_finished(&function->limiter, job->head.status == 200, now_ns);
    if ((job->outcome.action == LM_DO_RETRY || job->outcome.action == LM_DO_RETRY_SLOW) && !over)
      again = sched_retry_later(sched, job, now_ns, random);
    else if (job->outcome.action == LM_DO_RECONNECT && !over)
      again = sched_reconnect_later(sched, job, now_ns, random);
    else if (job->outcome.action == LM_DO_POLL && !over)
      again = sched_poll_later(sched, job, now_ns);
    else if (job->outcome.action == LM_DO_REFRESH && !over)
      again = sched_refresh(sched, job);
    else if (job->outcome.action == LM_DO_RESIGN_OLD ||
             (job->outcome.action == LM_DO_RESIGN && job->clock_was_off))
      again = !over && sched_resign(sched, job, now_ns);
  }
  if (job->outcome.failure == LM_FAIL_NONE) {
    lm_rate_succeeded(&function->rate, now_ns);
    lm_quota_succeeded(&function->quota, job->attempts - 1);
    sched_move_mean(&function->mean_reply_bytes, (double)(job->reply.len + job->estimate_bytes));
  }
  if (!again) {
    if (job->outcome.failure != LM_FAIL_NONE && job->outcome.ran < job->worst.ran) {
      job->outcome.ran = job->worst.ran;
      job->outcome.failure = job->worst.failure;
      job->error = job->worst.error;
    }
    queue->unfinished--;
    lm_sched_charge(sched, job, job->body.len + job->reply.len + job->result.len);
    if (job->outcome.failure != LM_FAIL_NONE && (job->outcome.stops_map || throttled)) {
      job->stops_map = true;
      atomic_store(&queue->batch.stopped, true);
    }
  }
  return !again;
}

unsigned
lm_sched_exchange(struct lm_sched *sched, int64_t now_ns, double (*random)(void),
                  struct lm_list *ended, struct lm_list *done, unsigned max, struct lm_list *start)
{
  unsigned started = 0;
  lm_mutex_lock(&sched->lock);
  for (struct lm_node *node; (node = lm_list_pop_front(ended)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (sched_finished(sched, job, now_ns, job->outcome.action == LM_DO_DONE ? 0 : random()))
      lm_list_push_back(done, node);
  }
  for (struct lm_job *job; started < max && (job = sched_next_job(sched, now_ns)) != NULL;
       started++)
    lm_list_push_back(start, &job->link);
  lm_mutex_unlock(&sched->lock);
  return started;
}

void
lm_sched_withdraw(struct lm_sched *sched, struct lm_queue *queue, struct lm_list *out)
{
  lm_mutex_lock(&sched->lock);
  sched_withdraw(sched, queue, out);
  lm_mutex_unlock(&sched->lock);
}

int64_t
lm_sched_tick(struct lm_sched *sched, int64_t now_ns, struct lm_list *expired)
{
  int64_t next = LM_NEVER_NS;
  lm_mutex_lock(&sched->lock);
  for (struct lm_heap_item *item; (item = lm_heap_first(&sched->delayed)) != NULL;) {
    if (item->key > now_ns) {
      next = item->key;
      break;
    }
    struct lm_job *job = LM_CONTAINER(item, struct lm_job, due);
    lm_heap_remove(&sched->delayed, item);
    struct lm_queue *queue = lm_queue_of(job);
    queue->delayed--;
    lm_list_push_back(&queue->retry, &job->link);
    sched_join_ring(sched, queue);
  }
  int64_t wall_s = lm_seams.unix_s();
  LM_LIST_EACH (&sched->queues, node) {
    struct lm_queue *queue = LM_CONTAINER(node, struct lm_queue, known);
    int64_t refresh_s = atomic_load(&queue->renewal->refresh_s);
    if (refresh_s != 0 && queue->unfinished > 0) {
      if (refresh_s <= wall_s)
        sched_want(sched, queue->renewal, LM_WANTS_FRESH);
      else
        next = lm_deadline_earlier(next, lm_deadline_in(now_ns, (refresh_s - wall_s) * 1000));
    }
    if (queue->batch.deadline_ns == LM_NEVER_NS || queue->unfinished == 0)
      continue;
    if (queue->batch.deadline_ns <= now_ns)
      sched_expire(sched, queue, expired);
    else
      next = lm_deadline_earlier(next, queue->batch.deadline_ns);
  }
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (lm_list_empty(&function->ring))
      continue;
    int64_t from_ns = sched_may_start_ns(function, now_ns);
    if (from_ns > now_ns)
      next = lm_deadline_earlier(next, from_ns);
  }
  atomic_store(&sched->due_ns, next);
  lm_mutex_unlock(&sched->lock);
  return next;
}

void
lm_sched_look_again(struct lm_sched *sched)
{
  lm_mutex_lock(&sched->lock);
  sched_come_by(sched, 0);
  lm_mutex_unlock(&sched->lock);
}

int64_t
lm_sched_due(struct lm_sched *sched)
{
  return atomic_load(&sched->due_ns);
}

void
lm_sched_charge(struct lm_sched *sched, struct lm_job *job, size_t bytes)
{
  atomic_fetch_add(&sched->used_bytes, bytes - job->charged_bytes); /* modulo SIZE_MAX + 1 */
  job->charged_bytes = bytes;
}

bool
lm_sched_has_work(struct lm_sched *sched)
{
  return atomic_load(&sched->startable) > 0;
}

void
lm_sched_close(struct lm_sched *sched, struct lm_list *out)
{
  lm_mutex_lock(&sched->lock);
  sched->closed = true;
  LM_LIST_EACH (&sched->queues, node)
    sched_withdraw(sched, LM_CONTAINER(node, struct lm_queue, known), out);
  lm_mutex_unlock(&sched->lock);
}
