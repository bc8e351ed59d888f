/* A fault at each byte of one connection over HTTP/2: of the SETTINGS, of each request and of each reply. And
 * many requests at once, whose time is over before they have left. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fiber.h"
#include "guard.h"
#include "h2_server.h"
#include "lambda.h"
#include "net.h"
#include "record.h"
#include "sweep.h"
#include "world.h"

enum { N_ITEMS = 3 };

struct row {
  const char *rows, *what;
  enum sim_form form;
  bool idempotent, odd;
  size_t payload_bytes, send_buffer;
};

static const struct row ROWS[] = {
    {"7 9 10 14 36", "over HTTP/2", SIM_JSON, false, false, 0, 0},
    {"9 10 14 36", "over HTTP/2, idempotent", SIM_FRAME, true, false, 0, 0},
    {"36 39", "over HTTP/2, odd replies: informational ones before them, trailers", SIM_JSON, false,
     true, 0, 0},
    {"8 63", "over HTTP/2, an upload in many pieces", SIM_JSON, false, false, 1500, 300},
};

static struct sim_h2_place usual[SIM_H2_PLACES]; /* without a fault */

/* The first request whose reply was not read to its end, and what becomes of it. Those after it go on another
 * connection. NOT, and so sent again: not a byte of its HEADERS has left. */
static void
expect(const struct row *row, struct sim_tally *want)
{
  const struct sim_first *first = sim_first_connection();
  unsigned k = 0;
  *want = (struct sim_tally){.done = N_ITEMS};
  while (k < N_ITEMS && sim_h2_places[k].reply_end > 0 && first->got >= sim_h2_places[k].reply_end)
    k++;
  if (k == N_ITEMS || row->idempotent || first->left <= usual[k].begin)
    return;
  size_t head_end = sim_h2_places[k].head_end;
  want->done--;
  want->failed[head_end > 0 && first->got >= head_end ? LM_RAN_YES : LM_RAN_MAYBE][0] = 1;
}

static void
check(const struct row *row)
{
  struct sim_tally is, want;
  sim_count(&is);
  expect(row, &want);
  for (int ran = 0; ran <= LM_RAN_YES; ran++) /* whichever failure it is */
    for (int failure = 1; failure < SIM_FAILURES; failure++) {
      is.failed[ran][0] += is.failed[ran][failure];
      is.failed[ran][failure] = 0;
    }
  want.runs = is.runs;
  if (is.runs < is.done || (!row->idempotent && is.runs > N_ITEMS))
    record_broken(AT_MOST_ONCE, "there were %llu runs", (unsigned long long)is.runs);
  sim_compare(&is, &want);
}

static bool
run(const struct row *row, uint64_t seed, struct sim_fault fault, bool show)
{
  const struct sim_simple simple = {.tls = true,
                                    .http2 = true,
                                    .idempotent = row->idempotent,
                                    .form = row->form,
                                    .n_items = N_ITEMS,
                                    .payload_bytes = row->payload_bytes,
                                    .send_buffer = row->send_buffer};
  sim_guard_at("%s, fault %d after %zu bytes", row->what, fault.kind, fault.at);
  sim_begin(seed, show);
  sim_simple_world(&simple);
  sim_reply.odd_one_in = row->odd;
  sim_fault = fault;
  if (fault.kind == SIM_PAUSE)
    sim_fault.pause_ns = SIM_SECOND * 3 / 2;
  if (sim_run_world())
    check(row);
  if (record_violations() == 0)
    return true;
  printf("%s, fault %d after %zu bytes of the %s: %s\n", row->what, fault.kind, fault.at,
         fault.in_reply ? "replies" : "requests", record_first());
  return false;
}

/* --- requests that are given up --- */

/* A connection on which all requests have been opened stands still after so many bytes, longer than they may
 * take. What was taken from lm_http2 by then is sent when it goes on, and runs. */
static bool
run_given_up(uint64_t seed, size_t at, uint64_t *late)
{
  const struct sim_simple simple = {
      .tls = true, .http2 = true, .n_items = 120, .at_once = 120, .send_buffer = 300};
  struct sim_tally is;
  sim_guard_at("given up, seed %llu, after %zu bytes", (unsigned long long)seed, at);
  sim_begin(seed, false);
  sim_simple_world(&simple);
  sim_refusals = (struct sim_refusals){SIM_PORT_CLOSED, 1, UINT_MAX};
  sim_fault = (struct sim_fault){.kind = SIM_PAUSE, .at = at, .pause_ns = SIM_SECOND * 9 / 2};
  bool kept = sim_run_world();
  sim_count(&is);
  *late += is.runs > is.done ? is.runs - is.done : 0;
  if (!kept)
    printf("seed %llu: %s: requests were given up after %zu bytes\n", (unsigned long long)seed,
           record_first(), at);
  return kept;
}

static bool
sweep_given_up(uint64_t *runs)
{
  enum { SEEDS = 4, BYTES = 40000, STEP = 499 };
  uint64_t late = 0, before = *runs;
  for (uint64_t seed = 1; seed <= SEEDS; seed++)
    for (size_t at = 0; at < BYTES; at += STEP, ++*runs)
      if (!run_given_up(seed, at, &late))
        return false;
  printf("rows 56: over HTTP/2, requests that are given up and run: %llu faults, %llu such runs\n",
         (unsigned long long)(*runs - before), (unsigned long long)late);
  return late > 0;
}

bool
sim_sweep_h2(uint64_t *runs)
{
  if (!sweep_given_up(runs))
    return false;
  for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
    const struct row *row = &ROWS[i];
    uint64_t before = *runs;
    for (uint64_t seed = 1; seed <= (row->odd ? 2 : 1); seed++) {
      struct sim_fault fault = {.kind = SIM_NO_FAULT};
      if (!run(row, seed, fault, false))
        return false;
      memcpy(usual, sim_h2_places, sizeof usual);
      size_t bytes[] = {sim_first_connection()->received, sim_first_connection()->sent};
      for (int in_reply = 0; in_reply < 2; in_reply++)
        for (fault.at = 0; fault.at <= bytes[in_reply]; fault.at++)
          for (fault.kind = SIM_FIN; fault.kind <= SIM_PAUSE; fault.kind++, ++*runs) {
            fault.in_reply = in_reply == 1;
            if (!run(row, seed, fault, false))
              return run(row, seed, fault, true);
          }
    }
    printf("rows %s: %s: %llu faults\n", row->rows, row->what,
           (unsigned long long)(*runs - before));
  }
  return true;
}
