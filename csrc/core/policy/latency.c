#include "policy/latency.h"

#include <stddef.h>

enum { PARTS = 8, PARTS_BITS = 3 }; /* buckets per octave */

/* 0 to 7 us have a bucket each; above, the three bits after the highest one select the bucket in its
 * octave. */
static size_t
latency_bucket_of(uint64_t us)
{
  if (us < PARTS)
    return (size_t)us;
  unsigned octave = 63 - (unsigned)__builtin_clzll(us);
  size_t at = (size_t)(octave - PARTS_BITS + 1) * PARTS +
              (size_t)(us >> (octave - PARTS_BITS) & (PARTS - 1));
  return at < LM_LATENCY_BUCKETS ? at : LM_LATENCY_BUCKETS - 1;
}

/* The middle of a bucket. */
static int64_t
latency_middle_ns(size_t bucket)
{
  if (bucket < PARTS)
    return (int64_t)bucket * 1000;
  unsigned shift = (unsigned)(bucket / PARTS - 1);
  int64_t low = (int64_t)(PARTS + bucket % PARTS) << shift;
  return low * 1000 + ((int64_t)1000 << shift) / 2;
}

void
lm_latency_add(struct lm_latency *latency, int64_t ns)
{
  if (ns < 0)
    ns = 0;
  latency->counts[latency_bucket_of((uint64_t)ns / 1000)]++;
  latency->total++;
  if (ns > latency->max_ns)
    latency->max_ns = ns;
}

int64_t
lm_latency_quantile(const struct lm_latency *latency, double share)
{
  if (latency->total == 0)
    return -1;
  double wanted = share * (double)latency->total;
  uint64_t seen = 0;
  for (size_t i = 0; i < LM_LATENCY_BUCKETS; i++) {
    seen += latency->counts[i];
    if (seen > 0 && (double)seen >= wanted) {
      int64_t ns = latency_middle_ns(i);
      return ns < latency->max_ns ? ns : latency->max_ns;
    }
  }
  return latency->max_ns;
}
