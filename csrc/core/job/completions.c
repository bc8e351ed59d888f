#include "job/completions.h"

#include "job/job.h"
#include "os/seams.h"
#include "os/threads.h"

int
lm_completions_open(struct lm_completions *completions, struct lm_error *err)
{
  if (lm_event_open(&completions->event, err) != 0)
    return -1;
  lm_list_init(&completions->done);
  lm_list_init(&completions->taken);
  lm_mutex_init(&completions->lock);
  lm_cond_init(&completions->quiet);
  return 0;
}

void
lm_completions_clean_up(struct lm_completions *completions)
{
  lm_event_close(&completions->event);
  lm_cond_destroy(&completions->quiet);
  lm_mutex_destroy(&completions->lock);
}

void
lm_completions_expect(struct lm_completions *completions)
{
  atomic_fetch_add(&completions->expected, 1);
}

bool
lm_completions_expects(const struct lm_completions *completions)
{
  return atomic_load(&completions->expected) > 0;
}

/* With the lock held. */
static void
completions_came(struct lm_completions *completions, unsigned n)
{
  if (atomic_fetch_sub(&completions->expected, n) == n)
    lm_cond_broadcast(&completions->quiet);
}

void
lm_completions_forgo(struct lm_completions *completions)
{
  lm_mutex_lock(&completions->lock);
  completions_came(completions, 1);
  lm_mutex_unlock(&completions->lock);
}

void
lm_completions_add(struct lm_completions *completions, struct lm_list *jobs, unsigned n)
{
  lm_mutex_lock(&completions->lock);
  LM_LIST_EACH (jobs, node) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (job->head.status != 200)
      continue;
    lm_latency_add(&completions->latency, job->took_ns);
    lm_bill_add(&completions->bill, job);
  }
  bool ring = !completions->closed && !completions->rung;
  if (!completions->closed)
    lm_list_splice(&completions->done, jobs);
  completions->rung = completions->rung || ring;
  completions_came(completions, n);
  lm_mutex_unlock(&completions->lock);
  if (ring)
    lm_event_set(&completions->event);
}

void
lm_completions_nudge(struct lm_completions *completions)
{
  lm_mutex_lock(&completions->lock);
  completions->rung = true;
  lm_event_set(&completions->event);
  lm_mutex_unlock(&completions->lock);
}

struct lm_job *
lm_completions_take(struct lm_completions *completions)
{
  struct lm_node *node = lm_list_pop_front(&completions->taken);
  if (node == NULL) {
    lm_mutex_lock(&completions->lock);
    lm_list_splice(&completions->taken, &completions->done);
    node = lm_list_pop_front(&completions->taken);
    if (node == NULL && completions->rung && lm_event_clear(&completions->event))
      completions->rung = false;
    lm_mutex_unlock(&completions->lock);
  }
  return node == NULL ? NULL : LM_CONTAINER(node, struct lm_job, link);
}

bool
lm_completions_quiesce(struct lm_completions *completions, int64_t timeout_ms)
{
  int64_t until = lm_seams.now_ns() + timeout_ms * 1000000;
  lm_mutex_lock(&completions->lock);
  while (lm_completions_expects(completions))
    if (!lm_cond_await(&completions->quiet, &completions->lock, until - lm_seams.now_ns()))
      break;
  bool quiet = !lm_completions_expects(completions);
  lm_mutex_unlock(&completions->lock);
  return quiet;
}

void
lm_completions_close(struct lm_completions *completions, struct lm_list *left)
{
  lm_mutex_lock(&completions->lock);
  completions->closed = true;
  lm_list_splice(left, &completions->taken);
  lm_list_splice(left, &completions->done);
  lm_mutex_unlock(&completions->lock);
}

void
lm_completions_latency(struct lm_completions *completions, struct lm_latency *copy)
{
  lm_mutex_lock(&completions->lock);
  *copy = completions->latency;
  lm_mutex_unlock(&completions->lock);
}

void
lm_completions_bill(struct lm_completions *completions, struct lm_bill *copy)
{
  lm_mutex_lock(&completions->lock);
  *copy = completions->bill;
  lm_mutex_unlock(&completions->lock);
}
