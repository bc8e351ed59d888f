#include "codec/decode/reader.h"

#include "base/alloc.h"

int
lmpy_reader_room(struct lmpy_reader *reader, uint64_t n_inner, uint64_t n_values, uint64_t n_cells)
{
  size_t zeroed = (size_t)n_inner * sizeof *reader->inner + (size_t)n_values * sizeof(PyObject *);
  reader->inner = lm_alloc(zeroed + (size_t)n_cells * sizeof(PyObject *) + 1);
  if (reader->inner == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  memset(reader->inner, 0, zeroed);
  reader->values = (PyObject **)(void *)(reader->inner + n_inner);
  reader->cells = reader->values + n_values;
  reader->n_inner = (uint32_t)n_inner;
  reader->n_values = (uint32_t)n_values;
  return 0;
}

void
lmpy_reader_close(struct lmpy_reader *reader)
{
  for (uint32_t i = 0; i < reader->n_inner; i++)
    lmpy_reader_close(&reader->inner[i]);
  for (uint32_t i = 0; i < reader->n_values; i++)
    Py_XDECREF(reader->values[i]);
  lm_free(reader->inner);
  Py_XDECREF(reader->row);
  Py_XDECREF(reader->constant);
}

int
lmpy_reader_begin(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                  const uint8_t *end, uint64_t n, unsigned depth, enum lm_place place)
{
  struct lm_column *column = &reader->column;
  const char *wrong = lm_column_read(at, end, n, place, &unpack->sections, column);
  if (wrong != NULL)
    return lmpy_unpack_bad(unpack, wrong);
  reader->depth = depth;
  /* lambdamap.shipping.kinds charges for frames itself. */
  return column->kind == LM_COLUMN_FRAMES ? 0
                                          : lmpy_unpack_charge(unpack, lm_column_cost(column, n));
}

int
lmpy_fill_by(lmpy_fill *fill, struct lmpy_unpack *unpack, struct lmpy_reader *reader,
             PyObject **out, size_t n)
{
  for (size_t i = 0; i < n;) {
    size_t some = n - i < LMPY_PAUSE ? n - i : LMPY_PAUSE;
    if (fill(unpack, reader, out + i, some) != 0)
      return lmpy_give_up(out, i + some, n);
    reader->next += some;
    i += some;
    if (lmpy_unpack_work(unpack, (unsigned)some) != 0)
      return lmpy_give_up(out, i, n);
  }
  return 0;
}
