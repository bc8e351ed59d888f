/* Events of a map for its log: added by native threads, taken by the calling thread, which logs them.
 *
 * Notes are passed by value. At most LM_NOTES_KEPT wait to be taken; further ones are counted as lost. The
 * lock is a leaf: it may be taken under any other. Nothing is allocated before the first note.
 */
#ifndef LM_JOB_NOTES_H
#define LM_JOB_NOTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "os/threads.h"
#include "policy/outcome.h"

struct lm_job;

enum { LM_NOTES_KEPT = 512 };

enum lm_note_kind {
  LM_NOTE_RETRY,    /* retried after delay_ns */
  LM_NOTE_CONNECT,  /* no connection: retried after delay_ns */
  LM_NOTE_THROTTLE, /* 429: back to the front of its map */
  LM_NOTE_POLL,     /* 409: retried after delay_ns */
  LM_NOTE_RESIGN,   /* signed again at once */
  LM_NOTE_REFRESH,  /* signed again once there are newer credentials */
  LM_NOTE_SENT,     /* text: the request's head, redacted */
  LM_NOTE_REPLY,    /* the reply's head and size */
  LM_NOTE_CONNECTED /* text: host, address and port */
};

struct lm_note {
  enum lm_note_kind kind;
  enum lm_ran ran;
  enum lm_failure failure;
  int status;
  uint64_t first_item;
  uint32_t n_items;
  unsigned attempt;
  int64_t delay_ns, took_ns;
  uint64_t bytes_sent, bytes_received;
  char request_id[64];
  char *text; /* owned; NULL: none; freed by lm_note_clean_up */
};

struct lm_notes {
  bool wanted; /* retries and the like are noted; immutable */
  bool traced; /* connections, requests and replies are noted, too; immutable */
  atomic_uint waiting;
  struct lm_mutex lock;
  struct lm_note *ring; /* guarded by lock; owned; LM_NOTES_KEPT, starting at `first` */
  unsigned first;
  uint64_t lost;
};

void lm_notes_init(struct lm_notes *notes, bool wanted, bool traced);
void lm_notes_clean_up(struct lm_notes *notes);

/* Note what became of the job's current attempt. Cheap if notes are not wanted; lost if out of memory. */
void lm_notes_add(struct lm_notes *notes, enum lm_note_kind kind, const struct lm_job *job,
                  int64_t delay_ns, int64_t took_ns);
/* The same with a text (moved). */
void lm_notes_add_text(struct lm_notes *notes, enum lm_note_kind kind, const struct lm_job *job,
                       struct lm_buf *text);

/* Take the oldest note (moved). False: none. *lost: how many were lost since the last call. */
bool lm_notes_take(struct lm_notes *notes, struct lm_note *out, uint64_t *lost);
void lm_note_clean_up(struct lm_note *note);

#endif
