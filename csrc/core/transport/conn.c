#include "transport/conn.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "job/batch.h"
#include "job/coding.h"
#include "os/seams.h"
#include "policy/skew.h"
#include "transport/target.h"
#include "wire/redact.h"

enum {
  MAX_HEAD_BYTES = 32768 + 8192,
  TOGETHER_BYTES = 65536, /* a body up to this size is sent in one write with its head */
  SLICE_BYTES = 262144,   /* one write of a larger body */
  TURN_BYTES = 1 << 18    /* sent or received per turn, before other connections have theirs */
};

/* A large body is patched and digested before it waits for a connection; after a longer wait, again. */
static const int64_t STALE_NS = 1000000000;

#define DURABLE_NAME "x-amz-durable-execution-name"

static void conn_on_event(void *owner, int fd, int events);
static void conn_on_opened(void *owner, bool connected);

/* --- life --- */

struct lm_conn *
lm_conn_open(struct lm_site *site, struct lm_job *job, const char *resolve, struct lm_error *err)
{
  const struct lm_endpoint *endpoint = site->endpoint;
  struct lm_turn *turn = site->turn;
  struct lm_conn *conn = lm_alloc_zero(1, sizeof *conn);
  if (conn == NULL) {
    lm_error_nomem(err, sizeof *conn);
    return NULL;
  }
  conn->site = site;
  conn->state = LM_CONN_CONNECTING;
  conn->born_ns = turn->now_ns;
  lm_buf_init(&conn->out, MAX_HEAD_BYTES + TOGETHER_BYTES);
  lm_http1_init(&conn->reply);
  if (lm_heap_set(&turn->timers, &conn->timer, job->deadline_ns) != 0) {
    lm_error_nomem(err, sizeof *conn);
    goto err_conn;
  }
  struct lm_stream_spec spec = {
      .url = endpoint->url,
      .proxy = endpoint->proxy,
      .resolve = resolve,
      .connect_timeout_ms = job->batch->target->connect_timeout_ms,
      .tls = endpoint->tls,
      .store = endpoint->store,
      .ca_file = endpoint->ca_file,
  };
  if (lm_stream_open(&conn->stream, &site->streams, &spec, conn_on_opened, conn, err) != 0)
    goto err_timer;
  conn->job = job;
  lm_list_push_back(&turn->active, &conn->link);
  atomic_fetch_add(turn->connections, 1);
  return conn;

err_timer:
  lm_heap_remove(&turn->timers, &conn->timer);
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
  lm_heap_remove(&turn->timers, &conn->timer);
  lm_stream_close(&conn->stream);
  lm_buf_clean_up(&conn->out);
  lm_http1_clean_up(&conn->reply);
  lm_free(conn);
}

static struct lm_job *
conn_take_job(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_job *job = conn->job;
  conn->job = NULL;
  lm_heap_remove(&turn->timers, &conn->timer);
  if (lm_list_linked(&conn->again))
    lm_list_remove(&conn->again);
  lm_list_remove(&conn->link);
  return job;
}

/* End the attempt without a usable reply, and close the connection. `text` must not be the job's own. */
static void
conn_lose(struct lm_conn *conn, enum lm_failure failure, const char *text)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_job *job = conn_take_job(conn);
  if (conn->reply.head_done)
    job->head = conn->reply.head;
  /* A function error that precedes the handler is a 200, too; only the lost body tells which one it was. */
  bool tells = conn->reply.head_done && !conn->reply.head.has_function_error;
  job->outcome = lm_outcome_of_loss(conn->touched, tells ? conn->reply.head.status : 0, failure);
  if (conn->hopeless) {
    job->outcome.action = LM_DO_DONE;
    job->outcome.stops_map = true;
  }
  lm_error_set(&job->error, LM_E_SYSTEM, "%s", text);
  lm_conn_close(conn);
  turn->ended(turn->context, job);
}

static void
conn_lose_protocol(struct lm_conn *conn, const struct lm_error *err)
{
  conn_lose(conn, err->code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_PROTOCOL, err->text);
}

static void
conn_trace_connection(struct lm_conn *conn)
{
  const struct lm_endpoint *endpoint = conn->site->endpoint;
  struct lm_buf text;
  long port = 0;
  char line[192];
  const char *address = lm_stream_peer(&conn->stream, &port);
  snprintf(line, sizeof line, "%.100s via %s port %ld%s", endpoint->authority, address, port,
           endpoint->proxy != NULL ? ", a proxy" : "");
  lm_buf_init(&text, sizeof line);
  lm_buf_str(&text, line);
  lm_notes_add_text(&conn->job->batch->notes, LM_NOTE_CONNECTED, conn->job, &text);
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
    lm_error_set(&err, LM_E_SYSTEM, "the proxy %s answered %d to CONNECT %s%s", endpoint->dial_host,
                 proxy_said, endpoint->authority,
                 proxy_said == 407 ? ": put a user and a password into the proxy URL" : "");
  if (failure.no_descriptors)
    turn->no_descriptors(turn->context);
  lm_endpoint_suspect(endpoint);
  conn->hopeless = proxy_said == 407 || failure.tls_refused;
  conn_lose(conn, proxy_said == 407 ? LM_FAIL_CONFIG : LM_FAIL_CONNECT, err.text);
}

static void
conn_on_opened(void *owner, bool connected)
{
  struct lm_conn *conn = owner;
  struct lm_turn *turn = conn->site->turn;
  struct lm_error err;
  if (!connected) {
    conn_fail_to_connect(conn);
    return;
  }
  if (lm_loop_set(turn->loop, conn->stream.fd, LM_LOOP_READ | LM_LOOP_WRITE | LM_LOOP_EDGE,
                  conn_on_event, conn, &err) != 0) {
    conn_lose(conn, LM_FAIL_SYSTEM, err.text);
    return;
  }
  struct lm_batch *batch = conn->job->batch;
  atomic_fetch_add(&batch->stats.connections, 1);
  if (batch->notes.traced)
    conn_trace_connection(conn);
  lm_list_remove(&conn->link); /* lm_conn_start inserts it again */
  lm_heap_remove(&turn->timers, &conn->timer);
  lm_conn_start(conn);
}

/* --- one request --- */

/* Merge the job's durable name into the target's signed headers, which are sorted. */
static void
conn_with_name(const struct lm_target *target, const struct lm_job *job, const char **merged)
{
  bool before = true;
  for (const char **at = target->signed_headers; *at != NULL; at += 2) {
    if (before && strcmp(at[0], DURABLE_NAME) > 0) {
      *merged++ = DURABLE_NAME;
      *merged++ = job->durable_name;
      before = false;
    }
    *merged++ = at[0];
    *merged++ = at[1];
  }
  if (before) {
    *merged++ = DURABLE_NAME;
    *merged++ = job->durable_name;
  }
  *merged = NULL;
}

static int
conn_sign(struct lm_conn *conn, struct lm_job *job, struct lm_error *err)
{
  const char *merged[2 * (LM_MAX_SIGNED_HEADERS + 1) + 1];
  struct lm_target *target = job->batch->target;
  struct lm_credentials *credentials = lm_target_credentials(target);
  job->signed_offset_s = atomic_load(&conn->site->endpoint->clock_offset_s);
  struct lm_sigv4_request request = {
      .host = conn->site->endpoint->authority,
      .path = target->path,
      .query = target->query,
      .extra = target->signed_headers,
      .body = job->body.data,
      .body_len = job->body.len,
      .body_digest = job->digested_ns != 0 ? job->body_digest : NULL,
      .region = target->region,
      .access_key = credentials->access_key,
      .secret_key = credentials->secret_key,
      .token = credentials->token,
      .unix_s = lm_seams.unix_s() + job->signed_offset_s,
  };
  if (job->durable_name != NULL) {
    conn_with_name(target, job, merged);
    request.extra = merged;
  }
  job->signed_with = credentials->generation;
  int result = lm_sigv4_sign(conn->site->turn->signer, &request, &conn->out, err);
  lm_credentials_unref(credentials);
  return result;
}

static void
conn_trace_head(const struct lm_buf *head, struct lm_job *job)
{
  struct lm_buf text;
  lm_buf_init(&text, MAX_HEAD_BYTES);
  lm_redact_head((const char *)head->data, head->len, &text);
  lm_notes_add_text(&job->batch->notes, LM_NOTE_SENT, job, &text);
}

static int
conn_write_head(struct lm_conn *conn, struct lm_job *job, struct lm_error *err)
{
  const struct lm_target *target = job->batch->target;
  struct lm_buf *out = &conn->out;
  lm_buf_clear(out);
  lm_buf_append(out, target->head, target->head_len);
  lm_buf_str(out, "amz-sdk-invocation-id: ");
  lm_buf_append(out, job->batch->opts.map_id, LM_MAP_ID_LEN);
  lm_buf_byte(out, '-');
  lm_buf_uint(out, job->first_item);
  lm_buf_str(out, "\r\namz-sdk-request: attempt=");
  lm_buf_uint(out, job->attempts);
  lm_buf_str(out, "; max=");
  lm_buf_uint(out, target->max_attempts);
  if (job->durable_name != NULL) {
    lm_buf_str(out, "\r\n" DURABLE_NAME ": ");
    lm_buf_str(out, job->durable_name);
  }
  lm_buf_str(out, "\r\nContent-Length: ");
  lm_buf_uint(out, job->body.len);
  lm_buf_str(out, "\r\n");
  if (conn_sign(conn, job, err) != 0)
    return -1;
  lm_buf_str(out, "\r\n");
  if (job->batch->notes.traced)
    conn_trace_head(out, job);
  conn->body_apart = job->body.len > TOGETHER_BYTES;
  if (!conn->body_apart)
    lm_buf_append(out, job->body.data, job->body.len);
  return lm_buf_check(out, "the request head", err);
}

static void
conn_go_on_next_turn(struct lm_conn *conn)
{
  if (!lm_list_linked(&conn->again))
    lm_list_push_back(&conn->site->turn->again, &conn->again);
}

/* Send until everything has been sent, the socket is full, or the turn ends. */
static int
conn_send_more(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_job *job = conn->job;
  size_t moved = 0;
  while (!conn->all_sent) {
    bool in_head = conn->out_done < conn->out.len;
    const uint8_t *at =
        in_head ? conn->out.data + conn->out_done : job->body.data + conn->body_done;
    size_t left = in_head ? conn->out.len - conn->out_done : job->body.len - conn->body_done;
    size_t offer = conn->slice != 0 ? conn->slice : left > SLICE_BYTES ? SLICE_BYTES : left;
    size_t n = 0;
    enum lm_stream_result result = lm_stream_send(&conn->stream, at, offer, &n);
    if (result == LM_STREAM_AGAIN) {
      conn->touched = true;
      conn->slice = offer;
      lm_loop_want_write(conn->site->turn->loop, conn->stream.fd, true);
      return 0;
    }
    if (result == LM_STREAM_BROKEN)
      return lm_error_set(err, LM_E_SYSTEM, "the connection broke while sending: %s",
                          lm_stream_why(&conn->stream));
    if (n > 0)
      conn->touched = true;
    conn->slice = 0;
    job->bytes_sent += n;
    moved += n;
    if (in_head)
      conn->out_done += n;
    else
      conn->body_done += n;
    conn->all_sent =
        conn->out_done == conn->out.len && (!conn->body_apart || conn->body_done == job->body.len);
    if (!conn->all_sent && moved >= TURN_BYTES) {
      conn_go_on_next_turn(conn);
      return 0;
    }
  }
  lm_loop_want_write(conn->site->turn->loop, conn->stream.fd, false);
  return 0;
}

/* Set the clock offset from the Date of a reply by AWS itself, not by a proxy or a cache. */
static void
conn_heed_date(struct lm_endpoint *endpoint, struct lm_job *job)
{
  const struct lm_http1_head *head = &job->head;
  if (head->date_s >= 0 && !head->has_age && head->request_id[0] != '\0')
    atomic_store(&endpoint->clock_offset_s, lm_skew_offset(head->date_s, lm_seams.unix_s()));
  job->clock_was_off =
      lm_skew_matters(job->signed_offset_s, atomic_load(&endpoint->clock_offset_s));
}

/* Make the connection IDLE: its reply was read to its exact end. */
static void
conn_keep(struct lm_conn *conn)
{
  struct lm_site *site = conn->site;
  conn->state = LM_CONN_IDLE;
  conn->idle_since_ns = site->turn->now_ns;
  lm_endpoint_add_idle(site->endpoint, site->turn->index, 1);
  lm_list_push_front(&site->idle, &conn->link);
}

static void
conn_finish(struct lm_conn *conn, bool extra_bytes)
{
  struct lm_site *site = conn->site;
  struct lm_turn *turn = site->turn;
  struct lm_error err;
  if (extra_bytes || conn->reply.content_encoded) {
    lm_error_set(&err, LM_E_FORMAT, "%s",
                 extra_bytes ? "unexpected bytes after the end of the reply"
                             : "unexpected Content-Encoding in the reply");
    conn_lose_protocol(conn, &err);
    return;
  }
  struct lm_job *job = conn_take_job(conn);
  job->head = conn->reply.head;
  conn_heed_date(site->endpoint, job);
  if (job->batch->notes.traced)
    lm_notes_add(&job->batch->notes, LM_NOTE_REPLY, job, 0, lm_seams.now_ns() - job->started_ns);
  if (conn->reply.keep_alive && conn->all_sent && !conn->peer_closed)
    conn_keep(conn);
  else
    lm_conn_close(conn);
  turn->replied(turn->context, job);
}

/* Receive until the socket is empty, the reply is complete, or the turn ends. True: the attempt has ended
 * and conn may have been freed. */
static bool
conn_receive(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_job *job = conn->job;
  struct lm_error err;
  size_t moved = 0;
  for (;;) {
    size_t n = 0, taken = 0, room = LM_SCRATCH_BYTES;
    enum lm_http1_state_out state;
    uint8_t *in_place = lm_http1_room(&conn->reply, &job->reply, &room);
    enum lm_stream_result result =
        lm_stream_recv(&conn->stream, in_place != NULL ? in_place : turn->scratch, room, &n);
    if (result == LM_STREAM_AGAIN)
      return false;
    if (result == LM_STREAM_OK && n > 0) {
      job->bytes_received += n;
      moved += n;
      if (in_place == NULL) {
        state = lm_http1_feed(&conn->reply, turn->scratch, n, &taken, &job->reply, &err);
      } else {
        lm_http1_filled(&conn->reply, &job->reply, n);
        state = LM_HTTP1_MORE;
      }
    } else if (result == LM_STREAM_OK) {
      state = lm_http1_eof(&conn->reply, &err);
      taken = n;
      if (state == LM_HTTP1_COMPLETE)
        conn->reply.keep_alive = false;
      if (state == LM_HTTP1_BAD && !lm_http1_started(&conn->reply)) {
        conn_lose(conn, LM_FAIL_CONNECTION_LOST,
                  "the connection was closed before a reply was received");
        return true;
      }
    } else {
      lm_error_set(&err, LM_E_SYSTEM, "the connection broke before the reply was complete: %s",
                   lm_stream_why(&conn->stream));
      conn_lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
      return true;
    }
    if (state == LM_HTTP1_BAD) {
      conn_lose_protocol(conn, &err);
      return true;
    }
    if (state == LM_HTTP1_COMPLETE) {
      conn_finish(conn, taken < n);
      return true;
    }
    if (moved >= TURN_BYTES) {
      conn_go_on_next_turn(conn);
      return false;
    }
  }
}

/* Send more. False: sending failed; the attempt has ended, or continues with a reply. A peer may have replied
 * (413) and closed: its reply takes precedence over our error. */
static bool
conn_send_on(struct lm_conn *conn)
{
  struct lm_error err;
  if (conn_send_more(conn, &err) == 0)
    return true;
  if (!conn_receive(conn))
    conn_lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
  return false;
}

void
lm_conn_continue(struct lm_conn *conn)
{
  if (conn->all_sent || conn_send_on(conn))
    conn_receive(conn);
}

void
lm_conn_start(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_job *job = conn->job;
  struct lm_error err;
  conn->state = LM_CONN_BUSY;
  conn->out_done = conn->body_done = conn->slice = 0;
  conn->touched = conn->all_sent = false;
  lm_http1_init(&conn->reply);
  lm_list_push_back(&turn->active, &conn->link);
  if (job->digested_ns == 0 || turn->now_ns - job->digested_ns > STALE_NS)
    lm_coding_patch(job, turn->now_ns);
  if (lm_heap_set(&turn->timers, &conn->timer, job->deadline_ns) != 0) {
    conn_lose(conn, LM_FAIL_MEMORY, "out of memory");
    return;
  }
  if (conn_write_head(conn, job, &err) != 0) {
    conn_lose(conn, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_SYSTEM, err.text);
    return;
  }
  atomic_fetch_add(&job->batch->stats.requests, 1);
  (void)conn_send_on(conn);
}

void
lm_conn_expire(struct lm_conn *conn)
{
  conn_lose(conn, LM_FAIL_DEADLINE,
            conn->state == LM_CONN_CONNECTING ? "deadline exceeded while connecting"
            : conn->reply.head_done           ? "deadline exceeded while receiving the reply"
                                              : "deadline exceeded while waiting for the reply");
}

void
lm_conn_cancel(struct lm_conn *conn, const char *why)
{
  conn_lose(conn, LM_FAIL_CANCELLED, why);
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
  if (conn->state == LM_CONN_BUSY) {
    lm_conn_continue(conn);
    return;
  }
  if (!(events & LM_LOOP_READ))
    return;
  if (!lm_conn_is_silent(conn))
    lm_conn_close(conn);
}
