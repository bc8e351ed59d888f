/* http/http1: each reply gives the same result whole, byte by byte, and split at every position. */
#include <string.h>

#include "check.h"
#include "http/http1.h"

enum { BODY_MAX = 100 };

/* The result after all bytes were fed, and after the peer closed. */
enum verdict { WHOLE, OPEN, CLOSED_WHOLE, REFUSED, TOO_MUCH };

struct row {
  const char *name;
  const char *bytes;
  size_t n;
  enum verdict verdict;
  const char *body; /* NULL: not checked */
  int status;       /* 0: not checked */
  size_t extra;     /* bytes after the end */
};

#define BYTES(text) text, sizeof(text) - 1
#define OK "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

static const struct row rows[] = {
    /* ordinary replies */
    {"length", BYTES(OK "Content-Length: 5\r\n\r\nhello"), WHOLE, "hello", 200, 0},
    {"no reason", BYTES("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), WHOLE, "", 200, 0},
    {"empty reason", BYTES("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"), WHOLE, "", 200, 0},
    {"no blank before a value", BYTES(OK "content-length:5\r\n\r\nhello"), WHOLE, "hello", 200, 0},
    {"blanks around a value", BYTES(OK "CONTENT-LENGTH: \t 5 \t\r\n\r\nhello"), WHOLE, "hello", 200,
     0},
    {"empty value", BYTES(OK "X:\r\nContent-Length: 1\r\n\r\nx"), WHOLE, "x", 200, 0},
    {"Latin-1 in a value", BYTES(OK "X: caf\xe9\r\nContent-Length: 0\r\n\r\n"), WHOLE, "", 200, 0},
    {"tab in a value", BYTES(OK "X: a\tb\tc\td\te\tf\r\nContent-Length: 0\r\n\r\n"), WHOLE, "", 200,
     0},
    {"NUL in the body", BYTES(OK "Content-Length: 3\r\n\r\na\0b"), WHOLE, NULL, 200, 0},
    {"204", BYTES("HTTP/1.1 204 No Content\r\n\r\n"), WHOLE, "", 204, 0},
    {"204, length 0", BYTES("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), WHOLE, "", 204,
     0},
    {"304 with the length of another", BYTES("HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n"), WHOLE,
     "", 304, 0},
    {"bytes behind", BYTES(OK "Content-Length: 2\r\n\r\nhello"), WHOLE, "he", 200, 3},
    {"a second reply behind", BYTES(OK "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n"), WHOLE, "",
     200, 17},

    /* chunks */
    {"chunks", BYTES(CHUNKED "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), WHOLE, "hello world", 200,
     0},
    {"chunk of 0x1A", BYTES(CHUNKED "1A\r\nabcdefghijklmnopqrstuvwxyz\r\n000\r\n\r\n"), WHOLE,
     "abcdefghijklmnopqrstuvwxyz", 200, 0},
    {"lower-case hex", BYTES(CHUNKED "a\r\n0123456789\r\n0\r\n\r\n"), WHOLE, "0123456789", 200, 0},
    {"extension", BYTES(CHUNKED "2;a=b;c=\"d\"\r\nhi\r\n0;x\r\n\r\n"), WHOLE, "hi", 200, 0},
    {"extension behind blanks", BYTES(CHUNKED "2 \t;a\r\nhi\r\n0 \r\n\r\n"), WHOLE, "hi", 200, 0},
    {"trailers", BYTES(CHUNKED "2\r\nhi\r\n0\r\nX-A: 1\r\nContent-Length: 7\r\n\r\n"), WHOLE, "hi",
     200, 0},
    {"no chunk", BYTES(CHUNKED "0\r\n\r\n"), WHOLE, "", 200, 0},
    {"CRLF as data", BYTES(CHUNKED "2\r\n\r\n\r\n0\r\n\r\n"), WHOLE, "\r\n", 200, 0},
    {"chunks with bytes behind", BYTES(CHUNKED "0\r\n\r\nX"), WHOLE, "", 200, 1},
    {"size of nothing", BYTES(CHUNKED "\r\n"), REFUSED, NULL, 0, 0},
    {"size with a sign", BYTES(CHUNKED "-1\r\n"), REFUSED, NULL, 0, 0},
    {"size with 0x", BYTES(CHUNKED "0x5\r\n"), REFUSED, NULL, 0, 0},
    {"size with a blank in front", BYTES(CHUNKED " 5\r\n"), REFUSED, NULL, 0, 0},
    {"size and rubbish", BYTES(CHUNKED "5 hello\r\n"), REFUSED, NULL, 0, 0},
    {"size and bare LF", BYTES(CHUNKED "5\nhello\r\n0\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"size of 2^64", BYTES(CHUNKED "10000000000000000\r\n"), TOO_MUCH, NULL, 0, 0},
    {"size of 2^64 + 5", BYTES(CHUNKED "10000000000000005\r\nhello"), TOO_MUCH, NULL, 0, 0},
    {"many zeros", BYTES(CHUNKED "00000000000000000000000005\r\nhello\r\n0\r\n\r\n"), WHOLE,
     "hello", 200, 0},
    {"chunk longer than said", BYTES(CHUNKED "2\r\nhello\r\n"), REFUSED, NULL, 0, 0},
    {"chunk end without CR", BYTES(CHUNKED "2\r\nhi\n0\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"chunk end CR only", BYTES(CHUNKED "2\r\nhi\rX"), REFUSED, NULL, 0, 0},
    {"trailer that is none", BYTES(CHUNKED "0\r\nrubbish\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"control byte in an extension", BYTES(CHUNKED "2;\x01\r\nhi\r\n"), REFUSED, NULL, 0, 0},
    {"chunk cut short", BYTES(CHUNKED "5\r\nhel"), OPEN, NULL, 200, 0},
    {"last chunk missing", BYTES(CHUNKED "5\r\nhello\r\n"), OPEN, NULL, 200, 0},
    {"last line missing", BYTES(CHUNKED "5\r\nhello\r\n0\r\n"), OPEN, NULL, 200, 0},
    {"chunked and a length", BYTES(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
     REFUSED, NULL, 0, 0},
    {"a length and chunked", BYTES(OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
     REFUSED, NULL, 0, 0},
    {"chunked twice", BYTES(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
     REFUSED, NULL, 0, 0},
    {"chunked, chunked", BYTES(OK "Transfer-Encoding: chunked, chunked\r\n\r\n"), REFUSED, NULL, 0,
     0},
    {"gzip, chunked", BYTES(OK "Transfer-Encoding: gzip, chunked\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"identity", BYTES(OK "Transfer-Encoding: identity\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"xchunked", BYTES(OK "Transfer-Encoding: xchunked\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"chunked in HTTP/1.0", BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), REFUSED,
     NULL, 0, 0},
    {"chunked 204", BYTES("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n"), REFUSED, NULL, 0,
     0},
    {"204 with a body", BYTES("HTTP/1.1 204 X\r\nContent-Length: 1\r\n\r\n"), REFUSED, NULL, 0, 0},

    /* lengths */
    {"two lengths", BYTES(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), REFUSED, NULL, 0,
     0},
    {"the same length twice", BYTES(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), REFUSED,
     NULL, 0, 0},
    {"5, 5", BYTES(OK "Content-Length: 5, 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"+5", BYTES(OK "Content-Length: +5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"-5", BYTES(OK "Content-Length: -5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"0x5", BYTES(OK "Content-Length: 0x5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"5 5", BYTES(OK "Content-Length: 5 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"no length", BYTES(OK "Content-Length:\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"length of 2^64", BYTES(OK "Content-Length: 18446744073709551616\r\n\r\n"), REFUSED, NULL, 0,
     0},
    {"length past the cap", BYTES(OK "Content-Length: 101\r\n\r\n"), TOO_MUCH, NULL, 200, 0},
    {"chunk past the cap", BYTES(CHUNKED "65\r\n"), TOO_MUCH, NULL, 200, 0},
    {"chunks past the cap", BYTES(CHUNKED "1\r\nx\r\n64\r\n"), TOO_MUCH, NULL, 200, 0},
    {"body cut short", BYTES(OK "Content-Length: 5\r\n\r\nhell"), OPEN, "hell", 200, 0},
    {"head cut short", BYTES(OK "Content-Len"), OPEN, NULL, 0, 0},
    {"nothing", BYTES(""), OPEN, NULL, 0, 0},

    /* ended by a close */
    {"until close", BYTES(OK "Connection: close\r\n\r\nhello"), CLOSED_WHOLE, "hello", 200, 0},
    {"until close, a list", BYTES(OK "Connection: x ,\tClose\r\n\r\nhello"), CLOSED_WHOLE, "hello",
     200, 0},
    {"HTTP/1.0 until close", BYTES("HTTP/1.0 200 OK\r\n\r\nhello"), CLOSED_WHOLE, "hello", 200, 0},
    {"HTTP/1.0 keep-alive with no end",
     BYTES("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello"), REFUSED, NULL, 200, 0},
    {"no end at all", BYTES(OK "\r\nhello"), REFUSED, NULL, 200, 0},
    {"close and a length, cut", BYTES(OK "Connection: close\r\nContent-Length: 9\r\n\r\nhello"),
     OPEN, NULL, 200, 0},

    /* informational */
    {"100", BYTES("HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi"), WHOLE, "hi",
     200, 0},
    {"100, 103 with headers",
     BYTES("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: "
           "</x>\r\nX-Amz-Function-Error: No\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi"),
     WHOLE, "hi", 200, 0},
    {"103 with a length",
     BYTES("HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi"), WHOLE,
     "hi", 200, 0},
    {"101", BYTES("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"100 and nothing", BYTES("HTTP/1.1 100 Continue\r\n\r\n"), OPEN, NULL, 0, 0},

    /* status lines */
    {"lower case", BYTES("http/1.1 200 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"HTTP/2", BYTES("HTTP/2 200 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"HTTP/1.2", BYTES("HTTP/1.2 200 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"HTTP/1.10", BYTES("HTTP/1.10 200 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"two blanks", BYTES("HTTP/1.1  200 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"two digits", BYTES("HTTP/1.1 20 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"four digits", BYTES("HTTP/1.1 2000 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"099", BYTES("HTTP/1.1 099 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"600", BYTES("HTTP/1.1 600 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"blank line in front", BYTES("\r\nHTTP/1.1 200 OK\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"another protocol, no line end", BYTES("SSH-2.0"), REFUSED, NULL, 0, 0},
    {"a TLS alert", BYTES("\x15\x03\x01\x00\x02\x02\x46"), REFUSED, NULL, 0, 0},
    {"half a protocol name", BYTES("HTT"), OPEN, NULL, 0, 0},

    /* headers */
    {"bare LF", BYTES("HTTP/1.1 200 OK\nContent-Length: 0\n\n"), REFUSED, NULL, 0, 0},
    {"bare LF in headers", BYTES(OK "Content-Length: 0\n\r\n"), REFUSED, NULL, 0, 0},
    {"bare LF as the end", BYTES(OK "Content-Length: 0\r\n\n"), REFUSED, NULL, 0, 0},
    {"bare CR", BYTES(OK "X: a\rContent-Length: 9\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"CR CR LF", BYTES(OK "X: a\r\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"NUL in a value", BYTES(OK "X: a\0b\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"NUL in a name", BYTES(OK "X\0: a\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"NUL in the reason", BYTES("HTTP/1.1 200 O\0K\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"DEL in a value", BYTES(OK "X: 0123456789\x7f\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"obs-fold", BYTES(OK "X: a\r\n b\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"obs-fold with a tab", BYTES(OK "X: a\r\n\tb\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"first line folded", BYTES(OK " X: a\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"blank before the colon", BYTES(OK "Content-Length : 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"blank in a name", BYTES(OK "Content Length: 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"no name", BYTES(OK ": 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"no colon", BYTES(OK "Content-Length 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"non-ASCII name", BYTES(OK "X\xe9: 5\r\n\r\n"), REFUSED, NULL, 0, 0},
    {"quoted name", BYTES(OK "\"X\": 5\r\n\r\n"), REFUSED, NULL, 0, 0},
};

struct reading {
  struct lm_http1 reply;
  struct lm_buf body;
  struct lm_error err;
  enum lm_http1_state_out state;
  size_t taken;
};

/* The bytes in two pieces, or in many of `step`. */
static void
feed(struct reading *reading, const char *bytes, size_t n, size_t first, size_t step)
{
  lm_http1_init(&reading->reply);
  lm_buf_clear(&reading->body);
  reading->err.code = LM_OK;
  reading->state = LM_HTTP1_MORE;
  reading->taken = 0;
  for (size_t at = 0, size = first; at < n; at += size, size = step) {
    size_t taken;
    if (size > n - at)
      size = n - at;
    /* A copy, so that ASan notices a read past the piece. */
    uint8_t *piece = malloc(size);
    CHECK(piece != NULL);
    memcpy(piece, bytes + at, size);
    reading->state =
        lm_http1_feed(&reading->reply, piece, size, &taken, &reading->body, &reading->err);
    free(piece);
    reading->taken += taken;
    CHECK(taken <= size);
    if (reading->state != LM_HTTP1_MORE)
      break;
    CHECK(taken == size);
  }
  lm_http1_clean_up(&reading->reply);
}

static void
same(const struct reading *a, const struct reading *b)
{
  CHECK(a->state == b->state);
  CHECK(a->err.code == b->err.code);
  CHECK(memcmp(&a->reply, &b->reply, offsetof(struct lm_http1, state)) == 0);
  if (a->state == LM_HTTP1_BAD)
    return;
  CHECK(a->taken == b->taken);
  CHECK(a->body.len == b->body.len);
  CHECK(a->body.len == 0 || memcmp(a->body.data, b->body.data, a->body.len) == 0);
}

static void
check_row(const struct row *row)
{
  static struct reading whole, pieces;
  struct lm_error err;
  lm_buf_init(&whole.body, BODY_MAX);
  lm_buf_init(&pieces.body, BODY_MAX);
  feed(&whole, row->bytes, row->n, row->n, row->n);
  for (size_t cut = 1; cut < row->n; cut++) {
    feed(&pieces, row->bytes, row->n, cut, row->n);
    same(&whole, &pieces);
  }
  for (size_t step = 1; step < 8; step++) {
    feed(&pieces, row->bytes, row->n, step, step);
    same(&whole, &pieces);
  }

  static const enum lm_http1_state_out expected[] = {[WHOLE] = LM_HTTP1_COMPLETE,
                                                     [OPEN] = LM_HTTP1_MORE,
                                                     [CLOSED_WHOLE] = LM_HTTP1_MORE,
                                                     [REFUSED] = LM_HTTP1_BAD,
                                                     [TOO_MUCH] = LM_HTTP1_BAD};
  if (whole.state != expected[row->verdict]) {
    fprintf(stderr, "%s: state %d, %s\n", row->name, whole.state, whole.err.text);
    abort();
  }
  if (row->body != NULL)
    CHECK(whole.body.len == strlen(row->body) &&
          memcmp(whole.body.data == NULL ? (const uint8_t *)"" : whole.body.data, row->body,
                 whole.body.len) == 0);
  if (row->status != 0)
    CHECK(whole.reply.head_done && whole.reply.head.status == row->status);
  if (whole.state == LM_HTTP1_BAD) {
    size_t taken;
    CHECK(whole.err.code == (row->verdict == TOO_MUCH ? LM_E_LIMIT : LM_E_FORMAT));
    CHECK(whole.err.text[0] != '\0');
    CHECK(lm_http1_feed(&whole.reply, (const uint8_t *)"", 0, &taken, &whole.body, &err) ==
          LM_HTTP1_BAD);
  } else {
    CHECK(whole.taken == row->n - row->extra);
    CHECK(lm_http1_started(&whole.reply) == (row->n > 0));
    CHECK(lm_http1_eof(&whole.reply, &err) ==
          (row->verdict == OPEN ? LM_HTTP1_BAD : LM_HTTP1_COMPLETE));
  }
  lm_buf_clean_up(&whole.body);
  lm_buf_clean_up(&pieces.body);
}

/* The message for each kind of invalid reply. */
static void
messages(void)
{
  static const struct {
    const char *bytes, *text;
  } cases[] = {
      {"SSH-2.0-x\r\n", "the reply does not start with an HTTP/1 status line"},
      {"HTTP/1.1 600 No\r\n", "invalid status in the reply: expected 100 to 599"},
      {OK "Content-Length: 5, 5\r\n", "invalid Content-Length in the reply: expected one number"},
      {OK "a line\r\n", "invalid header line in the reply"},
      {OK "A: b\n", "a line of the reply does not end in CR LF"},
      {OK "A: \001\r\n", "control character in the reply's header"},
      {OK "Transfer-Encoding: gzip\r\n",
       "unsupported Transfer-Encoding in the reply: expected chunked"},
      {OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
       "Transfer-Encoding is not allowed with Content-Length or HTTP/1.0"},
      {OK "\r\n", "no Content-Length or Transfer-Encoding in the reply"},
      {OK "Content-Length: 101\r\n\r\n", "the reply's body is larger than 100 bytes"},
      {"HTTP/1.1 101 No\r\n\r\n", "the peer switched to a protocol that was not requested"},
      {"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
       "a reply with status 204 must not have a body"},
      {CHUNKED "x\r\n", "invalid chunked encoding in the reply"},
  };
  static struct reading reading;
  lm_buf_init(&reading.body, BODY_MAX);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    size_t n = strlen(cases[i].bytes);
    feed(&reading, cases[i].bytes, n, n, 1);
    CHECK(reading.state == LM_HTTP1_BAD && strcmp(reading.err.text, cases[i].text) == 0);
  }
  lm_buf_clean_up(&reading.body);
}

/* --- headers --- */

static struct lm_http1
read_head(const char *headers)
{
  static struct reading reading;
  char text[2048];
  int n = snprintf(text, sizeof text, OK "%s\r\nContent-Length: 0\r\n\r\n", headers);
  CHECK(n > 0 && (size_t)n < sizeof text);
  lm_buf_init(&reading.body, BODY_MAX);
  feed(&reading, text, (size_t)n, (size_t)n, (size_t)n);
  CHECK(reading.state == LM_HTTP1_COMPLETE && reading.reply.head_done);
  return reading.reply;
}

static void
header_values(void)
{
  struct lm_http1 reply =
      read_head("x-amzn-RequestId: 0b6d9a\r\nX-Amz-Executed-Version: $LATEST\r\n"
                "x-amzn-ErrorType: ns#Oops:http://x\r\nLocation: http://e/\r\n"
                "X-Amz-Function-Error: Unhandled");
  CHECK(strcmp(reply.head.request_id, "0b6d9a") == 0);
  CHECK(strcmp(reply.head.executed_version, "$LATEST") == 0);
  CHECK(strcmp(reply.head.error_type, "Oops") == 0);
  CHECK(reply.head.has_function_error);
  CHECK(reply.keep_alive && !reply.head.has_age && !reply.head.content_encoded);
  CHECK(reply.head.content_length == 0 && reply.head.retry_after_ms == -1 &&
        reply.head.date_s == -1);

  reply = read_head("X-Other: 1");
  CHECK(reply.head.request_id[0] == '\0' && reply.head.error_type[0] == '\0' &&
        !reply.head.has_function_error);
  reply = read_head("X-Amz-Function-Error:");
  CHECK(reply.head.has_function_error);
  reply = read_head(
      "Age: 0\r\nContent-Encoding: gzip\r\nContent-Encoding: identity\r\nConnection: close");
  CHECK(reply.head.has_age && reply.head.content_encoded && !reply.keep_alive);
  reply = read_head("Content-Encoding: Identity\r\nConnection: keep-alive, x");
  CHECK(!reply.head.content_encoded && reply.keep_alive);
  reply = read_head("Connection: closed");
  CHECK(reply.keep_alive);
  reply = read_head("x-amzn-RequestId: caf\xe9\tx");
  CHECK(strcmp(reply.head.request_id, "caf??x") == 0);
  reply = read_head(
      "x-amzn-RequestId: 0123456789012345678901234567890123456789012345678901234567890123456789");
  CHECK(strlen(reply.head.request_id) == sizeof reply.head.request_id - 1);
}

static void
retry_after(void)
{
  static const struct {
    const char *headers;
    int64_t ms;
  } cases[] = {
      {"Retry-After: 3", 3000},
      {"Retry-After: 0", 0},
      {"x-amz-retry-after: 1500", 1500},
      {"x-amz-retry-after: 1500\r\nRetry-After: 3", 1500},
      {"Retry-After: 3\r\nx-amz-retry-after: 1500", 1500},
      {"Retry-After: 3\r\nx-amz-retry-after: soon", 3000},
      {"x-amz-retry-after: soon\r\nRetry-After: 3", 3000},
      {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", -1},
      {"Retry-After: -1", -1},
      {"Retry-After: 1.5", -1},
      {"Retry-After:", -1},
      {"Retry-After: 1000000000", 1000000000000},
      {"Retry-After: 999999999999999", 999999999999999000},
      {"Retry-After: 9999999999999999", -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK(read_head(cases[i].headers).head.retry_after_ms == cases[i].ms);
}

static void
dates(void)
{
  static const struct {
    const char *header;
    int64_t seconds;
  } cases[] = {
      {"Date: Thu, 01 Jan 1970 00:00:00 GMT", 0},
      {"Date: Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
      {"Date: Tue, 29 Feb 2000 23:59:59 GMT", 951868799},
      {"Date: Wed, 01 Mar 2000 00:00:00 GMT", 951868800},
      {"Date: Fri, 31 Dec 2100 12:00:00 GMT", 4133937600},
      {"Date: Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
      {"Date: Sunday, 06-Nov-94 08:49:37 GMT", -1},
      {"Date: Sun Nov  6 08:49:37 1994", -1},
      {"Date: Sun, 06 Nov 1994 08:49:37 CET", -1},
      {"Date: Sun, 06 Foo 1994 08:49:37 GMT", -1},
      {"Date: Sun, 00 Nov 1994 08:49:37 GMT", -1},
      {"Date: Sun, 06 Nov 1994 24:49:37 GMT", -1},
      {"Date: Sun; 06 Nov 1994 08:49:37 GMT", -1},
      {"Date: Sun, 06 Nov 1969 08:49:37 GMT", -1},
      {"Date: Sun, +6 Nov 1994 08:49:37 GMT", -1},
      {"Date:", -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK(read_head(cases[i].header).head.date_s == cases[i].seconds);
}

/* --- limits --- */

/* Feed `start`, then `piece` repeatedly until the parser refuses: it must, within `most`. */
static void
endless(const char *start, const char *piece, size_t most)
{
  static struct reading reading;
  size_t taken, fed = 0, n = strlen(piece);
  lm_http1_init(&reading.reply);
  lm_buf_init(&reading.body, BODY_MAX);
  enum lm_http1_state_out state = lm_http1_feed(&reading.reply, (const uint8_t *)start,
                                                strlen(start), &taken, &reading.body, &reading.err);
  while (state == LM_HTTP1_MORE) {
    CHECK(fed < most);
    state = lm_http1_feed(&reading.reply, (const uint8_t *)piece, n, &taken, &reading.body,
                          &reading.err);
    fed += n;
  }
  lm_http1_clean_up(&reading.reply);
  CHECK(state == LM_HTTP1_BAD && reading.err.code == LM_E_LIMIT);
  CHECK(reading.body.len <= BODY_MAX && reading.body.cap <= 256);
  lm_buf_clean_up(&reading.body);
}

static void
caps(void)
{
  static char line[LM_HEAD_MAX_LINE + 64];
  static struct reading reading;
  endless(OK, "X: y\r\n", LM_HEAD_MAX_BYTES + 16);
  endless(OK, "X", LM_HEAD_MAX_LINE + 16);
  endless("", "HTTP/1.1 100 Continue\r\n\r\n", 1000);
  endless(CHUNKED "0\r\n", "X: y\r\n", LM_HEAD_MAX_BYTES + 16);
  endless(CHUNKED "1;", "x", LM_HEAD_MAX_LINE + 16);
  endless(CHUNKED, "5\r\nhello\r\n", 1000);
  endless(OK "Connection: close\r\n\r\n", "hello", 1000);
  endless("HTTP/1.1 200 ", "x", LM_HEAD_MAX_LINE + 16);

  /* The longest line that is accepted, and one byte more. */
  lm_buf_init(&reading.body, BODY_MAX);
  for (int over = 0; over < 2; over++) {
    size_t n = (size_t)snprintf(line, sizeof line, OK "X: ");
    size_t from = n - 3;
    memset(line + n, 'y', (size_t)(LM_HEAD_MAX_LINE - 5 + over));
    n += (size_t)(LM_HEAD_MAX_LINE - 5 + over);
    line[n++] = '\r';
    line[n++] = '\n';
    CHECK(n - from == (size_t)(LM_HEAD_MAX_LINE + over));
    for (size_t step = 1; step <= n; step += 4096) {
      feed(&reading, line, n, step, step);
      CHECK(reading.state == (over ? LM_HTTP1_BAD : LM_HTTP1_MORE));
    }
  }
  lm_buf_clean_up(&reading.body);
}

/* A large body of small chunks is accepted; one whose chunks are mostly extensions is refused. */
static void
many_chunks(void)
{
  static struct reading reading;
  static char chunk[4200];
  size_t taken;
  for (int padded = 0; padded < 2; padded++) {
    int n = padded ? snprintf(chunk, sizeof chunk, "1;%04096d\r\nx\r\n", 0)
                   : snprintf(chunk, sizeof chunk, "1\r\nx\r\n");
    enum lm_http1_state_out state = LM_HTTP1_MORE;
    int i = 0;
    lm_http1_init(&reading.reply);
    lm_buf_init(&reading.body, 1 << 20);
    CHECK(lm_http1_feed(&reading.reply, (const uint8_t *)CHUNKED, sizeof CHUNKED - 1, &taken,
                        &reading.body, &reading.err) == LM_HTTP1_MORE);
    for (; i < 100000 && state == LM_HTTP1_MORE; i++)
      state = lm_http1_feed(&reading.reply, (const uint8_t *)chunk, (size_t)n, &taken,
                            &reading.body, &reading.err);
    if (padded) {
      CHECK(state == LM_HTTP1_BAD && reading.err.code == LM_E_LIMIT && i < 20);
    } else {
      CHECK(state == LM_HTTP1_MORE && reading.body.len == 100000);
      state = lm_http1_feed(&reading.reply, (const uint8_t *)"0\r\n\r\n", 5, &taken, &reading.body,
                            &reading.err);
      CHECK(state == LM_HTTP1_COMPLETE);
    }
    lm_http1_clean_up(&reading.reply);
    lm_buf_clean_up(&reading.body);
  }
}

/* --- memory --- */

static void
read_with_little_memory(void)
{
  static struct reading reading;
  static const char text[] =
      OK "Content-Length: 90\r\n\r\n"
         "0123456789012345678901234567890123456789012345678901234567890123456789"
         "01234567890123456789";
  lm_buf_init(&reading.body, BODY_MAX);
  feed(&reading, text, sizeof text - 1, 30, 30);
  CHECK(reading.state == LM_HTTP1_COMPLETE ||
        (reading.state == LM_HTTP1_BAD && reading.err.code == LM_E_NOMEM));
  if (reading.state == LM_HTTP1_COMPLETE)
    CHECK(reading.body.len == 90);
  lm_buf_clean_up(&reading.body);
}

/* A Content-Length reserves no more than LM_HEAD_TRUSTED. */
static void
reserved_on_trust(void)
{
  static struct reading reading;
  static const char text[] = OK "Content-Length: 6000000\r\n\r\n";
  lm_buf_init(&reading.body, 6291556);
  feed(&reading, text, sizeof text - 1, sizeof text - 1, 1);
  CHECK(reading.state == LM_HTTP1_MORE && reading.body.cap == LM_HEAD_TRUSTED);
  lm_buf_clean_up(&reading.body);
}

/* Without memory for the rest of the body there is no room, and the caller's own is as large as it was. */
static void
no_room(void)
{
  static struct reading reading;
  static const char text[] = OK "Content-Length: 6000000\r\n\r\n";
  size_t n = 1;
  lm_buf_init(&reading.body, 6291556);
  feed(&reading, text, sizeof text - 1, sizeof text - 1, 1);
  while (reading.body.len < LM_HEAD_TRUSTED) {
    CHECK(lm_http1_room(&reading.reply, &reading.body, &n) != NULL && n == LM_HEAD_TRUSTED / 4);
    lm_http1_filled(&reading.reply, &reading.body, n);
  }
  n = 1;
  lm_alloc_fail_from(1);
  CHECK(lm_http1_room(&reading.reply, &reading.body, &n) == NULL && n == 1);
  lm_alloc_fail_from(0);
  lm_buf_clean_up(&reading.body);
}

int
main(void)
{
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    check_row(&rows[i]);
  messages();
  header_values();
  retry_after();
  dates();
  caps();
  many_chunks();
  reserved_on_trust();
  no_room();
  check_every_allocation(read_with_little_memory);
  CHECK(lm_alloc_live() == 0);
  return 0;
}
