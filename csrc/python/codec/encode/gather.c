#include "codec/encode/gather.h"

#include "base/alloc.h"

struct lmpy_gather *
lmpy_gather_new(void)
{
  return lm_alloc_zero(1, sizeof(struct lmpy_gather));
}

static void
encode_gather_clean_up_cells(struct lmpy_gather *gather)
{
  lm_buf_clean_up(&gather->data);
  lm_buf_clean_up(&gather->lengths);
  lm_buf_clean_up(&gather->present);
  lm_buf_clean_up(&gather->tail);
  lm_buf_clean_up(&gather->tail_lengths);
}

void
lmpy_gather_drop_shape(struct lmpy_gather *gather)
{
  for (uint32_t i = 0; i < gather->n_inner; i++) {
    struct lmpy_gather *inner = &gather->inner[i];
    lmpy_gather_drop_shape(inner);
    encode_gather_clean_up_cells(inner);
    if (gather->keys != NULL)
      Py_DECREF(gather->keys[i]);
  }
  lm_free(gather->inner);
  lm_free(gather->keys);
  Py_CLEAR(gather->shape);
  Py_CLEAR(gather->frames);
  gather->inner = NULL;
  gather->keys = NULL;
  gather->n_inner = 0;
  gather->kind = LMPY_EMPTY;
}

void
lmpy_gather_destroy(struct lmpy_gather *gather)
{
  if (gather == NULL)
    return;
  lmpy_gather_drop_shape(gather);
  encode_gather_clean_up_cells(gather);
  lm_free(gather);
}

size_t
lmpy_gather_memory(const struct lmpy_gather *gather)
{
  size_t bytes = gather->data.cap + gather->lengths.cap + gather->present.cap + gather->tail.cap +
                 gather->tail_lengths.cap + sizeof *gather;
  for (uint32_t i = 0; i < gather->n_inner; i++)
    bytes += lmpy_gather_memory(&gather->inner[i]);
  return bytes;
}

static uint64_t
encode_gather_pop_lengths(struct lm_buf *lengths, uint32_t cells)
{
  uint64_t sum = 0;
  for (; cells > 0; cells--) {
    uint32_t length;
    lengths->len -= sizeof length;
    memcpy(&length, lengths->data + lengths->len, sizeof length);
    sum += length;
  }
  return sum;
}

void
lmpy_gather_cut_fields(struct lmpy_gather *gather)
{
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_cut(&gather->inner[i], gather->dense);
}

void
lmpy_gather_cut(struct lmpy_gather *gather, uint32_t n)
{
  if (n < lmpy_gather_size(gather) && gather->n_tail > 0) {
    uint32_t kept = n > gather->n ? n - gather->n : 0;
    gather->tail.len -=
        (size_t)encode_gather_pop_lengths(&gather->tail_lengths, gather->n_tail - kept);
    gather->n_tail = kept;
  }
  if (n >= gather->n)
    return;
  uint32_t gone = gather->n - n; /* of them, not None: */
  if (gather->present.len > 0) {
    for (uint32_t i = n; i < gather->n; i++)
      gone -= !gather->present.data[i];
    gather->present.len = n;
  } else if (gather->kind == LMPY_EMPTY) {
    gone = 0;
  }
  gather->n = n;
  gather->dense -= gone;
  switch (gather->kind) {
  case LMPY_FLOATS:
  case LMPY_INTS:
    gather->data.len = (size_t)gather->dense * 8;
    break;
  case LMPY_BOOLS:
    gather->data.len = gather->dense;
    break;
  case LMPY_TEXTS:
    gather->data.len -= (size_t)encode_gather_pop_lengths(&gather->lengths, gone);
    break;
  case LMPY_LISTS: {
    uint32_t items = (uint32_t)encode_gather_pop_lengths(&gather->lengths, gone);
    lmpy_gather_cut(gather->inner, lmpy_gather_size(gather->inner) - items);
    break;
  }
  case LMPY_DICTS:
  case LMPY_TUPLES:
    lmpy_gather_cut_fields(gather);
    break;
  case LMPY_FRAMES:
    if (PyList_SetSlice(gather->frames, gather->dense, PY_SSIZE_T_MAX, NULL) != 0)
      PyErr_Clear(); /* taking items away needs no memory */
    break;
  case LMPY_EMPTY:
    break;
  }
}

void
lmpy_gather_clear(struct lmpy_gather *gather)
{
  bool misled = gather->n_tail > 0;
  gather->n = gather->dense = gather->n_tail = 0;
  lm_buf_clear(&gather->data);
  lm_buf_clear(&gather->lengths);
  lm_buf_clear(&gather->present);
  lm_buf_clear(&gather->tail);
  lm_buf_clear(&gather->tail_lengths);
  gather->ascii = true;
  if (misled || gather->kind == LMPY_FRAMES)
    lmpy_gather_drop_shape(gather);
  for (uint32_t i = 0; i < gather->n_inner; i++)
    lmpy_gather_clear(&gather->inner[i]);
}
