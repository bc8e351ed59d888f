/* How many items go into the next chunk. Pure; lm_chunker_next has the rule. */
#ifndef LM_POLICY_CHUNK_H
#define LM_POLICY_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  LM_CHUNK_TARGET_US = 500000,  /* target worker time of an automatic chunk */
  LM_CHUNK_AUTO_BYTES = 1 << 20 /* encoded bytes of an automatic chunk */
};

struct lm_chunker {
  uint32_t fixed;   /* items per chunk, or 0 for automatic */
  uint32_t handed;  /* chunks started while the time per item is unknown */
  bool known;       /* item_us is */
  double item_us;   /* moving mean of the worker's time per item */
  uint32_t size;    /* current automatic size, in items */
  uint32_t replies; /* since the size last grew; after a window of them it doubles */
};

void lm_chunker_init(struct lm_chunker *chunker, uint32_t fixed);

/* Items for the next chunk; 0: wait for a reply first (automatic, no reply yet, two windows of chunks
 * started). window: the function's current one. left: items not packed yet, -1 if the length is
 * unknown. deadline_left_us: -1 for none.
 * Automatic: 1 until the first reply; then 0.5 s / item_us, at most double the current size once per
 * window of replies, at most ceil(left / (2 * window)), at most a quarter of the time left. */
uint32_t lm_chunker_next(struct lm_chunker *chunker, uint32_t window, int64_t left,
                         int64_t deadline_left_us);
void lm_chunker_observe(struct lm_chunker *chunker, uint32_t items, uint64_t worker_us,
                        uint32_t window);
/* Encoded bytes at which a chunk is full, whatever its number of items. */
size_t lm_chunker_max_bytes(const struct lm_chunker *chunker);

#endif
