#include "policy/rate.h"

static const double BETA = 0.7, C = 0.4;
static const double SMOOTHING = 0.8;
static const double LEAST_PER_S = 0.5;
static const int64_t COUNT_NS = 500000000;
static const int64_t STALE_NS = 60000000000;
static const double SECOND_NS = 1e9;

/* Newton's method, for x >= 0 that is not large. */
static double
rate_cube_root(double x)
{
  if (x <= 0)
    return 0;
  double root = x > 1 ? x : 1;
  for (int i = 0; i < 64; i++)
    root -= (root - x / (root * root)) / 3;
  return root;
}

void
lm_rate_init(struct lm_rate *rate, int64_t now_ns)
{
  *rate = (struct lm_rate){.filled_ns = now_ns, .counted_ns = now_ns, .throttled_ns = now_ns};
}

static void
rate_fill(struct lm_rate *rate, int64_t now_ns)
{
  double most = rate->per_s > 1 ? rate->per_s : 1;
  if (now_ns > rate->filled_ns)
    rate->tokens += (double)(now_ns - rate->filled_ns) / SECOND_NS * rate->per_s;
  if (rate->tokens > most)
    rate->tokens = most;
  rate->filled_ns = now_ns;
}

int64_t
lm_rate_next_ns(struct lm_rate *rate, int64_t now_ns)
{
  if (rate->limited && now_ns - rate->throttled_ns > STALE_NS)
    rate->limited = false;
  if (!rate->limited)
    return now_ns;
  rate_fill(rate, now_ns);
  if (rate->tokens >= 1)
    return now_ns;
  return now_ns + 1 + (int64_t)((1 - rate->tokens) / rate->per_s * SECOND_NS);
}

/* End the current measuring interval of half a second, if it has passed. */
static void
rate_measure(struct lm_rate *rate, int64_t now_ns)
{
  int64_t passed = now_ns - rate->counted_ns;
  if (passed < COUNT_NS)
    return;
  double present = rate->counted / ((double)passed / SECOND_NS);
  rate->measured =
      rate->measured == 0 ? present : present * SMOOTHING + rate->measured * (1 - SMOOTHING);
  rate->counted = 0;
  rate->counted_ns = now_ns;
}

void
lm_rate_started(struct lm_rate *rate, int64_t now_ns)
{
  rate_measure(rate, now_ns);
  rate->counted++;
  if (rate->limited)
    rate->tokens -= 1;
}

static void
rate_set(struct lm_rate *rate, double per_s, int64_t now_ns)
{
  rate_fill(rate, now_ns);
  double most = 2 * rate->measured;
  if (per_s > most)
    per_s = most;
  rate->per_s = per_s > LEAST_PER_S ? per_s : LEAST_PER_S;
}

void
lm_rate_succeeded(struct lm_rate *rate, int64_t now_ns)
{
  if (!rate->limited)
    return;
  rate_measure(rate, now_ns);
  double t = (double)(now_ns - rate->throttled_ns) / SECOND_NS - rate->flat_s;
  rate_set(rate, C * t * t * t + rate->before, now_ns);
}

void
lm_rate_throttled(struct lm_rate *rate, int64_t started_ns, int64_t now_ns)
{
  if (rate->limited && started_ns <= rate->throttled_ns)
    return;
  rate_measure(rate, now_ns);
  double seen = rate->measured;
  if (seen == 0) { /* within the first interval: use the starts in it */
    double passed = (double)(now_ns - rate->counted_ns) / SECOND_NS;
    seen = rate->measured = rate->counted / (passed > 0.05 ? passed : 0.05);
  }
  if (rate->limited && rate->per_s < seen)
    seen = rate->per_s;
  if (!rate->limited) {
    rate->limited = true;
    rate->tokens = 0;
    rate->filled_ns = now_ns;
  }
  rate->before = seen;
  rate->flat_s = rate_cube_root(seen * (1 - BETA) / C);
  rate->throttled_ns = now_ns;
  rate_set(rate, seen * BETA, now_ns);
}
