#include "wire/huffman.h"

#include <stdbool.h>
#include <string.h>

#include "wire/blocks.h"
#include "wire/huffcode.h"
#include "wire/numbers.h"

enum {
  LITERALS = LM_BLOCK_END,
  END = LM_BLOCK_END,
  LENGTHS = LM_BLOCK_LENGTHS,
  SYMBOLS = LM_BLOCK_SYMBOLS,
  SHORTEST = LM_BLOCK_SHORTEST,
  LONGEST = LM_BLOCK_LONGEST,
  HEADER_SYMBOLS = LM_BLOCK_HEADER_SYMBOLS,
  DISTANCES = 2, /* declared: 1 and 2, a bit each, so that the code is complete; only 1 is used */
  RUN_BITS = 8,  /* about what a run takes: runs whose literals take less are written as literals */
  JOINED = 256,  /* symbols in two sections, below which they share a block */
  AT_ONCE = 5,   /* literals between two flushes */
  WORD = 8
};

_Static_assert(AT_ONCE *LM_BLOCK_PLANE_BITS <= 56, "more bits than fit between two flushes");

/* --- bits --- */

struct huffman_bits {
  uint8_t *at;
  uint64_t waiting; /* the lowest `count` bits, not yet written */
  unsigned count;   /* below 8 after a flush */
};

static inline void
huffman_flush(struct huffman_bits *out)
{
  lm_store64(out->at, out->waiting);
  out->at += out->count / 8;
  out->waiting >>= out->count & ~7u;
  out->count &= 7;
}

/* At most 56 bits between two flushes. */
static inline void
huffman_put(struct huffman_bits *out, uint64_t bits, unsigned count)
{
  out->waiting |= bits << out->count;
  out->count += count;
}

/* --- codes --- */

/* A prefix code: entry = code, first bit lowest, and from bit 16 on its length. */
struct huffman_code {
  uint8_t lengths[SYMBOLS]; /* 0: unused */
  uint32_t entries[SYMBOLS];
};

static inline void
huffman_put_entry(struct huffman_bits *out, uint32_t entry)
{
  huffman_put(out, entry & 0xffff, entry >> 16);
}

/* Fill in the entries, from the lengths. */
static void
huffman_find_entries(struct huffman_code *code, size_t symbols)
{
  uint32_t next[16], counts[16];
  (void)lm_block_first_codes(code->lengths, symbols, counts, next);
  for (size_t symbol = 0; symbol < symbols; symbol++) {
    unsigned length = code->lengths[symbol];
    if (length == 0)
      continue;
    code->entries[symbol] = lm_block_reverse(next[length]++, length) | (uint32_t)length << 16;
  }
}

/* The fixed code: ranges of symbols with codes of one length (RFC 1951, 3.2.6). */
static const struct huffman_range {
  uint16_t from, to, first;
  uint8_t length;
} FIXED_RANGES[] = {{0, 144, 0x30, 8}, {144, 256, 0x190, 9}, {256, 280, 0, 7}, {280, 286, 0xc0, 8}};

static size_t
huffman_count_fixed_bits(const uint32_t *counts)
{
  size_t bits = 0;
  for (size_t i = 0; i < sizeof FIXED_RANGES / sizeof *FIXED_RANGES; i++) {
    size_t used = 0;
    for (size_t symbol = FIXED_RANGES[i].from; symbol < FIXED_RANGES[i].to; symbol++)
      used += counts[symbol];
    bits += used * FIXED_RANGES[i].length;
  }
  return bits;
}

static void
huffman_find_fixed_entries(uint32_t *entries)
{
  for (size_t i = 0; i < sizeof FIXED_RANGES / sizeof *FIXED_RANGES; i++) {
    const struct huffman_range *range = &FIXED_RANGES[i];
    for (uint32_t symbol = range->from, code = range->first; symbol < range->to; symbol++, code++)
      entries[symbol] = lm_block_reverse(code, range->length) | (uint32_t)range->length << 16;
  }
}

/* --- runs --- */

struct huffman_length {
  unsigned symbol, extra, bits; /* the number of extra bits, and their value */
};

static inline struct huffman_length
huffman_length_of(size_t run)
{
  unsigned over = (unsigned)run - SHORTEST;
  if (run == LONGEST)
    return (struct huffman_length){SYMBOLS - 1, 0, 0};
  if (over < 8)
    return (struct huffman_length){LENGTHS + over, 0, 0};
  unsigned extra = 29 - (unsigned)__builtin_clz(over);
  return (struct huffman_length){LENGTHS + 4 * (extra + 1) + (over >> extra & 3), extra,
                                 over & ((1u << extra) - 1)};
}

/* Which runs are written as such: `least` bytes or more, by the byte that they repeat. */
struct huffman_rule {
  uint8_t least[LITERALS];
  unsigned any; /* shorter ones are not looked for; at most WORD */
};

/* Find the next run at or after `at` > 0: bytes equal to the one before them. Return where it begins, and its
 * length; n and 0: there is none. */
static size_t
huffman_next_run(const uint8_t *bytes, size_t at, size_t n, const struct huffman_rule *rule,
                 size_t *run)
{
  const uint64_t mask = UINT64_MAX >> (64 - 8 * rule->any);
  while (at + WORD <= n) {
    uint64_t differ = (lm_load64(bytes + at) ^ lm_load64(bytes + at - 1)) & mask;
    if (differ != 0) {
      at += (71 - (unsigned)__builtin_clzll(differ)) / 8;
      continue;
    }
    size_t end = at + rule->any;
    for (; end + WORD <= n; end += WORD) {
      uint64_t more = lm_load64(bytes + end) ^ lm_load64(bytes + end - 1);
      if (more != 0) {
        end += (unsigned)__builtin_ctzll(more) / 8;
        break;
      }
    }
    while (end < n && bytes[end] == bytes[at])
      end++;
    if (end - at >= rule->least[bytes[at]]) {
      *run = end - at;
      return at;
    }
    at = end + 1;
  }
  *run = 0;
  return n;
}

/* --- sections --- */

/* Bytes in a row, how often each symbol is written for them, and which of their runs are written as such. */
struct huffman_section {
  const uint8_t *bytes;
  size_t n;
  struct huffman_rule rule;
  uint32_t counts[SYMBOLS];
  uint32_t runs;    /* matches that are written for them */
  uint32_t extra;   /* bits after all lengths */
  uint32_t symbols; /* all literals and matches */
};

/* Count the bytes, and make the rule for their runs. Return whether any may pay. */
static bool
huffman_count_literals(struct huffman_section *section)
{
  const uint64_t sevens = UINT64_C(0x7f7f7f7f7f7f7f7f), ones = UINT64_C(0x0101010101010101);
  const uint8_t *bytes = section->bytes;
  const size_t n = section->n;
  /* Four tables, so that equal bytes in a row do not wait for each other, and one for words of bytes that are all
   * equal to the one before. */
  uint32_t tables[5][LITERALS] = {{0}};
  uint64_t before = bytes[0] ^ 1u, chance = 0;
  size_t i = 0, equal = 0, in_runs = 0;
  for (; i + WORD <= n; i += WORD) {
    uint64_t word = lm_load64(bytes + i), differ = word ^ (word << 8 | before);
    before = word >> 56;
    if (differ == 0) {
      size_t from = i;
      while (i + 2 * WORD <= n && lm_load64(bytes + i + WORD) == word)
        i += WORD;
      tables[4][before] += (uint32_t)(i + WORD - from);
      in_runs += i + WORD - from;
      continue;
    }
    uint64_t zeros = ~(((differ & sevens) + sevens) | differ | sevens) >> 7;
    equal += (zeros * ones) >> 56;
    tables[0][word & 255]++;
    tables[1][word >> 8 & 255]++;
    tables[2][word >> 16 & 255]++;
    tables[3][word >> 24 & 255]++;
    tables[0][word >> 32 & 255]++;
    tables[1][word >> 40 & 255]++;
    tables[2][word >> 48 & 255]++;
    tables[3][word >> 56]++;
  }
  for (; i < n; i++)
    tables[0][bytes[i]]++;
  for (size_t byte = 0; byte < LITERALS; byte++) {
    uint64_t outside = tables[0][byte] + tables[1][byte] + tables[2][byte] + tables[3][byte];
    chance += outside * outside;
    section->counts[byte] = (uint32_t)outside + tables[4][byte];
  }
  /* Equal neighbours outside of these words, twice as many as bytes in random order would have: short runs. */
  size_t outside = n - in_runs;
  bool short_ones = outside > 0 && equal > 2 * chance / outside + outside / 16;
  if (!short_ones && in_runs * 32 < n)
    return false;
  section->rule.any = short_ones ? SHORTEST : WORD;
  for (size_t byte = 0; byte < LITERALS; byte++) {
    uint32_t count = section->counts[byte], one_in = count == 0 ? 1 : (uint32_t)n / count;
    unsigned bits = one_in < 4 ? 1 : 31 - (unsigned)__builtin_clz(one_in);
    unsigned least = RUN_BITS / bits + 1; /* bits: about what a literal takes */
    section->rule.least[byte] = (uint8_t)(least < SHORTEST ? SHORTEST : least);
  }
  return true;
}

static void
huffman_count(struct huffman_section *section, const uint8_t *bytes, size_t n)
{
  section->bytes = bytes;
  section->n = section->symbols = n;
  section->runs = section->extra = 0;
  section->rule.any = 0;
  memset(section->counts + LITERALS, 0,
         sizeof section->counts - LITERALS * sizeof *section->counts);
  if (!huffman_count_literals(section))
    return;
  size_t run, at = huffman_next_run(bytes, 1, n, &section->rule, &run);
  for (; run != 0; at = huffman_next_run(bytes, at + 1, n, &section->rule, &run)) {
    uint8_t byte = bytes[at];
    at += run;
    while (run >= SHORTEST) {
      size_t some = run < LONGEST ? run : LONGEST;
      struct huffman_length length = huffman_length_of(some);
      section->counts[length.symbol]++;
      section->counts[byte] -= (uint32_t)some;
      section->symbols -= (uint32_t)some - 1;
      section->extra += length.extra;
      section->runs++;
      run -= some;
    }
  }
}

/* Whether two sections take less as one block: if there is little in one of them, or in both, its codes would
 * take more than they save. */
static bool
huffman_may_join(const struct huffman_section *one, const struct huffman_section *other)
{
  uint32_t less = one->symbols < other->symbols ? one->symbols : other->symbols;
  uint32_t both = one->symbols + other->symbols;
  return both < JOINED || less < both / 16;
}

/* --- blocks --- */

/* How a block may be written. */
struct huffman_plan {
  uint32_t counts[SYMBOLS];
  struct huffman_code code;
  /* the block's header: its code lengths, run-length coded, as symbols with their extra bits from bit 5 on */
  uint16_t header[SYMBOLS + DISTANCES];
  uint8_t header_lengths[HEADER_SYMBOLS];
  size_t header_n, literals; /* `literals`: symbols with a length in the header */
};

static size_t
huffman_count_header_lengths(const struct huffman_plan *plan)
{
  size_t n = HEADER_SYMBOLS;
  while (n > 4 && plan->header_lengths[LM_BLOCK_HEADER_ORDER[n - 1]] == 0)
    n--;
  return n;
}

/* Run-length code the lengths into the header; return its bits. */
static size_t
huffman_make_header(struct huffman_plan *plan)
{
  uint8_t lengths[SYMBOLS + DISTANCES];
  uint32_t counts[HEADER_SYMBOLS] = {0};
  size_t n = SYMBOLS, used = 0;
  while (plan->code.lengths[n - 1] == 0)
    n--; /* not below END, which is always used */
  plan->literals = n;
  memcpy(lengths, plan->code.lengths, n);
  memset(lengths + n, 1, DISTANCES);
  n += DISTANCES;
  for (size_t at = 0, next; at < n; at = next) {
    unsigned length = lengths[at];
    for (next = at + 1; next < n && lengths[next] == length;)
      next++;
    size_t left = next - at;
    if (length != 0) {
      plan->header[used++] = (uint16_t)length;
      left--;
    }
    while (left >= 3) {
      unsigned symbol = length != 0 ? 16 : left <= 10 ? 17 : 18;
      size_t least = LM_BLOCK_HEADER_LEAST[symbol];
      size_t most = least + (1u << LM_BLOCK_HEADER_EXTRA[symbol]) - 1;
      size_t taken = left < most ? left : most;
      plan->header[used++] = (uint16_t)(symbol | (taken - least) << 5);
      left -= taken;
    }
    for (; left > 0; left--)
      plan->header[used++] = (uint16_t)length;
  }
  plan->header_n = used;
  for (size_t i = 0; i < used; i++)
    counts[plan->header[i] & 31]++;
  lm_huffcode_find_lengths(counts, HEADER_SYMBOLS, LM_BLOCK_HEADER_BITS, plan->header_lengths);
  size_t bits = 5 + 5 + 4 + 3 * huffman_count_header_lengths(plan);
  for (size_t symbol = 0; symbol < HEADER_SYMBOLS; symbol++)
    bits += counts[symbol] * (size_t)(plan->header_lengths[symbol] + LM_BLOCK_HEADER_EXTRA[symbol]);
  return bits;
}

static size_t
huffman_count_bits(const uint32_t *counts, const uint8_t *lengths)
{
  size_t bits = 0;
  for (size_t symbol = 0; symbol < SYMBOLS; symbol++)
    bits += (size_t)counts[symbol] * lengths[symbol];
  return bits;
}

static void
huffman_put_literals(struct huffman_bits *to, const uint8_t *bytes, size_t n,
                     const uint32_t *entries)
{
  struct huffman_bits out = *to;
  size_t i = 0;
  huffman_flush(&out);
  for (; i + AT_ONCE <= n; i += AT_ONCE) {
    uint32_t a = entries[bytes[i]], b = entries[bytes[i + 1]], c = entries[bytes[i + 2]];
    uint32_t d = entries[bytes[i + 3]], e = entries[bytes[i + 4]];
    uint64_t ab = (a & 0xffff) | (uint64_t)(b & 0xffff) << (a >> 16);
    uint64_t cd = (c & 0xffff) | (uint64_t)(d & 0xffff) << (c >> 16);
    unsigned after_ab = (a + b) >> 16,
             after_cd = (c + d) >> 16; /* codes do not overflow into lengths */
    huffman_put(&out, ab | (cd | (uint64_t)(e & 0xffff) << after_cd) << after_ab,
                after_ab + after_cd + (e >> 16));
    huffman_flush(&out);
  }
  for (; i < n; i++)
    huffman_put_entry(&out, entries[bytes[i]]);
  huffman_flush(&out);
  *to = out;
}

static void
huffman_put_section(struct huffman_bits *out, const struct huffman_section *section,
                    const uint32_t *entries, unsigned distance_bits)
{
  const uint8_t *bytes = section->bytes;
  const size_t n = section->n;
  size_t run = 0, from = 0, at = n;
  if (section->runs > 0)
    at = huffman_next_run(bytes, 1, n, &section->rule, &run);
  for (;;) {
    huffman_put_literals(out, bytes + from, at - from, entries);
    if (run == 0)
      return;
    from = at + run;
    while (run >= SHORTEST) {
      size_t some = run < LONGEST ? run : LONGEST;
      struct huffman_length length = huffman_length_of(some);
      huffman_put_entry(out, entries[length.symbol]);
      huffman_put(out, length.bits, length.extra + distance_bits); /* distance 1 is all zeros */
      huffman_flush(out);
      run -= some;
    }
    from -= run; /* the rest is too short */
    at = huffman_next_run(bytes, from + run + 1, n, &section->rule, &run);
  }
}

static void
huffman_put_header(struct huffman_bits *out, const struct huffman_plan *plan)
{
  struct huffman_code code;
  size_t n = huffman_count_header_lengths(plan);
  memcpy(code.lengths, plan->header_lengths, HEADER_SYMBOLS);
  huffman_find_entries(&code, HEADER_SYMBOLS);
  huffman_put(out, plan->literals - LENGTHS, 5);
  huffman_put(out, DISTANCES - 1, 5);
  huffman_put(out, n - 4, 4);
  huffman_flush(out);
  for (size_t i = 0; i < n; i++) {
    huffman_put(out, plan->header_lengths[LM_BLOCK_HEADER_ORDER[i]], 3);
    huffman_flush(out);
  }
  for (size_t i = 0; i < plan->header_n; i++) {
    unsigned symbol = plan->header[i] & 31;
    huffman_put_entry(out, code.entries[symbol]);
    huffman_put(out, plan->header[i] >> 5, LM_BLOCK_HEADER_EXTRA[symbol]);
    huffman_flush(out);
  }
}

static void
huffman_put_stored(struct huffman_bits *out, const uint8_t *bytes, size_t n, bool last)
{
  huffman_put(out, last, 3);
  huffman_put(out, 0, -out->count & 7);
  huffman_put(out, n | (~(uint64_t)n & 0xffff) << 16, 32);
  huffman_flush(out);
  if (n > 0)
    memcpy(out->at, bytes, n);
  out->at += n;
}

/* Write a block of one section, or of two that follow each other; `other` may be NULL. */
static void
huffman_put_block(struct huffman_bits *out, const struct huffman_section *one,
                  const struct huffman_section *other, bool last)
{
  struct huffman_plan plan;
  size_t n = one->n, runs = one->runs, extra = one->extra;
  memcpy(plan.counts, one->counts, sizeof plan.counts);
  if (other != NULL) {
    n += other->n;
    runs += other->runs;
    extra += other->extra;
    for (size_t symbol = 0; symbol < SYMBOLS; symbol++)
      plan.counts[symbol] += other->counts[symbol];
  }
  plan.counts[END] = 1;
  lm_huffcode_find_lengths(plan.counts, SYMBOLS, LM_BLOCK_PLANE_BITS, plan.code.lengths);
  size_t stored = (-(out->count + 3) & 7) + 32 + 8 * n;
  size_t fixed = huffman_count_fixed_bits(plan.counts) + extra + 5 * runs;
  size_t dynamic = huffman_make_header(&plan) + huffman_count_bits(plan.counts, plan.code.lengths) +
                   extra + runs;
  if (stored <= fixed && stored <= dynamic) {
    huffman_put_stored(out, one->bytes, n, last);
    return;
  }
  huffman_put(out, last, 1);
  if (fixed <= dynamic) {
    huffman_put(out, 1, 2);
    huffman_find_fixed_entries(plan.code.entries);
  } else {
    huffman_put(out, 2, 2);
    huffman_put_header(out, &plan);
    huffman_find_entries(&plan.code, SYMBOLS);
  }
  huffman_flush(out);
  huffman_put_section(out, one, plan.code.entries, fixed <= dynamic ? 5 : 1);
  if (other != NULL)
    huffman_put_section(out, other, plan.code.entries, fixed <= dynamic ? 5 : 1);
  huffman_put_entry(out, plan.code.entries[END]);
  huffman_flush(out);
}

size_t
lm_huffman_write(const uint8_t *bytes, size_t plane, size_t planes, uint8_t *out)
{
  struct huffman_bits bits = {out, 0, 0};
  struct huffman_section sections[2], *held = NULL; /* counted, and not yet written */
  size_t cuts = (plane + LM_HUFFMAN_SECTION - 1) / LM_HUFFMAN_SECTION;
  size_t most = cuts == 0 ? 0 : (plane + cuts - 1) / cuts; /* bytes in a section */
  for (size_t i = 0; i < planes * cuts; i++) {
    size_t from = i % cuts * most, n = plane - from < most ? plane - from : most;
    struct huffman_section *next = held == &sections[0] ? &sections[1] : &sections[0];
    huffman_count(next, bytes + i / cuts * plane + from, n);
    bool last = i == planes * cuts - 1, join = held != NULL && huffman_may_join(held, next);
    if (join)
      huffman_put_block(&bits, held, next, last);
    else if (held != NULL)
      huffman_put_block(&bits, held, NULL, false);
    held = join ? NULL : next;
  }
  if (held != NULL)
    huffman_put_block(&bits, held, NULL, true);
  else if (cuts == 0)
    huffman_put_stored(&bits, bytes, 0, true);
  if (bits.count > 0)
    huffman_put(&bits, 0, 8 - bits.count);
  huffman_flush(&bits);
  return (size_t)(bits.at - out);
}
