/* Numbers in bulk: integers in as few bytes as they need, doubles as decimals, byte planes.
 * Little-endian on the wire. Pure functions; any thread. */
#ifndef LM_WIRE_NUMBERS_H
#define LM_WIRE_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  LM_PLANES = 2, /* the two top bytes of each word */
  LM_SLACK = 8   /* bytes after the last integer that lm_pack_ints may write */
};

/* Split n words: byte planes 6 and 7 (of doubles: sign, exponent and top of the mantissa) to
 * apart[0..2n), the other six bytes of each word to rest[0..6n + 2), whose last two are unused. */
void lm_planes_split(const uint8_t *words, size_t n, uint8_t *apart, uint8_t *rest);
void lm_planes_join(const uint8_t *apart, const uint8_t *rest, size_t n, uint8_t *words);

/* Bytes needed for the integers 0..range, 0 to 8. */
unsigned lm_width_of(uint64_t range);

/* Write n integers minus `minimum`, `width` bytes each, to out, which has LM_SLACK bytes more. */
void lm_pack_ints(const int64_t *numbers, size_t n, int64_t minimum, unsigned width, uint8_t *out);
/* The inverse; lm_packed_at reads integer i of such a sequence. */
void lm_unpack_ints(const uint8_t *at, size_t n, int64_t minimum, unsigned width, int64_t *numbers);

static inline uint64_t
lm_load_le(const uint8_t *at, unsigned bytes)
{
  uint64_t n = 0;
  for (unsigned i = bytes; i > 0; i--)
    n = n << 8 | at[i - 1];
  return n;
}

/* Little-endian, at any address. */
static inline uint64_t
lm_load64(const uint8_t *at)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t n;
  memcpy(&n, at, sizeof n);
  return n;
#else
  return lm_load_le(at, 8);
#endif
}

static inline void
lm_store64(uint8_t *at, uint64_t n)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  memcpy(at, &n, sizeof n);
#else
  for (int i = 0; i < 8; i++, n >>= 8)
    at[i] = (uint8_t)n;
#endif
}

static inline void
lm_store32(uint8_t *at, uint32_t n)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  memcpy(at, &n, sizeof n);
#else
  for (int i = 0; i < 4; i++, n >>= 8)
    at[i] = (uint8_t)n;
#endif
}

static inline int64_t
lm_packed_at(const uint8_t *at, size_t i, int64_t minimum, unsigned width)
{
  uint64_t bits = (uint64_t)minimum + lm_load_le(at + i * width, width);
  int64_t number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

/* How doubles become integers: x is m / 10^exponent bit for bit, for every one of them. */
struct lm_decimal {
  unsigned exponent, width;
  bool has_nan; /* `width` bytes with all bits set stand for NaN */
  int64_t minimum;
};

/* Whether n doubles are decimals of less than 8 bytes; if so, their integers are in numbers[0..n),
 * ready for lm_pack_ints. Samples are checked first, so that other doubles cost little. */
bool lm_decimal_find(const double *doubles, size_t n, int64_t *numbers, struct lm_decimal *found);
/* Check the samples only. */
bool lm_decimal_likely(const double *doubles, size_t n);
/* Decimal i of a packed sequence. */
double lm_decimal_at(const uint8_t *at, size_t i, const struct lm_decimal *decimal);
/* Unpack n decimals. */
void lm_decimal_unpack(const uint8_t *at, size_t n, const struct lm_decimal *decimal, double *out);

#endif
