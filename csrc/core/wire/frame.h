/* A frame: one value on the wire. docs/wire-format.md says what the bytes mean.
 *
 * A frame has two forms. *Raw*: produced by packing and read by unpacking; nothing is compressed.
 * *Sealed*: as sent; its structure and its byte planes are deflated where that saves
 * space. Both start with the same header, whose flags say which sections are compressed.
 */
#ifndef LM_WIRE_FRAME_H
#define LM_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "wire/view.h"

#define LM_TEXT_PREFIX "lm1:" /* text form: this prefix, then a sealed frame in base64 */
enum { LM_TEXT_PREFIX_LEN = 4 };

enum {
  LM_WIRE_VERSION = 1,
  LM_FRAME_MAX_HEAD = 74 /* magic, version, flags, a zero, and seven varints */
};

/* The length of a view's raw frame; write the frame, of that length, to `out`. */
size_t lm_frame_joined_len(const struct lm_frame_view *view);
void lm_frame_join(const struct lm_frame_view *view, uint8_t *out);

/* Split a raw frame into its sections. Checks the lengths in its header only; lm_mpcheck checks the
 * value. */
int lm_frame_split(const uint8_t *raw, size_t raw_len, struct lm_frame_view *view,
                   struct lm_error *err);

/* Whether no section of a frame, raw or sealed, is compressed. */
bool lm_frame_is_raw(const uint8_t *frame, size_t len);

/* A deflate and an inflate stream that are reset and reused (about 310 KB together, allocated on
 * first use). One thread at a time. */
struct lm_coder;
struct lm_coder *lm_coder_new(void); /* NULL when out of memory */
void lm_coder_destroy(struct lm_coder *coder);

/* --- sealing --- */

enum { LM_FRAME_PIECES = 9 };

/* A sealed frame as pieces, which point into the view and the coder and are valid until either changes. */
struct lm_sealed {
  struct lm_piece {
    const uint8_t *at;
    size_t len;
  } pieces[LM_FRAME_PIECES];
  size_t n, len; /* number of pieces; total bytes */
  uint8_t head[LM_FRAME_MAX_HEAD];
};

/* Seal: if `compress`, deflate sections where a sample shows that it saves space. *sealed must not be
 * moved, since its pieces point to its head. */
int lm_frame_prepare(struct lm_coder *coder, const struct lm_frame_view *view, bool compress,
                     struct lm_sealed *sealed, struct lm_error *err);
/* Write its bytes, sealed->len of them; its text form, lm_frame_text_size characters. */
void lm_frame_write(const struct lm_sealed *sealed, uint8_t *out);
size_t lm_frame_text_size(const struct lm_sealed *sealed);
void lm_frame_write_text(const struct lm_sealed *sealed, char *text);

/* Append a raw frame to *out in text form: seal it as lm_frame_prepare does, then base64. */
int lm_frame_to_text(struct lm_coder *coder, const uint8_t *raw, size_t raw_len, bool compress,
                     struct lm_buf *out, struct lm_error *err);

/* Decode text form (with its prefix) to a checked raw frame, appended to *out, which must be empty.
 * Every count, width, depth and length is bounded before memory of that size is allocated. On
 * success lm_mpcheck has accepted the frame, and *estimate is an upper bound of the bytes that the
 * objects built from it take. */
int lm_frame_from_text(struct lm_coder *coder, const char *text, size_t text_len,
                       const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
                       struct lm_error *err);

/* The same for a sealed frame without base64. */
int lm_frame_open(struct lm_coder *coder, const uint8_t *sealed, size_t sealed_len,
                  const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
                  struct lm_error *err);

#endif
