/* Faults, one at a time, at each place where one can be: each byte of a connection, each attempt to connect,
 * each moment of an idle connection. The world is one calm map whose chunks go one after the other. What
 * has left and what was read before the fault decides how each chunk ends, and that is compared. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fiber.h"
#include "guard.h"
#include "lambda.h"
#include "net.h"
#include "os.h"
#include "policy/outcome.h"
#include "record.h"
#include "sweep.h"
#include "world.h"

enum { MAX_PLACES = 2000, MAX_ATTEMPTS = 60 };

#define BIT(kind) (1u << (kind))
#define LOSSES (BIT(SIM_FIN) | BIT(SIM_RESET) | BIT(SIM_STALL))
#define FAULTS (LOSSES | BIT(SIM_PAUSE))

static const int64_t PATIENCE_NS = 15 * SIM_SECOND, CONNECT_NS = 5 * SIM_SECOND;
static const int64_t MAX_IDLE_NS = 50 * SIM_SECOND;

#define CALM .seeds = 1, .in_requests = true, .in_replies = true
#define MAP(...) .world = {.n_items = 3, __VA_ARGS__}
#define EARLY(...)                                                                                 \
  MAP(.form = SIM_JSON, .payload_bytes = 700, .send_buffer = 300),                                 \
      .faults = BIT(SIM_EARLY), .seeds = 1, .in_requests = true,                                   \
      .script = {.type = "RequestTooLarge", __VA_ARGS__},                                          \
      .verdict = {LM_RAN_NOT, LM_FAIL_TOO_LARGE, false}

static const struct sim_sweep SWEEPS[] = {
    {"7 9 10 11 14 36", "a reply of known length", "once MAYBE RAN", MAP(.form = SIM_BARE),
     .faults = FAULTS, CALM},
    {"9 10 36", "the same under TLS", "once MAYBE RAN", MAP(.tls = true, .form = SIM_FRAME),
     .faults = FAULTS, CALM},
    {"9 10 14 36", "an idempotent map", "once", MAP(.idempotent = true, .form = SIM_JSON),
     .faults = FAULTS, CALM},
    {"13", "a reply that pauses for 70 s", "once", MAP(.form = SIM_JSON), .faults = BIT(SIM_PAUSE),
     CALM, .pause_ns = 70 * (int64_t)1000000000},
    {"36 39", "odd replies: informational ones before them, trailers, chunks", "once MAYBE RAN",
     MAP(.form = SIM_JSON), .faults = LOSSES, .seeds = 10, .in_replies = true, .odd = 1},
    {"11 36", "replies that end with the connection", "once MAYBE RAN", MAP(.form = SIM_JSON),
     .faults = LOSSES, .seeds = 4, .in_requests = true, .in_replies = true, .odd = 1, .close = 1},
    {"11", "Connection: close", "once MAYBE RAN", MAP(.form = SIM_BARE), .faults = FAULTS, CALM,
     .close = 1},
    {"8 63", "an upload in many pieces", "once MAYBE",
     .world = {.n_items = 1, .form = SIM_JSON, .payload_bytes = 1500, .send_buffer = 300},
     .faults = FAULTS, .in_requests = true, .seeds = 1},
    {"8 63", "the same under TLS", "once MAYBE",
     .world =
         {.tls = true, .n_items = 1, .form = SIM_FRAME, .payload_bytes = 1500, .send_buffer = 300},
     .faults = FAULTS, .in_requests = true, .seeds = 1},
    {"56", "the map's time is over", "once MAYBE RAN", MAP(.form = SIM_JSON),
     .faults = BIT(SIM_STALL), CALM, .timeout_ms = 2000},
    {"7 66", "afterwards every connection is refused", "once NOT MAYBE RAN", MAP(.form = SIM_JSON),
     .faults = LOSSES, CALM, .then = SIM_PORT_CLOSED, .gap_ns = 10000000},
    {"66", "the same, idempotent", "once NOT MAYBE RAN", MAP(.form = SIM_JSON, .idempotent = true),
     .faults = BIT(SIM_FIN) | BIT(SIM_RESET), CALM, .then = SIM_PORT_CLOSED, .gap_ns = 10000000},
    {"66", "afterwards every connection fails in TLS", "once NOT MAYBE RAN",
     MAP(.form = SIM_JSON, .idempotent = true, .tls = true),
     .faults = BIT(SIM_FIN) | BIT(SIM_RESET), CALM, .then = SIM_UNTRUSTED, .gap_ns = 10000000},
    {"66", "afterwards connecting is not answered", "once NOT MAYBE RAN",
     MAP(.form = SIM_JSON, .idempotent = true), .faults = BIT(SIM_FIN) | BIT(SIM_RESET), CALM,
     .then = SIM_NO_ANSWER, .gap_ns = 10000000},
    {"16", "a throttle", "once MAYBE RAN", MAP(.form = SIM_JSON), .faults = LOSSES, .seeds = 2,
     .in_replies = true, .script = {.request = 2, .status = 429, .type = "TooManyRequests"}},
    {"20", "an error of the service", "once MAYBE RAN", MAP(.form = SIM_JSON), .faults = LOSSES,
     .seeds = 2, .in_replies = true, .script = {.request = 2, .status = 500, .type = "Service"}},
    {"23", "an error of a proxy", "MAYBE RAN", MAP(.form = SIM_JSON), .faults = LOSSES, .seeds = 2,
     .in_replies = true, .script = {.request = 2, .status = 502, .runs = true},
     .verdict = {LM_RAN_MAYBE, LM_FAIL_SERVICE, false}},
    {"24", "an error that stops the map", "NOT MAYBE", MAP(.form = SIM_JSON), .faults = LOSSES,
     .seeds = 2, .in_replies = true,
     .script = {.request = 1, .status = 403, .type = "AccessDenied"},
     .verdict = {LM_RAN_NOT, LM_FAIL_ACCESS_DENIED, true}},
    {"30", "a redirect", "NOT MAYBE", MAP(.form = SIM_JSON), .faults = LOSSES, .seeds = 2,
     .in_replies = true, .script = {.request = 1, .status = 307},
     .verdict = {LM_RAN_NOT, LM_FAIL_PROTOCOL, true}},
    {"31 36", "a function error", "MAYBE RAN", MAP(.form = SIM_JSON), .faults = LOSSES, .seeds = 2,
     .in_replies = true,
     .script =
         {.request = 2, .status = 200, .type = "ValueError", .function_error = true, .runs = true},
     .verdict = {LM_RAN_YES, LM_FAIL_REMOTE, false}},
    {"28", "an answer before the request is complete", "once NOT MAYBE", EARLY(.status = 413)},
    {"28", "the same, and the connection is closed", "once NOT MAYBE",
     EARLY(.status = 413, .closes = true)},
    {"28", "the same, and it is reset", "once NOT MAYBE", EARLY(.status = 413, .resets = true)},
    {"37 39 40", "replies that are not HTTP", "MAYBE RAN", MAP(.form = SIM_JSON), .faults = LOSSES,
     .seeds = 60, .in_replies = true,
     .script = {.request = 1, .status = 200, .garbage = true, .runs = true}},
};

/* --- how maps ended --- */

enum end { ENDS_ONCE, ENDS_NOT, ENDS_MAYBE, ENDS_RAN, N_ENDS };

static const char *const ENDS[N_ENDS] = {"once", "NOT", "MAYBE", "RAN"};

struct seen {
  uint64_t runs, ends[N_ENDS];
};

static void
see(const struct sim_tally *is, struct seen *seen)
{
  enum end end = ENDS_ONCE;
  for (int ran = 0; ran <= LM_RAN_YES; ran++)
    for (int failure = 0; failure < SIM_FAILURES; failure++)
      if (is->failed[ran][failure] > 0)
        end = (enum end)(ENDS_NOT + ran);
  seen->ends[end]++;
  seen->runs++;
}

/* One line of what a sweep has seen. False: it is not what it is there for. */
static bool
report(const char *rows, const char *what, const char *expects, const struct seen *seen)
{
  char met[40] = "";
  printf("rows %s: %s: %llu faults", rows, what, (unsigned long long)seen->runs);
  for (int end = 0; end < N_ENDS; end++)
    if (seen->ends[end] > 0) {
      printf(", %s %llu", ENDS[end], (unsigned long long)seen->ends[end]);
      snprintf(met + strlen(met), sizeof met - strlen(met), "%s%s", met[0] == '\0' ? "" : " ",
               ENDS[end]);
    }
  printf("\n");
  if (strcmp(met, expects) == 0)
    return true;
  printf("they must end with: %s\n", expects);
  return false;
}

/* The world that was chosen, and whether it ends as it must. */
static bool
run(const char *what, void (*check)(const void *argument), const void *argument, struct seen *seen)
{
  struct sim_tally is;
  if (sim_run_world())
    check(argument);
  sim_count(&is);
  see(&is, seen);
  if (record_violations() == 0)
    return true;
  printf("%s, fault %d after %zu bytes of the %s: %s\n", what, sim_fault.kind, sim_fault.at,
         sim_fault.in_reply ? "replies" : "requests", record_first());
  return false;
}

/* --- at each byte --- */

static void
check_fault(const void *argument)
{
  const struct sim_sweep *sweep = argument;
  struct sim_tally is, want;
  sim_count(&is);
  if (sweep->script.garbage) {
    sim_check_garbage(&is);
    return;
  }
  sim_expect(sweep, &want);
  sim_compare(&is, &want);
}

static bool
run_fault(const struct sim_sweep *sweep, uint64_t seed, struct sim_fault fault, bool show,
          struct seen *seen)
{
  sim_guard_at("%s, seed %llu, fault %d after %zu bytes", sweep->what, (unsigned long long)seed,
               fault.kind, fault.at);
  sim_begin(seed, show);
  sim_simple_world(&sweep->world);
  sim_fault = fault;
  if (fault.kind == SIM_PAUSE)
    sim_fault.pause_ns = sweep->pause_ns > 0 ? sweep->pause_ns : SIM_SECOND * 3 / 2;
  sim_script = sweep->script;
  sim_reply.odd_one_in = sweep->odd;
  sim_lambda.close_one_in = sweep->close;
  if (sweep->then != SIM_CONNECTS)
    sim_refusals = (struct sim_refusals){sweep->then, 1, MAX_ATTEMPTS * 100};
  if (sweep->timeout_ms > 0)
    sim_world.maps[0].timeout_ms = sweep->timeout_ms;
  sim_world.maps[0].gap_ns = sweep->gap_ns;
  if (sweep->pause_ns > 0)
    sim_world.maps[0].invocation_ms = -1;
  return run(sweep->what, check_fault, sweep, seen);
}

static bool
sweep_direction(const struct sim_sweep *sweep, uint64_t seed, bool in_reply, size_t bytes,
                struct seen *seen)
{
  struct sim_fault fault = {.in_reply = in_reply};
  size_t step = 1 + bytes / MAX_PLACES; /* of a reply that is large for a purpose */
  for (fault.at = 0; fault.at <= bytes; fault.at += step)
    for (fault.kind = SIM_FIN; fault.kind <= SIM_EARLY; fault.kind++)
      if ((sweep->faults & BIT(fault.kind)) != 0 && !run_fault(sweep, seed, fault, false, seen))
        return run_fault(sweep, seed, fault, true, seen);
  return true;
}

static bool
sweep_bytes(const struct sim_sweep *sweep, uint64_t *runs)
{
  struct seen seen = {0}, without = {0};
  for (uint64_t seed = 1; seed <= sweep->seeds; seed++) {
    if (!run_fault(sweep, seed, (struct sim_fault){.kind = SIM_NO_FAULT}, false, &without))
      return false;
    const struct sim_first first = *sim_first_connection();
    sim_remember_usual();
    if ((sweep->in_requests && !sweep_direction(sweep, seed, false, first.received, &seen)) ||
        (sweep->in_replies && !sweep_direction(sweep, seed, true, first.sent, &seen)))
      return false;
  }
  *runs += seen.runs;
  return report(sweep->rows, sweep->what, sweep->expects, &seen);
}

/* --- at each attempt to connect --- */

struct refusal {
  const char *rows, *what, *expects;
  enum sim_refusal how; /* SIM_CONNECTS: the name is not found */
  bool tls, by_proxy, name_unknown, hopeless;
  enum lm_failure failure;
};

static const struct refusal REFUSALS[] = {
    {"1", "refused", "once NOT", .how = SIM_PORT_CLOSED, .failure = LM_FAIL_CONNECT},
    {"2", "not answered", "once NOT", .how = SIM_NO_ANSWER, .failure = LM_FAIL_CONNECT},
    {"7", "reset in the TLS handshake", "once NOT", .how = SIM_HANDSHAKE_RESET, .tls = true,
     .failure = LM_FAIL_CONNECT},
    {"60", "refused by the proxy", "once NOT", .how = SIM_PROXY_FAILS, .tls = true,
     .by_proxy = true, .failure = LM_FAIL_CONNECT},
    {"60", "the proxy wants a password", "NOT", .how = SIM_PROXY_WANTS_PASSWORD, .tls = true,
     .by_proxy = true, .hopeless = true, .failure = LM_FAIL_CONFIG},
    {"6", "a certificate that is not trusted", "NOT", .how = SIM_UNTRUSTED, .tls = true,
     .hopeless = true, .failure = LM_FAIL_CONNECT},
    {"5", "the name server fails", "once NOT", .failure = LM_FAIL_CONNECT},
    {"3", "the name does not exist", "NOT", .name_unknown = true, .hopeless = true,
     .failure = LM_FAIL_CONFIG},
};

/* The items before it have results, each on a connection of its own. It and those after it have them too,
 * or nothing of them has left. */
static void
check_refusal(const void *argument)
{
  const struct refusal *refusal = argument;
  struct sim_tally is, want = {0};
  unsigned n = sim_world.maps[0].n_items, tried = sim_connections();
  bool named = refusal->how == SIM_CONNECTS;
  bool got_through = tried > (named ? 0 : sim_refusals.until);
  sim_count(&is);
  want.done = got_through && !refusal->hopeless ? n : sim_refusals.from;
  if (got_through && sim_now() > PATIENCE_NS - SIM_SECOND && is.done > sim_refusals.from)
    want.done = is.done; /* one gave up just before another got through */
  want.runs = want.done;
  unsigned failed = n - want.done, meet = refusal->hopeless ? 1 : failed;
  want.failed[LM_RAN_NOT][refusal->failure] = meet;
  want.failed[LM_RAN_NOT][LM_FAIL_CANCELLED] = failed - meet;
  sim_compare(&is, &want);
  if (refusal->hopeless && !named && tried != sim_refusals.from + 1)
    record_broken(PROGRESS, "%u connections were tried", tried);
  if (!refusal->hopeless && sim_now() > PATIENCE_NS + 3 * CONNECT_NS)
    record_broken(PROGRESS, "it took %.3f s to give up", (double)sim_now() / 1e9);
  if (!refusal->hopeless && is.done < n && sim_now() < PATIENCE_NS - CONNECT_NS)
    record_broken(PROGRESS, "it took %.3f s only to give up", (double)sim_now() / 1e9);
}

static bool
sweep_refusal(const struct refusal *refusal, uint64_t *runs)
{
  struct seen seen = {0};
  bool named = refusal->how == SIM_CONNECTS;
  const struct sim_simple simple = {
      .n_items = 3, .tls = refusal->tls, .by_name = named, .by_proxy = refusal->by_proxy};
  unsigned most = refusal->hopeless ? 1 : MAX_ATTEMPTS;
  for (unsigned from = 0; from < (named ? 1 : simple.n_items); from++)
    for (unsigned so_many = 1; so_many <= most; so_many++) {
      sim_guard_at("%s, connections %u+%u", refusal->what, from, so_many);
      sim_begin(so_many, false);
      sim_simple_world(&simple);
      sim_world.maps[0].invocation_ms = -1;
      sim_lambda.close_one_in = 1;
      sim_refusals = (struct sim_refusals){refusal->how, from, named ? from : from + so_many};
      sim_options.bad_look_ups = named ? so_many : 0;
      sim_options.name_unknown = refusal->name_unknown;
      if (!run(refusal->what, check_refusal, refusal, &seen))
        return false;
    }
  *runs += seen.runs;
  return report(refusal->rows, refusal->what, refusal->expects, &seen);
}

/* --- at each moment of an idle connection --- */

struct idle {
  const char *rows, *what, *expects;
  enum sim_fault_kind kind; /* of what comes after the first reply */
  int64_t gap_ns;           /* from that reply to the next request, at most; 100 steps of it */
  int64_t closes_ns; /* or of this: the gap is always so long, and the server closes after a step */
  bool frozen;
  struct sim_sweep sweep; /* what is usual */
};

#define TWO                                                                                        \
  {                                                                                                \
    .world = {.n_items = 2, .form = SIM_JSON }                                                     \
  }

static const struct idle IDLE[] = {
    {"12", "an idle connection that was dropped, used after up to 100 s", "once MAYBE",
     .gap_ns = 100 * (int64_t)1000000000, .kind = SIM_STALL, .sweep = TWO},
    {"12 64", "the same, and the process stands still meanwhile", "once MAYBE",
     .gap_ns = 100 * (int64_t)1000000000, .kind = SIM_STALL, .frozen = true, .sweep = TWO},
    {"10 11", "a connection that is closed while a request begins", "once MAYBE", .gap_ns = 2500000,
     .closes_ns = 5000000, .kind = SIM_FIN, .sweep = TWO},
};

static void
check_idle(const void *argument)
{
  const struct idle *idle = argument;
  const struct sim_map *map = &sim_world.maps[0];
  bool lost = sim_was_lost(), young = map->gap_ns < MAX_IDLE_NS - SIM_SECOND;
  struct sim_tally is, want;
  sim_count(&is);
  sim_expect(&idle->sweep, &want);
  sim_compare(&is, &want);
  if (sim_fault.kind == SIM_STALL && (young || map->gap_ns > MAX_IDLE_NS + SIM_SECOND) &&
      lost != young)
    record_broken(PROGRESS, "a connection that was idle for %.0f s is%s used",
                  (double)map->gap_ns / 1e9, lost ? "" : " not");
}

static bool
run_idle(const struct idle *idle, int64_t step, struct sim_fault fault, struct seen *seen)
{
  sim_guard_at("%s, step %lld", idle->what, (long long)step);
  sim_begin((uint64_t)step, false);
  sim_simple_world(&idle->sweep.world);
  sim_world.maps[0].gap_ns = idle->closes_ns > 0 ? idle->gap_ns : idle->gap_ns / 100 * step;
  sim_world.maps[0].gap_frozen = idle->frozen;
  sim_fault = fault;
  return run(idle->what, check_idle, idle, seen);
}

static bool
sweep_idle(const struct idle *idle, uint64_t *runs)
{
  struct seen seen = {0}, without = {0};
  for (int64_t step = 1; step <= 100; step++) {
    unsigned n;
    struct sim_fault fault = {.in_reply = true};
    if (!run_idle(idle, step, fault, &without))
      return false;
    fault.kind = idle->kind;
    fault.at = sim_served(&n)[0].reply_end;
    fault.pause_ns = idle->closes_ns / 100 * step;
    if (!run_idle(idle, step, fault, &seen))
      return false;
  }
  *runs += seen.runs;
  return report(idle->rows, idle->what, idle->expects, &seen);
}

/* --- all of them --- */

#define EACH(table, i) for (size_t i = 0; kept && i < sizeof(table) / sizeof(table)[0]; i++)

static int
sweep_all(const void *argument)
{
  uint64_t runs = 0;
  bool kept = true;
  clock_t began = clock();
  (void)argument;
  EACH(SWEEPS, i)
  kept = sweep_bytes(&SWEEPS[i], &runs);
  EACH(REFUSALS, i)
  kept = sweep_refusal(&REFUSALS[i], &runs);
  EACH(IDLE, i)
  kept = sweep_idle(&IDLE[i], &runs);
  kept = kept && sim_sweep_h2(&runs);
  printf("%llu faults, %d violations, %.1f s of CPU\n", (unsigned long long)runs, kept ? 0 : 1,
         (double)(clock() - began) / CLOCKS_PER_SEC);
  return kept ? 0 : 1;
}

int
sim_sweep(void)
{
  return sim_guarded(sweep_all, NULL);
}
