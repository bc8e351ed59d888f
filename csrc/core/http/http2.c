#include "http/http2.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "http/http2_memory.h"

/* --- ends --- */

/* The peer may waste this many bytes more. */
static void
http2_credit(struct lm_http2 *h2, int64_t bytes)
{
  h2->waste -= bytes;
  if (h2->waste < -LM_HTTP2_ALL_WINDOW)
    h2->waste = -LM_HTTP2_ALL_WINDOW;
}

static void
http2_progress(struct lm_http2 *h2)
{
  if (h2->waste > 0)
    h2->waste = 0;
}

/* The stream of this id that runs, or NULL: it is not ours, or no longer of interest. */
static struct lm_http2_stream *
http2_find(struct lm_http2 *h2, int32_t id)
{
  return id > 0 ? nghttp2_session_get_stream_user_data(h2->session, id) : NULL;
}

/* Make nghttp2 forget the struct; the stream itself may go on. */
static void
http2_detach(struct lm_http2 *h2, struct lm_http2_stream *stream)
{
  (void)nghttp2_session_set_stream_user_data(h2->session, stream->id, NULL);
  lm_list_remove(&stream->link);
  h2->n_running--;
}

static void
http2_end(struct lm_http2 *h2, struct lm_http2_stream *stream, enum lm_http2_end end)
{
  http2_detach(h2, stream);
  stream->end = end;
  lm_list_push_back(&h2->ended, &stream->link);
  http2_progress(h2);
}

/* End nghttp2's stream: with RST_STREAM, or, if its HEADERS are not serialized yet, without a trace. Without
 * memory for the frame, the stream stays open there and what comes for it is ignored. */
static void
http2_abandon(struct lm_http2 *h2, int32_t id, uint32_t error_code)
{
  (void)nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, error_code);
  http2_credit(h2, LM_HTTP2_WINDOW); /* what it had sent before it heard of that */
}

/* The reply is invalid: stream->err says why. */
static void
http2_spoil(struct lm_http2 *h2, struct lm_http2_stream *stream)
{
  http2_end(h2, stream, LM_HTTP2_BAD);
  http2_abandon(h2, stream->id,
                stream->err.code == LM_E_FORMAT ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_CANCEL);
}

/* Fail from within a callback. */
static int
http2_stop(struct lm_http2 *h2, enum lm_code code, const char *text)
{
  lm_error_set(&h2->err, code, "%s", text);
  h2->why = true;
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* The connection has failed: by h2->err if a callback has set it, else by nghttp2's error. */
static int
http2_fail(struct lm_http2 *h2, int nghttp2_error, struct lm_error *err)
{
  struct lm_error why;
  if (h2->why)
    why = h2->err;
  else if (nghttp2_error == NGHTTP2_ERR_NOMEM)
    lm_error_set(&why, LM_E_NOMEM, "out of memory");
  else if (nghttp2_error == NGHTTP2_ERR_FLOODED)
    lm_error_set(&why, LM_E_LIMIT, "the peer sends HTTP/2 frames that need replies and reads none");
  else
    lm_error_set(&why, LM_E_FORMAT, "%s: %s",
                 h2->settled ? "the peer violated HTTP/2" : "the peer does not speak HTTP/2",
                 nghttp2_error == 0 ? "invalid frame" : nghttp2_strerror(nghttp2_error));
  lm_http2_lose(h2, &why);
  *err = why;
  return -1;
}

static int
http2_has_failed(struct lm_error *err)
{
  return lm_error_set(err, LM_E_CLOSED, "the connection has failed before");
}

/* --- sending --- */

static ssize_t
http2_on_read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                   nghttp2_data_source *source, void *user_data)
{
  struct lm_http2_stream *stream = http2_find(user_data, id);
  (void)session, (void)buf, (void)source;
  if (stream == NULL)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  size_t left = stream->body_len - stream->body_sent;
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (len < left)
    return (ssize_t)len;
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  return (ssize_t)left;
}

static int
http2_on_send_body(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                   nghttp2_data_source *source, void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, frame->hd.stream_id);
  (void)session, (void)source;
  if (stream == NULL)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  lm_buf_append(h2->out, head, 9);
  lm_buf_append(h2->out, stream->body + stream->body_sent, len);
  stream->body_sent += len;
  http2_credit(h2, (int64_t)len);
  return h2->out->len >= h2->out_to ? NGHTTP2_ERR_PAUSE : 0;
}

static int
http2_on_before_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  struct lm_http2 *h2 = user_data;
  (void)session;
  if (frame->hd.type == NGHTTP2_GOAWAY && !h2->why) /* nghttp2's own: it gives up */
    return http2_stop(h2, LM_E_FORMAT, "the peer violated HTTP/2");
  if (frame->hd.type == NGHTTP2_HEADERS) {
    struct lm_http2_stream *stream = http2_find(h2, frame->hd.stream_id);
    if (stream != NULL)
      stream->sent_from = h2->given + (h2->out->len - h2->out_from);
  }
  return 0;
}

int
lm_http2_send(struct lm_http2 *h2, struct lm_buf *out, size_t up_to, struct lm_error *err)
{
  if (h2->failed)
    return http2_has_failed(err);
  h2->out = out;
  h2->out_from = out->len;
  h2->out_to = up_to;
  ssize_t n = 0;
  size_t before;
  do {
    const uint8_t *bytes;
    before = out->len;
    if (out->len >= up_to)
      break;
    n = nghttp2_session_mem_send(h2->session, &bytes);
    if (n > 0)
      lm_buf_append(out, bytes, (size_t)n);
  } while (n >= 0 && out->len > before);
  h2->out = NULL;
  h2->given += out->len - h2->out_from;
  if (n >= 0 && lm_buf_check(out, "the frames to send", &h2->err) != 0) {
    h2->why = true;
    n = NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  return n < 0 ? http2_fail(h2, (int)n, err) : 0;
}

bool
lm_http2_has_output(const struct lm_http2 *h2)
{
  return !h2->failed && nghttp2_session_want_write(h2->session);
}

/* --- receiving: heads --- */

static int
http2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  struct lm_http2_stream *stream = http2_find(user_data, frame->hd.stream_id);
  (void)session;
  if (stream != NULL)
    lm_http2_stream_begin_head(stream);
  return 0;
}

static int
http2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, frame->hd.stream_id);
  struct lm_field field = {.name = (const char *)name,
                           .name_len = name_len,
                           .value = (const char *)value,
                           .value_len = value_len};
  (void)session, (void)flags;
  if (stream != NULL && lm_http2_stream_field(stream, field) != 0)
    http2_spoil(h2, stream);
  return 0;
}

/* nghttp2 would ignore the field. */
static int
http2_on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                        size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                        void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, frame->hd.stream_id);
  (void)session, (void)name, (void)name_len, (void)value, (void)value_len, (void)flags;
  if (stream == NULL)
    return 0;
  lm_error_set(&stream->err, LM_E_FORMAT, "invalid header field in the reply");
  http2_spoil(h2, stream);
  return 0;
}

/* --- receiving: bodies and the rest --- */

static int
http2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len,
              void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, id);
  (void)flags;
  if (stream != NULL) {
    http2_credit(h2, 10 * (int64_t)len);
    if (lm_http2_stream_append(stream, bytes, len) != 0)
      http2_spoil(h2, stream);
  }
  /* It is in the caller's buffer, or dropped: the windows may open again. */
  if (nghttp2_session_consume(session, id, len) != 0)
    return http2_stop(h2, LM_E_NOMEM, "out of memory");
  return 0;
}

static int
http2_on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
  struct lm_http2 *h2 = user_data;
  (void)session;
  if (hd->type == NGHTTP2_PUSH_PROMISE)
    return http2_stop(h2, LM_E_FORMAT, "the peer pushed a reply: the connection forbids it");
  h2->continuations = hd->type == NGHTTP2_CONTINUATION ? h2->continuations + 1 : 0;
  if (h2->continuations > LM_HTTP2_MAX_CONTINUATIONS)
    return http2_stop(h2, LM_E_LIMIT, "the peer sent a header in too many frames");
  return 0;
}

/* The reply is complete; what is left of the request is not sent. */
static void
http2_complete(struct lm_http2 *h2, struct lm_http2_stream *stream)
{
  http2_end(h2, stream, LM_HTTP2_COMPLETE);
  if (stream->body_sent < stream->body_len)
    http2_abandon(h2, stream->id, NGHTTP2_CANCEL);
}

/* Streams above the last id were not processed, and those that were not sent never will be. A peer that has
 * replied to one nevertheless is not believed. */
static void
http2_go_away(struct lm_http2 *h2, const nghttp2_goaway *goaway)
{
  h2->going_away = true;
  h2->goaway_code = goaway->error_code;
  LM_LIST_EACH (&h2->running, node) {
    struct lm_http2_stream *stream = LM_CONTAINER(node, struct lm_http2_stream, link);
    bool sent = stream->sent_from != UINT64_MAX;
    if (sent && stream->id <= goaway->last_stream_id)
      continue;
    stream->error_code = goaway->error_code;
    http2_end(h2, stream, stream->heard ? LM_HTTP2_RESET : LM_HTTP2_REFUSED);
    if (!sent) /* nghttp2 closes the others itself */
      http2_abandon(h2, stream->id, NGHTTP2_CANCEL);
  }
}

static void
http2_take_pong(struct lm_http2 *h2, const uint8_t opaque[8])
{
  uint64_t number;
  memcpy(&number, opaque, sizeof number);
  if (number > h2->pongs && number <= h2->pings)
    h2->pongs = number;
}

/* HEADERS or DATA of a stream that runs were read to their end. */
static void
http2_take_part(struct lm_http2 *h2, struct lm_http2_stream *stream, const nghttp2_frame_hd *hd)
{
  if (hd->type == NGHTTP2_HEADERS && !stream->head_done) {
    if (lm_http2_stream_end_head(stream) != 0) {
      http2_spoil(h2, stream);
      return;
    }
    if (stream->head_done)
      http2_progress(h2);
  }
  if (hd->flags & NGHTTP2_FLAG_END_STREAM)
    http2_complete(h2, stream);
}

static int
http2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, frame->hd.stream_id);
  (void)session;
  switch (frame->hd.type) {
  case NGHTTP2_HEADERS:
  case NGHTTP2_DATA:
    if (stream != NULL)
      http2_take_part(h2, stream, &frame->hd);
    break;
  case NGHTTP2_RST_STREAM:
    if (stream != NULL)
      stream->reset_by_peer = true; /* http2_on_close follows */
    break;
  case NGHTTP2_SETTINGS:
    h2->settled = true;
    break;
  case NGHTTP2_PING:
    if (frame->hd.flags & NGHTTP2_FLAG_ACK)
      http2_take_pong(h2, frame->ping.opaque_data);
    break;
  case NGHTTP2_GOAWAY:
    http2_go_away(h2, &frame->goaway);
    break;
  }
  return 0;
}

static int
http2_on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                       void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, frame->hd.stream_id);
  (void)session;
  h2->invalid = error;
  if (stream == NULL)
    return 0;
  lm_error_set(&stream->err, LM_E_FORMAT, "invalid HTTP/2 reply: %s", nghttp2_strerror(error));
  http2_spoil(h2, stream);
  return 0;
}

/* The peer ended the stream, or nghttp2 did because of what the peer sent. */
static int
http2_on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
  struct lm_http2 *h2 = user_data;
  struct lm_http2_stream *stream = http2_find(h2, id);
  (void)session;
  if (stream == NULL)
    return 0;
  if (stream->reset_by_peer) {
    bool refused = error_code == NGHTTP2_REFUSED_STREAM && !stream->heard;
    stream->error_code = error_code;
    http2_end(h2, stream, refused ? LM_HTTP2_REFUSED : LM_HTTP2_RESET);
    return 0;
  }
  if (stream->sent_from == UINT64_MAX)
    lm_error_set(&stream->err, LM_E_LIMIT, "the request's header is too large for HTTP/2");
  else if (stream->head.content_length >= 0)
    lm_error_set(&stream->err, LM_E_FORMAT, "the reply's body is not as long as its header says");
  else
    lm_error_set(&stream->err, LM_E_FORMAT, "invalid HTTP/2 reply");
  http2_end(h2, stream, LM_HTTP2_BAD);
  return 0;
}

int
lm_http2_feed(struct lm_http2 *h2, const uint8_t *bytes, size_t n, struct lm_error *err)
{
  if (h2->failed)
    return http2_has_failed(err);
  ssize_t taken = nghttp2_session_mem_recv(h2->session, bytes, n);
  if (taken < 0)
    return http2_fail(h2, (int)taken, err);
  if ((h2->waste += (int64_t)n) > LM_HTTP2_MAX_WASTE) {
    http2_stop(h2, LM_E_LIMIT, "the peer sent too many HTTP/2 frames that bring nothing");
    return http2_fail(h2, 0, err);
  }
  if (nghttp2_session_get_outbound_queue_size(h2->session) > LM_HTTP2_MAX_QUEUED)
    return http2_fail(h2, NGHTTP2_ERR_FLOODED, err);
  /* nghttp2 gives up with a GOAWAY. After the peer's own, that is seen only when it is to be sent. */
  if (!h2->going_away && !nghttp2_session_check_request_allowed(h2->session) &&
      nghttp2_session_get_next_stream_id(h2->session) <= INT32_MAX)
    return http2_fail(h2, h2->invalid, err);
  return 0;
}

/* --- the connection --- */

/* Versions before 1.61 lack it, unless a distribution has added it: weak, so that it may be missing. */
extern void nghttp2_option_set_max_continuations(nghttp2_option *option, size_t most)
    __attribute__((weak));

static int
http2_set_callbacks(nghttp2_session_callbacks **callbacks)
{
  if (nghttp2_session_callbacks_new(callbacks) != 0)
    return -1;
  nghttp2_session_callbacks *to = *callbacks;
  nghttp2_session_callbacks_set_send_data_callback(to, http2_on_send_body);
  nghttp2_session_callbacks_set_before_frame_send_callback(to, http2_on_before_frame);
  nghttp2_session_callbacks_set_on_begin_frame_callback(to, http2_on_begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(to, http2_on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(to, http2_on_header);
  nghttp2_session_callbacks_set_on_invalid_header_callback(to, http2_on_invalid_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, http2_on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(to, http2_on_frame);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(to, http2_on_invalid_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(to, http2_on_close);
  return 0;
}

static int
http2_new_session(struct lm_http2 *h2)
{
  nghttp2_mem memory = lm_http2_memory();
  nghttp2_session_callbacks *callbacks = NULL;
  nghttp2_option *option = NULL;
  int result = -1;
  if (http2_set_callbacks(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
    goto done;
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_peer_max_concurrent_streams(option, LM_HTTP2_FIRST_STREAMS);
  nghttp2_option_set_max_outbound_ack(option, LM_HTTP2_MAX_ACKS);
  /* nghttp2 counts a frame again for each piece that its 9 bytes arrive in; we count frames. */
  if (nghttp2_option_set_max_continuations != NULL)
    nghttp2_option_set_max_continuations(option, 16 * LM_HTTP2_MAX_CONTINUATIONS);
  result = nghttp2_session_client_new3(&h2->session, callbacks, h2, option, &memory);
done:
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  return result == 0 ? 0 : -1;
}

int
lm_http2_init(struct lm_http2 *h2, struct lm_error *err)
{
  static const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LM_HTTP2_WINDOW},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LM_HEAD_MAX_BYTES},
  };
  memset(h2, 0, sizeof *h2);
  lm_list_init(&h2->running);
  lm_list_init(&h2->ended);
  if (http2_new_session(h2) != 0)
    return lm_error_nomem(err, sizeof *h2);
  if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                              sizeof settings / sizeof settings[0]) != 0 ||
      nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                            LM_HTTP2_ALL_WINDOW) != 0) {
    lm_http2_clean_up(h2);
    return lm_error_nomem(err, sizeof *h2);
  }
  return 0;
}

void
lm_http2_clean_up(struct lm_http2 *h2)
{
  nghttp2_session_del(h2->session);
  h2->session = NULL;
}

void
lm_http2_lose(struct lm_http2 *h2, const struct lm_error *why)
{
  h2->failed = true;
  LM_LIST_EACH (&h2->running, node) {
    struct lm_http2_stream *stream = LM_CONTAINER(node, struct lm_http2_stream, link);
    stream->err = *why;
    http2_end(h2, stream, LM_HTTP2_LOST);
  }
}

struct lm_http2_stream *
lm_http2_next_ended(struct lm_http2 *h2)
{
  struct lm_node *node = lm_list_pop_front(&h2->ended);
  return node == NULL ? NULL : LM_CONTAINER(node, struct lm_http2_stream, link);
}

int
lm_http2_ping(struct lm_http2 *h2, struct lm_error *err)
{
  uint64_t number = h2->pings + 1;
  uint8_t opaque[sizeof number];
  memcpy(opaque, &number, sizeof number);
  if (h2->failed)
    return http2_has_failed(err);
  if (nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, opaque) != 0)
    return lm_error_nomem(err, sizeof opaque);
  h2->pings = number;
  return 0;
}

/* --- streams --- */

unsigned
lm_http2_may_open(const struct lm_http2 *h2)
{
  if (h2->failed || !nghttp2_session_check_request_allowed(h2->session))
    return 0;
  size_t most =
      nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  if (most > LM_HTTP2_MAX_STREAMS)
    most = LM_HTTP2_MAX_STREAMS;
  return h2->n_running < most ? (unsigned)(most - h2->n_running) : 0;
}

static nghttp2_nv
http2_field(const char *name, size_t name_len, const char *value, size_t value_len, bool secret)
{
  return (nghttp2_nv){.name = (uint8_t *)name,
                      .namelen = name_len,
                      .value = (uint8_t *)value,
                      .valuelen = value_len,
                      .flags = secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
}

int
lm_http2_open(struct lm_http2 *h2, struct lm_http2_stream *stream,
              const struct lm_http2_request *request, struct lm_buf *reply, struct lm_error *err)
{
  nghttp2_nv fields[4 + LM_HTTP2_MAX_FIELDS] = {
      http2_field(":method", 7, "POST", 4, false),
      http2_field(":scheme", 7, request->scheme, strlen(request->scheme), false),
      http2_field(":authority", 10, request->authority, strlen(request->authority), false),
      http2_field(":path", 5, request->path, strlen(request->path), false),
  };
  const nghttp2_data_provider body = {.read_callback = http2_on_read_body};
  if (lm_http2_may_open(h2) == 0)
    return lm_error_set(err, LM_E_CLOSED, "the HTTP/2 connection takes no more requests now");
  if (request->n_fields > LM_HTTP2_MAX_FIELDS)
    return lm_error_set(err, LM_E_LIMIT, "more than %d headers in a request", LM_HTTP2_MAX_FIELDS);
  for (size_t i = 0; i < request->n_fields; i++) {
    const struct lm_field *field = &request->fields[i];
    fields[4 + i] =
        http2_field(field->name, field->name_len, field->value, field->value_len, field->secret);
  }
  lm_http2_stream_init(stream, reply);
  stream->body = request->body;
  stream->body_len = request->body_len;
  stream->id = nghttp2_submit_request(h2->session, NULL, fields, 4 + request->n_fields,
                                      request->body_len > 0 ? &body : NULL, stream);
  if (stream->id < 0)
    return lm_error_nomem(err, sizeof *stream);
  lm_list_push_back(&h2->running, &stream->link);
  h2->n_running++;
  return 0;
}

void
lm_http2_reset(struct lm_http2 *h2, struct lm_http2_stream *stream)
{
  if (stream->end != LM_HTTP2_RUNS) {
    if (lm_list_linked(&stream->link))
      lm_list_remove(&stream->link);
    return;
  }
  http2_detach(h2, stream);
  http2_abandon(h2, stream->id, NGHTTP2_CANCEL);
}

const char *
lm_http2_error_name(uint32_t error_code)
{
  return nghttp2_http2_strerror(error_code);
}
