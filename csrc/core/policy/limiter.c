#include "policy/limiter.h"

static const int64_t SECOND_NS = 1000000000;
static const int64_t QUIET_NS = 10000000000; /* without a 429 before the window grows by a tenth */
static const int64_t STALE_NS = 60000000000; /* without a 429 before the window is its cap again */
static const int64_t LONG_AGO_NS = INT64_MIN / 2;

static void
limiter_open_wide(struct lm_limiter *limiter)
{
  limiter->window = limiter->threshold = limiter->believed = limiter->cap;
}

void
lm_limiter_init(struct lm_limiter *limiter, unsigned cap, int64_t now_ns)
{
  *limiter = (struct lm_limiter){
      .cap = cap < 1 ? 1 : cap,
      .last_accept_ns = now_ns,
      .last_429_ns = LONG_AGO_NS,
      .last_grow_ns = now_ns,
      .not_before_ns = LONG_AGO_NS,
  };
  limiter_open_wide(limiter);
}

void
lm_limiter_set_cap(struct lm_limiter *limiter, unsigned cap)
{
  bool open = limiter->window >= limiter->cap; /* not limited so far */
  limiter->cap = cap < 1 ? 1 : cap;
  if (open || limiter->window > limiter->cap)
    limiter_open_wide(limiter);
}

bool
lm_limiter_has_room(const struct lm_limiter *limiter)
{
  return limiter->in_flight < lm_limiter_window(limiter);
}

int64_t
lm_limiter_next_ns(const struct lm_limiter *limiter)
{
  return limiter->not_before_ns;
}

void
lm_limiter_started(struct lm_limiter *limiter, int64_t now_ns)
{
  if (limiter->in_flight++ > 0)
    return;
  /* The first in flight. Patience runs from now, too, if an earlier map gave up and nothing was invoked
   * since. */
  if (now_ns - limiter->not_before_ns > QUIET_NS && now_ns - limiter->last_429_ns > QUIET_NS)
    limiter->consecutive_429 = 0;
  if (limiter->consecutive_429 == 0)
    limiter->last_accept_ns = now_ns;
  if (now_ns - limiter->last_429_ns > STALE_NS)
    limiter_open_wide(limiter);
}

static void
limiter_grow(struct lm_limiter *limiter, double by)
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
  limiter->believed = limiter->threshold;
  limiter_grow(limiter, limiter->window < limiter->threshold ? 1 : 1 / limiter->window);
  if (now_ns - limiter->last_429_ns > QUIET_NS && now_ns - limiter->last_grow_ns >= SECOND_NS) {
    limiter_grow(limiter, limiter->window > 10 ? limiter->window / 10 : 1);
    limiter->last_grow_ns = now_ns;
  }
}

static void
limiter_wait_until(struct lm_limiter *limiter, int64_t time_ns)
{
  if (time_ns > limiter->not_before_ns)
    limiter->not_before_ns = time_ns;
}

void
lm_limiter_throttled(struct lm_limiter *limiter, int64_t now_ns, int64_t backoff_ns,
                     int64_t server_ns)
{
  if (limiter->in_flight > 0)
    limiter->in_flight--;
  limiter->last_429_ns = now_ns;
  double fits = (double)((uint64_t)limiter->in_flight * 7 / 10);
  if (fits < 1)
    fits = 1;
  if (limiter->window > fits)
    limiter->window = fits;
  if (limiter->threshold > fits)
    limiter->threshold = fits;
  if (server_ns > 0)
    limiter_wait_until(limiter, now_ns + server_ns);
  if (limiter->in_flight == 0) {
    limiter->consecutive_429++;
    limiter->threshold = limiter->believed;
    limiter_wait_until(limiter, now_ns + backoff_ns);
  }
}

void
lm_limiter_refused(struct lm_limiter *limiter, int64_t now_ns, int64_t server_ns)
{
  if (limiter->in_flight > 0)
    limiter->in_flight--;
  limiter->last_429_ns = now_ns;
  if (limiter->in_flight == 0)
    limiter->consecutive_429++;
  if (server_ns > 0)
    limiter_wait_until(limiter, now_ns + server_ns);
}

bool
lm_limiter_exhausted(const struct lm_limiter *limiter, int64_t asked_ns, int64_t now_ns,
                     int64_t patience_ns)
{
  int64_t since = limiter->last_accept_ns > asked_ns ? limiter->last_accept_ns : asked_ns;
  return limiter->in_flight == 0 && limiter->consecutive_429 > 0 && now_ns - since > patience_ns;
}

unsigned
lm_limiter_window(const struct lm_limiter *limiter)
{
  return limiter->window < 1 ? 1 : (unsigned)limiter->window;
}
