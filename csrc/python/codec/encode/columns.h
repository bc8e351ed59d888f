/* Lists as columns: which kind one is, its cells gathered, and the form in which they take the least.
 * ANY, CONST, NULLABLE and SPLIT are forms of any list; each other kind is known to a file of its own. */
#ifndef LMPY_ENCODE_COLUMNS_H
#define LMPY_ENCODE_COLUMNS_H

#include "codec/encode/gather.h"

/* A list as an extension in the pack's structure, of which no cell stays when it fails. */
int lmpy_pack_column(struct lmpy_pack *pack, PyObject *list);

/* One more cell. On failure the gather may hold a part of it: cut it. */
int lmpy_gather_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value);
/* The items of a list, or -1; `list` may change while it is read, which is refused. */
int lmpy_gather_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list);
/* n cells that stay alive meanwhile: 0 when all were taken; LMPY_MISFIT, or -1 and an exception, when
 * some may have been: cut them. Runs nobody's code. */
int lmpy_cells_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                      size_t n);

/* Write `list as one column`, an extension, to the pack's sections. */
int lmpy_gather_write(struct lmpy_pack *pack, struct lmpy_gather *gather);
/* The column alone. */
int lmpy_write_column(struct lmpy_pack *pack, struct lmpy_gather *gather);

#endif
