/* policy/limiter with a simulated server of limited capacity: the requests and the time that a throttled map
 * needs. Deterministic: no thread, no clock, no libc random. With an argument, prints the figures. */
#include <stdio.h>
#include <string.h>

#include "base/heap.h"
#include "base/list.h"
#include "check.h"
#include "policy/limiter.h"
#include "policy/retry.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

enum { MAX_MAPS = 2, MAX_REQUESTS = 4096 };

struct scenario {
  const char *name;
  unsigned cap; /* max_concurrency */
  unsigned chunks[MAX_MAPS];
  unsigned places;        /* capacity of the server */
  int64_t service_ns;     /* mean time in the handler; spread by +-50 % */
  int64_t refusal_ns;     /* until a 429 arrives */
  int64_t closed_ns;      /* accepts nothing until then */
  int64_t retry_after_ms; /* of a 429; -1: none */
  unsigned per_second;    /* accepted invocations per second; 0: no limit */
  /* Expected. */
  unsigned max_requests;
  double max_time; /* times the ideal */
};

enum kind { ARRIVES, REPLIES, REFUSED, WAKE };

struct request {
  struct lm_heap_item item;
  enum kind kind;
  unsigned map;
  int64_t at_ns;
  bool used;
};

struct world {
  const struct scenario *scenario;
  struct lm_limiter limiter;
  struct lm_heap events;
  struct request requests[MAX_REQUESTS];
  struct request wake;
  unsigned left[MAX_MAPS]; /* not started, including refused ones */
  unsigned open[MAX_MAPS]; /* not done */
  int64_t done_ns[MAX_MAPS];
  unsigned turn; /* of the ring of maps */
  unsigned busy, sent, refused;
  double tokens; /* of the server's rate; at most those of a tenth of a second */
  int64_t filled_ns;
  int64_t now_ns;
  uint64_t seed;
};

static double
draw(struct world *world)
{
  world->seed = world->seed * 6364136223846793005u + 1442695040888963407u;
  return (double)(world->seed >> 11) / (double)(1ull << 53);
}

static void
plan(struct world *world, struct request *request, enum kind kind, int64_t at_ns)
{
  request->kind = kind;
  CHECK(lm_heap_set(&world->events, &request->item, at_ns) == 0);
}

static struct request *
new_request(struct world *world)
{
  for (unsigned i = 0; i < MAX_REQUESTS; i++)
    if (!world->requests[i].used)
      return &world->requests[i];
  CHECK(!"more in flight than the test has room for");
  return NULL;
}

static void
start_what_may(struct world *world)
{
  while (lm_limiter_has_room(&world->limiter) &&
         lm_limiter_next_ns(&world->limiter) <= world->now_ns) {
    unsigned map = world->turn;
    for (unsigned i = 0; i < MAX_MAPS && world->left[map] == 0; i++)
      map = (map + 1) % MAX_MAPS;
    if (world->left[map] == 0)
      return;
    world->turn = (map + 1) % MAX_MAPS;
    world->left[map]--;
    struct request *request = new_request(world);
    request->used = true;
    request->map = map;
    lm_limiter_started(&world->limiter, world->now_ns);
    world->sent++;
    plan(world, request, ARRIVES, world->now_ns + MS / 2);
  }
  if (world->now_ns < world->limiter.not_before_ns)
    plan(world, &world->wake, WAKE, world->limiter.not_before_ns);
}

static void
throttled(struct world *world, struct request *request)
{
  struct lm_retry_policy policy = LM_RETRY_POLICY_DEFAULT;
  int64_t asked = world->scenario->retry_after_ms;
  int64_t wait = lm_retry_delay_ns(&policy, LM_BACKOFF_THROTTLE, world->limiter.consecutive_429 + 1,
                                   draw(world), asked);
  lm_limiter_throttled(&world->limiter, world->now_ns, wait, asked >= 0 ? wait : 0);
  world->refused++;
  world->left[request->map]++;
  CHECK(!lm_limiter_exhausted(&world->limiter, 0, world->now_ns, policy.throttle_patience_ns));
}

static bool
takes(struct world *world)
{
  const struct scenario *scenario = world->scenario;
  if (world->busy >= scenario->places || world->now_ns < scenario->closed_ns)
    return false;
  if (scenario->per_second == 0)
    return true;
  world->tokens += (double)(world->now_ns - world->filled_ns) / 1e9 * scenario->per_second;
  world->filled_ns = world->now_ns;
  if (world->tokens > scenario->per_second / 10)
    world->tokens = scenario->per_second / 10;
  if (world->tokens < 1)
    return false;
  world->tokens -= 1;
  return true;
}

static void
happen(struct world *world, struct request *request)
{
  const struct scenario *scenario = world->scenario;
  switch (request->kind) {
  case ARRIVES:
    if (takes(world)) {
      world->busy++;
      plan(world, request, REPLIES,
           world->now_ns + (int64_t)((0.5 + draw(world)) * (double)scenario->service_ns));
    } else {
      plan(world, request, REFUSED, world->now_ns + scenario->refusal_ns);
    }
    return;
  case REPLIES:
    world->busy--;
    request->used = false;
    lm_limiter_finished(&world->limiter, true, world->now_ns);
    if (--world->open[request->map] == 0)
      world->done_ns[request->map] = world->now_ns;
    break;
  case REFUSED:
    request->used = false;
    throttled(world, request);
    break;
  case WAKE:
    break;
  }
  start_what_may(world);
}

static void
run(const struct scenario *scenario, struct world *world, bool print)
{
  memset(world, 0, sizeof *world);
  world->scenario = scenario;
  world->seed = 42;
  lm_heap_init(&world->events);
  lm_limiter_init(&world->limiter, scenario->cap, 0);
  unsigned total = 0;
  for (unsigned i = 0; i < MAX_MAPS; i++) {
    world->left[i] = world->open[i] = scenario->chunks[i];
    total += scenario->chunks[i];
  }
  start_what_may(world);
  for (struct lm_heap_item *first; (first = lm_heap_first(&world->events)) != NULL;) {
    lm_heap_remove(&world->events, first);
    CHECK(first->key >= world->now_ns);
    world->now_ns = first->key;
    happen(world, LM_CONTAINER(first, struct request, item));
    CHECK(world->limiter.in_flight <= scenario->cap);
    CHECK(lm_limiter_window(&world->limiter) >= 1);
    CHECK(lm_limiter_window(&world->limiter) <= scenario->cap);
  }
  int64_t end_ns = 0;
  for (unsigned i = 0; i < MAX_MAPS; i++) {
    CHECK(world->open[i] == 0 && world->left[i] == 0);
    if (world->done_ns[i] > end_ns)
      end_ns = world->done_ns[i];
  }
  CHECK(world->sent == total + world->refused && world->limiter.in_flight == 0);
  lm_heap_clean_up(&world->events);

  unsigned wide = scenario->places < scenario->cap ? scenario->places : scenario->cap;
  double ideal = (double)scenario->closed_ns + (double)total / wide * (double)scenario->service_ns;
  if (scenario->per_second > 0 && ideal < (double)total / scenario->per_second * 1e9)
    ideal = (double)total / scenario->per_second * 1e9;
  double time = (double)end_ns / ideal;
  if (print)
    printf("%-34s %5u chunks, %5u requests, %4u 429, %6.2f s = %.2f x ideal\n", scenario->name,
           total, world->sent, world->refused, (double)end_ns / 1e9, time);
  CHECK(world->sent <= scenario->max_requests);
  CHECK(time <= scenario->max_time);
}

int
main(int argc, char **argv)
{
  (void)argv;
  static const struct scenario scenarios[] = {
      {"10 places, 1,000 x 100 ms", 256, {1000, 0}, 10, 100 * MS, 5 * MS, 0, -1, 0, 1400, 1.3},
      {"the same, 5 ms", 256, {1000, 0}, 10, 5 * MS, 5 * MS, 0, -1, 0, 1400, 1.5},
      {"the same, refusals take longer", 256, {1000, 0}, 10, 20 * MS, 300 * MS, 0, -1, 0, 1500, 4},
      {"the same, 10 s", 256, {1000, 0}, 10, 10 * SECOND, 5 * MS, 0, -1, 0, 1500, 1.3},
      {"one place", 256, {200, 0}, 1, 50 * MS, 5 * MS, 0, -1, 0, 600, 1.2},
      {"100 places of 256 asked", 256, {5000, 0}, 100, 200 * MS, 5 * MS, 0, -1, 0, 5500, 1.3},
      {"1,000 places", 1000, {5000, 0}, 1000, 200 * MS, 5 * MS, 0, -1, 0, 5000, 1.3},
      {"closed for 30 s", 256, {1000, 0}, 256, 100 * MS, 5 * MS, 30 * SECOND, -1, 0, 1400, 1.3},
      {"Retry-After 3 s", 64, {100, 0}, 64, 100 * MS, 5 * MS, 2 * SECOND, 3000, 0, 200, 2},
      {"100 a second, 5 ms", 256, {1000, 0}, 10, 5 * MS, 5 * MS, 0, -1, 100, 2000, 6},
      {"1,000 a second, 100 ms", 256, {10000, 0}, 256, 100 * MS, 5 * MS, 0, -1, 1000, 11000, 1.4},
      {"two maps", 256, {1000, 10}, 10, 100 * MS, 5 * MS, 0, -1, 0, 1400, 1.3},
  };
  static struct world world;
  for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
    run(&scenarios[i], &world, argc > 1);
  /* The last one: ten chunks beside a thousand, in turn, finish among the first. */
  CHECK(world.done_ns[1] < world.done_ns[0] / 10);
  return 0;
}
