/* Replaces csrc/core/os/threads.h: the same names, on coroutines of one thread. */
#ifndef LM_OS_THREADS_H
#define LM_OS_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fiber.h"

enum { LM_MAX_IO_THREADS = 4 };

int lm_thread_start(const char *name, void *(*run)(void *), void *argument, struct lm_error *err);
void lm_thread_stand_back(void);
int lm_thread_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
                      struct lm_error *err);

struct lm_mutex {
  struct sim_fiber *holder;
  struct sim_queue waiting;
};
#define LM_MUTEX_INITIALIZER                                                                       \
  {                                                                                                \
    0,                                                                                             \
    {                                                                                              \
      0, 0                                                                                         \
    }                                                                                              \
  }

void lm_mutex_init(struct lm_mutex *mutex);
void lm_mutex_destroy(struct lm_mutex *mutex);
void lm_mutex_lock(struct lm_mutex *mutex);
void lm_mutex_unlock(struct lm_mutex *mutex);

struct lm_cond {
  struct sim_queue waiting;
};

void lm_cond_init(struct lm_cond *cond);
void lm_cond_destroy(struct lm_cond *cond);
void lm_cond_signal(struct lm_cond *cond);
void lm_cond_broadcast(struct lm_cond *cond);
void lm_cond_wait(struct lm_cond *cond, struct lm_mutex *mutex);
bool lm_cond_await(struct lm_cond *cond, struct lm_mutex *mutex, int64_t left_ns);

unsigned lm_cores(void);

#endif
