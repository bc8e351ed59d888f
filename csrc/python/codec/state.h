/* The state of lambdamap._codec: its types, what it has met of other modules, and what it keeps from
 * one call for the next. Under the GIL, but for a coder that was taken. */
#ifndef LMPY_CODEC_STATE_H
#define LMPY_CODEC_STATE_H

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
  PyObject *codec_error, *encode_failure, *decode_failure, *entangled; /* strong */
  PyTypeObject *packer_type, *chunker_type, *budget_type;              /* strong */
  PyObject *kinds; /* module lambdamap.shipping.kinds, imported when first needed; strong or NULL */
  PyObject *reduce, *restore; /* its functions; strong or NULL */
  PyObject *data, *trusted;   /* lambdamap.shipping.lookup.DATA and TRUSTED; strong or NULL */
  /* numpy's, decimal's and pandas', once met; strong or NULL */
  PyTypeObject *float64, *int64, *decimal, *frame, *series;
  PyObject *names[16];          /* interned texts; strong */
  struct lm_coder *coder;       /* owned; under the GIL */
  struct lm_coder *spare_coder; /* owned or NULL; who takes it may use it without the GIL */
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
  LMPY_RELEASE_BYTES = 16384, /* from here on others may run while bytes are deflated */
  LMPY_KEPT_BYTES = 1 << 20   /* of buffers kept for the next call */
};

/* A buffer that is no longer needed: kept for the next call when nothing is, and it is not large. */
void lmpy_state_keep(struct lm_buf *spare, struct lm_buf *buf);

/* A coder for one thread: the spare one, or a new one; NULL when out of memory. Given back under the
 * GIL. */
struct lm_coder *lmpy_state_take_coder(struct lmpy_codec_state *state);
void lmpy_state_give_coder(struct lmpy_codec_state *state, struct lm_coder *coder);

#endif
