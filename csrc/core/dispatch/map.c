#include "dispatch/map.h"

#include <string.h>

#include "base/alloc.h"
#include "dispatch/dispatch.h"
#include "os/seams.h"

static void
map_destroy(struct lm_batch *batch)
{
  struct lm_map *map = LM_CONTAINER(batch, struct lm_map, queue.batch);
  lm_sched_remove_queue(&map->dispatch->sched, &map->queue);
  lm_target_unref(batch->target);
  lm_batch_clean_up(batch);
  lm_dispatch_unref(map->dispatch);
  lm_free(map);
}

int
lm_map_open(struct lm_dispatch *dispatch, struct lm_target *target,
            const struct lm_batch_opts *opts, struct lm_map **out, struct lm_error *err)
{
  struct lm_map *map = lm_alloc_zero(1, sizeof *map);
  if (map == NULL)
    return lm_error_nomem(err, sizeof *map);
  struct lm_queue *queue = &map->queue;
  if (lm_batch_init(&queue->batch, opts, err) != 0)
    goto err_map;
  queue->batch.destroy = map_destroy;
  queue->function = target->function;
  queue->renewal = &target->renewal;
  queue->max_attempts = target->max_attempts;
  queue->connect_patience_ns = target->connect_patience_ns;
  if (lm_sched_add_queue(&dispatch->sched, queue, opts->bound_id, target->max_concurrency, err) !=
      0)
    goto err_batch;
  queue->batch.target = lm_target_ref(target);
  map->dispatch = lm_dispatch_ref(dispatch);
  *out = map;
  return 0;

err_batch:
  lm_batch_clean_up(&queue->batch);
err_map:
  lm_free(map);
  return -1;
}

void
lm_map_unref(struct lm_map *map)
{
  if (map != NULL)
    lm_batch_unref(&map->queue.batch);
}

int
lm_map_fd(const struct lm_map *map)
{
  return map->queue.batch.completions.event.read_fd;
}

/* --- submitting --- */

static void
map_complete_at_once(struct lm_job *job, enum lm_failure failure, const char *text)
{
  struct lm_list one;
  lm_list_init(&one);
  lm_list_push_back(&one, &job->link);
  lm_deliver_unstarted(&one, failure, text);
}

int
lm_map_submit(struct lm_map *map, struct lm_buf *frame, uint64_t first_item, uint32_t n_items,
              const char *durable_name, struct lm_error *err)
{
  struct lm_batch *batch = &map->queue.batch;
  struct lm_sched *sched = &map->dispatch->sched;
  if (batch->completions.closed)
    return lm_error_set(err, LM_E_CLOSED, "the map is closed");
  struct lm_job *job = lm_batch_new_job(batch, frame, first_item, n_items);
  if (job == NULL)
    return lm_error_nomem(err, sizeof *job);
  if (durable_name != NULL && lm_job_name(job, durable_name) != 0) {
    lm_error_nomem(err, strlen(durable_name) + 1);
    goto err_job;
  }
  job->queued_ns = lm_seams.now_ns();
  lm_completions_expect(&batch->completions);
  if (lm_batch_given_up(batch)) {
    map_complete_at_once(job, LM_FAIL_CANCELLED, "the map was cancelled");
    return 0;
  }
  if (batch->deadline_ns <= job->queued_ns) {
    map_complete_at_once(job, LM_FAIL_DEADLINE, "deadline exceeded before the chunk was sent");
    return 0;
  }
  bool may_start;
  if (lm_sched_submit(sched, job, &may_start, err) != 0)
    goto err_expected;
  if (lm_batch_given_up(batch)) /* meanwhile: this job was not among those withdrawn */
    lm_deliver_queued(&map->queue);
  if (may_start)
    lm_io_kick(&map->dispatch->crew);
  if (atomic_load(&sched->sooner))
    lm_io_come_again(&map->dispatch->crew);
  return 0;

err_expected:
  lm_completions_forgo(&batch->completions);
err_job:
  lm_buf_move(frame, &job->frame);
  lm_batch_free_job(job);
  return -1;
}

struct lm_job *
lm_map_take(struct lm_map *map)
{
  return lm_completions_take(&map->queue.batch.completions);
}

/* --- ending --- */

void
lm_map_cancel(struct lm_map *map)
{
  struct lm_batch *batch = &map->queue.batch;
  if (atomic_exchange(&batch->cancelled, true))
    return;
  lm_deliver_queued(&map->queue);
  if (lm_completions_expects(&batch->completions))
    lm_io_drop_cancelled(&map->dispatch->crew);
}

bool
lm_map_quiesce(struct lm_map *map, int64_t timeout_ms)
{
  return lm_completions_quiesce(&map->queue.batch.completions, timeout_ms);
}

void
lm_map_close(struct lm_map *map)
{
  struct lm_list left;
  lm_list_init(&left);
  lm_completions_close(&map->queue.batch.completions, &left);
  for (struct lm_node *node; (node = lm_list_pop_front(&left)) != NULL;)
    lm_deliver_release(LM_CONTAINER(node, struct lm_job, link));
  lm_map_cancel(map);
}
