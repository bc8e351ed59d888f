#include "transport/h2.h"

#include <string.h>

#include "base/alloc.h"
#include "http/http2.h"
#include "http/text.h"
#include "job/batch.h"
#include "os/seams.h"
#include "policy/deadline.h"
#include "transport/request.h"

enum {
  /* On one connection, whatever the peer allows: a lost one must not make more chunks MAYBE. */
  MOST_STREAMS = 128,
  SEND_BYTES = 65536,  /* taken from lm_http2 at once */
  FRAME_BYTES = 65536, /* by which it may exceed that */
  /* Written at once: one record of TLS. If that fails, the peer cannot read any of it; of several it may
   * have read the first. */
  RECORD_BYTES = 16384,
  TURN_BYTES = 65536 /* sent or received per turn, before other connections have theirs */
};

/* A job's stream. */
struct request {
  struct lm_http2_stream stream;
  struct lm_job *job; /* owned */
};

struct lm_h2 {
  struct lm_http2 http2;
  struct lm_buf head; /* of the request that is being opened, as text */
  struct lm_buf out;  /* taken from http2, to be sent */
  size_t out_done;
  uint64_t offered; /* bytes that http2 has given and the socket was offered, since the beginning */
  int64_t heard_ns; /* when bytes were received, or the first of the running streams was opened */
  int64_t pinged_ns; /* when a PING was sent, with nothing received since; 0: none */
  bool reply_late;   /* no PING was sent since a reply was late */
};

static void h2_proceed(struct lm_conn *conn);
static void h2_drop(struct lm_job *job, enum lm_failure failure, const char *why);
static void h2_clean_up(struct lm_conn *conn);

static const struct lm_protocol HTTP2 = {
    .proceed = h2_proceed,
    .drop = h2_drop,
    .clean_up = h2_clean_up,
};

int
lm_h2_adopt(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_h2 *h2 = lm_alloc_zero(1, sizeof *h2);
  if (h2 == NULL)
    return lm_error_nomem(err, sizeof *h2);
  if (lm_http2_init(&h2->http2, err) != 0) {
    lm_free(h2);
    return -1;
  }
  lm_buf_init(&h2->head, LM_MAX_HEAD_BYTES);
  lm_buf_init(&h2->out, SEND_BYTES + FRAME_BYTES);
  conn->h2 = h2;
  conn->protocol = &HTTP2;
  lm_conn_rest(conn);
  return 0;
}

static void
h2_clean_up(struct lm_conn *conn)
{
  struct lm_h2 *h2 = conn->h2;
  lm_http2_clean_up(&h2->http2);
  lm_buf_clean_up(&h2->head);
  lm_buf_clean_up(&h2->out);
  lm_free(h2);
}

unsigned
lm_h2_running(const struct lm_conn *conn)
{
  return (unsigned)conn->h2->http2.n_running;
}

bool
lm_h2_settled(const struct lm_conn *conn)
{
  return conn->h2->http2.settled;
}

/* Whether a PING is unanswered, whatever else the peer has sent since, or must be sent. */
static bool
h2_is_doubted(const struct lm_h2 *h2)
{
  return h2->reply_late || h2->http2.pongs < h2->http2.pings;
}

unsigned
lm_h2_room(const struct lm_conn *conn)
{
  unsigned running = lm_h2_running(conn), allowed = lm_http2_may_open(&conn->h2->http2);
  /* Some peers end a connection with more streams than they allow: one until they have said how many. */
  unsigned limit = h2_is_doubted(conn->h2) ? 0 : lm_h2_settled(conn) ? MOST_STREAMS : 1;
  unsigned most = running < limit ? limit - running : 0;
  return allowed < most ? allowed : most;
}

/* --- ends --- */

/* The job's attempt is over; the stream is no longer http2's. */
static struct lm_job *
h2_close_request(struct lm_conn *conn, struct request *request)
{
  struct lm_h2 *h2 = conn->h2;
  struct lm_job *job = request->job;
  /* What http2 has given is sent even if the stream is given up, unless the connection is. */
  job->touched = request->stream.sent_from < (h2->http2.failed ? h2->offered : h2->http2.given);
  job->bytes_sent += request->stream.body_sent;
  job->bytes_received += job->reply.len;
  if (request->stream.head_done)
    job->head = request->stream.head;
  job->stream = NULL;
  lm_conn_release(job);
  lm_free(request);
  conn->site->changed = true;
  if (h2->http2.n_running == 0 && conn->state == LM_CONN_BUSY)
    lm_conn_rest(conn);
  return job;
}

static void
h2_end_request(struct lm_conn *conn, struct request *request)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_error err = request->stream.err;
  enum lm_http2_end end = request->stream.end;
  const char *error_name = lm_http2_error_name(request->stream.error_code);
  struct lm_job *job = h2_close_request(conn, request);
  switch (end) {
  case LM_HTTP2_RUNS: /* cannot be */
  case LM_HTTP2_COMPLETE:
    lm_conn_note_reply(conn, job);
    turn->replied(turn->context, job);
    return;
  case LM_HTTP2_REFUSED:
    job->outcome = lm_outcome_of_refusal();
    lm_error_set(&job->error, LM_E_SYSTEM, "the endpoint refused the request (%s)", error_name);
    break;
  case LM_HTTP2_RESET:
    job->outcome = lm_conn_loss(job, LM_FAIL_CONNECTION_LOST);
    lm_error_set(&job->error, LM_E_SYSTEM, "the endpoint reset the request's stream (%s)",
                 error_name);
    break;
  case LM_HTTP2_BAD:
    job->outcome = lm_conn_loss(job, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_PROTOCOL);
    job->error = err;
    break;
  case LM_HTTP2_LOST:
    job->outcome = lm_conn_loss(job, err.code == LM_E_NOMEM    ? LM_FAIL_MEMORY
                                     : err.code == LM_E_SYSTEM ? LM_FAIL_CONNECTION_LOST
                                                               : LM_FAIL_PROTOCOL);
    job->error = err;
    break;
  }
  turn->ended(turn->context, job);
}

/* End the attempts whose streams have ended. True: the connection was of no more use, and is closed. */
static bool
h2_settle(struct lm_conn *conn)
{
  struct lm_http2 *http2 = &conn->h2->http2;
  for (struct lm_http2_stream *stream; (stream = lm_http2_next_ended(http2)) != NULL;)
    h2_end_request(conn, LM_CONTAINER(stream, struct request, stream));
  bool useless = http2->going_away || (http2->settled && lm_http2_may_open(http2) == 0);
  if (!http2->failed && !(useless && http2->n_running == 0))
    return false;
  conn->site->changed = true;
  lm_conn_close(conn);
  return true;
}

/* The connection failed: end every attempt, and close it. */
static void
h2_lose(struct lm_conn *conn, const struct lm_error *why)
{
  lm_http2_lose(&conn->h2->http2, why);
  (void)h2_settle(conn);
}

static int
h2_ping(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_h2 *h2 = conn->h2;
  if (lm_http2_ping(&h2->http2, err) != 0)
    return -1;
  h2->reply_late = false;
  h2->pinged_ns = conn->site->turn->now_ns;
  lm_conn_go_on_next_turn(conn);
  return 0;
}

/* A reply that is late may mean that the path is dead: nothing else is put at stake until a PING that was sent
 * after that is answered. */
static int
h2_ask_if_late(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_h2 *h2 = conn->h2;
  bool asked = h2->http2.pongs < h2->http2.pings;
  return h2->reply_late && !asked ? h2_ping(conn, err) : 0;
}

static void
h2_drop(struct lm_job *job, enum lm_failure failure, const char *why)
{
  struct lm_conn *conn = job->conn;
  struct lm_turn *turn = conn->site->turn;
  struct lm_http2_stream *stream = job->stream;
  lm_http2_reset(&conn->h2->http2, stream);
  (void)h2_close_request(conn, LM_CONTAINER(stream, struct request, stream));
  job->outcome = lm_conn_loss(job, failure);
  lm_error_set(&job->error, LM_E_SYSTEM, "%s", why);
  lm_conn_go_on_next_turn(conn); /* to send RST_STREAM */
  if (failure == LM_FAIL_DEADLINE)
    conn->h2->reply_late = true;
  turn->ended(turn->context, job);
}

/* --- one request --- */

/* Split a request's head, as HTTP/1.1 text, into its path and fields, which point into it; names in lower
 * case. Returns the number of fields; more than `most`: there was no room. */
static size_t
h2_split_head(struct lm_buf *head, const char **path, struct lm_field *fields, size_t most)
{
  size_t n = 0;
  char *at = (char *)head->data, *end = at + head->len;
  *path = at = (char *)memchr(at, ' ', head->len) + 1;
  *(char *)memchr(at, ' ', (size_t)(end - at)) = '\0';
  for (at = memchr(at, '\n', (size_t)(end - at)); at != NULL && ++at < end && *at != '\r';) {
    char *eol = memchr(at, '\r', (size_t)(end - at));
    char *colon = memchr(at, ':', (size_t)(eol - at));
    for (char *letter = at; letter < colon; letter++)
      if (*letter >= 'A' && *letter <= 'Z')
        *letter += 'a' - 'A';
    struct lm_field field = {
        .name = at,
        .name_len = (size_t)(colon - at),
        .value = colon + 2,
        .value_len = (size_t)(eol - colon - 2),
    };
    lm_text_trim(&field.value, &field.value_len); /* blanks around it are an error here */
    field.secret =
        lm_field_is(&field, "authorization") || lm_field_is(&field, "x-amz-security-token");
    if (!lm_field_is(&field, "host") && !lm_field_is(&field, "connection")) {
      if (n == most)
        return most + 1;
      fields[n++] = field;
    }
    at = eol + 1;
  }
  return n;
}

static int
h2_open(struct lm_conn *conn, struct request *request, struct lm_error *err)
{
  struct lm_h2 *h2 = conn->h2;
  struct lm_job *job = request->job;
  const struct lm_endpoint *endpoint = conn->site->endpoint;
  struct lm_field fields[LM_HTTP2_MAX_FIELDS];
  if (lm_request_write(conn->site->turn, endpoint, job, &h2->head, err) != 0)
    return -1;
  const char *path;
  size_t n = h2_split_head(&h2->head, &path, fields, LM_HTTP2_MAX_FIELDS);
  if (n > LM_HTTP2_MAX_FIELDS)
    return lm_error_set(err, LM_E_LIMIT, "more than %d headers", LM_HTTP2_MAX_FIELDS);
  struct lm_http2_request spec = {
      .scheme = endpoint->tls ? "https" : "http",
      .authority = endpoint->authority,
      .path = path,
      .fields = fields,
      .n_fields = n,
      .body = job->body.data,
      .body_len = job->body.len,
  };
  return lm_http2_open(&h2->http2, &request->stream, &spec, &job->reply, err);
}

void
lm_h2_start(struct lm_conn *conn, struct lm_job *job)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_h2 *h2 = conn->h2;
  struct lm_error err;
  struct request *request = lm_alloc_zero(1, sizeof *request);
  if (request == NULL) {
    lm_error_nomem(&err, sizeof *request);
    goto err_job;
  }
  if (lm_conn_hold(conn, job, &err) != 0)
    goto err_request;
  request->job = job;
  job->stream = &request->stream;
  if (h2_open(conn, request, &err) != 0)
    goto err_hold;
  if (conn->state == LM_CONN_IDLE) {
    conn->state = LM_CONN_BUSY;
    lm_endpoint_add_idle(conn->site->endpoint, turn->index, -1);
    h2->heard_ns = turn->now_ns;
  }
  struct lm_batch_stats *stats = &job->batch->stats;
  atomic_fetch_add(&stats->requests, 1);
  atomic_fetch_add(&stats->streams, 1);
  lm_conn_go_on_next_turn(conn);
  return;

err_hold:
  job->stream = NULL;
  lm_conn_release(job);
err_request:
  lm_free(request);
err_job:
  job->outcome =
      lm_outcome_of_loss(false, 0, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_SYSTEM);
  job->error = err;
  turn->ended(turn->context, job);
}

/* --- bytes --- */

/* Send until there is nothing to send, the socket is full, or the turn ends. */
static int
h2_send(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_h2 *h2 = conn->h2;
  struct lm_turn *turn = conn->site->turn;
  for (size_t moved = 0;;) {
    if (h2->out_done == h2->out.len) {
      lm_buf_clear(&h2->out);
      h2->out_done = 0;
      if (lm_http2_send(&h2->http2, &h2->out, SEND_BYTES, err) != 0)
        return -1;
      if (h2->out.len == 0) {
        lm_loop_want_write(turn->loop, conn->stream.fd, false);
        return 0;
      }
    }
    size_t left = h2->out.len - h2->out_done, n = 0;
    size_t offer = left < RECORD_BYTES ? left : RECORD_BYTES;
    enum lm_stream_result result = lm_conn_send(conn, h2->out.data + h2->out_done, offer, &n);
    if (result == LM_STREAM_BROKEN)
      return lm_error_set(err, LM_E_SYSTEM, "the connection broke while sending: %s",
                          lm_stream_why(&conn->stream));
    h2->out_done += n;
    moved += n;
    /* After AGAIN, some of what was offered may have left all the same. */
    uint64_t offered =
        h2->http2.given - (h2->out.len - h2->out_done) + (result == LM_STREAM_AGAIN ? offer : 0);
    if (h2->offered < offered)
      h2->offered = offered;
    if (result == LM_STREAM_AGAIN)
      return 0;
    if (moved >= TURN_BYTES) {
      lm_conn_go_on_next_turn(conn);
      return 0;
    }
  }
}

/* Receive until the socket is empty, or the turn ends. */
static int
h2_receive(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_h2 *h2 = conn->h2;
  for (size_t moved = 0; moved < TURN_BYTES;) {
    size_t n = 0;
    enum lm_stream_result result =
        lm_stream_recv(&conn->stream, turn->scratch, LM_SCRATCH_BYTES, &n);
    if (result == LM_STREAM_AGAIN)
      return 0;
    if (result == LM_STREAM_BROKEN)
      return lm_error_set(err, LM_E_SYSTEM,
                          "the connection broke before the reply was complete: %s",
                          lm_stream_why(&conn->stream));
    if (n == 0)
      return lm_error_set(err, LM_E_SYSTEM,
                          "the connection was closed before a reply was received");
    moved += n;
    h2->heard_ns = turn->now_ns;
    h2->pinged_ns = 0;
    unsigned room = lm_h2_room(conn);
    if (lm_http2_feed(&h2->http2, turn->scratch, n, err) != 0)
      return -1;
    if (lm_h2_room(conn) > room)
      conn->site->changed = true;
  }
  lm_conn_go_on_next_turn(conn);
  return 0;
}

static void
h2_proceed(struct lm_conn *conn)
{
  struct lm_error err;
  /* First what has come: a connection that was closed meanwhile is given no new streams. */
  if (h2_receive(conn, &err) != 0) {
    h2_lose(conn, &err);
    return;
  }
  if (h2_ask_if_late(conn, &err) != 0 || h2_send(conn, &err) != 0) {
    struct lm_error ignored;
    /* A peer may have replied and closed: its replies take precedence over our error. */
    (void)h2_receive(conn, &ignored);
    h2_lose(conn, &err);
    return;
  }
  if (conn->slice == 0 && lm_http2_has_output(&conn->h2->http2))
    lm_conn_go_on_next_turn(conn);
  (void)h2_settle(conn);
}

/* --- silence --- */

int64_t
lm_h2_due(const struct lm_conn *conn)
{
  const struct lm_h2 *h2 = conn->h2;
  if (h2->pinged_ns != 0)
    return h2->pinged_ns + lm_periods.silence_ns;
  return h2->http2.n_running == 0 ? LM_NEVER_NS : h2->heard_ns + lm_periods.silence_ns;
}

void
lm_h2_tend(struct lm_conn *conn, int64_t now_ns)
{
  struct lm_h2 *h2 = conn->h2;
  struct lm_error err;
  if (now_ns < lm_h2_due(conn))
    return;
  if (h2->pinged_ns != 0) {
    lm_error_set(&err, LM_E_SYSTEM, "the endpoint did not answer a PING for %lld s",
                 (long long)(lm_periods.silence_ns / 1000000000));
    h2_lose(conn, &err);
  } else if (h2_ping(conn, &err) != 0) {
    h2_lose(conn, &err);
  }
}
