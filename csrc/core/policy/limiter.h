/* How many invocations of one function may be in flight: additive increase, multiplicative
 * decrease on 429. Shared by all maps of the process; guarded by the scheduler's lock. Pure: the
 * clock is passed in.
 *
 * A 429 is free (nothing ran), so the window starts at the cap and the first burst of them
 * measures what the function takes: when it is over, what is still in flight was accepted. From
 * then on starts are paced by completions, and only when nothing is left in flight by the clock.
 */
#ifndef LM_POLICY_LIMITER_H
#define LM_POLICY_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

struct lm_limiter {
  double window;
  double threshold; /* below it the window grows by 1 a completion: so many were accepted before */
  double believed;  /* the threshold as of the last completion */
  unsigned cap;     /* max_concurrency */
  unsigned in_flight;
  int64_t last_accept_ns; /* last time the function accepted an invocation, or something was first
                             asked of it */
  int64_t last_429_ns;
  int64_t last_grow_ns;     /* of the growth by a tenth */
  int64_t not_before_ns;    /* no start before this */
  unsigned consecutive_429; /* rounds in which nothing was accepted, since something was */
};

void lm_limiter_init(struct lm_limiter *limiter, unsigned cap, int64_t now_ns);
void lm_limiter_set_cap(struct lm_limiter *limiter, unsigned cap);

/* One may start if the window has room for it, and not before this time. */
bool lm_limiter_has_room(const struct lm_limiter *limiter);
int64_t lm_limiter_next_ns(const struct lm_limiter *limiter);

/* One more in flight. After a quiet minute what was learnt is forgotten: the window is the cap. */
void lm_limiter_started(struct lm_limiter *limiter, int64_t now_ns);

/* One in flight came to an end. accepted: a handler ran (any 200). Each accepted one widens the
 * window, by 1 up to what was once accepted together and by 1 / window beyond; once 10 s have
 * passed without a 429, a tenth (at least 1) a second is added. */
void lm_limiter_finished(struct lm_limiter *limiter, bool accepted, int64_t now_ns);

/* A 429 came back (call instead of finished). The window becomes max(1, floor(0.7 * in flight)),
 * if that is less: a burst thus counts once, each 429 of it only correcting what was accepted.
 * `server_ns` is what the server asked for, 0 for nothing: no start until then. `backoff_ns`, our
 * own, holds only when nothing is left in flight whose end would show that there is room again;
 * such a burst says nothing of how many will fit later. */
void lm_limiter_throttled(struct lm_limiter *limiter, int64_t now_ns, int64_t backoff_ns,
                          int64_t server_ns);

/* A 429 came back that says nothing of how many may be in flight (call instead of finished). */
void lm_limiter_refused(struct lm_limiter *limiter, int64_t now_ns, int64_t server_ns);

/* 429s came and nothing was accepted for the policy's patience, which a map that first asked at
 * asked_ns has from then on; an invocation that is in flight may still turn out to have been
 * accepted. */
bool lm_limiter_exhausted(const struct lm_limiter *limiter, int64_t asked_ns, int64_t now_ns,
                          int64_t patience_ns);

unsigned lm_limiter_window(const struct lm_limiter *limiter); /* whole, at least 1 */

#endif
