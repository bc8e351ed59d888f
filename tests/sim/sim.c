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
#include "lambda.h"
#include "net.h"
#include "os.h"
#include "record.h"
#include "transport/pool.h"
#include "transport/target.h"
#include "world.h"

/* --- what happens to the process --- */

static void *
disturb(void *argument)
{
  struct lm_dispatch *dispatch = lm_dispatch_ref(sim_world.dispatch);
  (void)argument;
  while (!sim_world.over) {
    sim_sleep(sim_between(1000000,
                          sim_world.forks || sim_world.starves ? SIM_SECOND / 5 : 3 * SIM_SECOND));
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
}

/* As an interpreter does that ends while others may still map. */
static void *
shut_down(void *argument)
{
  (void)argument;
  sim_sleep(sim_world.shut_down_ns);
  record_event("the dispatcher shuts down");
  sim_world.shut_down = true;
  lm_dispatch_release(sim_world.dispatch, 10000);
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
    lm_dispatch_release(dispatch, 10000);
  lm_dispatch_unref(dispatch);
  return NULL;
}

/* --- runs --- */

/* Run the chosen world. False: a promise was broken. */
static bool
run_world(void)
{
  if (!sim_run(play, NULL) && record_violations() == 0)
    record_broken(PROGRESS, "stuck after %llu switches: %s", (unsigned long long)sim_switches(),
                  sim_stuck());
  if (record_violations() > 0)
    return false;
  for (unsigned i = 0; i < sim_world.n_maps; i++)
    sim_check_items(&sim_world.maps[i]);
  if (sim_sockets_open() != 0)
    record_broken(NOTHING_LEFT, "%u connections", sim_sockets_open());
  if (sim_events_open() != 0)
    record_broken(NOTHING_LEFT, "%u events", sim_events_open());
  if (lm_alloc_live() != sim_world.live_before)
    record_broken(NOTHING_LEFT, "%ld blocks of memory", lm_alloc_live() - sim_world.live_before);
  return record_violations() == 0;
}

static void
begin(uint64_t seed, bool show)
{
  record_begin(show);
  sim_net_forget();
  sim_events_forget();
  sim_starve(0);
  sim_seed(seed);
  sim_lambda_begin();
}

static bool
run_seed(uint64_t seed, bool show)
{
  begin(seed, show);
  sim_choose_world();
  return run_world();
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

/* --- a fault at each byte of one connection --- */

/* What the fault may have cost: nothing, or the item whose request or reply it hit. */
static void
check_loss(void)
{
  const struct sim_map *map = &sim_world.maps[0];
  unsigned failed = 0, most = sim_fault.kind == SIM_PAUSE || sim_fault.kind == SIM_NO_FAULT ? 0 : 1;
  for (unsigned i = 0; i < map->n_items; i++)
    failed += map->state[i] != SIM_DONE;
  if (failed > most)
    record_broken(PROGRESS, "%u items failed, and only %u can have met the fault", failed, most);
}

static bool
run_fault(uint64_t seed, bool tls, enum sim_form form, struct sim_fault fault, bool show)
{
  begin(seed, show);
  sim_simple_world(tls, form);
  sim_fault = fault;
  if (run_world())
    check_loss();
  if (record_violations() == 0)
    return true;
  printf("%s, form %d, fault %d after %zu bytes of the %s: %s\n", tls ? "TLS" : "plain", form,
         fault.kind, fault.at, fault.in_reply ? "replies" : "requests", record_first());
  return false;
}

/* Each byte that is received and sent, once with each kind of fault. */
static bool
sweep(bool tls, enum sim_form form, uint64_t *runs)
{
  struct sim_fault fault = {.kind = SIM_NO_FAULT};
  size_t bytes[2];
  if (!run_fault(1, tls, form, fault, false))
    return false;
  sim_first_connection(&bytes[0], &bytes[1]);
  for (int in_reply = 0; in_reply < 2; in_reply++)
    for (fault.at = 0; fault.at <= bytes[in_reply]; fault.at++)
      for (fault.kind = SIM_FIN; fault.kind <= SIM_PAUSE; fault.kind++, ++*runs) {
        fault.in_reply = in_reply == 1;
        if (!run_fault(1, tls, form, fault, false))
          return run_fault(1, tls, form, fault, true);
      }
  return true;
}

static int
run_sweep(void)
{
  uint64_t runs = 0;
  double began = cpu_s();
  bool kept = sweep(false, SIM_BARE, &runs) && sweep(true, SIM_JSON, &runs) &&
              sweep(true, SIM_FRAME, &runs);
  printf("%llu faults, %d violations, %.1f s of CPU\n", (unsigned long long)runs, kept ? 0 : 1,
         cpu_s() - began);
  return kept ? 0 : 1;
}

int
main(int argc, char **argv)
{
  char *end = NULL;
  mallopt(M_MMAP_THRESHOLD, 256 << 20); /* worlds come and go: return nothing to the kernel */
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  sim_reply_prepare();
  sim_callers_prepare();
  if (argc == 2 && strcmp(argv[1], "sweep") == 0)
    return run_sweep();
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
  fputs("usage: sim COUNT [SEED] | sim replay SEED | sim sweep\n", stderr);
  return 2;
}
