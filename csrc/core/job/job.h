/* One chunk on its way: a request, its attempts, and what came of it.
 *
 * A job is on exactly one list at a time (or in the hands of exactly one thread), and that list's
 * owner owns every buffer in it: the scheduler while it waits to start, then an I/O thread, or a CPU
 * thread while that does a step for it, its map once it is done, then whoever took it.
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
struct lm_inbox;

/* What is to be done next to a job whose attempt has started. */
enum lm_step {
  LM_STEP_ENCODE, /* frame to body */
  LM_STEP_DIGEST, /* body patched and digested once more */
  LM_STEP_SEND,   /* or wait for a connection, or for the reply */
  LM_STEP_DECODE, /* reply to result and outcome */
  LM_STEP_ENDED   /* nothing: the outcome is there, to be judged by the scheduler */
};

/* What the last reply's head said. */
struct lm_reply_head {
  int status;
  int64_t retry_after_ms, date_s;
  bool function_error, has_age;
  char request_id[64];
  char error_type[LM_HTTP1_TEXT];
  char executed_version[LM_HTTP1_TEXT];
  char content_type[LM_HTTP1_MEDIA_TYPE]; /* of a status but 200 */
};

struct lm_job {
  struct lm_node link;
  struct lm_heap_item due; /* in the scheduler's heap while it waits for a time */
  struct lm_batch *batch;  /* borrowed: it counts its jobs */
  struct lm_inbox *inbox;  /* where to return to from a CPU thread; borrowed */
  enum lm_step step;
  uint64_t first_item;
  uint32_t n_items;

  char *durable_name;  /* owned; of the execution, for X-Amz-Durable-Execution-Name; NULL: none */
  struct lm_buf frame; /* moved in by submit; freed when body exists */
  struct lm_buf body;  /* the rendered request; kept while a retry or split is possible */
  struct lm_envelope_slots slots;
  bool json;               /* the payload in body is plain JSON, and so must the reply's be */
  bool passed;             /* on its way to another I/O thread, which has an idle connection */
  uint8_t body_digest[32]; /* SHA-256 of a large body, made by a CPU thread */
  int64_t digested_ns;     /* when, 0: it is not valid */
  struct lm_buf reply;     /* the reply's body, bounded */
  struct lm_buf result;    /* checked raw frame out of the reply */
  struct lm_reply view;    /* spans into reply; valid for a marked reply */
  struct lm_reply_head head;

  struct lm_outcome outcome; /* of the last attempt */
  struct {
    enum lm_ran ran;
    enum lm_failure failure;
    struct lm_error error;
  } worst;               /* of the attempt that came closest to running: a failure at last says
                                this of the job */
  struct lm_error error; /* its text, for people */
  bool stops_map;        /* done, and every other chunk of the map would fail like it */
  unsigned attempts;     /* those without a connection, 429s and polls not counted */
  unsigned reconnects, throttles, polls, resigns, refreshes;
  uint64_t signed_with;     /* generation of the credentials of the last attempt */
  int64_t signed_offset_s;  /* of the clock, in the last attempt */
  bool clock_was_off;       /* as the reply to it showed */
  bool starved;             /* withdrawn at the deadline while every answer was a 429 */
  int64_t started_ns;       /* of the present attempt */
  int64_t took_ns;          /* the last attempt */
  int64_t deadline_ns;      /* of the present attempt */
  int64_t polling_since_ns; /* first 409, 0 for none */
  size_t charged_bytes;     /* held in the byte budget */
  size_t estimate_bytes;    /* what the built result will take */
  uint64_t bytes_sent, bytes_received;
};

/* A job that owns `frame`'s bytes (moved), of no batch yet (lm_batch_new_job). NULL: no memory. */
struct lm_job *lm_job_new(struct lm_buf *frame, uint64_t first_item, uint32_t n_items);

/* Give a new job the name of its durable execution (copied). -1: no memory. */
int lm_job_name(struct lm_job *job, const char *durable_name);

/* Free a job that is on no list, of no batch: one of a batch goes by lm_batch_free_job, and one that
 * was submitted by lm_deliver_release. */
void lm_job_destroy(struct lm_job *job);

#endif
