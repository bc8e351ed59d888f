/* How chunks must end, exactly, by what the two ends of the first connection and the simulated Lambda have
 * seen: NOT while no byte of a request has left, MAYBE until the head of a 200 is read, RAN after it. */
#include <string.h>

#include "lambda.h"
#include "net.h"
#include "record.h"
#include "sweep.h"

static struct sim_served usual[SIM_MAX_SERVED]; /* without a fault */

static bool
is_complete(const struct sim_served *served, const struct sim_first *first)
{
  return served->head_end != 0 && first->got >= served->reply_end &&
         (!served->until_close || first->eof);
}

void
sim_remember_usual(void)
{
  unsigned n;
  memcpy(usual, sim_served(&n), sizeof usual);
}

/* The request that was on the first connection when that ended. */
struct hit {
  bool left;                 /* a byte of it; else there is none */
  bool whole, head, started; /* it was read to its end; what was read of its reply */
  struct sim_served served;
  unsigned before; /* complete replies on that connection with results */
};

static struct hit
find_hit(void)
{
  unsigned n, k = 0;
  const struct sim_served *served = sim_served(&n);
  const struct sim_first *first = sim_first_connection();
  struct hit hit = {0};
  for (; k < n && is_complete(&served[k], first); k++)
    hit.before += !served[k].scripted;
  size_t request_start = k == 0 ? 0 : served[k - 1].request_end;
  size_t reply_start = k == 0 ? 0 : served[k - 1].reply_end;
  if (k > 0 && request_start == 0)
    request_start = usual[k - 1].request_end;
  hit.left = first->left > request_start;
  hit.started = first->got > reply_start;
  if (k < n) {
    hit.served = served[k];
    hit.whole = served[k].request_end != 0;
    hit.head = served[k].head_end != 0 && first->got >= served[k].head_end;
  }
  return hit;
}

bool
sim_was_lost(void)
{
  return find_hit().left;
}

static enum lm_ran
word_of(const struct hit *hit)
{
  bool ok = hit->head && hit->served.status == 200 && !hit->served.function_error;
  return ok ? LM_RAN_YES : LM_RAN_MAYBE;
}

static enum lm_failure
failure_of(const struct hit *hit, enum sim_fault_kind kind)
{
  if (kind == SIM_STALL)
    return LM_FAIL_DEADLINE;
  bool broken = word_of(hit) == LM_RAN_YES || (hit->started && sim_first_connection()->eof);
  return broken ? LM_FAIL_PROTOCOL : LM_FAIL_CONNECTION_LOST;
}

/* Whether a request had the scripted answer. */
static bool
follows_script(const struct sim_sweep *sweep)
{
  unsigned n;
  bool found = sweep->script.request != 0 && sim_invocations() >= sweep->script.request;
  const struct sim_served *served = sim_served(&n);
  for (unsigned i = 0; i < n && !found; i++)
    found = served[i].scripted;
  return found;
}

/* How chunks end that nothing of has left, after what the fault has met. */
static enum lm_failure
rest_of(const struct sim_sweep *sweep, bool over)
{
  if (over || sweep->then == SIM_NO_ANSWER) /* an attempt's time is less than that to connect */
    return LM_FAIL_DEADLINE;
  return sweep->then == SIM_UNTRUSTED ? LM_FAIL_CANCELLED : LM_FAIL_CONNECT;
}

void
sim_expect(const struct sim_sweep *sweep, struct sim_tally *want)
{
  const struct hit hit = find_hit();
  unsigned n = sweep->world.n_items, failed = 0;
  enum sim_fault_kind kind = sim_fault.kind;
  bool over = sweep->timeout_ms > 0 && kind == SIM_STALL;
  bool cut = hit.left && hit.served.scripted;
  bool scripted = follows_script(sweep) && !cut;
  *want = (struct sim_tally){0};
  if (scripted && sweep->verdict.failure != LM_FAIL_NONE) {
    want->failed[sweep->verdict.ran][sweep->verdict.failure]++;
    failed++;
    want->runs += sweep->script.runs;
    if (sweep->verdict.stops) {
      want->failed[LM_RAN_NOT][LM_FAIL_CANCELLED] += n - failed;
      failed = n;
    }
  }
  if (hit.left) {
    want->runs += hit.whole && (!cut || sweep->script.runs);
    if (!sweep->world.idempotent || sweep->then != SIM_CONNECTS || over) {
      want->failed[word_of(&hit)][failure_of(&hit, kind)]++;
      failed++;
    }
  }
  if (sweep->then != SIM_CONNECTS || (over && hit.left)) {
    unsigned rest = n - hit.before - failed;
    if (sweep->then == SIM_UNTRUSTED && rest > 0 && !hit.left) {
      want->failed[LM_RAN_NOT][LM_FAIL_CONNECT]++; /* the one that meets it stops the map */
      rest--;
      failed++;
    }
    want->failed[LM_RAN_NOT][rest_of(sweep, over)] += rest;
    failed += rest;
  }
  want->done = n - failed;
  want->runs += want->done;
}

void
sim_count(struct sim_tally *is)
{
  const struct sim_map *map = &sim_world.maps[0];
  *is = (struct sim_tally){0};
  for (unsigned i = 0; i < map->n_items; i++) {
    is->runs += map->runs[i];
    if (map->state[i] == SIM_DONE)
      is->done++;
    else
      is->failed[map->ran[i]][map->failure[i]]++;
  }
}

void
sim_compare(const struct sim_tally *is, const struct sim_tally *want)
{
  static const char *const words[] = {"NOT", "MAYBE", "RAN"};
  static const char *const names[] = {"none",
#define NAME(kind, name) name,
                                      LM_FAILURES(NAME)
#undef NAME
  };
  if (is->done != want->done)
    record_broken(RAN_MEANS_RAN, "%u chunks have results, and %u must", is->done, want->done);
  if (is->runs != want->runs)
    record_broken(AT_MOST_ONCE, "there were %llu runs, and %llu must be",
                  (unsigned long long)is->runs, (unsigned long long)want->runs);
  for (int ran = 0; ran <= LM_RAN_YES; ran++)
    for (int failure = 0; failure < SIM_FAILURES; failure++)
      if (is->failed[ran][failure] != want->failed[ran][failure])
        record_broken(NOT_MEANS_NOT, "%u chunks end with %s %s, and %u must",
                      is->failed[ran][failure], words[ran], names[failure],
                      want->failed[ran][failure]);
}

/* A reply that is not HTTP is a failure of its chunk, whichever; its head, if it has one, may say that it
 * ran. */
void
sim_check_garbage(const struct sim_tally *is)
{
  unsigned known = 0, n = sim_world.maps[0].n_items;
  for (int ran = LM_RAN_MAYBE; ran <= LM_RAN_YES; ran++)
    known += is->failed[ran][LM_FAIL_PROTOCOL] + is->failed[ran][LM_FAIL_CONNECTION_LOST] +
             is->failed[ran][LM_FAIL_DEADLINE];
  if (known != 1 || is->done != n - 1 || is->runs != n)
    record_broken(RAN_MEANS_RAN, "%u chunks have results, %u have failed, there were %llu runs",
                  is->done, known, (unsigned long long)is->runs);
}
