#include "transport/pool.h"

#include "base/alloc.h"
#include "job/batch.h"
#include "job/coding.h"
#include "os/seams.h"
#include "policy/deadline.h"
#include "transport/h1.h"
#include "transport/h2.h"
#include "transport/target.h"

enum {
  /* Over HTTP/2, of all I/O threads: more only once these are full. Up to 8 cost the same, 64 twice as much. */
  SHARED_CONNECTIONS = 8,
  SMALL_BYTES = 65536 /* a larger body goes to connections that small ones do not use */
};

static const int64_t MAX_LIFE_NS = 600000000000;
static const int64_t RESTED_NS = 100000000;
static const int64_t LOOK_AGAIN_NS = 50000000; /* at jobs that wait, for their deadlines */
/* Connections that open are left their share of the waiting jobs for so long. */
static const int64_t FAIR_NS = 100000000;
/* After a failure to connect, those that are open are enough for so long. */
static const int64_t FAILED_NS = 1000000000;

static void pool_on_opened(struct lm_conn *conn);
static void pool_on_not_opened(struct lm_conn *conn, const struct lm_outcome *outcome,
                               const struct lm_error *err);

struct lm_pool *
lm_pool_new(struct lm_turn *turn, struct lm_endpoint *endpoint)
{
  struct lm_pool *pool = lm_alloc_zero(1, sizeof *pool);
  if (pool == NULL)
    return NULL;
  pool->site.turn = turn;
  pool->site.endpoint = lm_endpoint_ref(endpoint);
  pool->site.opened = pool_on_opened;
  pool->site.not_opened = pool_on_not_opened;
  lm_list_init(&pool->site.connecting);
  lm_list_init(&pool->site.idle);
  lm_list_init(&pool->site.shared);
  lm_streams_init(&pool->site.streams, turn->loop, &turn->now_ns);
  lm_list_init(&pool->waiting);
  return pool;
}

static struct lm_conn *
pool_conn(struct lm_node *node)
{
  return LM_CONTAINER(node, struct lm_conn, link);
}

void
lm_pool_destroy(struct lm_pool *pool)
{
  struct lm_list *all[] = {&pool->site.connecting, &pool->site.idle, &pool->site.shared};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    LM_LIST_EACH (all[i], node)
      lm_conn_close(pool_conn(node));
  lm_streams_clean_up(&pool->site.streams);
  lm_endpoint_forget(pool->site.endpoint, pool->site.turn->context);
  lm_endpoint_unref(pool->site.endpoint);
  lm_free(pool);
}

/* --- timers --- */

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
    if (!all && !pool_is_old(pool_conn(node), now_ns))
      break;
    lm_conn_close(pool_conn(node));
  }
  LM_LIST_EACH (&pool->site.shared, node) {
    struct lm_conn *conn = pool_conn(node);
    if (lm_h2_running(conn) == 0 && (all || pool_is_old(conn, now_ns)))
      lm_conn_close(conn);
  }
}

void
lm_pool_timers(struct lm_pool *pool, int64_t now_ns)
{
  lm_streams_timers(&pool->site.streams, now_ns);
  LM_LIST_EACH (&pool->site.shared, node)
    lm_h2_tend(pool_conn(node), now_ns);
  if (!lm_list_empty(&pool->waiting) && (pool->site.changed || pool->look_ns <= now_ns))
    lm_pool_retry_waiting(pool, now_ns);
}

int64_t
lm_pool_next(const struct lm_pool *pool, int64_t now_ns)
{
  const struct lm_site *site = &pool->site;
  int64_t next = lm_streams_next(&site->streams, now_ns);
  if (!lm_list_empty(&pool->waiting))
    next = lm_deadline_earlier(next, site->changed ? now_ns : pool->look_ns);
  struct lm_node *last = lm_list_last(&site->idle);
  if (last != NULL)
    next = lm_deadline_earlier(next, pool_conn(last)->idle_since_ns + lm_periods.max_idle_ns + 1);
  LM_LIST_EACH (&site->shared, node) {
    const struct lm_conn *conn = pool_conn(node);
    next = lm_deadline_earlier(next, lm_h2_due(conn));
    if (lm_h2_running(conn) == 0)
      next = lm_deadline_earlier(next, conn->idle_since_ns + lm_periods.max_idle_ns + 1);
  }
  return next;
}

/* --- connecting --- */

enum dialled { DIALLED, DIAL_LATER, DIAL_FAILED };

/* Start to connect for the job, or with its limits for any (`shared`). LATER: the address is not known yet.
 * FAILED: job->outcome and job->error say why. */
static enum dialled
pool_dial(struct lm_pool *pool, struct lm_job *job, bool shared, int64_t now_ns)
{
  struct lm_turn *turn = pool->site.turn;
  const struct lm_target *target = job->batch->target;
  char list[1024];
  struct lm_error err;
  switch (lm_endpoint_dial(pool->site.endpoint, job->started_ns, now_ns, list, sizeof list,
                           turn->address_known, turn->context, &err)) {
  case LM_DIAL_WAIT:
    return DIAL_LATER;
  case LM_DIAL_UNKNOWN_NAME:
    lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_CONFIG, "%s: check the region or endpoint_url",
                   err.text);
    job->outcome.stops_map = true;
    return DIAL_FAILED;
  case LM_DIAL_FAILED:
    job->outcome = lm_outcome_of_loss(false, 0, LM_FAIL_CONNECT);
    job->error = err;
    return DIAL_FAILED;
  case LM_DIAL_READY:
    break;
  }
  struct lm_conn *conn =
      lm_conn_open(&pool->site, shared ? NULL : job, list, target->connect_timeout_ms, &err);
  if (conn != NULL) {
    conn->large = job->body.len > SMALL_BYTES;
    return DIALLED;
  }
  job->outcome =
      lm_outcome_of_loss(false, 0, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_CONNECT);
  job->error = err;
  return DIAL_FAILED;
}

static void
pool_wait(struct lm_pool *pool, struct lm_job *job)
{
  if (lm_list_empty(&pool->waiting))
    pool->look_ns = pool->site.turn->now_ns + LOOK_AGAIN_NS;
  lm_list_push_back(&pool->waiting, &job->link);
  pool->n_waiting++;
}

static struct lm_job *
pool_next_waiting(struct lm_pool *pool)
{
  struct lm_node *node = lm_list_pop_front(&pool->waiting);
  pool->n_waiting -= node != NULL;
  return node == NULL ? NULL : LM_CONTAINER(node, struct lm_job, link);
}

/* There is no memory for its protocol. */
static void
pool_give_up(struct lm_conn *conn, const struct lm_error *err)
{
  if (conn->job != NULL)
    lm_conn_lose(conn, LM_FAIL_MEMORY, err->text);
  else
    lm_conn_close(conn);
}

/* Over HTTP/1.1: its own job's, or the first one's that waits; else it is idle. */
static void
pool_start_h1(struct lm_pool *pool, struct lm_conn *conn)
{
  struct lm_error err;
  if (lm_h1_adopt(conn, &err) != 0) {
    pool_give_up(conn, &err);
    return;
  }
  struct lm_job *first = conn->job == NULL ? pool_next_waiting(pool) : NULL;
  if (first != NULL && lm_conn_attach(conn, first, &err) != 0)
    pool_wait(pool, first);
  if (conn->job == NULL) {
    lm_conn_keep(conn);
    return;
  }
  lm_conn_note_connection(conn, conn->job);
  lm_h1_start(conn);
}

static void
pool_start_h2(struct lm_pool *pool, struct lm_conn *conn)
{
  struct lm_error err;
  if (lm_h2_adopt(conn, &err) != 0) {
    pool_give_up(conn, &err);
    return;
  }
  if (conn->job != NULL)
    pool_wait(pool, lm_conn_detach(conn));
  lm_list_push_back(&pool->site.shared, &conn->link);
  if (!lm_list_empty(&pool->waiting))
    lm_conn_note_connection(conn, LM_CONTAINER(lm_list_first(&pool->waiting), struct lm_job, link));
}

/* Whether a connection over HTTP/2 is for bodies of this size, not too old for new streams, and not silent for
 * so long that it is sent a PING first. */
static bool
pool_suits(const struct lm_conn *conn, bool large, int64_t now_ns)
{
  bool old =
      lm_h2_running(conn) == 0 ? pool_is_old(conn, now_ns) : now_ns - conn->born_ns > MAX_LIFE_NS;
  return conn->large == large && !old && now_ns < lm_h2_due(conn);
}

/* Whether a connection over HTTP/2 takes another such job. */
static bool
pool_has_room(const struct lm_pool *pool, bool large, int64_t now_ns)
{
  LM_LIST_EACH (&pool->site.shared, node)
    if (pool_suits(pool_conn(node), large, now_ns) && lm_h2_room(pool_conn(node)) > 0)
      return true;
  return false;
}

static void
pool_on_opened(struct lm_conn *conn)
{
  struct lm_pool *pool = LM_CONTAINER(conn->site, struct lm_pool, site);
  pool->site.changed = true;
  atomic_store(&pool->site.endpoint->speaks, conn->stream.http2 ? LM_HTTP_2 : LM_HTTP_1);
  if (conn->stream.http2)
    pool_start_h2(pool, conn);
  else
    pool_start_h1(pool, conn);
}

/* A connection for no job in particular: the failure of its share of those that wait, unless there are others
 * that they can use. */
static void
pool_on_not_opened(struct lm_conn *conn, const struct lm_outcome *outcome,
                   const struct lm_error *err)
{
  struct lm_pool *pool = LM_CONTAINER(conn->site, struct lm_pool, site);
  struct lm_turn *turn = pool->site.turn;
  unsigned opening = 0;
  LM_LIST_EACH (&pool->site.connecting, node)
    opening++;
  unsigned share = outcome->stops_map ? pool->n_waiting : (pool->n_waiting + opening - 1) / opening;
  pool->site.changed = true;
  pool->failed_ns = turn->now_ns;
  bool others = pool_has_room(pool, conn->large, turn->now_ns);
  lm_conn_close(conn);
  if (!outcome->stops_map && others)
    return;
  for (; share > 0; share--) {
    struct lm_job *job = pool_next_waiting(pool);
    job->outcome = *outcome;
    job->error = *err;
    turn->ended(turn->context, job);
  }
}

/* --- choosing a connection --- */

/* Over HTTP/2, or if that is not known yet: on the connection with the fewest streams, while there are
 * connections enough; else on a new one, once it is open. */
static bool
pool_share(struct lm_pool *pool, struct lm_job *job)
{
  struct lm_site *site = &pool->site;
  int64_t now_ns = lm_seams.now_ns(); /* the turn's may be that of a stop, as in lm_pool_send */
  bool large = job->body.len > SMALL_BYTES;
  unsigned open = 0, opening = 0, young = 0, running = 0;
  unsigned most = (SHARED_CONNECTIONS + site->turn->n_threads - 1) / site->turn->n_threads;
  struct lm_conn *best = NULL;
  LM_LIST_EACH (&site->connecting, node) {
    const struct lm_conn *conn = pool_conn(node);
    opening += conn->large == large;
    young += conn->large == large && now_ns - conn->born_ns < FAIR_NS;
  }
  LM_LIST_EACH (&site->shared, node) {
    struct lm_conn *conn = pool_conn(node);
    if (!pool_suits(conn, large, now_ns))
      continue;
    if (lm_h2_room(conn) == 0) { /* its SETTINGS may be about to come */
      opening += !lm_h2_settled(conn) && now_ns - conn->born_ns < FAILED_NS;
      young += !lm_h2_settled(conn) && now_ns - conn->born_ns < FAIR_NS;
      continue;
    }
    open++;
    running += lm_h2_running(conn);
    if (best == NULL || lm_h2_running(conn) < lm_h2_running(best))
      best = conn;
  }
  /* A connection that is about to open is left its share of the jobs. */
  bool take = best != NULL &&
              (young == 0 || lm_h2_running(best) * (open + young) < running + pool->n_waiting + 1);
  bool more = opening == 0 || (opening <= pool->n_waiting && open + opening < most);
  if (best != NULL)
    more = more && lm_h2_running(best) > 0 && open + opening < most &&
           now_ns - pool->failed_ns > FAILED_NS;
  if (more && pool_dial(pool, job, true, now_ns) == DIAL_FAILED && best == NULL && opening == 0)
    return false;
  if (take)
    lm_h2_start(best, job);
  else
    pool_wait(pool, job);
  return true;
}

bool
lm_pool_send(struct lm_pool *pool, struct lm_job *job, bool claimed, int64_t now_ns)
{
  struct lm_endpoint *endpoint = pool->site.endpoint;
  struct lm_error err;
  for (struct lm_node *node; claimed && (node = lm_list_first(&pool->site.idle)) != NULL;) {
    struct lm_conn *conn = pool_conn(node);
    /* A TLS layer that has read ahead may hold bytes that the loop does not report. And a process that was
     * stopped may continue in the middle of a turn, whose time is then that of the stop: what happened to a
     * connection meanwhile has not been reported. */
    int64_t rested_ns = lm_seams.now_ns() - conn->idle_since_ns;
    bool ask = endpoint->tls || rested_ns > RESTED_NS;
    if (pool_is_old(conn, conn->idle_since_ns + rested_ns) || (ask && !lm_conn_is_silent(conn))) {
      lm_conn_close(conn);
      continue;
    }
    if (lm_conn_attach(conn, job, &err) != 0) {
      lm_endpoint_add_idle(endpoint, pool->site.turn->index, 1);
      job->outcome = lm_outcome_of_loss(false, 0, LM_FAIL_MEMORY);
      job->error = err;
      return false;
    }
    lm_h1_start(conn);
    return true;
  }
  if (claimed)
    /* The claimed one was closed and subtracted. */
    lm_endpoint_add_idle(endpoint, pool->site.turn->index, 1);
  if (atomic_load(&endpoint->speaks) != LM_HTTP_1 ||
      pool_has_room(pool, job->body.len > SMALL_BYTES, now_ns))
    return pool_share(pool, job);
  switch (pool_dial(pool, job, false, now_ns)) {
  case DIAL_LATER:
    pool_wait(pool, job);
    return true;
  case DIALLED:
    return true;
  case DIAL_FAILED:
    break;
  }
  return false;
}

/* --- waiting --- */

void
lm_pool_retry_waiting(struct lm_pool *pool, int64_t now_ns)
{
  struct lm_turn *turn = pool->site.turn;
  struct lm_list waiting;
  lm_list_init(&waiting);
  lm_list_splice(&waiting, &pool->waiting);
  pool->site.changed = false;
  pool->look_ns = now_ns + LOOK_AGAIN_NS;

  for (struct lm_node *node; (node = lm_list_pop_front(&waiting)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    pool->n_waiting--;
    if (job->deadline_ns <= now_ns) {
      job->outcome = lm_outcome_of_loss(false, 0, LM_FAIL_DEADLINE);
      lm_error_set(&job->error, LM_E_SYSTEM, "deadline exceeded while %s",
                   !lm_list_empty(&pool->site.connecting) ? "connecting"
                   : !lm_list_empty(&pool->site.shared)   ? "waiting for a connection"
                                                          : "looking up the endpoint");
      turn->ended(turn->context, job);
    } else if (lm_batch_given_up(job->batch)) {
      lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "cancelled");
      turn->ended(turn->context, job);
    } else if (!lm_pool_send(pool, job,
                             lm_endpoint_claim(pool->site.endpoint, pool->site.turn->index),
                             now_ns)) {
      turn->ended(turn->context, job);
    }
  }
}
