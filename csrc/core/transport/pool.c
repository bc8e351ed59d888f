#include "transport/pool.h"

#include "base/alloc.h"
#include "job/batch.h"
#include "job/coding.h"
#include "os/seams.h"
#include "policy/deadline.h"
#include "transport/h1.h"

static const int64_t MAX_LIFE_NS = 600000000000;
static const int64_t RESTED_NS = 100000000;
static const int64_t LOOK_AGAIN_NS = 50000000; /* at jobs that wait for an address, as a fallback */

static void pool_on_opened(struct lm_conn *conn);

struct lm_pool *
lm_pool_new(struct lm_turn *turn, struct lm_endpoint *endpoint)
{
  struct lm_pool *pool = lm_alloc_zero(1, sizeof *pool);
  if (pool == NULL)
    return NULL;
  pool->site.turn = turn;
  pool->site.endpoint = lm_endpoint_ref(endpoint);
  pool->site.opened = pool_on_opened;
  lm_list_init(&pool->site.idle);
  lm_streams_init(&pool->site.streams, turn->loop, &turn->now_ns);
  lm_list_init(&pool->waiting);
  return pool;
}

void
lm_pool_destroy(struct lm_pool *pool)
{
  lm_pool_trim(pool, 0, true);
  lm_streams_clean_up(&pool->site.streams);
  lm_endpoint_forget(pool->site.endpoint, pool->site.turn->context);
  lm_endpoint_unref(pool->site.endpoint);
  lm_free(pool);
}

void
lm_pool_timers(struct lm_pool *pool, int64_t now_ns)
{
  lm_streams_timers(&pool->site.streams, now_ns);
}

int64_t
lm_pool_next(const struct lm_pool *pool, int64_t now_ns)
{
  int64_t next = lm_list_empty(&pool->waiting) ? LM_NEVER_NS : now_ns + LOOK_AGAIN_NS;
  next = lm_deadline_earlier(next, lm_streams_next(&pool->site.streams, now_ns));
  struct lm_node *last = lm_list_last(&pool->site.idle);
  if (last != NULL)
    next = lm_deadline_earlier(next, LM_CONTAINER(last, struct lm_conn, idle)->idle_since_ns +
                                         lm_periods.max_idle_ns + 1);
  return next;
}

/* --- connections --- */

static bool
pool_is_old(const struct lm_conn *conn, int64_t now_ns)
{
  return now_ns - conn->idle_since_ns > lm_periods.max_idle_ns ||
         now_ns - conn->born_ns > MAX_LIFE_NS;
}

void
lm_pool_trim(struct lm_pool *pool, int64_t now_ns, bool all)
{
  for (struct lm_node *node; (node = lm_list_last(&pool->site.idle)) != NULL;) {
    struct lm_conn *oldest = LM_CONTAINER(node, struct lm_conn, idle);
    if (!all && !pool_is_old(oldest, now_ns))
      return;
    lm_conn_close(oldest);
  }
}

static void
pool_on_opened(struct lm_conn *conn)
{
  struct lm_error err;
  if (lm_h1_adopt(conn, &err) == 0)
    lm_h1_start(conn);
  else
    lm_conn_lose(conn, LM_FAIL_MEMORY, err.text);
}

static bool
pool_dial(struct lm_pool *pool, struct lm_job *job, int64_t now_ns)
{
  struct lm_turn *turn = pool->site.turn;
  char list[1024];
  struct lm_error err;
  switch (lm_endpoint_dial(pool->site.endpoint, job->started_ns, now_ns, list, sizeof list,
                           turn->address_known, turn->context, &err)) {
  case LM_DIAL_WAIT:
    lm_list_push_back(&pool->waiting, &job->link);
    return true;
  case LM_DIAL_UNKNOWN_NAME:
    lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_CONFIG, "%s: check the region or endpoint_url",
                   err.text);
    job->outcome.stops_map = true;
    return false;
  case LM_DIAL_FAILED:
    job->outcome = lm_outcome_of_loss(false, 0, LM_FAIL_CONNECT);
    job->error = err;
    return false;
  case LM_DIAL_READY:
    break;
  }
  if (lm_conn_open(&pool->site, job, list, &err) != NULL)
    return true;
  job->outcome =
      lm_outcome_of_loss(false, 0, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_CONNECT);
  job->error = err;
  return false;
}

bool
lm_pool_send(struct lm_pool *pool, struct lm_job *job, bool claimed, int64_t now_ns)
{
  struct lm_error err;
  for (struct lm_node *node; claimed && (node = lm_list_first(&pool->site.idle)) != NULL;) {
    struct lm_conn *conn = LM_CONTAINER(node, struct lm_conn, idle);
    /* A TLS layer that has read ahead may hold bytes that the loop does not report. And a process that was
     * stopped may continue in the middle of a turn, whose time is then that of the stop: what happened to a
     * connection meanwhile has not been reported. */
    int64_t rested_ns = lm_seams.now_ns() - conn->idle_since_ns;
    bool ask = pool->site.endpoint->tls || rested_ns > RESTED_NS;
    if (pool_is_old(conn, conn->idle_since_ns + rested_ns) || (ask && !lm_conn_is_silent(conn))) {
      lm_conn_close(conn);
      continue;
    }
    if (lm_conn_attach(conn, job, &err) != 0) {
      lm_endpoint_add_idle(pool->site.endpoint, pool->site.turn->index, 1);
      job->outcome = lm_outcome_of_loss(false, 0, LM_FAIL_MEMORY);
      job->error = err;
      return false;
    }
    lm_h1_start(conn);
    return true;
  }
  if (claimed)
    lm_endpoint_add_idle(pool->site.endpoint, pool->site.turn->index,
                         1); /* the claimed one was closed and subtracted */
  return pool_dial(pool, job, now_ns);
}

void
lm_pool_retry_waiting(struct lm_pool *pool, int64_t now_ns)
{
  struct lm_turn *turn = pool->site.turn;
  struct lm_list waiting;
  lm_list_init(&waiting);
  lm_list_splice(&waiting, &pool->waiting);
  for (struct lm_node *node; (node = lm_list_pop_front(&waiting)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (job->deadline_ns <= now_ns) {
      lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_DEADLINE,
                     "deadline exceeded while looking up the endpoint");
      turn->ended(turn->context, job);
    } else if (atomic_load(&job->batch->cancelled)) {
      lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "cancelled");
      turn->ended(turn->context, job);
    } else if (!lm_pool_send(pool, job,
                             lm_endpoint_claim(pool->site.endpoint, pool->site.turn->index),
                             now_ns)) {
      turn->ended(turn->context, job);
    }
  }
}
