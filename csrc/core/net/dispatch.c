#include "net/dispatch.h"

#include <curl/curl.h>
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/deliver.h"
#include "net/seams.h"
#include "net/threads.h"
#include "net/tls.h"
#include "policy/deadline.h"

enum {
  PARK_MS = 2000,        /* takes about a millisecond; this is for a machine that is overrun */
  OLDEST_CURL = 0x074c00 /* 7.76.0 */
};

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lm_dispatch *current; /* guarded by process_lock; borrowed from its holders */
static bool prepared;               /* libcurl and the fork handlers; guarded by process_lock */
static atomic_uint generation;

unsigned
lm_dispatch_generation(void)
{
  return atomic_load(&generation);
}

const char *
lm_dispatch_curl_version(void)
{
  return curl_version_info(CURLVERSION_NOW)->version;
}

/* --- fork --- */

/* Every I/O thread ends its present turn, whether it was about to be woken or not. */
static void
wake_all(struct lm_dispatch *dispatch)
{
  for (unsigned i = 0; i < dispatch->n_io; i++)
    lm_loop_wake(dispatch->io[i]->loop);
}

static void
before_fork(void)
{
  pthread_mutex_lock(&process_lock);
  lm_tls_lock();
  struct lm_dispatch *dispatch = current;
  if (dispatch == NULL)
    return;
  int64_t until = lm_seams.now_ns() + (int64_t)PARK_MS * 1000000;
  atomic_store(&dispatch->parking, true);
  wake_all(dispatch);
  lm_cpu_pool_park(&dispatch->cpu_pool, PARK_MS);
  pthread_mutex_lock(&dispatch->lock);
  while (dispatch->parked < dispatch->running)
    if (!lm_cond_wait(&dispatch->changed, &dispatch->lock, until - lm_seams.now_ns()))
      break; /* the child leaves everything alone that a late thread may be changing */
  pthread_mutex_unlock(&dispatch->lock);
}

static void
after_fork_in_parent(void)
{
  struct lm_dispatch *dispatch = current;
  if (dispatch != NULL) {
    lm_cpu_pool_unpark(&dispatch->cpu_pool);
    pthread_mutex_lock(&dispatch->lock);
    atomic_store(&dispatch->parking, false);
    pthread_cond_broadcast(&dispatch->changed);
    pthread_mutex_unlock(&dispatch->lock);
    wake_all(dispatch); /* one that had not come to park may have left work for its next turn */
  }
  lm_tls_unlock();
  pthread_mutex_unlock(&process_lock);
}

static void
after_fork_in_child(void)
{
  struct lm_dispatch *dispatch = current;
  current = NULL;
  atomic_fetch_add(&generation, 1);
  if (dispatch != NULL)
    for (unsigned i = 0; i < dispatch->n_io; i++)
      lm_io_abandon(dispatch->io[i]);
  lm_tls_unlock();
  pthread_mutex_unlock(&process_lock);
}

/* --- life --- */

static int
prepare_process(struct lm_error *err)
{
  if (prepared)
    return 0;
  const curl_version_info_data *have = curl_version_info(CURLVERSION_NOW);
  if (have->version_num < OLDEST_CURL)
    return lm_error_set(err, LM_E_VERSION, "libcurl %s is too old: 7.76 or newer is needed",
                        have->version);
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return lm_error_set(err, LM_E_SYSTEM, "libcurl cannot be initialised");
  lm_tls_set_transport(have->ssl_version);
  int failed = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  if (failed != 0)
    return lm_error_system(err, failed, "pthread_atfork");
  prepared = true;
  return 0;
}

static void
destroy(struct lm_dispatch *dispatch)
{
  for (unsigned i = 0; i < dispatch->n_io; i++)
    lm_io_destroy(dispatch->io[i]);
  for (unsigned i = 0; i < dispatch->n_endpoints; i++)
    lm_endpoint_unref(dispatch->endpoints[i]);
  lm_cpu_pool_clean_up(&dispatch->cpu_pool);
  lm_sched_clean_up(&dispatch->sched);
  pthread_cond_destroy(&dispatch->changed);
  pthread_mutex_destroy(&dispatch->lock);
  lm_free(dispatch);
}

/* Ask all threads to end and wait. False: some have not. */
static bool
stop_threads(struct lm_dispatch *dispatch, int64_t join_ms)
{
  int64_t until = lm_seams.now_ns() + join_ms * 1000000;
  bool ended = lm_cpu_pool_stop(&dispatch->cpu_pool, join_ms);
  atomic_store(&dispatch->stopping, true);
  pthread_mutex_lock(&dispatch->lock);
  for (unsigned i = 0; i < dispatch->n_io; i++)
    lm_io_wake(dispatch->io[i]);
  while (dispatch->running > 0)
    if (!lm_cond_wait(&dispatch->changed, &dispatch->lock, until - lm_seams.now_ns()))
      break;
  ended = ended && dispatch->running == 0;
  pthread_mutex_unlock(&dispatch->lock);
  return ended;
}

static struct lm_dispatch *
new_dispatch(size_t budget_bytes, struct lm_error *err)
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
  pthread_mutex_init(&dispatch->lock, NULL);
  lm_cond_init(&dispatch->changed);
  lm_sched_init(&dispatch->sched, budget_bytes);
  lm_cpu_pool_init(&dispatch->cpu_pool, cores);
  for (; dispatch->n_io < wanted; dispatch->n_io++)
    if ((dispatch->io[dispatch->n_io] = lm_io_new(dispatch, dispatch->n_io, err)) == NULL)
      goto err_dispatch;
  for (unsigned i = 0; i < wanted; i++) {
    pthread_mutex_lock(&dispatch->lock);
    int failed = lm_io_start(dispatch->io[i], err);
    dispatch->running += failed == 0;
    pthread_mutex_unlock(&dispatch->lock);
    if (failed != 0 && i == 0)
      goto err_dispatch;
    if (failed != 0) { /* fewer will do */
      while (dispatch->n_io > i)
        lm_io_destroy(dispatch->io[--dispatch->n_io]);
      break;
    }
  }
  return dispatch;

err_dispatch:
  destroy(dispatch);
  return NULL;
}

int
lm_dispatch_acquire(size_t budget_bytes, struct lm_dispatch **out, struct lm_error *err)
{
  int result = -1;
  pthread_mutex_lock(&process_lock);
  if (prepare_process(err) == 0) {
    if (current == NULL)
      current = new_dispatch(budget_bytes, err);
    else
      lm_dispatch_ref(current);
    if (current != NULL) {
      current->holders++;
      *out = current;
      result = 0;
    }
  }
  pthread_mutex_unlock(&process_lock);
  return result;
}

void
lm_dispatch_release(struct lm_dispatch *dispatch, int64_t join_ms)
{
  if (dispatch->generation != lm_dispatch_generation())
    return;
  pthread_mutex_lock(&process_lock);
  bool last = --dispatch->holders == 0;
  if (last && current == dispatch)
    current = NULL;
  pthread_mutex_unlock(&process_lock);
  if (last) {
    struct lm_list queued;
    lm_list_init(&queued);
    lm_sched_close(&dispatch->sched, &queued);
    lm_deliver_unstarted(&queued, LM_FAIL_CANCELLED, "the dispatcher is shutting down");
    if (!stop_threads(dispatch, join_ms))
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
    destroy(dispatch);
}

void
lm_dispatch_set_budget(struct lm_dispatch *dispatch, size_t budget_bytes)
{
  pthread_mutex_lock(&dispatch->sched.lock);
  dispatch->sched.budget_bytes = budget_bytes;
  pthread_mutex_unlock(&dispatch->sched.lock);
}

struct lm_endpoint *
lm_dispatch_endpoint(struct lm_dispatch *dispatch, const struct lm_endpoint_spec *spec,
                     struct lm_error *err)
{
  struct lm_endpoint *found = NULL;
  pthread_mutex_lock(&dispatch->lock);
  for (unsigned i = 0; i < dispatch->n_endpoints && found == NULL; i++)
    if (lm_endpoint_same(dispatch->endpoints[i], spec))
      found = lm_endpoint_ref(dispatch->endpoints[i]);
  if (found == NULL && (found = lm_endpoint_new(spec, err)) != NULL &&
      dispatch->n_endpoints < sizeof dispatch->endpoints / sizeof dispatch->endpoints[0])
    dispatch->endpoints[dispatch->n_endpoints++] = lm_endpoint_ref(found);
  pthread_mutex_unlock(&dispatch->lock);
  return found;
}

unsigned
lm_dispatch_descriptor_cap(const struct lm_dispatch *dispatch)
{
  enum { MOST = 100000, SPARE = 8 /* an I/O thread: libcurl's own, and some slack */ };
  struct rlimit limit;
  unsigned long open = 0, ours = atomic_load(&dispatch->connections);
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return MOST;
  DIR *folder = opendir("/proc/self/fd");
  if (folder != NULL) {
    while (readdir(folder) != NULL)
      open++;
    closedir(folder);
  }
  unsigned long taken = (open > ours ? open - ours : 0) + (unsigned long)SPARE * dispatch->n_io;
  if (limit.rlim_cur <= taken + 1)
    return 1;
  unsigned long cap = (limit.rlim_cur - taken) / 5 * 4;
  return cap < 1 ? 1 : cap > MOST ? MOST : (unsigned)cap;
}

bool
lm_dispatch_closed(struct lm_dispatch *dispatch)
{
  pthread_mutex_lock(&dispatch->sched.lock);
  bool closed = dispatch->sched.closed;
  pthread_mutex_unlock(&dispatch->sched.lock);
  return closed;
}

/* --- wake-ups --- */

struct lm_io *
lm_dispatch_least_busy(const struct lm_dispatch *dispatch)
{
  struct lm_io *least = dispatch->io[0];
  for (unsigned i = 1; i < dispatch->n_io; i++)
    if (atomic_load(&dispatch->io[i]->load) < atomic_load(&least->load))
      least = dispatch->io[i];
  return least;
}

void
lm_dispatch_kick(struct lm_dispatch *dispatch)
{
  struct lm_io *chosen = NULL;
  for (unsigned i = 0; i < dispatch->n_io && chosen == NULL; i++)
    if (!atomic_load(&dispatch->io[i]->behind))
      chosen = dispatch->io[i];
  lm_io_wake(chosen != NULL ? chosen : lm_dispatch_least_busy(dispatch));
}

void
lm_dispatch_look_again(struct lm_dispatch *dispatch)
{
  lm_sched_look_again(&dispatch->sched);
  lm_dispatch_come_again(dispatch);
}

void
lm_dispatch_drop_cancelled(struct lm_dispatch *dispatch)
{
  for (unsigned i = 0; i < dispatch->n_io; i++) {
    atomic_store(&dispatch->io[i]->look_for_cancelled, true);
    lm_io_wake(dispatch->io[i]);
  }
}

void
lm_dispatch_drop_idle(struct lm_dispatch *dispatch)
{
  for (unsigned i = 0; i < dispatch->n_io; i++) {
    atomic_store(&dispatch->io[i]->drop_idle, true);
    lm_io_wake(dispatch->io[i]);
  }
}

bool
lm_dispatch_stopping(const struct lm_dispatch *dispatch)
{
  return atomic_load(&dispatch->stopping);
}

bool
lm_dispatch_parking(const struct lm_dispatch *dispatch)
{
  return atomic_load(&dispatch->parking);
}

void
lm_dispatch_park_point(struct lm_dispatch *dispatch)
{
  if (!atomic_load(&dispatch->parking))
    return;
  pthread_mutex_lock(&dispatch->lock);
  dispatch->parked++;
  pthread_cond_broadcast(&dispatch->changed);
  while (atomic_load(&dispatch->parking))
    pthread_cond_wait(&dispatch->changed, &dispatch->lock);
  dispatch->parked--;
  pthread_mutex_unlock(&dispatch->lock);
}

void
lm_dispatch_thread_ended(struct lm_dispatch *dispatch)
{
  pthread_mutex_lock(&dispatch->lock);
  dispatch->running--;
  pthread_cond_broadcast(&dispatch->changed);
  pthread_mutex_unlock(&dispatch->lock);
}

void
lm_dispatch_tick(struct lm_dispatch *dispatch, int64_t now_ns)
{
  struct lm_list expired;
  if (now_ns < lm_sched_due(&dispatch->sched))
    return;
  lm_list_init(&expired);
  lm_sched_tick(&dispatch->sched, now_ns, &expired);
  lm_deliver_unstarted(&expired, LM_FAIL_DEADLINE, "the time was over before this chunk was sent");
}

void
lm_dispatch_come_again(struct lm_dispatch *dispatch)
{
  atomic_store(&dispatch->sched.sooner, false);
  lm_io_wake(dispatch->io[0]);
}
