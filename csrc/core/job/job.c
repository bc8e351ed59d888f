#include "job/job.h"

#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"

struct lm_job *
lm_job_new(struct lm_buf *frame, uint64_t first_item, uint32_t n_items)
{
  struct lm_job *job = lm_alloc_zero(1, sizeof *job);
  if (job == NULL)
    return NULL;
  job->first_item = first_item;
  job->n_items = n_items;
  lm_buf_move(&job->frame, frame);
  lm_buf_init(&job->body, LM_MAX_REQUEST_BYTES);
  lm_buf_init(&job->reply, SIZE_MAX);
  lm_buf_init(&job->result, SIZE_MAX);
  return job;
}

int
lm_job_name(struct lm_job *job, const char *durable_name)
{
  size_t size = strlen(durable_name) + 1;
  job->durable_name = lm_alloc(size);
  if (job->durable_name == NULL)
    return -1;
  memcpy(job->durable_name, durable_name, size);
  return 0;
}

void
lm_job_destroy(struct lm_job *job)
{
  if (job == NULL)
    return;
  lm_buf_clean_up(&job->result);
  lm_buf_clean_up(&job->reply);
  lm_buf_clean_up(&job->body);
  lm_buf_clean_up(&job->frame);
  lm_free(job->durable_name);
  lm_free(job);
}
