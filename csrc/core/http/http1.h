/* An incremental parser for HTTP/1.1 replies. Pure: no socket, no clock. It allocates the body, in the
 * caller's buffer, and a line that has not ended yet. One thread at a time per parser.
 *
 * A reply is a *head* (status line and headers) and a body. The parser is strict where a lenient one could
 * be made to take the wrong bytes for a reply (RFC 9112): at most one Content-Length and no
 * Transfer-Encoding beside it, no transfer coding but chunked, no obs-fold, no bare LF or CR, no control
 * character in the head, no whitespace before a colon. 1xx replies are skipped. A reply is complete when
 * Content-Length bytes, or the last chunk and its trailers, have been read; closing the connection ends it
 * only if the head has neither and announces the close.
 *
 * The result, the fields and the body do not depend on how the bytes are split into pieces.
 */
#ifndef LM_HTTP_HTTP1_H
#define LM_HTTP_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "http/head.h"

enum {
  LM_HTTP1_TAIL = 65536 /* the last bytes of a body always go through lm_http1_feed */
};

struct lm_http1 {
  /* Valid once head_done is true, even if the reply is invalid. */
  struct lm_reply_head head;
  bool head_done;
  bool keep_alive; /* the connection can be reused once this reply is complete */

  /* Private. */
  uint8_t state;
  uint8_t informational;
  bool chunked, http10, said_close, said_keep_alive;
  size_t head_bytes;
  uint64_t framing_bytes; /* of chunk-size lines: LM_HEAD_MAX_BYTES, and 8 times the data */
  uint64_t chunk_bytes;   /* announced by these lines */
  uint64_t left;          /* of the body, or of the current chunk */
  size_t line_len;        /* of a line that has not ended yet */
  char *line;             /* owned, LM_HEAD_MAX_LINE bytes for that line; NULL: none */
};

enum lm_http1_state_out { LM_HTTP1_MORE, LM_HTTP1_COMPLETE, LM_HTTP1_BAD };

void lm_http1_init(struct lm_http1 *reply);
void lm_http1_clean_up(struct lm_http1 *reply); /* call lm_http1_init before the next use */

/* Read the next bytes. Body bytes are appended to *body, whose max bounds them: a longer Content-Length
 * or chunk is refused when it is announced. MORE: all n bytes were taken. COMPLETE: *taken bytes were;
 * bytes after them are not part of a reply. BAD: *err has the reason: LM_E_LIMIT if a limit was exceeded,
 * LM_E_NOMEM, else LM_E_FORMAT. COMPLETE and BAD are final: call lm_http1_init before the next reply, and
 * lm_http1_clean_up before that unless COMPLETE. */
enum lm_http1_state_out lm_http1_feed(struct lm_http1 *reply, const uint8_t *bytes, size_t n,
                                      size_t *taken, struct lm_buf *body, struct lm_error *err);

/* Room for the next bytes of a long body of known length, to receive into instead of feeding: *n bytes, or
 * NULL, and *n is unchanged. It never reaches the body's end, so that bytes after the reply are noticed. Call
 * lm_http1_filled with the number of bytes received. */
uint8_t *lm_http1_room(struct lm_http1 *reply, struct lm_buf *body, size_t *n);
void lm_http1_filled(struct lm_http1 *reply, struct lm_buf *body, size_t n);

/* The peer closed the connection. COMPLETE if that ends the body, else BAD (truncated). */
enum lm_http1_state_out lm_http1_eof(struct lm_http1 *reply, struct lm_error *err);

/* Whether any byte of the reply was read. */
bool lm_http1_started(const struct lm_http1 *reply);

#endif
