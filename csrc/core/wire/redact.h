/* A request head made fit for a log: the values of headers that hold secrets are replaced. Pure. */
#ifndef LM_WIRE_REDACT_H
#define LM_WIRE_REDACT_H

#include <stddef.h>

#include "base/buf.h"

/* Append `head` up to and without its empty line to *out, with "[redacted]" as the value of
 * Authorization, X-Amz-Security-Token, Proxy-Authorization, Cookie and X-Amz-Client-Context. What
 * follows the empty line, the body, is never copied. Failure shows in lm_buf_check. */
void lm_redact_head(const char *head, size_t len, struct lm_buf *out);

#endif
