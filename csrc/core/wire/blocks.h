/* What deflate blocks are made of (RFC 1951), for those who write and read them. */
#ifndef LM_WIRE_BLOCKS_H
#define LM_WIRE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  LM_BLOCK_END = 256,     /* the symbol that ends a block; below it are literals */
  LM_BLOCK_LENGTHS = 257, /* the first symbol of a match */
  LM_BLOCK_SYMBOLS = 286,
  LM_BLOCK_SHORTEST = 3, /* match */
  LM_BLOCK_LONGEST = 258,
  LM_BLOCK_HEADER_SYMBOLS = 19, /* of the code in which a block's code lengths are written */
  LM_BLOCK_HEADER_BITS = 7,     /* of such a code, at most */
  LM_BLOCK_PLANE_BITS = 11      /* of a code in blocks of byte planes; deflate allows 15 */
};

/* How many bits follow each of these symbols, and what they are added to: how often a length is repeated. */
static const uint8_t LM_BLOCK_HEADER_EXTRA[LM_BLOCK_HEADER_SYMBOLS] = {
    [16] = 2, [17] = 3, [18] = 7};
static const uint8_t LM_BLOCK_HEADER_LEAST[LM_BLOCK_HEADER_SYMBOLS] = {
    [16] = 3, [17] = 3, [18] = 11};

/* The order in which the lengths of their codes are written. */
static const uint8_t LM_BLOCK_HEADER_ORDER[LM_BLOCK_HEADER_SYMBOLS] = {
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

/* A code of `length` bits with the last one first: codes are written from their highest bit on, all else from
 * the lowest. */
static inline uint32_t
lm_block_reverse(uint32_t code, unsigned length)
{
  code = (code & 0x5555) << 1 | (code >> 1 & 0x5555);
  code = (code & 0x3333) << 2 | (code >> 2 & 0x3333);
  code = (code & 0x0f0f) << 4 | (code >> 4 & 0x0f0f);
  code = (code & 0x00ff) << 8 | code >> 8;
  return code >> (16 - length);
}

/* Count the code lengths, up to 15, of symbols (0: it has no code), and find the first code of each (RFC 1951, 3.2.2).
 * false: they are not those of a complete code. */
static inline bool
lm_block_first_codes(const uint8_t *lengths, size_t symbols, uint32_t counts[16],
                     uint32_t first[16])
{
  uint32_t code = 0; /* of 15 bits */
  memset(counts, 0, 16 * sizeof *counts);
  for (size_t symbol = 0; symbol < symbols; symbol++)
    counts[lengths[symbol]]++;
  for (unsigned length = 1; length < 16; length++) {
    first[length] = code >> (15 - length);
    code += counts[length] << (15 - length);
  }
  return code == 1u << 15;
}

#endif
