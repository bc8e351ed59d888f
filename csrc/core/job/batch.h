/* The part of a map that its jobs know: how they are encoded and counted, their deadline, and where they go
 * when they are done.
 *
 * Reference-counted: the opener of the map holds a reference, and each of its jobs counts for one, from
 * lm_batch_new_job to lm_batch_free_job. */
#ifndef LM_JOB_BATCH_H
#define LM_JOB_BATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "job/bill.h"
#include "job/completions.h"
#include "job/job.h"
#include "job/notes.h"

struct lm_target; /* target.h */

struct lm_batch_opts {
  const char *envelope; /* its constant part (wire/envelope.h); copied. NULL: no envelope, a
                           chunk's bytes are the body and the reply is delivered as received */
  size_t envelope_len;
  char map_id[LM_MAP_ID_LEN + 1];
  bool compress, idempotent;
  int64_t invocation_timeout_ms; /* of one attempt; -1: none */
  int64_t timeout_ms;            /* of the whole map, from now; -1: none */
  size_t max_result_bytes;       /* of one chunk, decoded */
  size_t max_reply_bytes;        /* of one reply, as received */
  bool keep_notes, trace;        /* for the log; see notes.h */
  enum lm_billing billing;
  char bound_id[LM_MAP_ID_LEN + 1]; /* maps with the same one share a bound; "": its own */
};

struct lm_batch_stats {
  atomic_uint_fast64_t requests, retries, throttles, bytes_sent, bytes_received, connections;
  atomic_uint_fast64_t streams; /* of the requests, those over HTTP/2 */
};

struct lm_batch {
  atomic_uint refs;
  void (*destroy)(struct lm_batch *batch); /* at the last unref, on any thread */
  struct lm_target *target;                /* strong: the map's */
  struct lm_batch_opts opts;               /* envelope owned */
  int64_t deadline_ns;
  uint64_t n_jobs;       /* made so far; for the thread that submits */
  atomic_bool cancelled; /* no attempt starts; those in flight are ended */
  atomic_bool stopped;   /* a chunk failed as every other would: no attempt starts */
  struct lm_batch_stats stats;
  struct lm_notes notes;
  struct lm_completions completions;
};

/* Initialize a zeroed batch, with one reference. Its timeout runs from now. */
int lm_batch_init(struct lm_batch *batch, const struct lm_batch_opts *opts, struct lm_error *err);
void lm_batch_clean_up(struct lm_batch *batch);

/* Whether no further attempt should start. */
static inline bool
lm_batch_given_up(const struct lm_batch *batch)
{
  return atomic_load(&batch->cancelled) || atomic_load(&batch->stopped);
}

struct lm_batch *lm_batch_ref(struct lm_batch *batch);
void lm_batch_unref(struct lm_batch *batch);

/* A new job that owns the bytes of `frame` (moved). NULL: out of memory. For the thread that submits. */
struct lm_job *lm_batch_new_job(struct lm_batch *batch, struct lm_buf *frame, uint64_t first_item,
                                uint32_t n_items);
/* Free a job that is on no list, and release its count; this may free the batch. */
void lm_batch_free_job(struct lm_job *job);

#endif
