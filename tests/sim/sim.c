/* The dispatcher simulated: `sim COUNT [SEED]` makes so many invocations, world after world from that
 * seed on, and `sim replay SEED` shows the history of one. docs/invariants.md has the promises. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "dispatch/dispatch.h"
#include "dispatch/map.h"
#include "fiber.h"
#include "lambda.h"
#include "net.h"
#include "os.h"
#include "os/seams.h"
#include "policy/deadline.h"
#include "record.h"
#include "transport/target.h"

enum { MAX_MAPS = 8, MAX_ITEMS = 400, MAX_TARGETS = 3 };

static const int64_t SECOND = 1000000000;
/* How late what happens at a deadline, or after a cancellation, may be: promised are 0.3 s; preemption
 * (fiber.c) takes the rest. */
static const int64_t LATE_NS = 1500000000;
/* Longer than any map without a deadline takes: its retries end. */
static const int64_t FOR_EVER_NS = 7200 * (int64_t)1000000000;

enum item_state { NEW, SUBMITTED, DONE, FAILED };

struct map {
  unsigned index, target, n_items, chunk, max_concurrency;
  bool enveloped, idempotent, named;
  int64_t invocation_ms, timeout_ms;
  int64_t cancel_ns, close_ns; /* after its start; 0: never */
  size_t payload_bytes;
  struct lm_map *map;
  int64_t opened_ns, frozen_before_ns, deadline_ns, cancelled_ns;
  unsigned in_flight, outstanding;
  bool closed, cancelled_elsewhere, ending, canceller_gone;
  struct sim_queue canceller_ended;
  uint32_t runs[MAX_ITEMS];
  uint8_t state[MAX_ITEMS], ended[MAX_ITEMS];
  uint8_t before[MAX_ITEMS]; /* enum lm_ran: of attempts for chunks that an item was in before */
};

static struct {
  struct map maps[MAX_MAPS];
  unsigned n_maps, n_targets, maps_left;
  bool tls[MAX_TARGETS], forks, starves;
  int64_t freeze_ns;
  size_t budget_bytes;
  struct lm_dispatch *dispatch;
  struct lm_target *targets[MAX_TARGETS];
  struct sim_queue maps_ended;
  bool over;
  long live_before;
} world;

uint32_t *
sim_runs(unsigned map, uint64_t item)
{
  return map < world.n_maps && item < world.maps[map].n_items ? &world.maps[map].runs[item] : NULL;
}

void
sim_run_begins(unsigned map, uint64_t first_item, uint32_t n_items)
{
  const struct map *of = &world.maps[map];
  for (uint64_t i = first_item; i < first_item + n_items; i++) {
    if (of->runs[i] > 0 && !of->idempotent)
      record_broken(AT_MOST_ONCE, "item %llu of map %u runs again", (unsigned long long)i, map);
    if (of->state[i] == NEW)
      record_broken(ONCE, "item %llu of map %u runs before it was submitted", (unsigned long long)i,
                    map);
  }
}

/* --- a world from its seed --- */

static unsigned
rarely(unsigned one_in)
{
  return sim_one_in(2) ? 0 : one_in / 2 + (unsigned)sim_below(one_in);
}

static void
choose_world(void)
{
  bool calm = sim_one_in(4);
  memset(&world, 0, sizeof world);
  world.n_targets = 1 + (unsigned)sim_below(MAX_TARGETS);
  for (unsigned i = 0; i < world.n_targets; i++)
    world.tls[i] = sim_one_in(2);
  world.budget_bytes = sim_one_in(4) ? 20000 + sim_below(200000) : 64 << 20;
  world.forks = sim_one_in(6);
  world.starves = sim_one_in(10);
  world.freeze_ns = sim_one_in(6) ? sim_between(SECOND, 60 * SECOND) : 0;
  sim_options = (struct sim_world_options){
      .cores = 1 + (unsigned)sim_below(4),
      .descriptors = sim_one_in(8) ? 4 + sim_below(30) : 1000,
      .clock_error_s = sim_one_in(6) ? sim_between(-4000, 4000) : 0,
      .no_thread_one_in = rarely(20),
      .look_up_fails_one_in = rarely(10),
  };
  sim_net = (struct sim_net_options){
      .latency_ns = sim_between(10000, sim_one_in(3) ? 80000000 : 1000000),
      .connect_ns = sim_between(10000, sim_one_in(6) ? 8 * SECOND : 100000000),
      .small_one_in = rarely(10),
      .send_buffer = sim_one_in(3) ? 200 + sim_below(5000) : 200000,
  };
  sim_lambda = (struct sim_lambda_options){
      .concurrency = sim_one_in(3) ? 1 + (unsigned)sim_below(10) : 1000,
      .duration_ns = sim_between(0, sim_one_in(4) ? 20 * SECOND : 200000000),
      .idle_ns = sim_one_in(2) ? sim_between(1000000, 20 * SECOND) : 0,
      .expires_ns = sim_one_in(8) ? sim_between(SECOND, 100 * SECOND) : 0,
      .large_one_in = rarely(60),
      .partial_one_in = rarely(10),
      .close_one_in = rarely(30),
  };
  if (calm)
    return;
  sim_net.refuse_one_in = rarely(20);
  sim_net.black_hole_one_in = rarely(100);
  sim_lambda.refuse_one_in = rarely(30);
  sim_lambda.stop_one_in = rarely(1500);
  sim_lambda.poll_one_in = rarely(60);
  sim_lambda.slow_down_one_in = rarely(60);
  sim_lambda.unknown_one_in = rarely(40);
  sim_lambda.raise_one_in = rarely(40);
  sim_lambda.cut_request_one_in = rarely(30);
  sim_lambda.cut_reply_one_in = rarely(30);
  sim_lambda.silent_one_in = rarely(150);
  sim_lambda.rude_one_in = rarely(30);
  sim_lambda.slow_one_in = rarely(60);
  sim_lambda.garbage_one_in = rarely(200);
  sim_lambda.early_one_in = rarely(10);
}

static void
choose_map(struct map *map, unsigned index)
{
  *map = (struct map){
      .index = index,
      .target = (unsigned)sim_below(world.n_targets),
      .n_items = 1 + (unsigned)sim_below(sim_one_in(4) ? MAX_ITEMS : 40),
      .max_concurrency = 1 + (unsigned)sim_below(sim_one_in(2) ? 4 : 64),
      .idempotent = sim_one_in(2),
      .enveloped = sim_one_in(2),
      .named = sim_one_in(10),
      .invocation_ms = sim_one_in(4) ? -1 : sim_between(1000, 60000),
      .timeout_ms = sim_one_in(3) ? sim_between(10, 60000) : -1,
      .cancel_ns = sim_one_in(6) ? sim_between(1, 3 * SECOND) : 0,
      .close_ns = sim_one_in(8) ? sim_between(1, 3 * SECOND) : 0,
      .payload_bytes = sim_one_in(world.forks ? 2 : 8) ? sim_below(300000) : sim_below(2000),
  };
  if (map->payload_bytes > 30 * sim_net.send_buffer)
    map->payload_bytes = 30 * sim_net.send_buffer; /* or one upload takes a minute */
  map->cancelled_elsewhere = map->cancel_ns != 0 && sim_one_in(2);
  map->chunk = map->enveloped ? 1 + (unsigned)sim_below(7) : 1;
  if (map->invocation_ms < 0 && sim_lambda.silent_one_in > 0 && map->timeout_ms < 0)
    map->invocation_ms = 30000; /* or a silent reply is waited for for ever, as was asked for */
}

/* --- the calling side --- */

static struct lm_target *
open_target(unsigned index)
{
  static const char *const headers[] = {"X-Amz-Invocation-Type", "RequestResponse", NULL};
  struct lm_error err;
  char access_key[32], key[16];
  struct lm_target *target = NULL;
  snprintf(access_key, sizeof access_key, "AKID%lld", (long long)(sim_now() / SECOND));
  snprintf(key, sizeof key, "f%u", (unsigned)sim_below(2));
  struct lm_endpoint_spec where = {
      .tls = world.tls[index], .host = index == 0 ? "lambda.test" : "192.0.2.1", .port = 443};
  struct lm_target_spec how = {.path = "/2015-03-31/functions/f/invocations",
                               .query = "",
                               .region = "us-east-1",
                               .access_key = access_key,
                               .secret_key = "secret",
                               .expires_s = INT64_MAX,
                               .headers = headers,
                               .max_attempts = 1 + (unsigned)sim_below(5),
                               .max_concurrency = 1 + (unsigned)sim_below(64),
                               .connect_timeout_ms = 5000,
                               .connect_patience_ms = sim_between(0, 15000)};
  if (sim_lambda.expires_ns > 0 && sim_one_in(2))
    how.expires_s =
        lm_seams.unix_s() + sim_lambda.expires_ns / SECOND; /* else it hears of it by a reply */
  struct lm_endpoint *endpoint = lm_dispatch_endpoint(world.dispatch, &where, &err);
  struct lm_function *function =
      lm_sched_function(&world.dispatch->sched, key, 64, lm_seams.now_ns(), &err);
  if (endpoint != NULL && function != NULL)
    target = lm_target_new(endpoint, function, &how, &err);
  lm_endpoint_unref(endpoint);
  return target;
}

static void
renew(struct lm_target *target)
{
  struct lm_error err;
  char access_key[32];
  sim_sleep(sim_between(0, SECOND));
  snprintf(access_key, sizeof access_key, "AKID%lld", (long long)(sim_now() / SECOND));
  int64_t expires_s =
      sim_one_in(2) ? INT64_MAX : lm_seams.unix_s() + sim_lambda.expires_ns / SECOND;
  record_event("new credentials");
  if (lm_target_set_credentials(target, access_key, "secret", NULL, expires_s, &err) == 0)
    lm_dispatch_look_again(world.dispatch);
}

static bool
open_map(struct map *map)
{
  char head[160];
  struct lm_error err;
  struct lm_batch_opts opts = {.compress = true,
                               .idempotent = map->idempotent,
                               .invocation_timeout_ms = map->invocation_ms,
                               .timeout_ms = map->timeout_ms,
                               .max_result_bytes = 8 << 20,
                               .max_reply_bytes = 8 << 20,
                               .keep_notes = sim_one_in(4)};
  opts.trace = opts.keep_notes && sim_one_in(2);
  snprintf(opts.map_id, sizeof opts.map_id, "%032u", map->index);
  if (map->enveloped) {
    opts.envelope_len = (size_t)snprintf(
        head, sizeof head, "{\"command\":\"f\",\"lambdamap\":{\"protocol\":1,\"map\":\"%s\"",
        opts.map_id);
    opts.envelope = head;
  }
  map->opened_ns = sim_now();
  map->frozen_before_ns = sim_frozen();
  map->deadline_ns = map->timeout_ms < 0 ? LM_NEVER_NS : sim_now() + map->timeout_ms * 1000000;
  return lm_map_open(world.dispatch, world.targets[map->target], &opts, &map->map, &err) == 0;
}

static bool
submit(struct map *map, uint64_t first, unsigned n)
{
  struct lm_buf frame;
  struct lm_error err;
  char name[32];
  lm_buf_init(&frame, 8 << 20);
  lm_buf_str(&frame, "{\"data\":\"");
  uint8_t *room = lm_buf_reserve(&frame, map->payload_bytes + 1);
  if (room != NULL) {
    memset(room, 'x', map->payload_bytes);
    frame.len += map->payload_bytes;
  }
  lm_buf_str(&frame, "\"}");
  snprintf(name, sizeof name, "run-%u-%llu", map->index, (unsigned long long)first);
  for (unsigned i = 0; i < n; i++)
    map->state[first + i] = SUBMITTED;
  bool good = frame.failed == LM_OK &&
              lm_map_submit(map->map, &frame, first, n, map->named ? name : NULL, &err) == 0;
  if (good) {
    map->outstanding++;
  } else {
    if (frame.failed == LM_OK && err.code == LM_E_FULL && map->outstanding == 0)
      record_broken(BUDGET, "the only chunk of map %u was not admitted", map->index);
    for (unsigned i = 0; i < n; i++)
      map->state[first + i] = NEW;
  }
  lm_buf_clean_up(&frame);
  return good;
}

/* The word is the chunk's: NOT is of each item, RAN of the first at least. */
static void
check_failure(const struct map *map, const struct lm_job *job)
{
  for (uint64_t item = job->first_item; item < job->first_item + job->n_items; item++)
    if (job->outcome.ran == LM_RAN_NOT && map->before[item] == LM_RAN_NOT && map->runs[item] > 0)
      record_broken(NOT_MEANS_NOT, "item %llu of map %u is said not to have run, and has %u times",
                    (unsigned long long)item, map->index, map->runs[item]);
  if (job->outcome.ran == LM_RAN_YES && map->runs[job->first_item] == 0)
    record_broken(RAN_MEANS_RAN, "item %llu of map %u is said to have run, and has not",
                  (unsigned long long)job->first_item, map->index);
}

static void
check_result(const struct map *map, const char *text, size_t len, uint64_t item)
{
  char wanted[96];
  int n = snprintf(wanted, sizeof wanted, "{\"map\":%u,\"item\":%llu,\"run\":%u}", map->index,
                   (unsigned long long)item, map->runs[item]);
  if (map->runs[item] == 0)
    record_broken(RAN_MEANS_RAN, "item %llu of map %u has a result, and has not run",
                  (unsigned long long)item, map->index);
  else if (map->runs[item] == 1 && memmem(text, len, wanted, (size_t)n) == NULL)
    record_broken(OWN_REPLY, "item %llu of map %u has the result %.*s", (unsigned long long)item,
                  map->index, (int)(len < 80 ? len : 80), text);
}

static void
end_item(struct map *map, uint64_t item, enum item_state state)
{
  map->state[item] = (uint8_t)state;
  if (++map->ended[item] > 1)
    record_broken(ONCE, "item %llu of map %u ends again", (unsigned long long)item, map->index);
}

/* What the engine does with a completion: results out, the rest of a part and the halves of what was too
 * large back in. */
static void
take(struct map *map, struct lm_job *job)
{
  uint32_t done = 0;
  bool good = job->outcome.failure == LM_FAIL_NONE;
  map->outstanding--;
  if (good)
    done = map->enveloped ? job->view.done : 1;
  record_event("map %u: items %llu+%u end: %s%s", map->index, (unsigned long long)job->first_item,
               job->n_items,
               good                               ? "results"
               : job->outcome.ran == LM_RAN_NOT   ? "NOT "
               : job->outcome.ran == LM_RAN_MAYBE ? "MAYBE "
                                                  : "RAN ",
               good ? "" : job->error.text);
  if (!good)
    check_failure(map, job);
  const char *text = (const char *)(map->enveloped ? job->result.data : job->reply.data);
  size_t len = map->enveloped ? job->result.len : job->reply.len;
  for (uint32_t i = 0; i < job->n_items; i++) {
    uint64_t item = job->first_item + i;
    if (i < done) {
      check_result(map, text, len, item);
      end_item(map, item, DONE);
    } else if (good) {
      map->state[item] = NEW; /* the rest has not run, unless an earlier attempt ran it */
      if (job->worst.ran > map->before[item])
        map->before[item] = (uint8_t)job->worst.ran;
    } else {
      if (job->outcome.action == LM_DO_SPLIT && job->n_items > 1 && !map->closed) {
        map->state[item] = NEW;
        if (job->outcome.ran > map->before[item])
          map->before[item] = (uint8_t)job->outcome.ran;
      } else {
        end_item(map, item, FAILED);
      }
    }
  }
  if (good && done < job->n_items)
    for (uint32_t i = done; i < job->n_items; i++)
      if (map->runs[job->first_item + i] > 0 && !map->idempotent)
        record_broken(NOT_MEANS_NOT, "item %llu of map %u, of the rest of a part, has run",
                      (unsigned long long)(job->first_item + i), map->index);
  lm_deliver_release(job);
}

/* The next items that were not submitted, one chunk at most; false: there are none. */
static bool
next_chunk(const struct map *map, uint64_t *first, unsigned *n)
{
  for (*first = 0; *first < map->n_items && map->state[*first] != NEW; ++*first)
    ;
  for (*n = 0; *n < map->chunk && *first + *n < map->n_items && map->state[*first + *n] == NEW;
       ++*n)
    ;
  return *n > 0;
}

static int64_t
frozen_since(const struct map *map)
{
  return sim_frozen() - map->frozen_before_ns;
}

static void
check_time(const struct map *map)
{
  int64_t now = sim_now() - frozen_since(map);
  if (map->outstanding == 0 || world.starves) /* without memory nothing is promised of time */
    return;
  if (map->deadline_ns != LM_NEVER_NS && now > map->deadline_ns + LATE_NS)
    record_broken(PROGRESS, "map %u still has %u chunks %.3f s after its deadline", map->index,
                  map->outstanding, (double)(now - map->deadline_ns) / 1e9);
  if (map->cancelled_ns != 0 && now > map->cancelled_ns + LATE_NS)
    record_broken(PROGRESS, "map %u still has %u chunks %.3f s after it was cancelled", map->index,
                  map->outstanding, (double)(now - map->cancelled_ns) / 1e9);
  if (now > map->opened_ns + FOR_EVER_NS)
    record_broken(PROGRESS, "map %u takes for ever", map->index);
}

static void
check_bounds(void)
{
  const struct lm_sched *sched = &world.dispatch->sched;
  LM_LIST_EACH (&sched->bounds, node) {
    const struct lm_bound *bound = LM_CONTAINER(node, struct lm_bound, link);
    if (bound->in_flight > bound->max)
      record_broken(BOUND, "%u attempts of a map that is to have %u", bound->in_flight, bound->max);
  }
  size_t most = world.budget_bytes;
  for (unsigned i = 0; i < world.n_maps; i++)
    most += 2 * (world.maps[i].payload_bytes + 400000);
  if (sched->used_bytes > most)
    record_broken(BUDGET, "%zu bytes are held of %zu", (size_t)sched->used_bytes,
                  world.budget_bytes);
}

/* Its descriptor says all but these times. */
static int64_t
wait_until(const struct map *map)
{
  int64_t start = map->opened_ns + frozen_since(map), until = LM_NEVER_NS;
  if (map->cancel_ns != 0 && map->cancelled_ns == 0 && !map->cancelled_elsewhere)
    until = lm_deadline_earlier(until, start + map->cancel_ns);
  if (map->close_ns != 0)
    until = lm_deadline_earlier(until, start + map->close_ns);
  if (map->deadline_ns != LM_NEVER_NS)
    until = lm_deadline_earlier(until, map->deadline_ns + frozen_since(map) + LATE_NS + SECOND);
  if (map->cancelled_ns != 0)
    until = lm_deadline_earlier(until, map->cancelled_ns + frozen_since(map) + LATE_NS + SECOND);
  return lm_deadline_earlier(until, start + FOR_EVER_NS + SECOND);
}

static void
cancel(struct map *map)
{
  record_event("map %u is cancelled", map->index);
  map->cancelled_ns = sim_now() - frozen_since(map);
  lm_map_cancel(map->map);
}

/* By another thread than the one that calls. */
static void *
cancel_elsewhere(void *argument)
{
  struct map *map = argument;
  sim_sleep(map->cancel_ns);
  if (!map->ending)
    cancel(map);
  map->canceller_gone = true;
  sim_wake_all(&map->canceller_ended);
  return NULL;
}

static void *
call_map(void *argument)
{
  struct map *map = argument;
  uint64_t first;
  unsigned n;
  sim_sleep(sim_between(0, SECOND / 2));
  if (!open_map(map)) {
    record_event("map %u cannot be opened", map->index);
    goto ended;
  }
  record_event("map %u: %u items%s%s", map->index, map->n_items,
               map->idempotent ? ", idempotent" : "", map->enveloped ? ", enveloped" : "");
  struct lm_target *target = world.targets[map->target];
  if (map->cancelled_elsewhere)
    map->cancelled_elsewhere = sim_spawn("cancel", cancel_elsewhere, map) != NULL;
  while (record_violations() == 0) {
    int64_t now = sim_now() - frozen_since(map) - map->opened_ns;
    bool full = false;
    for (struct lm_job *job; (job = lm_map_take(map->map)) != NULL;)
      take(map, job);
    if (map->cancel_ns != 0 && !map->cancelled_elsewhere && now >= map->cancel_ns &&
        map->cancelled_ns == 0)
      cancel(map);
    if (map->close_ns != 0 && now >= map->close_ns) {
      record_event("map %u is closed", map->index);
      map->closed = true;
      break;
    }
    if (atomic_load(&target->renewal.wants) != LM_WANTS_NOTHING)
      renew(target);
    while (!full && next_chunk(map, &first, &n)) {
      full = !submit(map, first, n);
      if (sim_one_in(16))
        sim_switch();
    }
    check_time(map);
    check_bounds();
    if (map->outstanding == 0 && !next_chunk(map, &first, &n))
      break;
    if (full && map->outstanding == 0)
      sim_sleep(SECOND / 10); /* there was no memory */
    else
      sim_await_event(lm_map_fd(map->map), wait_until(map));
  }
  map->ending = true;
  while (map->cancelled_elsewhere && !map->canceller_gone)
    sim_wait(&map->canceller_ended, INT64_MAX);
  lm_map_close(map->map);
  lm_map_unref(map->map);
ended:
  if (--world.maps_left == 0)
    sim_wake_all(&world.maps_ended);
  return NULL;
}

/* --- what happens to the process --- */

static void *
disturb(void *argument)
{
  (void)argument;
  while (!world.over) {
    sim_sleep(sim_between(1000000, world.forks ? SECOND / 5 : 3 * SECOND));
    if (world.forks && !world.over) {
      record_event("fork");
      sim_fork();
    }
    if (world.starves && !world.over) {
      record_event("memory is short");
      lm_alloc_fail_from(1 + sim_below(100));
      sim_sleep(sim_between(0, SECOND / 10));
      lm_alloc_fail_from(0);
    }
    if (world.freeze_ns > 0 && sim_one_in(3)) {
      record_event("the process is frozen");
      sim_freeze(sim_between(0, world.freeze_ns));
    }
  }
  return NULL;
}

/* What an endpoint says is idle, and what is. */
static void
check_idle(const struct lm_endpoint *endpoint)
{
  for (unsigned i = 0; i < world.dispatch->crew.n_io; i++) {
    int idle = 0;
    LM_LIST_EACH (&world.dispatch->crew.io[i]->pools, node) {
      const struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
      if (pool->site.endpoint == endpoint)
        LM_LIST_EACH (&pool->site.idle, conn)
          idle++;
    }
    if (atomic_load(&endpoint->idle[i].n) != idle)
      record_broken(NOTHING_LEFT, "%d connections are said to be idle, and %d are",
                    atomic_load(&endpoint->idle[i].n), idle);
  }
}

static void
check_left(void)
{
  const struct lm_dispatch *dispatch = world.dispatch;
  LM_LIST_EACH (&dispatch->sched.functions, node) {
    const struct lm_function *function = LM_CONTAINER(node, struct lm_function, link);
    if (function->limiter.in_flight != 0)
      record_broken(NOTHING_LEFT, "a function's window has %u in flight",
                    function->limiter.in_flight);
  }
  if (dispatch->sched.used_bytes != 0)
    record_broken(NOTHING_LEFT, "%zu bytes of the budget", (size_t)dispatch->sched.used_bytes);
  if (!lm_list_empty(&dispatch->sched.bounds))
    record_broken(NOTHING_LEFT, "a map's bound");
  for (unsigned i = 0; i < dispatch->n_endpoints; i++)
    check_idle(dispatch->endpoints[i]);
}

static void
check_items(const struct map *map)
{
  for (unsigned i = 0; i < map->n_items; i++)
    if (map->state[i] == SUBMITTED && !map->closed)
      record_broken(ONCE, "item %u of map %u never ended", i, map->index);
}

static void *
play(void *argument)
{
  struct lm_error err;
  (void)argument;
  world.live_before = lm_alloc_live();
  if (lm_dispatch_acquire(world.budget_bytes, &world.dispatch, &err) != 0) {
    record_event("no dispatcher: %s", err.text);
    return NULL;
  }
  for (unsigned i = 0; i < world.n_targets; i++)
    world.targets[i] = open_target(i);
  world.maps_left = world.n_maps;
  for (unsigned i = 0; i < world.n_maps; i++)
    sim_spawn("caller", call_map, &world.maps[i]);
  sim_spawn("disturb", disturb, NULL);
  while (world.maps_left > 0)
    sim_wait(&world.maps_ended, INT64_MAX);
  world.over = true;
  lm_alloc_fail_from(0);
  bool early = sim_one_in(4);
  if (!early)
    sim_sleep(2 * SECOND); /* what was cancelled is let go by then */
  if (!early && record_violations() == 0)
    check_left();
  for (unsigned i = 0; i < world.n_targets; i++)
    lm_target_unref(world.targets[i]);
  lm_dispatch_release(world.dispatch, 10000);
  return NULL;
}

/* --- runs --- */

/* False: a promise was broken. */
static bool
run_seed(uint64_t seed, bool show)
{
  record_begin(show);
  sim_net_forget();
  sim_events_forget();
  sim_seed(seed);
  choose_world();
  sim_lambda_begin();
  world.n_maps = 1 + (unsigned)sim_below(MAX_MAPS);
  for (unsigned i = 0; i < world.n_maps; i++)
    choose_map(&world.maps[i], i);
  if (!sim_run(play, NULL) && record_violations() == 0)
    record_broken(PROGRESS, "stuck after %llu switches: %s", (unsigned long long)sim_switches(),
                  sim_stuck());
  if (record_violations() > 0)
    return false;
  for (unsigned i = 0; i < world.n_maps; i++)
    check_items(&world.maps[i]);
  if (sim_sockets_open() != 0)
    record_broken(NOTHING_LEFT, "%u connections", sim_sockets_open());
  if (sim_events_open() != 0)
    record_broken(NOTHING_LEFT, "%u events", sim_events_open());
  if (lm_alloc_live() != world.live_before)
    record_broken(NOTHING_LEFT, "%ld blocks of memory", lm_alloc_live() - world.live_before);
  return record_violations() == 0;
}

static double
cpu_s(void)
{
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int
run_many(uint64_t count, uint64_t seed)
{
  uint64_t made = 0, seeds = 0, violations = 0;
  double began = cpu_s();
  for (; made < count && violations == 0; seeds++) {
    if (!run_seed(seed + seeds, false)) {
      violations++;
      printf("seed %llu: %s\n", (unsigned long long)(seed + seeds), record_first());
    }
    made += sim_invocations();
  }
  printf("%llu invocations, %llu seeds, %llu violations, %.0f invocations a second of CPU\n",
         (unsigned long long)made, (unsigned long long)seeds, (unsigned long long)violations,
         (double)made / (cpu_s() - began + 1e-9));
  return violations == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
  char *end = NULL;
  mallopt(M_MMAP_THRESHOLD, 256 << 20); /* worlds come and go: give nothing back to the kernel */
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  if (argc == 3 && strcmp(argv[1], "replay") == 0) {
    uint64_t seed = strtoull(argv[2], &end, 10);
    if (*end == '\0') {
      bool kept = run_seed(seed, true);
      printf("%s\n", kept ? "every promise was kept" : record_first());
      return kept ? 0 : 1;
    }
  } else if (argc == 2 || argc == 3) {
    uint64_t count = strtoull(argv[1], &end, 10);
    uint64_t seed = *end == '\0' && argc == 3 ? strtoull(argv[2], &end, 10) : 1;
    if (*end == '\0')
      return run_many(count, seed);
  }
  fputs("usage: sim COUNT [SEED] | sim replay SEED\n", stderr);
  return 2;
}
