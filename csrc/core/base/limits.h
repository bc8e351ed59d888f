/* What Lambda takes of a synchronous invocation, and what follows from it. _codec gives these to Python.
 *
 * Source: the service's own messages, as recorded in November 2025 (localstack's snapshots of AWS) and
 * checked on 2026-11-22: "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
 * and "Response payload size exceeded maximum allowed payload size (6291556 bytes)". The page "Lambda
 * quotas" says 6 MB for both. */
#ifndef LM_BASE_LIMITS_H
#define LM_BASE_LIMITS_H

enum {
  LM_MAX_REQUEST_BYTES = 6291456, /* of a body: 6 MiB */
  LM_MAX_REPLY_BYTES = 6291556,   /* of a body: 100 bytes more */

  /* Text of a request's frame; the envelope has the rest, 91,456 bytes. */
  LM_MAX_FRAME_TEXT = 6200000,
  LM_MAX_FRAME_BYTES = LM_MAX_FRAME_TEXT / 4 * 3, /* of which base64 makes that text */

  /* Results of a reply, as JSON; an error, the output and the envelope have the rest, 141,556 bytes. */
  LM_MAX_RESULTS_TEXT = 6150000
};

#endif
