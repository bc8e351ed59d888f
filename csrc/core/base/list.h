/* An intrusive doubly linked list. A node is in at most one list. Whoever owns a list owns what is in
 * it. */
#ifndef LM_BASE_LIST_H
#define LM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct lm_node {
  struct lm_node *prev, *next; /* both NULL while in no list */
};

struct lm_list {
  struct lm_node ends; /* ends.next is the first, ends.prev the last */
};

/* The struct whose `member` is `node`. */
#define LM_CONTAINER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void
lm_list_init(struct lm_list *list)
{
  list->ends.prev = list->ends.next = &list->ends;
}

static inline bool
lm_list_empty(const struct lm_list *list)
{
  return list->ends.next == &list->ends;
}

static inline void
lm_list_insert_after(struct lm_node *place, struct lm_node *node)
{
  node->prev = place;
  node->next = place->next;
  place->next->prev = node;
  place->next = node;
}

static inline void
lm_list_push_back(struct lm_list *list, struct lm_node *node)
{
  lm_list_insert_after(list->ends.prev, node);
}

static inline void
lm_list_push_front(struct lm_list *list, struct lm_node *node)
{
  lm_list_insert_after(&list->ends, node);
}

static inline bool
lm_list_linked(const struct lm_node *node)
{
  return node->next != NULL;
}

static inline void
lm_list_remove(struct lm_node *node)
{
  node->prev->next = node->next;
  node->next->prev = node->prev;
  node->prev = node->next = NULL;
}

static inline struct lm_node *
lm_list_first(const struct lm_list *list)
{
  return lm_list_empty(list) ? NULL : list->ends.next;
}

static inline struct lm_node *
lm_list_last(const struct lm_list *list)
{
  return lm_list_empty(list) ? NULL : list->ends.prev;
}

static inline struct lm_node *
lm_list_pop_front(struct lm_list *list)
{
  struct lm_node *node = lm_list_first(list);
  if (node != NULL)
    lm_list_remove(node);
  return node;
}

/* Move all nodes of `from` to the end of `to`. */
static inline void
lm_list_splice(struct lm_list *to, struct lm_list *from)
{
  if (lm_list_empty(from))
    return;
  from->ends.next->prev = to->ends.prev;
  to->ends.prev->next = from->ends.next;
  from->ends.prev->next = &to->ends;
  to->ends.prev = from->ends.prev;
  lm_list_init(from);
}

/* Visit every node; the body may remove the node that it visits. */
#define LM_LIST_EACH(list, node)                                                                   \
  for (struct lm_node *node = (list)->ends.next, *node##_next = node->next; node != &(list)->ends; \
       node = node##_next, node##_next = node->next)

#endif
