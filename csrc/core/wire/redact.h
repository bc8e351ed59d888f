/* Bytes made fit for a log or a message: without secrets, without control characters. Pure. */
#ifndef LM_WIRE_REDACT_H
#define LM_WIRE_REDACT_H

#include <stddef.h>

#include "base/buf.h"

/* Append `head` up to and without its empty line to *out, with "[redacted]" as the value of
 * Authorization, X-Amz-Security-Token, Proxy-Authorization, Cookie and X-Amz-Client-Context. What
 * follows the empty line, the body, is never copied. Failure shows in lm_buf_check. */
void lm_redact_head(const char *head, size_t len, struct lm_buf *out);

/* The beginning of a text that may be anything, NUL-terminated in `shown` of `size` bytes: blanks and
 * line ends in a row become one blank, '?' stands for other control characters. Bytes from 0x80 on are
 * kept as they are. Returns its length. */
size_t lm_redact_text(const char *text, size_t len, char *shown, size_t size);

#endif
