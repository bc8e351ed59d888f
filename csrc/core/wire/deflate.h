/* Raw deflate (RFC 1951) on streams that are reset and reused. wire/huffman writes byte planes; this is
 * the only file that uses zlib. One thread at a time per coder; usable without the GIL. */
#ifndef LM_WIRE_DEFLATE_H
#define LM_WIRE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum { LM_DEFLATE_MAX_RATIO = 1032 }; /* the highest ratio that deflate can reach */

struct lm_deflate; /* about 270 KB */
struct lm_inflate; /* about 40 KB */

/* NULL when out of memory. Owned by the caller. */
struct lm_deflate *lm_deflate_new(void);
void lm_deflate_destroy(struct lm_deflate *stream); /* NULL is allowed */
struct lm_inflate *lm_inflate_new(void);
void lm_inflate_destroy(struct lm_inflate *stream);

/* Append the deflated bytes to *out. 1; or 0, with *out unchanged, if they are more than max_out; or
 * -1 and *err when out of memory or if n is above 4 GB. */
int lm_deflate_run(struct lm_deflate *stream, const uint8_t *bytes, size_t n, size_t max_out,
                   struct lm_buf *out, struct lm_error *err);

/* Write exactly raw_n bytes to raw. -1 and *err unless the n bytes are one complete deflate stream
 * that inflates to raw_n bytes. */
int lm_inflate_run(struct lm_inflate *stream, const uint8_t *bytes, size_t n, uint8_t *raw,
                   size_t raw_n, struct lm_error *err);

#endif
