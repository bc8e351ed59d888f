/* How many invocations of a function may start per second after a 429 that concerns the rate: a token
 * bucket whose rate follows CUBIC (RFC 9438's curve with the constants of botocore's adaptive mode: beta
 * 0.7, C 0.4). Unlimited before the first such 429, and again a minute after the last. Guarded by the
 * scheduler's lock. Pure: the clock is passed in. */
#ifndef LM_POLICY_RATE_H
#define LM_POLICY_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct lm_rate {
  bool limited;
  double per_s;    /* fill rate, while limited */
  double tokens;   /* at most max(1, per_s) */
  double measured; /* starts per second, moving mean */
  double before;   /* the rate at the last 429 */
  double flat_s;   /* from that 429 until the curve is back at `before` */
  int64_t filled_ns, throttled_ns, counted_ns;
  unsigned counted; /* starts since counted_ns */
};

void lm_rate_init(struct lm_rate *rate, int64_t now_ns);

/* When the next start may be; now_ns or earlier: at once. */
int64_t lm_rate_next_ns(struct lm_rate *rate, int64_t now_ns);
void lm_rate_started(struct lm_rate *rate, int64_t now_ns);
void lm_rate_succeeded(struct lm_rate *rate, int64_t now_ns);
/* A 429 that concerns the rate, for an attempt that began at started_ns. Ignored if the rate was lowered
 * since then. */
void lm_rate_throttled(struct lm_rate *rate, int64_t started_ns, int64_t now_ns);

#endif
