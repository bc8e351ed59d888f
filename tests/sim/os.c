/* csrc/core/os/ on the simulator, except for loop and stream (net.c). */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fiber.h"
#include "net.h"
#include "os.h"
#include "os/descriptors.h"
#include "os/event.h"
#include "os/seams.h"
#include "os/stream.h"
#include "os/threads.h"
#include "os/tls.h"
#include "record.h"

enum { LOOK_UP_NS = 300000000, MAX_EVENTS = 4096 };

struct sim_world_options sim_options;
void (*sim_awaited)(void);

static struct {
  void (*before)(void);
  void (*in_parent)(void);
} fork_handlers; /* the dispatcher's, registered once per process */

/* --- seams --- */

static int64_t
now_ns(void)
{
  if (sim_one_in(64))
    sim_switch();
  return sim_now();
}

static int64_t
unix_s(void)
{
  return SIM_EPOCH_S + (sim_now() + lm_periods.wall_shift_ns) / 1000000000 +
         sim_options.clock_error_s;
}

static int
resolve(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
  (void)host;
  sim_sleep(sim_between(0, LOOK_UP_NS));
  if (sim_options.bad_look_ups > 0) {
    sim_options.bad_look_ups--;
    return sim_options.name_unknown ? EAI_NONAME : EAI_AGAIN;
  }
  if (sim_one_in(sim_options.look_up_fails_one_in))
    return sim_one_in(2) ? EAI_AGAIN : EAI_NONAME;
  static const char *const addresses[] = {"192.0.2.1", "192.0.2.2", "2001:db8::1"};
  struct addrinfo numeric = *hints, **end = out;
  numeric.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
  *out = NULL;
  if (sim_one_in(50)) /* an answer without an address */
    return 0;
  for (uint64_t n = sim_one_in(20) ? 20 : 1 + sim_below(3); n > 0; n--) {
    int failed = getaddrinfo(addresses[sim_below(3)], port, &numeric, end);
    if (failed != 0)
      return failed;
    if (sim_one_in(20))
      (*end)->ai_family = AF_UNIX; /* an unknown family */
    while (*end != NULL)
      end = &(*end)->ai_next;
  }
  return 0;
}

struct lm_seams lm_seams = {now_ns, unix_s, sim_unit, resolve, lm_cores};

struct lm_periods lm_periods = LM_PERIODS_DEFAULT;

/* --- threads --- */

int
lm_thread_start(const char *name, void *(*run)(void *), void *argument, struct lm_error *err)
{
  const char *shown = strncmp(name, "lambdamap-", 10) == 0 ? name + 10 : name;
  if (sim_one_in(sim_options.no_thread_one_in) || sim_spawn(shown, run, argument) == NULL)
    return lm_error_set(err, LM_E_SYSTEM, "cannot start a thread");
  if (sim_one_in(sim_options.short_at_thread_one_in))
    sim_starve(1);
  sim_switch();
  return 0;
}

void
lm_thread_stand_back(void)
{
}

int
lm_thread_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
                  struct lm_error *err)
{
  (void)in_child, (void)err;
  fork_handlers.before = before;
  fork_handlers.in_parent = in_parent;
  return 0;
}

void
sim_fork(void)
{
  if (fork_handlers.before == NULL)
    return;
  fork_handlers.before();
  sim_switch();
  fork_handlers.in_parent();
}

void
lm_mutex_init(struct lm_mutex *mutex)
{
  *mutex = (struct lm_mutex){0};
}

void
lm_mutex_destroy(struct lm_mutex *mutex)
{
  (void)mutex;
}

/* An unlock does not hand the mutex over: whoever comes first gets it, as with a real one. */
void
lm_mutex_lock(struct lm_mutex *mutex)
{
  if (sim_one_in(4))
    sim_switch();
  while (mutex->holder != NULL)
    sim_wait(&mutex->waiting, INT64_MAX);
  mutex->holder = sim_self();
}

void
lm_mutex_unlock(struct lm_mutex *mutex)
{
  mutex->holder = NULL;
  sim_wake_one(&mutex->waiting);
  if (sim_one_in(8))
    sim_switch();
}

void
lm_cond_init(struct lm_cond *cond)
{
  *cond = (struct lm_cond){0};
}

void
lm_cond_destroy(struct lm_cond *cond)
{
  (void)cond;
}

void
lm_cond_signal(struct lm_cond *cond)
{
  sim_wake_one(&cond->waiting);
}

void
lm_cond_broadcast(struct lm_cond *cond)
{
  sim_wake_all(&cond->waiting);
}

void
lm_cond_wait(struct lm_cond *cond, struct lm_mutex *mutex)
{
  lm_cond_await(cond, mutex, INT64_MAX);
}

bool
lm_cond_await(struct lm_cond *cond, struct lm_mutex *mutex, int64_t left_ns)
{
  if (left_ns <= 0)
    return false;
  int64_t until = left_ns >= INT64_MAX - sim_now() ? INT64_MAX : sim_now() + left_ns;
  mutex->holder = NULL;
  sim_wake_one(&mutex->waiting);
  bool woken = sim_wait(&cond->waiting, until);
  lm_mutex_lock(mutex);
  return woken;
}

unsigned
lm_cores(void)
{
  return sim_options.cores;
}

/* --- events --- */

static struct {
  bool open, set;
  struct sim_queue waiting;
} events[MAX_EVENTS];
static int n_events; /* one more than the highest one that was open */

int
lm_event_open(struct lm_event *event, struct lm_error *err)
{
  for (int i = 0; i < MAX_EVENTS && !sim_one_in(sim_options.no_event_one_in); i++)
    if (!events[i].open) {
      memset(&events[i], 0, sizeof events[i]);
      events[i].open = true;
      event->read_fd = event->write_fd = i;
      if (i >= n_events)
        n_events = i + 1;
      return 0;
    }
  return lm_error_set(err, LM_E_SYSTEM, "there are no more events");
}

void
lm_event_close(struct lm_event *event)
{
  if (event->read_fd >= 0)
    events[event->read_fd].open = false;
  event->read_fd = event->write_fd = -1;
}

void
lm_event_set(struct lm_event *event)
{
  events[event->write_fd].set = true;
  sim_wake_all(&events[event->write_fd].waiting);
  if (sim_one_in(4))
    sim_switch();
}

bool
lm_event_clear(struct lm_event *event)
{
  bool was_set = events[event->read_fd].set;
  events[event->read_fd].set = false;
  return was_set;
}

bool
sim_await_event(int fd, int64_t until_ns)
{
  while (!events[fd].set)
    if (!sim_wait(&events[fd].waiting, until_ns))
      return events[fd].set;
  return true;
}

int
lm_event_await(int read_fd, int timeout_ms)
{
  bool readable = sim_await_event(read_fd, sim_now() + timeout_ms * (int64_t)1000000);
  if (sim_awaited != NULL)
    sim_awaited();
  return readable;
}

unsigned
sim_events_open(void)
{
  unsigned n = 0;
  for (int i = 0; i < n_events; i++)
    n += events[i].open;
  return n;
}

void
sim_events_forget(void)
{
  memset(events, 0, (size_t)n_events * sizeof events[0]);
  n_events = 0;
}

/* --- memory that is short --- */

static unsigned long fails_from; /* 0: no allocation fails */

void
sim_starve(unsigned long from)
{
  fails_from = from;
  lm_alloc_fail_from(from);
}

void
sim_feed(void)
{
  if (fails_from == 0)
    return;
  unsigned long used = lm_alloc_count();
  fails_from = used < fails_from ? fails_from - used : 1;
  lm_alloc_fail_from(0);
}

void
sim_starve_again(void)
{
  if (fails_from != 0)
    lm_alloc_fail_from(fails_from);
}

/* --- descriptors --- */

bool
lm_descriptors_count(unsigned long *limit, unsigned long *open)
{
  *limit = sim_options.descriptors;
  *open = sim_sockets_open() + sim_options.others_open;
  return !sim_options.uncounted;
}

/* --- TLS: its handshake and its rules are net.c's; there are no certificates --- */

void
lm_tls_set_transport(const char *ssl_version)
{
  (void)ssl_version;
}

bool
lm_tls_store_usable(void)
{
  return sim_options.own_store;
}

const char *
lm_tls_version(void)
{
  return "none";
}

struct x509_store_st *
lm_tls_store(const char *ca_file, const char *ca_path, struct lm_error *err)
{
  static char store;
  (void)ca_file, (void)ca_path;
  if (!sim_one_in(10))
    return (struct x509_store_st *)&store;
  lm_error_set(err, LM_E_SYSTEM, "cannot read the CA certificates");
  return NULL;
}

const char *
lm_tls_default_ca_file(void)
{
  return NULL;
}

void
lm_tls_lock(void)
{
}

void
lm_tls_unlock(void)
{
}

void
lm_tls_use_store(void *ssl_ctx, struct x509_store_st *store)
{
  (void)ssl_ctx, (void)store;
}
