#include "records.h"

#include <string.h>

#include "base/alloc.h"
#include "os/seams.h"

_Static_assert(sizeof(struct lmpy_record) == 40, "as backends/records.py has it");

enum { FIRST_ROOM = 64 };

void
lmpy_records_init(struct lmpy_records *records)
{
  memset(records, 0, sizeof *records);
  lm_mutex_init(&records->lock);
  records->opened_ns = lm_seams.now_ns();
  records->stride = 1;
}

void
lmpy_records_clean_up(struct lmpy_records *records)
{
  lm_free(records->kept);
  lm_mutex_destroy(&records->lock);
}

void
lmpy_records_start(struct lmpy_records *records, size_t limit)
{
  records->limit = limit;
}

/* Make room for one more: grow, or at the limit drop every second record. */
static bool
records_make_room(struct lmpy_records *records)
{
  if (records->n < records->room)
    return true;
  if (records->n >= records->limit) {
    size_t half = (records->n + 1) / 2;
    for (size_t i = 1; i < half; i++)
      records->kept[i] = records->kept[2 * i];
    records->n = half;
    records->stride *= 2;
    return (records->seen & (records->stride - 1)) == 0;
  }
  size_t room = records->room == 0 ? FIRST_ROOM : 2 * records->room;
  if (room > records->limit)
    room = records->limit;
  struct lmpy_record *grown = lm_realloc(records->kept, room * sizeof *grown);
  if (grown == NULL)
    return false;
  records->kept = grown;
  records->room = room;
  return true;
}

static double
records_seconds(const struct lmpy_records *records, int64_t at_ns)
{
  return (double)(at_ns - records->opened_ns) / 1e9;
}

void
lmpy_records_add(struct lmpy_records *records, const struct lm_job *job)
{
  if (records->limit == 0) /* only the thread that takes sets it */
    return;
  lm_mutex_lock(&records->lock);
  if ((records->seen & (records->stride - 1)) == 0 && records_make_room(records)) {
    /* A chunk that was withdrawn before its first attempt was never sent. */
    bool sent = job->started_ns != 0;
    int64_t done_ns = sent ? job->started_ns + job->took_ns : lm_seams.now_ns();
    records->kept[records->n++] = (struct lmpy_record){
        .first_item = job->first_item,
        .queued_s = records_seconds(records, job->queued_ns),
        .sent_s = records_seconds(records, sent ? job->started_ns : done_ns),
        .done_s = records_seconds(records, done_ns),
        .n_items = job->n_items,
        .attempts = job->attempts > UINT16_MAX ? UINT16_MAX : (uint16_t)job->attempts,
        .start = !job->head.report.known ? 0
                 : job->head.report.cold ? 2
                                         : 1,
        .failed = job->outcome.failure != LM_FAIL_NONE || job->view.error.at != NULL,
    };
  }
  records->seen++;
  lm_mutex_unlock(&records->lock);
}

PyObject *
lmpy_records_copy(struct lmpy_records *records)
{
  lm_mutex_lock(&records->lock);
  size_t size = records->n * sizeof *records->kept, seen = records->seen;
  char *copy = lm_alloc(size + 1);
  if (copy != NULL && size > 0)
    memcpy(copy, records->kept, size);
  lm_mutex_unlock(&records->lock);
  if (copy == NULL)
    return PyErr_NoMemory();
  PyObject *found = Py_BuildValue("y#n", copy, (Py_ssize_t)size, (Py_ssize_t)seen);
  lm_free(copy);
  return found;
}
