/* Dates and naive datetimes as numbers, with the public C API of datetime. */
#ifndef LMPY_ENCODE_DATES_H
#define LMPY_ENCODE_DATES_H

#include "lmpy.h"

/* 1 and *n for an exact date or an exact naive datetime with fold 0; else 0. */
int lmpy_date_number(PyObject *value, uint8_t *element, int64_t *n);

#endif
