#include "net/sched.h"

#include <string.h>

#include "base/alloc.h"
#include "net/seams.h"
#include "policy/deadline.h"

static const size_t MAX_RESERVED_REPLY = 6 << 20;
static const unsigned MAX_REFRESHES = 2; /* of credentials, for one chunk */
static const double MEAN_WEIGHT = 0.1;

void
lm_sched_init(struct lm_sched *sched, size_t budget_bytes)
{
  memset(sched, 0, sizeof *sched);
  pthread_mutex_init(&sched->lock, NULL);
  lm_list_init(&sched->functions);
  lm_list_init(&sched->maps);
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
  pthread_mutex_destroy(&sched->lock);
}

static struct lm_function *
new_function(const char *key, unsigned cap, int64_t now_ns)
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
  pthread_mutex_lock(&sched->lock);
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (strcmp(function->key, key) == 0)
      found = function;
  }
  if (found != NULL) {
    lm_limiter_set_cap(&found->limiter, cap);
  } else if ((found = new_function(key, cap, now_ns)) != NULL) {
    lm_list_push_back(&sched->functions, &found->link);
  } else {
    lm_error_nomem(err, sizeof *found);
  }
  pthread_mutex_unlock(&sched->lock);
  return found;
}

unsigned
lm_sched_window(struct lm_sched *sched, struct lm_function *function)
{
  pthread_mutex_lock(&sched->lock);
  unsigned window = lm_limiter_window(&function->limiter);
  pthread_mutex_unlock(&sched->lock);
  return window;
}

/* With the lock held: the bound of this id, one more map's. NULL: no memory. */
static struct lm_bound *
share_bound(struct lm_sched *sched, const char *id, unsigned max)
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
lm_sched_add_map(struct lm_sched *sched, struct lm_map *map, const char *bound_id, unsigned max,
                 struct lm_error *err)
{
  pthread_mutex_lock(&sched->lock);
  map->bound = share_bound(sched, bound_id, max);
  if (map->bound != NULL)
    lm_list_push_back(&sched->maps, &map->known);
  pthread_mutex_unlock(&sched->lock);
  return map->bound != NULL ? 0 : lm_error_nomem(err, sizeof *map->bound);
}

void
lm_sched_remove_map(struct lm_sched *sched, struct lm_map *map)
{
  pthread_mutex_lock(&sched->lock);
  if (lm_list_linked(&map->known))
    lm_list_remove(&map->known);
  if (--map->bound->refs == 0) {
    lm_list_remove(&map->bound->link);
    lm_free(map->bound);
  }
  map->bound = NULL;
  pthread_mutex_unlock(&sched->lock);
}

/* --- lists of startable jobs; all below with the lock held --- */

static void
come_by(struct lm_sched *sched, int64_t time_ns)
{
  if (time_ns >= atomic_load(&sched->due_ns))
    return;
  atomic_store(&sched->due_ns, time_ns);
  atomic_store(&sched->sooner, true);
}

static void
join_ring(struct lm_sched *sched, struct lm_map *map)
{
  sched->startable++;
  if (!lm_list_linked(&map->ring))
    lm_list_push_back(&map->target->function->ring, &map->ring);
}

static void
leave_ring_if_idle(struct lm_map *map)
{
  if (lm_list_linked(&map->ring) && lm_list_empty(&map->ready) && lm_list_empty(&map->retry))
    lm_list_remove(&map->ring);
}

static void
make_ready(struct lm_sched *sched, struct lm_job *job)
{
  struct lm_node *place = job->map->ready.ends.prev;
  while (place != &job->map->ready.ends &&
         LM_CONTAINER(place, struct lm_job, link)->first_item > job->first_item)
    place = place->prev;
  lm_list_insert_after(place, &job->link);
  job->state = LM_READY;
  join_ring(sched, job->map);
}

static void
withdraw(struct lm_sched *sched, struct lm_map *map, struct lm_list *out)
{
  struct lm_list *waiting[] = {&map->retry, &map->ready};
  for (size_t i = 0; i < 2; i++)
    for (struct lm_node *node; (node = lm_list_pop_front(waiting[i])) != NULL;) {
      lm_list_push_back(out, node);
      sched->startable--;
      map->unfinished--;
    }
  leave_ring_if_idle(map);
  for (size_t at = 0; map->delayed > 0 && at < sched->delayed.count;) {
    struct lm_job *job = LM_CONTAINER(sched->delayed.items[at], struct lm_job, due);
    if (job->map != map) {
      at++;
      continue;
    }
    lm_heap_remove(&sched->delayed, &job->due);
    lm_list_push_back(out, &job->link);
    map->delayed--;
    map->unfinished--;
    at = 0; /* the heap has moved */
  }
}

/* The map's time is over. */
static void
expire(struct lm_sched *sched, struct lm_map *map, struct lm_list *out)
{
  struct lm_list late;
  bool starved = map->target->function->limiter.consecutive_429 > 0;
  lm_list_init(&late);
  withdraw(sched, map, &late);
  LM_LIST_EACH (&late, node) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    job->starved = starved && job->throttles > 0;
  }
  lm_list_splice(out, &late);
}

/* Whether the map's own bound lets one more start. */
static bool
has_room(const struct lm_map *map)
{
  return map->bound->in_flight < map->bound->max;
}

/* --- the interface --- */

int
lm_sched_submit(struct lm_sched *sched, struct lm_job *job, bool *may_start, struct lm_error *err)
{
  int result = 0;
  *may_start = false;
  pthread_mutex_lock(&sched->lock);
  double mean = job->map->target->function->mean_reply_bytes * 1.5;
  size_t reply = mean > (double)MAX_RESERVED_REPLY ? MAX_RESERVED_REPLY : (size_t)mean;
  size_t need = job->frame.len / 3 * 4 + reply;
  size_t used = atomic_load(&sched->used_bytes);
  bool fits = used <= sched->budget_bytes && need <= sched->budget_bytes - used;
  if (sched->closed) {
    result = lm_error_set(err, LM_E_CLOSED, "the dispatcher has been shut down");
  } else if (!fits && job->map->unfinished > 0) {
    result =
        lm_error_set(err, LM_E_FULL, "%zu of %zu bytes are in flight", used, sched->budget_bytes);
  } else {
    lm_sched_charge(sched, job, need);
    if (job->map->unfinished++ == 0)
      come_by(sched, 0); /* a deadline may come into sight */
    make_ready(sched, job);
    const struct lm_limiter *limiter = &job->map->target->function->limiter;
    *may_start = has_room(job->map) && limiter->in_flight < lm_limiter_window(limiter);
  }
  pthread_mutex_unlock(&sched->lock);
  return result;
}

/* The first map of the ring that may start one more and does not wait for credentials, or NULL. */
static struct lm_map *
next_map(struct lm_function *function)
{
  LM_LIST_EACH (&function->ring, node) {
    struct lm_map *map = LM_CONTAINER(node, struct lm_map, ring);
    if (has_room(map) && atomic_load(&map->target->wants) == LM_WANTS_NOTHING)
      return map;
  }
  return NULL;
}

static struct lm_job *
next_of(struct lm_sched *sched, struct lm_function *function, struct lm_map *map, int64_t now_ns)
{
  lm_list_remove(&map->ring);
  struct lm_node *node = lm_list_pop_front(&map->retry);
  if (node == NULL)
    node = lm_list_pop_front(&map->ready);
  if (!lm_list_empty(&map->retry) || !lm_list_empty(&map->ready))
    lm_list_push_back(&function->ring, &map->ring);
  struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
  sched->startable--;
  map->bound->in_flight++;
  lm_limiter_started(&function->limiter, now_ns);
  lm_rate_started(&function->rate, now_ns);
  if (map->asked_ns == 0)
    map->asked_ns = now_ns;
  job->attempts++;
  job->started_ns = now_ns;
  return job;
}

/* When the function's limits of time allow a start; not later than now: now. */
static int64_t
may_start_ns(struct lm_function *function, int64_t now_ns)
{
  int64_t rate_ns = lm_rate_next_ns(&function->rate, now_ns);
  return rate_ns > function->limiter.not_before_ns ? rate_ns : function->limiter.not_before_ns;
}

/* With the lock held. */
static struct lm_job *
next_job(struct lm_sched *sched, int64_t now_ns)
{
  if (atomic_load(&sched->startable) == 0 || sched->closed)
    return NULL;
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (lm_list_empty(&function->ring))
      continue;
    if (function->limiter.in_flight >= lm_limiter_window(&function->limiter))
      continue;
    int64_t from_ns = may_start_ns(function, now_ns);
    struct lm_map *map = next_map(function);
    if (from_ns > now_ns)
      come_by(sched, from_ns);
    if (from_ns > now_ns || map == NULL)
      continue;
    struct lm_job *job = next_of(sched, function, map, now_ns);
    lm_list_remove(&function->link); /* the next call begins with another function */
    lm_list_push_back(&sched->functions, &function->link);
    return job;
  }
  return NULL;
}

struct lm_job *
lm_sched_next(struct lm_sched *sched, int64_t now_ns)
{
  pthread_mutex_lock(&sched->lock);
  struct lm_job *job = next_job(sched, now_ns);
  pthread_mutex_unlock(&sched->lock);
  return job;
}

static void
move_mean(double *mean, double value)
{
  *mean = *mean == 0 ? value : *mean + MEAN_WEIGHT * (value - *mean);
}

/* Put the job into the heap for later. False: no memory, it must end here. */
static bool
delay(struct lm_sched *sched, struct lm_job *job, int64_t due_ns)
{
  if (lm_heap_set(&sched->delayed, &job->due, due_ns) != 0)
    return false;
  job->state = LM_DELAYED;
  job->map->delayed++;
  come_by(sched, due_ns);
  return true;
}

static bool
retry_later(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_map *map = job->map;
  if (!lm_outcome_retryable(&job->outcome, map->opts.idempotent) ||
      job->attempts >= map->target->max_attempts)
    return false;
  enum lm_backoff kind =
      job->outcome.action == LM_DO_RETRY_SLOW ? LM_BACKOFF_THROTTLE : LM_BACKOFF_TRANSIENT;
  int64_t due = now_ns + lm_retry_delay_ns(&lm_periods.retry, kind, job->attempts, random,
                                           job->head.retry_after_ms);
  if (due >= map->deadline_ns || !lm_quota_take(&map->target->function->quota))
    return false;
  atomic_fetch_add(&map->stats.retries, 1);
  lm_notes_add(&map->notes, LM_NOTE_RETRY, job, due - now_ns, now_ns - job->started_ns);
  return delay(sched, job, due);
}

/* Back to the front of its map, the attempt not counted. */
static void
again_first(struct lm_sched *sched, struct lm_job *job)
{
  job->attempts--;
  lm_list_push_front(&job->map->retry, &job->link);
  job->state = LM_READY;
  join_ring(sched, job->map);
}

/* Tried again, the attempt not counted, while patience lasts that began at since_ns. */
static bool
wait_for(struct lm_sched *sched, struct lm_job *job, int64_t since_ns, int64_t now_ns,
         int64_t delay_ns, int64_t patience_ns, enum lm_note_kind note)
{
  int64_t due = lm_retry_due_ns(since_ns, now_ns, delay_ns, patience_ns);
  bool again = due >= 0 && due < job->map->deadline_ns;
  if (again)
    lm_notes_add(&job->map->notes, note, job, due - now_ns, now_ns - job->started_ns);
  job->attempts--;
  return again && delay(sched, job, due);
}

static bool
poll_later(struct lm_sched *sched, struct lm_job *job, int64_t now_ns)
{
  if (job->polling_since_ns == 0)
    job->polling_since_ns = now_ns;
  int64_t wait = lm_retry_delay_ns(&lm_periods.retry, LM_BACKOFF_POLL, ++job->polls, 1,
                                   job->head.retry_after_ms);
  return wait_for(sched, job, job->polling_since_ns, now_ns, wait,
                  lm_periods.retry.poll_patience_ns, LM_NOTE_POLL);
}

/* The patience is that of all chunks together: it runs from when the function's endpoint was last
 * reached, and for a map that came later, from when it first asked. */
static bool
reconnect_later(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_map *map = job->map;
  int64_t since = map->target->function->unreachable_ns;
  int64_t wait =
      lm_retry_delay_ns(&lm_periods.retry, LM_BACKOFF_CONNECT, ++job->reconnects, random, -1);
  bool again = wait_for(sched, job, since > map->asked_ns ? since : map->asked_ns, now_ns, wait,
                        map->target->connect_patience_ns, LM_NOTE_CONNECT);
  atomic_fetch_add(&map->stats.retries, again);
  return again;
}

static bool
throttle(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_map *map = job->map;
  struct lm_function *function = map->target->function;
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
  atomic_fetch_add(&map->stats.throttles, 1);
  lm_notes_add(&map->notes, LM_NOTE_THROTTLE, job, wait, now_ns - job->started_ns);
  job->throttles++;
  if (lm_limiter_exhausted(&function->limiter, map->asked_ns, now_ns,
                           lm_periods.retry.throttle_patience_ns)) {
    job->attempts--;
    return false;
  }
  again_first(sched, job);
  return true;
}

/* Newer credentials are wanted for this target: wake whoever may bring them. */
static void
want(struct lm_sched *sched, struct lm_target *target, enum lm_wants wants)
{
  if (atomic_load(&target->wants) >= (int)wants)
    return;
  atomic_store(&target->wants, (int)wants);
  LM_LIST_EACH (&sched->maps, node) {
    struct lm_map *map = LM_CONTAINER(node, struct lm_map, known);
    if (map->target == target)
      lm_map_nudge(map);
  }
}

/* Signed with credentials that have expired: again when there are others. */
static bool
refresh(struct lm_sched *sched, struct lm_job *job)
{
  struct lm_target *target = job->map->target;
  if (job->signed_with == atomic_load(&target->generation)) {
    if (job->refreshes++ == MAX_REFRESHES)
      return false;
    want(sched, target, LM_WANTS_OTHERS);
    if (job->signed_with != atomic_load(&target->generation)) /* they came just now */
      atomic_store(&target->wants, LM_WANTS_NOTHING);
  }
  lm_notes_add(&job->map->notes, LM_NOTE_REFRESH, job, 0, 0);
  again_first(sched, job);
  return true;
}

/* Signed again at once, but not twice. */
static bool
resign(struct lm_sched *sched, struct lm_job *job, int64_t now_ns)
{
  if (job->resigns++ > 0)
    return false;
  lm_notes_add(&job->map->notes, LM_NOTE_RESIGN, job, 0, now_ns - job->started_ns);
  again_first(sched, job);
  return true;
}

/* With the lock held: whether the job is done. */
static bool
finished(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random)
{
  struct lm_map *map = job->map;
  struct lm_function *function = map->target->function;
  bool again = false;
  job->stops_map = false;
  if (job->outcome.failure != LM_FAIL_NONE && job->worst.ran <= job->outcome.ran) {
    job->worst.ran = job->outcome.ran;
    job->worst.failure = job->outcome.failure;
    job->worst.error = job->error;
  }
  job->took_ns = now_ns - job->started_ns;
  map->bound->in_flight--;
  if (job->outcome.ran != LM_RAN_NOT || job->head.status != 0)
    function->unreachable_ns = 0;
  else if (job->outcome.action == LM_DO_RECONNECT && function->unreachable_ns == 0)
    function->unreachable_ns = job->started_ns;
  bool over = sched->closed || atomic_load(&map->stopped) || atomic_load(&map->cancelled);
  bool throttled = job->outcome.action == LM_DO_THROTTLE || job->outcome.action == LM_DO_SLOW_DOWN;
  if (throttled && !over) {
    again = throttle(sched, job, now_ns, random);
  } else {
    lm_limiter_finished(&function->limiter, job->head.status == 200, now_ns);
    if ((job->outcome.action == LM_DO_RETRY || job->outcome.action == LM_DO_RETRY_SLOW) && !over)
      again = retry_later(sched, job, now_ns, random);
    else if (job->outcome.action == LM_DO_RECONNECT && !over)
      again = reconnect_later(sched, job, now_ns, random);
    else if (job->outcome.action == LM_DO_POLL && !over)
      again = poll_later(sched, job, now_ns);
    else if (job->outcome.action == LM_DO_REFRESH && !over)
      again = refresh(sched, job);
    else if (job->outcome.action == LM_DO_RESIGN_OLD ||
             (job->outcome.action == LM_DO_RESIGN && job->clock_was_off))
      again = !over && resign(sched, job, now_ns);
  }
  if (job->outcome.failure == LM_FAIL_NONE) {
    lm_rate_succeeded(&function->rate, now_ns);
    lm_quota_succeeded(&function->quota, job->attempts - 1);
    move_mean(&function->mean_reply_bytes, (double)(job->reply.len + job->estimate_bytes));
    move_mean(&function->mean_latency_ns, (double)(now_ns - job->started_ns));
  }
  if (!again) {
    if (job->outcome.failure != LM_FAIL_NONE && job->outcome.ran < job->worst.ran) {
      job->outcome.ran = job->worst.ran;
      job->outcome.failure = job->worst.failure;
      job->error = job->worst.error;
    }
    map->unfinished--;
    lm_sched_charge(sched, job, job->body.len + job->reply.len + job->result.len);
    if (job->outcome.failure != LM_FAIL_NONE && (job->outcome.stops_map || throttled)) {
      job->stops_map = true;
      atomic_store(&map->stopped, true);
    }
  }
  return !again;
}

bool
lm_sched_finished(struct lm_sched *sched, struct lm_job *job, int64_t now_ns, double random,
                  bool *stop)
{
  pthread_mutex_lock(&sched->lock);
  bool done = finished(sched, job, now_ns, random);
  *stop = job->stops_map;
  pthread_mutex_unlock(&sched->lock);
  return done;
}

unsigned
lm_sched_exchange(struct lm_sched *sched, int64_t now_ns, double (*random)(void),
                  struct lm_list *ended, struct lm_list *done, unsigned max, struct lm_list *start)
{
  unsigned started = 0;
  pthread_mutex_lock(&sched->lock);
  for (struct lm_node *node; (node = lm_list_pop_front(ended)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (finished(sched, job, now_ns, job->outcome.action == LM_DO_DONE ? 0 : random()))
      lm_list_push_back(done, node);
  }
  for (struct lm_job *job; started < max && (job = next_job(sched, now_ns)) != NULL; started++)
    lm_list_push_back(start, &job->link);
  pthread_mutex_unlock(&sched->lock);
  return started;
}

void
lm_sched_withdraw(struct lm_sched *sched, struct lm_map *map, struct lm_list *out)
{
  pthread_mutex_lock(&sched->lock);
  withdraw(sched, map, out);
  pthread_mutex_unlock(&sched->lock);
}

int64_t
lm_sched_tick(struct lm_sched *sched, int64_t now_ns, struct lm_list *expired)
{
  int64_t next = LM_NEVER_NS;
  pthread_mutex_lock(&sched->lock);
  for (struct lm_heap_item *item; (item = lm_heap_first(&sched->delayed)) != NULL;) {
    if (item->key > now_ns) {
      next = item->key;
      break;
    }
    struct lm_job *job = LM_CONTAINER(item, struct lm_job, due);
    lm_heap_remove(&sched->delayed, item);
    job->map->delayed--;
    lm_list_push_back(&job->map->retry, &job->link);
    job->state = LM_READY;
    join_ring(sched, job->map);
  }
  int64_t wall_s = lm_seams.unix_s();
  LM_LIST_EACH (&sched->maps, node) {
    struct lm_map *map = LM_CONTAINER(node, struct lm_map, known);
    int64_t refresh_s = atomic_load(&map->target->refresh_s);
    if (refresh_s != 0 && map->unfinished > 0) {
      if (refresh_s <= wall_s)
        want(sched, map->target, LM_WANTS_FRESH);
      else
        next = lm_deadline_earlier(next, lm_deadline_in(now_ns, (refresh_s - wall_s) * 1000));
    }
    if (map->deadline_ns == LM_NEVER_NS || map->unfinished == 0)
      continue;
    if (map->deadline_ns <= now_ns)
      expire(sched, map, expired);
    else
      next = lm_deadline_earlier(next, map->deadline_ns);
  }
  LM_LIST_EACH (&sched->functions, node) {
    struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (lm_list_empty(&function->ring))
      continue;
    int64_t from_ns = may_start_ns(function, now_ns);
    if (from_ns > now_ns)
      next = lm_deadline_earlier(next, from_ns);
  }
  atomic_store(&sched->due_ns, next);
  pthread_mutex_unlock(&sched->lock);
  return next;
}

void
lm_sched_look_again(struct lm_sched *sched)
{
  pthread_mutex_lock(&sched->lock);
  come_by(sched, 0);
  pthread_mutex_unlock(&sched->lock);
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
  pthread_mutex_lock(&sched->lock);
  sched->closed = true;
  LM_LIST_EACH (&sched->maps, node)
    withdraw(sched, LM_CONTAINER(node, struct lm_map, known), out);
  pthread_mutex_unlock(&sched->lock);
}
