/* policy/chunk: fixed sizes, and the automatic rule under simulated loads. */
#include "base/limits.h"
#include "check.h"
#include "policy/chunk.h"

static void
fixed(void)
{
  struct lm_chunker chunker;
  lm_chunker_init(&chunker, 7);
  for (int i = 0; i < 20; i++)
    CHECK(lm_chunker_next(&chunker, 4, 3, 1) == 7);
  CHECK(lm_chunker_max_bytes(&chunker) == LM_MAX_FRAME_BYTES);
}

/* Two windows of single items, until a reply tells the time per item. */
static void
unknown(void)
{
  struct lm_chunker chunker;
  lm_chunker_init(&chunker, 0);
  for (int i = 0; i < 6; i++)
    CHECK(lm_chunker_next(&chunker, 3, -1, -1) == 1);
  CHECK(lm_chunker_next(&chunker, 3, -1, -1) == 0);
  lm_chunker_observe(&chunker, 1, 100, 100);
  CHECK(lm_chunker_next(&chunker, 100, -1, -1) == 1);
  CHECK(lm_chunker_max_bytes(&chunker) == LM_CHUNK_AUTO_BYTES);
}

/* Doubled at most once per window of replies, up to half a second. */
static void
growth(void)
{
  struct lm_chunker chunker;
  lm_chunker_init(&chunker, 0);
  uint32_t last = 1, window = 8;
  for (int round = 0; round < 20; round++) {
    for (uint32_t i = 0; i < window; i++) {
      lm_chunker_observe(&chunker, last, (uint64_t)last * 10000, window);
      uint32_t size = lm_chunker_next(&chunker, window, 1000000, -1);
      CHECK(size == last || (i == window - 1 && size <= 2 * last));
      last = size;
    }
  }
  CHECK(last == 50);
  for (int i = 0; i < 100; i++) /* items now take a hundred times as long */
    lm_chunker_observe(&chunker, 1, 1000000, window);
  CHECK(lm_chunker_next(&chunker, window, 1000000, -1) == 1);
}

static void
shares(void)
{
  struct lm_chunker chunker;
  lm_chunker_init(&chunker, 0);
  for (int i = 0; i < 50; i++)
    lm_chunker_observe(&chunker, 10, 10, 1);
  CHECK(lm_chunker_next(&chunker, 4, 80, -1) == 10);
  CHECK(lm_chunker_next(&chunker, 4, 81, -1) == 11);
  CHECK(lm_chunker_next(&chunker, 4, 1, -1) == 1);
  CHECK(lm_chunker_next(&chunker, 4, -1, 400) == 100);
  CHECK(lm_chunker_next(&chunker, 4, -1, 0) == 1);
  lm_chunker_init(&chunker, 0);
  for (int i = 0; i < 200; i++)
    lm_chunker_observe(&chunker, 1, 0, 1); /* too short to be measured */
  CHECK(lm_chunker_next(&chunker, 1, -1, -1) >= 1);
}

int
main(void)
{
  fixed();
  unknown();
  growth();
  shares();
  return 0;
}
