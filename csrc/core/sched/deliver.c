#include "sched/deliver.h"

#include "sched/sched.h"

/* Add jobs of one batch, at least one, to its completions. */
static void
deliver_complete(struct lm_batch *batch, struct lm_list *jobs)
{
  uint64_t sent = 0, received = 0;
  unsigned n = 0;
  LM_LIST_EACH (jobs, node) {
    const struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    sent += job->bytes_sent;
    received += job->bytes_received;
    n++;
  }
  atomic_fetch_add(&batch->stats.bytes_sent, sent);
  atomic_fetch_add(&batch->stats.bytes_received, received);
  lm_completions_add(&batch->completions, jobs, n);
  for (struct lm_node *node; (node = lm_list_pop_front(jobs)) != NULL;) /* the map is closed */
    lm_deliver_release(LM_CONTAINER(node, struct lm_job, link));
}

/* Move the first job and those after it that have the same batch to *run. Returns the batch (a new
 * reference), or NULL if the list is empty. *stop: one of them stops the map. */
static struct lm_batch *
deliver_take_run(struct lm_list *jobs, struct lm_list *run, bool *stop)
{
  struct lm_node *node = lm_list_first(jobs);
  if (node == NULL)
    return NULL;
  struct lm_batch *batch = lm_batch_ref(LM_CONTAINER(node, struct lm_job, link)->batch);
  lm_list_init(run);
  *stop = false;
  for (; node != NULL; node = lm_list_first(jobs)) {
    const struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (job->batch != batch)
      break;
    *stop = *stop || job->stops_map;
    lm_list_remove(node);
    lm_list_push_back(run, node);
  }
  return batch;
}

void
lm_deliver_done(struct lm_list *jobs)
{
  struct lm_list run;
  bool stop;
  for (struct lm_batch *batch; (batch = deliver_take_run(jobs, &run, &stop)) != NULL;) {
    deliver_complete(batch, &run);
    if (stop)
      lm_deliver_queued(LM_CONTAINER(batch, struct lm_queue, batch));
    lm_batch_unref(batch);
  }
}

static void
deliver_never_started(struct lm_job *job, enum lm_failure failure, const char *text)
{
  if (failure == LM_FAIL_DEADLINE && job->starved) {
    failure = LM_FAIL_THROTTLED;
    text = "deadline exceeded: every reply was 429 (throttled)";
  }
  job->outcome = (struct lm_outcome){job->worst.ran, failure, LM_DO_DONE, false};
  lm_error_set(&job->error, LM_E_CLOSED, "%s", text);
}

void
lm_deliver_unstarted(struct lm_list *jobs, enum lm_failure failure, const char *text)
{
  struct lm_list run;
  bool stop; /* unused: the job that stops the map was delivered before */
  LM_LIST_EACH (jobs, node)
    deliver_never_started(LM_CONTAINER(node, struct lm_job, link), failure, text);
  for (struct lm_batch *batch; (batch = deliver_take_run(jobs, &run, &stop)) != NULL;) {
    deliver_complete(batch, &run);
    lm_batch_unref(batch);
  }
}

void
lm_deliver_queued(struct lm_queue *queue)
{
  struct lm_list queued;
  lm_list_init(&queued);
  lm_sched_withdraw(queue->sched, queue, &queued);
  lm_deliver_unstarted(&queued, LM_FAIL_CANCELLED, "the map was cancelled");
}

void
lm_deliver_release(struct lm_job *job)
{
  if (job == NULL)
    return;
  lm_sched_charge(lm_queue_of(job)->sched, job, 0);
  lm_batch_free_job(job);
}
