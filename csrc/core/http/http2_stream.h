/* A stream of HTTP/2: one request, and the rules for its reply. What may be concluded from an end is in
 * http2.h. */
#ifndef LM_HTTP_HTTP2_STREAM_H
#define LM_HTTP_HTTP2_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/list.h"
#include "http/head.h"

enum lm_http2_end {
  LM_HTTP2_RUNS,     /* not ended */
  LM_HTTP2_COMPLETE, /* the reply was read to its end */
  /* Not processed, before any HEADERS of a reply: by REFUSED_STREAM, or by a GOAWAY that names a lower last
   * id or came before the request was sent. */
  LM_HTTP2_REFUSED,
  LM_HTTP2_RESET, /* the peer ended it otherwise; error_code says why */
  LM_HTTP2_BAD,   /* the reply is invalid, or there is no memory for it: err */
  LM_HTTP2_LOST   /* the connection failed: err */
};

/* A request and its reply. In the caller's memory, which must stay where it is while the stream runs; what
 * it points to, too. */
struct lm_http2_stream {
  struct lm_node link; /* in a list of the connection until lm_http2_next_ended or lm_http2_reset */
  enum lm_http2_end end;
  int32_t id;          /* 1: the connection's first */
  uint32_t error_code; /* of RST_STREAM or GOAWAY (RFC 9113 section 7); 0: none */
  uint64_t sent_from;  /* lm_http2's `given` before its HEADERS; UINT64_MAX: not given yet */
  size_t body_sent;    /* bytes of the request's body that lm_http2_send has given */
  bool head_done;      /* `head` is valid, even if the reply is not */
  struct lm_reply_head head;
  struct lm_error err; /* BAD: LM_E_LIMIT, LM_E_NOMEM or LM_E_FORMAT; LOST: the connection's */

  /* Private. */
  const uint8_t *body; /* borrowed */
  size_t body_len;
  struct lm_buf *reply; /* borrowed */
  size_t head_bytes;    /* of all heads */
  uint8_t informational;
  bool heard; /* HEADERS of a reply have begun to arrive */
  bool reset_by_peer;
};

/* A new one that runs, whose reply's body goes to *reply. */
void lm_http2_stream_init(struct lm_http2_stream *stream, struct lm_buf *reply);

/* HEADERS of the reply begin. */
void lm_http2_stream_begin_head(struct lm_http2_stream *stream);

/* One field of a head or of trailers; the end of a head; a piece of the body. -1: the reply is invalid, and
 * stream->err says why. */
int lm_http2_stream_field(struct lm_http2_stream *stream, struct lm_field field);
int lm_http2_stream_end_head(struct lm_http2_stream *stream);
int lm_http2_stream_append(struct lm_http2_stream *stream, const uint8_t *bytes, size_t len);

#endif
