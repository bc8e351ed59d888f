/* The state of decoding: sections, budget, and pauses for signals and other threads. Under the GIL. */
#ifndef LMPY_DECODE_UNPACK_H
#define LMPY_DECODE_UNPACK_H

#include "codec/decode/budget.h"

#include "wire/columns.h"

struct lmpy_unpack_opts {
  bool allow_pickle;
  PyObject
      *names; /* borrowed; lambdamap.shipping.lookup.Names, or None: derived from allow_pickle */
  PyObject *check; /* borrowed; called periodically, its exception ends decoding; or None */
  struct lm_frame_limits limits;
};

struct lmpy_unpack {
  struct lmpy_codec_state *state;
  const struct lmpy_unpack_opts *opts;
  struct lm_sections sections;
  struct lmpy_budget *budget; /* strong; for columns, containers and kinds */
  unsigned work;              /* values since the last pause */
  int64_t switched_ms;        /* when the GIL was last released; 0: not yet */
  unsigned kinds;             /* number of calls of lambdamap.shipping.kinds */
  bool stopped;               /* a signal handler or the check raised */
  int collecting; /* gc was enabled and is now disabled; restored when other threads run */
};

enum {
  LMPY_PAUSE = 1 << 16, /* values between two checks for signals: a few milliseconds */
  LMPY_KINDS_PAUSE = 16 /* calls of lambdamap.shipping.kinds, some of which take milliseconds */
};

/* Run signal handlers and the caller's check; lmpy_unpack_pause releases the GIL before that. */
int lmpy_unpack_look(struct lmpy_unpack *unpack);
int lmpy_unpack_pause(struct lmpy_unpack *unpack);

static inline int
lmpy_unpack_work(struct lmpy_unpack *unpack, unsigned values)
{
  unpack->work += values;
  return unpack->work < LMPY_PAUSE ? 0 : lmpy_unpack_pause(unpack);
}

/* Raise DecodeFailure. Return NULL, or -1. */
PyObject *lmpy_unpack_refuse(struct lmpy_unpack *unpack, const char *text);

static inline int
lmpy_unpack_bad(struct lmpy_unpack *unpack, const char *text)
{
  lmpy_unpack_refuse(unpack, text);
  return -1;
}

static inline int
lmpy_unpack_charge(struct lmpy_unpack *unpack, uint64_t bytes)
{
  return lmpy_budget_charge(unpack->budget, bytes);
}

#endif
