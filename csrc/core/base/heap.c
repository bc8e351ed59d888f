#include "base/heap.h"

#include "base/alloc.h"

void
lm_heap_init(struct lm_heap *heap)
{
  *heap = (struct lm_heap){0};
}

void
lm_heap_clean_up(struct lm_heap *heap)
{
  lm_free(heap->items);
  lm_heap_init(heap);
}

static void
heap_put(struct lm_heap *heap, size_t place, struct lm_heap_item *item)
{
  heap->items[place - 1] = item;
  item->place = place;
}

static void
heap_settle(struct lm_heap *heap, struct lm_heap_item *item)
{
  size_t at = item->place;
  while (at > 1 && heap->items[at / 2 - 1]->key > item->key) {
    heap_put(heap, at, heap->items[at / 2 - 1]);
    at /= 2;
  }
  for (size_t child; (child = at * 2) <= heap->count; at = child) {
    if (child < heap->count && heap->items[child]->key < heap->items[child - 1]->key)
      child++;
    if (heap->items[child - 1]->key >= item->key)
      break;
    heap_put(heap, at, heap->items[child - 1]);
  }
  heap_put(heap, at, item);
}

int
lm_heap_set(struct lm_heap *heap, struct lm_heap_item *item, int64_t key)
{
  if (item->place == 0) {
    if (heap->count == heap->room) {
      size_t room = heap->room == 0 ? 64 : heap->room * 2;
      struct lm_heap_item **items = lm_realloc(heap->items, room * sizeof *items);
      if (items == NULL)
        return -1;
      heap->items = items;
      heap->room = room;
    }
    heap_put(heap, ++heap->count, item);
  }
  item->key = key;
  heap_settle(heap, item);
  return 0;
}

void
lm_heap_remove(struct lm_heap *heap, struct lm_heap_item *item)
{
  if (item->place == 0)
    return;
  struct lm_heap_item *last = heap->items[--heap->count];
  if (last != item) {
    heap_put(heap, item->place, last);
    heap_settle(heap, last);
  }
  item->place = 0;
}

struct lm_heap_item *
lm_heap_first(const struct lm_heap *heap)
{
  return heap->count == 0 ? NULL : heap->items[0];
}
