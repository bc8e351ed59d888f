/* Encoding of a job's request and decoding of its reply, by an I/O thread or, for large ones, a CPU thread.
 * Works on one job with one thread's coder; no lock, no I/O. */
#ifndef LM_JOB_CODING_H
#define LM_JOB_CODING_H

#include <stdbool.h>

#include "job/job.h"
#include "wire/frame.h"

enum { LM_INLINE_BYTES = 65536 /* larger requests and replies go to a CPU thread */ };

/* Encode the frame into the body. False: job->outcome and job->error have the reason; nothing was sent. */
bool lm_coding_request(struct lm_coder *coder, struct lm_job *job);

/* Write the attempt and the time left into an encoded body. Invalidates its digest. */
void lm_coding_patch(struct lm_job *job, int64_t now_ns);

/* Decode a 200 reply without function error into view, result and outcome. */
void lm_coding_reply(struct lm_coder *coder, struct lm_job *job);

/* Decode any complete reply: set the outcome, by lm_coding_reply for a 200 without function error. The
 * coder may be NULL, there being no memory for one: then only a frame's results are lost. */
void lm_coding_complete(struct lm_coder *coder, struct lm_job *job);

/* Append the raw request frame to *frame, from the body if that has replaced it; without an envelope, the
 * payload. To split a chunk, or to send items again. */
int lm_coding_recover(struct lm_coder *coder, const struct lm_job *job, struct lm_buf *frame,
                      struct lm_error *err);

/* Set the job's outcome and error. */
void lm_coding_fail(struct lm_job *job, enum lm_ran ran, enum lm_failure failure,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
