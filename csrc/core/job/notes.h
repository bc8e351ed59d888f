/* What happened on a map's way, for its log: filled in by native threads, taken by the calling
 * thread, which is the one that logs.
 *
 * Notes travel by value. At most LM_NOTES_KEPT wait; what comes then is counted as lost. The lock
 * is a leaf: it may be taken under any other. Nothing is allocated before the first note.
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
  LM_NOTE_RETRY,    /* tried again after delay_ns */
  LM_NOTE_CONNECT,  /* no connection: tried again after delay_ns */
  LM_NOTE_THROTTLE, /* 429: back to the front of its map */
  LM_NOTE_POLL,     /* 409: asked again after delay_ns */
  LM_NOTE_RESIGN,   /* signed again at once */
  LM_NOTE_REFRESH,  /* signed again, with newer credentials, when they are there */
  LM_NOTE_SENT,     /* text: the request's head, redacted */
  LM_NOTE_REPLY,    /* the reply's head and size */
  LM_NOTE_CONNECTED /* text: where to, and how */
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
  char *text; /* owned, NULL for none; freed by lm_note_clean_up */
};

struct lm_notes {
  bool wanted; /* retries and the like; immutable */
  bool traced; /* every request and reply as well; immutable */
  atomic_uint waiting;
  struct lm_mutex lock;
  struct lm_note *ring; /* guarded by lock; LM_NOTES_KEPT, from first on */
  unsigned first;
  uint64_t lost;
};

void lm_notes_init(struct lm_notes *notes, bool wanted, bool traced);
void lm_notes_clean_up(struct lm_notes *notes);

/* Note what became of the job's present attempt. Cheap when nobody wants it; a note for which
 * there is no memory is lost. */
void lm_notes_add(struct lm_notes *notes, enum lm_note_kind kind, const struct lm_job *job,
                  int64_t delay_ns, int64_t took_ns);
/* The same with a text, which is moved. */
void lm_notes_add_text(struct lm_notes *notes, enum lm_note_kind kind, const struct lm_job *job,
                       struct lm_buf *text);

/* The oldest note (moved), or false. *lost: how many could not be kept since the last call. */
bool lm_notes_take(struct lm_notes *notes, struct lm_note *out, uint64_t *lost);
void lm_note_clean_up(struct lm_note *note);

#endif
