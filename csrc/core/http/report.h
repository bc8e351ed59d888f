/* What Lambda's log says of one invocation, in its REPORT line: how long it ran, and what of that is billed.
 *
 * The reply's header X-Amz-Log-Result has the last 4 KB of the log, if the request asked for them. They may
 * hold secrets: nothing but these numbers is kept. */
#ifndef LM_HTTP_REPORT_H
#define LM_HTTP_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At most LM_REPORT_MOST each; what a line does not say is 0. */
struct lm_report {
  bool known;             /* there was a REPORT line */
  bool cold;              /* the sandbox was started, or restored, for this invocation */
  uint32_t billed_ms;     /* including a billed restore */
  uint32_t memory_mb;     /* as configured */
  uint32_t max_memory_mb; /* of the sandbox so far, in this and earlier invocations */
  uint32_t init_us;       /* of the start or restore */
};

enum {
  LM_REPORT_MOST = 1000000000,
  LM_REPORT_LOG_BYTES = 4096 /* of a log, as Lambda sends it */
};

/* Read the last REPORT line in the base64 of a log's end, in Lambda's text or JSON format. Anything else leaves
 * *report as it was: an invalid text, more than LM_REPORT_LOG_BYTES, a line with an invalid number. */
void lm_report_read(struct lm_report *report, const char *base64, size_t len);

#endif
