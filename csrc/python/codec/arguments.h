/* The arguments of the module's functions: one without a name, the others by keyword. */
#ifndef LMPY_CODEC_ARGUMENTS_H
#define LMPY_CODEC_ARGUMENTS_H

#include "lmpy.h"

/* The keyword arguments behind the one that has none, where the caller gave them: *found[i] is the one
 * of names[i], borrowed. All: 0, or -1 and an exception. */
int lmpy_take_arguments(const char *function, PyObject *const *args, Py_ssize_t n, PyObject *given,
                        const char *const *names, PyObject **found);
/* What was given, or where nothing was, what *flag and *size are already. */
int lmpy_take_flag(PyObject *given, bool *flag);
int lmpy_take_size(PyObject *given, const char *name, size_t *size);

#endif
