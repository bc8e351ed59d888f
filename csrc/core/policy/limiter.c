#include "policy/limiter.h"

static const int64_t SECOND_NS = 1000000000;
static const int64_t QUIET_NS = 10000000000; /* without a 429: grow by a tenth */

void
lm_limiter_init(struct lm_limiter *limiter, unsigned cap, int64_t now_ns)
{
  *limiter = (struct lm_limiter){
      .window = cap < 1 ? 1 : cap,
      .cap = cap < 1 ? 1 : cap,
      .last_accept_ns = now_ns,
      .last_decrease_ns = INT64_MIN / 2,
      .last_429_ns = INT64_MIN / 2,
      .last_grow_ns = now_ns,
      .not_before_ns = INT64_MIN,
  };
}

void
lm_limiter_set_cap(struct lm_limiter *limiter, unsigned cap)
{
  bool open = limiter->window >= limiter->cap; /* never held back so far */
  limiter->cap = cap < 1 ? 1 : cap;
  if (open || limiter->window > limiter->cap)
    limiter->window = limiter->cap;
}

bool
lm_limiter_may_start(const struct lm_limiter *limiter, int64_t now_ns)
{
  return limiter->in_flight < lm_limiter_window(limiter) && now_ns >= limiter->not_before_ns;
}

void
lm_limiter_started(struct lm_limiter *limiter, int64_t now_ns)
{
  if (limiter->in_flight++ == 0 && limiter->consecutive_429 == 0)
    limiter->last_accept_ns = now_ns; /* patience runs from when something was asked */
}

static void
grow(struct lm_limiter *limiter, double by)
{
  limiter->window += by;
  if (limiter->window > limiter->cap)
    limiter->window = limiter->cap;
}

void
lm_limiter_finished(struct lm_limiter *limiter, bool accepted, int64_t now_ns)
{
  if (limiter->in_flight > 0)
    limiter->in_flight--;
  if (!accepted)
    return;
  limiter->last_accept_ns = now_ns;
  limiter->consecutive_429 = 0;
  grow(limiter, 1 / limiter->window);
  if (now_ns - limiter->last_429_ns > QUIET_NS && now_ns - limiter->last_grow_ns > SECOND_NS) {
    grow(limiter, limiter->window * 0.1 > 1 ? limiter->window * 0.1 : 1);
    limiter->last_grow_ns = now_ns;
  }
}

void
lm_limiter_throttled(struct lm_limiter *limiter, int64_t now_ns, int64_t latency_ns,
                     int64_t delay_ns)
{
  if (limiter->in_flight > 0)
    limiter->in_flight--;
  limiter->last_429_ns = now_ns;
  int64_t apart = latency_ns > SECOND_NS ? latency_ns : SECOND_NS;
  if (now_ns - limiter->last_decrease_ns < apart)
    return; /* one of the same burst: it has been answered already */
  limiter->last_decrease_ns = now_ns;
  limiter->consecutive_429++;
  double smaller = (double)(limiter->in_flight * 7 / 10);
  if (smaller < limiter->window)
    limiter->window = smaller < 1 ? 1 : smaller;
  if (now_ns + delay_ns > limiter->not_before_ns)
    limiter->not_before_ns = now_ns + delay_ns;
}

bool
lm_limiter_exhausted(const struct lm_limiter *limiter, int64_t now_ns, int64_t patience_ns)
{
  return now_ns - limiter->last_accept_ns > patience_ns;
}

unsigned
lm_limiter_window(const struct lm_limiter *limiter)
{
  return limiter->window < 1 ? 1 : (unsigned)limiter->window;
}
