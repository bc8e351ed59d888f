/* A deflate stream (RFC 1951) of byte planes, as any inflate reads it: literals, and runs of one byte.
 *
 * A frame's planes are a deflate stream of their own (docs/wire-format.md). This file writes that stream, and
 * wire/deflate all others. What planes have is few distinct bytes, or long runs: nothing that zlib's search for matches
 * would find, and without the search a stream takes a quarter of the time, and as many bytes.
 *
 * Each plane is cut into sections. The symbols of a section are counted: its bytes, and, where they take less, runs of
 * them, which are matches of distance 1. Two sections share a block if one of them has few symbols, as one that is all
 * runs; every other section is a block of its own. A block is written in the shortest of three forms, whose lengths are
 * computed first: stored, with deflate's fixed code, or with a code of its own.
 *
 * Pure functions without allocations; about 12 KB of stack. Any thread.
 */
#ifndef LM_WIRE_HUFFMAN_H
#define LM_WIRE_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>

enum { LM_HUFFMAN_SECTION = 32767 /* most bytes in a section; two fit a stored block */ };

/* Upper bound of the stream's bytes, and of those written after it: five for each section, as if all were stored, and
 * a word. */
static inline size_t
lm_huffman_bound(size_t plane, size_t planes)
{
  size_t sections = planes * (plane / LM_HUFFMAN_SECTION + 1);
  return planes * plane + 5 * sections + sizeof(uint64_t);
}

/* Write `planes` planes of `plane` bytes each, one after the other, as one stream to `out`, which has
 * lm_huffman_bound bytes. Return the stream's length. */
size_t lm_huffman_write(const uint8_t *bytes, size_t plane, size_t planes, uint8_t *out);

#endif
