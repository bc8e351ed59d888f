/* wire/frame and wire/deflate: seal and open, truncated at every length, with every allocation failing. */
#include <string.h>

#include "check.h"
#include "wire/columns.h"
#include "wire/deflate.h"
#include "wire/frame.h"

enum { STRUCTURE = 3000, WORDS = 200, PACKED = 600 };

/* A raw frame: a text of a repeated pattern, a list of doubles, one of packed integers, and a buffer
 * that is a blob. */
static void
make(struct lm_buf *raw)
{
  uint8_t structure[STRUCTURE + 64], words[WORDS * 8], packed[PACKED], blobs[64];
  size_t at = 0;
  structure[at++] = 0x94;
  structure[at++] = 0xda;
  structure[at++] = STRUCTURE >> 8;
  structure[at++] = STRUCTURE & 255;
  for (int i = 0; i < STRUCTURE; i++)
    structure[at++] = (uint8_t)('a' + i % 7);
  static const uint8_t columns[] = {
      0xc7, 5, 1,  WORDS & 127,   WORDS >> 7,  LM_COLUMN_FLOAT, LM_FLOAT, 0,       /* doubles */
      0xc7, 7, 1,  PACKED & 127,  PACKED >> 7, LM_COLUMN_INT,   LM_INT,   1, 3, 0, /* bytes */
      0xc7, 5, 13, 8 /* bytes */, 8,           LM_COLUMN_RAW,   1,        0,       /* a buffer */
  };
  memcpy(structure + at, columns, sizeof columns);
  structure[at + 3] |= 0x80; /* the varints continue */
  structure[at + 11] |= 0x80;
  at += sizeof columns;
  for (int i = 0; i < PACKED; i++)
    packed[i] = (uint8_t)(i / 3);
  memset(blobs, 7, sizeof blobs);
  for (int i = 0; i < WORDS; i++) {
    double number = 1.0 + i / 7.0;
    memcpy(words + 8 * i, &number, 8);
  }
  struct lm_frame_view view = {structure, at,           packed, sizeof packed,
                               words,     sizeof words, blobs,  sizeof blobs};
  uint8_t *joined = lm_buf_reserve(raw, lm_frame_joined_len(&view));
  if (joined == NULL)
    return; /* the sweep of failing allocations */
  lm_frame_join(&view, joined);
  raw->len += lm_frame_joined_len(&view);
}

static bool
round_trip(bool compress)
{
  bool good = false;
  struct lm_buf raw, text, again;
  struct lm_error err;
  size_t estimate;
  struct lm_frame_limits limits = LM_FRAME_LIMITS_DEFAULT;
  struct lm_coder *coder = lm_coder_new();
  lm_buf_init(&raw, SIZE_MAX);
  lm_buf_init(&text, SIZE_MAX);
  lm_buf_init(&again, SIZE_MAX);
  if (coder == NULL)
    goto done;
  make(&raw);
  if (raw.failed != LM_OK)
    goto done;
  if (lm_frame_to_text(coder, raw.data, raw.len, compress, &text, &err) != 0 ||
      lm_frame_from_text(coder, (const char *)text.data, text.len, &limits, &again, &estimate,
                         &err) != 0) {
    CHECK(err.code == LM_E_NOMEM);
    goto done;
  }
  CHECK(again.len == raw.len && memcmp(again.data, raw.data, raw.len) == 0);
  CHECK(!compress || text.len < raw.len);
  CHECK(estimate >= STRUCTURE + WORDS * 24);
  good = true;

done:
  lm_buf_clean_up(&again);
  lm_buf_clean_up(&text);
  lm_buf_clean_up(&raw);
  lm_coder_destroy(coder);
  return good;
}

static void
compressed(void)
{
  (void)round_trip(true);
}

static void
plain(void)
{
  (void)round_trip(false);
}

static void
seal(struct lm_coder *coder, const struct lm_buf *raw, struct lm_buf *out)
{
  struct lm_frame_view view;
  struct lm_sealed sealed;
  struct lm_error err;
  CHECK(lm_frame_split(raw->data, raw->len, &view, &err) == 0);
  CHECK(lm_frame_prepare(coder, &view, true, &sealed, &err) == 0);
  lm_frame_write(&sealed, lm_buf_reserve(out, sealed.len));
  out->len += sealed.len;
}

/* A sealed frame with one byte changed, missing or added does not open as the original. */
static void
broken(void)
{
  struct lm_coder *coder = lm_coder_new();
  struct lm_buf raw, sealed, out;
  struct lm_error err;
  size_t estimate;
  struct lm_frame_limits limits = {1 << 20, 512};
  lm_buf_init(&raw, SIZE_MAX);
  lm_buf_init(&sealed, SIZE_MAX);
  lm_buf_init(&out, SIZE_MAX);
  make(&raw);
  seal(coder, &raw, &sealed);
  CHECK(lm_frame_open(coder, sealed.data, sealed.len, &limits, &out, &estimate, &err) == 0);
  for (size_t n = 0; n < sealed.len; n++) {
    lm_buf_clear(&out);
    CHECK(lm_frame_open(coder, sealed.data, n, &limits, &out, &estimate, &err) != 0);
  }
  for (size_t at = 0; at < sealed.len; at++)
    for (int bit = 0; bit < 8; bit++) {
      sealed.data[at] ^= (uint8_t)(1 << bit);
      lm_buf_clear(&out);
      (void)lm_frame_open(coder, sealed.data, sealed.len, &limits, &out, &estimate, &err);
      sealed.data[at] ^= (uint8_t)(1 << bit);
    }
  lm_buf_byte(&sealed, 0);
  lm_buf_clear(&out);
  CHECK(lm_frame_open(coder, sealed.data, sealed.len, &limits, &out, &estimate, &err) != 0);
  limits.max_output_bytes = STRUCTURE;
  lm_buf_clear(&out);
  CHECK(lm_frame_open(coder, sealed.data, sealed.len - 1, &limits, &out, &estimate, &err) != 0 &&
        err.code == LM_E_LIMIT);
  lm_buf_clean_up(&out);
  lm_buf_clean_up(&sealed);
  lm_buf_clean_up(&raw);
  lm_coder_destroy(coder);
}

int
main(void)
{
  CHECK(round_trip(true) && round_trip(false));
  check_every_allocation(compressed);
  check_every_allocation(plain);
  broken();
  CHECK(lm_alloc_live() == 0);
  return 0;
}
