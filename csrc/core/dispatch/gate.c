#include "dispatch/gate.h"

#include "os/seams.h"
#include "os/threads.h"

void
lm_gate_init(struct lm_gate *gate)
{
  *gate = (struct lm_gate){.running = 0};
  lm_mutex_init(&gate->lock);
  lm_cond_init(&gate->changed);
}

void
lm_gate_clean_up(struct lm_gate *gate)
{
  lm_cond_destroy(&gate->changed);
  lm_mutex_destroy(&gate->lock);
}

void
lm_gate_enter(struct lm_gate *gate)
{
  lm_mutex_lock(&gate->lock);
  gate->running++;
  lm_mutex_unlock(&gate->lock);
}

void
lm_gate_pass(struct lm_gate *gate)
{
  if (!atomic_load(&gate->parking))
    return;
  lm_mutex_lock(&gate->lock);
  gate->parked++;
  lm_cond_broadcast(&gate->changed);
  while (atomic_load(&gate->parking))
    lm_cond_wait(&gate->changed, &gate->lock);
  gate->parked--;
  lm_mutex_unlock(&gate->lock);
}

void
lm_gate_leave(struct lm_gate *gate)
{
  lm_mutex_lock(&gate->lock);
  gate->running--;
  lm_cond_broadcast(&gate->changed);
  lm_mutex_unlock(&gate->lock);
}

bool
lm_gate_stopping(const struct lm_gate *gate)
{
  return atomic_load(&gate->stopping);
}

bool
lm_gate_parking(const struct lm_gate *gate)
{
  return atomic_load(&gate->parking);
}

void
lm_gate_shut(struct lm_gate *gate)
{
  atomic_store(&gate->parking, true);
}

void
lm_gate_open(struct lm_gate *gate)
{
  lm_mutex_lock(&gate->lock);
  atomic_store(&gate->parking, false);
  lm_cond_broadcast(&gate->changed);
  lm_mutex_unlock(&gate->lock);
}

void
lm_gate_stop(struct lm_gate *gate)
{
  atomic_store(&gate->stopping, true);
}

bool
lm_gate_await_parked(struct lm_gate *gate, int64_t until_ns)
{
  lm_mutex_lock(&gate->lock);
  while (gate->parked < gate->running)
    if (!lm_cond_await(&gate->changed, &gate->lock, until_ns - lm_seams.now_ns()))
      break;
  bool parked = gate->parked >= gate->running;
  lm_mutex_unlock(&gate->lock);
  return parked;
}

bool
lm_gate_await_left(struct lm_gate *gate, int64_t until_ns)
{
  lm_mutex_lock(&gate->lock);
  while (gate->running > 0)
    if (!lm_cond_await(&gate->changed, &gate->lock, until_ns - lm_seams.now_ns()))
      break;
  bool left = gate->running == 0;
  lm_mutex_unlock(&gate->lock);
  return left;
}
