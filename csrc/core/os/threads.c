#include "os/threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STAND_BACK = 10 }; /* a tenth of the processor beside a busy thread */

int
lm_thread_start(const char *name, void *(*run)(void *), void *argument, struct lm_error *err)
{
  pthread_t thread;
  pthread_attr_t detached;
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int failed = pthread_create(&thread, &detached, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&detached);
  if (failed != 0) /* without its errno, so that Python raises what its own threads do */
    return lm_error_set(err, failed == ENOMEM ? LM_E_NOMEM : LM_E_SYSTEM,
                        "cannot start a thread: %s (see ulimit -u, and the memory that is free)",
                        strerror(failed));
#if defined(__linux__)
  (void)pthread_setname_np(thread, name);
#else
  (void)name;
#endif
  return 0;
}

void
lm_thread_stand_back(void)
{
#if defined(__linux__)
  if (nice(STAND_BACK) == -1)
    return; /* a sandbox forbids it: as before */
#endif
}

void
lm_cond_init(pthread_cond_t *cond)
{
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
  pthread_cond_init(cond, &attr);
  pthread_condattr_destroy(&attr);
}

bool
lm_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t left_ns)
{
  struct timespec until;
  if (left_ns <= 0)
    return false;
#if defined(__APPLE__)
  clock_gettime(CLOCK_REALTIME, &until);
#else
  clock_gettime(CLOCK_MONOTONIC, &until);
#endif
  until.tv_sec += (time_t)(left_ns / 1000000000);
  until.tv_nsec += (long)(left_ns % 1000000000);
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}

unsigned
lm_cores(void)
{
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
    return (unsigned)CPU_COUNT(&set);
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (unsigned)online : 1;
}
