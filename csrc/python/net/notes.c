/* Notes of a map, as dicts for the logger. */
#include "net.h"

#include "job/notes.h"

static const char *const KINDS[] = {
    [LM_NOTE_RETRY] = "retry", [LM_NOTE_CONNECT] = "connect", [LM_NOTE_THROTTLE] = "throttle",
    [LM_NOTE_POLL] = "poll",   [LM_NOTE_RESIGN] = "sign",     [LM_NOTE_REFRESH] = "refresh",
    [LM_NOTE_SENT] = "sent",   [LM_NOTE_REPLY] = "reply",     [LM_NOTE_CONNECTED] = "connected",
};

static PyObject *
notes_as_dict(const struct lm_note *note)
{
  PyObject *request_id = lmpy_text_or_none(note->request_id);
  PyObject *text = lmpy_text_or_none(note->text);
  PyObject *found = NULL;
  if (request_id != NULL && text != NULL)
    found = Py_BuildValue(
        "{sssKsIsIsisssssOsdsdsKsKsO}", "kind", KINDS[note->kind], "first_item",
        (unsigned long long)note->first_item, "n_items", (unsigned)note->n_items, "attempt",
        note->attempt, "status", note->status, "failure", lmpy_failure_name(note->failure), "ran",
        lmpy_ran_name(note->ran), "request_id", request_id, "delay", (double)note->delay_ns / 1e9,
        "seconds", (double)note->took_ns / 1e9, "bytes_sent", (unsigned long long)note->bytes_sent,
        "bytes_received", (unsigned long long)note->bytes_received, "text", text);
  Py_XDECREF(text);
  Py_XDECREF(request_id);
  return found;
}

static int
notes_append(PyObject *list, PyObject *item)
{
  int failed = item == NULL ? -1 : PyList_Append(list, item);
  Py_XDECREF(item);
  return failed;
}

PyObject *
lmpy_take_notes(struct lm_notes *notes)
{
  struct lm_note note;
  uint64_t lost, all_lost = 0;
  PyObject *list = PyList_New(0);
  if (list == NULL)
    return NULL;
  while (lm_notes_take(notes, &note, &lost)) {
    int failed = notes_append(list, notes_as_dict(&note));
    lm_note_clean_up(&note);
    if (failed != 0)
      goto err_list;
    all_lost += lost;
  }
  if (all_lost > 0 && notes_append(list, Py_BuildValue("{sssK}", "kind", "lost", "count",
                                                       (unsigned long long)all_lost)) != 0)
    goto err_list;
  return list;

err_list:
  Py_DECREF(list);
  return NULL;
}
