/* Digester: an iterator over another one's items that takes their digests. */
#ifndef LMPY_CODEC_DIGESTER_H
#define LMPY_CODEC_DIGESTER_H

#include "lmpy.h"

extern PyType_Spec lmpy_digester_spec;

#endif
