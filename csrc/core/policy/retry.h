/* Delays before the next attempt, and the retry quota of a function. Pure: the caller passes a random
 * number in [0, 1). */
#ifndef LM_POLICY_RETRY_H
#define LM_POLICY_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct lm_retry_policy {
  unsigned max_attempts;          /* the first one included; 3 */
  int64_t transient_base_ns;      /* 50 ms */
  int64_t throttle_base_ns;       /* 1 s */
  int64_t max_backoff_ns;         /* 20 s */
  int64_t max_connect_backoff_ns; /* 2 s: bounds how late a recovered server is noticed */
  int64_t throttle_patience_ns;   /* 60 s without an accepted invocation of the function */
  int64_t poll_base_ns;           /* 1 s */
  int64_t max_poll_ns;            /* 5 s */
  int64_t poll_patience_ns;       /* 300 s until the function must be ready, as botocore's waiter
                                     FunctionActiveV2 has it */
};
#define LM_RETRY_POLICY_DEFAULT                                                                    \
  {                                                                                                \
    .max_attempts = 3, .transient_base_ns = 50000000, .throttle_base_ns = 1000000000,              \
    .max_backoff_ns = 20000000000, .max_connect_backoff_ns = 2000000000,                           \
    .throttle_patience_ns = 60000000000, .poll_base_ns = 1000000000, .max_poll_ns = 5000000000,    \
    .poll_patience_ns = 300000000000                                                               \
  }

enum lm_backoff { LM_BACKOFF_TRANSIENT, LM_BACKOFF_THROTTLE, LM_BACKOFF_CONNECT, LM_BACKOFF_POLL };

/* Delay in nanoseconds before retry k (k = 1 is the first retry): random * min(max, base * 2^(k-1)). CONNECT
 * has TRANSIENT's base and a maximum of its own; POLL is min(max_poll, poll_base * 2^(k-1)) without jitter.
 * server_ms is the delay that the server asked for, -1 for none: up to 60 s, ours is clamped to between
 * that and 5 s more; above 60 s, 5 s are added to ours. */
int64_t lm_retry_delay_ns(const struct lm_retry_policy *policy, enum lm_backoff kind, unsigned k,
                          double random, int64_t server_ms);

/* When to retry something that first failed at since_ns: after delay_ns, but once more when patience_ns
 * ends. -1: patience has ended. */
int64_t lm_retry_due_ns(int64_t since_ns, int64_t now_ns, int64_t delay_ns, int64_t patience_ns);

/* The retry quota of a function: 500 tokens. A retry costs 14; a success returns what its retries cost, or 1
 * if it had none. Guarded by its owner. */
struct lm_quota {
  int tokens;
};
enum { LM_QUOTA_FULL = 500, LM_QUOTA_RETRY = 14 };
void lm_quota_init(struct lm_quota *quota);
bool lm_quota_take(struct lm_quota *quota); /* false: empty, do not retry */
void lm_quota_succeeded(struct lm_quota *quota, unsigned retries);

#endif
