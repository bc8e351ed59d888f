#include "wire/numbers.h"

#include "wire/columns.h"

enum { WORD = 8, REST = WORD - LM_PLANES, SAMPLES = 24 };

/* Bytes 0, 2, 4 and 6 of a word. */
static inline uint32_t
numbers_even_bytes(uint64_t word)
{
  word &= UINT64_C(0x00ff00ff00ff00ff);
  word = (word | word >> 8) & UINT64_C(0x0000ffff0000ffff);
  return (uint32_t)(word | word >> 16);
}

void
lm_planes_split(const uint8_t *words, size_t n, uint8_t *apart, uint8_t *rest)
{
  const uint64_t low = UINT64_C(0xffffffffffff);
  uint8_t *six = apart, *seven = apart + n;
  size_t i = 0;
  for (; i + 4 <= n; i += 4) { /* four words at once: half as many stores */
    uint64_t a = lm_load64(words + WORD * i), b = lm_load64(words + WORD * (i + 1));
    uint64_t c = lm_load64(words + WORD * (i + 2)), d = lm_load64(words + WORD * (i + 3));
    uint64_t tops = a >> 48 | b >> 48 << 16 | c >> 48 << 32 | d >> 48 << 48;
    lm_store32(six + i, numbers_even_bytes(tops));
    lm_store32(seven + i, numbers_even_bytes(tops >> 8));
    lm_store64(rest + REST * i, (a & low) | b << 48);
    lm_store64(rest + REST * i + WORD, (b & low) >> 16 | c << 32);
    lm_store64(rest + REST * i + 2 * WORD, (c & low) >> 32 | d << 16);
  }
  for (; i < n; i++) {
    uint64_t word = lm_load64(words + WORD * i);
    six[i] = (uint8_t)(word >> 48);
    seven[i] = (uint8_t)(word >> 56);
    lm_store64(rest + REST * i, word); /* the next one overwrites its two top bytes */
  }
}

void
lm_planes_join(const uint8_t *apart, const uint8_t *rest, size_t n, uint8_t *words)
{
  const uint8_t *six = apart, *seven = apart + n;
  size_t i = 0;
  for (; i + 2 <= n; i++) {
    uint64_t word = lm_load64(rest + REST * i) & UINT64_C(0xffffffffffff);
    lm_store64(words + WORD * i, word | (uint64_t)six[i] << 48 | (uint64_t)seven[i] << 56);
  }
  for (; i < n; i++) {
    uint64_t word = lm_load_le(rest + REST * i, REST);
    lm_store64(words + WORD * i, word | (uint64_t)six[i] << 48 | (uint64_t)seven[i] << 56);
  }
}

unsigned
lm_width_of(uint64_t range)
{
  return range == 0 ? 0 : (71 - (unsigned)__builtin_clzll(range)) / 8;
}

void
lm_pack_ints(const int64_t *numbers, size_t n, int64_t minimum, unsigned width, uint8_t *out)
{
  uint64_t base = (uint64_t)minimum;
  switch (width) {
  case 0:
    return;
  case 1: /* this loop is vectorised by compilers */
    for (size_t i = 0; i < n; i++)
      out[i] = (uint8_t)((uint64_t)numbers[i] - base);
    return;
  default:
    for (size_t i = 0; i < n; i++)
      lm_store64(out + i * width, (uint64_t)numbers[i] - base);
  }
}

void
lm_unpack_ints(const uint8_t *at, size_t n, int64_t minimum, unsigned width, int64_t *numbers)
{
  size_t i = 0;
  if (width != 0) {
    uint64_t mask = UINT64_MAX >> (64 - 8 * width);
    for (; (i + 8 / width + 1) < n; i++) {
      uint64_t bits = (uint64_t)minimum + (lm_load64(at + i * width) & mask);
      memcpy(numbers + i, &bits, sizeof bits);
    }
  }
  for (; i < n; i++)
    numbers[i] = lm_packed_at(at, i, minimum, width);
}

/* --- decimals --- */

static const double TENS[LM_MAX_EXPONENT + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
                                                 1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                                 1e14, 1e15, 1e16, 1e17, 1e18};
/* Adding and subtracting it rounds to the nearest integer, up to 2^51 in magnitude. */
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define MOST 2251799813685248.0  /* 2^51 */

static inline uint64_t
numbers_bits_of(double x)
{
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* The integer m with x == m / ten bit for bit, for x that is not NaN. */
static inline bool
numbers_as_decimal(double x, double ten, double *m)
{
  double scaled = x * ten;
  if (!(scaled > -MOST && scaled < MOST))
    return false;
  double whole = (scaled + MAGIC) - MAGIC;
  *m = whole; /* never -0.0, so that -0.0 is not equal to it */
  return numbers_bits_of(whole / ten) == numbers_bits_of(x);
}

/* Find the smallest exponent that works for a few samples; false: none does. */
static bool
numbers_find_exponent(const double *doubles, size_t n, unsigned *exponent)
{
  unsigned least = 0;
  size_t step = n > SAMPLES ? n / SAMPLES : 1;
  for (size_t i = 0; i < n; i += step) {
    double m;
    if (numbers_bits_of(doubles[i]) == LM_NAN_BITS)
      continue;
    while (!numbers_as_decimal(doubles[i], TENS[least], &m))
      if (++least > LM_MAX_EXPONENT)
        return false;
  }
  *exponent = least;
  return true;
}

bool
lm_decimal_likely(const double *doubles, size_t n)
{
  unsigned exponent;
  return n > 0 && numbers_find_exponent(doubles, n, &exponent);
}

/* numbers_as_decimal for all of doubles at once; false: at least one is not a decimal. One loop
 * without branches or comparisons, which vectorises on old CPUs too. */
static bool
numbers_convert(const double *doubles, size_t n, double ten, int64_t *whole)
{
  const uint64_t sign = UINT64_C(1) << 63, past_most = sign - numbers_bits_of(MOST);
  uint64_t wrong = 0;
  for (size_t i = 0; i < n; i++) {
    double scaled = doubles[i] * ten, shifted = scaled + MAGIC;
    uint64_t differ = numbers_bits_of((shifted - MAGIC) / ten) ^ numbers_bits_of(doubles[i]);
    uint64_t above = ((numbers_bits_of(scaled) & ~sign) + past_most) & sign; /* true for NaN, too */
    wrong |= differ | above;
    whole[i] = (int64_t)(numbers_bits_of(shifted) - numbers_bits_of(MAGIC));
  }
  return wrong == 0;
}

/* Widen the range *low to *high to n numbers: four ranges side by side, whose comparisons do not wait for each other. */
static void
numbers_widen(const int64_t *numbers, size_t n, int64_t *low, int64_t *high)
{
  enum { LANES = 4 };
  int64_t lows[LANES], highs[LANES];
  for (size_t lane = 0; lane < LANES; lane++) {
    lows[lane] = *low;
    highs[lane] = *high;
  }
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t lane = 0; lane < LANES; lane++) {
      int64_t number = numbers[i + lane];
      lows[lane] = number < lows[lane] ? number : lows[lane];
      highs[lane] = number > highs[lane] ? number : highs[lane];
    }
  for (; i < n; i++) {
    lows[0] = numbers[i] < lows[0] ? numbers[i] : lows[0];
    highs[0] = numbers[i] > highs[0] ? numbers[i] : highs[0];
  }
  for (size_t lane = 0; lane < LANES; lane++) {
    *low = lows[lane] < *low ? lows[lane] : *low;
    *high = highs[lane] > *high ? highs[lane] : *high;
  }
}

/* Find the first exponent above *exponent that works for x; false: none does. */
static bool
numbers_raise_exponent(double x, unsigned *exponent)
{
  double m;
  while (++*exponent <= LM_MAX_EXPONENT)
    if (numbers_as_decimal(x, TENS[*exponent], &m))
      return true;
  return false;
}

bool
lm_decimal_find(const double *doubles, size_t n, int64_t *numbers, struct lm_decimal *found)
{
  unsigned exponent;
  if (n == 0 || !numbers_find_exponent(doubles, n, &exponent))
    return false;
again:; /* at most once per exponent: the samples had fewer digits than the rest */
  double ten = TENS[exponent];
  int64_t low = INT64_MAX, high = INT64_MIN;
  size_t missing = 0;
  for (size_t from = 0; from < n; from += 256) {
    size_t count = n - from < 256 ? n - from : 256;
    if (numbers_convert(doubles + from, count, ten, numbers + from)) {
      numbers_widen(numbers + from, count, &low, &high);
      continue;
    }
    for (size_t i = 0; i < count; i++) {
      double m;
      if (numbers_bits_of(doubles[from + i]) == LM_NAN_BITS) {
        numbers[from + i] = INT64_MIN; /* beyond 2^51, so not the integer of a decimal */
        missing++;
        continue;
      }
      if (!numbers_as_decimal(doubles[from + i], ten, &m)) {
        if (!numbers_raise_exponent(doubles[from + i], &exponent))
          return false;
        goto again;
      }
      numbers[from + i] = (int64_t)m;
      low = (int64_t)m < low ? (int64_t)m : low;
      high = (int64_t)m > high ? (int64_t)m : high;
    }
  }
  if (missing == n)
    low = high = 0;
  uint64_t range = (uint64_t)high - (uint64_t)low;
  *found =
      (struct lm_decimal){exponent, lm_width_of(missing > 0 ? range + 1 : range), missing > 0, low};
  if (found->width >= WORD)
    return false;
  if (missing > 0) {
    uint64_t code = UINT64_MAX >> (64 - 8 * found->width);
    for (size_t i = 0; i < n; i++)
      if (numbers[i] == INT64_MIN)
        numbers[i] = (int64_t)((uint64_t)low + code);
  }
  return true;
}

double
lm_decimal_at(const uint8_t *at, size_t i, const struct lm_decimal *decimal)
{
  uint64_t code = lm_load_le(at + i * decimal->width, decimal->width);
  if (decimal->has_nan && decimal->width > 0 && code == UINT64_MAX >> (64 - 8 * decimal->width)) {
    uint64_t bits = LM_NAN_BITS;
    double nan;
    memcpy(&nan, &bits, sizeof nan);
    return nan;
  }
  uint64_t sum = (uint64_t)decimal->minimum + code;
  int64_t m;
  memcpy(&m, &sum, sizeof m);
  return (double)m / TENS[decimal->exponent];
}

void
lm_decimal_unpack(const uint8_t *at, size_t n, const struct lm_decimal *decimal, double *out)
{
  enum { SOME = 64, NARROW = 6 };
  const int64_t most = (int64_t)MOST / 2; /* adding NARROW bytes stays below MOST */
  int64_t numbers[SOME];
  size_t i = 0;
  if (!decimal->has_nan && decimal->width <= NARROW && decimal->minimum <= most &&
      decimal->minimum >= -most) {
    double ten = TENS[decimal->exponent];
    for (; i < n; i += SOME) {
      size_t some = n - i < SOME ? n - i : SOME;
      lm_unpack_ints(at + i * decimal->width, some, decimal->minimum, decimal->width, numbers);
      for (size_t j = 0; j < some; j++) { /* vectorises on old CPUs too */
        uint64_t shifted = (uint64_t)numbers[j] + numbers_bits_of(MAGIC);
        double m;
        memcpy(&m, &shifted, sizeof m);
        out[i + j] = (m - MAGIC) / ten;
      }
    }
  }
  for (; i < n; i++)
    out[i] = lm_decimal_at(at, i, decimal);
}
