#include "policy/chunk.h"

#include "base/limits.h"

static const double WEIGHT = 0.3; /* of the newest reply in the moving mean */

void
lm_chunker_init(struct lm_chunker *chunker, uint32_t fixed)
{
  *chunker = (struct lm_chunker){.fixed = fixed, .size = 1};
}

uint32_t
lm_chunker_next(struct lm_chunker *chunker, uint32_t window, int64_t left, int64_t deadline_left_us)
{
  if (chunker->fixed != 0)
    return chunker->fixed;
  uint64_t shares = 2 * (uint64_t)(window < 1 ? 1 : window);
  if (!chunker->known) {
    if (chunker->handed >= shares)
      return 0;
    chunker->handed++;
    return 1;
  }
  double target = LM_CHUNK_TARGET_US;
  if (deadline_left_us >= 0 && (double)deadline_left_us / 4 < target)
    target = (double)deadline_left_us / 4;
  double wanted = chunker->item_us > 0 ? target / chunker->item_us : (double)UINT32_MAX;
  if (wanted > chunker->size)
    wanted = chunker->size; /* lm_chunker_observe grows it */
  if (left >= 0) {
    double share = (double)(((uint64_t)left + shares - 1) / shares);
    if (wanted > share)
      wanted = share;
  }
  return wanted < 1 ? 1 : (uint32_t)wanted;
}

void
lm_chunker_observe(struct lm_chunker *chunker, uint32_t items, uint64_t worker_us, uint32_t window)
{
  if (chunker->fixed != 0 || items == 0)
    return;
  double each = (double)worker_us / items;
  chunker->item_us = chunker->known ? chunker->item_us + WEIGHT * (each - chunker->item_us) : each;
  chunker->known = true;
  if (++chunker->replies < (window < 1 ? 1 : window))
    return;
  chunker->replies = 0;
  if (chunker->size <= UINT32_MAX / 2)
    chunker->size *= 2;
  double most = chunker->item_us > 0 ? LM_CHUNK_TARGET_US / chunker->item_us : UINT32_MAX;
  if (chunker->size > most)
    chunker->size = most < 1 ? 1 : (uint32_t)most;
}

size_t
lm_chunker_max_bytes(const struct lm_chunker *chunker)
{
  return chunker->fixed != 0 ? LM_MAX_FRAME_BYTES : LM_CHUNK_AUTO_BYTES;
}
