#include "transport/h1.h"

#include "base/alloc.h"
#include "http/http1.h"
#include "job/batch.h"
#include "transport/request.h"

enum {
  TOGETHER_BYTES = 65536, /* a body up to this size is sent in one write with its head */
  TURN_BYTES = 1 << 18    /* sent or received per turn, before other connections have theirs */
};

struct lm_h1 {
  struct lm_buf out;          /* request head, followed by the body if that is small */
  size_t out_done, body_done; /* bytes written */
  bool body_apart;            /* the body is sent from the job's buffer, not from out */
  bool all_sent;
  struct lm_http1 reply;
};

static void h1_proceed(struct lm_conn *conn);
static void h1_clean_up(struct lm_conn *conn);

static const struct lm_protocol HTTP1 = {
    .proceed = h1_proceed,
    .clean_up = h1_clean_up,
};

int
lm_h1_adopt(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_h1 *h1 = lm_alloc_zero(1, sizeof *h1);
  if (h1 == NULL)
    return lm_error_nomem(err, sizeof *h1);
  lm_buf_init(&h1->out, LM_MAX_HEAD_BYTES + TOGETHER_BYTES);
  lm_http1_init(&h1->reply);
  conn->h1 = h1;
  conn->protocol = &HTTP1;
  return 0;
}

static void
h1_clean_up(struct lm_conn *conn)
{
  lm_buf_clean_up(&conn->h1->out);
  lm_http1_clean_up(&conn->h1->reply);
  lm_free(conn->h1);
}

static void
h1_lose_protocol(struct lm_conn *conn, const struct lm_error *err)
{
  lm_conn_lose(conn, err->code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_PROTOCOL, err->text);
}

/* Send until everything has been sent, the socket is full, or the turn ends. */
static int
h1_send(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_h1 *h1 = conn->h1;
  struct lm_turn *turn = conn->site->turn;
  struct lm_job *job = conn->job;
  size_t moved = 0;
  while (!h1->all_sent) {
    bool in_head = h1->out_done < h1->out.len;
    const uint8_t *at = in_head ? h1->out.data + h1->out_done : job->body.data + h1->body_done;
    size_t left = in_head ? h1->out.len - h1->out_done : job->body.len - h1->body_done, n = 0;
    enum lm_stream_result result = lm_conn_send(conn, at, left, &n);
    job->touched = job->touched || result == LM_STREAM_AGAIN || n > 0;
    if (result == LM_STREAM_AGAIN)
      return 0;
    if (result == LM_STREAM_BROKEN)
      return lm_error_set(err, LM_E_SYSTEM, "the connection broke while sending: %s",
                          lm_stream_why(&conn->stream));
    job->bytes_sent += n;
    moved += n;
    if (in_head)
      h1->out_done += n;
    else
      h1->body_done += n;
    h1->all_sent =
        h1->out_done == h1->out.len && (!h1->body_apart || h1->body_done == job->body.len);
    if (!h1->all_sent && moved >= TURN_BYTES) {
      lm_conn_go_on_next_turn(conn);
      return 0;
    }
  }
  lm_loop_want_write(turn->loop, conn->stream.fd, false);
  return 0;
}

static void
h1_finish(struct lm_conn *conn, bool extra_bytes)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_error err;
  if (extra_bytes || conn->h1->reply.head.content_encoded) {
    lm_error_set(&err, LM_E_FORMAT, "%s",
                 extra_bytes ? "unexpected bytes after the end of the reply"
                             : "unexpected Content-Encoding in the reply");
    h1_lose_protocol(conn, &err);
    return;
  }
  struct lm_job *job = lm_conn_detach(conn);
  lm_conn_note_reply(conn, job);
  if (conn->h1->reply.keep_alive && conn->h1->all_sent && !conn->peer_closed)
    lm_conn_keep(conn);
  else
    lm_conn_close(conn);
  turn->replied(turn->context, job);
}

/* Receive until the socket is empty, the reply is complete, or the turn ends. True: the attempt has ended
 * and conn may have been freed. */
static bool
h1_receive(struct lm_conn *conn)
{
  struct lm_turn *turn = conn->site->turn;
  struct lm_h1 *h1 = conn->h1;
  struct lm_job *job = conn->job;
  struct lm_error err;
  size_t moved = 0;
  for (;;) {
    size_t n = 0, taken = 0, room = LM_SCRATCH_BYTES;
    enum lm_http1_state_out state;
    uint8_t *in_place = lm_http1_room(&h1->reply, &job->reply, &room);
    enum lm_stream_result result =
        lm_stream_recv(&conn->stream, in_place != NULL ? in_place : turn->scratch, room, &n);
    if (result == LM_STREAM_AGAIN)
      return false;
    if (result == LM_STREAM_OK && n > 0) {
      job->bytes_received += n;
      moved += n;
      if (in_place == NULL) {
        state = lm_http1_feed(&h1->reply, turn->scratch, n, &taken, &job->reply, &err);
      } else {
        lm_http1_filled(&h1->reply, &job->reply, n);
        state = LM_HTTP1_MORE;
      }
    } else if (result == LM_STREAM_OK) {
      state = lm_http1_eof(&h1->reply, &err);
      taken = n;
      if (state == LM_HTTP1_COMPLETE)
        h1->reply.keep_alive = false;
      if (state == LM_HTTP1_BAD && !lm_http1_started(&h1->reply)) {
        lm_conn_lose(conn, LM_FAIL_CONNECTION_LOST,
                     "the connection was closed before a reply was received");
        return true;
      }
    } else {
      lm_error_set(&err, LM_E_SYSTEM, "the connection broke before the reply was complete: %s",
                   lm_stream_why(&conn->stream));
      lm_conn_lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
      return true;
    }
    if (h1->reply.head_done && job->head.status == 0)
      job->head = h1->reply.head;
    if (state == LM_HTTP1_BAD) {
      h1_lose_protocol(conn, &err);
      return true;
    }
    if (state == LM_HTTP1_COMPLETE) {
      h1_finish(conn, taken < n);
      return true;
    }
    if (moved >= TURN_BYTES) {
      lm_conn_go_on_next_turn(conn);
      return false;
    }
  }
}

/* Send more. False: sending failed; the attempt has ended, or continues with a reply. A peer may have replied
 * (413) and closed: its reply takes precedence over our error. */
static bool
h1_send_on(struct lm_conn *conn)
{
  struct lm_error err;
  if (h1_send(conn, &err) == 0)
    return true;
  if (!h1_receive(conn))
    lm_conn_lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
  return false;
}

static void
h1_proceed(struct lm_conn *conn)
{
  if (conn->job == NULL) {
    if (!lm_conn_is_silent(conn))
      lm_conn_close(conn);
  } else if (conn->h1->all_sent || h1_send_on(conn)) {
    h1_receive(conn);
  }
}

void
lm_h1_start(struct lm_conn *conn)
{
  struct lm_h1 *h1 = conn->h1;
  struct lm_job *job = conn->job;
  struct lm_error err;
  h1->out_done = h1->body_done = conn->slice = 0;
  h1->all_sent = false;
  lm_http1_init(&h1->reply);
  h1->body_apart = job->body.len > TOGETHER_BYTES;
  if (lm_request_write(conn->site->turn, conn->site->endpoint, job, &h1->out, &err) != 0)
    goto err_lose;
  if (!h1->body_apart)
    lm_buf_append(&h1->out, job->body.data, job->body.len);
  if (lm_buf_check(&h1->out, "the request head", &err) != 0)
    goto err_lose;
  atomic_fetch_add(&job->batch->stats.requests, 1);
  (void)h1_send_on(conn);
  return;

err_lose:
  lm_conn_lose(conn, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_SYSTEM, err.text);
}
