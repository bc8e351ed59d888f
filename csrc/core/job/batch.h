/* The part of a map that its jobs know: how they are coded and counted, until when they may run,
 * and where they go when they are done.
 *
 * Reference-counted: whoever opened the map holds it, and each of its jobs counts for one, from
 * lm_batch_new_job to lm_batch_free_job. A job itself holds nothing. */
#ifndef LM_JOB_BATCH_H
#define LM_JOB_BATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "job/completions.h"
#include "job/job.h"
#include "job/notes.h"

struct lm_target; /* target.h */

struct lm_batch_opts {
  const char *head; /* static part of the envelope (envelope.h); copied. NULL: a chunk's
                                bytes are the body, and the reply is handed over as it came */
  size_t head_len;
  char map_id[LM_MAP_ID_LEN + 1];
  bool compress, idempotent;
  int64_t invocation_timeout_ms;    /* per attempt, -1: none */
  int64_t timeout_ms;               /* whole map from now, -1: none */
  size_t max_result_bytes;          /* decoded, a chunk */
  size_t max_reply_bytes;           /* as it comes over the wire */
  bool keep_notes, trace;           /* for the log: notes.h */
  char bound_id[LM_MAP_ID_LEN + 1]; /* of the maps that share one bound; "": its own */
};

struct lm_batch_stats {
  atomic_uint_fast64_t requests, retries, throttles, bytes_sent, bytes_received, connections;
};

struct lm_batch {
  atomic_uint refs;
  void (*destroy)(struct lm_batch *batch); /* when the last reference goes, on any thread */
  struct lm_target *target;                /* strong: the map's */
  struct lm_batch_opts opts;               /* head owned */
  int64_t deadline_ns;
  atomic_bool cancelled; /* no attempt starts, those in flight end */
  atomic_bool stopped;   /* a chunk failed in a way that every other would */
  struct lm_batch_stats stats;
  struct lm_notes notes;
  struct lm_completions completions;
};

/* A batch of zeros becomes one with one reference. The deadline runs from now. */
int lm_batch_init(struct lm_batch *batch, const struct lm_batch_opts *opts, struct lm_error *err);
void lm_batch_clean_up(struct lm_batch *batch);

/* Whether nothing of it is to start any more. */
static inline bool
lm_batch_given_up(const struct lm_batch *batch)
{
  return atomic_load(&batch->cancelled) || atomic_load(&batch->stopped);
}

struct lm_batch *lm_batch_ref(struct lm_batch *batch);
void lm_batch_unref(struct lm_batch *batch);

/* A job that owns `frame`'s bytes (moved). NULL: no memory. */
struct lm_job *lm_batch_new_job(struct lm_batch *batch, struct lm_buf *frame, uint64_t first_item,
                                uint32_t n_items);
/* Free a job that is on no list, and what it counted for; maybe the batch with it. */
void lm_batch_free_job(struct lm_job *job);

#endif
