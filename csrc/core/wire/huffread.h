/* Inflates byte planes in half of zlib's time or less.
 *
 * It reads what lm_huffman_write writes for planes that are not small: stored blocks, and blocks with codes of their
 * own, of at most LM_BLOCK_PLANE_BITS bits, with matches of distance 1 only. A table of codes then gives up to three
 * literals at once. It has no errors: every other stream, or an invalid one, is left to zlib, which reads it or
 * says what is wrong. What is read here is what zlib would read.
 *
 * Pure functions without allocations; about 12 KB of stack. Any thread.
 */
#ifndef LM_WIRE_HUFFREAD_H
#define LM_WIRE_HUFFREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LM_HUFFREAD_SLACK = 4 /* bytes after the last one that may be written */ };

/* Inflate n bytes to exactly raw_n, to `raw`, which has LM_HUFFREAD_SLACK bytes more. false: this stream is for zlib,
 * and what `raw` holds is undefined. */
bool lm_huffread(const uint8_t *bytes, size_t n, uint8_t *raw, size_t raw_n);

#endif
