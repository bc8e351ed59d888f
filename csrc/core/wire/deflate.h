/* Raw deflate (RFC 1951) on streams that are reset rather than made anew. The only file that
 * knows zlib. One thread at a time per coder; usable without the GIL. */
#ifndef LM_WIRE_DEFLATE_H
#define LM_WIRE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum lm_deflate_mode {
  LM_DEFLATE_TEXT, /* level 1: structure */
  LM_DEFLATE_RUNS  /* level 1, runs of one byte only (Z_RLE): byte planes */
};

enum { LM_DEFLATE_MAX_RATIO = 1032 }; /* deflate cannot expand further than this */

struct lm_deflate; /* about 270 KB, made at the first use */
struct lm_inflate; /* about 40 KB */

/* Both NULL when out of memory. The caller owns them. */
struct lm_deflate *lm_deflate_new(void);
void lm_deflate_destroy(struct lm_deflate *stream); /* NULL is allowed */
struct lm_inflate *lm_inflate_new(void);
void lm_inflate_destroy(struct lm_inflate *stream);

/* Append the deflated bytes to *out, at most max_out of them: 1. When they do not fit in that,
 * 0 and *out as before. -1 and *err when memory is short or n is past 4 GB. */
int lm_deflate_run(struct lm_deflate *stream, enum lm_deflate_mode mode, const uint8_t *bytes,
                   size_t n, size_t max_out, struct lm_buf *out, struct lm_error *err);

/* Write exactly raw_n bytes at *raw, which has that much room; -1 unless the n bytes are one
 * whole deflate stream of exactly that output. */
int lm_inflate_run(struct lm_inflate *stream, const uint8_t *bytes, size_t n, uint8_t *raw,
                   size_t raw_n, struct lm_error *err);

#endif
