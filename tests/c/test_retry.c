/* policy/retry: delays and the quota. */
#include <limits.h>

#include "check.h"
#include "policy/retry.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

static void
delays(void)
{
  const struct lm_retry_policy policy = LM_RETRY_POLICY_DEFAULT;
  static const struct {
    enum lm_backoff kind;
    unsigned k;
    double random;
    int64_t server_ms, ms;
  } cases[] = {
      {LM_BACKOFF_TRANSIENT, 1, 0.5, -1, 25},
      {LM_BACKOFF_TRANSIENT, 2, 0.5, -1, 50},
      {LM_BACKOFF_TRANSIENT, 3, 0.5, -1, 100},
      {LM_BACKOFF_TRANSIENT, 9, 0.5, -1, 6400},
      {LM_BACKOFF_TRANSIENT, 10, 0.5, -1, 10000}, /* at most 20 s */
      {LM_BACKOFF_TRANSIENT, UINT_MAX, 0.5, -1, 10000},
      {LM_BACKOFF_TRANSIENT, 0, 0.5, -1, 25},
      {LM_BACKOFF_TRANSIENT, 1, 0, -1, 0},
      {LM_BACKOFF_THROTTLE, 1, 0.5, -1, 500},
      {LM_BACKOFF_THROTTLE, 5, 0.5, -1, 8000},
      {LM_BACKOFF_THROTTLE, 6, 0.5, -1, 10000},
      {LM_BACKOFF_POLL, 1, 0.1, -1, 1000},
      {LM_BACKOFF_POLL, 2, 0.9, -1, 2000},
      {LM_BACKOFF_POLL, 3, 0, -1, 4000},
      {LM_BACKOFF_POLL, 4, 0, -1, 5000}, /* at most 5 s */
      {LM_BACKOFF_POLL, UINT_MAX, 0, -1, 5000},
      {LM_BACKOFF_CONNECT, 1, 0.5, -1, 25},
      {LM_BACKOFF_CONNECT, 6, 0.5, -1, 800},
      {LM_BACKOFF_CONNECT, 7, 0.5, -1, 1000},
      {LM_BACKOFF_CONNECT, UINT_MAX, 0.5, -1, 1000},
      /* the server's delay: at least that, at most 5 s more */
      {LM_BACKOFF_THROTTLE, 1, 0.5, 3000, 3000},
      {LM_BACKOFF_THROTTLE, 1, 0.5, 1500, 1500},
      {LM_BACKOFF_THROTTLE, 1, 0.5, 200, 500},
      {LM_BACKOFF_THROTTLE, 6, 0.5, 200, 5200},
      {LM_BACKOFF_THROTTLE, 6, 0.5, 0, 5000},
      {LM_BACKOFF_THROTTLE, 1, 0.5, 60000, 60000},
      /* an excessive one adds 5 s to ours */
      {LM_BACKOFF_THROTTLE, 1, 0.5, 60001, 5500},
      {LM_BACKOFF_THROTTLE, 1, 0.5, INT64_MAX, 5500},
      {LM_BACKOFF_POLL, 2, 0.5, 3000, 3000},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK(lm_retry_delay_ns(&policy, cases[i].kind, cases[i].k, cases[i].random,
                            cases[i].server_ms) == cases[i].ms * MS);
}

static void
odd_policies(void)
{
  struct lm_retry_policy policy = {.max_attempts = 3, .max_backoff_ns = 20 * SECOND};
  CHECK(lm_retry_delay_ns(&policy, LM_BACKOFF_TRANSIENT, UINT_MAX, 0.9, -1) == 0);
  policy = (struct lm_retry_policy){
      .transient_base_ns = 1, .throttle_base_ns = 1, .max_backoff_ns = INT64_MAX};
  CHECK(lm_retry_delay_ns(&policy, LM_BACKOFF_TRANSIENT, UINT_MAX, 0.25, -1) > 0);
}

/* The whole patience is used: the last attempt is made when it ends, and none after it. */
static void
patience(void)
{
  CHECK(lm_retry_due_ns(100, 100, 5, 10) == 105);
  CHECK(lm_retry_due_ns(100, 104, 5, 10) == 109);
  CHECK(lm_retry_due_ns(100, 108, 5, 10) == 110);
  CHECK(lm_retry_due_ns(100, 109, INT64_MAX, 10) == 110);
  CHECK(lm_retry_due_ns(100, 110, 0, 10) == -1);
  CHECK(lm_retry_due_ns(100, 100, 5, 0) == -1);
}

/* A delay is within its limits for any random number. */
static void
jitter(void)
{
  const struct lm_retry_policy policy = LM_RETRY_POLICY_DEFAULT;
  for (unsigned k = 1; k < 20; k++)
    for (int i = 0; i < 1000; i++) {
      int64_t delay = lm_retry_delay_ns(&policy, LM_BACKOFF_TRANSIENT, k, i / 1000.0, -1);
      CHECK(delay >= 0 && delay < 20 * SECOND && (k > 8 || delay < (50 * MS) << (k - 1)));
    }
}

static void
quota(void)
{
  struct lm_quota quota;
  int taken = 0;
  lm_quota_init(&quota);
  while (lm_quota_take(&quota))
    taken++;
  CHECK(taken == 35 && quota.tokens == 10); /* 500 / 14 */
  CHECK(!lm_quota_take(&quota) && quota.tokens == 10);
  for (int i = 0; i < 4; i++)
    lm_quota_succeeded(&quota, 0); /* a success without retries returns 1 */
  CHECK(lm_quota_take(&quota) && quota.tokens == 0);
  lm_quota_succeeded(&quota, 2); /* what its retries cost */
  CHECK(quota.tokens == 28);
  lm_quota_succeeded(&quota, UINT_MAX);
  CHECK(quota.tokens == LM_QUOTA_FULL);
  lm_quota_succeeded(&quota, 1);
  CHECK(quota.tokens == LM_QUOTA_FULL);
}

int
main(void)
{
  delays();
  odd_policies();
  jitter();
  patience();
  quota();
  return 0;
}
