/* Threads that code large requests and replies, so that no I/O thread is busy with one job for
 * long. Started when first used. */
#ifndef LM_DISPATCH_CPU_POOL_H
#define LM_DISPATCH_CPU_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "job/inbox.h"
#include "job/job.h"
#include "os/threads.h"

enum { LM_CPU_MAX_THREADS = 4 };

struct lm_cpu_pool {
  struct lm_mutex lock;
  struct lm_cond work, changed;
  struct lm_list queue; /* owned jobs */
  unsigned threads, wanted, busy;
  bool stopping, parked;
};

void lm_cpu_pool_init(struct lm_cpu_pool *pool, unsigned threads);

/* Do the job's step, one of ENCODE, DIGEST and DECODE, and put it into the inbox with the one that
 * follows: SEND or ENDED. False: no thread could be started; the job stays the caller's. */
bool lm_cpu_pool_code(struct lm_cpu_pool *pool, struct lm_inbox *inbox, struct lm_job *job);

/* No job is begun after park and before unpark; true once none is under way. */
bool lm_cpu_pool_park(struct lm_cpu_pool *pool, int64_t timeout_ms);
void lm_cpu_pool_unpark(struct lm_cpu_pool *pool);

/* Let the threads end; what is queued is coded before. True: all have ended. */
bool lm_cpu_pool_stop(struct lm_cpu_pool *pool, int64_t timeout_ms);
void lm_cpu_pool_clean_up(struct lm_cpu_pool *pool); /* after stop said true */

#endif
