/* http/http2 against peers that break the rules, by frames made by hand. What a reply violates ends its
 * stream as BAD; what the connection violates loses all. Either way it does not depend on how the bytes are
 * split. */
#include "http2_peer.h"

enum { BODY_MAX = 1000, CONVERSATION = 4 << 20 };

static struct lm_buf raw;

/* What became of a connection with two streams to which `raw` was sent, in pieces of `cut`. */
struct outcome {
  bool failed;
  struct lm_error err;
  enum lm_http2_end end[2];
  struct lm_error why[2];
  struct lm_reply_head head[2];
  size_t body_len[2];
};

/* The peer has read everything and replied with `raw`, after SETTINGS if `settles`. */
static struct outcome
converse(size_t cut, bool settles)
{
  struct lm_http2_stream streams[2];
  struct lm_buf replies[2], out;
  struct outcome found = {0};
  struct lm_http2 h2;
  lm_buf_init(&out, OUT_MAX);
  CHECK(lm_http2_init(&h2, &found.err) == 0);
  for (int i = 0; i < 2; i++) {
    lm_buf_init(&replies[i], BODY_MAX);
    CHECK(request(&h2, &streams[i], &replies[i], NULL, 0, &found.err) == 0);
  }
  CHECK(lm_http2_send(&h2, &out, SOON, &found.err) == 0);
  static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
  if (settles)
    CHECK(lm_http2_feed(&h2, settings, sizeof settings, &found.err) == 0);
  for (size_t at = 0; at < raw.len && !found.failed; at += cut) {
    size_t n = raw.len - at < cut ? raw.len - at : cut;
    found.failed = lm_http2_feed(&h2, raw.data + at, n, &found.err) != 0;
    CHECK(replies[0].len <= BODY_MAX && replies[1].len <= BODY_MAX);
  }
  while (!found.failed && lm_http2_has_output(&h2)) {
    lm_buf_clear(&out);
    found.failed = lm_http2_send(&h2, &out, SOON, &found.err) != 0;
  }
  while (lm_http2_next_ended(&h2) != NULL)
    ;
  for (int i = 0; i < 2; i++) {
    CHECK(!found.failed || streams[i].end != LM_HTTP2_RUNS);
    found.end[i] = streams[i].end;
    found.why[i] = streams[i].err;
    if (streams[i].head_done)
      found.head[i] = streams[i].head;
    found.body_len[i] = replies[i].len;
    lm_buf_clean_up(&replies[i]);
  }
  lm_http2_clean_up(&h2);
  lm_buf_clean_up(&out);
  return found;
}

static struct outcome
converse_in_pieces(void)
{
  struct outcome whole = converse(SIZE_MAX / 2, true);
  for (size_t cut = 1; cut < 12; cut++) {
    struct outcome pieces = converse(cut, true);
    CHECK(pieces.failed == whole.failed);
    CHECK(!whole.failed || strcmp(pieces.err.text, whole.err.text) == 0);
    for (int i = 0; i < 2; i++) {
      CHECK(pieces.end[i] == whole.end[i]);
      if (whole.end[i] == LM_HTTP2_COMPLETE)
        CHECK(pieces.body_len[i] == whole.body_len[i]);
      CHECK(memcmp(&pieces.head[i], &whole.head[i], sizeof pieces.head[i]) == 0);
      if (whole.end[i] == LM_HTTP2_BAD || whole.end[i] == LM_HTTP2_LOST)
        CHECK(strcmp(pieces.why[i].text, whole.why[i].text) == 0);
    }
  }
  return whole;
}

static void
data(uint32_t id, int flags, size_t len)
{
  static const uint8_t zeros[16384];
  frame(&raw, NGHTTP2_DATA, flags, id, zeros, len);
}

/* The other stream of the connection has a good reply, before or after. */
static void
good_reply(void)
{
  static const char *const head[] = {":status", "200", "content-length", "3", NULL};
  frame_headers(&raw, 0, 3, head);
  data(3, NGHTTP2_FLAG_END_STREAM, 3);
}

/* --- replies --- */

enum { NO_BODY = -1, WITH_TRAILERS = 1 << 20 };

static struct outcome
reply_of(const char *const *fields, int body)
{
  static const char *const trailers[] = {"x-checksum", "1", NULL};
  lm_buf_clear(&raw);
  frame_headers(&raw, body == NO_BODY ? NGHTTP2_FLAG_END_STREAM : 0, 1, fields);
  if (body != NO_BODY)
    data(1, body & WITH_TRAILERS ? 0 : NGHTTP2_FLAG_END_STREAM, (size_t)(body & ~WITH_TRAILERS));
  if (body != NO_BODY && (body & WITH_TRAILERS))
    frame_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, trailers);
  good_reply();
  struct outcome found = converse_in_pieces();
  CHECK(!found.failed && found.end[1] == LM_HTTP2_COMPLETE && found.body_len[1] == 3);
  return found;
}

#define FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
good(const char *const *fields, int body, int status)
{
  struct outcome found = reply_of(fields, body);
  CHECK(found.end[0] == LM_HTTP2_COMPLETE && found.head[0].status == status);
  CHECK(found.body_len[0] == (size_t)(body == NO_BODY ? 0 : body & ~WITH_TRAILERS));
}

static void
bad(const char *const *fields, int body, enum lm_code code, const char *text)
{
  struct outcome found = reply_of(fields, body);
  CHECK(found.end[0] == LM_HTTP2_BAD);
  if (found.why[0].code != code || strstr(found.why[0].text, text) == NULL)
    fprintf(stderr, "got: %s\n", found.why[0].text);
  CHECK(found.why[0].code == code && strstr(found.why[0].text, text) != NULL);
}

static void
test_replies(void)
{
  static char long_value[LM_HEAD_MAX_LINE], fitting[LM_HEAD_MAX_LINE];
  memset(long_value, 'x', sizeof long_value - 1);
  memset(fitting, 'x', LM_HEAD_MAX_LINE - 4 - 1);
  good(FIELDS(":status", "200"), NO_BODY, 200);
  good(FIELDS(":status", "200"), 10, 200);
  good(FIELDS(":status", "200", "content-length", "10"), 10, 200);
  good(FIELDS(":status", "200", "content-length", "10"), 10 | WITH_TRAILERS, 200);
  good(FIELDS(":status", "404", "content-encoding", "identity"), BODY_MAX, 404);
  good(FIELDS(":status", "204"), NO_BODY, 204);
  good(FIELDS(":status", "304", "content-length", "99"), NO_BODY, 304);
  good(FIELDS(":status", "599", "x", fitting), NO_BODY, 599);

  bad(FIELDS(":status", "600"), 0, LM_E_FORMAT, "status");
  bad(FIELDS(":status", "099"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "20"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "101"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", ":status", "200"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS("x", "1"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS("x", "1", ":status", "200"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", ":path", "/"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "X-Upper", "1"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "a b", "1"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "a", "1\r\nb: 2"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "connection", "close"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "transfer-encoding", "chunked"), 0, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "content-encoding", "gzip"), 3, LM_E_FORMAT, "Content-Encoding");
  bad(FIELDS(":status", "200", "content-length", "3", "content-length", "3"), 3, LM_E_FORMAT,
      "invalid");
  bad(FIELDS(":status", "200", "content-length", "-3"), 3, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "content-length", "4"), 3, LM_E_FORMAT, "not as long");
  bad(FIELDS(":status", "200", "content-length", "2"), 3, LM_E_FORMAT, "not as long");
  bad(FIELDS(":status", "200", "content-length", "4"), NO_BODY, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "204"), 3, LM_E_FORMAT, "invalid");
  bad(FIELDS(":status", "200", "content-length", "1001"), 3, LM_E_LIMIT, "larger than 1000");
  bad(FIELDS(":status", "200"), BODY_MAX + 1, LM_E_LIMIT, "larger than 1000");
  bad(FIELDS(":status", "200", "x", long_value), 0, LM_E_LIMIT, "line of the reply's header");
}

/* 1xx replies: skipped, forgotten, and counted. */
static void
test_informational(void)
{
  for (int n = 1; n <= LM_HEAD_MAX_INFORMATIONAL + 1; n++) {
    lm_buf_clear(&raw);
    for (int i = 0; i < n; i++)
      frame_headers(&raw, 0, 1, FIELDS(":status", "103", "x-amz-function-error", "Unhandled"));
    frame_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, FIELDS(":status", "200"));
    good_reply();
    struct outcome found = converse(SIZE_MAX / 2, true);
    if (n <= LM_HEAD_MAX_INFORMATIONAL) {
      CHECK(found.end[0] == LM_HTTP2_COMPLETE && !found.head[0].has_function_error);
    } else {
      CHECK(found.end[0] == LM_HTTP2_BAD && found.why[0].code == LM_E_LIMIT);
      CHECK(strstr(found.why[0].text, "informational") != NULL);
    }
    CHECK(found.end[1] == LM_HTTP2_COMPLETE && !found.failed);
  }
}

/* A header of many fields, each one byte on the wire: an indexed field that was large once. */
static void
test_header_bomb(void)
{
  struct lm_buf block;
  char large[3000];
  memset(large, 'x', sizeof large - 1);
  large[sizeof large - 1] = '\0';
  lm_buf_init(&block, 1 << 20);
  lm_buf_byte(&block, 0x88); /* :status 200 */
  lm_buf_byte(&block, 0x40); /* into the table */
  literal_text(&block, "x-bomb");
  literal_text(&block, large);
  for (int i = 0; i < 10000; i++)
    lm_buf_byte(&block, 0xbe); /* the same again */
  lm_buf_clear(&raw);
  frame(&raw, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block.data, block.len);
  good_reply();
  struct outcome found = converse_in_pieces();
  CHECK(found.end[0] == LM_HTTP2_BAD && found.why[0].code == LM_E_LIMIT);
  CHECK(strstr(found.why[0].text, "larger than 65536") != NULL);
  CHECK(found.end[1] == LM_HTTP2_COMPLETE);
  lm_buf_clean_up(&block);
}

/* Trailers share the header's limit. */
static void
test_large_trailers(void)
{
  static char value[8000];
  memset(value, 'x', sizeof value - 1);
  struct lm_buf block;
  lm_buf_init(&block, 1 << 20);
  for (int i = 0; i < 9; i++)
    literal(&block, "x", value);
  lm_buf_clear(&raw);
  frame_headers(&raw, 0, 1, FIELDS(":status", "200"));
  data(1, 0, 5);
  size_t at = 0;
  for (int type = NGHTTP2_HEADERS; at < block.len; type = NGHTTP2_CONTINUATION) {
    size_t n = block.len - at < 16384 ? block.len - at : 16384;
    int flags = at + n == block.len ? NGHTTP2_FLAG_END_HEADERS : 0;
    flags |= type == NGHTTP2_HEADERS ? NGHTTP2_FLAG_END_STREAM : 0;
    frame(&raw, type, flags, 1, block.data + at, n);
    at += n;
  }
  good_reply();
  struct outcome found = converse(SIZE_MAX / 2, true);
  CHECK(found.end[0] == LM_HTTP2_BAD && found.why[0].code == LM_E_LIMIT);
  CHECK(found.head[0].status == 200 && found.end[1] == LM_HTTP2_COMPLETE);
  lm_buf_clean_up(&block);
}

/* --- connections --- */

static void
lost(bool settles, enum lm_code code, const char *text)
{
  struct outcome found = converse(SIZE_MAX / 2, settles);
  if (!found.failed || found.err.code != code || strstr(found.err.text, text) == NULL)
    fprintf(stderr, "got: %d %s, expected %s\n", found.failed, found.err.text, text);
  CHECK(found.failed && found.err.code == code && strstr(found.err.text, text) != NULL);
  if (raw.len < 1000 && settles)
    converse_in_pieces();
}

static void
test_other_protocol(void)
{
  lm_buf_clear(&raw);
  lm_buf_str(&raw, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  lost(false, LM_E_FORMAT, "does not speak HTTP/2");
  lm_buf_clear(&raw);
  frame(&raw, NGHTTP2_PING, 0, 0, "12345678", 8);
  lost(false, LM_E_FORMAT, "does not speak HTTP/2");
}

static void
test_violations(void)
{
  static const uint8_t zeros[20000];
#define LOST(made, code, text)                                                                     \
  do {                                                                                             \
    lm_buf_clear(&raw);                                                                            \
    made;                                                                                          \
    lost(true, code, text);                                                                        \
  } while (0)
  LOST(frame(&raw, NGHTTP2_PUSH_PROMISE, 4, 1, "\0\0\0\2\x82", 5), LM_E_FORMAT, "pushed");
  LOST(frame(&raw, NGHTTP2_HEADERS, 4, 1, "\xff\xff\xff\xff", 4), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_HEADERS, 4, 2, "\x88", 1), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_HEADERS, 4, 5, "\x88", 1), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_HEADERS, 0, 1, "\x88", 1); data(1, 0, 1), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_CONTINUATION, 4, 1, "\x88", 1), LM_E_FORMAT, "violated");
  LOST(data(0, 0, 1), LM_E_FORMAT, "violated");
  LOST(data(5, 0, 1), LM_E_FORMAT, "violated");
  LOST(data(1, 0, 1), LM_E_FORMAT, "violated"); /* before HEADERS */
  LOST(frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\xff", 1), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_DATA, 0, 1, zeros, 16385), LM_E_FORMAT, "violated");
  LOST(frame(&raw, 99, 0, 0, zeros, 16385), LM_E_FORMAT, "violated");
  LOST(frame_number(&raw, NGHTTP2_WINDOW_UPDATE, 0, 0), LM_E_FORMAT, "violated");
  LOST(frame_number(&raw, NGHTTP2_WINDOW_UPDATE, 0, INT32_MAX), LM_E_FORMAT, "violated");
  LOST(frame_number(&raw, NGHTTP2_WINDOW_UPDATE, 5, 9), LM_E_FORMAT, "violated");
  LOST(frame_number(&raw, NGHTTP2_RST_STREAM, 0, 0), LM_E_FORMAT, "violated");
  LOST(frame_number(&raw, NGHTTP2_RST_STREAM, 7, 0), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_SETTINGS, 0, 0, zeros, 5), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_SETTINGS, 0, 1, zeros, 0), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_SETTINGS, 0, 0, "\0\2\0\0\0\1", 6), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_PING, 0, 0, zeros, 7), LM_E_FORMAT, "violated");
  LOST(frame(&raw, NGHTTP2_PING, 0, 1, zeros, 8), LM_E_FORMAT, "violated");
  LOST(frame_goaway(&raw, 2, 0), LM_E_FORMAT, "violated");
  LOST(frame_goaway(&raw, 1, 0); frame_goaway(&raw, 3, 0), LM_E_FORMAT, "violated");
  /* After GOAWAY, too, where only the answer tells. */
  LOST(frame_goaway(&raw, 3, 0); data(0, 0, 1), LM_E_FORMAT, "violated");
}

/* A stream's own violations end it, not the connection. */
static void
test_stream_violations(void)
{
  lm_buf_clear(&raw);
  frame_number(&raw, NGHTTP2_WINDOW_UPDATE, 1, INT32_MAX);
  good_reply();
  struct outcome found = converse_in_pieces();
  CHECK(!found.failed && found.end[0] == LM_HTTP2_BAD && found.end[1] == LM_HTTP2_COMPLETE);
  CHECK(found.why[0].code == LM_E_FORMAT);
}

/* After its end a stream gets no more: the reply stays as it was. */
static void
test_frames_on_ended_streams(void)
{
  lm_buf_clear(&raw);
  good_reply();
  frame_number(&raw, NGHTTP2_RST_STREAM, 3, NGHTTP2_NO_ERROR);
  frame_number(&raw, NGHTTP2_WINDOW_UPDATE, 3, 9);
  data(3, 0, 4);
  frame_headers(&raw, 0, 3, FIELDS(":status", "500"));
  frame_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, FIELDS(":status", "201"));
  struct outcome found = converse_in_pieces();
  CHECK(!found.failed && found.end[1] == LM_HTTP2_COMPLETE && found.head[1].status == 200);
  CHECK(found.body_len[1] == 3 && found.end[0] == LM_HTTP2_COMPLETE);
}

static void
test_continuation_flood(void)
{
  for (int n = 0; n < 20; n++) {
    lm_buf_clear(&raw);
    frame(&raw, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, "\x88", 1);
    for (int i = 1; i < n; i++)
      frame(&raw, NGHTTP2_CONTINUATION, 0, 1, "", 0);
    frame(&raw, NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, "\x00\x01x\x01y", 5);
    good_reply();
    if (n > LM_HTTP2_MAX_CONTINUATIONS)
      lost(true, LM_E_LIMIT, "in too many frames");
    else
      CHECK(converse_in_pieces().end[0] == LM_HTTP2_COMPLETE);
  }
}

static void
flood(void (*make)(void), const char *text)
{
  lm_buf_clear(&raw);
  for (int i = 0; raw.len < CONVERSATION; i++)
    make();
  lost(true, LM_E_LIMIT, text);
  /* In pieces, as from a socket, it ends soon; with what asks for a reply, before it is asked often. */
  struct outcome found = converse(1000, true);
  CHECK(found.failed && found.err.code == LM_E_LIMIT);
}

static void
make_ping(void)
{
  frame(&raw, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void
make_pong(void)
{
  frame(&raw, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "12345678", 8);
}

static void
make_settings(void)
{
  frame(&raw, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\1\0\0", 6);
}

static void
make_window_update(void)
{
  frame_number(&raw, NGHTTP2_WINDOW_UPDATE, 0, 1);
}

static void
make_reset(void)
{
  frame_number(&raw, NGHTTP2_RST_STREAM, 1, 0);
}

static void
make_empty_data(void)
{
  if (raw.len == 0)
    frame_headers(&raw, 0, 1, FIELDS(":status", "200"));
  data(1, 0, 0);
}

static void
make_padding(void)
{
  static const uint8_t padded[256] = {255};
  if (raw.len == 0)
    frame_headers(&raw, 0, 1, FIELDS(":status", "200"));
  frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, padded, sizeof padded);
}

static void
make_unknown(void)
{
  static const uint8_t zeros[100];
  frame(&raw, 200, 0, 1, zeros, sizeof zeros);
}

static void
make_priority(void)
{
  frame(&raw, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\3\1", 5);
}

static void
make_late_data(void)
{
  if (raw.len == 0)
    good_reply();
  data(3, 0, 1000);
}

static void
make_late_headers(void)
{
  if (raw.len == 0)
    good_reply();
  frame_headers(&raw, 0, 3, FIELDS(":status", "200", "x", "yyyyyyyyyyyyyyyyyyyyyyyy"));
}

static void
test_floods(void)
{
  flood(make_ping, "HTTP/2 frames that need replies");
  flood(make_settings, "HTTP/2 frames that need replies");
  flood(make_pong, "bring nothing");
  flood(make_window_update, "bring nothing");
  flood(make_reset, "bring nothing");
  flood(make_empty_data, "bring nothing");
  flood(make_padding, "bring nothing");
  flood(make_unknown, "bring nothing");
  flood(make_priority, "bring nothing");
  flood(make_late_data, "bring nothing");
  flood(make_late_headers, "bring nothing");
}

/* Answered each time, pings end by the bytes that they waste. */
static void
test_ping_flood_that_is_answered(void)
{
  struct lm_error err;
  struct lm_http2 h2;
  struct lm_buf out;
  static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
  CHECK(lm_http2_init(&h2, &err) == 0);
  lm_buf_init(&out, OUT_MAX);
  lm_buf_clear(&raw);
  make_ping();
  CHECK(lm_http2_feed(&h2, settings, sizeof settings, &err) == 0);
  int n = 0;
  for (; lm_http2_feed(&h2, raw.data, raw.len, &err) == 0; n++) {
    CHECK(n < 20000);
    lm_buf_clear(&out);
    CHECK(lm_http2_send(&h2, &out, SOON, &err) == 0 && out.len >= 17);
  }
  CHECK(err.code == LM_E_LIMIT && n > 10000);
  lm_buf_clean_up(&out);
  lm_http2_clean_up(&h2);
}

/* The windows open again as soon as bytes are taken; so what bounds a peer that ignores them is the buffer. */
static void
test_data_beyond_windows(void)
{
  lm_buf_clear(&raw);
  frame_headers(&raw, 0, 1, FIELDS(":status", "200"));
  for (int i = 0; i < 200; i++)
    data(1, 0, 16384);
  good_reply();
  struct outcome found = converse_in_pieces();
  CHECK(!found.failed && found.end[0] == LM_HTTP2_BAD && found.why[0].code == LM_E_LIMIT);
  CHECK(found.end[1] == LM_HTTP2_COMPLETE);
}

int
main(void)
{
  lm_buf_init(&raw, 2 * CONVERSATION);
  test_replies();
  test_informational();
  test_header_bomb();
  test_large_trailers();
  test_other_protocol();
  test_violations();
  test_stream_violations();
  test_frames_on_ended_streams();
  test_continuation_flood();
  test_floods();
  test_ping_flood_that_is_answered();
  test_data_beyond_windows();
  lm_buf_clean_up(&raw);
  return 0;
}
