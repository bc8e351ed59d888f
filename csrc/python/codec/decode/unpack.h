/* A frame that is being read: its sections, what it may still cost, and when others get their turn.
 * Under the GIL. */
#ifndef LMPY_DECODE_UNPACK_H
#define LMPY_DECODE_UNPACK_H

#include "codec/decode/budget.h"

#include "wire/columns.h"

struct lmpy_unpack_opts {
  bool allow_pickle;
  PyObject *names; /* borrowed; lambdamap.shipping.lookup.Names, or None: what allow_pickle says */
  PyObject *check; /* borrowed; called now and then, its exception ends the reading; or None */
  struct lm_frame_limits limits;
};

struct lmpy_unpack {
  struct lmpy_codec_state *state;
  const struct lmpy_unpack_opts *opts;
  struct lm_sections sections;
  struct lmpy_budget *budget; /* strong; what columns, containers and kinds still may take */
  unsigned work;              /* values since the last pause */
  int64_t switched_ms;        /* when other threads could run last; 0: not yet */
  unsigned kinds;             /* calls of lambdamap.shipping.kinds */
  bool stopped;               /* a signal's handler or the check has raised */
  int collecting;             /* the collector is off, and was on: on again where others may run */
};

enum {
  LMPY_PAUSE = 1 << 16, /* values between two looks at signals: some milliseconds */
  LMPY_KINDS_PAUSE = 16 /* and calls of lambdamap.shipping.kinds, some of which take milliseconds */
};

/* Heed signals and the caller's check; lmpy_unpack_pause lets other threads run before. */
int lmpy_unpack_look(struct lmpy_unpack *unpack);
int lmpy_unpack_pause(struct lmpy_unpack *unpack);

static inline int
lmpy_unpack_work(struct lmpy_unpack *unpack, unsigned values)
{
  unpack->work += values;
  return unpack->work < LMPY_PAUSE ? 0 : lmpy_unpack_pause(unpack);
}

/* Raise DecodeFailure; NULL, or -1. */
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
