/* Lists as columns: find the kind of a list, gather its cells, and write them in the smallest form.
 * ANY, CONST, NULLABLE and SPLIT are forms of any list; each other kind has its own file. */
#ifndef LMPY_ENCODE_COLUMNS_H
#define LMPY_ENCODE_COLUMNS_H

#include "codec/encode/gather.h"

/* Append a list as an extension to the pack's structure. On failure no cell stays in the gather. */
int lmpy_pack_column(struct lmpy_pack *pack, PyObject *list);

/* Add a cell. On failure the gather may contain a part of it: the caller cuts it. */
int lmpy_gather_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value);
/* Add the items of a list, or -1; fails if the list changes meanwhile. */
int lmpy_gather_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list);
/* Add n cells that stay alive meanwhile. 0 if all were taken; LMPY_MISFIT, or -1 and an exception, if
 * some may have been: the caller cuts them. Runs no Python code. */
int lmpy_cells_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *const *cells,
                      size_t n);

/* Write `list as one column`, an extension, to the pack's sections. */
int lmpy_gather_write(struct lmpy_pack *pack, struct lmpy_gather *gather);
/* Write the column only. */
int lmpy_write_column(struct lmpy_pack *pack, struct lmpy_gather *gather);

#endif
