/* What a sweep does (sweep.c), and how its chunks must end by what has left and what was read (expect.c). */
#ifndef LM_SIM_SWEEP_H
#define LM_SIM_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "lambda.h"
#include "net.h"
#include "policy/outcome.h"
#include "world.h"

enum { SIM_FAILURES = LM_FAIL_SYSTEM + 1 };

/* What a complete reply to the scripted request means. */
struct sim_verdict {
  enum lm_ran ran;
  enum lm_failure failure; /* LM_FAIL_NONE: the chunk is sent again, and all is well */
  bool stops;              /* the map */
};

struct sim_sweep {
  const char *rows; /* of the fault matrix */
  const char *what;
  const char
      *expects; /* each way in which a map may end, and one must: "once", or the largest word */
  struct sim_simple world;
  unsigned faults; /* a bit each */
  bool in_requests, in_replies;
  unsigned seeds;      /* so many worlds, with other spellings */
  unsigned odd, close; /* one in so many replies */
  struct sim_script script;
  struct sim_verdict verdict;
  enum sim_refusal then;                /* of all connections but the first */
  int64_t timeout_ms, pause_ns, gap_ns; /* 0: none; between chunks */
};

/* How the chunks of a map ended: with results, or with a word and a failure. */
struct sim_tally {
  unsigned done, failed[LM_RAN_YES + 1][SIM_FAILURES];
  uint64_t runs;
};

/* The same of one connection over HTTP/2 (sweep_h2.c). */
bool sim_sweep_h2(uint64_t *runs);

/* After a run: how they did, and how they must. */
void sim_count(struct sim_tally *is);
void sim_expect(const struct sim_sweep *sweep, struct sim_tally *want);
/* A difference is a broken promise. */
void sim_compare(const struct sim_tally *is, const struct sim_tally *want);
/* Where one request was answered with something that is not HTTP. */
void sim_check_garbage(const struct sim_tally *is);

/* Remember the run without a fault, for those of the same seed with one. */
void sim_remember_usual(void);
/* Whether a byte had left of a request that was on the first connection when that ended. */
bool sim_was_lost(void);

#endif
