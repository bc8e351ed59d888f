/* The scheduler alone, with a simulated clock: order, fairness, budget, retries, 429. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "check.h"
#include "os/seams.h"
#include "policy/deadline.h"
#include "sched/sched.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

struct bench {
  struct lm_sched sched;
  struct lm_renewal renewal;
  struct lm_function *function;
  struct lm_list expired; /* jobs that ticks have expired */
};

static void
set_up(struct bench *bench, unsigned cap, size_t budget)
{
  struct lm_error err;
  memset(bench, 0, sizeof *bench);
  lm_list_init(&bench->expired);
  lm_sched_init(&bench->sched, budget);
  bench->function = lm_sched_function(&bench->sched, "f", cap, 0, &err);
  CHECK(bench->function != NULL);
}

static void
never(struct lm_batch *batch)
{
  (void)batch;
  CHECK(!"the test holds a reference to each map");
}

static void
open_bounded(struct bench *bench, struct lm_queue *map, const char *bound_id, unsigned max)
{
  static const struct lm_batch_opts opts = {
      .timeout_ms = -1, .max_reply_bytes = 1 << 20, .max_result_bytes = 1 << 20};
  struct lm_error err;
  memset(map, 0, sizeof *map);
  CHECK(lm_batch_init(&map->batch, &opts, &err) == 0);
  map->batch.destroy = never;
  map->function = bench->function;
  map->renewal = &bench->renewal;
  map->max_attempts = 3;
  map->connect_patience_ns = 15 * SECOND;
  CHECK(lm_sched_add_queue(&bench->sched, map, bound_id, max, &err) == 0);
}

static void
open_map(struct bench *bench, struct lm_queue *map)
{
  open_bounded(bench, map, "", 100000);
}

static int
submit(struct bench *bench, struct lm_queue *map, uint64_t first, size_t bytes)
{
  struct lm_buf frame;
  struct lm_error err;
  lm_buf_init(&frame, 1 << 20);
  for (size_t i = 0; i < bytes; i++)
    lm_buf_byte(&frame, 'x');
  struct lm_job *job = lm_batch_new_job(&map->batch, &frame, first, 1);
  CHECK(job != NULL);
  bool may_start;
  if (lm_sched_submit(&bench->sched, job, &may_start, &err) == 0)
    return 0;
  CHECK(err.code == LM_E_FULL);
  lm_batch_free_job(job);
  return -1;
}

/* n jobs of 10 bytes, numbered from 0. */
static void
submit_each(struct bench *bench, struct lm_queue *map, uint64_t n)
{
  for (uint64_t i = 0; i < n; i++)
    CHECK(submit(bench, map, i, 10) == 0);
}

static double
half(void)
{
  return 0.5;
}

/* The next job to start, or NULL. */
static struct lm_job *
next(struct bench *bench, int64_t now)
{
  struct lm_list none, start;
  lm_list_init(&none);
  lm_list_init(&start);
  unsigned n = lm_sched_exchange(&bench->sched, now, half, &none, &none, 1, &start);
  struct lm_node *node = lm_list_pop_front(&start);
  CHECK(n == (node != NULL) && lm_list_empty(&start) && lm_list_empty(&none));
  return node == NULL ? NULL : LM_CONTAINER(node, struct lm_job, link);
}

/* Whether the job is done. */
static bool
end(struct bench *bench, struct lm_job *job, int status, struct lm_outcome outcome, int64_t now)
{
  struct lm_list ended, done;
  job->head.status = status;
  job->head.retry_after_ms = -1;
  job->outcome = outcome;
  lm_list_init(&ended);
  lm_list_init(&done);
  lm_list_push_back(&ended, &job->link);
  CHECK(lm_sched_exchange(&bench->sched, now, half, &ended, &done, 0, NULL) == 0);
  CHECK(lm_list_empty(&ended));
  return lm_list_pop_front(&done) == &job->link;
}

static const struct lm_outcome GOOD = {LM_RAN_YES, LM_FAIL_NONE, LM_DO_DONE, false};
static const struct lm_outcome LOST = {LM_RAN_MAYBE, LM_FAIL_CONNECTION_LOST, LM_DO_RETRY, false};
static const struct lm_outcome REFUSED = {LM_RAN_NOT, LM_FAIL_CONNECT, LM_DO_RECONNECT, false};
static const struct lm_outcome FAILED = {LM_RAN_NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false};
static const struct lm_outcome PENDING = {LM_RAN_NOT, LM_FAIL_SERVICE, LM_DO_POLL, true};
static const struct lm_outcome TOO_FAST = {LM_RAN_NOT, LM_FAIL_THROTTLED, LM_DO_SLOW_DOWN, false};
static const struct lm_outcome EXPIRED = {LM_RAN_NOT, LM_FAIL_ACCESS_DENIED, LM_DO_REFRESH, true};
static const struct lm_outcome UNSIGNED = {LM_RAN_NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true};
static const struct lm_outcome TOO_OLD = {LM_RAN_NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN_OLD,
                                          true};
static const struct lm_outcome FULL = {LM_RAN_NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false};

static void
let_go(struct bench *bench, struct lm_job *job)
{
  lm_sched_charge(&bench->sched, job, 0);
  lm_batch_free_job(job);
}

static void
drop(struct bench *bench, struct lm_queue *map)
{
  struct lm_list left;
  lm_list_init(&left);
  lm_sched_withdraw(&bench->sched, map, &left);
  for (struct lm_node *node; (node = lm_list_pop_front(&left)) != NULL;)
    let_go(bench, LM_CONTAINER(node, struct lm_job, link));
  lm_sched_remove_queue(&bench->sched, map);
  CHECK(map->batch.refs == 1); /* the test's */
  lm_batch_clean_up(&map->batch);
}

static void
tear_down(struct bench *bench)
{
  CHECK(bench->sched.used_bytes == 0 && bench->sched.startable == 0);
  lm_sched_clean_up(&bench->sched);
  CHECK(lm_alloc_live() == 0);
}

/* Chunks start by first item, in whatever order they were submitted: halves of a split come first. */
static void
order(void)
{
  struct bench bench;
  struct lm_queue map;
  static const uint64_t given[] = {0, 10, 20, 30, 5, 25}, wanted[] = {0, 5, 10, 20, 25, 30};
  set_up(&bench, 100, 1 << 20);
  open_map(&bench, &map);
  for (int i = 0; i < 6; i++)
    CHECK(submit(&bench, &map, given[i], 10) == 0);
  for (int i = 0; i < 6; i++) {
    struct lm_job *job = next(&bench, 0);
    CHECK(job != NULL && job->first_item == wanted[i] && job->attempts == 1);
    CHECK(end(&bench, job, 200, GOOD, 1));
    let_go(&bench, job);
  }
  CHECK(next(&bench, 0) == NULL);
  drop(&bench, &map);
  tear_down(&bench);
}

/* A short map beside a long one gets every second slot. */
static void
fairness(void)
{
  struct bench bench;
  struct lm_queue longer, shorter;
  set_up(&bench, 4, 1 << 24);
  open_map(&bench, &longer);
  open_map(&bench, &shorter);
  submit_each(&bench, &longer, 1000);
  submit_each(&bench, &shorter, 10);
  unsigned started = 0, of_shorter = 0;
  while (of_shorter < 10) {
    struct lm_job *job = next(&bench, 0);
    CHECK(job != NULL && started++ < 25);
    of_shorter += job->batch == &shorter.batch;
    CHECK(end(&bench, job, 200, GOOD, 1));
    let_go(&bench, job);
  }
  drop(&bench, &longer);
  drop(&bench, &shorter);
  tear_down(&bench);
}

/* The window limits what is in flight; the budget limits what is queued, but not a map's only chunk. */
static void
bounds(void)
{
  struct bench bench;
  struct lm_queue map, other;
  struct lm_job *jobs[3];
  set_up(&bench, 2, 3000);
  open_map(&bench, &map);
  open_map(&bench, &other);
  CHECK(submit(&bench, &map, 0, 900) == 0 && submit(&bench, &map, 1, 900) == 0);
  CHECK(submit(&bench, &map, 2, 900) == -1);
  CHECK(submit(&bench, &other, 0, 100000) == 0); /* its only one */
  CHECK(submit(&bench, &other, 1, 1) == -1);
  jobs[0] = next(&bench, 0);
  jobs[1] = next(&bench, 0);
  CHECK(jobs[0] != NULL && jobs[1] != NULL && jobs[0]->batch != jobs[1]->batch);
  CHECK(next(&bench, 0) == NULL && bench.sched.startable == 1);
  CHECK(end(&bench, jobs[0], 200, GOOD, 1));
  jobs[2] = next(&bench, 0);
  CHECK(jobs[2] != NULL);
  for (int i = 1; i < 3; i++)
    CHECK(end(&bench, jobs[i], 200, GOOD, 1));
  for (int i = 0; i < 3; i++)
    let_go(&bench, jobs[i]);
  drop(&bench, &map);
  drop(&bench, &other);
  tear_down(&bench);
}

static void
retries(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 8, 1 << 20);
  open_map(&bench, &map);
  CHECK(submit(&bench, &map, 0, 10) == 0);
  struct lm_job *job = next(&bench, 0);
  CHECK(!end(&bench, job, 500, FAILED, 0)); /* 25 ms: half of 50 */
  CHECK(next(&bench, 0) == NULL);
  CHECK(lm_sched_tick(&bench.sched, 0, &bench.expired) == 25 * MS);
  lm_sched_tick(&bench.sched, 25 * MS, &bench.expired);
  job = next(&bench, 25 * MS);
  CHECK(job != NULL && job->attempts == 2);
  CHECK(end(&bench, job, 0, LOST, 30 * MS)); /* MAYBE is not retried */
  CHECK(job->outcome.ran == LM_RAN_MAYBE);
  let_go(&bench, job);

  map.batch.opts.idempotent = true;
  CHECK(submit(&bench, &map, 1, 10) == 0);
  job = next(&bench, 0);
  CHECK(!end(&bench, job, 0, LOST, 0));
  lm_sched_tick(&bench.sched, SECOND, &bench.expired);
  job = next(&bench, SECOND);
  CHECK(!end(&bench, job, 500, FAILED, SECOND));
  lm_sched_tick(&bench.sched, 3 * SECOND, &bench.expired);
  job = next(&bench, 3 * SECOND);
  CHECK(end(&bench, job, 500, FAILED, 3 * SECOND) && job->attempts == 3);
  CHECK(job->outcome.ran == LM_RAN_MAYBE); /* the first attempt may have run */
  let_go(&bench, job);
  CHECK(lm_list_empty(&bench.expired));
  drop(&bench, &map);
  tear_down(&bench);
}

static void
throttling(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 8, 1 << 20);
  open_map(&bench, &map);
  CHECK(submit(&bench, &map, 0, 10) == 0 && submit(&bench, &map, 1, 10) == 0);
  int64_t now = 0;
  unsigned tries = 0;
  for (; now < 30 * SECOND; now += 10 * MS) { /* 30 s of 429s count as no attempt */
    lm_sched_tick(&bench.sched, now, &bench.expired);
    struct lm_job *job = next(&bench, now);
    if (job == NULL)
      continue;
    tries++;
    CHECK(job->first_item == 0); /* it goes back to the front */
    CHECK(!end(&bench, job, 429, FULL, now));
    CHECK(job->attempts == 0);
  }
  CHECK(tries > 3 && tries < 60);
  for (;; now += 10 * MS) {
    struct lm_job *job = next(&bench, now);
    if (job == NULL)
      continue;
    CHECK(job->first_item == 0 && job->attempts == 1);
    CHECK(end(&bench, job, 200, GOOD, now));
    let_go(&bench, job);
    break;
  }
  bool stop = false;
  int64_t since = now;
  for (; !stop; now += 10 * MS) { /* nothing accepted for 60 s: the map gives up, once */
    struct lm_job *job = next(&bench, now);
    CHECK(now < since + 120 * SECOND);
    if (job == NULL)
      continue;
    if (end(&bench, job, 429, FULL, now)) {
      stop = job->stops_map;
      let_go(&bench, job);
    }
  }
  CHECK(now > since + 59 * SECOND && map.batch.stopped);
  drop(&bench, &map);
  tear_down(&bench);
}

static void
deadline(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 1, 1 << 20);
  open_map(&bench, &map);
  map.batch.deadline_ns = 100 * MS;
  submit_each(&bench, &map, 3);
  struct lm_job *running = next(&bench, 0);
  CHECK(lm_sched_tick(&bench.sched, 50 * MS, &bench.expired) == 100 * MS &&
        lm_list_empty(&bench.expired));
  lm_sched_tick(&bench.sched, 100 * MS, &bench.expired);
  unsigned n = 0;
  for (struct lm_node *node; (node = lm_list_pop_front(&bench.expired)) != NULL; n++)
    let_go(&bench, LM_CONTAINER(node, struct lm_job, link));
  CHECK(n == 2 && map.unfinished == 1);
  CHECK(end(&bench, running, 0, REFUSED, 101 * MS)); /* no retry beyond the deadline */
  let_go(&bench, running);
  drop(&bench, &map);
  tear_down(&bench);
}

/* 500 / 14: an endpoint that always fails gets 35 retries, however many chunks there are. */
static void
quota(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 1000, 1 << 20);
  open_map(&bench, &map);
  submit_each(&bench, &map, 100);
  unsigned sent = 0, done = 0;
  for (int64_t now = 0; done < 100; now += SECOND) {
    lm_sched_tick(&bench.sched, now, &bench.expired);
    for (struct lm_job *job; (job = next(&bench, now)) != NULL; sent++)
      if (end(&bench, job, 500, FAILED, now)) {
        done++;
        let_go(&bench, job);
      }
  }
  CHECK(sent == 100 + 35);
  CHECK(map.batch.stats.retries == 35);
  drop(&bench, &map);
  tear_down(&bench);
}

/* 409: after 1, 2, 4 and then every 5 s, without jitter and without counting as attempts, for 300 s. */
static void
polling(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 8, 1 << 20);
  open_map(&bench, &map);
  CHECK(submit(&bench, &map, 0, 10) == 0);
  struct lm_job *job = NULL;
  int64_t now = SECOND; /* 0 would mean that nothing was started */
  for (int64_t wait = SECOND;; now += wait, wait = wait < 4 * SECOND ? 2 * wait : 5 * SECOND) {
    if (now > 301 * SECOND)
      now = 301 * SECOND; /* the last one is when the patience ends */
    lm_sched_tick(&bench.sched, now - 1, &bench.expired);
    CHECK(now == SECOND || next(&bench, now - 1) == NULL);
    lm_sched_tick(&bench.sched, now, &bench.expired);
    job = next(&bench, now);
    CHECK(job != NULL && job->attempts == 1);
    if (end(&bench, job, 409, PENDING, now))
      break;
  }
  CHECK(now == 301 * SECOND && job->attempts == 0);
  CHECK(map.batch.stopped);
  let_go(&bench, job);
  drop(&bench, &map);
  tear_down(&bench);
}

/* A 429 because of the rate leaves the window unchanged and spaces the starts. */
static void
slowing_down(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 100, 1 << 20);
  open_map(&bench, &map);
  submit_each(&bench, &map, 200);
  unsigned accepted = 0, refused = 0, window = lm_sched_window(&bench.sched, bench.function);
  int64_t now = 0, open_again = 0;
  for (; accepted < 200 && now < 120 * SECOND; now += 5 * MS) {
    lm_sched_tick(&bench.sched, now, &bench.expired);
    for (struct lm_job *job; (job = next(&bench, now)) != NULL;) {
      bool room = now >= open_again; /* the service accepts one per 50 ms */
      if (room)
        open_again = now + 50 * MS;
      accepted += room;
      refused += !room;
      CHECK(end(&bench, job, room ? 200 : 429, room ? GOOD : TOO_FAST, now) == room);
      if (room)
        let_go(&bench, job);
      else
        CHECK(job->attempts == 0);
    }
  }
  CHECK(accepted == 200 && refused > 0 && refused < 400);
  CHECK(now > 9 * SECOND && now < 60 * SECOND); /* 200 at 20 per second */
  CHECK(lm_sched_window(&bench.sched, bench.function) == window);
  drop(&bench, &map);
  tear_down(&bench);
}

static int64_t wall_s;

static int64_t
test_wall(void)
{
  return wall_s;
}

/* Expired credentials delay their target's jobs until there are newer ones; a job that was in flight with the
 * old ones does not request them again. */
static void
credentials(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 8, 1 << 20);
  open_map(&bench, &map);
  submit_each(&bench, &map, 3);
  struct lm_job *first = next(&bench, 0), *second = next(&bench, 0);
  CHECK(!end(&bench, first, 403, EXPIRED, 0));
  CHECK(bench.renewal.wants == LM_WANTS_OTHERS && map.batch.completions.rung);
  CHECK(lm_completions_take(&map.batch.completions) == NULL && !map.batch.completions.rung);
  CHECK(next(&bench, 0) == NULL && bench.sched.startable == 2);
  bench.renewal.generation = 1; /* as lm_target_set_credentials does */
  bench.renewal.wants = LM_WANTS_NOTHING;
  CHECK(!end(&bench, second, 403, EXPIRED, 0));
  CHECK(bench.renewal.wants == LM_WANTS_NOTHING && !map.batch.completions.rung);
  for (unsigned i = 0; i < 3; i++) {
    struct lm_job *job = next(&bench, 0);
    CHECK(job != NULL && job->attempts == 1);
    CHECK(end(&bench, job, 200, GOOD, 1));
    let_go(&bench, job);
  }
  /* The new ones are refused, too: reported after the third time. */
  CHECK(submit(&bench, &map, 3, 10) == 0);
  for (unsigned i = 0;; i++) {
    struct lm_job *job = next(&bench, 0);
    job->signed_with = bench.renewal.generation;
    if (end(&bench, job, 403, EXPIRED, 0)) {
      CHECK(i == 2 && map.batch.stopped);
      let_go(&bench, job);
      break;
    }
    bench.renewal.generation++;
    bench.renewal.wants = LM_WANTS_NOTHING;
  }
  /* Before credentials expire, newer ones are requested by the clock. */
  int64_t (*real_wall)(void) = lm_seams.unix_s;
  lm_seams.unix_s = test_wall;
  map.batch.stopped = false;
  bench.renewal.refresh_s = 1000;
  wall_s = 990;
  CHECK(submit(&bench, &map, 4, 10) == 0);
  CHECK(lm_sched_tick(&bench.sched, 5 * SECOND, &bench.expired) == 15 * SECOND);
  CHECK(bench.renewal.wants == LM_WANTS_NOTHING);
  wall_s = 1000;
  lm_sched_tick(&bench.sched, 15 * SECOND, &bench.expired);
  CHECK(bench.renewal.wants == LM_WANTS_FRESH && next(&bench, 15 * SECOND) == NULL);
  lm_seams.unix_s = real_wall;
  drop(&bench, &map);
  tear_down(&bench);
}

/* A refused signature is retried once, and only if our clock was wrong. */
static void
signatures(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 8, 1 << 20);
  open_map(&bench, &map);
  CHECK(submit(&bench, &map, 0, 10) == 0);
  struct lm_job *job = next(&bench, 0);
  job->clock_was_off = true;
  CHECK(!end(&bench, job, 403, UNSIGNED, 0));
  job = next(&bench, 0);
  CHECK(job != NULL && job->attempts == 1);
  CHECK(end(&bench, job, 403, UNSIGNED, 0));
  let_go(&bench, job);
  map.batch.stopped = false;
  CHECK(submit(&bench, &map, 2, 10) == 0); /* expired on the way: whatever our clock */
  job = next(&bench, 0);
  CHECK(!end(&bench, job, 400, TOO_OLD, 0));
  job = next(&bench, 0);
  CHECK(job != NULL && end(&bench, job, 400, TOO_OLD, 0));
  let_go(&bench, job);
  map.batch.stopped = false;
  CHECK(submit(&bench, &map, 1, 10) == 0);
  job = next(&bench, 0);
  CHECK(end(&bench, job, 403, UNSIGNED, 0));
  let_go(&bench, job);
  drop(&bench, &map);
  tear_down(&bench);
}

/* No connection: retried, without counting as attempts or using the quota, until no chunk has reached the
 * endpoint for 15 s; a later map has its own patience. */
static void
reconnecting(void)
{
  struct bench bench;
  struct lm_queue first, second;
  set_up(&bench, 100, 1 << 20);
  open_map(&bench, &first);
  open_map(&bench, &second);
  submit_each(&bench, &first, 60);
  unsigned left = 60;
  int64_t now = SECOND, reached = 10 * SECOND, ended = 0;
  for (; left > 0; now += 10 * MS) {
    CHECK(now < 100 * SECOND);
    lm_sched_tick(&bench.sched, now, &bench.expired);
    for (struct lm_job *job; (job = next(&bench, now)) != NULL;) {
      bool answered = now >= reached && reached > 0;
      if (answered)
        reached = 0; /* a single reply: patience starts again */
      if (end(&bench, job, answered ? 200 : 0, answered ? GOOD : REFUSED, now)) {
        CHECK(answered || (job->attempts == 0 && job->outcome.ran == LM_RAN_NOT));
        ended = answered ? ended : now;
        left--;
        let_go(&bench, job);
      }
    }
    CHECK(ended == 0 || now >= 25 * SECOND);
  }
  CHECK(ended < 28 * SECOND && !first.batch.stopped &&
        bench.function->quota.tokens == LM_QUOTA_FULL);
  CHECK(submit(&bench, &second, 0, 10) == 0);
  struct lm_job *job = next(&bench, now);
  CHECK(!end(&bench, job, 0, REFUSED, now));
  CHECK(submit(&bench, &first, 60, 10) == 0);
  job = next(&bench, now);
  CHECK(job->batch == &first.batch && end(&bench, job, 0, REFUSED, now));
  let_go(&bench, job);
  drop(&bench, &first);
  drop(&bench, &second);
  tear_down(&bench);
}

/* Each map has its own bound within the function's window; a map that has reached it does not delay others.
 * Maps with the same id share a bound. */
static void
own_bounds(void)
{
  struct bench bench;
  struct lm_queue one, five, also_one;
  struct lm_list running;
  lm_list_init(&running);
  set_up(&bench, 4, 1 << 20);
  open_bounded(&bench, &five, "", 5);
  open_bounded(&bench, &one, "executor", 1);
  open_bounded(&bench, &also_one, "executor", 1);
  CHECK(one.bound == also_one.bound && one.bound != five.bound);
  for (uint64_t i = 0; i < 10; i++) {
    CHECK(submit(&bench, &one, i, 10) == 0 && submit(&bench, &also_one, i, 10) == 0);
    CHECK(submit(&bench, &five, i, 10) == 0);
  }
  for (int round = 0; round < 2; round++) {
    for (struct lm_job *job; (job = next(&bench, round)) != NULL;)
      lm_list_push_back(&running, &job->link);
    CHECK(one.bound->in_flight == 1);
    CHECK(five.bound->in_flight == (round == 0 ? 3 : 5)); /* the window; the bound */
    bench.function->limiter.window = 100;
  }
  for (struct lm_node *node; (node = lm_list_pop_front(&running)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (job->batch != &five.batch) {
      CHECK(!end(&bench, job, 429, FULL, 1)); /* a job that goes back frees its place */
      CHECK(one.bound->in_flight == 0);
      continue;
    }
    CHECK(end(&bench, job, 200, GOOD, 1));
    let_go(&bench, job);
  }
  CHECK(five.bound->in_flight == 0);
  drop(&bench, &one);
  CHECK(also_one.bound->refs == 1);
  drop(&bench, &also_one);
  drop(&bench, &five);
  tear_down(&bench);
}

/* A retry that is due starts before a chunk that was never sent. */
static void
retries_first(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 1, 1 << 20);
  open_map(&bench, &map);
  submit_each(&bench, &map, 5);
  struct lm_job *job = next(&bench, 0);
  CHECK(!end(&bench, job, 500, FAILED, 0));
  job = next(&bench, 0);
  CHECK(job->first_item == 1 && end(&bench, job, 200, GOOD, 1));
  let_go(&bench, job);
  lm_sched_tick(&bench.sched, SECOND, &bench.expired);
  job = next(&bench, SECOND);
  CHECK(job->first_item == 0 && job->attempts == 2 && end(&bench, job, 200, GOOD, 1));
  let_go(&bench, job);
  drop(&bench, &map);
  tear_down(&bench);
}

/* At the deadline: jobs with only 429 replies are THROTTLED, the rest was not sent. */
static void
starved(void)
{
  struct bench bench;
  struct lm_queue map;
  set_up(&bench, 1, 1 << 20);
  open_map(&bench, &map);
  map.batch.deadline_ns = SECOND;
  submit_each(&bench, &map, 3);
  CHECK(!end(&bench, next(&bench, 0), 429, FULL, 0));
  lm_sched_tick(&bench.sched, SECOND, &bench.expired);
  unsigned n = 0, n_starved = 0;
  for (struct lm_node *node; (node = lm_list_pop_front(&bench.expired)) != NULL; n++) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    CHECK(job->starved == (job->first_item == 0));
    n_starved += job->starved;
    let_go(&bench, job);
  }
  CHECK(n == 3 && n_starved == 1);
  drop(&bench, &map);
  tear_down(&bench);
}

/* A second map of a function that has long accepted nothing has its own patience. */
static void
patience(void)
{
  struct bench bench;
  struct lm_queue first, second;
  set_up(&bench, 8, 1 << 20);
  open_map(&bench, &first);
  open_map(&bench, &second);
  int64_t now = SECOND, asked = 0;
  CHECK(submit(&bench, &first, 0, 10) == 0);
  for (; !second.batch.stopped; now += 10 * MS) {
    CHECK(now < 300 * SECOND);
    struct lm_job *job = next(&bench, now);
    if (job == NULL)
      continue;
    if (end(&bench, job, 429, FULL, now)) {
      let_go(&bench, job);
      if (asked == 0) {
        CHECK(first.batch.stopped && now > 60 * SECOND);
        asked = now;
        CHECK(submit(&bench, &second, 0, 10) == 0);
      }
    }
  }
  CHECK(now > asked + 60 * SECOND);
  drop(&bench, &first);
  drop(&bench, &second);
  tear_down(&bench);
}

int
main(void)
{
  starved();
  reconnecting();
  own_bounds();
  patience();
  order();
  quota();
  polling();
  slowing_down();
  credentials();
  signatures();
  retries_first();
  fairness();
  bounds();
  retries();
  throttling();
  deadline();
  return 0;
}
