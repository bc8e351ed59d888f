/* The calling side of a map: what the engine in Python does, and the promises made to it. */
#include <stdio.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "dispatch/map.h"
#include "job/coding.h"
#include "lambda.h"
#include "os.h"
#include "os/seams.h"
#include "policy/deadline.h"
#include "record.h"
#include "wire/frame.h"
#include "world.h"

/* How late the consequences of a deadline or a cancellation may be: 0.3 s is promised; preemption
 * (fiber.c) takes the rest. */
static const int64_t LATE_NS = 1500000000;
/* Longer than any map without a deadline takes: its retries end. */
static const int64_t FOR_EVER_NS = 7200 * (int64_t)1000000000;

static struct lm_coder *coder; /* never freed */

void
sim_callers_prepare(void)
{
  coder = record_must(lm_coder_new());
}

/* --- what the world knows of items --- */

uint32_t *
sim_runs(unsigned map, uint64_t item)
{
  struct sim_world *world = &sim_world;
  return map < world->n_maps && item < world->maps[map].n_items ? &world->maps[map].runs[item]
                                                                : NULL;
}

void
sim_run_begins(unsigned map, uint64_t first_item, uint32_t n_items, uint32_t runs)
{
  struct sim_map *of = &sim_world.maps[map];
  for (uint64_t i = first_item; i < first_item + n_items; i++) {
    of->handled[i] = true;
    if (i < first_item + runs && of->runs[i] > 0 && !of->idempotent)
      record_broken(AT_MOST_ONCE, "item %llu of map %u runs again", (unsigned long long)i, map);
    if (of->state[i] == SIM_NEW)
      record_broken(ONCE, "item %llu of map %u runs before it was submitted", (unsigned long long)i,
                    map);
  }
}

void
sim_check_items(const struct sim_map *map)
{
  for (unsigned i = 0; i < map->n_items; i++)
    if (map->state[i] == SIM_SUBMITTED && !map->closed)
      record_broken(ONCE, "item %u of map %u never ended", i, map->index);
}

/* --- opening, credentials --- */

static void
renew(struct lm_target *target)
{
  struct lm_error err;
  char access_key[32];
  sim_sleep(sim_between(0, SIM_SECOND));
  snprintf(access_key, sizeof access_key, "AKID%lld", (long long)(sim_now() / SIM_SECOND));
  int64_t expires_s = sim_lambda.expires_ns == 0 || sim_one_in(2)
                          ? INT64_MAX
                          : lm_seams.unix_s() + sim_lambda.expires_ns / SIM_SECOND;
  record_event("new credentials");
  if (lm_target_set_credentials(target, access_key, "secret", NULL, expires_s, &err) == 0)
    lm_dispatch_look_again(sim_world.dispatch);
}

static bool
open_map(struct sim_map *map)
{
  char head[160];
  struct lm_error err;
  struct lm_batch_opts opts = {.idempotent = map->idempotent,
                               .invocation_timeout_ms = map->invocation_ms,
                               .timeout_ms = map->timeout_ms,
                               .max_result_bytes = map->max_result_bytes,
                               .max_reply_bytes = map->max_reply_bytes,
                               .keep_notes = sim_one_in(4)};
  if (!sim_world.simple)
    opts.billing = (enum lm_billing)sim_below(LM_BILLING_ALL + 1);
  opts.trace = opts.keep_notes && sim_one_in(2);
  snprintf(opts.map_id, sizeof opts.map_id, "%032u", map->index);
  if (map->shares_bound)
    snprintf(opts.bound_id, sizeof opts.bound_id, "shared");
  if (map->form != SIM_BARE) {
    opts.envelope_len = (size_t)snprintf(
        head, sizeof head, "{\"command\":\"f\",\"lambdamap\":{\"protocol\":1,\"map\":\"%s\"",
        opts.map_id);
    opts.envelope = head;
  }
  if (sim_world.targets[map->target] == NULL)
    return false;
  map->opened_ns = sim_now();
  map->frozen_before_ns = sim_frozen();
  map->deadline_ns = map->timeout_ms < 0 ? LM_NEVER_NS : sim_now() + map->timeout_ms * 1000000;
  lm_chunker_init(&map->chunker, map->adaptive ? 0 : map->chunk);
  return lm_map_open(sim_world.dispatch, sim_world.targets[map->target], &opts, &map->map, &err) ==
         0;
}

/* --- chunks --- */

/* The bytes of a chunk: one text that names it and fills it up, as JSON or as a raw frame. */
static void
make_payload(const struct sim_map *map, uint64_t first, unsigned n, struct lm_buf *out)
{
  char name[48];
  size_t named = sim_payload_name(name, map->index, first, n), len = named + map->payload_bytes;
  const uint8_t bin32[] = {0xc6, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                           (uint8_t)len};
  bool framed = map->form == SIM_FRAME;
  struct lm_buf text;
  lm_buf_init(&text, SIZE_MAX);
  if (framed)
    lm_buf_append(&text, bin32, sizeof bin32);
  else
    lm_buf_str(&text, "{\"data\":\"");
  lm_buf_append(&text, name, named);
  uint8_t *room = lm_buf_reserve(&text, map->payload_bytes + 1);
  if (room != NULL) {
    memset(room, 'x', map->payload_bytes);
    text.len += map->payload_bytes;
  }
  if (!framed) {
    lm_buf_str(&text, "\"}");
    lm_buf_move(out, &text);
    return;
  }
  struct lm_frame_view view = {.structure = text.data, .structure_len = text.len};
  uint8_t *joined = text.failed != LM_OK ? NULL : lm_buf_reserve(out, lm_frame_joined_len(&view));
  if (joined != NULL) {
    lm_frame_join(&view, joined);
    out->len += lm_frame_joined_len(&view);
  } else {
    out->failed = LM_E_NOMEM;
  }
  lm_buf_clean_up(&text);
}

enum submitted { ADMITTED, FULL, REFUSED /* the dispatcher has shut down */ };

static enum submitted
submit(struct sim_map *map, uint64_t first, unsigned n)
{
  struct lm_buf frame;
  struct lm_error err = {.code = LM_OK};
  char name[32];
  enum submitted result = ADMITTED;
  lm_buf_init(&frame, 8 << 20);
  make_payload(map, first, n, &frame);
  snprintf(name, sizeof name, "run-%u-%llu", map->index, (unsigned long long)first);
  for (unsigned i = 0; i < n; i++)
    map->state[first + i] = SIM_SUBMITTED;
  bool good = frame.failed == LM_OK &&
              lm_map_submit(map->map, &frame, first, n, map->named ? name : NULL, &err) == 0;
  if (good) {
    map->outstanding++;
  } else {
    if (err.code == LM_E_FULL && map->outstanding == 0)
      record_broken(BUDGET, "the only chunk of map %u was not admitted", map->index);
    if (err.code == LM_E_CLOSED && !sim_world.shut_down)
      record_broken(PROGRESS, "map %u is refused: %s", map->index, err.text);
    for (unsigned i = 0; i < n; i++)
      map->state[first + i] = SIM_NEW;
    result = err.code == LM_E_CLOSED ? REFUSED : FULL;
  }
  lm_buf_clean_up(&frame);
  return result;
}

/* The next items that have not been submitted, at most one chunk; false: there are none, or it is
 * better to wait. */
static bool
next_chunk(struct sim_map *map, uint64_t *first, unsigned *n)
{
  unsigned most = map->chunk;
  for (*first = 0; *first < map->n_items && map->state[*first] != SIM_NEW; ++*first)
    ;
  if (map->adaptive && *first < map->n_items) {
    const struct lm_target *target = sim_world.targets[map->target];
    int64_t left_us = map->deadline_ns == LM_NEVER_NS ? -1 : (map->deadline_ns - sim_now()) / 1000;
    unsigned window = lm_sched_window(&sim_world.dispatch->sched, target->function);
    uint32_t wanted = lm_chunker_next(&map->chunker, window,
                                      sim_one_in(4) ? -1 : (int64_t)(map->n_items - *first),
                                      left_us < 0 ? -1 : left_us);
    if (wanted == 0 && map->outstanding > 0)
      return false;
    if (wanted < most)
      most = wanted > 0 ? wanted : 1;
  }
  for (*n = 0; *n < most && *first + *n < map->n_items && map->state[*first + *n] == SIM_NEW; ++*n)
    ;
  return *n > 0;
}

/* --- ends --- */

/* What is reported holds for the whole chunk: NOT for each of its items, RAN that the handler was
 * called. */
static void
check_failure(const struct sim_map *map, const struct lm_job *job)
{
  for (uint64_t item = job->first_item; item < job->first_item + job->n_items; item++)
    if (job->outcome.ran == LM_RAN_NOT && map->before[item] == LM_RAN_NOT && map->runs[item] > 0)
      record_broken(NOT_MEANS_NOT, "item %llu of map %u is said not to have run, and has %u times",
                    (unsigned long long)item, map->index, map->runs[item]);
  if (job->outcome.ran == LM_RAN_YES && !map->handled[job->first_item])
    record_broken(RAN_MEANS_RAN, "item %llu of map %u is said to have run, and has not",
                  (unsigned long long)job->first_item, map->index);
}

static void
check_result(const struct sim_map *map, const char *text, size_t len, uint64_t item)
{
  char wanted[96];
  int n = snprintf(wanted, sizeof wanted, "{\"map\":%u,\"item\":%llu,\"run\":%u}", map->index,
                   (unsigned long long)item, map->runs[item]);
  if (map->runs[item] == 0)
    record_broken(RAN_MEANS_RAN, "item %llu of map %u has a result, and has not run",
                  (unsigned long long)item, map->index);
  else if (map->runs[item] == 1 && (len == 0 || memmem(text, len, wanted, (size_t)n) == NULL))
    record_broken(OWN_REPLY, "item %llu of map %u has the result %.*s", (unsigned long long)item,
                  map->index, (int)(len < 80 ? len : 80), text);
}

static void
end_item(struct sim_map *map, uint64_t item, enum sim_state state)
{
  map->state[item] = (uint8_t)state;
  if (++map->ended[item] > 1)
    record_broken(ONCE, "item %llu of map %u ends again", (unsigned long long)item, map->index);
}

/* Put the items back into the input, with what is known about them. */
static void
put_back(struct sim_map *map, uint64_t item, enum lm_ran ran)
{
  map->state[item] = SIM_NEW;
  if (ran > map->before[item])
    map->before[item] = (uint8_t)ran;
}

/* A chunk that was too large is returned as it was submitted. */
static void
check_given_back(const struct sim_map *map, const struct lm_job *job)
{
  struct lm_buf back, own;
  struct lm_error err;
  sim_feed();
  lm_buf_init(&back, 64 << 20);
  lm_buf_init(&own, 64 << 20);
  make_payload(map, job->first_item, job->n_items, &own);
  if (lm_coding_recover(coder, job, &back, &err) != 0)
    record_broken(OWN_REQUEST, "items %llu+%u of map %u are not given back: %s",
                  (unsigned long long)job->first_item, job->n_items, map->index, err.text);
  else if (back.len != own.len || memcmp(back.data, own.data, own.len) != 0)
    record_broken(OWN_REQUEST, "items %llu+%u of map %u are given back changed",
                  (unsigned long long)job->first_item, job->n_items, map->index);
  lm_buf_clean_up(&own);
  lm_buf_clean_up(&back);
  sim_starve_again();
}

static void
take_failure(struct sim_map *map, const struct lm_job *job)
{
  check_failure(map, job);
  bool splits = job->outcome.action == LM_DO_SPLIT && job->n_items > 1 && !map->closed;
  if (splits) {
    check_given_back(map, job);
    map->chunk = (job->n_items + 1) / 2; /* of all later chunks */
  }
  for (uint64_t item = job->first_item; item < job->first_item + job->n_items; item++)
    if (splits) {
      put_back(map, item, job->outcome.ran);
    } else {
      end_item(map, item, SIM_FAILED);
      map->ran[item] = (uint8_t)job->outcome.ran;
      map->failure[item] = (uint8_t)job->outcome.failure;
    }
}

/* Results, and perhaps an error in band: of the item after them, or of the whole chunk. */
static void
take_results(struct sim_map *map, const struct lm_job *job)
{
  bool bare = map->form == SIM_BARE, error = !bare && job->view.error.at != NULL;
  bool refused = error && !job->view.has_done;
  uint32_t done = bare ? 1 : job->view.done;
  const char *text = (const char *)(bare ? job->reply.data : job->result.data);
  size_t len = bare ? job->reply.len : job->result.len;
  for (uint32_t i = 0; i < job->n_items; i++) {
    uint64_t item = job->first_item + i;
    if (i < done) {
      check_result(map, text, len, item);
      end_item(map, item, SIM_DONE);
    } else if (refused || (error && i == done)) {
      end_item(map, item, SIM_FAILED);
    } else { /* it has not run, unless in an earlier attempt */
      put_back(map, item, job->worst.ran);
    }
    if ((i > done || (i == done && (!error || refused))) && map->runs[item] > 0 && !map->idempotent)
      record_broken(NOT_MEANS_NOT, "item %llu of map %u, which a worker left, has run",
                    (unsigned long long)item, map->index);
  }
  if (map->adaptive || sim_one_in(8))
    lm_chunker_observe(
        &map->chunker, done, job->view.worker_us,
        lm_sched_window(&sim_world.dispatch->sched, sim_world.targets[map->target]->function));
}

/* What the engine does with a completion: results go out; the rest of a partial chunk and the
 * halves of one that was too large go back in. */
static void
take(struct sim_map *map, struct lm_job *job)
{
  static const char *const words[] = {"NOT ", "MAYBE ", "RAN "};
  bool good = job->outcome.failure == LM_FAIL_NONE;
  map->outstanding--;
  record_event("map %u: items %llu+%u end: %s%s", map->index, (unsigned long long)job->first_item,
               job->n_items, good ? "results" : words[job->outcome.ran],
               good ? "" : job->error.text);
  if (good)
    take_results(map, job);
  else
    take_failure(map, job);
  lm_deliver_release(job);
}

static void
take_notes(struct sim_map *map)
{
  struct lm_note note;
  uint64_t lost;
  unsigned n = 0;
  while (lm_notes_take(&map->map->queue.batch.notes, &note, &lost)) {
    if (note.first_item >= map->n_items || ++n > 100000)
      record_broken(OWN_REPLY, "map %u has a note of item %llu", map->index,
                    (unsigned long long)note.first_item);
    lm_note_clean_up(&note);
  }
}

static void
check_latency(struct sim_map *map)
{
  struct lm_latency found;
  int64_t before = 0;
  lm_completions_latency(&map->map->queue.batch.completions, &found);
  for (int i = 0; i <= 4; i++) {
    int64_t at = lm_latency_quantile(&found, i / 4.0);
    if (found.total > 0 ? at < before || at > found.max_ns : at != -1)
      record_broken(ONCE, "quantile %d of map %u is %lld ns", i, map->index, (long long)at);
    before = at;
  }
}

/* --- bounds, time --- */

static int64_t
frozen_since(const struct sim_map *map)
{
  return sim_frozen() - map->frozen_before_ns;
}

static void
check_time(const struct sim_map *map)
{
  int64_t now = sim_now() - frozen_since(map);
  if (map->outstanding == 0 || sim_world.starves) /* without memory, no times are promised */
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
  const struct lm_sched *sched = &sim_world.dispatch->sched;
  LM_LIST_EACH (&sched->bounds, node) {
    const struct lm_bound *bound = LM_CONTAINER(node, struct lm_bound, link);
    if (bound->in_flight > bound->max)
      record_broken(BOUND, "%u attempts of a map that is to have %u", bound->in_flight, bound->max);
  }
  size_t most = sim_world.budget_bytes, reply = sim_reply.large_one_in > 0 ? 2500000 : 400000;
  for (unsigned i = 0; i < sim_world.n_maps; i++)
    most += 2 * (sim_world.maps[i].payload_bytes + reply);
  if (sched->used_bytes > most)
    record_broken(BUDGET, "%zu bytes are held of %zu", (size_t)sched->used_bytes,
                  sim_world.budget_bytes);
}

/* When there is something to do that its descriptor does not report. */
static int64_t
wait_until(const struct sim_map *map)
{
  int64_t start = map->opened_ns + frozen_since(map), until = LM_NEVER_NS;
  if (map->cancel_ns != 0 && map->cancelled_ns == 0 && !map->cancelled_elsewhere)
    until = lm_deadline_earlier(until, start + map->cancel_ns);
  if (map->close_ns != 0)
    until = lm_deadline_earlier(until, start + map->close_ns);
  if (map->deadline_ns != LM_NEVER_NS)
    until = lm_deadline_earlier(until, map->deadline_ns + frozen_since(map) + LATE_NS + SIM_SECOND);
  if (map->cancelled_ns != 0)
    until =
        lm_deadline_earlier(until, map->cancelled_ns + frozen_since(map) + LATE_NS + SIM_SECOND);
  return lm_deadline_earlier(until, start + FOR_EVER_NS + SIM_SECOND);
}

/* --- cancelling, ending --- */

static void
cancel(struct sim_map *map)
{
  record_event("map %u is cancelled", map->index);
  map->cancelled_ns = sim_now() - frozen_since(map);
  lm_map_cancel(map->map);
}

/* By a thread other than the calling one. */
static void *
cancel_elsewhere(void *argument)
{
  struct sim_map *map = argument;
  sim_sleep(map->cancel_ns);
  if (!map->ending)
    cancel(map);
  map->canceller_gone = true;
  sim_wake_all(&map->canceller_ended);
  return NULL;
}

static void
close_map(struct sim_map *map)
{
  map->ending = true;
  while (map->cancelled_elsewhere && !map->canceller_gone)
    sim_wait(&map->canceller_ended, INT64_MAX);
  if (!map->lazy)
    take_notes(map);
  check_latency(map);
  lm_map_close(map->map);
  int64_t frozen = sim_frozen();
  bool checks = sim_one_in(2) && record_violations() == 0;
  if (checks && !lm_map_quiesce(map->map, LATE_NS / 1000000) && sim_frozen() == frozen &&
      !sim_world.starves)
    record_broken(PROGRESS, "map %u is not quiet %.1f s after it was closed", map->index,
                  (double)LATE_NS / 1e9);
  struct lm_error err;
  struct lm_buf frame;
  lm_buf_init(&frame, 100);
  if (sim_one_in(8) && lm_map_submit(map->map, &frame, 0, 1, NULL, &err) == 0)
    record_broken(ONCE, "map %u takes a chunk after it was closed", map->index);
  lm_map_unref(map->map);
}

/* Whether the next chunk may go now. */
static bool
comes_next(struct sim_map *map)
{
  if (map->gap_ns == 0)
    return true;
  if (map->outstanding > 0)
    return false;
  if (map->state[0] == SIM_NEW)
    return true;
  if (map->gap_frozen)
    sim_freeze(map->gap_ns);
  else
    sim_sleep(map->gap_ns);
  return true;
}

/* One round of the calling thread. False: it has ended. */
static bool
step(struct sim_map *map)
{
  int64_t now = sim_now() - frozen_since(map) - map->opened_ns;
  enum submitted last = ADMITTED;
  uint64_t first;
  unsigned n;
  for (struct lm_job *job; (job = lm_map_take(map->map)) != NULL;)
    take(map, job);
  if (!map->lazy)
    take_notes(map);
  if (map->cancel_ns != 0 && !map->cancelled_elsewhere && now >= map->cancel_ns &&
      map->cancelled_ns == 0)
    cancel(map);
  if (map->close_ns != 0 && now >= map->close_ns) {
    record_event("map %u is closed", map->index);
    map->closed = true;
    return false;
  }
  struct lm_target *target = sim_world.targets[map->target];
  if (atomic_load(&target->renewal.wants) != LM_WANTS_NOTHING)
    renew(target);
  while (last == ADMITTED && next_chunk(map, &first, &n) && comes_next(map)) {
    last = submit(map, first, n);
    if (sim_one_in(16))
      sim_switch();
  }
  check_time(map);
  check_bounds();
  if (map->outstanding == 0 && (last == REFUSED || !next_chunk(map, &first, &n)))
    return false;
  if (last == FULL && map->outstanding == 0)
    sim_sleep(SIM_SECOND / 10); /* out of memory */
  else
    sim_await_event(lm_map_fd(map->map), wait_until(map));
  return true;
}

void *
sim_call_map(void *argument)
{
  static const char *const forms[] = {"", ", JSON", ", frames"};
  struct sim_map *map = argument;
  sim_sleep(sim_between(0, SIM_SECOND / 2));
  if (open_map(map)) {
    record_event("map %u: %u items%s%s", map->index, map->n_items,
                 map->idempotent ? ", idempotent" : "", forms[map->form]);
    if (map->cancelled_elsewhere)
      map->cancelled_elsewhere = sim_spawn("cancel", cancel_elsewhere, map) != NULL;
    while (record_violations() == 0 && step(map))
      ;
    close_map(map);
  } else {
    record_event("map %u cannot be opened", map->index);
  }
  if (--sim_world.maps_left == 0)
    sim_wake_all(&sim_world.maps_ended);
  return NULL;
}
