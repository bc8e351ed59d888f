#include "net/pool.h"

#include "base/alloc.h"
#include "net/batch.h"
#include "net/coding.h"
#include "net/io_thread.h"
#include "net/seams.h"
#include "policy/deadline.h"

static const int64_t MAX_LIFE_NS = 600000000000;
static const int64_t LOOK_AGAIN_NS = 50000000; /* at jobs that wait for an address */

struct lm_pool *
lm_pool_new(struct lm_io *io, struct lm_endpoint *endpoint)
{
  struct lm_pool *pool = lm_alloc_zero(1, sizeof *pool);
  if (pool == NULL)
    return NULL;
  pool->io = io;
  pool->endpoint = lm_endpoint_ref(endpoint);
  lm_list_init(&pool->idle);
  lm_list_init(&pool->shards);
  lm_list_init(&pool->waiting);
  return pool;
}

static void
destroy_shard(struct lm_shard *shard)
{
  lm_list_remove(&shard->link);
  curl_multi_cleanup(shard->multi);
  lm_free(shard);
}

void
lm_pool_destroy(struct lm_pool *pool)
{
  lm_pool_trim(pool, 0, true);
  LM_LIST_EACH (&pool->shards, node)
    destroy_shard(LM_CONTAINER(node, struct lm_shard, link));
  lm_endpoint_unref(pool->endpoint);
  lm_free(pool);
}

/* --- shards --- */

static void
on_shard_socket(void *owner, int fd, int events)
{
  struct lm_shard *shard = owner;
  int running = 0, mask = 0;
  if (events & LM_LOOP_READ)
    mask |= CURL_CSELECT_IN;
  if (events & LM_LOOP_WRITE)
    mask |= CURL_CSELECT_OUT;
  curl_multi_socket_action(shard->multi, fd, mask, &running);
  lm_shard_collect(shard);
}

static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *per_socket)
{
  struct lm_shard *shard = context;
  struct lm_loop *loop = shard->pool->io->loop;
  struct lm_error err;
  (void)easy, (void)per_socket;
  if (what == CURL_POLL_REMOVE) {
    if (lm_loop_owner(loop, fd, on_shard_socket) == shard)
      lm_loop_del(loop, fd);
    return 0;
  }
  int events =
      (what & CURL_POLL_IN ? LM_LOOP_READ : 0) | (what & CURL_POLL_OUT ? LM_LOOP_WRITE : 0);
  if (lm_loop_set(loop, fd, events, on_shard_socket, shard, &err) == 0)
    return 0;
  shard->dead = true;
  return -1;
}

static int
set_timer(CURLM *multi, long timeout_ms, void *context)
{
  struct lm_shard *shard = context;
  (void)multi;
  shard->timer_ns =
      timeout_ms < 0 ? LM_NEVER_NS : lm_deadline_in(shard->pool->io->now_ns, (int64_t)timeout_ms);
  return 0;
}

struct lm_shard *
lm_pool_shard(struct lm_pool *pool, struct lm_error *err)
{
  LM_LIST_EACH (&pool->shards, node) {
    struct lm_shard *shard = LM_CONTAINER(node, struct lm_shard, link);
    if (shard->handles < LM_SHARD_HANDLES && !shard->dead) {
      shard->handles++;
      return shard;
    }
  }
  struct lm_shard *shard = lm_alloc_zero(1, sizeof *shard);
  if (shard == NULL || (shard->multi = curl_multi_init()) == NULL) {
    lm_free(shard);
    lm_error_nomem(err, sizeof *shard);
    return NULL;
  }
  shard->pool = pool;
  shard->handles = 1;
  shard->timer_ns = LM_NEVER_NS;
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard);
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, set_timer);
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard);
  curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, 4L * LM_SHARD_HANDLES);
  lm_list_push_front(&pool->shards, &shard->link);
  return shard;
}

void
lm_shard_drop(struct lm_shard *shard)
{
  shard->handles--;
}

void
lm_shard_collect(struct lm_shard *shard)
{
  int left = 0;
  for (CURLMsg *message; (message = curl_multi_info_read(shard->multi, &left)) != NULL;) {
    if (message->msg != CURLMSG_DONE)
      continue;
    CURLcode code = message->data.result;
    char *conn = NULL;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &conn);
    lm_conn_connected((struct lm_conn *)(void *)conn, code);
  }
  if (shard->dead)
    LM_LIST_EACH (&shard->pool->io->active, node) {
      struct lm_conn *conn = LM_CONTAINER(node, struct lm_conn, link);
      if (conn->shard == shard && conn->state == LM_CONN_CONNECTING)
        lm_conn_connected(conn, CURLE_OUT_OF_MEMORY);
    }
}

void
lm_pool_timers(struct lm_pool *pool, int64_t now_ns)
{
  LM_LIST_EACH (&pool->shards, node) {
    struct lm_shard *shard = LM_CONTAINER(node, struct lm_shard, link);
    if (shard->handles == 0) {
      destroy_shard(shard);
      continue;
    }
    if (shard->timer_ns <= now_ns) {
      int running = 0;
      shard->timer_ns = LM_NEVER_NS;
      curl_multi_socket_action(shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
      lm_shard_collect(shard);
    }
  }
}

int64_t
lm_pool_next(const struct lm_pool *pool, int64_t now_ns)
{
  int64_t next = lm_list_empty(&pool->waiting) ? LM_NEVER_NS : now_ns + LOOK_AGAIN_NS;
  LM_LIST_EACH (&pool->shards, node) {
    struct lm_shard *shard = LM_CONTAINER(node, struct lm_shard, link);
    next = lm_deadline_earlier(next, shard->handles == 0 ? now_ns : shard->timer_ns);
  }
  struct lm_node *last = lm_list_last(&pool->idle);
  if (last != NULL)
    next = lm_deadline_earlier(next, LM_CONTAINER(last, struct lm_conn, link)->idle_since_ns +
                                         lm_periods.max_idle_ns + 1);
  return next;
}

/* --- connections --- */

void
lm_pool_keep(struct lm_pool *pool, struct lm_conn *conn, int64_t now_ns)
{
  conn->state = LM_CONN_IDLE;
  conn->idle_since_ns = now_ns;
  lm_endpoint_add_idle(pool->endpoint, pool->io->index, 1);
  lm_list_push_front(&pool->idle, &conn->link);
}

static bool
is_old(const struct lm_conn *conn, int64_t now_ns)
{
  return now_ns - conn->idle_since_ns > lm_periods.max_idle_ns ||
         now_ns - conn->born_ns > MAX_LIFE_NS;
}

void
lm_pool_trim(struct lm_pool *pool, int64_t now_ns, bool all)
{
  for (struct lm_node *node; (node = lm_list_last(&pool->idle)) != NULL;) {
    struct lm_conn *oldest = LM_CONTAINER(node, struct lm_conn, link);
    if (!all && !is_old(oldest, now_ns))
      return;
    lm_conn_close(oldest);
  }
}

static bool
dial(struct lm_pool *pool, struct lm_job *job, int64_t now_ns)
{
  char list[1024];
  struct lm_error err;
  switch (lm_endpoint_dial(pool->endpoint, job->started_ns, now_ns, list, sizeof list,
                           lm_io_address_known, pool->io, &err)) {
  case LM_DIAL_WAIT:
    lm_list_push_back(&pool->waiting, &job->link);
    return true;
  case LM_DIAL_UNKNOWN_NAME:
    lm_code_fail(job, LM_RAN_NOT, LM_FAIL_CONFIG, "%s: check the region or endpoint_url", err.text);
    job->outcome.stops_map = true;
    return false;
  case LM_DIAL_FAILED:
    job->outcome = lm_outcome_of_loss(false, 0, LM_FAIL_CONNECT);
    job->error = err;
    return false;
  case LM_DIAL_READY:
    break;
  }
  if (lm_conn_open(pool, job, list, &err) != NULL)
    return true;
  job->outcome =
      lm_outcome_of_loss(false, 0, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_CONNECT);
  job->error = err;
  return false;
}

bool
lm_pool_send(struct lm_pool *pool, struct lm_job *job, bool claimed, int64_t now_ns)
{
  for (struct lm_node *node; claimed && (node = lm_list_first(&pool->idle)) != NULL;) {
    struct lm_conn *conn = LM_CONTAINER(node, struct lm_conn, link);
    /* A TLS layer that has read ahead may hold what the socket no longer tells of. */
    if (is_old(conn, now_ns) || (pool->endpoint->tls && !lm_conn_is_silent(conn))) {
      lm_conn_close(conn);
      continue;
    }
    lm_list_remove(&conn->link);
    conn->job = job;
    lm_conn_start(conn);
    return true;
  }
  if (claimed)
    lm_endpoint_add_idle(pool->endpoint, pool->io->index,
                         1); /* what was claimed is gone, and counted off */
  return dial(pool, job, now_ns);
}

void
lm_pool_retry_waiting(struct lm_pool *pool, int64_t now_ns)
{
  struct lm_list waiting;
  lm_list_init(&waiting);
  lm_list_splice(&waiting, &pool->waiting);
  for (struct lm_node *node; (node = lm_list_pop_front(&waiting)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (job->deadline_ns <= now_ns) {
      lm_code_fail(job, LM_RAN_NOT, LM_FAIL_DEADLINE,
                   "the time was over before the name of the endpoint was known");
      lm_io_ended(pool->io, job);
    } else if (atomic_load(&job->batch->cancelled)) {
      lm_code_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "cancelled");
      lm_io_ended(pool->io, job);
    } else if (!lm_pool_send(pool, job, lm_endpoint_claim(pool->endpoint, pool->io->index),
                             now_ns)) {
      lm_io_ended(pool->io, job);
    }
  }
}
