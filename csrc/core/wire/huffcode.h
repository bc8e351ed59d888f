/* Prefix codes of limited length (Huffman). Pure; about 4 KB of stack. Any thread. */
#ifndef LM_WIRE_HUFFCODE_H
#define LM_WIRE_HUFFCODE_H

#include <stddef.h>
#include <stdint.h>

/* Find the lengths, at most `most` (up to 15) bits, of a code for up to LM_BLOCK_SYMBOLS symbols with these counts below
 * 2^16, of which at least two are not 0; symbols that do not occur have length 0. It is a Huffman code, unless that is
 * deeper: then some symbols of fewer bits are put deeper until the others fit. */
void lm_huffcode_find_lengths(const uint32_t *counts, size_t symbols, unsigned most,
                              uint8_t *lengths);

#endif
