#include "os/threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STAND_BACK = 10 }; /* a nice value: about a tenth of the CPU beside a busy thread */

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
  if (failed != 0) /* os_errno stays 0: RuntimeError, as Python's own threads raise */
    return lm_error_set(err, failed == ENOMEM ? LM_E_NOMEM : LM_E_SYSTEM,
                        "cannot start a thread: %s (check ulimit -u and free memory)",
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
    return; /* forbidden in this sandbox: go on at the same priority */
#endif
}

int
lm_thread_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
                  struct lm_error *err)
{
  int failed = pthread_atfork(before, in_parent, in_child);
  return failed == 0 ? 0 : lm_error_system(err, failed, "pthread_atfork");
}

/* --- mutexes and conditions --- */

void
lm_mutex_init(struct lm_mutex *mutex)
{
  pthread_mutex_init(&mutex->os, NULL);
}

void
lm_mutex_destroy(struct lm_mutex *mutex)
{
  pthread_mutex_destroy(&mutex->os);
}

void
lm_mutex_lock(struct lm_mutex *mutex)
{
  pthread_mutex_lock(&mutex->os);
}

void
lm_mutex_unlock(struct lm_mutex *mutex)
{
  pthread_mutex_unlock(&mutex->os);
}

void
lm_cond_init(struct lm_cond *cond)
{
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
  pthread_cond_init(&cond->os, &attr);
  pthread_condattr_destroy(&attr);
}

void
lm_cond_destroy(struct lm_cond *cond)
{
  pthread_cond_destroy(&cond->os);
}

void
lm_cond_signal(struct lm_cond *cond)
{
  pthread_cond_signal(&cond->os);
}

void
lm_cond_broadcast(struct lm_cond *cond)
{
  pthread_cond_broadcast(&cond->os);
}

void
lm_cond_wait(struct lm_cond *cond, struct lm_mutex *mutex)
{
  pthread_cond_wait(&cond->os, &mutex->os);
}

bool
lm_cond_await(struct lm_cond *cond, struct lm_mutex *mutex, int64_t left_ns)
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
  return pthread_cond_timedwait(&cond->os, &mutex->os, &until) != ETIMEDOUT;
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
