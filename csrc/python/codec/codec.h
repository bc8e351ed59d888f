/* What the files of lambdamap._codec share: the module's state, packing and unpacking. */
#ifndef LMPY_CODEC_H
#define LMPY_CODEC_H

#include "lmpy.h"

#include "base/buf.h"
#include "wire/frame.h"

enum { LMPY_KEYS = 512, LMPY_KEY_BYTES = 32 /* longer keys are not kept */ };

/* A text that was a dict's key lately. */
struct lmpy_key {
  PyObject *text; /* strong; NULL: empty */
  uint32_t hash;
  uint8_t len;
  char bytes[LMPY_KEY_BYTES];
};

struct lmpy_codec_state {
  PyObject *codec_error, *encode_failure, *decode_failure; /* strong */
  PyTypeObject *packer_type, *chunker_type;                /* strong */
  PyObject *kinds; /* module lambdamap._kinds, imported when first needed; strong or NULL */
  PyObject *reduce, *restore; /* its functions; strong or NULL */
  PyObject *numpy_float64;    /* strong, once numpy was seen; or NULL */
  PyObject *names[8];         /* interned texts; strong */
  struct lm_coder *coder;     /* owned; under the GIL */
  struct lmpy_key keys[LMPY_KEYS];
};

/* The functions of lambdamap._kinds; 0, or -1 and an exception. */
int lmpy_codec_load_kinds(struct lmpy_codec_state *state);

/* --- packing: a value appended to the two sections of a raw frame --- */

struct lmpy_pack {
  struct lmpy_codec_state *state; /* borrowed */
  struct lm_buf structure, numeric;
  bool allow_pickle;
  unsigned depth; /* containers around the present value */
  PyObject *path; /* strong list of what leads to a failure, or NULL */
};

void lmpy_pack_init(struct lmpy_pack *pack, struct lmpy_codec_state *state, bool allow_pickle);
void lmpy_pack_clean_up(struct lmpy_pack *pack);
/* Append one value. -1 and an exception: EncodeFailure(message, path) where the value is at fault;
 * the sections then hold a part of it, to be cut off by the caller. */
int lmpy_pack_value(struct lmpy_pack *pack, PyObject *value);
/* The raw frame of what was packed: new bytes, or NULL and an exception. */
PyObject *lmpy_pack_frame(struct lmpy_pack *pack);

/* Put the way to the failing value on the pending EncodeFailure. Returns NULL. */
PyObject *lmpy_codec_path_error(struct lmpy_pack *pack);

/* --- unpacking --- */

struct lmpy_unpack_opts {
  bool allow_pickle;
  PyObject *resolve; /* borrowed; None: names only of modules in sys.modules */
  struct lm_frame_limits limits;
};

/* The value of a raw frame (new reference). Safe on frames that lm_mpcheck has not seen. */
PyObject *lmpy_unpack(struct lmpy_codec_state *state, const uint8_t *raw, size_t raw_len,
                      const struct lmpy_unpack_opts *opts);

extern PyType_Spec lmpy_packer_spec, lmpy_chunker_spec;

#endif
