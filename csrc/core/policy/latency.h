/* How long invocations took: a histogram of fixed size, an eighth of an octave wide. Pure. */
#ifndef LM_POLICY_LATENCY_H
#define LM_POLICY_LATENCY_H

#include <stdint.h>

enum { LM_LATENCY_BUCKETS = 240 }; /* 1 us to 36 min; what is longer counts as that */

struct lm_latency { /* zero-initialised; guarded by whoever owns it */
  uint32_t counts[LM_LATENCY_BUCKETS];
  uint64_t total;
  int64_t max_ns;
};

void lm_latency_add(struct lm_latency *latency, int64_t ns); /* negative counts as 0 */

/* The smallest duration that at least `share` (0 to 1) of those added do not exceed, within one
 * sixteenth; -1 when none was added. */
int64_t lm_latency_quantile(const struct lm_latency *latency, double share);

#endif
