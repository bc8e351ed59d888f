#include "policy/retry.h"

static const int64_t SERVER_SLACK_NS = 5000000000; /* beyond the delay that the server asked for */
static const int64_t SERVER_MAX_NS = 60000000000;  /* a longer delay is ignored */

static int64_t
retry_doubled(int64_t base_ns, unsigned times, int64_t max_ns)
{
  if (base_ns <= 0)
    return 0;
  for (; times > 0 && base_ns < max_ns; times--)
    base_ns = base_ns > max_ns / 2 ? max_ns : base_ns * 2;
  return base_ns < max_ns ? base_ns : max_ns;
}

int64_t
lm_retry_delay_ns(const struct lm_retry_policy *policy, enum lm_backoff kind, unsigned k,
                  double random, int64_t server_ms)
{
  int64_t base = kind == LM_BACKOFF_THROTTLE ? policy->throttle_base_ns : policy->transient_base_ns;
  int64_t most =
      kind == LM_BACKOFF_CONNECT ? policy->max_connect_backoff_ns : policy->max_backoff_ns;
  unsigned times = k > 0 ? k - 1 : 0;
  int64_t own = kind == LM_BACKOFF_POLL
                    ? retry_doubled(policy->poll_base_ns, times, policy->max_poll_ns)
                    : (int64_t)(random * (double)retry_doubled(base, times, most));
  if (server_ms < 0)
    return own;
  if (server_ms > SERVER_MAX_NS / 1000000)
    return own + SERVER_SLACK_NS;
  int64_t least = server_ms * 1000000, latest = least + SERVER_SLACK_NS;
  return own < least ? least : own > latest ? latest : own;
}

int64_t
lm_retry_due_ns(int64_t since_ns, int64_t now_ns, int64_t delay_ns, int64_t patience_ns)
{
  if (now_ns - since_ns >= patience_ns)
    return -1;
  int64_t last_ns = since_ns + patience_ns;
  return delay_ns < last_ns - now_ns ? now_ns + delay_ns : last_ns;
}

void
lm_quota_init(struct lm_quota *quota)
{
  quota->tokens = LM_QUOTA_FULL;
}

bool
lm_quota_take(struct lm_quota *quota)
{
  if (quota->tokens < LM_QUOTA_RETRY)
    return false;
  quota->tokens -= LM_QUOTA_RETRY;
  return true;
}

void
lm_quota_succeeded(struct lm_quota *quota, unsigned retries)
{
  const unsigned most = LM_QUOTA_FULL / LM_QUOTA_RETRY + 1;
  int back = retries == 0 ? 1 : (int)(retries < most ? retries : most) * LM_QUOTA_RETRY;
  quota->tokens = quota->tokens + back > LM_QUOTA_FULL ? LM_QUOTA_FULL : quota->tokens + back;
}
