/* The head of a job's request: request line, headers, signature. */
#ifndef LM_TRANSPORT_REQUEST_H
#define LM_TRANSPORT_REQUEST_H

#include "base/buf.h"
#include "job/job.h"
#include "transport/endpoint.h"
#include "transport/turn.h"

enum { LM_MAX_HEAD_BYTES = 32768 + 8192 };

/* Write the time left into the job's body if that is due, sign the request, and write its head as HTTP/1.1
 * text into *out (cleared before), of at most LM_MAX_HEAD_BYTES. */
int lm_request_write(struct lm_turn *turn, const struct lm_endpoint *endpoint, struct lm_job *job,
                     struct lm_buf *out, struct lm_error *err);

#endif
