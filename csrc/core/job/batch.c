#include "job/batch.h"

#include <string.h>

#include "base/alloc.h"
#include "os/seams.h"
#include "policy/deadline.h"

int
lm_batch_init(struct lm_batch *batch, const struct lm_batch_opts *opts, struct lm_error *err)
{
  batch->opts = *opts;
  batch->opts.envelope = NULL;
  if (opts->envelope != NULL) {
    char *envelope = lm_alloc(opts->envelope_len + 1);
    if (envelope == NULL)
      return lm_error_nomem(err, opts->envelope_len);
    memcpy(envelope, opts->envelope, opts->envelope_len);
    envelope[opts->envelope_len] = '\0';
    batch->opts.envelope = envelope;
  }
  if (lm_completions_open(&batch->completions, err) != 0)
    goto err_envelope;
  atomic_init(&batch->refs, 1);
  batch->deadline_ns = lm_deadline_in(lm_seams.now_ns(), opts->timeout_ms);
  lm_notes_init(&batch->notes, opts->keep_notes, opts->trace);
  return 0;

err_envelope:
  lm_free((char *)batch->opts.envelope);
  return -1;
}

void
lm_batch_clean_up(struct lm_batch *batch)
{
  lm_completions_clean_up(&batch->completions);
  lm_notes_clean_up(&batch->notes);
  lm_free((char *)batch->opts.envelope);
}

struct lm_batch *
lm_batch_ref(struct lm_batch *batch)
{
  atomic_fetch_add(&batch->refs, 1);
  return batch;
}

void
lm_batch_unref(struct lm_batch *batch)
{
  if (atomic_fetch_sub(&batch->refs, 1) == 1)
    batch->destroy(batch);
}

struct lm_job *
lm_batch_new_job(struct lm_batch *batch, struct lm_buf *frame, uint64_t first_item,
                 uint32_t n_items)
{
  struct lm_job *job = lm_job_new(frame, first_item, n_items);
  if (job == NULL)
    return NULL;
  job->batch = lm_batch_ref(batch);
  job->number = batch->n_jobs++;
  job->asks_report = lm_bill_asks(batch->opts.billing, job->number);
  job->reply.max = batch->opts.max_reply_bytes;
  job->result.max = batch->opts.max_result_bytes;
  return job;
}

void
lm_batch_free_job(struct lm_job *job)
{
  struct lm_batch *batch = job->batch;
  lm_job_destroy(job);
  lm_batch_unref(batch);
}
