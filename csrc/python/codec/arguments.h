/* Argument parsing for the module's functions: one positional argument, the others by keyword. */
#ifndef LMPY_CODEC_ARGUMENTS_H
#define LMPY_CODEC_ARGUMENTS_H

#include "lmpy.h"

/* Find the keyword arguments: found[i] is the one for names[i], borrowed, or unchanged if not given. All
 * functions: 0, or -1 and an exception. */
int lmpy_take_arguments(const char *function, PyObject *const *args, Py_ssize_t n, PyObject *given,
                        const char *const *names, PyObject **found);
/* Convert an argument; *flag and *size keep their default if it was not given. */
int lmpy_take_flag(PyObject *given, bool *flag);
int lmpy_take_size(PyObject *given, const char *name, size_t *size);

#endif
