/* https://www.aumasson.jp/siphash/siphash.pdf */
#include "wire/siphash.h"

#include "wire/numbers.h"

static uint64_t
siphash_rotate(uint64_t word, unsigned bits)
{
  return word << bits | word >> (64 - bits);
}

static void
siphash_round(uint64_t *v)
{
  v[0] += v[1];
  v[2] += v[3];
  v[1] = siphash_rotate(v[1], 13) ^ v[0];
  v[3] = siphash_rotate(v[3], 16) ^ v[2];
  v[0] = siphash_rotate(v[0], 32);
  v[2] += v[1];
  v[0] += v[3];
  v[1] = siphash_rotate(v[1], 17) ^ v[2];
  v[3] = siphash_rotate(v[3], 21) ^ v[0];
  v[2] = siphash_rotate(v[2], 32);
}

static void
siphash_word(struct lm_siphash *hash, uint64_t word)
{
  hash->v[3] ^= word;
  siphash_round(hash->v);
  siphash_round(hash->v);
  hash->v[0] ^= word;
}

void
lm_siphash_init(struct lm_siphash *hash)
{
  *hash = (struct lm_siphash){
      .v = {0x736f6d6570736575, 0x646f72616e646f6d, 0x6c7967656e657261, 0x7465646279746573}};
}

void
lm_siphash_add(struct lm_siphash *hash, const uint8_t *bytes, size_t len)
{
  size_t at = 0;
  unsigned held = hash->len % 8;
  hash->len += len;
  for (; held != 0 && at < len; at++, held = (held + 1) % 8) {
    hash->tail |= (uint64_t)bytes[at] << (8 * held);
    if (held == 7) {
      siphash_word(hash, hash->tail);
      hash->tail = 0;
    }
  }
  for (; len - at >= 8; at += 8)
    siphash_word(hash, lm_load64(bytes + at));
  for (; at < len; at++, held++)
    hash->tail |= (uint64_t)bytes[at] << (8 * held);
}

uint64_t
lm_siphash_end(struct lm_siphash *hash)
{
  siphash_word(hash, hash->tail | hash->len << 56);
  hash->v[2] ^= 0xff;
  for (int i = 0; i < 4; i++)
    siphash_round(hash->v);
  return hash->v[0] ^ hash->v[1] ^ hash->v[2] ^ hash->v[3];
}
