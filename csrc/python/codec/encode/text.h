/* Columns of texts, of bytes and of what is written as a text: TEXT, UNIQUE. */
#ifndef LMPY_ENCODE_TEXT_H
#define LMPY_ENCODE_TEXT_H

#include "codec/encode/gather.h"

/* As many texts as there are in a row: their number, or -1 and an exception. */
Py_ssize_t lmpy_take_texts(struct lmpy_pack *pack, struct lmpy_gather *gather,
                           PyObject *const *cells, size_t n);
/* The same of a TEXT column whose element is bytes or Decimal. */
Py_ssize_t lmpy_take_text_like(struct lmpy_pack *pack, struct lmpy_gather *gather,
                               PyObject *const *cells, size_t n);
/* To the pack's sections: 0, or -1 and an exception. */
int lmpy_write_texts(struct lmpy_pack *pack, const struct lmpy_gather *gather);

#endif
