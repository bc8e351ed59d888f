/* SipHash-2-4 with the key 0, over parts: notices changes, not forgeries. Pure; any thread. */
#ifndef LM_WIRE_SIPHASH_H
#define LM_WIRE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct lm_siphash {
  uint64_t v[4];
  uint64_t tail; /* bytes that make no word yet */
  uint64_t len;  /* bytes so far */
};

void lm_siphash_init(struct lm_siphash *hash);
void lm_siphash_add(struct lm_siphash *hash, const uint8_t *bytes, size_t len);
uint64_t lm_siphash_end(struct lm_siphash *hash);

#endif
