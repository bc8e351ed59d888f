#include "net/map.h"

#include <string.h>

#include "base/alloc.h"
#include "net/dispatch.h"
#include "net/seams.h"
#include "net/threads.h"
#include "policy/deadline.h"

int
lm_map_open(struct lm_dispatch *dispatch, struct lm_target *target, const struct lm_map_opts *opts,
            struct lm_map **out, struct lm_error *err)
{
  struct lm_map *map = lm_alloc_zero(1, sizeof *map);
  if (map == NULL)
    return lm_error_nomem(err, sizeof *map);
  map->opts = *opts;
  map->opts.head = NULL;
  if (opts->head != NULL) {
    char *head = lm_alloc(opts->head_len + 1);
    if (head == NULL) {
      lm_error_nomem(err, opts->head_len);
      goto err_map;
    }
    memcpy(head, opts->head, opts->head_len);
    head[opts->head_len] = '\0';
    map->opts.head = head;
  }
  if (lm_event_open(&map->event, err) != 0)
    goto err_head;
  atomic_init(&map->refs, 1);
  map->dispatch = lm_dispatch_ref(dispatch);
  map->target = lm_target_ref(target);
  map->deadline_ns = lm_deadline_in(lm_seams.now_ns(), opts->timeout_ms);
  lm_list_init(&map->ready);
  lm_list_init(&map->retry);
  lm_list_init(&map->done);
  lm_list_init(&map->taken);
  pthread_mutex_init(&map->lock, NULL);
  lm_cond_init(&map->quiet);
  lm_notes_init(&map->notes, opts->keep_notes, opts->trace);
  if (lm_sched_add_map(&dispatch->sched, map, opts->bound_id, target->max_concurrency, err) != 0)
    goto err_notes;
  *out = map;
  return 0;

err_notes:
  lm_notes_clean_up(&map->notes);
  pthread_cond_destroy(&map->quiet);
  pthread_mutex_destroy(&map->lock);
  lm_target_unref(map->target);
  lm_dispatch_unref(map->dispatch);
  lm_event_close(&map->event);
err_head:
  lm_free((char *)map->opts.head);
err_map:
  lm_free(map);
  return -1;
}

struct lm_map *
lm_map_ref(struct lm_map *map)
{
  atomic_fetch_add(&map->refs, 1);
  return map;
}

void
lm_map_unref(struct lm_map *map)
{
  if (map == NULL || atomic_fetch_sub(&map->refs, 1) != 1)
    return;
  lm_sched_remove_map(&map->dispatch->sched, map);
  lm_event_close(&map->event);
  lm_notes_clean_up(&map->notes);
  pthread_cond_destroy(&map->quiet);
  pthread_mutex_destroy(&map->lock);
  lm_target_unref(map->target);
  lm_dispatch_unref(map->dispatch);
  lm_free((char *)map->opts.head);
  lm_free(map);
}

int
lm_map_fd(const struct lm_map *map)
{
  return map->event.read_fd;
}

/* --- submitting --- */

static void
never_started(struct lm_job *job, enum lm_failure failure, const char *text)
{
  if (failure == LM_FAIL_DEADLINE && job->starved) {
    failure = LM_FAIL_THROTTLED;
    text = "the time was over, and every answer was 429 (throttled)";
  }
  job->outcome = (struct lm_outcome){job->worst.ran, failure, LM_DO_DONE, false};
  lm_error_set(&job->error, LM_E_CLOSED, "%s", text);
}

int
lm_map_submit(struct lm_map *map, struct lm_buf *frame, uint64_t first_item, uint32_t n_items,
              struct lm_error *err)
{
  return lm_map_submit_named(map, frame, first_item, n_items, NULL, err);
}

int
lm_map_submit_named(struct lm_map *map, struct lm_buf *frame, uint64_t first_item, uint32_t n_items,
                    const char *durable_name, struct lm_error *err)
{
  if (map->closed)
    return lm_error_set(err, LM_E_CLOSED, "this map is closed");
  struct lm_job *job = lm_job_new(map, frame, first_item, n_items);
  if (job == NULL)
    return lm_error_nomem(err, sizeof *job);
  if (durable_name != NULL && lm_job_name(job, durable_name) != 0) {
    lm_buf_move(frame, &job->frame);
    lm_job_destroy(job);
    return lm_error_nomem(err, strlen(durable_name) + 1);
  }
  atomic_fetch_add(&map->native, 1);
  if (atomic_load(&map->cancelled) || atomic_load(&map->stopped)) {
    never_started(job, LM_FAIL_CANCELLED, "the map has been cancelled");
    lm_map_complete(map, job);
    return 0;
  }
  if (map->deadline_ns <= lm_seams.now_ns()) {
    never_started(job, LM_FAIL_DEADLINE, "the time was over before this chunk was sent");
    lm_map_complete(map, job);
    return 0;
  }
  bool may_start;
  if (lm_sched_submit(&map->dispatch->sched, job, &may_start, err) != 0) {
    lm_buf_move(frame, &job->frame);
    lm_job_destroy(job);
    pthread_mutex_lock(&map->lock);
    if (atomic_fetch_sub(&map->native, 1) == 1)
      pthread_cond_broadcast(&map->quiet);
    pthread_mutex_unlock(&map->lock);
    return -1;
  }
  if (may_start)
    lm_dispatch_kick(map->dispatch);
  if (atomic_load(&map->dispatch->sched.sooner))
    lm_dispatch_come_again(map->dispatch);
  return 0;
}

/* --- completing --- */

void
lm_map_complete_list(struct lm_map *map, struct lm_list *jobs)
{
  uint64_t sent = 0, received = 0;
  unsigned n = 0;
  if (lm_list_empty(jobs))
    return;
  pthread_mutex_lock(&map->lock);
  LM_LIST_EACH (jobs, node) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    job->state = LM_DONE;
    sent += job->bytes_sent;
    received += job->bytes_received;
    n++;
    if (job->head.status == 200)
      lm_latency_add(&map->latency, job->took_ns);
  }
  atomic_fetch_add(&map->stats.bytes_sent, sent);
  atomic_fetch_add(&map->stats.bytes_received, received);
  bool ring = !map->closed && !map->rung;
  if (!map->closed)
    lm_list_splice(&map->done, jobs);
  map->rung = map->rung || ring;
  if (atomic_fetch_sub(&map->native, n) == n)
    pthread_cond_broadcast(&map->quiet);
  pthread_mutex_unlock(&map->lock);
  if (ring)
    lm_event_set(&map->event);
  for (struct lm_node *node; (node = lm_list_pop_front(jobs)) != NULL;) /* nobody wants them */
    lm_job_release(LM_CONTAINER(node, struct lm_job, link));
}

void
lm_map_complete(struct lm_map *map, struct lm_job *job)
{
  struct lm_list one;
  lm_list_init(&one);
  lm_list_push_back(&one, &job->link);
  lm_map_complete_list(map, &one);
}

void
lm_map_complete_all(struct lm_list *jobs, enum lm_failure failure, const char *text)
{
  for (struct lm_node *node; (node = lm_list_pop_front(jobs)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    struct lm_map *map = lm_map_ref(job->map); /* the job may be gone before complete returns */
    never_started(job, failure, text);
    lm_map_complete(map, job);
    lm_map_unref(map);
  }
}

void
lm_map_nudge(struct lm_map *map)
{
  pthread_mutex_lock(&map->lock);
  map->rung = true;
  lm_event_set(&map->event);
  pthread_mutex_unlock(&map->lock);
}

struct lm_job *
lm_map_take(struct lm_map *map)
{
  struct lm_node *node = lm_list_pop_front(&map->taken);
  if (node == NULL) {
    pthread_mutex_lock(&map->lock);
    lm_list_splice(&map->taken, &map->done);
    node = lm_list_pop_front(&map->taken);
    if (node == NULL && map->rung && lm_event_clear(&map->event))
      map->rung = false;
    pthread_mutex_unlock(&map->lock);
  }
  return node == NULL ? NULL : LM_CONTAINER(node, struct lm_job, link);
}

/* --- ending --- */

void
lm_map_stop(struct lm_map *map)
{
  struct lm_list queued;
  lm_list_init(&queued);
  lm_sched_withdraw(&map->dispatch->sched, map, &queued);
  lm_map_complete_all(&queued, LM_FAIL_CANCELLED, "the map has been cancelled");
}

void
lm_map_cancel(struct lm_map *map)
{
  if (atomic_exchange(&map->cancelled, true))
    return;
  lm_map_stop(map);
  if (atomic_load(&map->native) > 0)
    lm_dispatch_drop_cancelled(map->dispatch);
}

bool
lm_map_quiesce(struct lm_map *map, int64_t timeout_ms)
{
  int64_t until = lm_seams.now_ns() + timeout_ms * 1000000;
  pthread_mutex_lock(&map->lock);
  while (atomic_load(&map->native) > 0)
    if (!lm_cond_wait(&map->quiet, &map->lock, until - lm_seams.now_ns()))
      break;
  bool quiet = atomic_load(&map->native) == 0;
  pthread_mutex_unlock(&map->lock);
  return quiet;
}

void
lm_map_close(struct lm_map *map)
{
  struct lm_list done;
  lm_list_init(&done);
  pthread_mutex_lock(&map->lock);
  map->closed = true;
  lm_list_splice(&done, &map->taken);
  lm_list_splice(&done, &map->done);
  pthread_mutex_unlock(&map->lock);
  for (struct lm_node *node; (node = lm_list_pop_front(&done)) != NULL;)
    lm_job_release(LM_CONTAINER(node, struct lm_job, link));
  lm_map_cancel(map);
}
