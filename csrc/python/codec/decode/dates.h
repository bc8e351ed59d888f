/* Dates and naive datetimes from numbers, with the public C API of datetime. */
#ifndef LMPY_DECODE_DATES_H
#define LMPY_DECODE_DATES_H

#include "lmpy.h"

/* NULL and an exception if out of range. */
PyObject *lmpy_date_from(uint8_t element, int64_t n);

#endif
