#include "transport/conn.h"

#include <stdio.h>

#include "base/alloc.h"
#include "job/batch.h"
#include "os/seams.h"
#include "policy/skew.h"
#include "transport/target.h"

enum { SLICE_BYTES = 262144 /* offered to the socket at once */ };

static void conn_on_event(void *owner, int fd, int events);
static void conn_on_opened(void *owner, bool connected);

/* --- life --- */

int
lm_conn_hold(struct lm_conn *conn, struct lm_job *job, struct lm_error *err)
{
  struct lm_turn *turn = conn->site->turn;
  if (lm_heap_set(&turn->timers, &job->due, job->deadline_ns) != 0)
    return lm_error_nomem(err, sizeof job->due);
  lm_list_push_back(&turn->active, &job->link);
  job->conn = conn;
  job->touched = false;
  return 0;
}

void
lm_conn_release(struct lm_job *job)
{
  struct lm_site *site = job->conn->site;
  lm_heap_remove(&site->turn->timers, &job->due);
  lm_list_remove(&job->link);
  job->conn = NULL;
}

struct lm_job *
lm_conn_detach(struct lm_conn *conn)
{
  struct lm_job *job = conn->job;
  lm_conn_release(job);
  if (lm_list_linked(&conn->again))
    lm_list_remove(&conn->again);
  conn->job = NULL;
  return job;
}

struct lm_conn *
lm_conn_open(struct lm_site *site, struct lm_job *job, const char *resolve,
             int64_t connect_timeout_ms, struct lm_error *err)
{
  struct lm_endpoint *endpoint = site->endpoint;
  struct lm_turn *turn = site->turn;
  struct lm_conn *conn = lm_alloc_zero(1, sizeof *conn);
  if (conn == NULL) {
    lm_error_nomem(err, sizeof *conn);
    return NULL;
  }
  conn->site = site;
  conn->state = LM_CONN_CONNECTING;
  conn->born_ns = turn->now_ns;
  if (job != NULL && lm_conn_hold(conn, job, err) != 0)
    goto err_conn;
  conn->job = job;
  struct lm_stream_spec spec = {
      .url = endpoint->url,
      .proxy = endpoint->proxy,
      .resolve = resolve,
      .connect_timeout_ms = connect_timeout_ms,
      .tls = endpoint->tls,
      .store = endpoint->store,
      .ca_file = endpoint->ca_file,
      .offer_http2 = endpoint->offers_http2,
  };
  if (lm_stream_open(&conn->stream, &site->streams, &spec, conn_on_opened, conn, err) != 0)
    goto err_job;
  if (job == NULL)
    lm_list_push_back(&site->connecting, &conn->link);
  atomic_fetch_add(turn->connections, 1);
  return conn;

err_job:
  if (job != NULL)
    (void)lm_conn_detach(conn);
err_conn:
  lm_free(conn);
  return NULL;
}

void
lm_conn_close(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  atomic_fetch_sub(turn->connections, 1);
  if (conn->state == LM_CONN_IDLE)
    lm_endpoint_add_idle(conn->site->endpoint, turn->index, -1);
  if (lm_list_linked(&conn->link))
    lm_list_remove(&conn->link);
  if (lm_list_linked(&conn->again))
    lm_list_remove(&conn->again);
  lm_stream_close(&conn->stream);
  if (conn->protocol != NULL)
    conn->protocol->clean_up(conn);
  lm_free(conn);
}

int
lm_conn_attach(struct lm_conn *conn, struct lm_job *job, struct lm_error *err)
{
  if (lm_conn_hold(conn, job, err) != 0)
    return -1;
  conn->job = job;
  if (lm_list_linked(&conn->link))
    lm_list_remove(&conn->link);
  conn->state = LM_CONN_BUSY;
  return 0;
}

void
lm_conn_rest(struct lm_conn *conn)
{
  struct lm_site *site = conn->site;
  conn->state = LM_CONN_IDLE;
  conn->idle_since_ns = site->turn->now_ns;
  lm_endpoint_add_idle(site->endpoint, site->turn->index, 1);
}

void
lm_conn_keep(struct lm_conn *conn)
{
  lm_conn_rest(conn);
  lm_list_push_front(&conn->site->idle, &conn->link);
}

struct lm_outcome
lm_conn_loss(const struct lm_job *job, enum lm_failure failure)
{
  const struct lm_reply_head *head = &job->head;
  /* A function error that precedes the handler is a 200, too; only the lost body tells which one it was. */
  return lm_outcome_of_loss(job->touched, head->has_function_error ? 0 : head->status, failure);
}

void
lm_conn_lose(struct lm_conn *conn, enum lm_failure failure, const char *text)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_job *job = lm_conn_detach(conn);
  job->outcome = lm_conn_loss(job, failure);
  lm_error_set(&job->error, LM_E_SYSTEM, "%s", text);
  lm_conn_close(conn);
  turn->ended(turn->context, job);
}

/* Set the clock offset from the Date of a reply by AWS itself, not by a proxy or a cache. */
static void
conn_heed_date(struct lm_endpoint *endpoint, struct lm_job *job)
{
  const struct lm_reply_head *head = &job->head;
  if (head->date_s >= 0 && !head->has_age && head->request_id[0] != '\0')
    atomic_store(&endpoint->clock_offset_s, lm_skew_offset(head->date_s, lm_seams.unix_s()));
  job->clock_was_off =
      lm_skew_matters(job->signed_offset_s, atomic_load(&endpoint->clock_offset_s));
}

void
lm_conn_note_reply(struct lm_conn *conn, struct lm_job *job)
{
  struct lm_batch *batch = job->batch;
  conn_heed_date(conn->site->endpoint, job);
  if (batch->notes.traced)
    lm_notes_add(&batch->notes, LM_NOTE_REPLY, job, 0, lm_seams.now_ns() - job->started_ns);
}

/* End the job's attempt, and no other one. */
static void
conn_drop(struct lm_job *job, enum lm_failure failure, const char *why)
{
  struct lm_conn *conn = job->conn;
  if (conn->job == job)
    lm_conn_lose(conn, failure, why);
  else
    conn->protocol->drop(job, failure, why);
}

void
lm_conn_expire(struct lm_job *job)
{
  conn_drop(job, LM_FAIL_DEADLINE,
            job->conn->state == LM_CONN_CONNECTING ? "deadline exceeded while connecting"
            : job->head.status != 0                ? "deadline exceeded while receiving the reply"
                                    : "deadline exceeded while waiting for the reply");
}

void
lm_conn_cancel(struct lm_job *job, const char *why)
{
  conn_drop(job, LM_FAIL_CANCELLED, why);
}

/* --- connecting --- */

/* It cannot be opened. hopeless: any other connection to this endpoint would fail, too. */
static void
conn_give_up(struct lm_conn *conn, enum lm_failure failure, bool hopeless,
             const struct lm_error *err)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_outcome outcome = lm_outcome_of_loss(false, 0, failure);
  if (hopeless) {
    outcome.action = LM_DO_DONE;
    outcome.stops_map = true;
  }
  if (conn->job == NULL) {
    conn->site->not_opened(conn, &outcome, err);
    return;
  }
  struct lm_job *job = lm_conn_detach(conn);
  job->outcome = outcome;
  job->error = *err;
  lm_conn_close(conn);
  turn->ended(turn->context, job);
}

static void
conn_fail_to_connect(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_endpoint *endpoint = conn->site->endpoint;
  struct lm_stream_failure failure;
  struct lm_error err;
  char what[LM_ERROR_TEXT_SIZE];
  lm_stream_why_not_opened(&conn->stream, &failure);
  snprintf(what, sizeof what, "cannot connect to %s: %s", endpoint->url, failure.said);
  lm_error_set(&err, LM_E_SYSTEM, "%s", what);
  if (failure.os_errno != 0)
    lm_error_system(&err, failure.os_errno, what);
  if (failure.untrusted)
    lm_error_set(&err, LM_E_SYSTEM, "%.140s: check ca_bundle or AWS_CA_BUNDLE", what);
  int proxy_said = endpoint->proxy != NULL ? failure.proxy_status : 0;
  if (proxy_said >= 300)
    lm_error_set(&err, LM_E_SYSTEM, "the proxy %s replied %d to CONNECT %s%s", endpoint->dial_host,
                 proxy_said, endpoint->authority,
                 proxy_said == 407 ? ": add a user and a password to the proxy URL" : "");
  if (failure.no_descriptors)
    turn->no_descriptors(turn->context);
  lm_endpoint_suspect(endpoint);
  conn_give_up(conn, proxy_said == 407 ? LM_FAIL_CONFIG : LM_FAIL_CONNECT,
               proxy_said == 407 || failure.tls_refused, &err);
}

static void
conn_on_opened(void *owner, bool connected)
{
  struct lm_conn *conn = owner;
  struct lm_site *site = conn->site;
  const struct lm_endpoint *endpoint = site->endpoint;
  struct lm_error err;
  if (!connected) {
    conn_fail_to_connect(conn);
    return;
  }
  if (lm_loop_set(site->turn->loop, conn->stream.fd, LM_LOOP_READ | LM_LOOP_WRITE | LM_LOOP_EDGE,
                  conn_on_event, conn, &err) != 0) {
    conn_give_up(conn, LM_FAIL_SYSTEM, false, &err);
    return;
  }
  if (endpoint->http_version == LM_HTTP_2 && !conn->stream.http2) {
    lm_error_set(&err, LM_E_SYSTEM,
                 "%s does not offer HTTP/2: set http_version to \"auto\" or \"1.1\"",
                 endpoint->authority);
    conn_give_up(conn, LM_FAIL_CONFIG, true, &err);
    return;
  }
  conn->state = LM_CONN_BUSY;
  if (conn->job == NULL)
    lm_list_remove(&conn->link);
  site->opened(conn);
}

void
lm_conn_note_connection(struct lm_conn *conn, struct lm_job *job)
{
  const struct lm_endpoint *endpoint = conn->site->endpoint;
  struct lm_batch *batch = job->batch;
  struct lm_buf text;
  long port = 0;
  char line[192];
  atomic_fetch_add(&batch->stats.connections, 1);
  if (!batch->notes.traced)
    return;
  const char *address = lm_stream_peer(&conn->stream, &port);
  snprintf(line, sizeof line, "%.100s via %s port %ld%s%s", endpoint->authority, address, port,
           endpoint->proxy != NULL ? ", a proxy" : "", conn->stream.http2 ? ", HTTP/2" : "");
  lm_buf_init(&text, sizeof line);
  lm_buf_str(&text, line);
  lm_notes_add_text(&batch->notes, LM_NOTE_CONNECTED, job, &text);
}

/* --- bytes --- */

enum lm_stream_result
lm_conn_send(struct lm_conn *conn, const uint8_t *at, size_t size, size_t *n)
{
  struct lm_turn *turn = conn->site->turn;
  size_t offer = conn->slice != 0 ? conn->slice : size > SLICE_BYTES ? SLICE_BYTES : size;
  enum lm_stream_result result = lm_stream_send(&conn->stream, at, offer, n);
  conn->slice = result == LM_STREAM_AGAIN ? offer : 0;
  if (result == LM_STREAM_AGAIN)
    lm_loop_want_write(turn->loop, conn->stream.fd, true);
  return result;
}

void
lm_conn_go_on_next_turn(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  if (!lm_list_linked(&conn->again))
    lm_list_push_back(&turn->again, &conn->again);
}

void
lm_conn_continue(struct lm_conn *conn)
{
  conn->protocol->proceed(conn);
}

bool
lm_conn_is_silent(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  size_t n = 0;
  return lm_stream_recv(&conn->stream, turn->scratch, LM_SCRATCH_BYTES, &n) == LM_STREAM_AGAIN;
}

static void
conn_on_event(void *owner, int fd, int events)
{
  struct lm_conn *conn = owner;
  (void)fd;
  conn->peer_closed = conn->peer_closed || (events & LM_LOOP_HANGUP);
  conn->protocol->proceed(conn);
}
