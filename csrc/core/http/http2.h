/* One HTTP/2 connection of a client, framed by libnghttp2. Pure: bytes in, bytes out; no socket, no thread,
 * no clock. One thread at a time per connection.
 *
 * The caller opens streams, a request each, on structs of its own. It sends what lm_http2_send gives and
 * feeds what it receives; after either call, lm_http2_next_ended returns the streams that ended by it, one
 * by one. Nothing calls back: so no code of the caller runs inside of nghttp2, which forbids most calls
 * there, and none can free what the calling function still needs.
 *
 *   lm_http2_init ─► lm_http2_open ... ─► lm_http2_send / lm_http2_feed ... ─► lm_http2_next_ended ...
 *                                                                  lm_http2_lose ─► lm_http2_clean_up
 *
 * What may be concluded of the invocation. `sent_from` counts from the first byte that lm_http2_send ever
 * gave: a stream is untouched as long as the caller has offered no more than sent_from bytes, in all, to the
 * socket or the TLS layer.
 *
 *   end        untouched   touched
 *   COMPLETE   as the reply says, which is not to be trusted if untouched
 *   REFUSED    NOT         NOT: the peer says that it has not processed the request (RFC 9113 6.8, 8.7)
 *   RESET      NOT         RAN if head_done, status 200 and no function error, else MAYBE
 *   BAD        NOT         the same
 *   LOST       NOT         the same
 *
 * A stream that the caller resets is judged like one that is LOST; it is not among the ended.
 *
 * The rules for replies are those of http1.h where HTTP/2 has the same: text, limits, 1xx, Content-Length,
 * Content-Encoding. What a reply violates is BAD for its stream; what the connection violates loses all. A
 * reply is complete at END_STREAM. If its request's body was not sent by then, the rest never is: the stream
 * is reset. The result does not depend on how the bytes are split into pieces, except that waste (see there)
 * is counted by piece.
 *
 * Hostile peers. Bounded are: each reply (by its buffer), its heads (LM_HEAD_MAX_BYTES), the frames of a
 * head, the frames of ours that wait to be sent because of the peer's, and the bytes of frames that bring
 * nothing (LM_HTTP2_MAX_WASTE). Not bounded here: how long a peer is silent or keeps its windows shut.
 */
#ifndef LM_HTTP_HTTP2_H
#define LM_HTTP_HTTP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/list.h"
#include "http/head.h"
#include "http/http2_stream.h"

enum {
  LM_HTTP2_FIRST_STREAMS = 100,   /* open at once before the peer's SETTINGS have arrived */
  LM_HTTP2_MAX_STREAMS = 1000,    /* open at once, whatever the peer allows */
  LM_HTTP2_MAX_FIELDS = 64,       /* of a request, without the four pseudo fields */
  LM_HTTP2_WINDOW = 8 << 20,      /* of a stream: a whole reply, so that none ever waits for us */
  LM_HTTP2_ALL_WINDOW = 16 << 20, /* of the connection: 320 MB/s over a round trip of 50 ms */
  LM_HTTP2_MAX_CONTINUATIONS = 7, /* of one head */
  LM_HTTP2_MAX_ACKS = 256,        /* of SETTINGS and PINGs that wait to be sent */
  LM_HTTP2_MAX_QUEUED = 4096,     /* frames that wait to be sent */
  LM_HTTP2_MAX_WASTE = 1 << 18    /* see `waste` */
};

/* What to request. Borrowed for the call, but for the body. */
struct lm_http2_request {
  const char *scheme;            /* "https" */
  const char *authority;         /* what HTTP/1.1 sends as Host; not "", which is a 400 */
  const char *path;              /* with the query */
  const struct lm_field *fields; /* without Host, Connection and Transfer-Encoding */
  size_t n_fields;
  const uint8_t *body; /* borrowed until the stream has ended or was reset */
  size_t body_len;
};

struct nghttp2_session;

/* A connection. In the caller's memory, which must stay where it is. */
struct lm_http2 {
  struct lm_list running, ended; /* of streams */
  size_t n_running;
  bool failed;           /* only lm_http2_next_ended and lm_http2_clean_up are of use any more */
  bool settled;          /* the peer's SETTINGS have arrived */
  bool going_away;       /* GOAWAY: no new streams; those that the peer has taken run on */
  uint32_t goaway_code;  /* of the last GOAWAY; 0: graceful */
  uint64_t given;        /* bytes that lm_http2_send has given */
  uint64_t pings, pongs; /* PINGs that were asked for, and answered */

  /* Private. */
  struct nghttp2_session *session; /* owned */
  struct lm_buf *out;              /* borrowed by lm_http2_send for its call */
  size_t out_from, out_to;         /* of `out`: where this call began, where it stops */
  struct lm_error err;             /* of the failure, once `why` is set */
  bool why;
  unsigned continuations; /* of the head that is being read */
  /* Bytes received since the last head or end of a reply, less 10 times those of replies' bodies and once
   * those sent of requests' bodies; not below -LM_HTTP2_ALL_WINDOW, which streams that we reset may bring. */
  int64_t waste;
  int invalid; /* nghttp2's error of the last invalid frame */
};

/* Begin: the preface and SETTINGS are the first bytes to send. After a failure nothing is to be cleaned up. */
int lm_http2_init(struct lm_http2 *h2, struct lm_error *err);

/* Free the session. Streams that run or have ended are forgotten: they are the caller's, as always. */
void lm_http2_clean_up(struct lm_http2 *h2);

/* How many streams may be opened now: the peer's SETTINGS_MAX_CONCURRENT_STREAMS less those that run; 0 after
 * GOAWAY or a failure, and when all ids were used. */
unsigned lm_http2_may_open(const struct lm_http2 *h2);

/* Open a stream: *stream is overwritten. The reply's body is appended to *reply, whose max bounds it. On
 * failure nothing was opened: LM_E_CLOSED (none may be opened), LM_E_LIMIT (too many fields), LM_E_NOMEM.
 * Streams that the peer no longer allows, by lowering its limit, wait unsent until others end. */
int lm_http2_open(struct lm_http2 *h2, struct lm_http2_stream *stream,
                  const struct lm_http2_request *request, struct lm_buf *reply,
                  struct lm_error *err);

/* Forget a stream that runs or has ended; the caller has no further use for its reply. The peer is told if
 * its HEADERS were given, else they never are. */
void lm_http2_reset(struct lm_http2 *h2, struct lm_http2_stream *stream);

/* Append frames to *out until nothing is left, or it has up_to bytes or more: the frame that reaches up_to,
 * at most 16 KB, is the last; out->max must allow for 32 KB beyond up_to. Call it when the peer can take
 * bytes: what was given cannot be withdrawn (the state of header compression has moved), and must be sent in
 * order. -1: the connection failed, as in lm_http2_feed. */
int lm_http2_send(struct lm_http2 *h2, struct lm_buf *out, size_t up_to, struct lm_error *err);

/* Whether lm_http2_send would give anything. */
bool lm_http2_has_output(const struct lm_http2 *h2);

/* Read the next bytes, in pieces of at most half of LM_HTTP2_MAX_WASTE. -1: the connection failed, *err says
 * why (LM_E_FORMAT: the peer's violation, LM_E_LIMIT, LM_E_NOMEM), and all streams that ran are LOST. After
 * GOAWAY a violation is reported by the next lm_http2_send instead, which then has output; after GOAWAY and
 * the last end nothing is read any more. */
int lm_http2_feed(struct lm_http2 *h2, const uint8_t *bytes, size_t n, struct lm_error *err);

/* The connection ended otherwise: all streams that run are LOST, with this error. */
void lm_http2_lose(struct lm_http2 *h2, const struct lm_error *why);

/* A stream that has ended, once each, in the order of their ends; NULL: none. */
struct lm_http2_stream *lm_http2_next_ended(struct lm_http2 *h2);

/* Send a PING. It is answered when h2->pongs has reached the h2->pings of now. */
int lm_http2_ping(struct lm_http2 *h2, struct lm_error *err);

/* The name of an error code (RFC 9113 section 7). Static. */
const char *lm_http2_error_name(uint32_t error_code);

#endif
