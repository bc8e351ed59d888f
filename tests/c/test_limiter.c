/* policy/limiter, call by call. */
#include "check.h"
#include "policy/limiter.h"

static const int64_t MS = 1000000, SECOND = 1000000000;
static const int64_t PATIENCE = 60000000000;

static bool
may_start(const struct lm_limiter *limiter, int64_t now_ns)
{
  return lm_limiter_has_room(limiter) && lm_limiter_next_ns(limiter) <= now_ns;
}

static void
start(struct lm_limiter *limiter, unsigned n, int64_t now_ns)
{
  for (unsigned i = 0; i < n; i++) {
    CHECK(may_start(limiter, now_ns));
    lm_limiter_started(limiter, now_ns);
  }
}

static void
throttle(struct lm_limiter *limiter, unsigned n, int64_t now_ns)
{
  for (unsigned i = 0; i < n; i++)
    lm_limiter_throttled(limiter, now_ns, SECOND, 0);
}

static void
starts_at_the_cap(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 4, 0);
  start(&limiter, 4, 0);
  CHECK(!may_start(&limiter, 0));
  lm_limiter_finished(&limiter, true, MS);
  CHECK(may_start(&limiter, MS) && lm_limiter_window(&limiter) == 4);
  lm_limiter_finished(&limiter, false, MS);
  CHECK(limiter.in_flight == 2);
  lm_limiter_init(&limiter, 0, 0);
  CHECK(lm_limiter_window(&limiter) == 1 && may_start(&limiter, 0));
  lm_limiter_finished(&limiter, true, 0); /* none in flight: no underflow */
  lm_limiter_throttled(&limiter, 0, 0, 0);
  CHECK(limiter.in_flight == 0);
}

/* A burst of 429s of any size leaves seven tenths of what was accepted. */
static void
a_burst_counts_once(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 256, 0);
  start(&limiter, 256, 0);
  throttle(&limiter, 1, 5 * MS);
  CHECK(lm_limiter_window(&limiter) == 178); /* 255 * 0.7 */
  throttle(&limiter, 245, 5 * MS);
  CHECK(limiter.in_flight == 10 && lm_limiter_window(&limiter) == 7);
  CHECK(!may_start(&limiter, 10 * SECOND)); /* the ten are still in flight */
  CHECK(limiter.not_before_ns < 0 && limiter.consecutive_429 == 0);
  for (int i = 0; i < 4; i++)
    lm_limiter_finished(&limiter, true, 100 * MS);
  CHECK(may_start(&limiter, 100 * MS)); /* paced by completions, not by the clock */
}

static void
grows(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 256, 0);
  start(&limiter, 256, 0);
  throttle(&limiter, 246, 5 * MS);
  for (int i = 0; i < 7; i++) { /* one more per window of completions */
    lm_limiter_finished(&limiter, true, 100 * MS);
    lm_limiter_started(&limiter, 100 * MS);
  }
  CHECK(limiter.window > 7.9 && limiter.window < 8.1);
  /* Ten seconds later: a tenth, at least one, per second. */
  double before = limiter.window;
  lm_limiter_finished(&limiter, true, 11 * SECOND);
  CHECK(limiter.window > before + 1);
  before = limiter.window;
  lm_limiter_finished(&limiter, true, 11 * SECOND + MS);
  CHECK(limiter.window < before + 0.2);
  limiter.window = 100;
  lm_limiter_finished(&limiter, true, 12 * SECOND + 2 * MS);
  CHECK(limiter.window > 110 && limiter.window < 110.1);
  limiter.window = 255.9;
  lm_limiter_finished(&limiter, true, 14 * SECOND);
  CHECK(limiter.window == 256);
}

static void
waits_when_nothing_is_accepted(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 3, 0);
  start(&limiter, 3, 0);
  throttle(&limiter, 2, 5 * MS);
  CHECK(limiter.consecutive_429 == 0);
  throttle(&limiter, 1, 6 * MS);
  CHECK(limiter.consecutive_429 == 1 && lm_limiter_window(&limiter) == 1);
  CHECK(limiter.not_before_ns == 6 * MS + SECOND);
  CHECK(!may_start(&limiter, SECOND) && may_start(&limiter, 2 * SECOND));
  start(&limiter, 1, 2 * SECOND);
  CHECK(!may_start(&limiter, 2 * SECOND));
  lm_limiter_throttled(&limiter, 2 * SECOND, 4 * SECOND, 0);
  CHECK(limiter.consecutive_429 == 2 && limiter.not_before_ns == 6 * SECOND);
  /* When invocations are accepted again, the window doubles: the capacity is unknown. */
  start(&limiter, 1, 6 * SECOND);
  lm_limiter_finished(&limiter, true, 6 * SECOND);
  CHECK(limiter.consecutive_429 == 0 && lm_limiter_window(&limiter) == 2);
  start(&limiter, 2, 6 * SECOND);
  lm_limiter_finished(&limiter, true, 6 * SECOND);
  lm_limiter_finished(&limiter, true, 6 * SECOND);
  CHECK(lm_limiter_window(&limiter) == 3);
}

static void
the_server_says_when(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 10, 0);
  start(&limiter, 10, 0);
  lm_limiter_throttled(&limiter, 0, 0, 3 * SECOND);
  lm_limiter_throttled(&limiter, 0, 0, 2 * SECOND); /* the later time counts */
  for (int i = 0; i < 8; i++)
    lm_limiter_finished(&limiter, true, MS);
  CHECK(limiter.in_flight == 0);
  CHECK(!may_start(&limiter, 3 * SECOND - 1));
  CHECK(may_start(&limiter, 3 * SECOND));
}

/* Reserved concurrency 0: nothing is ever accepted. */
static void
patience(void)
{
  struct lm_limiter limiter;
  int64_t now = 5 * SECOND;
  unsigned probes = 0;
  lm_limiter_init(&limiter, 256, 0);
  start(&limiter, 256, now);
  throttle(&limiter, 256, now);
  while (!lm_limiter_exhausted(&limiter, 0, now, PATIENCE)) {
    now += 10 * SECOND;
    CHECK(now < 100 * SECOND);
    start(&limiter, 1, now);
    CHECK(!lm_limiter_exhausted(&limiter, 0, now, PATIENCE)); /* this one may be accepted */
    throttle(&limiter, 1, now);
    probes++;
  }
  CHECK(now == 75 * SECOND && probes == 7);
  /* The next map is exhausted at once... */
  start(&limiter, 1, now + 2 * SECOND);
  throttle(&limiter, 1, now + 2 * SECOND);
  CHECK(lm_limiter_exhausted(&limiter, 0, now + 2 * SECOND, PATIENCE));
  /* ...and a much later one has its own patience. */
  now += 100 * SECOND;
  start(&limiter, 1, now);
  throttle(&limiter, 1, now);
  CHECK(!lm_limiter_exhausted(&limiter, 0, now + 59 * SECOND, PATIENCE));
  CHECK(lm_limiter_exhausted(&limiter, 0, now + 61 * SECOND, PATIENCE));
}

/* Ten invocations of 15 minutes take the whole capacity: the function is not exhausted. */
static void
long_runs_are_no_refusal(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 11, 0);
  start(&limiter, 11, 0);
  throttle(&limiter, 1, MS);
  CHECK(!lm_limiter_exhausted(&limiter, 0, 800 * SECOND, PATIENCE));
  for (int i = 0; i < 10; i++)
    lm_limiter_finished(&limiter, true, 900 * SECOND);
  CHECK(!lm_limiter_exhausted(&limiter, 0, 900 * SECOND, PATIENCE));
}

/* An idle hour does not count. */
static void
idling_is_no_refusal(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 2, 0);
  start(&limiter, 1, SECOND);
  lm_limiter_finished(&limiter, true, 2 * SECOND);
  start(&limiter, 1, 3600 * SECOND);
  throttle(&limiter, 1, 3600 * SECOND);
  CHECK(!lm_limiter_exhausted(&limiter, 0, 3600 * SECOND, PATIENCE));
}

static void
caps_change(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 100, 0);
  lm_limiter_set_cap(&limiter, 200);
  CHECK(lm_limiter_window(&limiter) == 200);
  lm_limiter_set_cap(&limiter, 50);
  CHECK(lm_limiter_window(&limiter) == 50);
  start(&limiter, 50, 0);
  throttle(&limiter, 40, 0);
  lm_limiter_set_cap(&limiter, 300); /* limited: a new cap does not change that */
  CHECK(lm_limiter_window(&limiter) == 7);
  lm_limiter_set_cap(&limiter, 0);
  CHECK(lm_limiter_window(&limiter) == 1);
}

/* After a minute without a 429 the window is the cap again. */
static void
forgets(void)
{
  struct lm_limiter limiter;
  lm_limiter_init(&limiter, 100, 0);
  start(&limiter, 100, 0);
  throttle(&limiter, 98, 0);
  lm_limiter_finished(&limiter, true, SECOND);
  lm_limiter_finished(&limiter, true, SECOND);
  CHECK(lm_limiter_window(&limiter) < 10);
  lm_limiter_started(&limiter, 50 * SECOND);
  CHECK(lm_limiter_window(&limiter) < 10);
  lm_limiter_finished(&limiter, false, 50 * SECOND);
  lm_limiter_started(&limiter, 61 * SECOND);
  CHECK(lm_limiter_window(&limiter) == 100);
}

int
main(void)
{
  starts_at_the_cap();
  a_burst_counts_once();
  grows();
  waits_when_nothing_is_accepted();
  the_server_says_when();
  patience();
  long_runs_are_no_refusal();
  idling_is_no_refusal();
  caps_change();
  forgets();
  return 0;
}
