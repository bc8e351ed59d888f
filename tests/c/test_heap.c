/* base/heap: order, moves, removal; with every allocation failing. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/heap.h"
#include "check.h"

enum { N = 300 };

struct thing {
  struct lm_heap_item item;
};

static void
check_order(struct lm_heap *heap)
{
  int64_t last = INT64_MIN;
  for (struct lm_heap_item *first; (first = lm_heap_first(heap)) != NULL;) {
    CHECK(first->key >= last && first->place == 1);
    last = first->key;
    lm_heap_remove(heap, first);
    CHECK(first->place == 0);
  }
}

static void
random_moves(void)
{
  static struct thing things[N];
  struct lm_heap heap;
  lm_heap_init(&heap);
  srand(7);
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < N; i++)
      CHECK(lm_heap_set(&heap, &things[i].item, rand() % 100) == 0);
    for (int i = 0; i < N; i += 3)
      CHECK(lm_heap_set(&heap, &things[i].item, rand() % 1000 - 500) == 0);
    for (int i = 1; i < N; i += 7)
      lm_heap_remove(&heap, &things[i].item);
    lm_heap_remove(&heap, &things[1].item); /* the second is a no-op */
    CHECK(heap.count == N - (N - 2) / 7 - 1);
    check_order(&heap);
  }
  lm_heap_clean_up(&heap);
}

static void
no_memory(void)
{
  struct thing thing = {0};
  struct lm_heap heap;
  lm_heap_init(&heap);
  lm_alloc_fail_from(1);
  CHECK(lm_heap_set(&heap, &thing.item, 1) == -1);
  CHECK(thing.item.place == 0 && lm_heap_first(&heap) == NULL);
  lm_alloc_fail_from(0);
  CHECK(lm_heap_set(&heap, &thing.item, 1) == 0 && lm_heap_first(&heap) == &thing.item);
  lm_heap_clean_up(&heap);
  CHECK(lm_alloc_live() == 0);
}

int
main(void)
{
  random_moves();
  no_memory();
  return 0;
}
