/* The window of a function: how many invocations may be in flight. Additive increase, multiplicative
 * decrease on 429. Shared by all maps of the process; guarded by the scheduler's lock. Pure: the clock
 * is passed in.
 *
 * A 429 costs nothing (nothing ran), so the window starts at its cap, and the first burst of 429s measures
 * the function's capacity: what is still in flight after it was accepted. From then on completions pace
 * the starts; the clock does only while nothing is in flight.
 */
#ifndef LM_POLICY_LIMITER_H
#define LM_POLICY_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

struct lm_limiter {
  double window;
  double
      threshold;   /* below it the window grows by 1 per completion: so many were accepted before */
  double believed; /* the threshold as of the last completion */
  unsigned cap;    /* max_concurrency */
  unsigned in_flight;
  int64_t last_accept_ns; /* when the function last accepted an invocation, or was first
                             invoked */
  int64_t last_429_ns;
  int64_t last_grow_ns;     /* by a tenth */
  int64_t not_before_ns;    /* nothing starts before this */
  unsigned consecutive_429; /* rounds without an accepted invocation, since the last one */
};

void lm_limiter_init(struct lm_limiter *limiter, unsigned cap, int64_t now_ns);
void lm_limiter_set_cap(struct lm_limiter *limiter, unsigned cap);

/* Another invocation may start if the window has room and this time has come. */
bool lm_limiter_has_room(const struct lm_limiter *limiter);
int64_t lm_limiter_next_ns(const struct lm_limiter *limiter);

/* An invocation started. After a minute without a 429 the window is its cap again. */
void lm_limiter_started(struct lm_limiter *limiter, int64_t now_ns);

/* An invocation ended without a 429. accepted: a handler ran (any 200); this widens the window by 1
 * below the threshold and by 1 / window above it. After 10 s without a 429 it also grows by a tenth (at
 * least 1) per second. */
void lm_limiter_finished(struct lm_limiter *limiter, bool accepted, int64_t now_ns);

/* An invocation ended with a 429 (instead of lm_limiter_finished). The window becomes
 * max(1, floor(0.7 * in flight)) if that is less; so a burst of 429s counts once, and each of them only
 * corrects what was accepted. server_ns: the delay that the server asked for, 0 for none; nothing starts
 * earlier. backoff_ns, our own delay, applies only when nothing is left in flight, whose end would show
 * that there is room; the threshold is then restored, since such a burst does not measure capacity. */
void lm_limiter_throttled(struct lm_limiter *limiter, int64_t now_ns, int64_t backoff_ns,
                          int64_t server_ns);

/* The same for a 429 that concerns the rate, not the number in flight: the window stays. */
void lm_limiter_refused(struct lm_limiter *limiter, int64_t now_ns, int64_t server_ns);

/* Whether a map that first invoked at asked_ns should give up: only 429s for patience_ns since then, and
 * nothing in flight that might have been accepted. */
bool lm_limiter_exhausted(const struct lm_limiter *limiter, int64_t asked_ns, int64_t now_ns,
                          int64_t patience_ns);

unsigned lm_limiter_window(const struct lm_limiter *limiter); /* rounded down, at least 1 */

#endif
