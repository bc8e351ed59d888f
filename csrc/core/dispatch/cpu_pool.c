#include "dispatch/cpu_pool.h"

#include "job/coding.h"
#include "os/seams.h"
#include "os/threads.h"
#include "transport/sigv4.h"

void
lm_cpu_pool_init(struct lm_cpu_pool *pool, unsigned threads)
{
  *pool =
      (struct lm_cpu_pool){.wanted = threads < LM_CPU_MAX_THREADS ? threads : LM_CPU_MAX_THREADS};
  lm_mutex_init(&pool->lock);
  lm_cond_init(&pool->work);
  lm_cond_init(&pool->changed);
  lm_list_init(&pool->queue);
}

void
lm_cpu_pool_clean_up(struct lm_cpu_pool *pool)
{
  lm_cond_destroy(&pool->changed);
  lm_cond_destroy(&pool->work);
  lm_mutex_destroy(&pool->lock);
}

static void
cpu_pool_digest(struct lm_sigv4 *signer, struct lm_job *job)
{
  int64_t now_ns = lm_seams.now_ns();
  lm_coding_patch(job, now_ns);
  if (lm_sigv4_digest(signer, job->body.data, job->body.len, job->body_digest))
    job->digested_ns = now_ns;
}

/* Owned by one thread; NULL until there was memory for it. */
struct cpu_pool_tools {
  struct lm_coder *coder;
  struct lm_sigv4 *signer;
};

/* Do the job's step and return the next one. */
static enum lm_step
cpu_pool_do_step(struct cpu_pool_tools *tools, struct lm_job *job)
{
  if (tools->coder == NULL)
    tools->coder = lm_coder_new();
  if (tools->signer == NULL)
    tools->signer = lm_sigv4_new();
  if (job->step == LM_STEP_DECODE) {
    lm_coding_complete(tools->coder, job);
    return LM_STEP_ENDED;
  }
  if (tools->coder == NULL || tools->signer == NULL) {
    lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_MEMORY, "out of memory");
    return LM_STEP_ENDED;
  }
  if (job->step == LM_STEP_ENCODE && !lm_coding_request(tools->coder, job))
    return LM_STEP_ENDED;
  cpu_pool_digest(tools->signer, job);
  return LM_STEP_SEND;
}

static void *
cpu_pool_run(void *argument)
{
  struct lm_cpu_pool *pool = argument;
  struct cpu_pool_tools tools = {0};
  lm_thread_stand_back();
  lm_mutex_lock(&pool->lock);
  for (;;) {
    while (pool->parked || (lm_list_empty(&pool->queue) && !pool->stopping))
      lm_cond_wait(&pool->work, &pool->lock);
    struct lm_node *node = lm_list_pop_front(&pool->queue);
    if (node == NULL)
      break;
    pool->busy++;
    lm_mutex_unlock(&pool->lock);
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    job->step = cpu_pool_do_step(&tools, job);
    lm_inbox_return(job->inbox, job);
    lm_mutex_lock(&pool->lock);
    pool->busy--;
    lm_cond_broadcast(&pool->changed);
  }
  pool->threads--;
  lm_cond_broadcast(&pool->changed);
  lm_mutex_unlock(&pool->lock);
  lm_sigv4_destroy(tools.signer);
  lm_coder_destroy(tools.coder);
  return NULL;
}

bool
lm_cpu_pool_submit(struct lm_cpu_pool *pool, struct lm_inbox *inbox, struct lm_job *job)
{
  struct lm_error err;
  bool taken = true;
  lm_mutex_lock(&pool->lock);
  if (!pool->stopping && pool->threads < pool->wanted && pool->busy == pool->threads &&
      lm_thread_start("lambdamap-cpu", cpu_pool_run, pool, &err) == 0)
    pool->threads++;
  if (pool->stopping || pool->threads == 0) {
    taken = false;
  } else {
    job->inbox = inbox;
    lm_list_push_back(&pool->queue, &job->link);
    lm_cond_signal(&pool->work);
  }
  lm_mutex_unlock(&pool->lock);
  return taken;
}

/* With the lock held: wait until *count is 0. */
static bool
cpu_pool_wait_for_none(struct lm_cpu_pool *pool, const unsigned *count, int64_t timeout_ms)
{
  int64_t until = lm_seams.now_ns() + timeout_ms * 1000000;
  while (*count > 0)
    if (!lm_cond_await(&pool->changed, &pool->lock, until - lm_seams.now_ns()))
      break;
  return *count == 0;
}

bool
lm_cpu_pool_park(struct lm_cpu_pool *pool, int64_t timeout_ms)
{
  lm_mutex_lock(&pool->lock);
  pool->parked = true;
  bool none = cpu_pool_wait_for_none(pool, &pool->busy, timeout_ms);
  lm_mutex_unlock(&pool->lock);
  return none;
}

void
lm_cpu_pool_unpark(struct lm_cpu_pool *pool)
{
  lm_mutex_lock(&pool->lock);
  pool->parked = false;
  lm_cond_broadcast(&pool->work);
  lm_mutex_unlock(&pool->lock);
}

bool
lm_cpu_pool_stop(struct lm_cpu_pool *pool, int64_t timeout_ms)
{
  lm_mutex_lock(&pool->lock);
  pool->stopping = true;
  lm_cond_broadcast(&pool->work);
  bool none = cpu_pool_wait_for_none(pool, &pool->threads, timeout_ms);
  lm_mutex_unlock(&pool->lock);
  return none;
}
