/* One chunk: its request, the attempts to send it, and their outcome.
 *
 * A job is on exactly one list, or held by exactly one thread, and owned with all its buffers by the owner
 * of that list: the scheduler while it waits to start, then an I/O thread (or a CPU thread, for one step),
 * its map once it is done, then the thread that took it.
 */
#ifndef LM_JOB_JOB_H
#define LM_JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/heap.h"
#include "base/list.h"
#include "http/http1.h"
#include "policy/outcome.h"
#include "wire/envelope.h"

struct lm_batch; /* batch.h */
struct lm_conn;  /* transport/conn.h */
struct lm_http2_stream;
struct lm_inbox;

/* The next step of a job whose attempt has started. */
enum lm_step {
  LM_STEP_ENCODE, /* encode the frame into the body */
  LM_STEP_DIGEST, /* patch the body and compute its digest */
  LM_STEP_SEND,   /* send, or wait for a connection or the reply */
  LM_STEP_DECODE, /* decode the reply into result and outcome */
  LM_STEP_ENDED   /* none: the scheduler decides by the outcome */
};

struct lm_job {
  struct lm_node link;
  /* In the scheduler's heap while it is delayed; in its I/O thread's, by its deadline, on a connection. */
  struct lm_heap_item due;
  struct lm_batch *batch;         /* borrowed; counts its jobs */
  struct lm_inbox *inbox;         /* where a CPU thread returns it to; borrowed */
  struct lm_conn *conn;           /* that it is sent on; borrowed; NULL: none */
  struct lm_http2_stream *stream; /* over HTTP/2; owned by the connection */
  bool touched;                   /* a byte of the attempt's request may have left */
  enum lm_step step;
  uint64_t first_item;
  uint32_t n_items;
  uint64_t number;  /* of the map's chunks, from 0 on, in the order of submission */
  bool asks_report; /* for the end of the log, with each request */

  char *durable_name;  /* owned; X-Amz-Durable-Execution-Name; NULL: none */
  struct lm_buf frame; /* moved in by submit; freed once it is encoded into body */
  struct lm_buf body;  /* the encoded request; kept while a retry or split is possible */
  struct lm_envelope_slots slots;
  bool json;   /* codec="json": the payload in body is JSON, and so must the reply's be */
  bool passed; /* on its way to another I/O thread, which has an idle connection */
  uint8_t body_digest[32];   /* SHA-256 of a large body, made by a CPU thread */
  int64_t digested_ns;       /* when body_digest was computed; 0: invalid */
  struct lm_buf reply;       /* the reply's body */
  struct lm_buf result;      /* the checked raw frame of the reply */
  struct lm_reply view;      /* spans into reply; valid for a marked reply */
  struct lm_reply_head head; /* of the last reply */

  struct lm_outcome outcome; /* of the last attempt */
  struct {
    enum lm_ran ran;
    enum lm_failure failure;
    struct lm_error error;
  } worst;               /* of the attempt that came closest to running; reported if the
                            job fails */
  struct lm_error error; /* of the last attempt */
  bool stops_map;        /* done, and every other chunk of the map would fail like this */
  unsigned attempts;     /* not counting those without a connection, 429s and polls */
  unsigned reconnects, throttles, polls, resigns, refreshes;
  uint64_t signed_with;     /* generation of the last attempt's credentials */
  int64_t signed_offset_s;  /* clock offset of the last attempt */
  bool clock_was_off;       /* as the reply's Date showed */
  bool starved;             /* withdrawn at the deadline while every reply was a 429 */
  int64_t queued_ns;        /* when it was submitted */
  int64_t started_ns;       /* of the current attempt; 0: none has started */
  int64_t took_ns;          /* duration of the last attempt */
  int64_t deadline_ns;      /* of the current attempt */
  int64_t polling_since_ns; /* first 409; 0: none */
  size_t charged_bytes;     /* charged to the byte budget */
  size_t estimate_bytes;    /* estimated size of the decoded Python objects */
  uint64_t bytes_sent, bytes_received;
};

/* A new job that owns the bytes of `frame` (moved), without a batch: see lm_batch_new_job. NULL: out of
 * memory. */
struct lm_job *lm_job_new(struct lm_buf *frame, uint64_t first_item, uint32_t n_items);

/* Set the name of the durable execution of a new job (copied). -1: out of memory. */
int lm_job_name(struct lm_job *job, const char *durable_name);

/* Free a job that is on no list and has no batch. Use lm_batch_free_job for one that has, and
 * lm_deliver_release for one that was submitted. NULL is allowed. */
void lm_job_destroy(struct lm_job *job);

#endif
