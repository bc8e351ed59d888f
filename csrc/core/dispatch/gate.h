/* Where the I/O threads stand still for a fork, and how they are told to end.
 *
 * A thread enters before it is started, passes once a turn, and leaves as its last act. Whoever shuts
 * the gate, opens it or stops the threads wakes them as well: none looks here while it sleeps. */
#ifndef LM_DISPATCH_GATE_H
#define LM_DISPATCH_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/threads.h"

struct lm_gate {
  struct lm_mutex lock;
  struct lm_cond changed;
  unsigned running, parked; /* threads; guarded by lock */
  atomic_bool parking, stopping;
};

void lm_gate_init(struct lm_gate *gate);
void lm_gate_clean_up(struct lm_gate *gate);

void lm_gate_enter(struct lm_gate *gate); /* on the starter's thread */
void lm_gate_pass(struct lm_gate *gate);  /* waits while the gate is shut */
void lm_gate_leave(struct lm_gate *gate);

bool lm_gate_stopping(const struct lm_gate *gate);
bool lm_gate_parking(const struct lm_gate *gate); /* a fork waits: end the turn soon */

void lm_gate_shut(struct lm_gate *gate);
void lm_gate_open(struct lm_gate *gate);
void lm_gate_stop(struct lm_gate *gate);

/* Wait until all who have entered stand at the gate, or have left. False: it is until_ns before. */
bool lm_gate_await_parked(struct lm_gate *gate, int64_t until_ns);
bool lm_gate_await_left(struct lm_gate *gate, int64_t until_ns);

#endif
