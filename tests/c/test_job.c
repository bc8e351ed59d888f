/* job/: a batch counts its jobs, completions wake the taking thread, an inbox passes jobs. */
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "check.h"
#include "job/batch.h"
#include "job/coding.h"
#include "job/inbox.h"

#define MAP "00000000000000000000000000000000"

static unsigned destroyed;

static void
destroy(struct lm_batch *batch)
{
  lm_batch_clean_up(batch);
  destroyed++;
}

static void
open_batch(struct lm_batch *batch)
{
  static const struct lm_batch_opts opts = {
      .timeout_ms = -1, .max_reply_bytes = 100, .max_result_bytes = 200};
  struct lm_error err;
  memset(batch, 0, sizeof *batch);
  batch->destroy = destroy;
  destroyed = 0;
  CHECK(lm_batch_init(batch, &opts, &err) == 0);
}

static struct lm_job *
new_job(struct lm_batch *batch, uint64_t first_item)
{
  struct lm_buf frame;
  lm_buf_init(&frame, 10);
  lm_buf_str(&frame, "frame");
  struct lm_job *job = lm_batch_new_job(batch, &frame, first_item, 1);
  CHECK(job != NULL && frame.len == 0 && job->frame.len == 5);
  CHECK(job->reply.max == 100 && job->result.max == 200);
  return job;
}

static bool
is_readable(const struct lm_batch *batch)
{
  struct pollfd ask = {.fd = batch->completions.event.read_fd, .events = POLLIN};
  return poll(&ask, 1, 0) == 1;
}

static void
complete(struct lm_batch *batch, struct lm_job *job)
{
  struct lm_list one;
  lm_list_init(&one);
  lm_list_push_back(&one, &job->link);
  lm_completions_add(&batch->completions, &one, 1);
  CHECK(lm_list_empty(&one) == !batch->completions.closed);
  (void)lm_list_pop_front(&one); /* still the caller's */
}

static void
a_batch_lives_as_long_as_its_jobs(void)
{
  struct lm_batch batch;
  open_batch(&batch);
  struct lm_job *first = new_job(&batch, 0), *second = new_job(&batch, 1);
  lm_batch_free_job(first);
  lm_batch_unref(&batch);
  CHECK(destroyed == 0);
  lm_batch_free_job(second);
  CHECK(destroyed == 1 && lm_alloc_live() == 0);
}

static void
what_is_done_is_taken_in_order(void)
{
  struct lm_batch batch;
  open_batch(&batch);
  struct lm_completions *completions = &batch.completions;
  struct lm_latency latency;
  for (uint64_t i = 0; i < 3; i++)
    lm_completions_expect(completions);
  CHECK(lm_completions_expects(completions) && !lm_completions_quiesce(completions, 0));
  CHECK(lm_completions_take(completions) == NULL && !is_readable(&batch));
  for (uint64_t i = 0; i < 2; i++) {
    struct lm_job *job = new_job(&batch, i);
    job->head.status = i == 0 ? 200 : 500;
    complete(&batch, job);
  }
  CHECK(is_readable(&batch));
  for (uint64_t i = 0; i < 2; i++) {
    struct lm_job *job = lm_completions_take(completions);
    CHECK(job != NULL && job->first_item == i);
    lm_batch_free_job(job);
  }
  CHECK(lm_completions_take(completions) == NULL && !is_readable(&batch));
  lm_completions_nudge(completions);
  CHECK(is_readable(&batch) && lm_completions_take(completions) == NULL && !is_readable(&batch));
  CHECK(lm_completions_expects(completions));
  lm_completions_forgo(completions);
  CHECK(lm_completions_quiesce(completions, 0));
  lm_completions_latency(completions, &latency);
  CHECK(latency.total == 1); /* only replies with 200 */
  lm_batch_unref(&batch);
  CHECK(lm_alloc_live() == 0);
}

/* After a close, added jobs stay the caller's, and no thread is woken. */
static void
closed(void)
{
  struct lm_batch batch;
  struct lm_list left;
  lm_list_init(&left);
  open_batch(&batch);
  struct lm_job *late = new_job(&batch, 2);
  for (uint64_t i = 0; i < 3; i++)
    lm_completions_expect(&batch.completions);
  complete(&batch, new_job(&batch, 0));
  complete(&batch, new_job(&batch, 1));
  struct lm_job *taken = lm_completions_take(&batch.completions);
  CHECK(taken->first_item == 0);
  lm_batch_free_job(taken);
  lm_completions_close(&batch.completions, &left);
  struct lm_job *job = LM_CONTAINER(lm_list_pop_front(&left), struct lm_job, link);
  CHECK(job->first_item == 1 && lm_list_empty(&left));
  lm_batch_free_job(job);
  CHECK(lm_completions_take(&batch.completions) == NULL && !is_readable(&batch));
  complete(&batch, late);
  CHECK(!is_readable(&batch) && !lm_completions_expects(&batch.completions));
  lm_batch_free_job(late);
  lm_batch_unref(&batch);
  CHECK(destroyed == 1 && lm_alloc_live() == 0);
}

static void
count(void *context)
{
  ++*(unsigned *)context;
}

/* Once it is shut, other I/O threads keep their jobs; CPU threads can still return theirs. */
static void
inbox(void)
{
  struct lm_batch batch;
  struct lm_inbox inbox;
  struct lm_list jobs;
  unsigned woken = 0;
  lm_list_init(&jobs);
  open_batch(&batch);
  lm_inbox_init(&inbox, count, &woken);
  struct lm_job *job = new_job(&batch, 0), *other = new_job(&batch, 1);
  lm_inbox_empty(&inbox, &jobs);
  CHECK(lm_list_empty(&jobs));
  CHECK(lm_inbox_pass(&inbox, job) && job->passed);
  lm_inbox_return(&inbox, other);
  CHECK(woken == 2 && !other->passed);
  lm_inbox_empty(&inbox, &jobs);
  CHECK(lm_list_pop_front(&jobs) == &job->link && lm_list_pop_front(&jobs) == &other->link);
  lm_inbox_shut(&inbox);
  CHECK(!lm_inbox_pass(&inbox, job) && woken == 2);
  lm_inbox_return(&inbox, job);
  lm_inbox_empty(&inbox, &jobs);
  CHECK(woken == 3 && lm_list_pop_front(&jobs) == &job->link && lm_list_empty(&jobs));
  lm_inbox_clean_up(&inbox);
  lm_batch_free_job(job);
  lm_batch_free_job(other);
  lm_batch_unref(&batch);
  CHECK(lm_alloc_live() == 0);
}

/* What a reply says of the function does not depend on whether there is memory to decode it. */
static void
decoding_without_a_coder(void)
{
  struct lm_batch batch;
  open_batch(&batch);
  batch.opts.envelope = "{";
  strcpy(batch.opts.map_id, MAP);
  struct lm_job *job = new_job(&batch, 0);
  job->head.status = 400;
  lm_buf_str(&job->reply, "{\"Type\": \"User\"}");
  lm_coding_complete(NULL, job);
  CHECK(job->outcome.ran == LM_RAN_NOT && job->outcome.failure == LM_FAIL_CONFIG);
  lm_buf_clear(&job->reply);
  job->head.status = 200;
  job->reply.max = 200;
  lm_buf_str(&job->reply,
             "{\"lambdamap\":{\"protocol\":1,\"map\":\"" MAP "\",\"chunk\":0,\"done\":1},"
             "\"r\":\"lm1:AAAA\"}");
  lm_coding_complete(NULL, job);
  CHECK(job->outcome.ran == LM_RAN_YES && job->outcome.failure == LM_FAIL_MEMORY);
  lm_batch_free_job(job);
  batch.opts.envelope = NULL;
  lm_batch_unref(&batch);
  CHECK(lm_alloc_live() == 0);
}

/* Whether an emulator drops the header of a function error or not: what has run is split only if it may run
 * again. */
static void
splitting_what_has_run(void)
{
  struct lm_batch batch;
  open_batch(&batch);
  batch.opts.envelope = "{";
  struct lm_job *job = new_job(&batch, 0);
  job->n_items = 2;
  job->head.status = 200;
  lm_buf_str(&job->reply, "{\"errorType\":\"Function.ResponseSizeTooLarge\"}");
  for (int i = 0; i < 4; i++) {
    job->head.has_function_error = i & 1;
    batch.opts.idempotent = i & 2;
    lm_coding_complete(NULL, job);
    CHECK(job->outcome.ran == LM_RAN_YES && job->outcome.failure == LM_FAIL_TOO_LARGE);
    CHECK(job->outcome.action == (batch.opts.idempotent ? LM_DO_SPLIT : LM_DO_DONE));
  }
  lm_batch_free_job(job);
  batch.opts.envelope = NULL;
  lm_batch_unref(&batch);
  CHECK(lm_alloc_live() == 0);
}

int
main(void)
{
  decoding_without_a_coder();
  splitting_what_has_run();
  a_batch_lives_as_long_as_its_jobs();
  what_is_done_is_taken_in_order();
  closed();
  inbox();
  return 0;
}
