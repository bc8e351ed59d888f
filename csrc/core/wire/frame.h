/* A frame: one value on the wire. docs/wire-format.md says what the bytes mean.
 *
 * Two forms of the same frame exist. *Raw*: what packing produces and unpacking reads, nothing
 * compressed. *Sealed*: what travels, its structure deflated and its byte planes run-length coded
 * where that pays. Both start with the same header, whose flags say which sections are compressed.
 */
#ifndef LM_WIRE_FRAME_H
#define LM_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "wire/view.h"

#define LM_TEXT_PREFIX "lm1:" /* the text form is this and then base64 of a sealed frame */
enum { LM_TEXT_PREFIX_LEN = 4 };

enum {
  LM_WIRE_VERSION = 1,
  LM_FRAME_MAX_HEAD = 74 /* magic, version, flags, a zero, and seven varints */
};

/* The length of a view's raw frame, and the frame, put together in that many bytes at `out`. */
size_t lm_frame_joined_len(const struct lm_frame_view *view);
void lm_frame_join(const struct lm_frame_view *view, uint8_t *out);

/* Take a raw frame apart. Only its own lengths are checked here; lm_mpcheck checks the value. */
int lm_frame_split(const uint8_t *raw, size_t raw_len, struct lm_frame_view *view,
                   struct lm_error *err);

/* Whether a frame, raw or sealed, has nothing compressed in it. */
bool lm_frame_is_raw(const uint8_t *frame, size_t len);

/* A deflate and an inflate stream that are reset rather than made anew (about 310 KB together,
 * allocated when first used). One thread at a time. */
struct lm_coder;
struct lm_coder *lm_coder_new(void); /* NULL when out of memory */
void lm_coder_destroy(struct lm_coder *coder);

/* --- sealing --- */

enum { LM_FRAME_PIECES = 9 };

/* A sealed frame as pieces, which are those of the view and the coder's until either changes. */
struct lm_sealed {
  struct lm_piece {
    const uint8_t *at;
    size_t len;
  } pieces[LM_FRAME_PIECES];
  size_t n, len; /* pieces; bytes of all */
  uint8_t head[LM_FRAME_MAX_HEAD];
};

/* Seal: compress where `compress` is true and a sample says that it pays. *sealed must not move. */
int lm_frame_prepare(struct lm_coder *coder, const struct lm_frame_view *view, bool compress,
                     struct lm_sealed *sealed, struct lm_error *err);
/* Its bytes, sealed->len of them; its text, lm_frame_text_size of them. */
void lm_frame_write(const struct lm_sealed *sealed, uint8_t *out);
size_t lm_frame_text_size(const struct lm_sealed *sealed);
void lm_frame_write_text(const struct lm_sealed *sealed, char *text);

/* Raw frame -> text form, appended to *out: seal (compress where `compress` is true and a sample
 * says that it pays) and base64. */
int lm_frame_to_text(struct lm_coder *coder, const uint8_t *raw, size_t raw_len, bool compress,
                     struct lm_buf *out, struct lm_error *err);

/* Text form (with its prefix) -> checked raw frame, appended to *out, which must be empty. Every
 * count, width, depth and length is bounded before anything of its size is allocated; afterwards
 * lm_mpcheck has accepted the frame and *estimate is at least the bytes that the built objects
 * will take. */
int lm_frame_from_text(struct lm_coder *coder, const char *text, size_t text_len,
                       const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
                       struct lm_error *err);

/* The same without base64, for the codec's bytes form. */
int lm_frame_open(struct lm_coder *coder, const uint8_t *sealed, size_t sealed_len,
                  const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
                  struct lm_error *err);

#endif
