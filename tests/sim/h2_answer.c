/* Replies over HTTP/2: whole, in part, late, reset, and things that are not HTTP/2. */
#include <string.h>

#include "fiber.h"
#include "h2_server.h"
#include "http/head.h"
#include "lambda.h"
#include "net.h"
#include "record.h"
#include "reply.h"

enum { MAX_FIELDS = 60, MAX_READ = 40 /* of a head as HTTP/1.1 has it */ };

static const int64_t LATER_NS = 3000000000;

/* --- heads --- */

static nghttp2_nv
field(const char *name, size_t name_len, const char *value, size_t value_len)
{
  return (nghttp2_nv){.name = (uint8_t *)name,
                      .namelen = name_len,
                      .value = (uint8_t *)value,
                      .valuelen = value_len};
}

static bool
is_blank(char c)
{
  return c == ' ' || c == '\t' || c == '\r';
}

/* A head as HTTP/1.1 has it, as fields that point into it. What means something there only is left out. */
static size_t
split(const struct sim_parts *parts, nghttp2_nv *fields)
{
  char *at = memcpy(sim_memory(parts->head_len), parts->head, parts->head_len);
  char *end = at + parts->head_len;
  size_t n = 0;
  fields[n++] = field(":status", 7, at + 9, 3);
  for (at = memchr(at, '\n', parts->head_len); at != NULL && ++at < end && n < MAX_READ;) {
    char *line_end = memchr(at, '\n', (size_t)(end - at));
    char *colon = memchr(at, ':', (size_t)(line_end - at)), *value = colon + 1, *last = line_end;
    for (char *letter = at; letter < colon; letter++)
      if (*letter >= 'A' && *letter <= 'Z')
        *letter += 'a' - 'A';
    while (value < last && is_blank(*value))
      value++;
    while (last > value && is_blank(last[-1]))
      last--;
    bool kept = colon - at != 10 || memcmp(at, "connection", 10) != 0;
    if (kept)
      fields[n++] = field(at, (size_t)(colon - at), value, (size_t)(last - value));
    at = line_end;
  }
  return n;
}

static void
submit_informational(struct sim_stream *stream)
{
  static const char *const statuses[] = {"100", "103"};
  for (uint64_t n = 1 + sim_below(3); n > 0; n--) {
    const nghttp2_nv fields[] = {field(":status", 7, statuses[sim_below(2)], 3),
                                 field("link", 4, "</a>", 4)};
    (void)nghttp2_submit_headers(stream->on->session, NGHTTP2_FLAG_NONE, stream->id, NULL, fields,
                                 1 + sim_below(2), NULL);
  }
}

/* --- bodies --- */

static ssize_t
on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
        nghttp2_data_source *source, void *user_data)
{
  struct sim_stream *stream = source->ptr;
  size_t n = stream->released - stream->reply_done;
  (void)user_data;
  if (n == 0 && stream->released < stream->reply_len)
    return NGHTTP2_ERR_DEFERRED;
  if (n > len)
    n = len;
  if (n > 0)
    memcpy(buf, stream->reply + stream->reply_done, n);
  stream->reply_done += n;
  if (stream->reply_done < stream->reply_len)
    return (ssize_t)n;
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (stream->trailers) {
    const nghttp2_nv trailer = field("x-trailer", 9, "one", 3);
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    (void)nghttp2_submit_trailer(session, id, &trailer, 1);
  }
  return (ssize_t)n;
}

/* `released`: of the body, at first. */
static void
submit(struct sim_stream *stream, const struct sim_parts *parts, size_t released)
{
  nghttp2_nv fields[MAX_FIELDS];
  const nghttp2_data_provider body = {.source.ptr = stream, .read_callback = on_read};
  size_t n = split(parts, fields);
  bool empty = parts->body_len == 0 && sim_one_in(2);
  stream->reply = parts->body;
  stream->reply_len = parts->body_len;
  stream->released = released;
  stream->trailers = parts->odd && sim_one_in(2);
  if (parts->odd || sim_one_in(20))
    submit_informational(stream);
  (void)nghttp2_submit_response(stream->on->session, stream->id, fields, n, empty ? NULL : &body);
}

static void
release_more(void *argument)
{
  struct sim_stream *stream = argument;
  if (stream->closed || stream->on->peer->closed)
    return;
  stream->released += 1 + sim_below(stream->reply_len - stream->released);
  (void)nghttp2_session_resume_data(stream->on->session, stream->id);
  if (stream->released < stream->reply_len)
    sim_at(sim_now() + sim_between(0, LATER_NS), release_more, stream);
  sim_h2_flush(stream->on);
}

/* A head that no reply may have; the rest of it is as it should be. */
static void
submit_spoilt(struct sim_stream *stream, const struct sim_parts *parts)
{
  static const struct {
    const char *name, *value;
  } spoils[] = {{"content-encoding", "gzip"},
                {"content-length", "999999999999"},
                {"content-length", "two"},
                {"content-length", "3"},
                {"retry-after", "\x01"}};
  enum { N_SPOILS = sizeof spoils / sizeof spoils[0] };
  nghttp2_nv fields[MAX_FIELDS];
  const nghttp2_data_provider body = {.source.ptr = stream, .read_callback = on_read};
  size_t n = split(parts, fields);
  uint64_t which = sim_below(N_SPOILS + 3);
  char *fill = memset(sim_memory(LM_HEAD_MAX_LINE), 'x', LM_HEAD_MAX_LINE);
  stream->reply = parts->body;
  stream->released = stream->reply_len = parts->body_len;
  if (which < N_SPOILS) {
    fields[n++] = field(spoils[which].name, strlen(spoils[which].name), spoils[which].value,
                        strlen(spoils[which].value));
  } else if (which == N_SPOILS) {
    fields[n++] = field("x-long", 6, fill, LM_HEAD_MAX_LINE);
  } else if (which == N_SPOILS + 1) {
    for (int i = 0; i < 1 + LM_HEAD_MAX_BYTES / 4000; i++)
      fields[n++] = field("x-long", 6, fill, 4000);
  } else {
    for (int i = 0; i < LM_HEAD_MAX_INFORMATIONAL; i++)
      submit_informational(stream);
    fields[0] = field(":status", 7, "999", 3);
  }
  (void)nghttp2_submit_response(stream->on->session, stream->id, fields, n, &body);
}

/* --- not HTTP/2 --- */

static size_t
add_frame(uint8_t *at, int type, int flags, int32_t id, const void *payload, size_t len)
{
  const uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                           (uint8_t)type,        (uint8_t)flags,      (uint8_t)(id >> 24),
                           (uint8_t)(id >> 16),  (uint8_t)(id >> 8),  (uint8_t)id};
  memcpy(at, head, sizeof head);
  if (len > 0)
    memcpy(at + sizeof head, payload, len);
  return sizeof head + len;
}

/* One frame that none may be, in that place. */
struct bad_frame {
  int type, flags;
  int32_t id; /* -1: the request's stream */
  size_t len;
  const char *payload;
};

#define END NGHTTP2_FLAG_END_HEADERS
static const struct bad_frame bad_frames[] = {
    {NGHTTP2_SETTINGS, 0, 0, 5, "\0\3\0\0\0"},
    {NGHTTP2_SETTINGS, 0, 0, 6, "\0\2\0\0\0\2"},    /* ENABLE_PUSH 2 */
    {NGHTTP2_SETTINGS, 0, 0, 6, "\0\4\xff\0\0\0"},  /* a window of 4 GB */
    {NGHTTP2_SETTINGS, 0, 0, 6, "\0\5\0\0\0\1"},    /* frames of a byte */
    {NGHTTP2_SETTINGS, 0, -1, 0, ""},               /* of a stream */
    {NGHTTP2_HEADERS, END, 0, 1, "\x88"},           /* of no stream */
    {NGHTTP2_HEADERS, END, -1, 1, "\xff"},          /* HPACK cut off */
    {NGHTTP2_HEADERS, END, -1, 2, "\xff\x7f"},      /* an index that nothing has */
    {NGHTTP2_HEADERS, END, -1, 4, "\0\1A\0"},       /* upper case, and no status */
    {NGHTTP2_HEADERS, END, -1, 5, "\x88\0\1A\0"},   /* upper case */
    {NGHTTP2_HEADERS, END, -1, 6, "\x88\0\1a\1\1"}, /* a control character */
    {NGHTTP2_HEADERS, END, -1, 2, "\x88\x88"},      /* two statuses */
    {NGHTTP2_HEADERS, END | 1, -1, 5,
     "\x88\x5c\1"
     "9"},                                /* a length, and no body */
    {NGHTTP2_HEADERS, END, 2, 1, "\x88"}, /* of a stream of its own */
    {NGHTTP2_DATA, 0, 0, 1, "x"},
    {NGHTTP2_DATA, 0, -1, 1, "x"}, /* before its head */
    {NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, -1, 2, "\x09x"},
    {NGHTTP2_CONTINUATION, END, -1, 1, "\x88"},
    {NGHTTP2_PUSH_PROMISE, END, -1, 5, "\0\0\0\2\x82"},
    {NGHTTP2_WINDOW_UPDATE, 0, 0, 4, "\0\0\0\0"},
    {NGHTTP2_WINDOW_UPDATE, 0, -1, 4, "\0\0\0\0"},
    {NGHTTP2_WINDOW_UPDATE, 0, 0, 4, "\x7f\xff\xff\xff"},
    {NGHTTP2_WINDOW_UPDATE, 0, -1, 4, "\x7f\xff\xff\xff"},
    {NGHTTP2_PING, 0, 0, 7, "1234567"},
    {NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, 8, "12345678"}, /* that nobody asked for */
    {NGHTTP2_RST_STREAM, 0, 2147483647, 4, "\0\0\0\0"}, /* of a stream that was not opened */
    {NGHTTP2_RST_STREAM, 0, -1, 3, "\0\0\0"},
    {NGHTTP2_GOAWAY, 0, 0, 7, "\0\0\0\0\0\0\0"},
    {77, 0, 0, 3, "abc"}, /* of a type that nobody knows: allowed */
};

/* The frame, of that stream. It does not say that the function has run (200) where it has not. */
static size_t
add_bad_frame(uint8_t *out, const struct bad_frame *bad, int32_t id, bool ok)
{
  size_t n =
      add_frame(out, bad->type, bad->flags, bad->id < 0 ? id : bad->id, bad->payload, bad->len);
  for (size_t i = n - bad->len; i < n && !ok; i++)
    if (out[i] == 0x88)
      out[i] = 0x8e; /* 500 */
  return n;
}

/* The same frame again and again. */
static size_t
add_flood(uint8_t *out, int32_t id, bool ok)
{
  static const struct bad_frame floods[] = {{NGHTTP2_PING, 0, 0, 8, "12345678"},
                                            {NGHTTP2_SETTINGS, 0, 0, 0, ""},
                                            {NGHTTP2_DATA, 0, -1, 0, ""},
                                            {NGHTTP2_CONTINUATION, 0, -1, 0, ""},
                                            {77, 0, 0, 0, ""}};
  const struct bad_frame *bad = &floods[sim_below(5)];
  size_t n = 0;
  if (bad->type == NGHTTP2_DATA || bad->type == NGHTTP2_CONTINUATION)
    n = add_frame(out, NGHTTP2_HEADERS, bad->type == NGHTTP2_DATA ? END : 0, id,
                  ok ? "\x88" : "\x8e", 1);
  for (uint64_t times = sim_below(2000); times > 0; times--)
    n += add_bad_frame(out + n, bad, id, ok);
  return n;
}

/* True: nothing can follow it. */
static bool
send_garbage(struct sim_stream *stream, bool ok)
{
  enum { N_BAD = sizeof bad_frames / sizeof bad_frames[0] };
  struct sim_h2_connection *h2 = stream->on;
  uint64_t which = sim_below(N_BAD + 4);
  uint8_t *out = sim_memory(40000);
  size_t n = 0;
  bool last = sim_one_in(2);
  h2->spoilt = true;
  if (which < N_BAD) {
    n = add_bad_frame(out, &bad_frames[which], stream->id, ok);
  } else if (which == N_BAD) {
    n = add_flood(out, stream->id, ok);
  } else if (which == N_BAD + 1) { /* a last stream that rises again */
    uint8_t payload[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int i = 0; i < 4; i++)
      payload[i] = (uint8_t)((uint32_t)h2->begun_id >> (24 - 8 * i));
    n = add_frame(out, NGHTTP2_GOAWAY, 0, 0, payload, sizeof payload);
    payload[0] = 0x7f;
    n += add_frame(out + n, NGHTTP2_GOAWAY, 0, 0, payload, sizeof payload);
    h2->last_id = h2->begun_id < h2->last_id ? h2->begun_id : h2->last_id;
  } else if (which == N_BAD + 2) {
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    n = sizeof text - 1;
    memcpy(out, text, n);
    last = true;
  } else {
    for (n = 1 + sim_below(100), last = true; which++ < N_BAD + 3 + n;)
      out[which - N_BAD - 4] = (uint8_t)sim_below(256);
  }
  record_event("connection %u: %zu bytes that are not HTTP/2", h2->peer->id, n);
  sim_h2_flush(h2);
  sim_peer_send(h2->peer, out, n, 0);
  return last;
}

/* --- fates of a reply --- */

static void
reset(struct sim_stream *stream)
{
  static const uint32_t codes[] = {NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_CANCEL,
                                   NGHTTP2_ENHANCE_YOUR_CALM};
  (void)nghttp2_submit_rst_stream(stream->on->session, NGHTTP2_FLAG_NONE, stream->id,
                                  codes[sim_below(4)]);
}

static void
reset_later(void *argument)
{
  struct sim_stream *stream = argument;
  if (stream->closed || stream->on->peer->closed)
    return;
  reset(stream);
  sim_h2_flush(stream->on);
}

/* The reply ends before its end. */
static void
cut(struct sim_stream *stream, const struct sim_parts *parts)
{
  struct sim_h2_connection *h2 = stream->on;
  switch (sim_below(5)) {
  case 0: /* without a head */
    reset(stream);
    break;
  case 1:
    submit(stream, parts, sim_below(parts->body_len + 1));
    sim_h2_flush(h2);
    sim_at(sim_now() + (sim_one_in(2) ? 0 : sim_between(0, LATER_NS)), reset_later, stream);
    return;
  case 2:
    sim_h2_go_away(h2, sim_one_in(2) ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR);
    sim_h2_flush(h2);
    sim_peer_close(h2->peer, sim_one_in(2));
    return;
  default:
    submit(stream, parts, parts->body_len);
    sim_h2_flush_and_cut(h2);
    return;
  }
  sim_h2_flush(h2);
}

/* To its end, at once or slowly. */
static void
send_whole(struct sim_stream *stream, const struct sim_parts *parts)
{
  struct sim_h2_connection *h2 = stream->on;
  bool early = !stream->complete;
  if (parts->body_len > 0 && sim_one_in(sim_lambda.slow_one_in)) {
    submit(stream, parts, 0);
    sim_at(sim_now() + sim_between(0, LATER_NS), release_more, stream);
  } else {
    submit(stream, parts, parts->body_len);
  }
  sim_h2_flush(h2);
  if (early && !stream->closed && stream->reply_done == stream->reply_len && sim_one_in(2)) {
    /* It does not want the rest (RFC 9113, 8.1). */
    (void)nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
    sim_h2_flush(h2);
  }
}

void
sim_h2_answer(const struct sim_call *call)
{
  struct sim_stream *stream = call->stream;
  struct sim_h2_connection *h2 = stream->on;
  unsigned cut_one_in = sim_lambda.cut_reply_one_in;
  struct sim_parts parts;
  if (stream->closed || h2->peer->closed)
    return;
  sim_reply_write_parts(call, &parts);
  bool cuts = sim_one_in(call->function_error ? (cut_one_in + 3) / 4 : cut_one_in);
  bool silent = !cuts && sim_one_in(sim_lambda.silent_one_in);
  bool leaves = sim_one_in(sim_lambda.close_one_in);
  record_event("connection %u: stream %d: %d %s%s%s%s", h2->peer->id, stream->id, call->status,
               call->type != NULL ? call->type : "", cuts ? ", cut" : "", silent ? ", silent" : "",
               leaves ? ", close" : "");
  if (sim_one_in(sim_reply.garbage_one_in) &&
      send_garbage(stream, call->status == 200 && !call->function_error)) {
    sim_peer_close(h2->peer, sim_one_in(2));
    return;
  }
  if (sim_one_in(sim_reply.garbage_one_in)) {
    record_event("connection %u: stream %d: its head is spoilt", h2->peer->id, stream->id);
    submit_spoilt(stream, &parts);
    sim_h2_flush(h2);
    return;
  }
  if (cuts) {
    cut(stream, &parts);
    return;
  }
  if (silent) {
    if (sim_one_in(2))
      submit(stream, &parts, sim_below(parts.body_len));
    sim_h2_flush(h2);
    return;
  }
  send_whole(stream, &parts);
  if (leaves) {
    sim_h2_go_away(h2, NGHTTP2_NO_ERROR);
    sim_h2_flush(h2);
  } else if (sim_one_in(sim_lambda.rude_one_in)) {
    sim_peer_close(h2->peer, false);
  }
}
