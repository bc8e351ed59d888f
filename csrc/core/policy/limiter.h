/* How many invocations of one function may be in flight: additive increase, multiplicative
 * decrease on 429. Shared by all maps of the process; guarded by the scheduler's lock. Pure: the clock is passed in. */
#ifndef LM_POLICY_LIMITER_H
#define LM_POLICY_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

struct lm_limiter {
  double window;           /* starts at the cap: a 429 is free */
  unsigned cap;            /* max_concurrency */
  unsigned in_flight;
  int64_t last_accept_ns;  /* last time the function accepted an invocation, or the first start */
  int64_t last_decrease_ns;
  int64_t last_429_ns;
  int64_t last_grow_ns;
  int64_t not_before_ns;   /* no start before this (429 back-off of the whole function) */
  unsigned consecutive_429;
};

void lm_limiter_init(struct lm_limiter *limiter, unsigned cap, int64_t now_ns);
void lm_limiter_set_cap(struct lm_limiter *limiter, unsigned cap);
bool lm_limiter_may_start(const struct lm_limiter *limiter, int64_t now_ns);
void lm_limiter_started(struct lm_limiter *limiter, int64_t now_ns);
/* One in flight came to an end. accepted: a handler ran (any 200). */
void lm_limiter_finished(struct lm_limiter *limiter, bool accepted, int64_t now_ns);
/* A 429 came back (call instead of finished). Shrinks window to max(1, floor(0.7 * accepted in
 * flight)) at most once per max(1 s, latency_ns), grows not_before by delay_ns. */
void lm_limiter_throttled(struct lm_limiter *limiter, int64_t now_ns, int64_t latency_ns, int64_t delay_ns);
/* Nothing was accepted for the policy's patience while 429s came. */
bool lm_limiter_exhausted(const struct lm_limiter *limiter, int64_t now_ns, int64_t patience_ns);
unsigned lm_limiter_window(const struct lm_limiter *limiter); /* whole, at least 1 */

#endif
