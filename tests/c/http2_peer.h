/* Counterparts for a connection of http/http2: frames made by hand, and a server by nghttp2. */
#ifndef LM_TESTS_HTTP2_PEER_H
#define LM_TESTS_HTTP2_PEER_H

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "check.h"
#include "http/http2.h"

enum { SOON = 64 << 10, OUT_MAX = SOON + 32768, STREAMS = 512 };

/* --- requests --- */

static inline struct lm_field
field(const char *name, const char *value, bool secret)
{
  return (struct lm_field){name, strlen(name), value, strlen(value), secret};
}

static inline int
request(struct lm_http2 *h2, struct lm_http2_stream *stream, struct lm_buf *reply,
        const uint8_t *body, size_t body_len, struct lm_error *err)
{
  const struct lm_field fields[] = {field("content-type", "application/json", false),
                                    field("authorization", "AWS4-HMAC-SHA256 Credential=A", true)};
  const struct lm_http2_request what = {.scheme = "https",
                                        .authority = "lambda.eu-central-1.amazonaws.com",
                                        .path = "/2015-03-31/functions/f/invocations?Qualifier=1",
                                        .fields = fields,
                                        .n_fields = 2,
                                        .body = body,
                                        .body_len = body_len};
  return lm_http2_open(h2, stream, &what, reply, err);
}

/* --- frames by hand --- */

static inline void
frame(struct lm_buf *out, int type, int flags, uint32_t id, const void *payload, size_t len)
{
  const uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                           (uint8_t)type,        (uint8_t)flags,      (uint8_t)(id >> 24),
                           (uint8_t)(id >> 16),  (uint8_t)(id >> 8),  (uint8_t)id};
  lm_buf_append(out, head, sizeof head);
  lm_buf_append(out, payload, len);
}

static inline void
frame_number(struct lm_buf *out, int type, uint32_t id, uint32_t number)
{
  const uint8_t bytes[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16),
                            (uint8_t)(number >> 8), (uint8_t)number};
  frame(out, type, 0, id, bytes, sizeof bytes);
}

static inline void
frame_goaway(struct lm_buf *out, uint32_t last_id, uint32_t code)
{
  const uint8_t bytes[8] = {
      (uint8_t)(last_id >> 24), (uint8_t)(last_id >> 16), (uint8_t)(last_id >> 8), (uint8_t)last_id,
      (uint8_t)(code >> 24),    (uint8_t)(code >> 16),    (uint8_t)(code >> 8),    (uint8_t)code};
  frame(out, NGHTTP2_GOAWAY, 0, 0, bytes, sizeof bytes);
}

static inline void
literal_text(struct lm_buf *block, const char *text)
{
  size_t len = strlen(text), rest = len;
  if (len < 127) {
    lm_buf_byte(block, (uint8_t)len);
  } else {
    lm_buf_byte(block, 127);
    for (rest -= 127; rest >= 128; rest /= 128)
      lm_buf_byte(block, (uint8_t)(128 + rest % 128));
    lm_buf_byte(block, (uint8_t)rest);
  }
  lm_buf_append(block, text, len);
}

/* A field that goes through no table. */
static inline void
literal(struct lm_buf *block, const char *name, const char *value)
{
  lm_buf_byte(block, 0);
  literal_text(block, name);
  literal_text(block, value);
}

/* HEADERS in one frame; fields: name, value, ..., NULL. */
static inline void
frame_headers(struct lm_buf *out, int flags, uint32_t id, const char *const *fields)
{
  struct lm_buf block;
  lm_buf_init(&block, 1 << 20);
  for (; *fields != NULL; fields += 2)
    literal(&block, fields[0], fields[1]);
  frame(out, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, id, block.data, block.len);
  lm_buf_clean_up(&block);
}

/* --- a server --- */

struct server_stream {
  struct server *server;
  size_t got; /* of the request's body */
  unsigned fields, secrets;
  bool complete, reset, closed;
  uint32_t reset_code;
  size_t reply_len, reply_done;
};

struct server {
  nghttp2_session *session;
  struct server_stream streams[STREAMS]; /* by id / 2 */
  size_t heard;                          /* requests */
  bool mute;                             /* it does not reply by itself */
  bool settled;                          /* the client has acknowledged SETTINGS */
  size_t reply_len;                      /* of each reply */
};

static inline uint8_t
reply_byte(int32_t id, size_t at)
{
  return (uint8_t)((size_t)id * 7 + at % 251);
}

static inline struct server_stream *
server_at(struct server *server, int32_t id)
{
  CHECK(id > 0 && id / 2 < STREAMS);
  return &server->streams[id / 2];
}

static ssize_t
server_on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
               nghttp2_data_source *source, void *user_data)
{
  struct server_stream *stream = server_at(user_data, id);
  (void)session, (void)source;
  if (len >= stream->reply_len - stream->reply_done) {
    len = stream->reply_len - stream->reply_done;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
  }
  for (size_t i = 0; i < len; i++)
    buf[i] = reply_byte(id, stream->reply_done++);
  return (ssize_t)len;
}

static inline void
server_reply(struct server *server, int32_t id, const char *status, size_t len)
{
  char length[24];
  snprintf(length, sizeof length, "%zu", len);
  nghttp2_nv fields[] = {
      {(uint8_t *)":status", (uint8_t *)status, 7, 3, 0},
      {(uint8_t *)"content-length", (uint8_t *)length, 14, strlen(length), 0},
      {(uint8_t *)"x-amzn-requestid", (uint8_t *)"4711", 16, 4, 0},
  };
  const nghttp2_data_provider body = {.read_callback = server_on_read};
  server_at(server, id)->reply_len = len;
  CHECK(nghttp2_submit_response(server->session, id, fields, 3, len > 0 ? &body : NULL) == 0);
}

static int
server_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                 size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                 void *user_data)
{
  struct server_stream *stream = server_at(user_data, frame->hd.stream_id);
  (void)session, (void)name, (void)name_len, (void)value, (void)value_len;
  stream->fields++;
  stream->secrets += flags & NGHTTP2_NV_FLAG_NO_INDEX;
  return 0;
}

static int
server_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
               size_t len, void *user_data)
{
  struct server_stream *stream = server_at(user_data, id);
  (void)session, (void)flags;
  for (size_t i = 0; i < len; i++)
    CHECK(bytes[i] == reply_byte(id, stream->got + i));
  stream->got += len;
  return 0;
}

static int
server_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  struct server *server = user_data;
  (void)session;
  if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK))
    server->settled = true;
  if (frame->hd.stream_id == 0)
    return 0;
  struct server_stream *stream = server_at(server, frame->hd.stream_id);
  if (frame->hd.type == NGHTTP2_HEADERS)
    server->heard++;
  if (frame->hd.type == NGHTTP2_RST_STREAM) {
    stream->reset = true;
    stream->reset_code = frame->rst_stream.error_code;
  }
  if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
    stream->complete = true;
    if (!server->mute)
      server_reply(server, frame->hd.stream_id, "200", server->reply_len);
  }
  return 0;
}

static inline void
server_start(struct server *server, uint32_t max_streams, uint32_t window)
{
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
  };
  nghttp2_session_callbacks *callbacks;
  memset(server, 0, sizeof *server);
  CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, server_on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, server_on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, server_on_frame);
  CHECK(nghttp2_session_server_new(&server->session, callbacks, server) == 0);
  nghttp2_session_callbacks_del(callbacks);
  CHECK(nghttp2_submit_settings(server->session, 0, settings, 2) == 0);
}

static inline void
server_stop(struct server *server)
{
  nghttp2_session_del(server->session);
}

/* Move what the client gives now to the server. */
static inline int
to_server(struct lm_http2 *h2, struct server *server, struct lm_error *err)
{
  struct lm_buf out;
  lm_buf_init(&out, OUT_MAX);
  int result = lm_http2_send(h2, &out, SOON, err);
  if (result == 0)
    CHECK(nghttp2_session_mem_recv(server->session, out.data, out.len) == (ssize_t)out.len);
  lm_buf_clean_up(&out);
  return result;
}

/* Move one piece of the server's to the client, who reads it in pieces of `cut`. */
static inline int
to_client(struct lm_http2 *h2, struct server *server, size_t cut, bool *moved, struct lm_error *err)
{
  const uint8_t *bytes;
  ssize_t n = nghttp2_session_mem_send(server->session, &bytes);
  CHECK(n >= 0);
  *moved = n > 0;
  for (size_t at = 0; at < (size_t)n; at += cut) {
    size_t left = (size_t)n - at;
    if (lm_http2_feed(h2, bytes + at, left < cut ? left : cut, err) != 0)
      return -1;
  }
  return 0;
}

/* Exchange bytes until nobody has any. -1: the connection failed. */
static inline int
pump(struct lm_http2 *h2, struct server *server, size_t cut, struct lm_error *err)
{
  bool moved = true;
  while (moved || lm_http2_has_output(h2)) {
    if (to_server(h2, server, err) != 0)
      return -1;
    do
      if (to_client(h2, server, cut, &moved, err) != 0)
        return -1;
    while (moved);
  }
  return 0;
}

#endif
