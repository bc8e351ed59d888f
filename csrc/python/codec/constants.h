/* Numbers of the wire format, and limits, as attributes of lambdamap._codec. */
#ifndef LMPY_CODEC_CONSTANTS_H
#define LMPY_CODEC_CONSTANTS_H

#include "lmpy.h"

/* 0, or -1 and an exception. */
int lmpy_add_constants(PyObject *module);

#endif
