/* Columns with columns inside: LIST, DICT, TUPLE and FRAMES. What begins or adds returns 0,
 * LMPY_MISFIT, or -1 and an exception. */
#ifndef LMPY_ENCODE_ROWS_H
#define LMPY_ENCODE_ROWS_H

#include "codec/encode/gather.h"

/* Set the kind of a column from its first cell. */
int lmpy_begin_list(struct lmpy_pack *pack, struct lmpy_gather *gather);
int lmpy_begin_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict);
int lmpy_begin_tuple(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *tuple);
int lmpy_begin_frames(struct lmpy_codec_state *state, struct lmpy_gather *gather, PyObject *frame);

/* Add one cell; may run Python code. On failure nothing of it is left. */
int lmpy_add_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list);
int lmpy_add_dict(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *dict);
int lmpy_add_tuple(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *tuple);
int lmpy_add_frame(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *frame);

/* Take the leading cells that run no Python code: their number, or -1 and an exception. */
Py_ssize_t lmpy_take_lists(struct lmpy_pack *pack, struct lmpy_gather *gather,
                           PyObject *const *cells, size_t n);
Py_ssize_t lmpy_take_dicts(struct lmpy_pack *pack, struct lmpy_gather *gather,
                           PyObject *const *cells, size_t n);
Py_ssize_t lmpy_take_tuples(struct lmpy_pack *pack, struct lmpy_gather *gather,
                            PyObject *const *cells, size_t n);

/* Write to the pack's sections: 0, or -1 and an exception. */
int lmpy_write_lists(struct lmpy_pack *pack, struct lmpy_gather *gather);
int lmpy_write_fields(struct lmpy_pack *pack, struct lmpy_gather *gather); /* DICT, TUPLE */
int lmpy_write_frames(struct lmpy_pack *pack, struct lmpy_gather *gather);

#endif
