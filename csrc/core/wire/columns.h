/* Columns: the encoding of lists of one kind of value. docs/wire-format.md describes the bytes.
 *
 * lm_column_read is the only reader of a column's own bytes; lm_mpcheck and the binding use it to
 * walk nested columns. It checks every count and length against the bytes left before it is used.
 * Pure functions; any thread.
 */
#ifndef LM_WIRE_COLUMNS_H
#define LM_WIRE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire/kinds.h"
#include "wire/view.h"

enum {
  LM_MAX_EXPONENT = 18,  /* of DECIMAL: 10^18 is exactly representable as a double */
  LM_MAX_COLUMNS = 65536 /* in a DICT or TUPLE */
};

/* The only NaN that DECIMAL can represent: the one that Python and numpy create. */
#define LM_NAN_BITS UINT64_C(0x7ff8000000000000)

struct lm_lengths {
  uint8_t width; /* bytes of each length: 1, 2 or 4; 0: all lengths are `same` */
  uint32_t same;
  const uint8_t *at;
};

/* Where a column is: kinds that cost no depth may not be nested in themselves. */
enum lm_place { LM_AT_FIELD, LM_AT_PART, LM_AT_PRESENT };

/* What lm_column_read found; pointers refer to the frame. */
struct lm_column {
  bool unknown; /* refused as unknown, maybe from a newer release: kind and element are set */
  enum lm_column_kind kind;
  uint8_t element;
  uint8_t width;             /* INT, DECIMAL: 0 to 8; UNIQUE: 1, 2 or 4 */
  uint8_t exponent;          /* DECIMAL */
  bool has_nan;              /* DECIMAL: all bits set stands for NaN */
  int64_t minimum;           /* INT, DECIMAL */
  struct lm_lengths lengths; /* TEXT, LIST */
  const uint8_t *data; /* FLOAT, INT, DECIMAL, RAW: in their section; TEXT, BOOL, NULLABLE: here */
  uint64_t inner;      /* cells of the column inside: LIST, NULLABLE, UNIQUE; SPLIT: of the first;
                          TEXT: bytes; DICT, TUPLE: columns inside */
};

/* A frame's sections, and how much of each the columns have used so far. */
struct lm_sections {
  struct lm_frame_view view;
  uint64_t words_used, packed_used, blobs_used; /* bytes */
};

/* Read the head of a list's column of n cells and check that its kind allows what follows. *at moves
 * past the head, to the columns, keys or values inside. NULL, or what is wrong. */
const char *lm_column_read(const uint8_t **at, const uint8_t *end, uint64_t n, enum lm_place place,
                           struct lm_sections *sections, struct lm_column *column);

/* Read the key, a text, before each column of a DICT. NULL, or what is wrong. */
struct lm_mp_token;
const char *lm_column_read_key(const uint8_t **at, const uint8_t *end, struct lm_mp_token *key);

/* Read the indices after the column inside a UNIQUE, one for each of n cells. NULL, or what is wrong. */
const char *lm_column_read_indices(const uint8_t **at, const uint8_t *end, uint64_t n,
                                   const struct lm_column *column, const uint8_t **indices);

/* Read the number of cells before the column of an LM_EXT_LIST. NULL, or what is wrong. */
const char *lm_list_read(const uint8_t **at, const uint8_t *end, uint64_t *n);

/* An array's bytes: n items of `item` bytes, 1, 2, 4 or 8; the column's kind is FLOAT, DECIMAL, INT or
 * RAW. */
struct lm_buffer {
  uint64_t n;
  unsigned item;
  struct lm_column column;
};
/* Read the payload of an LM_EXT_BUFFER, to its end. NULL, or what is wrong. */
const char *lm_buffer_read(const uint8_t *at, const uint8_t *end, struct lm_sections *sections,
                           struct lm_buffer *buffer);

/* Cost in bytes of the cells' objects, without columns inside and what is charged on reading. */
uint64_t lm_column_cost(const struct lm_column *column, uint64_t n);

/* Whether the columns used up each section exactly. */
bool lm_sections_used(const struct lm_sections *sections);

/* --- varints --- */

/* LEB128 in as few bytes as possible; false: malformed, or above UINT64_MAX. */
bool lm_varint_read(const uint8_t **at, const uint8_t *end, uint64_t *n);
size_t lm_varint_write(uint8_t *at, uint64_t n); /* at most 10 bytes */

static inline uint64_t
lm_zigzag(int64_t n)
{
  return (uint64_t)n << 1 ^ (n < 0 ? UINT64_MAX : 0);
}

static inline int64_t
lm_unzigzag(uint64_t n)
{
  uint64_t bits = n >> 1 ^ (n & 1 ? UINT64_MAX : 0);
  int64_t value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t
lm_length_at(const struct lm_lengths *lengths, uint64_t i)
{
  const uint8_t *at = lengths->at;
  switch (lengths->width) {
  case 0:
    return lengths->same;
  case 1:
    return at[i];
  case 2:
    return at[2 * i] | (uint32_t)at[2 * i + 1] << 8;
  default:
    at += 4 * i;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
  }
}

static inline bool
lm_bit(const uint8_t *bits, uint64_t i)
{
  return bits[i >> 3] >> (i & 7) & 1;
}

#endif
