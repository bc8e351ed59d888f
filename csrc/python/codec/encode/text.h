/* Columns of str, bytes and types written as text: TEXT, UNIQUE. */
#ifndef LMPY_ENCODE_TEXT_H
#define LMPY_ENCODE_TEXT_H

#include "codec/encode/gather.h"

/* Take the leading cells that are texts: their number, or -1 and an exception. */
Py_ssize_t lmpy_take_texts(struct lmpy_pack *pack, struct lmpy_gather *gather,
                           PyObject *const *cells, size_t n);
/* The same for a TEXT column whose element is bytes or Decimal. */
Py_ssize_t lmpy_take_text_like(struct lmpy_pack *pack, struct lmpy_gather *gather,
                               PyObject *const *cells, size_t n);
/* Write to the pack's sections: 0, or -1 and an exception. */
int lmpy_write_texts(struct lmpy_pack *pack, const struct lmpy_gather *gather);

#endif
