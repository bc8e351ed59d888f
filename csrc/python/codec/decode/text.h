/* Texts, and columns of str, bytes and types written as text: TEXT, UNIQUE. */
#ifndef LMPY_DECODE_TEXT_H
#define LMPY_DECODE_TEXT_H

#include "codec/decode/reader.h"

#include "codec/text.h"

/* Return a dict's key; short ones are cached. */
PyObject *lmpy_unpack_key(struct lmpy_unpack *unpack, const uint8_t *bytes, uint32_t len);

/* Prepare for the cells, and make the distinct texts: 0, or -1 and an exception. */
int lmpy_open_texts(struct lmpy_unpack *unpack, struct lmpy_reader *reader);
int lmpy_open_unique(struct lmpy_unpack *unpack, struct lmpy_reader *reader, const uint8_t **at,
                     const uint8_t *end, uint64_t n, unsigned depth);
lmpy_fill lmpy_fill_texts, lmpy_fill_unique;

static inline PyObject *
lmpy_text(const uint8_t *bytes, uint32_t len)
{
  uint64_t high = 0, eight;
  uint32_t i = 0;
  for (; i + 8 <= len; i += 8) {
    memcpy(&eight, bytes + i, 8);
    high |= eight;
  }
  for (; i < len; i++)
    high |= (uint64_t)bytes[i];
  if ((high & UINT64_C(0x8080808080808080)) != 0)
    return PyUnicode_DecodeUTF8((const char *)bytes, len, NULL);
  PyObject *text = PyUnicode_New(len, 127);
  if (text != NULL && len > 0)
    lmpy_copy_text(PyUnicode_1BYTE_DATA(text), bytes, len);
  return text;
}

#endif
