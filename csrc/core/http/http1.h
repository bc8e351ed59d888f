/* HTTP/1.1 replies, read as their bytes arrive. Pure: no socket, no clock; the memory that it asks
 * for is the body's, from the caller's buffer, and a line's while its end has not come. One thread
 * at a time per reader.
 *
 * Strict where a lenient reader could be led to take the wrong bytes for a reply (RFC 9112): one
 * Content-Length, no Transfer-Encoding beside it, no other coding than chunked, no obs-fold, no
 * bare LF or CR, no control byte in the head, no blank before a colon. 1xx replies are skipped. A
 * reply is complete when Content-Length bytes or the last chunk and its trailers have been read; a
 * close ends it only where the head gives neither and says that a close will.
 *
 * The verdict, the fields and the body do not depend on how the bytes are cut into pieces.
 */
#ifndef LM_HTTP_HTTP1_H
#define LM_HTTP_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum {
  LM_HTTP1_MAX_LINE = 8192,  /* status line, one header, one chunk-size line; CR LF included */
  LM_HTTP1_MAX_HEAD = 65536, /* all heads of one reply, 1xx and trailers included; also what
                                chunk-size lines may take beyond 8 times the data */
  LM_HTTP1_MAX_INFORMATIONAL = 16, /* 1xx replies before the real one */
  LM_HTTP1_TRUSTED = 1 << 20,      /* bytes reserved at once on the word of a Content-Length */
  LM_HTTP1_TAIL = 65536,           /* of a body, always fed */
  LM_HTTP1_TEXT = 160,             /* kept bytes of a header value that is text */
  LM_HTTP1_MEDIA_TYPE = 48         /* the same of a Content-Type */
};

struct lm_http1 {
  /* What the reply says; valid once head_done is true (in a BAD one, too). Text is cut to fit,
   * NUL-terminated, visible ASCII and blanks only ('?' stands for anything else), and "" when the
   * header is absent. */
  int status; /* 200 to 599 */
  bool head_done;
  bool keep_alive;         /* the connection can carry another request once this one is complete */
  bool content_encoded;    /* a Content-Encoding other than identity: never asked for */
  bool has_age;            /* an Age header: the Date is not the sender's */
  bool has_function_error; /* X-Amz-Function-Error, whatever its value */
  int64_t content_length;  /* -1 when absent */
  int64_t retry_after_ms;  /* x-amz-retry-after (ms), else Retry-After (s); -1 when neither is a
                              number of at most 15 digits */
  int64_t date_s;          /* Date as seconds since 1970, -1 when absent or unreadable */
  char request_id[64];     /* x-amzn-RequestId */
  char error_type[LM_HTTP1_TEXT];         /* x-amzn-ErrorType, cut at ':' and after any '#' */
  char function_error[32];                /* X-Amz-Function-Error */
  char executed_version[LM_HTTP1_TEXT];   /* X-Amz-Executed-Version */
  char content_type[LM_HTTP1_MEDIA_TYPE]; /* Content-Type without parameters, of a status but 200 */

  /* The reader's own. */
  uint8_t state;
  uint8_t informational;
  bool chunked, seen_length, http10, said_close, said_keep_alive, retry_after_is_ms;
  size_t head_bytes;
  uint64_t framing_bytes; /* of chunk-size lines */
  uint64_t chunk_bytes;   /* announced by them */
  uint64_t left;          /* of the body, or of the present chunk */
  size_t line_len;        /* of a line whose end has not come */
  char *line;             /* owned, LM_HTTP1_MAX_LINE bytes for it; NULL while there is none */
};

enum lm_http1_state_out { LM_HTTP1_MORE, LM_HTTP1_COMPLETE, LM_HTTP1_BAD };

void lm_http1_init(struct lm_http1 *reply);
void lm_http1_clean_up(struct lm_http1 *reply); /* then init again before the next use */

/* Read the next bytes. Body bytes are appended to *body, whose max bounds them: a longer
 * Content-Length or chunk is refused when it is announced. MORE: all n bytes are taken. COMPLETE:
 * *taken says how many; what follows belongs to nobody. BAD: *err says why, LM_E_LIMIT when a cap
 * was passed, LM_E_NOMEM when memory is short, else LM_E_FORMAT. Once COMPLETE or BAD it stays so;
 * call lm_http1_init before the next reply, and lm_http1_clean_up before that unless COMPLETE. */
enum lm_http1_state_out lm_http1_feed(struct lm_http1 *reply, const uint8_t *bytes, size_t n,
                                      size_t *taken, struct lm_buf *body, struct lm_error *err);

/* Where the next bytes of a long body of known length may be written instead of being fed: *n bytes
 * of room (never up to the body's end, so that what follows it is seen), or NULL. lm_http1_filled
 * tells how many were. */
uint8_t *lm_http1_room(struct lm_http1 *reply, struct lm_buf *body, size_t *n);
void lm_http1_filled(struct lm_http1 *reply, struct lm_buf *body, size_t n);

/* The peer closed. COMPLETE for a body that a close ends, else BAD (truncated). */
enum lm_http1_state_out lm_http1_eof(struct lm_http1 *reply, struct lm_error *err);

/* Whether a first byte of the reply was read. */
bool lm_http1_started(const struct lm_http1 *reply);

#endif
