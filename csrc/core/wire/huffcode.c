#include "wire/huffcode.h"

#include "wire/blocks.h"

enum { FEW = 24 /* keys that are sorted by insertion */ };

/* Sort keys, ascending: by insertion if there are few, else by bits 9 to 24, a byte at a time. Both are stable, and
 * keys come in the order of their lower bits. */
static void
huffcode_sort(uint32_t *keys, size_t n)
{
  if (n <= FEW) {
    for (size_t i = 1; i < n; i++) {
      uint32_t key = keys[i];
      size_t at = i;
      for (; at > 0 && keys[at - 1] > key; at--)
        keys[at] = keys[at - 1];
      keys[at] = key;
    }
    return;
  }
  uint32_t other[LM_BLOCK_SYMBOLS];
  uint16_t starts[2][256] = {{0}};
  for (size_t i = 0; i < n; i++) {
    starts[0][keys[i] >> 9 & 255]++;
    starts[1][keys[i] >> 17 & 255]++;
  }
  uint16_t sums[2] = {0, 0};
  for (size_t digit = 0; digit < 256; digit++)
    for (int pass = 0; pass < 2; pass++) {
      uint16_t count = starts[pass][digit];
      starts[pass][digit] = sums[pass];
      sums[pass] = (uint16_t)(sums[pass] + count);
    }
  for (size_t i = 0; i < n; i++)
    other[starts[0][keys[i] >> 9 & 255]++] = keys[i];
  for (size_t i = 0; i < n; i++)
    keys[starts[1][other[i] >> 17 & 255]++] = other[i];
}

/* Count the leaves at each depth of the Huffman tree of n >= 2 weights, ascending, those deeper than `most` at
 * `most`. In place, after Moffat and Katajainen: weights become sums, then indices of parents, then depths of
 * the inner nodes. */
static void
huffcode_count_depths(uint32_t *weights, size_t n, unsigned most, uint32_t *leaves)
{
  size_t inner = 0, leaf = 0;
  for (size_t next = 0; next < n - 1; next++) {
    uint32_t sum = 0;
    for (int child = 0; child < 2; child++) {
      if (leaf == n || (inner < next && weights[inner] < weights[leaf])) {
        sum += weights[inner];
        weights[inner++] = (uint32_t)next;
      } else {
        sum += weights[leaf++];
      }
    }
    weights[next] = sum;
  }
  weights[n - 2] = 0;
  for (size_t next = n - 2; next-- > 0;)
    weights[next] = weights[weights[next]] + 1;
  size_t node = n - 1; /* inner nodes not yet looked at, deepest first */
  for (uint32_t depth = 0, places = 1; places > 0; depth++) {
    uint32_t nodes = 0;
    for (; node > 0 && weights[node - 1] == depth; node--)
      nodes++;
    leaves[depth < most ? depth : most] += places - nodes;
    places = 2 * nodes;
  }
}

void
lm_huffcode_find_lengths(const uint32_t *counts, size_t symbols, unsigned most, uint8_t *lengths)
{
  uint32_t keys[LM_BLOCK_SYMBOLS], weights[LM_BLOCK_SYMBOLS], leaves[16] = {0};
  size_t n = 0;
  for (size_t symbol = 0; symbol < symbols; symbol++) {
    lengths[symbol] = 0;
    keys[n] = counts[symbol] << 9 | (uint32_t)symbol;
    n += counts[symbol] != 0;
  }
  huffcode_sort(keys, n);
  for (size_t i = 0; i < n; i++)
    weights[i] = keys[i] >> 9;
  huffcode_count_depths(weights, n, most, leaves);
  uint32_t room = UINT32_C(1) << most, taken = 0; /* in codes of the greatest length */
  for (unsigned length = 1; length <= most; length++)
    taken += leaves[length] << (most - length);
  for (; taken > room; taken--) {
    unsigned length = most - 1;
    while (leaves[length] == 0)
      length--;
    leaves[most]--;
    leaves[length]--;
    leaves[length + 1] += 2;
  }
  size_t i = 0;
  for (unsigned length = most; length > 0; length--)
    for (uint32_t left = leaves[length]; left > 0; left--)
      lengths[keys[i++] & 511] = (uint8_t)length;
}
