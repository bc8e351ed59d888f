/* wire/huffman and wire/huffread: what the one writes is never larger than stored blocks, and zlib and the other inflate
 * it to the same bytes. */
#include <string.h>

#include "check.h"
#include "wire/deflate.h"
#include "wire/huffman.h"
#include "wire/huffread.h"

enum { MOST = 3 * LM_HUFFMAN_SECTION + 5 };

static struct lm_inflate *inflater;
static uint8_t bytes[3 * MOST];

static uint32_t
next_random(void)
{
  static uint64_t state = 1;
  state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(state >> 33);
}

/* Whether a stream is read. If it is, zlib must inflate it to the same bytes. */
static bool
is_read(const uint8_t *stream, size_t len, size_t n)
{
  uint8_t *own = malloc(len + 1), *mine = malloc(n + LM_HUFFREAD_SLACK), *theirs = malloc(n + 1);
  struct lm_error err;
  CHECK(own != NULL && mine != NULL && theirs != NULL);
  memcpy(own, stream, len);
  bool good = lm_huffread(own, len, mine, n);
  if (good) {
    CHECK(lm_inflate_run(inflater, own, len, theirs, n, &err) == 0);
    CHECK(memcmp(mine, theirs, n) == 0);
  }
  free(theirs);
  free(mine);
  free(own);
  return good;
}

/* Write `planes` planes of the bytes, and inflate them again. Return the stream's length. */
static size_t
written(size_t plane, size_t planes)
{
  size_t n = plane * planes, bound = lm_huffman_bound(plane, planes);
  uint8_t *own = malloc(n + 1), *out = malloc(bound), *again = malloc(n + 1); /* for ASan */
  struct lm_error err;
  CHECK(own != NULL && out != NULL && again != NULL);
  memcpy(own, bytes, n);
  size_t len = lm_huffman_write(own, plane, planes, out);
  CHECK(len + sizeof(uint64_t) <= bound);
  CHECK(lm_inflate_run(inflater, out, len, again, n, &err) == 0);
  CHECK(memcmp(again, own, n) == 0);
  CHECK(is_read(out, len, n) || len < 200); /* small blocks may have the fixed code */
  CHECK(!is_read(out, len, n + 1) && (n == 0 || !is_read(out, len, n - 1)));
  free(again);
  free(out);
  free(own);
  return len;
}

/* A run takes a bit each for length and distance every 258 bytes; one of less than 24 may be literals. */
static void
constant(void)
{
  memset(bytes, 7, sizeof bytes);
  for (size_t n = 0; n < 700; n++)
    for (size_t planes = 1; planes <= 3; planes++)
      CHECK(written(n, planes) <= (n < 24 ? 10 + n * planes : 24 + n * planes / 200));
  CHECK(written(10000, 2) < 45);
  CHECK(written(MOST, 2) < 2 * MOST / 600);
}

/* Runs of each length up to twice the longest match and more, between other bytes; of short ones, many. */
static void
runs(void)
{
  size_t at = 0;
  for (size_t run = 1; run < 560 && at + run < MOST; run++) {
    memset(bytes + at, (int)(run & 3), run);
    at += run;
    bytes[at++] = (uint8_t)(100 + next_random() % 100);
    CHECK(written(at, 1) <= 200 + 4 * run);
  }
  for (size_t i = 0; i < MOST; i++)
    bytes[i] = i % 4 == 0 ? (uint8_t)next_random() : bytes[i - 1];
  CHECK(written(10000, 1) < 2500 * 12 / 8 + 200);
  CHECK(written(MOST, 1) < MOST / 4 * 12 / 8 + 800);
}

/* Bytes without order take their entropy, and what the end of a block adds to one of the codes; the worst ones are
 * stored. */
static void
random_bytes(void)
{
  for (unsigned bits = 1; bits <= 8; bits++) {
    for (size_t i = 0; i < sizeof bytes; i++)
      bytes[i] = (uint8_t)((next_random() & ((1u << bits) - 1)) * 37);
    for (size_t n = 1; n < 300; n += 1 + n / 20)
      (void)written(n, 2);
    CHECK(written(10000, 1) <= 10000 * bits / 8 + (10000 >> bits) / 8 + 100);
    CHECK(written(MOST, 2) <= 2 * (MOST * bits / 8 + (MOST >> bits) / 8 + 400u));
  }
  CHECK(written(1000, 1) == 1005 && written(1000, 3) == 3015);
}

/* Counts like Fibonacci's numbers make the deepest tree; its codes are cut to deflate's lengths. */
static void
deep(void)
{
  size_t n = 0;
  for (size_t symbol = 0, one = 1, other = 1; n + one < LM_HUFFMAN_SECTION; symbol++) {
    for (size_t i = 0; i < one; i++)
      bytes[n++] = (uint8_t)(symbol * 11);
    size_t sum = one + other;
    one = other;
    other = sum;
  }
  for (size_t i = n - 1; i > 0; i--) { /* in random order, so that there are no runs */
    size_t j = next_random() % (i + 1);
    uint8_t kept = bytes[i];
    bytes[i] = bytes[j];
    bytes[j] = kept;
  }
  CHECK(written(n, 1) < n * 27 / 80); /* 2.62 bits each, if lengths had no limit */
}

/* Where sections begin and end, and which of them share a block. */
static void
sections(void)
{
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = i % 3000 < 1000 ? (uint8_t)(next_random() & 31) : (uint8_t)(i / 3000);
  for (size_t k = 1; k <= 3; k++)
    for (size_t n = k * LM_HUFFMAN_SECTION - 2; n <= k * LM_HUFFMAN_SECTION + 2; n++)
      for (size_t planes = 1; planes <= 3; planes++)
        CHECK(written(n, planes) < n * planes * 5 / 8);
  for (size_t i = 0; i < 10000; i++) { /* two planes of the same kind, and of two kinds */
    bytes[i] = (uint8_t)(next_random() & 15);
    bytes[10000 + i] = 63;
  }
  CHECK(written(10000, 2) < 5000 + 150);
  for (size_t i = 0; i < 10000; i++)
    bytes[10000 + i] = (uint8_t)(200 + (next_random() & 1));
  CHECK(written(10000, 2) < 5000 + 1875 + 250);
}

/* Streams that are cut, changed, or followed by more bytes. */
static void
broken(void)
{
  enum { PLANE = 400 };
  uint8_t stream[3 * PLANE];
  for (size_t i = 0; i < 2 * PLANE; i++)
    bytes[i] = i < PLANE ? (uint8_t)(next_random() % 40 * (next_random() & 1)) : i % 100 == 0;
  size_t len = lm_huffman_write(bytes, PLANE, 2, stream);
  CHECK(len + sizeof(uint64_t) < sizeof stream && is_read(stream, len, 2 * PLANE));
  for (size_t cut = 0; cut < len; cut++)
    CHECK(!is_read(stream, cut, 2 * PLANE));
  CHECK(!is_read(stream, len + 1, 2 * PLANE));
  for (size_t bit = 0; bit < 8 * len; bit++) {
    stream[bit / 8] ^= (uint8_t)(1 << bit % 8);
    for (size_t n = 2 * PLANE - 2; n <= 2 * PLANE + 2; n++)
      (void)is_read(stream, len, n);
    stream[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

/* Blocks take time even if they are empty: many of them are left to zlib. */
static void
empty_blocks(void)
{
  enum { BLOCK = 5, BLOCKS = 40 };
  static const uint8_t empty[BLOCK] = {0, 0, 0, 255, 255};
  uint8_t stream[BLOCK * BLOCKS];
  struct lm_error err;
  for (size_t i = 0; i < BLOCKS; i++)
    memcpy(stream + BLOCK * i, empty, BLOCK);
  stream[BLOCK * 3] = 1; /* the last one */
  CHECK(is_read(stream, (size_t)BLOCK * 4, 0));
  stream[BLOCK * 3] = 0;
  stream[BLOCK * (BLOCKS - 1)] = 1;
  CHECK(lm_inflate_run(inflater, stream, sizeof stream, bytes, 0, &err) == 0);
  CHECK(!is_read(stream, sizeof stream, 0));
}

/* zlib's streams: those with other matches than runs are left to it. */
static void
zlibs(void)
{
  struct lm_deflate *deflater = lm_deflate_new();
  struct lm_buf out;
  struct lm_error err;
  lm_buf_init(&out, SIZE_MAX);
  CHECK(deflater != NULL);
  for (size_t i = 0; i < 5000; i++)
    bytes[i] = (uint8_t)(next_random() & 15);
  CHECK(lm_deflate_run(deflater, bytes, 5000, 5000, &out, &err) == 1);
  CHECK(!is_read(out.data, out.len, 5000));
  for (size_t i = 0; i < 5000; i++)
    bytes[i] = (uint8_t)next_random();
  lm_buf_clear(&out);
  CHECK(lm_deflate_run(deflater, bytes, 5000, 6000, &out, &err) == 1);
  CHECK(is_read(out.data, out.len, 5000)); /* stored */
  lm_buf_clean_up(&out);
  lm_deflate_destroy(deflater);
}

int
main(void)
{
  inflater = lm_inflate_new();
  CHECK(inflater != NULL);
  constant();
  runs();
  random_bytes();
  deep();
  sections();
  broken();
  empty_blocks();
  zlibs();
  lm_inflate_destroy(inflater);
  CHECK(lm_alloc_live() == 0);
  return 0;
}
