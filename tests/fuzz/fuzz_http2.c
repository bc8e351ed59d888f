/* http/http2: no bytes make it read or write where it may not, and cutting them in pieces changes nothing; nor
 * does what the caller does in between lose a stream, or end one twice. The first byte chooses: a peer whose
 * bytes arrive in pieces, or bytes among calls. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/http2.h"

#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition))                                                                              \
      abort();                                                                                     \
  } while (0)

enum { STREAMS = 8, MAX = 4096, BODY = 40000, UP_TO = 16384 };

static uint8_t body[BODY];

struct call {
  struct lm_http2_stream stream;
  struct lm_buf reply;
  enum { FREE, RUNS, ENDED } state;
};

struct caller {
  struct lm_http2 h2;
  struct call calls[STREAMS];
  struct lm_buf out;
  struct lm_error err;
  bool failed;
};

static void
begin(struct caller *caller)
{
  memset(caller, 0, sizeof *caller);
  MUST(lm_http2_init(&caller->h2, &caller->err) == 0);
  lm_buf_init(&caller->out, UP_TO + 65536);
  for (int i = 0; i < STREAMS; i++)
    lm_buf_init(&caller->calls[i].reply, MAX);
}

static void
end(struct caller *caller)
{
  lm_http2_clean_up(&caller->h2);
  lm_buf_clean_up(&caller->out);
  for (int i = 0; i < STREAMS; i++)
    lm_buf_clean_up(&caller->calls[i].reply);
}

static void
open(struct caller *caller, size_t body_len)
{
  const struct lm_field secret = {"authorization", 13, "s", 1, true};
  const struct lm_http2_request what = {"https", "a.example", "/x", &secret, 1, body, body_len};
  for (int i = 0; i < STREAMS; i++) {
    struct call *call = &caller->calls[i];
    if (call->state != FREE)
      continue;
    lm_buf_clear(&call->reply);
    unsigned may = lm_http2_may_open(&caller->h2);
    int result = lm_http2_open(&caller->h2, &call->stream, &what, &call->reply, &caller->err);
    MUST((result == 0) == (may > 0) && (may == 0 || lm_http2_may_open(&caller->h2) == may - 1));
    if (result == 0)
      call->state = RUNS;
    return;
  }
}

static void
feed(struct caller *caller, const uint8_t *bytes, size_t n)
{
  if (!caller->failed)
    caller->failed = lm_http2_feed(&caller->h2, bytes, n, &caller->err) != 0;
}

static void
send(struct caller *caller)
{
  lm_buf_clear(&caller->out);
  if (!caller->failed)
    caller->failed = lm_http2_send(&caller->h2, &caller->out, UP_TO, &caller->err) != 0;
  MUST(caller->out.len < 2 * UP_TO + 65536);
}

static void
take_ended(struct caller *caller)
{
  struct lm_http2_stream *stream;
  while ((stream = lm_http2_next_ended(&caller->h2)) != NULL) {
    struct call *call = LM_CONTAINER(stream, struct call, stream);
    MUST(call->state == RUNS && stream->end != LM_HTTP2_RUNS);
    MUST(stream->end != LM_HTTP2_COMPLETE ||
         (stream->head_done && stream->sent_from != UINT64_MAX));
    MUST(stream->end != LM_HTTP2_REFUSED || !stream->head_done);
    MUST(stream->end != LM_HTTP2_LOST || caller->h2.failed);
    MUST(!stream->head_done || (stream->head.status >= 200 && stream->head.status <= 599));
    call->state = ENDED;
  }
  size_t running = 0;
  for (int i = 0; i < STREAMS; i++) {
    MUST(caller->calls[i].reply.len <= MAX);
    running += caller->calls[i].state == RUNS;
  }
  MUST(running == caller->h2.n_running);
  MUST(!caller->failed || running == 0);
}

/* --- in pieces --- */

static void
converse(struct caller *caller, const uint8_t *bytes, size_t n, size_t first, size_t step)
{
  static const uint8_t settings[9] = {0, 0, 0, 4};
  begin(caller);
  open(caller, 0);
  open(caller, 0);
  open(caller, 100);
  send(caller);
  feed(caller, settings, sizeof settings);
  for (size_t at = 0, size = first; at < n; at += size, size = step) {
    if (size > n - at)
      size = n - at;
    feed(caller, bytes + at, size);
  }
  while (!caller->failed && lm_http2_has_output(&caller->h2))
    send(caller);
  take_ended(caller);
}

static void
same(const struct caller *a, const struct caller *b)
{
  /* After GOAWAY and the end of the last stream, what follows is read only if it came in the same piece. */
  bool over = a->h2.going_away && b->h2.going_away && a->h2.n_running == 0 && b->h2.n_running == 0;
  MUST(a->failed == b->failed || over);
  if (a->failed && (a->err.code == LM_E_LIMIT || b->err.code == LM_E_LIMIT))
    return; /* what a peer wastes is measured by piece */
  for (int i = 0; i < STREAMS; i++) {
    const struct call *one = &a->calls[i], *other = &b->calls[i];
    MUST(one->state == other->state && one->stream.end == other->stream.end);
    MUST(one->stream.head_done == other->stream.head_done);
    if (one->stream.head_done)
      MUST(memcmp(&one->stream.head, &other->stream.head, sizeof one->stream.head) == 0);
    if (one->stream.end != LM_HTTP2_COMPLETE)
      continue;
    MUST(one->reply.len == other->reply.len);
    MUST(one->reply.len == 0 || memcmp(one->reply.data, other->reply.data, one->reply.len) == 0);
  }
}

static void
in_pieces(const uint8_t *data, size_t size)
{
  static struct caller whole, pieces;
  size_t cut = data[0];
  data++;
  size--;
  converse(&whole, data, size, size + 1, 1);
  const size_t cuts[][2] = {{1 + cut, size + 1}, {1 + cut, 1 + cut % 7}, {1, 1}};
  for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    converse(&pieces, data, size, cuts[i][0], cuts[i][1]);
    same(&whole, &pieces);
    end(&pieces);
  }
  end(&whole);
}

/* --- among calls --- */

static void
among_calls(const uint8_t *data, size_t size)
{
  static struct caller caller;
  begin(&caller);
  while (size >= 2) {
    size_t n = data[1];
    struct call *call = &caller.calls[n % STREAMS];
    int op = data[0] % 8;
    data += 2;
    size -= 2;
    switch (op) {
    case 0:
      open(&caller, n * n % BODY);
      break;
    case 1:
      if (call->state != FREE)
        lm_http2_reset(&caller.h2, &call->stream);
      memset(&call->stream, 0xA5, sizeof call->stream);
      call->state = FREE;
      break;
    case 2:
      send(&caller);
      break;
    case 3:
      if (!caller.failed)
        MUST(lm_http2_ping(&caller.h2, &caller.err) == 0);
      MUST(caller.h2.pongs <= caller.h2.pings);
      break;
    case 4:
      if (n == 255) {
        struct lm_error gone = {.code = LM_E_SYSTEM};
        lm_http2_lose(&caller.h2, &gone);
        caller.failed = true;
      }
      break;
    default:
      n = n > size ? size : n;
      feed(&caller, data, n);
      data += n;
      size -= n;
    }
    take_ended(&caller);
  }
  end(&caller);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 2)
    return 0;
  if (data[0] % 2 == 0)
    in_pieces(data + 1, size - 1);
  else
    among_calls(data + 1, size - 1);
  return 0;
}
