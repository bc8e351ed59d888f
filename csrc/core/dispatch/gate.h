/* The gate: where the I/O threads stop for a fork, and learn that they must end.
 *
 * A thread enters before it is started, passes the gate once per turn, and leaves at its end. The caller of
 * lm_gate_shut, lm_gate_open and lm_gate_stop must wake the threads, which do not look at the gate while
 * they sleep. */
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

void lm_gate_enter(struct lm_gate *gate); /* called by the thread that starts it */
void lm_gate_pass(struct lm_gate *gate);  /* waits while the gate is shut */
void lm_gate_leave(struct lm_gate *gate);

bool lm_gate_stopping(const struct lm_gate *gate);
bool lm_gate_parking(const struct lm_gate *gate); /* a fork is waiting: end the turn soon */

void lm_gate_shut(struct lm_gate *gate);
void lm_gate_open(struct lm_gate *gate);
void lm_gate_stop(struct lm_gate *gate);

/* Wait until all threads that have entered wait at the gate, or have left. False: until_ns has passed. */
bool lm_gate_await_parked(struct lm_gate *gate, int64_t until_ns);
bool lm_gate_await_left(struct lm_gate *gate, int64_t until_ns);

#endif
