/* policy/rate: the bucket and its curve, compared with values calculated by hand. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "policy/rate.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

static void
start(struct lm_rate *rate, unsigned n, int64_t now)
{
  for (unsigned i = 0; i < n; i++)
    lm_rate_started(rate, now);
}

static void
free_until_throttled(void)
{
  struct lm_rate rate;
  lm_rate_init(&rate, 0);
  for (int64_t now = 0; now < SECOND; now += MS) {
    CHECK(lm_rate_next_ns(&rate, now) <= now);
    start(&rate, 100, now);
    lm_rate_succeeded(&rate, now);
  }
  CHECK(!rate.limited);
}

static void
cubic(void)
{
  struct lm_rate rate;
  lm_rate_init(&rate, 0);
  for (int64_t now = 0; now < 5 * SECOND; now += 10 * MS)
    start(&rate, 1, now); /* 100 per second */
  int64_t then = 5 * SECOND;
  lm_rate_throttled(&rate, then - 1, then);
  CHECK(rate.limited && fabs(rate.before - 100) < 1 && fabs(rate.per_s - 70) < 1);
  CHECK(fabs(rate.flat_s - cbrt(100 * 0.3 / 0.4)) < 0.05);
  double lowered = rate.per_s;
  lm_rate_throttled(&rate, then - 2, then + MS); /* of the same round */
  CHECK(rate.per_s == lowered);
  lm_rate_throttled(&rate, then + 1, then + 2 * MS);
  CHECK(fabs(rate.per_s - lowered * 0.7) < 0.5);

  double before = rate.before, flat = rate.flat_s;
  int64_t later = rate.throttled_ns + 2 * SECOND;
  for (int64_t now = rate.throttled_ns; now < later; now += 10 * MS)
    start(&rate, 1, now);
  lm_rate_succeeded(&rate, later);
  CHECK(fabs(rate.per_s - (0.4 * pow(2 - flat, 3) + before)) < 1);
  lm_rate_succeeded(&rate, later + 30 * SECOND); /* at most twice the measured rate */
  CHECK(rate.per_s <= 2 * rate.measured + 0.01);
}

static void
bucket(void)
{
  struct lm_rate rate;
  lm_rate_init(&rate, 0);
  for (int64_t now = 0; now < 2 * SECOND; now += 100 * MS)
    start(&rate, 1, now);
  lm_rate_throttled(&rate, 0, 2 * SECOND); /* 7 per second */
  int64_t next = lm_rate_next_ns(&rate, 2 * SECOND);
  CHECK(llabs(next - 2 * SECOND - SECOND / 7) < 20 * MS);
  CHECK(lm_rate_next_ns(&rate, next) <= next);
  lm_rate_started(&rate, next);
  CHECK(lm_rate_next_ns(&rate, next) > next);
  unsigned started = 0;
  int64_t from = 10 * SECOND;
  (void)lm_rate_next_ns(&rate, from);
  for (int64_t now = from; now < from + 10 * SECOND; now += MS)
    while (lm_rate_next_ns(&rate, now) <= now) {
      lm_rate_started(&rate, now);
      started++;
    }
  CHECK(started >= 68 && started <= 80);
}

static void
least_and_forgotten(void)
{
  struct lm_rate rate;
  lm_rate_init(&rate, 0);
  start(&rate, 1, 0);
  int64_t now = 3 * SECOND;
  for (unsigned i = 0; i < 50; i++, now += SECOND)
    lm_rate_throttled(&rate, now - 1, now);
  CHECK(rate.per_s == 0.5);
  CHECK(lm_rate_next_ns(&rate, now + 30 * SECOND) <= now + 30 * SECOND); /* a token was saved */
  CHECK(rate.limited);
  CHECK(lm_rate_next_ns(&rate, now + 61 * SECOND) <= now + 61 * SECOND && !rate.limited);
}

/* Only one burst was ever sent: the rate is that of its first moments. */
static void
throttled_at_once(void)
{
  struct lm_rate rate;
  lm_rate_init(&rate, 0);
  start(&rate, 100, 0);
  for (unsigned i = 0; i < 100; i++)
    lm_rate_throttled(&rate, 0, 100 * MS + i);
  CHECK(fabs(rate.per_s - 700) < 1);
}

int
main(void)
{
  free_until_throttled();
  cubic();
  bucket();
  least_and_forgotten();
  throttled_at_once();
  return 0;
}
