/* Removes secrets and control characters from bytes for logs and messages. Pure. */
#ifndef LM_WIRE_REDACT_H
#define LM_WIRE_REDACT_H

#include <stddef.h>

#include "base/buf.h"

/* Append an HTTP head, without its empty line, to *out, with "[redacted]" as the value of Authorization, X-Amz-Security-Token, Proxy-Authorization, Cookie and X-Amz-Client-Context. The body,
 * after the empty line, is never copied. lm_buf_check reports failure. */
void lm_redact_head(const char *head, size_t len, struct lm_buf *out);

/* Copy the beginning of any text, NUL-terminated, to `shown` of `size` bytes: runs of blanks and line
 * ends become one blank, other control characters '?'. Bytes from 0x80 on are kept. Returns the
 * length. */
size_t lm_redact_text(const char *text, size_t len, char *shown, size_t size);

#endif
