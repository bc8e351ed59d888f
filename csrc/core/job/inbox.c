#include "job/inbox.h"

#include "job/job.h"
#include "os/threads.h"

void
lm_inbox_init(struct lm_inbox *inbox, void (*wake)(void *context), void *context)
{
  *inbox = (struct lm_inbox){.wake = wake, .context = context};
  lm_mutex_init(&inbox->lock);
  lm_list_init(&inbox->jobs);
}

void
lm_inbox_clean_up(struct lm_inbox *inbox)
{
  lm_mutex_destroy(&inbox->lock);
}

static bool
inbox_post(struct lm_inbox *inbox, struct lm_job *job, bool passed)
{
  lm_mutex_lock(&inbox->lock);
  bool taken = !passed || !inbox->shut;
  if (taken) {
    job->passed = passed;
    lm_list_push_back(&inbox->jobs, &job->link);
    atomic_store(&inbox->filled, true); /* so that a thread that shuts it next sees this job */
  }
  lm_mutex_unlock(&inbox->lock);
  if (taken)
    inbox->wake(inbox->context);
  return taken;
}

void
lm_inbox_return(struct lm_inbox *inbox, struct lm_job *job)
{
  (void)inbox_post(inbox, job, false);
}

bool
lm_inbox_pass(struct lm_inbox *inbox, struct lm_job *job)
{
  return inbox_post(inbox, job, true);
}

void
lm_inbox_empty(struct lm_inbox *inbox, struct lm_list *jobs)
{
  if (!atomic_exchange(&inbox->filled, false))
    return;
  lm_mutex_lock(&inbox->lock);
  lm_list_splice(jobs, &inbox->jobs);
  lm_mutex_unlock(&inbox->lock);
}

void
lm_inbox_shut(struct lm_inbox *inbox)
{
  lm_mutex_lock(&inbox->lock);
  inbox->shut = true;
  lm_mutex_unlock(&inbox->lock);
}
