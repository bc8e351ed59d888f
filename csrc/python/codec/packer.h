/* ChunkPacker: `[spec, [item, ...]]` as raw frames, chunk after chunk. */
#ifndef LMPY_CODEC_PACKER_H
#define LMPY_CODEC_PACKER_H

#include "lmpy.h"

extern PyType_Spec lmpy_packer_spec;

#endif
