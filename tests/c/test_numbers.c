/* wire/numbers: pack and unpack, exact to the bit. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "wire/columns.h"
#include "wire/numbers.h"

enum { MOST = 1000 };

static void
ints(int64_t low, uint64_t range, size_t n)
{
  static int64_t numbers[MOST], again[MOST];
  static uint8_t bytes[MOST * 8 + LM_SLACK];
  for (size_t i = 0; i < n; i++)
    numbers[i] =
        (int64_t)((uint64_t)low + (i == 0 ? range : i * 0x9e3779b97f4a7c15u % (range | 1)));
  unsigned width = lm_width_of(range);
  lm_pack_ints(numbers, n, low, width, bytes);
  uint8_t *own = malloc(n * width + 1); /* so that ASan notices a read past them */
  CHECK(own != NULL);
  memcpy(own, bytes, n * width);
  lm_unpack_ints(own, n, low, width, again);
  if (range == 0)
    CHECK(width == 0);
  for (size_t i = 0; i < n; i++) {
    CHECK(again[i] == (range == 0 ? low : numbers[i]));
    CHECK(lm_packed_at(own, i, low, width) == again[i]);
  }
  free(own);
}

/* Whether they are decimals; if so, checks that they are unchanged. */
static bool
decimals(const double *doubles, size_t n, unsigned exponent)
{
  static int64_t numbers[MOST];
  static double again[MOST];
  static uint8_t bytes[MOST * 8 + LM_SLACK];
  struct lm_decimal found;
  if (!lm_decimal_find(doubles, n, numbers, &found))
    return false;
  CHECK(found.exponent <= exponent && found.width < 8);
  lm_pack_ints(numbers, n, found.minimum, found.width, bytes);
  lm_decimal_unpack(bytes, n, &found, again);
  CHECK(memcmp(again, doubles, n * sizeof *again) == 0);
  for (size_t i = 0; i < n; i++) {
    double one = lm_decimal_at(bytes, i, &found);
    CHECK(memcmp(&one, doubles + i, sizeof one) == 0);
  }
  return true;
}

static void
planes(size_t n)
{
  static uint8_t words[MOST * 8], apart[MOST * 2], rest[MOST * 6 + LM_SLACK], again[MOST * 8];
  for (size_t i = 0; i < n * 8; i++)
    words[i] = (uint8_t)(i * 37 + i / 5);
  lm_planes_split(words, n, apart, rest);
  uint8_t *own = malloc(n * 6 + 1);
  CHECK(own != NULL);
  memcpy(own, rest, n * 6);
  lm_planes_join(apart, own, n, again);
  CHECK(memcmp(again, words, n * 8) == 0);
  free(own);
}

static void
varints(void)
{
  static const uint64_t all[] = {0, 1, 127, 128, 300, UINT32_MAX, INT64_MAX, UINT64_MAX};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    uint8_t bytes[10];
    uint64_t n;
    size_t len = lm_varint_write(bytes, all[i]);
    const uint8_t *at = bytes;
    CHECK(lm_varint_read(&at, bytes + len, &n) && n == all[i] && at == bytes + len);
    at = bytes;
    CHECK(!lm_varint_read(&at, bytes + len - 1, &n));
    CHECK(lm_zigzag(lm_unzigzag(all[i])) == all[i]);
  }
  static const uint8_t wrong[][11] = {
      {0x80, 0}, {0x80, 0x80, 0}, {255, 255, 255, 255, 255, 255, 255, 255, 255, 2}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    const uint8_t *at = wrong[i];
    uint64_t n;
    CHECK(!lm_varint_read(&at, wrong[i] + sizeof wrong[i], &n));
  }
}

int
main(void)
{
  static double doubles[MOST];
  static const size_t sizes[] = {1, 2, 3, 7, 8, 9, 64, 255, 256, 257, MOST};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    size_t n = sizes[s];
    for (unsigned bits = 0; bits <= 64; bits++) {
      uint64_t range = bits == 0 ? 0 : UINT64_MAX >> (64 - bits);
      ints(-5, range, n);
      ints(INT64_MIN, range, n);
    }
    planes(n);
    for (size_t i = 0; i < n; i++)
      doubles[i] = ((double)i - 20) / 100;
    CHECK(decimals(doubles, n, 2));
    doubles[n / 2] = NAN;
    CHECK(decimals(doubles, n, 2));
    doubles[n / 2] = -0.0;
    CHECK(!decimals(doubles, n, 0));
    doubles[n / 2] = INFINITY;
    CHECK(!decimals(doubles, n, 0));
    doubles[n / 2] = 1.0 / 3;
    CHECK(!decimals(doubles, n, 0));
    for (size_t i = 0; i < n; i++)
      doubles[i] = (double)(i * 1234567);
    CHECK(decimals(doubles, n, 0));
    for (unsigned bits = 40; bits < 51; bits++) { /* around the limit of their integers */
      double top = (double)((UINT64_C(1) << bits) - 1);
      for (size_t i = 0; i < n; i++)
        doubles[i] = i % 3 == 0 ? -top : i % 3 == 1 ? (double)i : top - (double)i;
      CHECK(decimals(doubles, n, 0));
    }
    doubles[n - 1] = 2251799813685248.0; /* 2^51 */
    CHECK(!decimals(doubles, n, 0));
  }
  varints();
  return 0;
}
