#include "codec/decode/text.h"

#include "codec/types.h"

PyObject *
lmpy_unpack_key(struct lmpy_unpack *unpack, const uint8_t *bytes, uint32_t len)
{
  if (len > LMPY_KEY_BYTES)
    return PyUnicode_DecodeUTF8((const char *)bytes, len, NULL);
  uint32_t hash = 2166136261u; /* FNV-1a */
  for (uint32_t i = 0; i < len; i++)
    hash = (hash ^ bytes[i]) * 16777619u;
  struct lmpy_key *kept = &unpack->state->keys[hash % LMPY_KEYS];
  if (kept->text != NULL && kept->hash == hash && kept->len == len &&
      memcmp(kept->bytes, bytes, len) == 0)
    return Py_NewRef(kept->text);
  PyObject *text = PyUnicode_DecodeUTF8((const char *)bytes, len, NULL);
  if (text == NULL)
    return NULL;
  PyUnicode_InternInPlace(&text);
  Py_XSETREF(kept->text, Py_NewRef(text));
  kept->hash = hash;
  kept->len = (uint8_t)len;
  memcpy(kept->bytes, bytes, len);
  return text;
}

int
lmpy_open_texts(struct lmpy_unpack *unpack, struct lmpy_reader *reader)
{
  reader->text = reader->column.data;
  if (reader->column.element != LM_TEXT_DECIMAL)
    return 0;
  return lmpy_types_need_decimal(unpack->state);
}

/* Make a text that is not ASCII, or a value written as text. */
static PyObject *
decode_text_new_text(struct lmpy_unpack *unpack, uint8_t element, const uint8_t *at, uint32_t len)
{
  if (element == LM_TEXT_BYTES)
    return PyBytes_FromStringAndSize((const char *)at, len);
  PyObject *text = lmpy_text(at, len), *made = NULL;
  if (element != LM_TEXT_DECIMAL || text == NULL)
    return text;
  made = PyObject_CallOneArg((PyObject *)unpack->state->decimal, text);
  Py_DECREF(text);
  return made;
}

int
lmpy_fill_texts(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  const struct lm_lengths lengths = reader->column.lengths;
  const uint8_t *at = reader->text;
  const uint8_t *bytes = lengths.width == 1 ? lengths.at + reader->next : NULL;
  uint32_t len;
  size_t i = 0;
  if (reader->column.element == LM_TEXT_ASCII) /* most are this */
    for (; i < n; i++) {
      len = bytes != NULL ? bytes[i] : lm_length_at(&lengths, reader->next + i);
      if ((out[i] = PyUnicode_New(len, 127)) == NULL)
        return lmpy_give_up(out, i, n);
      lmpy_copy_text(PyUnicode_1BYTE_DATA(out[i]), at, len);
      at += len;
    }
  for (uint32_t before = UINT32_MAX; i < n; i++, before = len) {
    len = lm_length_at(&lengths, reader->next + i);
    if (len == before && memcmp(at, at - len, len) == 0) /* cheaper than making it again */
      out[i] = Py_NewRef(out[i - 1]);
    else
      out[i] = decode_text_new_text(unpack, reader->column.element, at, len);
    if (out[i] == NULL)
      return lmpy_give_up(out, i, n);
    at += len;
  }
  reader->text = at;
  return 0;
}

int
lmpy_open_unique(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                 const uint8_t *end, uint64_t n, unsigned depth)
{
  struct lmpy_reader texts = {0};
  uint64_t different = reader->column.inner;
  if (lmpy_reader_begin(unpack, &texts, at, end, different, depth, LM_AT_PRESENT) != 0 ||
      lmpy_open_texts(unpack, &texts) != 0)
    return -1;
  const char *wrong = lm_column_read_indices(at, end, n, &reader->column, &reader->indices);
  if (wrong != NULL)
    return lmpy_unpack_bad(unpack, wrong);
  if (lmpy_reader_room(reader, 0, different, 0) != 0)
    return -1;
  return lmpy_fill_by(lmpy_fill_texts, unpack, &texts, reader->values, reader->n_values);
}

int
lmpy_fill_unique(struct lmpy_unpack *unpack, struct lmpy_reader *reader, PyObject **out, size_t n)
{
  const struct lm_lengths indices = {reader->column.width, 0, reader->indices};
  (void)unpack;
  for (size_t i = 0; i < n; i++)
    out[i] = Py_NewRef(reader->values[lm_length_at(&indices, reader->next + i)]);
  return 0;
}
