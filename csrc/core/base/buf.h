/* A growing byte buffer with a mandatory maximum and a sticky failure.
 *
 * A writer appends without checking and calls lm_buf_check once at the end. The struct is in the
 * caller's memory and owns its bytes until lm_buf_move or lm_buf_clean_up. Not thread-safe: a buffer
 * has one owner at a time.
 */
#ifndef LM_BASE_BUF_H
#define LM_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct lm_buf {
  uint8_t *data;       /* owned; NULL until something is reserved */
  size_t len;          /* bytes written */
  size_t cap;          /* bytes reserved */
  size_t max;          /* len never exceeds this */
  enum lm_code failed; /* LM_OK, LM_E_NOMEM or LM_E_LIMIT; once set, appends do nothing */
};

void lm_buf_init(struct lm_buf *buf, size_t max_bytes);
void lm_buf_clean_up(struct lm_buf *buf); /* free the bytes; the struct is as after init */
void lm_buf_clear(struct lm_buf *buf);    /* set len to 0, forget a failure, keep the memory */

/* Room for `extra` more bytes after len, or NULL (failure recorded). The caller writes there and then
 * adds the number of bytes written to buf->len. */
uint8_t *lm_buf_reserve(struct lm_buf *buf, size_t extra);
void lm_buf_append(struct lm_buf *buf, const void *bytes, size_t n);
void lm_buf_byte(struct lm_buf *buf, uint8_t byte);
void lm_buf_str(struct lm_buf *buf, const char *text);      /* without its NUL */
void lm_buf_uint(struct lm_buf *buf, unsigned long long n); /* in decimal */

/* Move the contents of *from to *to, which must own nothing; *from is as after init. */
void lm_buf_move(struct lm_buf *to, struct lm_buf *from);

/* -1 and *err if the buffer has failed, else 0. `what` names the buffer in the message. */
int lm_buf_check(const struct lm_buf *buf, const char *what, struct lm_error *err);

#endif
