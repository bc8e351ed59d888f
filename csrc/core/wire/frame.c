#include "wire/frame.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "wire/deflate.h"
#include "wire/huffman.h"
#include "wire/huffread.h"
#include "wire/mpcheck.h"
#include "wire/numbers.h"

enum {
  MAGIC = 'L',
  FLAG_DEFLATED = 1, /* the structure is deflated */
  FLAG_PLANES = 2,   /* the two top bytes of all words are stored apart, deflated */
  FLAG_PACKED = 4,   /* the packed section is deflated */
  FLAGS_KNOWN = FLAG_DEFLATED | FLAG_PLANES | FLAG_PACKED,
  MIN_DEFLATED = 256, /* smaller sections are not deflated */
  MIN_WORDS = 64,
  SAMPLE = 4096
};

struct lm_coder {
  struct lm_deflate *deflate; /* created on first use */
  struct lm_inflate *inflate;
  struct lm_buf scratch;  /* a sealed frame decoded from base64 */
  struct lm_buf deflated; /* deflated sections, one after the other */
  struct lm_buf planes;
};

struct lm_coder *
lm_coder_new(void)
{
  struct lm_coder *coder = lm_alloc_zero(1, sizeof *coder);
  if (coder == NULL)
    return NULL;
  lm_buf_init(&coder->scratch, SIZE_MAX);
  lm_buf_init(&coder->deflated, SIZE_MAX);
  lm_buf_init(&coder->planes, SIZE_MAX);
  return coder;
}

void
lm_coder_destroy(struct lm_coder *coder)
{
  if (coder == NULL)
    return;
  lm_buf_clean_up(&coder->planes);
  lm_buf_clean_up(&coder->deflated);
  lm_buf_clean_up(&coder->scratch);
  lm_inflate_destroy(coder->inflate);
  lm_deflate_destroy(coder->deflate);
  lm_free(coder);
}

/* --- header --- */

struct head {
  uint8_t flags;
  uint64_t structure_raw, structure_stored, packed_raw, packed_stored, words, planes_stored, blobs;
};

static size_t
frame_put_varint(uint8_t *at, uint64_t n)
{
  size_t used = 0;
  for (; n >= 0x80; n >>= 7)
    at[used++] = (uint8_t)(n | 0x80);
  at[used++] = (uint8_t)n;
  return used;
}

static int
frame_get_varint(const uint8_t *bytes, size_t len, size_t *at, uint64_t *n)
{
  *n = 0;
  for (unsigned shift = 0; shift < 49; shift += 7) { /* 2^49 is beyond any length here */
    if (*at == len)
      return -1;
    uint8_t byte = bytes[(*at)++];
    *n |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80)
      return byte == 0 && shift > 0 ? -1 : 0; /* each number has exactly one encoding */
  }
  return -1;
}

static size_t
frame_write_head(uint8_t *at, const struct head *head)
{
  size_t used = 0;
  at[used++] = MAGIC;
  at[used++] = LM_WIRE_VERSION;
  at[used++] = head->flags;
  at[used++] = 0;
  used += frame_put_varint(at + used, head->structure_raw);
  used += frame_put_varint(at + used, head->structure_stored);
  used += frame_put_varint(at + used, head->packed_raw);
  used += frame_put_varint(at + used, head->packed_stored);
  used += frame_put_varint(at + used, head->words);
  used += frame_put_varint(at + used, head->planes_stored);
  used += frame_put_varint(at + used, head->blobs);
  return used;
}

static struct head
frame_raw_head(const struct lm_frame_view *view)
{
  return (struct head){0,
                       view->structure_len,
                       view->structure_len,
                       view->packed_len,
                       view->packed_len,
                       view->words_len / LM_WORD,
                       0,
                       view->blobs_len / LM_WORD};
}

static uint64_t
frame_planes_raw(const struct head *head)
{
  return head->flags & FLAG_PLANES ? head->words * LM_PLANES : 0;
}

/* Read the header and check its lengths against the frame's. *at: offset of the first section. */
static int
frame_read_head(const uint8_t *frame, size_t len, struct head *head, size_t *at,
                struct lm_error *err)
{
  if (len < 4 || frame[0] != MAGIC)
    return lm_error_set(err, LM_E_FORMAT, "not a lambdamap frame");
  if (frame[1] != LM_WIRE_VERSION)
    return lm_error_set(
        err, LM_E_VERSION,
        "the frame has wire version %d, but this side supports version %d: use the same "
        "release of lambdamap on both sides",
        frame[1], LM_WIRE_VERSION);
  head->flags = frame[2];
  if ((head->flags & ~FLAGS_KNOWN) != 0 || frame[3] != 0)
    return lm_error_set(
        err, LM_E_VERSION,
        "the frame has flags 0x%02x%02x, but this side supports 0x%02x00: use the same "
        "release of lambdamap on both sides",
        frame[2], frame[3], FLAGS_KNOWN);
  *at = 4;
  if (frame_get_varint(frame, len, at, &head->structure_raw) != 0 ||
      frame_get_varint(frame, len, at, &head->structure_stored) != 0 ||
      frame_get_varint(frame, len, at, &head->packed_raw) != 0 ||
      frame_get_varint(frame, len, at, &head->packed_stored) != 0 ||
      frame_get_varint(frame, len, at, &head->words) != 0 ||
      frame_get_varint(frame, len, at, &head->planes_stored) != 0 ||
      frame_get_varint(frame, len, at, &head->blobs) != 0)
    return lm_error_at(err, LM_E_FORMAT, *at, "invalid frame header");
  uint64_t stored = head->structure_stored + head->packed_stored + head->planes_stored +
                    head->words * LM_WORD - frame_planes_raw(head) + head->blobs * LM_WORD;
  if (head->structure_raw == 0 ||
      (!(head->flags & FLAG_DEFLATED) && head->structure_stored != head->structure_raw) ||
      (!(head->flags & FLAG_PACKED) && head->packed_stored != head->packed_raw) ||
      (!(head->flags & FLAG_PLANES) && head->planes_stored != 0) || stored != len - *at)
    return lm_error_set(err, LM_E_FORMAT,
                        "the section lengths in the frame's header are inconsistent");
  return 0;
}

size_t
lm_frame_joined_len(const struct lm_frame_view *view)
{
  struct head head = frame_raw_head(view);
  uint8_t written[LM_FRAME_MAX_HEAD];
  return frame_write_head(written, &head) + view->structure_len + view->packed_len +
         view->words_len + view->blobs_len;
}

static uint8_t *
frame_put(uint8_t *at, const uint8_t *bytes, size_t n)
{
  if (n > 0)
    memcpy(at, bytes, n);
  return at + n;
}

void
lm_frame_join(const struct lm_frame_view *view, uint8_t *out)
{
  struct head head = frame_raw_head(view);
  out += frame_write_head(out, &head);
  out = frame_put(out, view->structure, view->structure_len);
  out = frame_put(out, view->packed, view->packed_len);
  out = frame_put(out, view->words, view->words_len);
  frame_put(out, view->blobs, view->blobs_len);
}

static void
frame_view_at(const struct head *head, const uint8_t *at, struct lm_frame_view *view)
{
  view->structure = at;
  view->structure_len = head->structure_raw;
  view->packed = at += head->structure_raw;
  view->packed_len = head->packed_raw;
  view->words = at += head->packed_raw;
  view->words_len = head->words * LM_WORD;
  view->blobs = at + view->words_len;
  view->blobs_len = head->blobs * LM_WORD;
}

int
lm_frame_split(const uint8_t *raw, size_t raw_len, struct lm_frame_view *view, struct lm_error *err)
{
  struct head head = {0};
  size_t at = 0;
  if (frame_read_head(raw, raw_len, &head, &at, err) != 0)
    return -1;
  if (head.flags != 0)
    return lm_error_set(err, LM_E_INVALID, "the frame is sealed");
  frame_view_at(&head, raw + at, view);
  return 0;
}

bool
lm_frame_is_raw(const uint8_t *frame, size_t len)
{
  return len > 2 && frame[2] == 0;
}

/* --- sealing --- */

static int
frame_ready_to_deflate(struct lm_coder *coder, struct lm_error *err)
{
  if (coder->deflate == NULL && (coder->deflate = lm_deflate_new()) == NULL)
    return lm_error_nomem(err, 270000);
  return 0;
}

/* Whether bytes are distributed so evenly that deflate cannot save a tenth: a sample has fewer than
 * 1.5 times the pairs of equal bytes expected by chance. */
static bool
frame_looks_random(const uint8_t *bytes, size_t n)
{
  enum { LOOKED_AT = 1024, BY_CHANCE = LOOKED_AT * (LOOKED_AT - 1) / 2 / 256 };
  uint16_t counts[256] = {0};
  if (n < LOOKED_AT)
    return false;
  size_t step = n / LOOKED_AT | 1, pairs = 0; /* odd, so not a multiple of the columns' widths */
  for (size_t i = 0, at = 0; i < LOOKED_AT; i++, at += step)
    pairs += counts[bytes[at < n ? at : at % n]]++;
  return pairs < BY_CHANCE + BY_CHANCE / 2;
}

/* Append the deflated section to coder->deflated if that saves a tenth. 1 if it does, 0 if not. */
static int
frame_deflate_section(struct lm_coder *coder, const uint8_t *bytes, size_t n, struct lm_error *err)
{
  if (n < MIN_DEFLATED || n > UINT32_MAX || frame_looks_random(bytes, n))
    return 0;
  if (frame_ready_to_deflate(coder, err) != 0)
    return -1;
  if (n > 4 * SAMPLE) { /* deflate a large one only if a sample from its middle gains */
    lm_buf_clear(&coder->planes);
    int gains = lm_deflate_run(coder->deflate, bytes + n / 2, SAMPLE, SAMPLE - SAMPLE / 10,
                               &coder->planes, err);
    if (gains <= 0)
      return gains;
  }
  return lm_deflate_run(coder->deflate, bytes, n, n - n / 10, &coder->deflated, err);
}

/* Split n words into coder->planes: 2n bytes of planes, then the rest. Deflate the planes into
 * coder->deflated: 1 if that saves a tenth, 0 if not. */
static int
frame_deflate_planes(struct lm_coder *coder, const struct lm_frame_view *view, struct lm_error *err)
{
  size_t words = view->words_len / LM_WORD, apart = LM_PLANES * words;
  if (words < MIN_WORDS || view->words_len > UINT32_MAX)
    return 0;
  lm_buf_clear(&coder->planes);
  uint8_t *place = lm_buf_reserve(&coder->planes, view->words_len + LM_SLACK);
  uint8_t *room = lm_buf_reserve(&coder->deflated, lm_huffman_bound(words, LM_PLANES));
  if (place == NULL || room == NULL)
    return lm_error_nomem(err, view->words_len);
  lm_planes_split(view->words, words, place, place + apart);
  size_t stored = lm_huffman_write(place, words, LM_PLANES, room);
  if (stored > apart - apart / 10)
    return 0;
  coder->deflated.len += stored;
  return 1;
}

static void
frame_add_piece(struct lm_sealed *sealed, const uint8_t *at, size_t len)
{
  if (len == 0)
    return;
  sealed->pieces[sealed->n++] = (struct lm_piece){at, len};
  sealed->len += len;
}

int
lm_frame_prepare(struct lm_coder *coder, const struct lm_frame_view *view, bool compress,
                 struct lm_sealed *sealed, struct lm_error *err)
{
  struct head head = frame_raw_head(view);
  size_t ends[3] = {0, 0, 0}; /* in coder->deflated */
  sealed->n = sealed->len = 0;
  if (compress) {
    lm_buf_clear(&coder->deflated);
    int gained = frame_deflate_section(coder, view->structure, view->structure_len, err);
    ends[0] = coder->deflated.len;
    if (gained > 0) {
      head.flags |= FLAG_DEFLATED;
      head.structure_stored = ends[0];
    }
    if (gained >= 0)
      gained = frame_deflate_section(coder, view->packed, view->packed_len, err);
    ends[1] = coder->deflated.len;
    if (gained > 0) {
      head.flags |= FLAG_PACKED;
      head.packed_stored = ends[1] - ends[0];
    }
    if (gained >= 0)
      gained = frame_deflate_planes(coder, view, err);
    ends[2] = coder->deflated.len;
    if (gained > 0) {
      head.flags |= FLAG_PLANES;
      head.planes_stored = ends[2] - ends[1];
    }
    if (gained < 0)
      return -1;
  }
  const uint8_t *deflated = coder->deflated.data;
  frame_add_piece(sealed, sealed->head, frame_write_head(sealed->head, &head));
  if (head.flags & FLAG_DEFLATED)
    frame_add_piece(sealed, deflated, ends[0]);
  else
    frame_add_piece(sealed, view->structure, view->structure_len);
  if (head.flags & FLAG_PACKED)
    frame_add_piece(sealed, deflated + ends[0], head.packed_stored);
  else
    frame_add_piece(sealed, view->packed, view->packed_len);
  if (head.flags & FLAG_PLANES) {
    uint64_t apart = frame_planes_raw(&head);
    frame_add_piece(sealed, deflated + ends[1], head.planes_stored);
    frame_add_piece(sealed, coder->planes.data + apart, view->words_len - apart);
  } else {
    frame_add_piece(sealed, view->words, view->words_len);
  }
  frame_add_piece(sealed, view->blobs, view->blobs_len);
  return 0;
}

void
lm_frame_write(const struct lm_sealed *sealed, uint8_t *out)
{
  for (size_t i = 0; i < sealed->n; i++) {
    memcpy(out, sealed->pieces[i].at, sealed->pieces[i].len);
    out += sealed->pieces[i].len;
  }
}

size_t
lm_frame_text_size(const struct lm_sealed *sealed)
{
  return LM_TEXT_PREFIX_LEN + lm_base64_encoded_size(sealed->len);
}

void
lm_frame_write_text(const struct lm_sealed *sealed, char *text)
{
  uint8_t group[3]; /* bytes carried over to the next piece */
  size_t kept = 0;
  memcpy(text, LM_TEXT_PREFIX, LM_TEXT_PREFIX_LEN);
  text += LM_TEXT_PREFIX_LEN;
  for (size_t i = 0; i < sealed->n; i++) {
    const uint8_t *at = sealed->pieces[i].at, *end = at + sealed->pieces[i].len;
    while (kept > 0 && kept < 3 && at < end)
      group[kept++] = *at++;
    if (kept == 3) {
      lm_base64_encode(group, 3, text);
      text += 4;
      kept = 0;
    }
    if (kept == 0) {
      size_t whole = (size_t)(end - at) / 3 * 3;
      lm_base64_encode(at, whole, text);
      text += whole / 3 * 4;
      at += whole;
      while (at < end)
        group[kept++] = *at++;
    }
  }
  if (kept > 0)
    lm_base64_encode(group, kept, text);
}

int
lm_frame_to_text(struct lm_coder *coder, const uint8_t *raw, size_t raw_len, bool compress,
                 struct lm_buf *out, struct lm_error *err)
{
  struct lm_frame_view view;
  struct lm_sealed sealed;
  if (lm_frame_split(raw, raw_len, &view, err) != 0 ||
      lm_frame_prepare(coder, &view, compress, &sealed, err) != 0)
    return -1;
  size_t chars = lm_frame_text_size(&sealed);
  char *place = (char *)lm_buf_reserve(out, chars);
  if (place != NULL) {
    lm_frame_write_text(&sealed, place);
    out->len += chars;
  }
  return lm_buf_check(out, "the text", err);
}

/* --- opening --- */

/* Copy a section to its place; inflate it if `deflated`. */
static int
frame_open_section(struct lm_coder *coder, bool deflated, const uint8_t *stored, size_t stored_len,
                   uint8_t *raw, size_t raw_len, struct lm_error *err)
{
  if (!deflated) {
    if (raw_len > 0)
      memcpy(raw, stored, raw_len);
    return 0;
  }
  if (coder->inflate == NULL && (coder->inflate = lm_inflate_new()) == NULL)
    return lm_error_nomem(err, 40000);
  return lm_inflate_run(coder->inflate, stored, stored_len, raw, raw_len, err);
}

static int
frame_check_lengths(const struct head *head, size_t max, struct lm_error *err)
{
  /* Each is below 2^49, so the sum cannot overflow. */
  if (head->structure_raw + head->packed_raw + (head->words + head->blobs) * LM_WORD > max)
    return lm_error_set(err, LM_E_LIMIT, "the frame declares more than %zu bytes", max);
  if (head->structure_raw / LM_DEFLATE_MAX_RATIO > head->structure_stored ||
      head->packed_raw / LM_DEFLATE_MAX_RATIO > head->packed_stored ||
      frame_planes_raw(head) / LM_DEFLATE_MAX_RATIO > head->planes_stored)
    return lm_error_set(err, LM_E_FORMAT,
                        "the frame declares more bytes than its sections can inflate to");
  return 0;
}

int
lm_frame_open(struct lm_coder *coder, const uint8_t *sealed, size_t sealed_len,
              const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
              struct lm_error *err)
{
  struct head head = {0};
  size_t at = 0;
  if (frame_read_head(sealed, sealed_len, &head, &at, err) != 0 ||
      frame_check_lengths(&head, limits->max_output_bytes, err) != 0)
    return -1;
  size_t apart = frame_planes_raw(&head), words_len = head.words * LM_WORD;
  const uint8_t *structure = sealed + at, *packed = structure + head.structure_stored;
  const uint8_t *planes = packed + head.packed_stored, *rest = planes + head.planes_stored;

  struct lm_frame_view view;
  struct head raw = head;
  raw.flags = 0;
  raw.structure_stored = head.structure_raw;
  raw.packed_stored = head.packed_raw;
  raw.planes_stored = 0;
  size_t body = head.structure_raw + head.packed_raw + words_len + head.blobs * LM_WORD;
  uint8_t *place = lm_buf_reserve(out, LM_FRAME_MAX_HEAD + body);
  if (place == NULL)
    return lm_buf_check(out, "the frame", err);
  size_t head_len = frame_write_head(place, &raw);
  place += head_len;
  frame_view_at(&raw, place, &view);
  uint8_t *words = place + head.structure_raw + head.packed_raw;
  if (frame_open_section(coder, head.flags & FLAG_DEFLATED, structure, head.structure_stored, place,
                         head.structure_raw, err) != 0 ||
      frame_open_section(coder, head.flags & FLAG_PACKED, packed, head.packed_stored,
                         place + head.structure_raw, head.packed_raw, err) != 0)
    return -1;
  if (apart > 0) {
    lm_buf_clear(&coder->planes);
    uint8_t *planes_place = lm_buf_reserve(&coder->planes, apart + LM_HUFFREAD_SLACK);
    if (planes_place == NULL)
      return lm_error_nomem(err, apart);
    if (!lm_huffread(planes, head.planes_stored, planes_place, apart) &&
        frame_open_section(coder, true, planes, head.planes_stored, planes_place, apart, err) != 0)
      return -1;
    lm_planes_join(planes_place, rest, head.words, words);
  } else if (words_len > 0) {
    memcpy(words, rest, words_len);
  }
  if (head.blobs > 0)
    memcpy(words + words_len, rest + (words_len - apart), head.blobs * LM_WORD);
  out->len += head_len + body;
  return lm_mpcheck(&view, limits, estimate, err);
}

/* Whether a frame in text form is raw: its first four characters encode the flags. */
static bool
frame_is_raw_text(const char *text, size_t text_len)
{
  uint8_t first[3];
  struct lm_error ignored;
  return text_len > 4 && lm_base64_decode(text, 4, first, &ignored) == 0 &&
         lm_frame_is_raw(first, sizeof first);
}

int
lm_frame_from_text(struct lm_coder *coder, const char *text, size_t text_len,
                   const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
                   struct lm_error *err)
{
  size_t size;
  if (text_len < LM_TEXT_PREFIX_LEN || memcmp(text, LM_TEXT_PREFIX, LM_TEXT_PREFIX_LEN) != 0)
    return lm_error_set(err, LM_E_FORMAT, "the text does not begin with " LM_TEXT_PREFIX);
  text += LM_TEXT_PREFIX_LEN;
  text_len -= LM_TEXT_PREFIX_LEN;
  if (lm_base64_decoded_size(text, text_len, &size, err) != 0)
    return -1;
  bool raw = frame_is_raw_text(text, text_len);
  struct lm_buf *bytes = raw ? out : &coder->scratch;
  lm_buf_clear(bytes);
  uint8_t *place = lm_buf_reserve(bytes, size);
  if (place == NULL)
    return lm_buf_check(bytes, "the frame", err);
  if (lm_base64_decode(text, text_len, place, err) != 0)
    return -1;
  if (!raw)
    return lm_frame_open(coder, place, size, limits, out, estimate, err);
  struct head head = {0};
  struct lm_frame_view view;
  size_t at = 0;
  if (frame_read_head(place, size, &head, &at, err) != 0 ||
      frame_check_lengths(&head, limits->max_output_bytes, err) != 0)
    return -1;
  out->len = size;
  frame_view_at(&head, place + at, &view);
  return lm_mpcheck(&view, limits, estimate, err);
}
