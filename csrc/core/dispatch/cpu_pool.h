/* CPU threads: they encode and decode large requests and replies, so that no I/O thread is busy with one job
 * for long. Started when needed. */
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

/* Have the job's step done (ENCODE, DIGEST or DECODE); then the job is returned to `inbox` with its next step,
 * SEND or ENDED. The job is moved. False: no thread could be started; the job is still the caller's. */
bool lm_cpu_pool_submit(struct lm_cpu_pool *pool, struct lm_inbox *inbox, struct lm_job *job);

/* Start no job from park to unpark. True: no job is running. */
bool lm_cpu_pool_park(struct lm_cpu_pool *pool, int64_t timeout_ms);
void lm_cpu_pool_unpark(struct lm_cpu_pool *pool);

/* End the threads after they have emptied the queue. True: all have ended. */
bool lm_cpu_pool_stop(struct lm_cpu_pool *pool, int64_t timeout_ms);
void lm_cpu_pool_clean_up(struct lm_cpu_pool *pool); /* after lm_cpu_pool_stop has returned true */

#endif
