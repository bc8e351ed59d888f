#include "dispatch/dispatch.h"

#include "base/alloc.h"
#include "os/descriptors.h"
#include "os/seams.h"
#include "os/stream.h"
#include "os/threads.h"
#include "os/tls.h"
#include "sched/deliver.h"

enum {
  PARK_MS = 2000 /* usually about a millisecond; for an overloaded machine */
};

static struct lm_mutex process_lock = LM_MUTEX_INITIALIZER;
static struct lm_dispatch *current; /* guarded by process_lock; borrowed */
static bool prepared;               /* libcurl and the fork handlers; guarded by process_lock */
static atomic_uint generation;

unsigned
lm_dispatch_generation(void)
{
  return atomic_load(&generation);
}

/* --- fork --- */

/* Make every I/O thread end its current turn, even if it has been woken already. */
static void
dispatch_wake_all(struct lm_dispatch *dispatch)
{
  for (unsigned i = 0; i < dispatch->crew.n_io; i++)
    lm_loop_wake(dispatch->crew.io[i]->turn.loop);
}

static void
dispatch_before_fork(void)
{
  lm_mutex_lock(&process_lock);
  lm_tls_lock();
  struct lm_dispatch *dispatch = current;
  if (dispatch == NULL)
    return;
  int64_t until = lm_seams.now_ns() + (int64_t)PARK_MS * 1000000;
  lm_gate_shut(&dispatch->crew.gate);
  dispatch_wake_all(dispatch);
  lm_cpu_pool_park(&dispatch->cpu_pool, PARK_MS);
  /* If one is late, no harm is done: the child does not touch what it may be changing. */
  (void)lm_gate_await_parked(&dispatch->crew.gate, until);
}

static void
dispatch_after_fork_in_parent(void)
{
  struct lm_dispatch *dispatch = current;
  if (dispatch != NULL) {
    lm_cpu_pool_unpark(&dispatch->cpu_pool);
    lm_gate_open(&dispatch->crew.gate);
    dispatch_wake_all(
        dispatch); /* one that was late to park may have left work for its next turn */
  }
  lm_tls_unlock();
  lm_mutex_unlock(&process_lock);
}

static void
dispatch_after_fork_in_child(void)
{
  struct lm_dispatch *dispatch = current;
  current = NULL;
  atomic_fetch_add(&generation, 1);
  if (dispatch != NULL)
    for (unsigned i = 0; i < dispatch->crew.n_io; i++)
      lm_io_abandon(dispatch->crew.io[i]);
  lm_tls_unlock();
  lm_mutex_unlock(&process_lock);
}

/* --- life --- */

static int
dispatch_prepare_process(struct lm_error *err)
{
  if (prepared)
    return 0;
  if (lm_stream_prepare(err) != 0 ||
      lm_thread_at_fork(dispatch_before_fork, dispatch_after_fork_in_parent,
                        dispatch_after_fork_in_child, err) != 0)
    return -1;
  prepared = true;
  return 0;
}

static void
dispatch_destroy(struct lm_dispatch *dispatch)
{
  for (unsigned i = 0; i < dispatch->crew.n_io; i++)
    lm_io_destroy(dispatch->crew.io[i]);
  for (unsigned i = 0; i < dispatch->n_endpoints; i++)
    lm_endpoint_unref(dispatch->endpoints[i]);
  lm_cpu_pool_clean_up(&dispatch->cpu_pool);
  lm_sched_clean_up(&dispatch->sched);
  lm_gate_clean_up(&dispatch->crew.gate);
  lm_mutex_destroy(&dispatch->lock);
  lm_free(dispatch);
}

/* Ask all threads to end and wait. False: some have not ended. */
static bool
dispatch_stop_threads(struct lm_dispatch *dispatch, int64_t join_ms)
{
  int64_t until = lm_seams.now_ns() + join_ms * 1000000;
  bool ended = lm_cpu_pool_stop(&dispatch->cpu_pool, join_ms);
  lm_gate_stop(&dispatch->crew.gate);
  for (unsigned i = 0; i < dispatch->crew.n_io; i++)
    lm_io_wake(dispatch->crew.io[i]);
  return lm_gate_await_left(&dispatch->crew.gate, until) && ended;
}

static struct lm_dispatch *
dispatch_new(size_t budget_bytes, struct lm_error *err)
{
  struct lm_dispatch *dispatch = lm_alloc_zero(1, sizeof *dispatch);
  if (dispatch == NULL) {
    lm_error_nomem(err, sizeof *dispatch);
    return NULL;
  }
  unsigned cores = lm_seams.cores();
  unsigned wanted = cores < LM_MAX_IO_THREADS ? cores : LM_MAX_IO_THREADS;
  atomic_init(&dispatch->refs, 1);
  dispatch->generation = lm_dispatch_generation();
  lm_mutex_init(&dispatch->lock);
  lm_gate_init(&dispatch->crew.gate);
  dispatch->crew.sched = &dispatch->sched;
  dispatch->crew.cpu_pool = &dispatch->cpu_pool;
  lm_sched_init(&dispatch->sched, budget_bytes);
  lm_cpu_pool_init(&dispatch->cpu_pool, cores);
  for (; dispatch->crew.n_io < wanted; dispatch->crew.n_io++)
    if ((dispatch->crew.io[dispatch->crew.n_io] =
             lm_io_new(&dispatch->crew, dispatch->crew.n_io, wanted, err)) == NULL)
      goto err_dispatch;
  for (unsigned i = 0; i < wanted; i++) {
    int failed = lm_io_start(dispatch->crew.io[i], err);
    if (failed != 0 && i == 0)
      goto err_dispatch;
    if (failed != 0) { /* go on with fewer */
      while (dispatch->crew.n_io > i)
        lm_io_destroy(dispatch->crew.io[--dispatch->crew.n_io]);
      break;
    }
  }
  return dispatch;

err_dispatch:
  dispatch_destroy(dispatch);
  return NULL;
}

int
lm_dispatch_acquire(size_t budget_bytes, struct lm_dispatch **out, struct lm_error *err)
{
  int result = -1;
  lm_mutex_lock(&process_lock);
  if (dispatch_prepare_process(err) == 0) {
    if (current == NULL)
      current = dispatch_new(budget_bytes, err);
    else
      lm_dispatch_ref(current);
    if (current != NULL) {
      current->holders++;
      *out = current;
      result = 0;
    }
  }
  lm_mutex_unlock(&process_lock);
  return result;
}

void
lm_dispatch_release(struct lm_dispatch *dispatch, int64_t join_ms)
{
  if (dispatch->generation != lm_dispatch_generation())
    return;
  lm_mutex_lock(&process_lock);
  bool last = --dispatch->holders == 0;
  if (last && current == dispatch)
    current = NULL;
  lm_mutex_unlock(&process_lock);
  if (last) {
    struct lm_list queued;
    lm_list_init(&queued);
    lm_sched_close(&dispatch->sched, &queued);
    lm_deliver_unstarted(&queued, LM_FAIL_CANCELLED, "the dispatcher is shutting down");
    if (!dispatch_stop_threads(dispatch, join_ms))
      lm_dispatch_ref(dispatch); /* never freed: a thread still uses it */
  }
  lm_dispatch_unref(dispatch);
}

struct lm_dispatch *
lm_dispatch_ref(struct lm_dispatch *dispatch)
{
  atomic_fetch_add(&dispatch->refs, 1);
  return dispatch;
}

void
lm_dispatch_unref(struct lm_dispatch *dispatch)
{
  if (atomic_fetch_sub(&dispatch->refs, 1) == 1)
    dispatch_destroy(dispatch);
}

void
lm_dispatch_set_budget(struct lm_dispatch *dispatch, size_t budget_bytes)
{
  lm_mutex_lock(&dispatch->sched.lock);
  dispatch->sched.budget_bytes = budget_bytes;
  lm_mutex_unlock(&dispatch->sched.lock);
}

struct lm_endpoint *
lm_dispatch_endpoint(struct lm_dispatch *dispatch, const struct lm_endpoint_spec *spec,
                     struct lm_error *err)
{
  struct lm_endpoint *found = NULL;
  lm_mutex_lock(&dispatch->lock);
  for (unsigned i = 0; i < dispatch->n_endpoints && found == NULL; i++)
    if (lm_endpoint_same(dispatch->endpoints[i], spec))
      found = lm_endpoint_ref(dispatch->endpoints[i]);
  if (found == NULL && (found = lm_endpoint_new(spec, err)) != NULL &&
      dispatch->n_endpoints < sizeof dispatch->endpoints / sizeof dispatch->endpoints[0])
    dispatch->endpoints[dispatch->n_endpoints++] = lm_endpoint_ref(found);
  lm_mutex_unlock(&dispatch->lock);
  return found;
}

unsigned
lm_dispatch_descriptor_cap(const struct lm_dispatch *dispatch)
{
  enum { MOST = 100000, SPARE = 8 /* per I/O thread, for libcurl and others */ };
  unsigned long limit, open, ours = atomic_load(&dispatch->crew.connections);
  if (!lm_descriptors_count(&limit, &open))
    return MOST;
  unsigned long taken =
      (open > ours ? open - ours : 0) + (unsigned long)SPARE * dispatch->crew.n_io;
  if (limit <= taken + 1)
    return 1;
  unsigned long cap = (limit - taken) / 5 * 4;
  return cap < 1 ? 1 : cap > MOST ? MOST : (unsigned)cap;
}

bool
lm_dispatch_closed(struct lm_dispatch *dispatch)
{
  lm_mutex_lock(&dispatch->sched.lock);
  bool closed = dispatch->sched.closed;
  lm_mutex_unlock(&dispatch->sched.lock);
  return closed;
}

void
lm_dispatch_look_again(struct lm_dispatch *dispatch)
{
  lm_sched_look_again(&dispatch->sched);
  lm_io_come_again(&dispatch->crew);
}
