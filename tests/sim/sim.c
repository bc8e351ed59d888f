/* The simulated dispatcher: `sim COUNT [SEED]` makes COUNT invocations, world after world from
 * that seed on; `sim replay SEED` shows the history of one world; `sim sweep` puts a fault at
 * each byte of one connection. docs/invariants.md lists the promises. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "dispatch/dispatch.h"
#include "fiber.h"
#include "guard.h"
#include "h2_server.h"
#include "lambda.h"
#include "net.h"
#include "os.h"
#include "record.h"
#include "transport/h2.h"
#include "transport/pool.h"
#include "transport/target.h"
#include "world.h"

enum { MAX_CONNECTIONS = 200000 /* far more than any world needs */ };

/* --- what happens to the process --- */

static void *
disturb(void *argument)
{
  struct lm_dispatch *dispatch = lm_dispatch_ref(sim_world.dispatch);
  (void)argument;
  while (!sim_world.over) {
    sim_sleep(sim_between(1000000,
                          sim_world.forks || sim_world.starves ? SIM_SECOND / 5 : 3 * SIM_SECOND));
    if (!sim_world.over)
      sim_h2_check_silence();
    if (sim_world.forks && !sim_world.over) {
      record_event("fork");
      sim_fork();
    }
    if (sim_world.starves && !sim_world.over) {
      record_event("memory is short");
      sim_starve(1 + sim_below(100));
      sim_sleep(sim_between(0, SIM_SECOND / 10));
      sim_starve(0);
    }
    if (sim_one_in(20) && !sim_world.over)
      lm_dispatch_set_budget(dispatch, sim_world.budget_bytes);
    if (sim_world.freeze_ns > 0 && sim_one_in(3)) {
      record_event("the process is frozen");
      sim_freeze(sim_between(0, sim_world.freeze_ns));
    }
  }
  lm_dispatch_unref(dispatch);
  return NULL;
}

/* The number of idle connections according to an endpoint, and the real one. */
static void
check_idle(const struct lm_endpoint *endpoint)
{
  for (unsigned i = 0; i < sim_world.dispatch->crew.n_io; i++) {
    int idle = 0;
    LM_LIST_EACH (&sim_world.dispatch->crew.io[i]->pools, node) {
      const struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
      if (pool->site.endpoint == endpoint)
        LM_LIST_EACH (&pool->site.idle, conn)
          idle++;
      if (pool->site.endpoint == endpoint)
        LM_LIST_EACH (&pool->site.shared, conn)
          idle += lm_h2_running(LM_CONTAINER(conn, struct lm_conn, link)) == 0;
    }
    if (atomic_load(&endpoint->idle[i].n) != idle)
      record_broken(NOTHING_LEFT, "%d connections are said to be idle, and %d are",
                    atomic_load(&endpoint->idle[i].n), idle);
  }
}

static void
check_left(void)
{
  const struct lm_dispatch *dispatch = sim_world.dispatch;
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
  if (!sim_world.starves)
    sim_h2_check_left();
}

/* The last release. What a thread may still use is never freed; one ends in time unless the process is frozen
 * meanwhile. */
static void
release(struct lm_dispatch *dispatch)
{
  int64_t frozen = sim_frozen();
  lm_dispatch_release(dispatch, 10000);
  sim_world.leaves = sim_world.leaves || sim_frozen() != frozen;
}

/* As an interpreter does that ends while others may still map. */
static void *
shut_down(void *argument)
{
  (void)argument;
  sim_sleep(sim_world.shut_down_ns);
  record_event("the dispatcher shuts down");
  sim_world.shut_down = true;
  release(sim_world.dispatch);
  if (--sim_world.maps_left == 0)
    sim_wake_all(&sim_world.maps_ended);
  return NULL;
}

static bool
acquire(void)
{
  struct lm_error err;
  if (lm_dispatch_acquire(sim_world.budget_bytes, &sim_world.dispatch, &err) == 0)
    return true;
  record_event("no dispatcher: %s", err.text);
  return false;
}

static void *
play(void *argument)
{
  (void)argument;
  sim_world.live_before = lm_alloc_live();
  if (sim_world.starts_starved)
    sim_starve(1 + sim_below(120));
  if (sim_world.forks)
    sim_fork(); /* must work without a dispatcher */
  bool acquired = acquire();
  if (acquired)
    sim_open_targets();
  sim_starve(0);
  if (!acquired)
    return NULL;
  struct lm_dispatch *dispatch = lm_dispatch_ref(sim_world.dispatch);
  bool twice = !sim_world.simple && sim_one_in(8) && acquire();
  sim_world.maps_left = sim_world.n_maps;
  for (unsigned i = 0; i < sim_world.n_maps; i++)
    sim_spawn("caller", sim_call_map, &sim_world.maps[i]);
  if (!sim_world.simple)
    sim_spawn("disturb", disturb, NULL);
  if (sim_world.shut_down_ns != 0 && !twice && sim_spawn("shut", shut_down, NULL) != NULL)
    sim_world.maps_left++;
  else
    sim_world.shut_down_ns = 0;
  while (sim_world.maps_left > 0)
    sim_wait(&sim_world.maps_ended, INT64_MAX);
  sim_world.over = true;
  sim_starve(0);
  if (twice)
    lm_dispatch_release(dispatch, 0);
  if (lm_dispatch_closed(dispatch) != sim_world.shut_down)
    record_broken(PROGRESS, "the dispatcher is closed while it is held");
  bool early = sim_one_in(4);
  if (!early)
    sim_sleep(2 * SIM_SECOND); /* by then, cancelled jobs have been released */
  if (!early && !sim_world.shut_down && record_violations() == 0)
    check_left();
  for (unsigned i = 0; i < sim_world.n_targets; i++)
    lm_target_unref(sim_world.targets[i]);
  if (!sim_world.shut_down)
    release(dispatch);
  lm_dispatch_unref(dispatch);
  return NULL;
}

/* --- runs --- */

bool
sim_run_world(void)
{
  if (!sim_run(play, NULL) && record_violations() == 0)
    record_broken(PROGRESS, "stuck after %llu switches: %s", (unsigned long long)sim_switches(),
                  sim_stuck());
  if (record_violations() > 0)
    return false;
  for (unsigned i = 0; i < sim_world.n_maps; i++)
    sim_check_items(&sim_world.maps[i]);
  if (sim_connections() > MAX_CONNECTIONS)
    record_broken(PROGRESS, "%u connections were tried", sim_connections());
  if (sim_sockets_open() != 0)
    record_broken(NOTHING_LEFT, "%u connections", sim_sockets_open());
  if (sim_events_open() != 0)
    record_broken(NOTHING_LEFT, "%u events", sim_events_open());
  if (lm_alloc_live() != sim_world.live_before && !sim_world.leaves)
    record_broken(NOTHING_LEFT, "%ld blocks of memory", lm_alloc_live() - sim_world.live_before);
  return record_violations() == 0;
}

void
sim_begin(uint64_t seed, bool show)
{
  record_begin(show ? stdout : NULL);
  sim_net_forget();
  sim_events_forget();
  sim_starve(0);
  sim_seed(seed);
  sim_lambda_begin();
}

static bool
run_seed(uint64_t seed, bool show)
{
  sim_begin(seed, show);
  sim_choose_world();
  return sim_run_world();
}

static double
cpu_s(void)
{
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct many {
  uint64_t count, seed;
};

static int
run_many(const void *argument)
{
  const struct many *many = argument;
  uint64_t made = 0, over_http2 = 0, seed = many->seed, seeds = 0, violations = 0;
  double began = cpu_s();
  for (; made < many->count && violations == 0; seeds++) {
    sim_guard_at("seed %llu", (unsigned long long)(seed + seeds));
    if (!run_seed(seed + seeds, false)) {
      violations++;
      printf("seed %llu: %s\n", (unsigned long long)(seed + seeds), record_first());
    }
    made += sim_invocations();
    over_http2 += sim_invocations_over_http2();
  }
  printf("%llu invocations, %llu seeds, %llu violations, %.0f invocations a second of CPU, "
         "%.0f %% over HTTP/2\n",
         (unsigned long long)made, (unsigned long long)seeds, (unsigned long long)violations,
         (double)made / (cpu_s() - began + 1e-9),
         100 * (double)over_http2 / (double)(made + !made));
  return violations == 0 ? 0 : 1;
}

/* What is done once a process is done before the first world, whose history it would change. */
static void
prepare(void)
{
  mallopt(M_MMAP_THRESHOLD, 256 << 20); /* worlds come and go: give nothing back to the kernel */
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  sim_reply_prepare();
  sim_callers_prepare();
  const struct sim_simple simple = {.n_items = 1};
  sim_begin(0, false);
  sim_simple_world(&simple);
  (void)sim_run_world(); /* the dispatcher registers its fork handlers */
}

/* What AddressSanitizer keeps of freed memory is 256 MB otherwise. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
  return "quarantine_size_mb=32:detect_stack_use_after_return=1";
}

int
main(int argc, char **argv)
{
  char *end = NULL;
  prepare();
  if (argc == 2 && strcmp(argv[1], "sweep") == 0)
    return sim_sweep();
  if (argc == 3 && strcmp(argv[1], "replay") == 0) {
    uint64_t seed = strtoull(argv[2], &end, 10);
    if (*end == '\0') {
      bool kept = run_seed(seed, true);
      printf("%s\n", kept ? "every promise was kept" : record_first());
      return kept ? 0 : 1;
    }
  } else if (argc == 2 || argc == 3) {
    struct many many = {.count = strtoull(argv[1], &end, 10), .seed = 1};
    if (*end == '\0' && argc == 3)
      many.seed = strtoull(argv[2], &end, 10);
    if (*end == '\0')
      return sim_guarded(run_many, &many);
  }
  fputs("usage: sim COUNT [SEED] | sim replay SEED | sim sweep\n", stderr);
  return 2;
}
