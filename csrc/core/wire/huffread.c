#include "wire/huffread.h"

#include <string.h>

#include "wire/blocks.h"
#include "wire/numbers.h"

enum {
  END = LM_BLOCK_END,
  LENGTHS = LM_BLOCK_LENGTHS,
  SYMBOLS = LM_BLOCK_SYMBOLS,
  DISTANCES = 30,
  HEADER_SYMBOLS = LM_BLOCK_HEADER_SYMBOLS,
  MOST_BITS = LM_BLOCK_PLANE_BITS,
  LONG = 1024, /* bytes of a stream for which entries of several literals pay */
  WIDE = 9,    /* bits of the table then, at least */
  FEW_BLOCKS = 8,
  SHORT_BLOCK = 4096, /* bytes that blocks have on average, at least, except for a few blocks */
  AT_ONCE = 5,        /* entries between two refills */
  WORD = 8
};

_Static_assert(AT_ONCE *MOST_BITS <= 56, "more bits than a refill provides");

/* --- bits --- */

struct huffread_in {
  const uint8_t *at, *end;
  uint64_t waiting; /* the next `count` bits, and above them perhaps some of the byte at `at` */
  unsigned count;
};

/* At least 56 bits, or all that are left. */
static inline void
huffread_refill(struct huffread_in *in)
{
  if ((size_t)(in->end - in->at) >= WORD) {
    in->waiting |= lm_load64(in->at) << in->count;
    in->at += (63 - in->count) / 8;
    in->count |= 56;
    return;
  }
  while (in->count < 56 && in->at < in->end) {
    in->waiting |= (uint64_t)*in->at++ << in->count;
    in->count += 8;
  }
}

static inline void
huffread_skip(struct huffread_in *in, unsigned count)
{
  in->waiting >>= count;
  in->count -= count;
}

/* Take at most 32 bits; false: there are fewer. */
static bool
huffread_take(struct huffread_in *in, unsigned count, uint32_t *bits)
{
  huffread_refill(in);
  if (in->count < count)
    return false;
  *bits = (uint32_t)(in->waiting & ((UINT64_C(1) << count) - 1));
  huffread_skip(in, count);
  return true;
}

/* --- codes --- */

/* A code as a table over its next `bits` bits. An entry is one symbol, or up to three literals that follow each other:
 * from bit 0 the length of all their codes, from bit 6 the number of literals, and from bit 8 these or a symbol that
 * is not a literal. */
struct huffread_table {
  unsigned bits;
  uint32_t entries[1 << MOST_BITS];
};

/* The symbols that have codes, in the order of their codes. */
struct huffread_codes {
  size_t n;
  struct huffread_code {
    uint16_t symbol, bits; /* `bits`: the code, as it is read */
    uint32_t length;
  } all[SYMBOLS];
};

static inline unsigned
huffread_length(uint32_t entry)
{
  return entry & 63;
}

static inline unsigned
huffread_literals(uint32_t entry)
{
  return entry >> 6 & 3;
}

/* false: they are not the lengths of a complete code. */
static bool
huffread_find_codes(const uint8_t *lengths, size_t symbols, struct huffread_codes *codes)
{
  uint32_t counts[16], next[16], places[16] = {0};
  if (!lm_block_first_codes(lengths, symbols, counts, next))
    return false;
  for (unsigned length = 1; length < 15; length++)
    places[length + 1] = places[length] + counts[length];
  codes->n = symbols - counts[0];
  for (size_t symbol = 0; symbol < symbols; symbol++) {
    unsigned length = lengths[symbol];
    if (length > 0)
      codes->all[places[length]++] = (struct huffread_code){
          (uint16_t)symbol, (uint16_t)lm_block_reverse(next[length]++, length), length};
  }
  return true;
}

/* Write an entry to all places that begin with a code. */
static inline void
huffread_fill(struct huffread_table *table, uint32_t code, unsigned length, uint32_t entry)
{
  for (uint32_t i = code; i < 1u << table->bits; i += 1u << length)
    table->entries[i] = entry;
}

/* Make a table of at least `least` bits, of entries with one symbol. false: a code is too long. */
static bool
huffread_make_table(const struct huffread_codes *codes, unsigned least,
                    struct huffread_table *table)
{
  unsigned longest = codes->all[codes->n - 1].length;
  if (longest > MOST_BITS)
    return false;
  table->bits = longest > least ? longest : least;
  for (const struct huffread_code *one = codes->all; one < codes->all + codes->n; one++)
    huffread_fill(table, one->bits, one->length,
                  (uint32_t)one->symbol << 8 | (one->symbol < END ? 1u << 6 : 0) | one->length);
  return true;
}

/* Replace entries of one literal by those of two and three whose codes together fit into the table's bits. There are not
 * more of these than entries, and codes that are too long end the loops. */
static void
huffread_add_literals(const struct huffread_codes *codes, struct huffread_table *table)
{
  const struct huffread_code *end = codes->all + codes->n, *one, *two, *three;
  const unsigned bits = table->bits, shortest = codes->all[0].length;
  for (one = codes->all; one < end && one->length + shortest <= bits; one++) {
    for (two = codes->all; two < end && one->length + two->length <= bits; two++) {
      if (one->symbol >= END || two->symbol >= END)
        continue;
      unsigned both = one->length + two->length;
      uint32_t code = one->bits | (uint32_t)two->bits << one->length;
      uint32_t literals = (uint32_t)one->symbol << 8 | (uint32_t)two->symbol << 16;
      huffread_fill(table, code, both, literals | 2u << 6 | both);
      for (three = codes->all; three < end && both + three->length <= bits; three++)
        if (three->symbol < END)
          huffread_fill(table, code | (uint32_t)three->bits << both, both + three->length,
                        literals | (uint32_t)three->symbol << 24 | 3u << 6 |
                            (both + three->length));
    }
  }
}

/* --- blocks --- */

struct huffread_out {
  uint8_t *raw, *at, *end; /* LM_HUFFREAD_SLACK bytes after the end may be written */
};

static bool
huffread_copy_stored(struct huffread_in *in, struct huffread_out *out)
{
  in->at -= in->count / 8; /* whole bytes that were read ahead */
  in->waiting = in->count = 0;
  if (in->end - in->at < 4)
    return false;
  size_t n = lm_load_le(in->at, 2), inverse = lm_load_le(in->at + 2, 2);
  in->at += 4;
  if ((n ^ inverse) != 0xffff || n > (size_t)(in->end - in->at) || n > (size_t)(out->end - out->at))
    return false;
  memcpy(out->at, in->at, n);
  in->at += n;
  out->at += n;
  return true;
}

/* Read the lengths of a dynamic block's codes: *literals, then *distances of them. */
static bool
huffread_read_lengths(struct huffread_in *in, struct huffread_codes *codes,
                      struct huffread_table *table, uint8_t *lengths, size_t *literals,
                      size_t *distances)
{
  uint8_t own[HEADER_SYMBOLS] = {0};
  uint32_t head, bits;
  if (!huffread_take(in, 14, &head))
    return false;
  *literals = LENGTHS + (head & 31);
  *distances = 1 + (head >> 5 & 31);
  if (*literals > SYMBOLS || *distances > DISTANCES)
    return false;
  for (size_t i = 0; i < 4 + (head >> 10); i++) {
    if (!huffread_take(in, 3, &bits))
      return false;
    own[LM_BLOCK_HEADER_ORDER[i]] = (uint8_t)bits;
  }
  if (!huffread_find_codes(own, HEADER_SYMBOLS, codes) || !huffread_make_table(codes, 0, table))
    return false;
  for (size_t at = 0, n = *literals + *distances; at < n;) {
    huffread_refill(in);
    uint32_t entry = table->entries[in->waiting & ((1u << table->bits) - 1)], symbol = entry >> 8;
    if (huffread_length(entry) > in->count)
      return false;
    huffread_skip(in, huffread_length(entry));
    if (symbol < 16) {
      lengths[at++] = (uint8_t)symbol;
      continue;
    }
    if (!huffread_take(in, LM_BLOCK_HEADER_EXTRA[symbol], &bits) || (symbol == 16 && at == 0))
      return false;
    size_t times = LM_BLOCK_HEADER_LEAST[symbol] + bits;
    if (times > n - at)
      return false;
    memset(lengths + at, symbol == 16 ? lengths[at - 1] : 0, times);
    at += times;
  }
  return lengths[END] != 0;
}

/* The code of distance 1; length 0: there is none. */
struct huffread_distance {
  unsigned length;
  uint32_t code;
};

/* false: zlib would not accept these lengths. It accepts no code, and an incomplete one of one bit. */
static bool
huffread_find_distance(const uint8_t *lengths, size_t n, struct huffread_distance *distance)
{
  uint32_t counts[16], next[16];
  *distance = (struct huffread_distance){lengths[0], 0};
  if (lm_block_first_codes(lengths, n, counts, next)) {
    if (distance->length > 0)
      distance->code = lm_block_reverse(next[distance->length], distance->length);
    return true;
  }
  return counts[0] == n || (counts[0] == n - 1 && counts[1] == 1);
}

/* Write the match whose symbol has been read. */
static bool
huffread_put_run(struct huffread_in *in, struct huffread_out *out, uint32_t symbol,
                 const struct huffread_distance *distance)
{
  uint32_t over = symbol - LENGTHS, bits = 0;
  size_t run = LM_BLOCK_SHORTEST + over;
  if (symbol == SYMBOLS - 1) {
    run = LM_BLOCK_LONGEST;
  } else if (over >= 8) {
    unsigned extra = over / 4 - 1;
    if (!huffread_take(in, extra, &bits))
      return false;
    run = LM_BLOCK_SHORTEST + ((4 + (over & 3)) << extra) + bits;
  }
  if (distance->length == 0 || !huffread_take(in, distance->length, &bits) ||
      bits != distance->code || out->at == out->raw || run > (size_t)(out->end - out->at))
    return false;
  memset(out->at, out->at[-1], run);
  out->at += run;
  return true;
}

static bool
huffread_read_symbols(struct huffread_in *from, struct huffread_out *to,
                      const struct huffread_table *table, const struct huffread_distance *distance)
{
  struct huffread_in in = *from;
  struct huffread_out out = *to;
  const uint32_t *entries = table->entries;
  const uint64_t mask = (1u << table->bits) - 1; /* not read again after each store */
  for (;;) {
    uint32_t entry;
    while (in.end - in.at >= WORD && out.end - out.at >= 3 * AT_ONCE) {
      huffread_refill(&in);
      for (int i = 0; i < AT_ONCE; i++) {
        entry = entries[in.waiting & mask];
        if (huffread_literals(entry) == 0)
          goto symbol;
        lm_store32(out.at, entry >> 8); /* the next one overwrites what is not a literal */
        out.at += huffread_literals(entry);
        huffread_skip(&in, huffread_length(entry));
      }
    }
    huffread_refill(&in);
    entry = entries[in.waiting & mask];
  symbol:
    if (huffread_length(entry) > in.count || huffread_literals(entry) > (size_t)(out.end - out.at))
      return false;
    huffread_skip(&in, huffread_length(entry));
    if (huffread_literals(entry) > 0) {
      lm_store32(out.at, entry >> 8);
      out.at += huffread_literals(entry);
    } else if (entry >> 8 == END) {
      *from = in;
      *to = out;
      return true;
    } else if (!huffread_put_run(&in, &out, entry >> 8, distance)) {
      return false;
    }
  }
}

static bool
huffread_read_block(struct huffread_in *in, struct huffread_out *out)
{
  struct huffread_codes codes;
  struct huffread_table table;
  struct huffread_distance distance;
  uint8_t lengths[SYMBOLS + DISTANCES];
  size_t literals, distances;
  bool is_long = in->end - in->at >= LONG;
  if (!huffread_read_lengths(in, &codes, &table, lengths, &literals, &distances) ||
      !huffread_find_distance(lengths + literals, distances, &distance) ||
      !huffread_find_codes(lengths, literals, &codes) ||
      !huffread_make_table(&codes, is_long ? WIDE : 0, &table))
    return false;
  if (is_long)
    huffread_add_literals(&codes, &table);
  return huffread_read_symbols(in, out, &table, &distance);
}

bool
lm_huffread(const uint8_t *bytes, size_t n, uint8_t *raw, size_t raw_n)
{
  struct huffread_in in = {bytes, bytes + n, 0, 0};
  struct huffread_out out = {raw, raw, raw + raw_n};
  uint32_t head = 0;
  for (size_t blocks = 0; (head & 1) == 0; blocks++) {
    /* Blocks cost time even if they are empty. */
    if (blocks > FEW_BLOCKS + raw_n / SHORT_BLOCK || !huffread_take(&in, 3, &head))
      return false;
    bool good = head >> 1 == 0 ? huffread_copy_stored(&in, &out)
                               : head >> 1 == 2 && huffread_read_block(&in, &out);
    if (!good)
      return false;
  }
  return in.at == in.end && in.count < 8 && out.at == out.end;
}
