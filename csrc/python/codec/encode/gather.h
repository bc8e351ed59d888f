/* What the two files that gather share: columns.c, which knows every kind and may run anybody's code,
 * and cells.c, which takes many cells at once and runs none. */
#ifndef LMPY_GATHER_H
#define LMPY_GATHER_H

#include "codec/codec.h"

#include "base/alloc.h"

enum {
  LMPY_GATHER_BYTES = 1 << 30, /* of one kind in one column; cells of a column */
  LMPY_MISFIT = 1              /* beside 0 and -1: a cell is not of the column's kind */
};

/* n cells that stay alive meanwhile: 0 when all were taken; LMPY_MISFIT, or -1 and an exception, when
 * some may have been: cut them. */
int lmpy_cells_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                      size_t n);

/* The exception for a column that cannot grow. Returns -1. */
static inline int
lmpy_gather_no_memory(struct lmpy_pack *pack)
{
  return lmpy_pack_refuse(pack, "a list with more than %d bytes of one kind, or no memory for it",
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

static inline bool
lmpy_is_same_key(PyObject *mine, PyObject *theirs)
{
  if (mine == theirs)
    return true;
  return PyUnicode_CheckExact(theirs) &&
         PyUnicode_GET_LENGTH(mine) == PyUnicode_GET_LENGTH(theirs) &&
         PyUnicode_KIND(mine) == PyUnicode_KIND(theirs) &&
         memcmp(PyUnicode_DATA(mine), PyUnicode_DATA(theirs),
                (size_t)PyUnicode_GET_LENGTH(mine) * PyUnicode_KIND(mine)) == 0;
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
