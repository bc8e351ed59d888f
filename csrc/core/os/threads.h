/* Small things about threads that two files need. */
#ifndef LM_OS_THREADS_H
#define LM_OS_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { LM_MAX_IO_THREADS = 4 };

/* Start a detached thread that blocks every signal, so that Python's handlers run elsewhere. */
int lm_thread_start(const char *name, void *(*run)(void *), void *argument, struct lm_error *err);

/* The calling thread lets others of the process go first: on Linux, where a nice value is a thread's.
 * A long computation at the same priority keeps an I/O thread waiting for tens of milliseconds. */
void lm_thread_stand_back(void);

/* pthread_cond_init and a wait of at most until_ns on the clock of lm_seams' real time; false when
 * the time is over. */
void lm_cond_init(pthread_cond_t *cond);
bool lm_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t left_ns);

unsigned lm_cores(void); /* this process may use, at least 1 */

#endif
