/* http/http2 against a server of nghttp2's: requests, replies, and every way a stream ends. */
#include "http2_peer.h"

static struct lm_http2 h2;
static struct server server;
static struct lm_error err;

static void
start(uint32_t max_streams, uint32_t window)
{
  server_start(&server, max_streams, window);
  CHECK(lm_http2_init(&h2, &err) == 0);
}

static void
stop(void)
{
  CHECK(lm_http2_next_ended(&h2) == NULL);
  lm_http2_clean_up(&h2);
  server_stop(&server);
}

/* A body that the server recognizes. */
static uint8_t *
make_body(int32_t id, size_t len)
{
  uint8_t *body = malloc(len);
  for (size_t i = 0; i < len; i++)
    body[i] = reply_byte(id, i);
  return body;
}

static void
is_reply(const struct lm_buf *reply, int32_t id, size_t len)
{
  CHECK(reply->len == len);
  for (size_t i = 0; i < len; i++)
    CHECK(reply->data[i] == reply_byte(id, i));
}

static void
test_request(size_t cut)
{
  struct lm_http2_stream stream;
  struct lm_buf reply;
  uint8_t *body = make_body(1, 3000);
  start(10, 65535);
  server.reply_len = 5000;
  lm_buf_init(&reply, 5000);
  CHECK(h2.n_running == 0 && lm_http2_may_open(&h2) == LM_HTTP2_FIRST_STREAMS);
  CHECK(request(&h2, &stream, &reply, body, 3000, &err) == 0);
  CHECK(stream.id == 1 && stream.sent_from == UINT64_MAX && h2.n_running > 0);
  CHECK(lm_http2_may_open(&h2) == LM_HTTP2_FIRST_STREAMS - 1);
  CHECK(pump(&h2, &server, cut, &err) == 0);
  CHECK(stream.sent_from > 24 && stream.sent_from < 200 && stream.body_sent == 3000);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == LM_HTTP2_COMPLETE);
  CHECK(stream.head_done && stream.head.status == 200 && stream.head.content_length == 5000);
  CHECK(strcmp(stream.head.request_id, "4711") == 0);
  is_reply(&reply, 1, 5000);
  CHECK(server_at(&server, 1)->got == 3000 && server_at(&server, 1)->complete);
  CHECK(server_at(&server, 1)->fields == 6 && server_at(&server, 1)->secrets == 1);
  CHECK(h2.n_running == 0 && h2.settled && lm_http2_may_open(&h2) == 10);
  lm_buf_clean_up(&reply);
  free(body);
  stop();
}

static void
test_no_body(void)
{
  struct lm_http2_stream stream;
  struct lm_buf reply;
  start(10, 65535);
  lm_buf_init(&reply, 10);
  CHECK(request(&h2, &stream, &reply, NULL, 0, &err) == 0);
  CHECK(pump(&h2, &server, 7, &err) == 0);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == LM_HTTP2_COMPLETE);
  CHECK(reply.len == 0 && stream.head.content_length == 0);
  stop();
}

/* The table has what the second request repeats of the first. */
static void
test_repeated_fields(void)
{
  struct lm_http2_stream streams[2];
  struct lm_buf replies[2], out;
  start(10, 65535);
  lm_buf_init(&out, OUT_MAX);
  for (int i = 0; i < 2; i++) {
    lm_buf_init(&replies[i], 10);
    CHECK(request(&h2, &streams[i], &replies[i], NULL, 0, &err) == 0);
  }
  CHECK(lm_http2_send(&h2, &out, SOON, &err) == 0 && out.len == h2.given);
  size_t first = streams[1].sent_from - streams[0].sent_from;
  size_t second = out.len - streams[1].sent_from;
  CHECK(first > 100 && second < first - 30); /* nghttp2 puts no :path into the table */
  CHECK(memcmp(out.data + streams[1].sent_from + 3, "\x01", 1) == 0); /* HEADERS */
  lm_buf_clean_up(&out);
  lm_http2_reset(&h2, &streams[0]);
  lm_http2_reset(&h2, &streams[1]);
  stop();
}

enum { MANY = 150 };

/* The peer allows fewer than were opened: the rest wait, and are sent as others end. */
static void
test_concurrency(void)
{
  static struct lm_http2_stream streams[MANY];
  static struct lm_buf replies[MANY];
  start(3, 65535);
  server.mute = true;
  for (int i = 0; i < LM_HTTP2_FIRST_STREAMS; i++) {
    lm_buf_init(&replies[i], 100);
    CHECK(request(&h2, &streams[i], &replies[i], NULL, 0, &err) == 0);
  }
  CHECK(request(&h2, &streams[MANY - 1], &replies[0], NULL, 0, &err) == -1);
  CHECK(err.code == LM_E_CLOSED);
  bool moved;
  do /* SETTINGS arrive first */
    CHECK(to_client(&h2, &server, 100, &moved, &err) == 0);
  while (moved);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(server.heard == 3 && streams[2].sent_from != UINT64_MAX);
  CHECK(streams[3].sent_from == UINT64_MAX && lm_http2_may_open(&h2) == 0);
  server_reply(&server, 1, "200", 10);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(server.heard == 4 && lm_http2_next_ended(&h2) == &streams[0]);
  const struct lm_error lost = {.code = LM_E_SYSTEM, .text = "gone"};
  lm_http2_lose(&h2, &lost);
  for (int i = 1; i < LM_HTTP2_FIRST_STREAMS; i++) {
    CHECK(lm_http2_next_ended(&h2) == &streams[i] && streams[i].end == LM_HTTP2_LOST);
    CHECK(strcmp(streams[i].err.text, "gone") == 0);
    CHECK((streams[i].sent_from == UINT64_MAX) == (i > 3));
  }
  for (int i = 0; i < LM_HTTP2_FIRST_STREAMS; i++)
    lm_buf_clean_up(&replies[i]);
  CHECK(h2.n_running == 0 && lm_http2_may_open(&h2) == 0 && !lm_http2_has_output(&h2));
  CHECK(lm_http2_ping(&h2, &err) == -1 && err.code == LM_E_CLOSED);
  CHECK(lm_http2_feed(&h2, (const uint8_t *)"x", 1, &err) == -1 && err.code == LM_E_CLOSED);
  stop();
}

/* Six megabytes each way on several streams at once, through windows of 64 KB of the server's. */
static void
test_large_bodies(void)
{
  enum { N = 3, LEN = 6 << 20 };
  struct lm_http2_stream streams[N];
  struct lm_buf replies[N];
  uint8_t *bodies[N];
  start(10, 65535);
  server.reply_len = LEN;
  for (int i = 0; i < N; i++) {
    lm_buf_init(&replies[i], LEN);
    bodies[i] = make_body(2 * i + 1, LEN);
    CHECK(request(&h2, &streams[i], &replies[i], bodies[i], LEN, &err) == 0);
  }
  CHECK(pump(&h2, &server, 9000, &err) == 0);
  for (int i = 0; i < N; i++) {
    struct lm_http2_stream *ended = lm_http2_next_ended(&h2);
    CHECK(ended != NULL && ended->end == LM_HTTP2_COMPLETE && ended->body_sent == LEN);
  }
  for (int i = 0; i < N; i++) {
    CHECK(server_at(&server, 2 * i + 1)->got == LEN);
    is_reply(&replies[i], 2 * i + 1, LEN);
    lm_buf_clean_up(&replies[i]);
    free(bodies[i]);
  }
  stop();
}

/* A whole reply fits into the windows: the server can send it without hearing from us. */
static void
test_windows_hold_a_reply(void)
{
  enum { LEN = 6291556 };
  struct lm_http2_stream streams[2];
  struct lm_buf replies[2];
  bool moved;
  start(10, 65535);
  server.reply_len = LEN;
  for (int i = 0; i < 2; i++) {
    lm_buf_init(&replies[i], LEN);
    CHECK(request(&h2, &streams[i], &replies[i], NULL, 0, &err) == 0);
  }
  CHECK(to_server(&h2, &server, &err) == 0);
  do
    CHECK(to_client(&h2, &server, SIZE_MAX / 2, &moved, &err) == 0);
  while (moved);
  for (int i = 0; i < 2; i++) {
    CHECK(lm_http2_next_ended(&h2)->end == LM_HTTP2_COMPLETE && replies[i].len == LEN);
    lm_buf_clean_up(&replies[i]);
  }
  stop();
}

/* What is given stops at the frame that reaches the limit, and no byte is lost by that. */
static void
test_send_in_pieces(void)
{
  enum { LEN = 300000 };
  struct lm_http2_stream stream;
  struct lm_buf reply, out;
  uint8_t *body = make_body(1, LEN);
  start(10, LEN);
  lm_buf_init(&reply, 100);
  lm_buf_init(&out, OUT_MAX);
  nghttp2_session_set_local_window_size(server.session, 0, 0, LEN);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(request(&h2, &stream, &reply, body, LEN, &err) == 0);
  size_t sent = 0;
  while (lm_http2_has_output(&h2)) {
    lm_buf_clear(&out);
    lm_buf_append(&out, "12345", 5); /* what it has not sent yet */
    CHECK(lm_http2_send(&h2, &out, 20000, &err) == 0);
    CHECK(out.len < 20000 + 16384 + 9 && (out.len >= 20000 || !lm_http2_has_output(&h2)));
    CHECK(stream.body_sent > sent && stream.body_sent - sent <= out.len);
    sent = stream.body_sent;
    nghttp2_session_mem_recv(server.session, out.data + 5, out.len - 5);
  }
  CHECK(sent == LEN && server_at(&server, 1)->got == LEN);
  lm_buf_clear(&out);
  CHECK(lm_http2_send(&h2, &out, 20000, &err) == 0 && out.len == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == LM_HTTP2_COMPLETE);
  lm_buf_clean_up(&out);
  free(body);
  stop();
}

/* --- ends --- */

enum when { BEFORE, INFORMED, AFTER }; /* the head of a reply was sent */

static void
test_reset_by_peer(uint32_t code, enum when when, enum lm_http2_end end)
{
  nghttp2_nv early = {(uint8_t *)":status", (uint8_t *)"103", 7, 3, 0};
  struct lm_http2_stream stream;
  struct lm_buf reply;
  start(10, 65535);
  server.mute = true;
  lm_buf_init(&reply, 10);
  CHECK(request(&h2, &stream, &reply, NULL, 0, &err) == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  early.value = (uint8_t *)(when == AFTER ? "200" : "103");
  if (when != BEFORE)
    CHECK(nghttp2_submit_headers(server.session, 0, 1, NULL, &early, 1, NULL) == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0 && lm_http2_next_ended(&h2) == NULL);
  CHECK(nghttp2_submit_rst_stream(server.session, 0, 1, code) == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == end && stream.error_code == code);
  CHECK(stream.head_done == (when == AFTER));
  CHECK(lm_http2_may_open(&h2) == 10);
  stop();
}

/* The reply arrives before the body was sent: the rest of it never is. */
static void
test_early_reply(void)
{
  enum { LEN = 200000 };
  struct lm_http2_stream stream;
  struct lm_buf reply;
  uint8_t *body = make_body(1, LEN);
  start(10, 1000);
  nghttp2_session_set_local_window_size(server.session, 0, 1, 1000);
  server.mute = true;
  lm_buf_init(&reply, 100);
  bool moved;
  CHECK(to_server(&h2, &server, &err) == 0);
  do
    CHECK(to_client(&h2, &server, 100, &moved, &err) == 0);
  while (moved);
  CHECK(request(&h2, &stream, &reply, body, LEN, &err) == 0);
  CHECK(to_server(&h2, &server, &err) == 0);
  CHECK(stream.body_sent == 1000);
  server_reply(&server, 1, "413", 50);
  CHECK(to_client(&h2, &server, 100, &moved, &err) == 0);
  CHECK(to_client(&h2, &server, 100, &moved, &err) == 0);
  while (moved)
    CHECK(to_client(&h2, &server, 100, &moved, &err) == 0);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == LM_HTTP2_COMPLETE);
  CHECK(stream.head.status == 413);
  is_reply(&reply, 1, 50);
  memset(body, 0xee, LEN); /* it is no longer read */
  free(body);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(server_at(&server, 1)->reset && server_at(&server, 1)->reset_code == NGHTTP2_CANCEL);
  CHECK(server_at(&server, 1)->got == 1000 && lm_http2_may_open(&h2) == 10);
  lm_buf_clean_up(&reply);
  stop();
}

/* GOAWAY: streams above its last id were not processed, nor those that were not sent; others run on. */
static void
test_goaway(uint32_t code)
{
  struct lm_http2_stream streams[5];
  struct lm_buf replies[5];
  start(4, 65535);
  server.mute = true;
  CHECK(pump(&h2, &server, 100, &err) == 0);
  for (int i = 0; i < 4; i++) {
    lm_buf_init(&replies[i], 100);
    CHECK(request(&h2, &streams[i], &replies[i], NULL, 0, &err) == 0);
    if (i == 2)
      CHECK(pump(&h2, &server, 100, &err) == 0);
  }
  struct lm_buf raw;
  lm_buf_init(&raw, 1000);
  frame_goaway(&raw, INT32_MAX, 0); /* graceful: which ones it will process is said later */
  CHECK(lm_http2_feed(&h2, raw.data, raw.len, &err) == 0);
  CHECK(h2.going_away && h2.goaway_code == 0 && lm_http2_may_open(&h2) == 0);
  CHECK(request(&h2, &streams[4], &replies[4], NULL, 0, &err) == -1 && err.code == LM_E_CLOSED);
  CHECK(lm_http2_next_ended(&h2) == &streams[3] && streams[3].end == LM_HTTP2_REFUSED);
  CHECK(streams[3].sent_from == UINT64_MAX && lm_http2_next_ended(&h2) == NULL);
  lm_buf_clear(&raw);
  frame_goaway(&raw, 3, code);
  CHECK(lm_http2_feed(&h2, raw.data, raw.len, &err) == 0);
  CHECK(h2.goaway_code == code);
  CHECK(lm_http2_next_ended(&h2) == &streams[2] && streams[2].end == LM_HTTP2_REFUSED);
  CHECK(streams[2].error_code == code && streams[2].id == 5);
  CHECK(lm_http2_next_ended(&h2) == NULL);
  server_reply(&server, 1, "200", 50);
  server_reply(&server, 3, "200", 60);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(lm_http2_next_ended(&h2) == &streams[0] && streams[0].end == LM_HTTP2_COMPLETE);
  CHECK(lm_http2_next_ended(&h2) == &streams[1] && streams[1].end == LM_HTTP2_COMPLETE);
  is_reply(&replies[0], 1, 50);
  is_reply(&replies[1], 3, 60);
  CHECK(server.heard == 3 && h2.n_running == 0);
  for (int i = 0; i < 4; i++)
    lm_buf_clean_up(&replies[i]);
  lm_buf_clean_up(&raw);
  stop();
}

/* A peer that has replied in part and then says that it processed nothing is not believed. */
static void
test_goaway_after_head(void)
{
  const char *const head[] = {":status", "200", NULL};
  struct lm_http2_stream stream;
  struct lm_buf reply, raw;
  start(4, 65535);
  server.mute = true;
  lm_buf_init(&reply, 100);
  lm_buf_init(&raw, 1000);
  CHECK(request(&h2, &stream, &reply, NULL, 0, &err) == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  frame_headers(&raw, 0, 1, head);
  frame_goaway(&raw, 0, NGHTTP2_INTERNAL_ERROR);
  CHECK(lm_http2_feed(&h2, raw.data, raw.len, &err) == 0);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == LM_HTTP2_RESET && stream.head_done);
  CHECK(stream.error_code == NGHTTP2_INTERNAL_ERROR);
  lm_buf_clean_up(&raw);
  stop();
}

/* --- resets of ours --- */

static void
test_reset(void)
{
  struct lm_http2_stream streams[3];
  struct lm_buf replies[3];
  uint8_t *body = make_body(1, 50000);
  start(10, 65535);
  server.reply_len = 400000;
  CHECK(pump(&h2, &server, 100, &err) == 0);
  for (int i = 0; i < 3; i++)
    lm_buf_init(&replies[i], 1 << 20);
  /* Not sent yet: the peer never hears of it. */
  CHECK(request(&h2, &streams[0], &replies[0], body, 50000, &err) == 0);
  lm_http2_reset(&h2, &streams[0]);
  memset(&streams[0], 0xee, sizeof streams[0]);
  CHECK(h2.n_running == 0 && pump(&h2, &server, 100, &err) == 0 && server.heard == 0);
  /* Sent in part. */
  CHECK(request(&h2, &streams[1], &replies[1], body, 50000, &err) == 0);
  struct lm_buf out;
  lm_buf_init(&out, OUT_MAX);
  CHECK(lm_http2_send(&h2, &out, 1, &err) == 0 && streams[1].sent_from != UINT64_MAX);
  CHECK(nghttp2_session_mem_recv(server.session, out.data, out.len) == (ssize_t)out.len);
  lm_buf_clean_up(&out);
  lm_http2_reset(&h2, &streams[1]);
  memset(&streams[1], 0xee, sizeof streams[1]);
  CHECK(pump(&h2, &server, 100, &err) == 0 && server.heard == 1);
  CHECK(server_at(&server, 3)->reset && server_at(&server, 3)->reset_code == NGHTTP2_CANCEL);
  /* Its reply is on the way: what comes is dropped, and the connection stays. */
  CHECK(request(&h2, &streams[2], &replies[2], NULL, 0, &err) == 0);
  bool moved;
  CHECK(to_server(&h2, &server, &err) == 0);
  CHECK(to_client(&h2, &server, SIZE_MAX / 2, &moved, &err) == 0 && moved);
  CHECK(to_client(&h2, &server, SIZE_MAX / 2, &moved, &err) == 0 && moved);
  CHECK(replies[2].len > 0);
  lm_http2_reset(&h2, &streams[2]);
  memset(&streams[2], 0xee, sizeof streams[2]);
  size_t had = replies[2].len;
  do
    CHECK(to_client(&h2, &server, SIZE_MAX / 2, &moved, &err) == 0);
  while (moved);
  CHECK(replies[2].len == had && pump(&h2, &server, 100, &err) == 0);
  CHECK(h2.n_running == 0 && lm_http2_may_open(&h2) == 10);
  /* Ended, and not taken: it is only forgotten. */
  server.reply_len = 0;
  CHECK(request(&h2, &streams[0], &replies[0], NULL, 0, &err) == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  lm_http2_reset(&h2, &streams[0]);
  for (int i = 0; i < 3; i++)
    lm_buf_clean_up(&replies[i]);
  free(body);
  stop();
}

static void
test_ping(void)
{
  start(10, 65535);
  CHECK(lm_http2_ping(&h2, &err) == 0 && lm_http2_ping(&h2, &err) == 0);
  CHECK(h2.pings == 2 && h2.pongs == 0);
  uint8_t answer[8] = {9};
  struct lm_buf raw;
  lm_buf_init(&raw, 1000);
  CHECK(pump(&h2, &server, 100, &err) == 0);
  CHECK(h2.pings == 2 && h2.pongs == 2);
  frame(&raw, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, answer, 8); /* to none of ours */
  CHECK(lm_http2_feed(&h2, raw.data, raw.len, &err) == 0 && h2.pongs == 2);
  CHECK(lm_http2_ping(&h2, &err) == 0 && pump(&h2, &server, 1, &err) == 0 && h2.pongs == 3);
  lm_buf_clean_up(&raw);
  stop();
}

static void
test_ids_used_up(void)
{
  struct lm_http2_stream stream, next;
  struct lm_buf reply;
  start(10, 65535);
  lm_buf_init(&reply, 100);
  CHECK(nghttp2_session_set_next_stream_id(h2.session, INT32_MAX) == 0);
  CHECK(request(&h2, &stream, &reply, NULL, 0, &err) == 0 && stream.id == INT32_MAX);
  CHECK(lm_http2_may_open(&h2) == 0);
  CHECK(request(&h2, &next, &reply, NULL, 0, &err) == -1 && err.code == LM_E_CLOSED);
  bool moved;
  CHECK(to_client(&h2, &server, 100, &moved, &err) == 0); /* and it has not failed */
  lm_http2_reset(&h2, &stream);
  stop();
}

static void
test_too_many_fields(void)
{
  struct lm_field fields[LM_HTTP2_MAX_FIELDS + 1];
  struct lm_http2_request what = {"http", "a", "/", fields, LM_HTTP2_MAX_FIELDS + 1, NULL, 0};
  struct lm_http2_stream stream;
  struct lm_buf reply;
  char *large = malloc(70000);
  start(10, 65535);
  lm_buf_init(&reply, 100);
  for (size_t i = 0; i <= LM_HTTP2_MAX_FIELDS; i++)
    fields[i] = field("a", "b", false);
  CHECK(lm_http2_open(&h2, &stream, &what, &reply, &err) == -1 && err.code == LM_E_LIMIT);
  CHECK(h2.n_running == 0);
  memset(large, 'x', 70000);
  fields[0].value = large;
  fields[0].value_len = 70000;
  what.n_fields = 1;
  CHECK(lm_http2_open(&h2, &stream, &what, &reply, &err) == 0);
  CHECK(pump(&h2, &server, 100, &err) == 0 && server.heard == 0);
  CHECK(lm_http2_next_ended(&h2) == &stream && stream.end == LM_HTTP2_BAD);
  CHECK(stream.err.code == LM_E_LIMIT && stream.sent_from == UINT64_MAX);
  free(large);
  stop();
}

/* Each allocation fails in turn: a stream ends or is not opened, and nothing leaks. */
static void
scenario_memory(void)
{
  struct lm_http2_stream streams[3];
  struct lm_buf replies[3];
  bool open[3] = {false, false, false};
  uint8_t body[2000];
  struct lm_error e;
  for (size_t i = 0; i < sizeof body; i++)
    body[i] = reply_byte(1, i);
  if (lm_http2_init(&h2, &e) != 0)
    return;
  for (int i = 0; i < 3; i++) {
    lm_buf_init(&replies[i], 100000);
    open[i] = request(&h2, &streams[i], &replies[i], i == 0 ? body : NULL, i == 0 ? sizeof body : 0,
                      &e) == 0;
  }
  if (open[2])
    lm_http2_reset(&h2, &streams[2]);
  if (lm_http2_ping(&h2, &e) == 0)
    pump(&h2, &server, 1000, &e);
  lm_http2_lose(&h2, &e);
  size_t ended = 0;
  for (struct lm_http2_stream *s; (s = lm_http2_next_ended(&h2)) != NULL; ended++)
    CHECK(s->end != LM_HTTP2_RUNS && (s == &streams[0] || s == &streams[1]));
  CHECK(ended == (size_t)open[0] + open[1]);
  for (int i = 0; i < 3; i++)
    lm_buf_clean_up(&replies[i]);
  lm_http2_clean_up(&h2);
}

static void
scenario_memory_with_server(void)
{
  server_start(&server, 10, 65535);
  server.reply_len = 50000;
  scenario_memory();
  server_stop(&server);
}

int
main(void)
{
  for (size_t cut = 1; cut < 30; cut++)
    test_request(cut);
  test_request(100000);
  test_no_body();
  test_repeated_fields();
  test_concurrency();
  test_large_bodies();
  test_windows_hold_a_reply();
  test_send_in_pieces();
  test_reset_by_peer(NGHTTP2_CANCEL, BEFORE, LM_HTTP2_RESET);
  test_reset_by_peer(NGHTTP2_NO_ERROR, BEFORE, LM_HTTP2_RESET);
  test_reset_by_peer(NGHTTP2_REFUSED_STREAM, BEFORE, LM_HTTP2_REFUSED);
  test_reset_by_peer(NGHTTP2_REFUSED_STREAM, INFORMED, LM_HTTP2_RESET);
  test_reset_by_peer(NGHTTP2_REFUSED_STREAM, AFTER, LM_HTTP2_RESET);
  test_reset_by_peer(NGHTTP2_INTERNAL_ERROR, AFTER, LM_HTTP2_RESET);
  test_early_reply();
  test_goaway(NGHTTP2_NO_ERROR);
  test_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
  test_goaway_after_head();
  test_reset();
  test_ping();
  test_ids_used_up();
  test_too_many_fields();
  check_every_allocation(scenario_memory_with_server);
  return 0;
}
