/* How long to wait before the next attempt, and how many retries a function may have.
 * Pure: randomness is a number in [0, 1) that the caller draws. */
#ifndef LM_POLICY_RETRY_H
#define LM_POLICY_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct lm_retry_policy {
  unsigned max_attempts;          /* in all, the first included; default 3 */
  int64_t transient_base_ns;      /* 50 ms */
  int64_t throttle_base_ns;       /* 1 s */
  int64_t max_backoff_ns;         /* 20 s */
  int64_t max_connect_backoff_ns; /* 2 s: how late a server that is back may be noticed */
  int64_t throttle_patience_ns;   /* 60 s in which nothing of this function was accepted */
  int64_t poll_base_ns;           /* 1 s */
  int64_t max_poll_ns;            /* 5 s */
  int64_t poll_patience_ns; /* 300 s that a function may take to get ready, as botocore's waiter
                                    FunctionActiveV2 gives it */
};
#define LM_RETRY_POLICY_DEFAULT                                                                    \
  {                                                                                                \
    .max_attempts = 3, .transient_base_ns = 50000000, .throttle_base_ns = 1000000000,              \
    .max_backoff_ns = 20000000000, .max_connect_backoff_ns = 2000000000,                           \
    .throttle_patience_ns = 60000000000, .poll_base_ns = 1000000000, .max_poll_ns = 5000000000,    \
    .poll_patience_ns = 300000000000                                                               \
  }

enum lm_backoff { LM_BACKOFF_TRANSIENT, LM_BACKOFF_THROTTLE, LM_BACKOFF_CONNECT, LM_BACKOFF_POLL };

/* Nanoseconds before retry k (k = 1 is the first retry): random * min(max, base * 2^(k-1)), where
 * CONNECT has TRANSIENT's base and a maximum of its own; min(max_poll, poll_base * 2^(k-1)) without
 * jitter for POLL. `server_ms` (-1: none said) clamps that into [t, t + 5 s] of what the server said;
 * a server's word above 60 s only adds 5 s to our own. */
int64_t lm_retry_delay_ns(const struct lm_retry_policy *policy, enum lm_backoff kind, unsigned k,
                          double random, int64_t server_ms);

/* When to try again what was refused for the first time at since_ns: after delay_ns, or once more as
 * patience_ns ends. -1: that has passed. */
int64_t lm_retry_due_ns(int64_t since_ns, int64_t now_ns, int64_t delay_ns, int64_t patience_ns);

/* Retry quota of one function: 500 tokens, a retry costs 14; a success gives back what its retries
 * cost, a clean one 1. Guarded by whoever owns it. */
struct lm_quota {
  int tokens;
};
enum { LM_QUOTA_FULL = 500, LM_QUOTA_RETRY = 14 };
void lm_quota_init(struct lm_quota *quota);
bool lm_quota_take(struct lm_quota *quota); /* false: fail fast */
void lm_quota_succeeded(struct lm_quota *quota, unsigned retries);

#endif
