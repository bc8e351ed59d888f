/* A binary heap of things with a time: the earliest first. Intrusive: an item lives in the struct
 * that it belongs to and knows its place, so it can be moved or removed in O(log n). The heap owns
 * only its array. Not thread-safe. */
#ifndef LM_BASE_HEAP_H
#define LM_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct lm_heap_item {
  int64_t key;
  size_t place; /* 1-based index into the heap, 0 while in none */
};

struct lm_heap {
  struct lm_heap_item **items; /* owned array of borrowed items */
  size_t count, room;
};

void lm_heap_init(struct lm_heap *heap);
void lm_heap_clean_up(struct lm_heap *heap); /* frees the array; items are left alone */

/* Insert, or move when it is already in. -1: out of memory, nothing changed. */
int lm_heap_set(struct lm_heap *heap, struct lm_heap_item *item, int64_t key);
void lm_heap_remove(struct lm_heap *heap, struct lm_heap_item *item); /* no-op when not in */
struct lm_heap_item *lm_heap_first(const struct lm_heap *heap);       /* NULL when empty */

#endif
