#include "job/notes.h"

#include <string.h>

#include "base/alloc.h"
#include "job/job.h"
#include "os/threads.h"

void
lm_notes_init(struct lm_notes *notes, bool wanted, bool traced)
{
  memset(notes, 0, sizeof *notes);
  notes->wanted = wanted || traced;
  notes->traced = traced;
  atomic_init(&notes->waiting, 0);
  lm_mutex_init(&notes->lock);
}

void
lm_notes_clean_up(struct lm_notes *notes)
{
  struct lm_note note;
  uint64_t lost;
  while (lm_notes_take(notes, &note, &lost))
    lm_note_clean_up(&note);
  lm_free(notes->ring);
  lm_mutex_destroy(&notes->lock);
}

static void
notes_keep(struct lm_notes *notes, struct lm_note *note)
{
  lm_mutex_lock(&notes->lock);
  if (notes->ring == NULL)
    notes->ring = lm_alloc(LM_NOTES_KEPT * sizeof *notes->ring);
  unsigned waiting = atomic_load(&notes->waiting);
  if (notes->ring != NULL && waiting < LM_NOTES_KEPT) {
    notes->ring[(notes->first + waiting) % LM_NOTES_KEPT] = *note;
    atomic_store(&notes->waiting, waiting + 1);
    note->text = NULL;
  } else {
    notes->lost++;
  }
  lm_mutex_unlock(&notes->lock);
  lm_note_clean_up(note);
}

static struct lm_note
notes_describe(enum lm_note_kind kind, const struct lm_job *job)
{
  struct lm_note note = {.kind = kind,
                         .ran = job->outcome.ran,
                         .failure = job->outcome.failure,
                         .status = job->head.status,
                         .first_item = job->first_item,
                         .n_items = job->n_items,
                         .attempt = job->attempts,
                         .bytes_sent = job->bytes_sent,
                         .bytes_received = job->bytes_received};
  memcpy(note.request_id, job->head.request_id, sizeof note.request_id);
  return note;
}

void
lm_notes_add(struct lm_notes *notes, enum lm_note_kind kind, const struct lm_job *job,
             int64_t delay_ns, int64_t took_ns)
{
  if (!notes->wanted)
    return;
  struct lm_note note = notes_describe(kind, job);
  note.delay_ns = delay_ns;
  note.took_ns = took_ns;
  notes_keep(notes, &note);
}

void
lm_notes_add_text(struct lm_notes *notes, enum lm_note_kind kind, const struct lm_job *job,
                  struct lm_buf *text)
{
  struct lm_note note = notes_describe(kind, job);
  lm_buf_byte(text, '\0');
  if (text->failed == LM_OK) {
    note.text = (char *)text->data;
    text->data = NULL; /* moved */
  }
  lm_buf_clean_up(text);
  notes_keep(notes, &note);
}

bool
lm_notes_take(struct lm_notes *notes, struct lm_note *out, uint64_t *lost)
{
  *lost = 0;
  if (atomic_load(&notes->waiting) == 0)
    return false;
  lm_mutex_lock(&notes->lock);
  *out = notes->ring[notes->first];
  notes->first = (notes->first + 1) % LM_NOTES_KEPT;
  atomic_fetch_sub(&notes->waiting, 1);
  *lost = notes->lost;
  notes->lost = 0;
  lm_mutex_unlock(&notes->lock);
  return true;
}

void
lm_note_clean_up(struct lm_note *note)
{
  lm_free(note->text);
  note->text = NULL;
}
