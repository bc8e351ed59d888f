/* One map in flight, as its calling thread sees it: submit chunks, wait on a descriptor, take what
 * is done. Heap-allocated and reference-counted: its jobs hold it too. */
#ifndef LM_NET_MAP_H
#define LM_NET_MAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "net/event.h"
#include "net/job.h"
#include "net/notes.h"
#include "net/target.h"
#include "policy/latency.h"

struct lm_bound;
struct lm_dispatch;

struct lm_map_opts {
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

struct lm_map_stats {
  atomic_uint_fast64_t requests, retries, throttles, bytes_sent, bytes_received, connections;
};

struct lm_map {
  atomic_uint refs;
  struct lm_dispatch *dispatch; /* strong */
  struct lm_target *target;     /* strong */
  struct lm_map_opts opts;      /* head owned */
  int64_t deadline_ns;
  atomic_bool cancelled; /* no attempt starts, those in flight end */
  struct lm_map_stats stats;
  struct lm_notes notes;

  /* The scheduler's, under its lock. */
  struct lm_node ring;    /* in its function's ring while it has startable jobs */
  struct lm_node known;   /* in the list of open maps */
  struct lm_list ready;   /* READY jobs by first_item */
  struct lm_list retry;   /* due retries, those throttled last first */
  size_t delayed;         /* DELAYED jobs */
  struct lm_bound *bound; /* sched.h; from lm_sched_add_map to lm_sched_remove_map */
  int64_t asked_ns;       /* when its first chunk was sent, 0: not yet */
  size_t unfinished;      /* submitted and not DONE */
  atomic_bool stopped;    /* a chunk failed in a way that every other would */

  /* Under lock. */
  pthread_mutex_t lock;
  pthread_cond_t quiet;
  struct lm_list done;
  struct lm_latency latency; /* of the last attempt of each chunk that was answered 200 */
  bool closed;               /* nobody will take: completed jobs are freed at once */
  bool rung;             /* the event has been set, or is about to be, and was not cleared since */
  struct lm_event event; /* set once done is not empty, cleared by a take that finds nothing */
  atomic_uint native;    /* jobs that a native thread or the scheduler holds; 1 to 0 under lock */

  struct lm_list taken; /* of done, moved here by lm_map_take: the calling thread's */
};

int lm_map_open(struct lm_dispatch *dispatch, struct lm_target *target,
                const struct lm_map_opts *opts, struct lm_map **out, struct lm_error *err);

/* Queue one chunk. The frame's bytes are moved. LM_E_FULL: take a completion first, the frame is
 * untouched; LM_E_CLOSED after lm_map_close or a fork. Once cancelled, or past the map's deadline,
 * the chunk completes at once. */
int lm_map_submit(struct lm_map *map, struct lm_buf *frame, uint64_t first_item, uint32_t n_items,
                  struct lm_error *err);
/* The same with the name of the durable execution (copied; its characters are the caller's matter), NULL for none. */
int lm_map_submit_named(struct lm_map *map, struct lm_buf *frame, uint64_t first_item,
                        uint32_t n_items, const char *durable_name, struct lm_error *err);

/* Readable while completions wait; may also be so for nothing, until a take returns NULL. */
int lm_map_fd(const struct lm_map *map);
struct lm_job *lm_map_take(struct lm_map *map); /* never blocks; caller owns the job; NULL: none */
void lm_map_stop(struct lm_map *map);           /* what is queued completes as CANCELLED, NOT run */
void lm_map_cancel(struct lm_map *map); /* idempotent, any thread; every job reaches LM_DONE */
bool lm_map_quiesce(struct lm_map *map, int64_t timeout_ms); /* no native thread holds a buffer */
void lm_map_close(struct lm_map *map); /* cancel, and let completed jobs go; never waits */
struct lm_map *lm_map_ref(struct lm_map *map);
void lm_map_unref(struct lm_map *map); /* never waits; NULL is allowed */

/* For the scheduler and the I/O threads: hand over a finished job (moved; state becomes DONE). The
 * caller holds a reference to the map. */
void lm_map_complete(struct lm_map *map, struct lm_job *job);
/* The same for all of a list of jobs of this map. */
void lm_map_complete_list(struct lm_map *map, struct lm_list *jobs);
/* The same for a list of jobs that never started: CANCELLED or DEADLINE, NOT run. */
void lm_map_complete_all(struct lm_list *jobs, enum lm_failure failure, const char *text);
/* Wake whoever waits on the map's descriptor, once, with nothing to take: the target wants
 * credentials. May be called with the scheduler's lock held. */
void lm_map_nudge(struct lm_map *map);

#endif
