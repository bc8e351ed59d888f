/* A binary heap of items with a time, the earliest first. Intrusive: an item is a member of the struct
 * that it belongs to and knows its place, so that it is moved or removed in O(log n). The heap owns
 * only its array. Not thread-safe. */
#ifndef LM_BASE_HEAP_H
#define LM_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct lm_heap_item {
  int64_t key;
  size_t place; /* 1-based index into the heap, 0: in none */
};

struct lm_heap {
  struct lm_heap_item **items; /* owned array of borrowed items */
  size_t count, room;
};

void lm_heap_init(struct lm_heap *heap);
void lm_heap_clean_up(struct lm_heap *heap); /* free the array; the items are left as they are */

/* Insert the item, or move it if it is in the heap. -1: out of memory, nothing changed. */
int lm_heap_set(struct lm_heap *heap, struct lm_heap_item *item, int64_t key);
void lm_heap_remove(struct lm_heap *heap, struct lm_heap_item *item); /* no-op if it is not in it */
struct lm_heap_item *lm_heap_first(const struct lm_heap *heap);       /* NULL: empty */

#endif
