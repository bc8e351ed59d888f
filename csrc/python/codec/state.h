/* The state of lambdamap._codec: its types, types of other modules found so far, and buffers kept between
 * calls. Under the GIL, except a coder that was taken. */
#ifndef LMPY_CODEC_STATE_H
#define LMPY_CODEC_STATE_H

#include "lmpy.h"

#include "base/buf.h"
#include "wire/frame.h"

enum { LMPY_KEYS = 512, LMPY_KEY_BYTES = 32 /* longer keys are not kept */ };

/* A recently decoded key of a dict. */
struct lmpy_key {
  PyObject *text; /* strong; NULL: empty */
  uint32_t hash;
  uint8_t len;
  char bytes[LMPY_KEY_BYTES];
};

struct lmpy_codec_state {
  PyObject *codec_error, *encode_failure, *decode_failure, *entangled, *pickle_refused; /* strong */
  PyTypeObject *packer_type, *chunker_type, *budget_type, *digester_type;               /* strong */
  PyObject *kinds; /* module lambdamap.shipping.kinds, imported when first needed; strong or NULL */
  PyObject *reduce, *restore; /* functions of kinds; strong or NULL */
  PyObject *data, *trusted;   /* lambdamap.shipping.lookup.DATA and TRUSTED; strong or NULL */
  /* types of numpy, decimal and pandas, once found; strong or NULL */
  PyTypeObject *float64, *int64, *decimal, *frame, *series;
  PyObject *names[16];          /* interned texts; strong */
  struct lm_coder *coder;       /* owned; under the GIL */
  struct lm_coder *spare_coder; /* owned or NULL; may be used without the GIL once taken */
  struct lmpy_gather *spare;    /* kept from the last list; owned or NULL */
  struct lm_buf spare_bufs[4];  /* kept from the last encode */
  struct lm_buf spare_raw;      /* and from the last decode */
  struct lmpy_key keys[LMPY_KEYS];
};

enum lmpy_name {
  LMPY_REDUCE,
  LMPY_RESTORE,
  LMPY_FLOAT64,
  LMPY_INT64,
  LMPY_DECIMAL,
  LMPY_DATAFRAME,
  LMPY_SERIES,
  LMPY_FRAME_SHAPE,
  LMPY_FRAME_SNAPSHOT,
  LMPY_FRAMES_REDUCE,
  LMPY_DATA,
  LMPY_TRUSTED,
  LMPY_MODULE,
  LMPY_NUMPY,
  LMPY_FROM_SIGNAL,
  LMPY_WHOLE
};

enum {
  LMPY_RELEASE_BYTES = 16384, /* from this size on the GIL is released while deflating */
  LMPY_KEPT_BYTES = 1 << 20   /* maximum size of a buffer kept for the next call */
};

/* Keep a buffer for the next call, if none is kept yet and it is not large; else free it. */
void lmpy_state_keep(struct lm_buf *spare, struct lm_buf *buf);

/* Take a coder for use by one thread: the spare one or a new one; NULL when out of memory. Given back
 * under the GIL. */
struct lm_coder *lmpy_state_take_coder(struct lmpy_codec_state *state);
void lmpy_state_give_coder(struct lmpy_codec_state *state, struct lm_coder *coder);

#endif
