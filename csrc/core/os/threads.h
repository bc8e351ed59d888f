/* Threads, mutexes and conditions. The only file of the core that uses pthreads. */
#ifndef LM_OS_THREADS_H
#define LM_OS_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { LM_MAX_IO_THREADS = 4 };

/* Start a detached thread that blocks all signals, so that they go to Python's threads. */
int lm_thread_start(const char *name, void *(*run)(void *), void *argument, struct lm_error *err);

/* Lower the calling thread's priority (on Linux, where the nice value is per thread). A long computation
 * at the same priority would delay an I/O thread by tens of milliseconds. */
void lm_thread_stand_back(void);

/* Call these at every fork from now on, as pthread_atfork does. */
int lm_thread_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
                      struct lm_error *err);

struct lm_mutex {
  pthread_mutex_t os;
};
#define LM_MUTEX_INITIALIZER                                                                       \
  {                                                                                                \
    PTHREAD_MUTEX_INITIALIZER                                                                      \
  }

void lm_mutex_init(struct lm_mutex *mutex);
void lm_mutex_destroy(struct lm_mutex *mutex);
void lm_mutex_lock(struct lm_mutex *mutex);
void lm_mutex_unlock(struct lm_mutex *mutex);

struct lm_cond {
  pthread_cond_t os;
};

void lm_cond_init(struct lm_cond *cond);
void lm_cond_destroy(struct lm_cond *cond);
void lm_cond_signal(struct lm_cond *cond);
void lm_cond_broadcast(struct lm_cond *cond);
/* With the mutex held, which is released while waiting. May wake up spuriously. */
void lm_cond_wait(struct lm_cond *cond, struct lm_mutex *mutex);
/* The same for at most left_ns. False: timed out. */
bool lm_cond_await(struct lm_cond *cond, struct lm_mutex *mutex, int64_t left_ns);

unsigned lm_cores(void); /* that this process may use, at least 1 */

#endif
