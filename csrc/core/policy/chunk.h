/* How many items the next chunk takes. Pure; see lm_chunker_next for the rule. */
#ifndef LM_POLICY_CHUNK_H
#define LM_POLICY_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  LM_CHUNK_TARGET_US = 500000,   /* worker time that one automatic chunk aims at */
  LM_CHUNK_AUTO_BYTES = 1 << 20, /* encoded bytes of one automatic chunk */
  LM_CHUNK_MAX_BYTES =
      4650000 /* raw frame bytes that surely fit 6,291,456 as base64 in an envelope */
};

struct lm_chunker {
  uint32_t fixed;  /* items per chunk, or 0 for automatic */
  uint32_t handed; /* chunks handed out while the cost is unknown */
  bool known;
  double item_us;   /* moving mean of the worker's time per item */
  uint32_t size;    /* present automatic size */
  uint32_t replies; /* since the size last grew; a window of them lets it double */
};

void lm_chunker_init(struct lm_chunker *chunker, uint32_t fixed);

/* Items for the next chunk, or 0: wait for a reply first (automatic, cost unknown, two windows
 * handed out). window: the limiter's present one. left: items not yet packed, or -1 when the
 * length is unknown. deadline_left_us: -1 for none.
 * Automatic: 1 until the first reply; then 0.5 s / item_us, at most double the present size once
 * per window of replies, at most ceil(left / (2 * window)), at most a quarter of the deadline. */
uint32_t lm_chunker_next(struct lm_chunker *chunker, uint32_t window, int64_t left,
                         int64_t deadline_left_us);
void lm_chunker_observe(struct lm_chunker *chunker, uint32_t items, uint64_t worker_us,
                        uint32_t window);
/* Bytes at which the open chunk is full whatever its count. */
size_t lm_chunker_max_bytes(const struct lm_chunker *chunker);

#endif
