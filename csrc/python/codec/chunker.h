/* Chunker: policy/chunk.h for Python. */
#ifndef LMPY_CODEC_CHUNKER_H
#define LMPY_CODEC_CHUNKER_H

#include "lmpy.h"

extern PyType_Spec lmpy_chunker_spec;

#endif
