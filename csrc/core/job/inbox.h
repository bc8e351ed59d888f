/* Where an I/O thread gets jobs from other threads: from CPU threads, and from other I/O threads. */
#ifndef LM_JOB_INBOX_H
#define LM_JOB_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"
#include "os/threads.h"

struct lm_job;

struct lm_inbox {
  atomic_bool filled; /* something was put in since it was last emptied */
  struct lm_mutex lock;
  struct lm_list jobs; /* owned; guarded by lock */
  bool shut;           /* nothing is passed in any more; guarded by lock */
  void (*wake)(void *context);
  void *context; /* borrowed: the thread that empties it */
};

/* `wake` is called after each job, on the thread that put it in. */
void lm_inbox_init(struct lm_inbox *inbox, void (*wake)(void *context), void *context);
void lm_inbox_clean_up(struct lm_inbox *inbox);

/* From any thread. A CPU thread is done with the job (moved), which came from here. */
void lm_inbox_return(struct lm_inbox *inbox, struct lm_job *job);
/* Another I/O thread has claimed an idle connection here for the job (moved). False: it is shut. */
bool lm_inbox_pass(struct lm_inbox *inbox, struct lm_job *job);

/* From its own thread. Move all to *jobs. */
void lm_inbox_empty(struct lm_inbox *inbox, struct lm_list *jobs);
void lm_inbox_shut(struct lm_inbox *inbox);

#endif
