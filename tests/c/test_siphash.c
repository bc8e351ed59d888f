/* wire/siphash: known values, and the same for all ways to part the bytes. */
#include "check.h"
#include "wire/siphash.h"

static uint64_t
hash_of(const uint8_t *bytes, size_t len, size_t cut)
{
  struct lm_siphash hash;
  lm_siphash_init(&hash);
  lm_siphash_add(&hash, bytes, cut);
  lm_siphash_add(&hash, bytes + cut, len - cut);
  return lm_siphash_end(&hash);
}

int
main(void)
{
  uint8_t bytes[64];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)i;
  /* From an implementation that has the paper's vector for its key, with the key 0. */
  CHECK(hash_of(bytes, 0, 0) == 0x1e924b9d737700d7);
  CHECK(hash_of(bytes, 15, 3) == 0xd0567cd44e891363);
  CHECK(hash_of(bytes, 64, 64) == 0x8b19265d1c12cdc7);
  for (size_t len = 0; len <= sizeof bytes; len++) {
    uint64_t whole = hash_of(bytes, len, len);
    for (size_t cut = 0; cut < len; cut++)
      CHECK(hash_of(bytes, len, cut) == whole);
    for (size_t other = 0; other < len; other++)
      CHECK(hash_of(bytes, other, other) != whole);
  }
  return 0;
}
