/* policy/latency: quantiles compared with those of the sorted values. */
#include "check.h"
#include "policy/latency.h"

static int
by_value(const void *a, const void *b)
{
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static int64_t
exact(const int64_t *sorted, size_t n, double share)
{
  size_t at = (size_t)(share * (double)n);
  if ((double)at == share * (double)n && at > 0)
    at--;
  return sorted[at < n ? at : n - 1];
}

static void
check_random(unsigned seed, unsigned octaves)
{
  enum { N = 5000 };
  static int64_t values[N];
  struct lm_latency latency = {0};
  srand(seed);
  for (size_t i = 0; i < N; i++) {
    values[i] = (int64_t)(((uint64_t)rand() << 20 | (uint64_t)rand()) >> (rand() % octaves));
    values[i] %= INT64_C(2000000000000);
    lm_latency_add(&latency, values[i]);
  }
  qsort(values, N, sizeof values[0], by_value);
  for (double share = 0; share <= 1; share += 0.01) {
    int64_t found = lm_latency_quantile(&latency, share), want = exact(values, N, share);
    int64_t off = found > want ? found - want : want - found;
    CHECK(off <= want / 15 + 1000);
  }
  CHECK(latency.max_ns == values[N - 1]);
  CHECK(lm_latency_quantile(&latency, 1) <= latency.max_ns);
}

int
main(void)
{
  struct lm_latency latency = {0};
  CHECK(lm_latency_quantile(&latency, 0.5) == -1);
  lm_latency_add(&latency, -5);
  CHECK(lm_latency_quantile(&latency, 0.5) == 0 && latency.max_ns == 0);
  lm_latency_add(&latency, INT64_MAX); /* in the last bucket */
  CHECK(latency.total == 2 && latency.max_ns == INT64_MAX);
  CHECK(lm_latency_quantile(&latency, 0.5) == 0);
  CHECK(lm_latency_quantile(&latency, 1) > INT64_C(2000000000000));

  latency = (struct lm_latency){0};
  for (int i = 0; i < 99; i++)
    lm_latency_add(&latency, 1000000);
  lm_latency_add(&latency, 1000000000);
  CHECK(llabs(lm_latency_quantile(&latency, 0.5) - 1000000) < 1000000 / 15);
  CHECK(llabs(lm_latency_quantile(&latency, 0.99) - 1000000) < 1000000 / 15);
  CHECK(lm_latency_quantile(&latency, 0.995) > 900000000);
  for (unsigned seed = 0; seed < 20; seed++)
    check_random(seed, 1 + seed);
  return 0;
}
