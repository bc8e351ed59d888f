/* Cells collected into a column, before the list is complete and the form of the column is chosen.
 * Each cell is copied when taken, so later changes, by the caller or by code that runs while other
 * cells are taken, have no effect. Under the GIL. */
#ifndef LMPY_ENCODE_GATHER_H
#define LMPY_ENCODE_GATHER_H

#include "codec/encode/pack.h"

/* The kind of the cells. The form in which they are written is chosen at the end. */
enum lmpy_gather_kind {
  LMPY_EMPTY, /* every cell is None */
  LMPY_FLOATS,
  LMPY_INTS,
  LMPY_TEXTS,
  LMPY_BOOLS,
  LMPY_LISTS,
  LMPY_DICTS,
  LMPY_TUPLES,
  LMPY_FRAMES
};

/* One column. It contains copies, never references to cells (a DICT refers to its keys). Cells of the
 * first one's kind are in `data`; from the first cell of another kind on, all are packed one by one
 * into `tail`. */
struct lmpy_gather {
  enum lmpy_gather_kind kind;
  uint8_t element; /* enum lm_column_element */
  bool ascii;      /* TEXT: all of it */
  uint32_t n;      /* number of cells before the tail */
  uint32_t dense;  /* number of those that are not None */
  uint32_t n_tail;
  uint32_t n_inner;
  struct lm_buf data;         /* FLOAT: doubles; INT: int64_t; TEXT: bytes; BOOL: a byte each */
  struct lm_buf lengths;      /* TEXT, LIST: uint32_t */
  struct lm_buf present;      /* a byte per cell; empty while no cell is None */
  struct lm_buf tail;         /* msgpack */
  struct lm_buf tail_lengths; /* uint32_t */
  struct lmpy_gather *inner;  /* LIST: 1; DICT, TUPLE: n_inner; owned */
  PyObject **keys;            /* DICT: n_inner, strong; owned */
  PyObject *shape, *frames;   /* FRAMES: a Shape of kinds.pandas.lists, and its snapshots; strong */
};

enum {
  LMPY_GATHER_BYTES = 1 << 30, /* maximum of bytes of one kind, and of cells, in a column */
  LMPY_MISFIT = 1              /* besides 0 and -1: the cell is not of the column's kind */
};

struct lmpy_gather *lmpy_gather_new(void); /* NULL when out of memory */
void lmpy_gather_destroy(struct lmpy_gather *gather);
size_t lmpy_gather_memory(const struct lmpy_gather *gather);
/* Remove all cells but the first n. */
void lmpy_gather_cut(struct lmpy_gather *gather, uint32_t n);
/* Remove the cells of columns inside that belong to an incomplete row. */
void lmpy_gather_cut_fields(struct lmpy_gather *gather);
/* Remove all cells; keep shape and memory for the next list if they were used. */
void lmpy_gather_clear(struct lmpy_gather *gather);
/* Forget the kind and the columns inside. */
void lmpy_gather_drop_shape(struct lmpy_gather *gather);

static inline uint32_t
lmpy_gather_size(const struct lmpy_gather *gather)
{
  return gather->n + gather->n_tail;
}

/* Raise for a column that cannot grow. Returns -1. */
static inline int
lmpy_gather_no_memory(struct lmpy_pack *pack)
{
  return lmpy_pack_refuse(pack, "the list has more than %d bytes of one kind, or memory ran out",
                          LMPY_GATHER_BYTES);
}

static inline uint8_t *
lmpy_gather_room(struct lm_buf *buf, size_t n)
{
  if (buf->cap - buf->len >= n && buf->data != NULL)
    return buf->data + buf->len;
  if (buf->max == 0)
    lm_buf_init(buf, LMPY_GATHER_BYTES);
  return lm_buf_reserve(buf, n);
}

/* 0, or 1 when out of memory. */
static inline int
lmpy_gather_push(struct lm_buf *buf, const void *bytes, size_t n)
{
  uint8_t *at = lmpy_gather_room(buf, n);
  if (at == NULL)
    return 1;
  memcpy(at, bytes, n);
  buf->len += n;
  return 0;
}

/* Count n more cells that are not None, whose data has been pushed; `bytes`: the most they may take. */
static inline int
lmpy_gather_count(struct lmpy_pack *pack, struct lmpy_gather *gather, size_t n, size_t bytes)
{
  if (gather->present.len > 0 && n > 0) {
    uint8_t *at = lmpy_gather_room(&gather->present, n);
    if (at == NULL)
      return lmpy_gather_no_memory(pack);
    memset(at, 1, n);
    gather->present.len += n;
  }
  gather->n += (uint32_t)n;
  gather->dense += (uint32_t)n;
  pack->gathered += bytes;
  return 0;
}

static inline int
lmpy_gather_none(struct lmpy_pack *pack, struct lmpy_gather *gather)
{
  if (gather->kind != LMPY_EMPTY) {
    if (gather->present.len == 0 && gather->n > 0) {
      uint8_t *at = lmpy_gather_room(&gather->present, gather->n);
      if (at == NULL)
        return lmpy_gather_no_memory(pack);
      memset(at, 1, gather->n);
      gather->present.len = gather->n;
    }
    if (lmpy_gather_push(&gather->present, "", 1) != 0)
      return lmpy_gather_no_memory(pack);
  }
  gather->n++;
  pack->gathered++;
  return 0;
}

#endif
