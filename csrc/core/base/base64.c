#include "base/base64.h"
#include "base/error.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define HAVE_NEON 1
#include <arm_neon.h>
#endif

/* Tables are built by the preprocessor, so no thread has to initialise them. */
#define CHAR(v)                                                                                    \
  ((v) < 26 ? 'A' + (v) : (v) < 52 ? 'a' + (v)-26 : (v) < 62 ? '0' + (v)-52 : (v) == 62 ? '+' : '/')
#define VALUE(c)                                                                                   \
  ((c) >= 'A' && (c) <= 'Z'   ? (c) - 'A'                                                          \
   : (c) >= 'a' && (c) <= 'z' ? (c) - 'a' + 26                                                     \
   : (c) >= '0' && (c) <= '9' ? (c) - '0' + 52                                                     \
   : (c) == '+'               ? 62                                                                 \
   : (c) == '/'               ? 63                                                                 \
                              : -1)
#define TIMES4(m, i) m((i)), m((i) + 1), m((i) + 2), m((i) + 3)
#define TIMES16(m, i) TIMES4(m, i), TIMES4(m, (i) + 4), TIMES4(m, (i) + 8), TIMES4(m, (i) + 12)
#define TIMES64(m, i)                                                                              \
  TIMES16(m, i), TIMES16(m, (i) + 16), TIMES16(m, (i) + 32), TIMES16(m, (i) + 48)
#define TIMES256(m, i)                                                                             \
  TIMES64(m, i), TIMES64(m, (i) + 64), TIMES64(m, (i) + 128), TIMES64(m, (i) + 192)
#define TIMES1024(m, i)                                                                            \
  TIMES256(m, i), TIMES256(m, (i) + 256), TIMES256(m, (i) + 512), TIMES256(m, (i) + 768)
#define TIMES4096(m, i)                                                                            \
  TIMES1024(m, i), TIMES1024(m, (i) + 1024), TIMES1024(m, (i) + 2048), TIMES1024(m, (i) + 3072)

enum { BAD = 0x01000000 };
#define PAIR(i)                                                                                    \
  {                                                                                                \
    CHAR((i) >> 6), CHAR((i)&63)                                                                   \
  }
#define SHIFTED(c, bits) (VALUE(c) < 0 ? (uint32_t)BAD : (uint32_t)(VALUE(c) & 63) << (bits))
#define FIRST(c) SHIFTED(c, 18)
#define SECOND(c) SHIFTED(c, 12)
#define THIRD(c) SHIFTED(c, 6)
#define FOURTH(c) SHIFTED(c, 0)

static const char pairs[4096][2] = {TIMES4096(PAIR, 0)};
static const uint32_t first[256] = {TIMES256(FIRST, 0)};
static const uint32_t second[256] = {TIMES256(SECOND, 0)};
static const uint32_t third[256] = {TIMES256(THIRD, 0)};
static const uint32_t fourth[256] = {TIMES256(FOURTH, 0)};

#ifdef HAVE_AVX2
/* 24 bytes to 32 characters per step. Reads 4 bytes before and 4 after each group, so the caller
 * starts at byte 4 or later and stops 32 bytes before the end. Returns the bytes taken. */
__attribute__((target("avx2"))) static size_t
base64_encode_avx2(const uint8_t *bytes, size_t n, char *text)
{
  const __m256i spread = _mm256_setr_epi8(5, 4, 6, 5, 8, 7, 9, 8, 11, 10, 12, 11, 14, 13, 15, 14, 1,
                                          0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
  const __m256i offsets =
      _mm256_setr_epi8(65, 71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0, 65, 71, -4,
                       -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0);
  size_t done = 0;
  while (n - done >= 28) {
    __m256i in = _mm256_loadu_si256((const __m256i *)(const void *)(bytes + done - 4));
    in = _mm256_shuffle_epi8(in, spread);
    __m256i high = _mm256_mulhi_epu16(_mm256_and_si256(in, _mm256_set1_epi32(0x0fc0fc00)),
                                      _mm256_set1_epi32(0x04000040));
    __m256i low = _mm256_mullo_epi16(_mm256_and_si256(in, _mm256_set1_epi32(0x003f03f0)),
                                     _mm256_set1_epi32(0x01000010));
    __m256i values = _mm256_or_si256(high, low);
    __m256i row = _mm256_subs_epu8(values, _mm256_set1_epi8(51));
    row = _mm256_sub_epi8(row, _mm256_cmpgt_epi8(values, _mm256_set1_epi8(25)));
    __m256i out = _mm256_add_epi8(values, _mm256_shuffle_epi8(offsets, row));
    _mm256_storeu_si256((__m256i *)(void *)text, out);
    text += 32;
    done += 24;
  }
  return done;
}

/* 32 characters to 24 bytes per step. Stores 32 bytes: the caller leaves 8 bytes of room at the end.
 * Stops at the first group with a character outside the alphabet. Returns characters taken. */
__attribute__((target("avx2"))) static size_t
base64_decode_avx2(const char *text, size_t n, uint8_t *bytes)
{
  const __m256i low_bits =
      _mm256_setr_epi8(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b,
                       0x1b, 0x1b, 0x1a, 0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                       0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
  const __m256i high_bits =
      _mm256_setr_epi8(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10,
                       0x10, 0x10, 0x10, 0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10,
                       0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
  const __m256i rolls = _mm256_setr_epi8(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0,
                                         0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256i gather = _mm256_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1, 2,
                                          1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
  const __m256i close = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, -1, -1);
  const __m256i slash = _mm256_set1_epi8('/');
  size_t done = 0;
  while (n - done >= 48) {
    __m256i in = _mm256_loadu_si256((const __m256i *)(const void *)(text + done));
    __m256i high_nibble = _mm256_and_si256(_mm256_srli_epi32(in, 4), slash);
    __m256i low_nibble = _mm256_and_si256(in, slash);
    __m256i high = _mm256_shuffle_epi8(high_bits, high_nibble);
    __m256i low = _mm256_shuffle_epi8(low_bits, low_nibble);
    if (!_mm256_testz_si256(low, high))
      break;
    __m256i is_slash = _mm256_cmpeq_epi8(in, slash);
    __m256i roll = _mm256_shuffle_epi8(rolls, _mm256_add_epi8(is_slash, high_nibble));
    __m256i values = _mm256_add_epi8(in, roll);
    __m256i halves = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x01400140));
    __m256i words = _mm256_madd_epi16(halves, _mm256_set1_epi32(0x00011000));
    __m256i packed = _mm256_shuffle_epi8(words, gather);
    packed = _mm256_permutevar8x32_epi32(packed, close);
    _mm256_storeu_si256((__m256i *)(void *)bytes, packed);
    bytes += 24;
    done += 32;
  }
  return done;
}
#endif

#ifdef HAVE_NEON
#define BYTE(c) (uint8_t) VALUE(c) /* 255 where it is outside the alphabet */
static const uint8_t chars[64] = {TIMES64(CHAR, 0)};
static const uint8_t values[128] = {TIMES64(BYTE, 0), TIMES64(BYTE, 64)};

/* 48 bytes to 64 characters per step. Returns the bytes taken. */
static size_t
base64_encode_neon(const uint8_t *bytes, size_t n, char *text)
{
  const uint8x16x4_t table = vld1q_u8_x4(chars);
  const uint8x16_t six = vdupq_n_u8(63);
  size_t done = 0;
  for (; n - done >= 48; done += 48, text += 64) {
    uint8x16x3_t in = vld3q_u8(bytes + done); /* first, second and third bytes apart */
    uint8x16x4_t out;
    out.val[0] = vqtbl4q_u8(table, vshrq_n_u8(in.val[0], 2));
    out.val[1] =
        vqtbl4q_u8(table, vandq_u8(vsliq_n_u8(vshrq_n_u8(in.val[1], 4), in.val[0], 4), six));
    out.val[2] =
        vqtbl4q_u8(table, vandq_u8(vsliq_n_u8(vshrq_n_u8(in.val[2], 6), in.val[1], 2), six));
    out.val[3] = vqtbl4q_u8(table, vandq_u8(in.val[2], six));
    vst4q_u8((uint8_t *)text, out);
  }
  return done;
}

/* 64 characters to 48 bytes per step, except the last four characters. Stops at the first group with
 * a character outside the alphabet. Returns characters taken. */
static size_t
base64_decode_neon(const char *text, size_t n, uint8_t *bytes)
{
  const uint8x16x4_t low = vld1q_u8_x4(values), high = vld1q_u8_x4(values + 64);
  const uint8x16_t bad = vdupq_n_u8(255), half = vdupq_n_u8(64);
  size_t done = 0;
  for (; n - done > 64; done += 64, bytes += 48) {
    uint8x16x4_t in = vld4q_u8((const uint8_t *)text + done);
    uint8x16x3_t out;
    uint8x16_t all = vdupq_n_u8(0);
    for (int i = 0; i < 4; i++) { /* an index beyond a table leaves what was there */
      uint8x16_t value = vqtbx4q_u8(bad, low, in.val[i]);
      in.val[i] = vqtbx4q_u8(value, high, vsubq_u8(in.val[i], half));
      all = vorrq_u8(all, in.val[i]);
    }
    if (vmaxvq_u8(all) > 63)
      break;
    out.val[0] = vsliq_n_u8(vshrq_n_u8(in.val[1], 4), in.val[0], 2);
    out.val[1] = vsliq_n_u8(vshrq_n_u8(in.val[2], 2), in.val[1], 4);
    out.val[2] = vsliq_n_u8(in.val[3], in.val[2], 6);
    vst3q_u8(bytes, out);
  }
  return done;
}
#endif

size_t
lm_base64_encoded_size(size_t n)
{
  return (n + 2) / 3 * 4;
}

static inline void
base64_encode_three(const uint8_t *bytes, char *text)
{
  uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
  memcpy(text, pairs[bits >> 12], 2);
  memcpy(text + 2, pairs[bits & 4095], 2);
}

void
lm_base64_encode(const uint8_t *bytes, size_t n, char *text)
{
#ifdef HAVE_AVX2
  if (n >= 64 && __builtin_cpu_supports("avx2")) {
    base64_encode_three(bytes, text);
    base64_encode_three(bytes + 3, text + 4);
    size_t done = 6 + base64_encode_avx2(bytes + 6, n - 6, text + 8);
    bytes += done;
    n -= done;
    text += done / 3 * 4;
  }
#elif defined(HAVE_NEON)
  size_t done = base64_encode_neon(bytes, n, text);
  bytes += done;
  n -= done;
  text += done / 3 * 4;
#endif
  while (n >= 3) {
    base64_encode_three(bytes, text);
    bytes += 3;
    text += 4;
    n -= 3;
  }
  if (n == 0)
    return;
  uint8_t last[3] = {bytes[0], n == 2 ? bytes[1] : 0, 0};
  base64_encode_three(last, text);
  text[3] = '=';
  if (n == 1)
    text[2] = '=';
}

int
lm_base64_decoded_size(const char *text, size_t n, size_t *size, struct lm_error *err)
{
  if (n % 4 != 0)
    return lm_error_at(err, LM_E_FORMAT, n, "base64 of %zu characters: not a multiple of 4", n);
  size_t padding = 0;
  if (n > 0 && text[n - 1] == '=')
    padding = text[n - 2] == '=' ? 2 : 1;
  *size = n / 4 * 3 - padding;
  return 0;
}

static inline uint32_t
base64_decode_four(const char *text)
{
  const uint8_t *c = (const uint8_t *)text;
  return first[c[0]] | second[c[1]] | third[c[2]] | fourth[c[3]];
}

static int
base64_bad_character(const char *text, size_t from, struct lm_error *err)
{
  while (!(fourth[(uint8_t)text[from]] & BAD))
    from++;
  return lm_error_at(err, LM_E_FORMAT, from, "base64: byte 0x%02x at character %zu is not allowed",
                     (uint8_t)text[from], from);
}

int
lm_base64_decode(const char *text, size_t n, uint8_t *bytes, struct lm_error *err)
{
  size_t size = 0;
  if (lm_base64_decoded_size(text, n, &size, err) < 0)
    return -1;
  if (n == 0)
    return 0;

  size_t at = 0, last = n - 4;
#ifdef HAVE_AVX2
  if (n >= 64 && __builtin_cpu_supports("avx2")) {
    at = base64_decode_avx2(text, n, bytes);
    bytes += at / 4 * 3;
  }
#elif defined(HAVE_NEON)
  at = base64_decode_neon(text, n, bytes);
  bytes += at / 4 * 3;
#endif
  for (; at < last; at += 4) {
    uint32_t bits = base64_decode_four(text + at);
    if (bits & BAD)
      return base64_bad_character(text, at, err);
    bytes[0] = (uint8_t)(bits >> 16);
    bytes[1] = (uint8_t)(bits >> 8);
    bytes[2] = (uint8_t)bits;
    bytes += 3;
  }

  char group[4];
  memcpy(group, text + last, 4);
  size_t kept = size - last / 4 * 3;
  for (size_t i = kept + 1; i < 4; i++)
    group[i] = 'A';
  uint32_t bits = base64_decode_four(group);
  if (bits & BAD)
    return base64_bad_character(text, last, err);
  if ((kept == 1 && (bits & 0xffff)) || (kept == 2 && (bits & 0xff)))
    return lm_error_at(err, LM_E_FORMAT, last + kept,
                       "base64: the unused bits at the end are not 0");
  bytes[0] = (uint8_t)(bits >> 16);
  if (kept > 1)
    bytes[1] = (uint8_t)(bits >> 8);
  if (kept > 2)
    bytes[2] = (uint8_t)bits;
  return 0;
}
