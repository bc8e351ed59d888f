#include "wire/frame.h"

#include <string.h>

#include "base/alloc.h"
#include "wire/base64.h"
#include "wire/deflate.h"
#include "wire/mpcheck.h"

enum {
  MAGIC = 'L',
  FLAG_DEFLATED = 1, /* the structure is */
  FLAG_PLANES = 2,   /* the two top bytes of every word are apart, run-length coded */
  FLAGS_KNOWN = FLAG_DEFLATED | FLAG_PLANES,
  PLANES = 2,
  MIN_STRUCTURE = 256, /* smaller ones are not worth a try */
  MIN_WORDS = 64,
  SAMPLE = 4096
};

struct lm_coder {
  struct lm_deflate *deflate; /* made when first used */
  struct lm_inflate *inflate;
  struct lm_buf scratch; /* sealed frames on their way to base64 and back */
  struct lm_buf planes;
};

struct lm_coder *
lm_coder_new(void)
{
  struct lm_coder *coder = lm_alloc_zero(1, sizeof *coder);
  if (coder == NULL)
    return NULL;
  lm_buf_init(&coder->scratch, SIZE_MAX);
  lm_buf_init(&coder->planes, SIZE_MAX);
  return coder;
}

void
lm_coder_destroy(struct lm_coder *coder)
{
  if (coder == NULL)
    return;
  lm_buf_clean_up(&coder->planes);
  lm_buf_clean_up(&coder->scratch);
  lm_inflate_destroy(coder->inflate);
  lm_deflate_destroy(coder->deflate);
  lm_free(coder);
}

/* --- header --- */

struct head {
  uint8_t flags;
  uint64_t structure_raw, structure_stored, numeric_raw, planes_stored;
};

static void
put_varint(struct lm_buf *out, uint64_t n)
{
  uint8_t bytes[10];
  size_t at = 0;
  for (; n >= 0x80; n >>= 7)
    bytes[at++] = (uint8_t)(n | 0x80);
  bytes[at++] = (uint8_t)n;
  lm_buf_append(out, bytes, at);
}

static int
get_varint(const uint8_t *bytes, size_t len, size_t *at, uint64_t *n)
{
  *n = 0;
  for (unsigned shift = 0; shift < 49; shift += 7) { /* 2^49 is beyond any length here */
    if (*at == len)
      return -1;
    uint8_t byte = bytes[(*at)++];
    *n |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80)
      return byte == 0 && shift > 0 ? -1 : 0; /* one way to write each number */
  }
  return -1;
}

static void
write_head(struct lm_buf *out, const struct head *head)
{
  const uint8_t first[] = {MAGIC, LM_WIRE_VERSION, head->flags, 0};
  lm_buf_append(out, first, sizeof first);
  put_varint(out, head->structure_raw);
  put_varint(out, head->structure_stored);
  put_varint(out, head->numeric_raw);
  put_varint(out, head->planes_stored);
}

static uint64_t
planes_raw(const struct head *head)
{
  return head->flags & FLAG_PLANES ? head->numeric_raw / LM_WORD * PLANES : 0;
}

/* Reads the header and checks that its lengths are those of the frame. *at: where the first section
 * begins. */
static int
read_head(const uint8_t *frame, size_t len, struct head *head, size_t *at, struct lm_error *err)
{
  if (len < 4 || frame[0] != MAGIC)
    return lm_error_set(err, LM_E_FORMAT, "this is no frame of lambdamap");
  if (frame[1] != LM_WIRE_VERSION)
    return lm_error_set(err, LM_E_VERSION,
                        "the frame has wire version %d, this side knows version %d: use the same "
                        "release of lambdamap on both",
                        frame[1], LM_WIRE_VERSION);
  head->flags = frame[2];
  if ((head->flags & ~FLAGS_KNOWN) != 0 || frame[3] != 0)
    return lm_error_set(err, LM_E_VERSION, "the frame has flags that this side does not know");
  *at = 4;
  if (get_varint(frame, len, at, &head->structure_raw) != 0 ||
      get_varint(frame, len, at, &head->structure_stored) != 0 ||
      get_varint(frame, len, at, &head->numeric_raw) != 0 ||
      get_varint(frame, len, at, &head->planes_stored) != 0)
    return lm_error_at(err, LM_E_FORMAT, *at, "the frame's header is broken");
  bool deflated = head->flags & FLAG_DEFLATED, planes = head->flags & FLAG_PLANES;
  uint64_t apart = planes_raw(head);
  if (head->numeric_raw % LM_WORD != 0 || head->structure_raw == 0 ||
      (!deflated && head->structure_stored != head->structure_raw) ||
      (!planes && head->planes_stored != 0) ||
      head->structure_stored + head->planes_stored + (head->numeric_raw - apart) != len - *at)
    return lm_error_set(err, LM_E_FORMAT, "the frame's lengths do not add up");
  return 0;
}

void
lm_frame_join(const struct lm_frame_view *view, struct lm_buf *out)
{
  struct head head = {0, view->structure_len, view->structure_len, view->numeric_len, 0};
  lm_buf_reserve(out, LM_FRAME_MAX_HEAD + view->structure_len + view->numeric_len);
  write_head(out, &head);
  lm_buf_append(out, view->structure, view->structure_len);
  lm_buf_append(out, view->numeric, view->numeric_len);
}

int
lm_frame_split(const uint8_t *raw, size_t raw_len, struct lm_frame_view *view, struct lm_error *err)
{
  struct head head = {0};
  size_t at = 0;
  if (read_head(raw, raw_len, &head, &at, err) != 0)
    return -1;
  if (head.flags != 0)
    return lm_error_set(err, LM_E_INVALID, "the frame is sealed");
  *view = (struct lm_frame_view){raw + at, head.structure_raw, raw + at + head.structure_raw,
                                 head.numeric_raw};
  return 0;
}

bool
lm_frame_is_raw(const uint8_t *frame, size_t len)
{
  return len > 2 && frame[2] == 0;
}

/* --- sealing --- */

/* Byte planes 6 and 7 (sign, exponent and top of the mantissa of little-endian doubles; mostly
 * zeros of small integers) in front, the other six of each word behind. */
static void
split_planes(const uint8_t *words, size_t n, uint8_t *apart, uint8_t *rest)
{
  for (size_t i = 0; i < n; i++) {
    apart[i] = words[LM_WORD * i + 6];
    apart[n + i] = words[LM_WORD * i + 7];
    memcpy(rest + 6 * i, words + LM_WORD * i, 6);
  }
}

static void
join_planes(const uint8_t *apart, const uint8_t *rest, size_t n, uint8_t *words)
{
  for (size_t i = 0; i < n; i++) {
    memcpy(words + LM_WORD * i, rest + 6 * i, 6);
    words[LM_WORD * i + 6] = apart[i];
    words[LM_WORD * i + 7] = apart[n + i];
  }
}

static int
ready_to_deflate(struct lm_coder *coder, struct lm_error *err)
{
  if (coder->deflate == NULL && (coder->deflate = lm_deflate_new()) == NULL)
    return lm_error_nomem(err, 270000);
  return 0;
}

/* Appends the deflated structure when that gains a tenth: 1; else 0 and *out as before. */
static int
deflate_structure(struct lm_coder *coder, const uint8_t *bytes, size_t n, struct lm_buf *out,
                  struct lm_error *err)
{
  if (n < MIN_STRUCTURE || n > UINT32_MAX)
    return 0;
  if (ready_to_deflate(coder, err) != 0)
    return -1;
  if (n > 4 * SAMPLE) { /* a large one is worth its time only if its middle gains, too */
    lm_buf_clear(&coder->planes);
    int gains = lm_deflate_run(coder->deflate, LM_DEFLATE_TEXT, bytes + n / 2, SAMPLE,
                               SAMPLE - SAMPLE / 10, &coder->planes, err);
    if (gains <= 0)
      return gains;
  }
  return lm_deflate_run(coder->deflate, LM_DEFLATE_TEXT, bytes, n, n - n / 10, out, err);
}

int
lm_frame_seal(struct lm_coder *coder, const uint8_t *raw, size_t raw_len, bool compress,
              struct lm_buf *out, struct lm_error *err)
{
  struct lm_frame_view view;
  struct lm_buf sections;
  if (lm_frame_split(raw, raw_len, &view, err) != 0)
    return -1;
  struct head head = {0, view.structure_len, view.structure_len, view.numeric_len, 0};
  size_t words = view.numeric_len / LM_WORD;
  lm_buf_init(&sections, SIZE_MAX);
  int result = -1;
  if (compress) {
    int gained = deflate_structure(coder, view.structure, view.structure_len, &sections, err);
    if (gained < 0)
      goto done;
    if (gained > 0) {
      head.flags |= FLAG_DEFLATED;
      head.structure_stored = sections.len;
    }
  }
  if (!(head.flags & FLAG_DEFLATED))
    lm_buf_append(&sections, view.structure, view.structure_len);
  if (compress && words >= MIN_WORDS && view.numeric_len <= UINT32_MAX) {
    lm_buf_clear(&coder->planes);
    uint8_t *place = lm_buf_reserve(&coder->planes, view.numeric_len);
    if (place == NULL || ready_to_deflate(coder, err) != 0) {
      lm_error_nomem(err, view.numeric_len);
      goto done;
    }
    size_t apart = PLANES * words;
    split_planes(view.numeric, words, place, place + apart);
    int gained = lm_deflate_run(coder->deflate, LM_DEFLATE_RUNS, place, apart, apart - apart / 10,
                                &sections, err);
    if (gained < 0)
      goto done;
    if (gained > 0) {
      head.flags |= FLAG_PLANES;
      head.planes_stored = sections.len - head.structure_stored;
      lm_buf_append(&sections, place + apart, view.numeric_len - apart);
    }
  }
  if (!(head.flags & FLAG_PLANES))
    lm_buf_append(&sections, view.numeric, view.numeric_len);
  if (lm_buf_check(&sections, "the frame", err) != 0)
    goto done;
  lm_buf_reserve(out, LM_FRAME_MAX_HEAD + sections.len);
  write_head(out, &head);
  lm_buf_append(out, sections.data, sections.len);
  result = lm_buf_check(out, "the frame", err);

done:
  lm_buf_clean_up(&sections);
  return result;
}

int
lm_frame_to_text(struct lm_coder *coder, const uint8_t *raw, size_t raw_len, bool compress,
                 struct lm_buf *out, struct lm_error *err)
{
  if (compress) {
    lm_buf_clear(&coder->scratch);
    if (lm_frame_seal(coder, raw, raw_len, true, &coder->scratch, err) != 0)
      return -1;
    raw = coder->scratch.data;
    raw_len = coder->scratch.len;
  }
  size_t chars = lm_base64_encoded_size(raw_len);
  lm_buf_append(out, LM_TEXT_PREFIX, LM_TEXT_PREFIX_LEN);
  char *place = (char *)lm_buf_reserve(out, chars);
  if (place != NULL) {
    lm_base64_encode(raw, raw_len, place);
    out->len += chars;
  }
  return lm_buf_check(out, "the text", err);
}

/* --- opening --- */

static int
inflate_into(struct lm_coder *coder, const uint8_t *bytes, size_t n, uint8_t *raw, size_t raw_n,
             struct lm_error *err)
{
  if (coder->inflate == NULL && (coder->inflate = lm_inflate_new()) == NULL)
    return lm_error_nomem(err, 40000);
  return lm_inflate_run(coder->inflate, bytes, n, raw, raw_n, err);
}

int
lm_frame_open(struct lm_coder *coder, const uint8_t *sealed, size_t sealed_len,
              const struct lm_frame_limits *limits, struct lm_buf *out, size_t *estimate,
              struct lm_error *err)
{
  struct head head = {0};
  size_t at = 0;
  if (read_head(sealed, sealed_len, &head, &at, err) != 0)
    return -1;
  uint64_t apart = planes_raw(&head);
  if (head.structure_raw > limits->max_output_bytes ||
      head.numeric_raw > limits->max_output_bytes - head.structure_raw)
    return lm_error_set(err, LM_E_LIMIT, "the frame says it holds more than %zu bytes",
                        limits->max_output_bytes);
  if (head.structure_raw / LM_DEFLATE_MAX_RATIO > head.structure_stored ||
      apart / LM_DEFLATE_MAX_RATIO > head.planes_stored)
    return lm_error_set(err, LM_E_FORMAT, "the frame says it holds more than it can");
  const uint8_t *structure = sealed + at, *planes = structure + head.structure_stored;
  const uint8_t *rest = planes + head.planes_stored;
  size_t words = head.numeric_raw / LM_WORD;

  struct head plain = {0, head.structure_raw, head.structure_raw, head.numeric_raw, 0};
  lm_buf_reserve(out, LM_FRAME_MAX_HEAD + head.structure_raw + head.numeric_raw);
  write_head(out, &plain);
  uint8_t *place = lm_buf_reserve(out, head.structure_raw + head.numeric_raw);
  if (place == NULL)
    return lm_buf_check(out, "the frame", err);
  if (!(head.flags & FLAG_DEFLATED))
    memcpy(place, structure, head.structure_raw);
  else if (inflate_into(coder, structure, head.structure_stored, place, head.structure_raw, err) !=
           0)
    return -1;
  if (!(head.flags & FLAG_PLANES)) {
    if (head.numeric_raw > 0)
      memcpy(place + head.structure_raw, rest, head.numeric_raw);
  } else if (apart > 0) {
    lm_buf_clear(&coder->planes);
    uint8_t *planes_place = lm_buf_reserve(&coder->planes, apart);
    if (planes_place == NULL)
      return lm_error_nomem(err, apart);
    if (inflate_into(coder, planes, head.planes_stored, planes_place, apart, err) != 0)
      return -1;
    join_planes(planes_place, rest, words, place + head.structure_raw);
  }
  out->len += head.structure_raw + head.numeric_raw;
  struct lm_frame_view view = {place, head.structure_raw, place + head.structure_raw,
                               head.numeric_raw};
  return lm_mpcheck(&view, limits, estimate, err);
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
  lm_buf_clear(&coder->scratch);
  uint8_t *place = lm_buf_reserve(&coder->scratch, size);
  if (place == NULL)
    return lm_error_nomem(err, size);
  if (lm_base64_decode(text, text_len, place, err) != 0)
    return -1;
  return lm_frame_open(coder, place, size, limits, out, estimate, err);
}
