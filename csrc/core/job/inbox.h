/* Jobs for an I/O thread from other threads: CPU threads and other I/O threads. */
#ifndef LM_JOB_INBOX_H
#define LM_JOB_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"
#include "os/threads.h"

struct lm_job;

struct lm_inbox {
  atomic_bool filled; /* a job was put in since it was last emptied */
  struct lm_mutex lock;
  struct lm_list jobs; /* owned; guarded by lock */
  bool shut;           /* lm_inbox_pass is refused; guarded by lock */
  void (*wake)(void *context);
  void *context; /* borrowed */
};

/* `wake` is called for each job, on the thread that puts it in. */
void lm_inbox_init(struct lm_inbox *inbox, void (*wake)(void *context), void *context);
void lm_inbox_clean_up(struct lm_inbox *inbox);

/* From a CPU thread: return a job (moved) that came from this I/O thread. */
void lm_inbox_return(struct lm_inbox *inbox, struct lm_job *job);
/* From another I/O thread, which has claimed an idle connection of this one for the job (moved on success).
 * False: the inbox is shut. */
bool lm_inbox_pass(struct lm_inbox *inbox, struct lm_job *job);

/* From the inbox's own thread: move all jobs to *jobs. */
void lm_inbox_empty(struct lm_inbox *inbox, struct lm_list *jobs);
void lm_inbox_shut(struct lm_inbox *inbox); /* lm_inbox_pass is refused from now on */

#endif
