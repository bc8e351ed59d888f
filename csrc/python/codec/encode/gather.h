/* Cells taken one by one into a column, before the list is complete and the column's form is chosen.
 * Each is copied as it comes, so that what the caller does to it afterwards, or its own code does to its
 * neighbours, changes nothing that was taken. Under the GIL. */
#ifndef LMPY_ENCODE_GATHER_H
#define LMPY_ENCODE_GATHER_H

#include "codec/encode/pack.h"

/* What the cells are. The form that is written for them is chosen at the end. */
enum lmpy_gather_kind {
  LMPY_EMPTY, /* no cell but None */
  LMPY_FLOATS,
  LMPY_INTS,
  LMPY_TEXTS,
  LMPY_BOOLS,
  LMPY_LISTS,
  LMPY_DICTS,
  LMPY_TUPLES,
  LMPY_FRAMES
};

/* One column. It holds copies, never a reference to a cell (a DICT holds its keys). Cells of the
 * kind of the first stand in `data`; from the first that does not fit on, all are packed one by one
 * into `tail`. */
struct lmpy_gather {
  enum lmpy_gather_kind kind;
  uint8_t element; /* enum lm_column_element */
  bool ascii;      /* TEXT: all of it */
  uint32_t n;      /* cells before the tail */
  uint32_t dense;  /* of those, not None */
  uint32_t n_tail;
  uint32_t n_inner;
  struct lm_buf data;         /* FLOAT: doubles; INT: int64_t; TEXT: bytes; BOOL: a byte each */
  struct lm_buf lengths;      /* TEXT, LIST: uint32_t */
  struct lm_buf present;      /* a byte a cell; empty while none was None */
  struct lm_buf tail;         /* msgpack */
  struct lm_buf tail_lengths; /* uint32_t */
  struct lmpy_gather *inner;  /* LIST: 1; DICT, TUPLE: n_inner; owned */
  PyObject **keys;            /* DICT: n_inner, strong; owned */
  PyObject *shape, *frames;   /* FRAMES: a Shape of kinds.pandas.lists, and its snapshots; strong */
};

enum {
  LMPY_GATHER_BYTES = 1 << 30, /* of one kind in one column; cells of a column */
  LMPY_MISFIT = 1              /* beside 0 and -1: a cell is not of the column's kind */
};

struct lmpy_gather *lmpy_gather_new(void); /* NULL when out of memory */
void lmpy_gather_destroy(struct lmpy_gather *gather);
size_t lmpy_gather_memory(const struct lmpy_gather *gather);
/* Take away all cells but the first n. */
void lmpy_gather_cut(struct lmpy_gather *gather, uint32_t n);
/* Those of columns inside that belong to no whole row. */
void lmpy_gather_cut_fields(struct lmpy_gather *gather);
/* No cells; shape and memory are kept for the next list, unless they were of no use. */
void lmpy_gather_clear(struct lmpy_gather *gather);
/* Of no kind again. */
void lmpy_gather_drop_shape(struct lmpy_gather *gather);

static inline uint32_t
lmpy_gather_size(const struct lmpy_gather *gather)
{
  return gather->n + gather->n_tail;
}

/* The exception for a column that cannot grow. Returns -1. */
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

/* 0, or 1 when memory is short. */
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

/* n more cells that are there. Their data has been pushed; `bytes` is what they may take. */
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
