/* What the types ask of the module's state. */
#include "net.h"

#include <unistd.h>

struct lm_dispatch *
lmpy_net_dispatch(struct lmpy_net_state *state)
{
  struct lm_error err;
  if (state->dispatch != NULL && state->dispatch->generation != lm_dispatch_generation())
    state->dispatch = NULL; /* the parent's: not touched */
  if (state->dispatch == NULL &&
      lm_dispatch_acquire(state->budget_bytes, &state->dispatch, &err) != 0) {
    state->dispatch = NULL;
    lmpy_raise(&err, PyExc_ValueError);
  }
  return state->dispatch;
}

void
lmpy_stay_if_ended(const struct lmpy_net_state *state, const struct lm_dispatch *dispatch)
{
  if (state->ended != dispatch || pthread_equal(state->ended_by, pthread_self()))
    return;
  Py_BEGIN_ALLOW_THREADS
  for (;;)
    pause();
  Py_END_ALLOW_THREADS
}
