/* Between a job's frame and the bytes on the wire: what an I/O thread or, for large ones, a CPU
 * thread does to a job. Works on one job and one thread's coder; no lock, no I/O. */
#ifndef LM_JOB_CODING_H
#define LM_JOB_CODING_H

#include <stdbool.h>

#include "job/job.h"
#include "wire/frame.h"

enum { LM_INLINE_BYTES = 65536 /* larger requests and replies go to the CPU pool */ };

/* frame -> body. false: job->outcome and job->error say why (nothing was sent). */
bool lm_code_request(struct lm_coder *coder, struct lm_job *job);

/* Write attempt and time left into a rendered body; a digest of it is void. */
void lm_code_patch(struct lm_job *job, int64_t now_ns);

/* reply of a 200 without function error -> view and result, outcome. */
void lm_code_reply(struct lm_coder *coder, struct lm_job *job);

/* Any complete reply -> outcome; calls lm_code_reply where it is a success of ours. */
void lm_code_complete(struct lm_coder *coder, struct lm_job *job);

/* The raw request frame of a job whose body was rendered, for a split. */
int lm_code_recover(struct lm_coder *coder, const struct lm_job *job, struct lm_buf *frame,
                    struct lm_error *err);

/* Fill outcome and error. */
void lm_code_fail(struct lm_job *job, enum lm_ran ran, enum lm_failure failure, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));

#endif
