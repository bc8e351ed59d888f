/* How long invocations took: a histogram of fixed size with eight buckets per octave. Pure. */
#ifndef LM_POLICY_LATENCY_H
#define LM_POLICY_LATENCY_H

#include <stdint.h>

enum { LM_LATENCY_BUCKETS = 240 }; /* 1 us to 36 min; longer ones are in the last bucket */

struct lm_latency { /* zero-initialized; guarded by its owner */
  uint32_t counts[LM_LATENCY_BUCKETS];
  uint64_t total;
  int64_t max_ns;
};

void lm_latency_add(struct lm_latency *latency, int64_t ns); /* negative: 0 */

/* The quantile `share` (0 to 1) in nanoseconds, accurate to one sixteenth; -1: nothing was added. */
int64_t lm_latency_quantile(const struct lm_latency *latency, double share);

#endif
