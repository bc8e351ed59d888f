/* wire/mpcheck: what it accepts, and what it must refuse. */
#include <string.h>

#include "check.h"
#include "wire/mpcheck.h"

struct row {
  const char *name, *structure;
  size_t len, words_len;
  enum lm_code code;
};

#define ROW(name, bytes, words, code)                                                              \
  {                                                                                                \
    name, bytes, sizeof(bytes) - 1, words, code                                                    \
  }

static const struct row ROWS[] = {
    ROW("nil", "\xc0", 0, LM_OK),
    ROW("never used byte", "\xc1", 0, LM_E_FORMAT),
    ROW("two values", "\xc0\xc0", 0, LM_E_FORMAT),
    ROW("array", "\x93\x01\xc2\xc3", 0, LM_OK),
    ROW("an array16 at the end", "\xdc\x00\x00", 0, LM_OK),
    ROW("a text16 at the end", "\xda\x00\x00", 0, LM_OK),
    ROW("short array", "\x93\x01\xc2", 0, LM_E_FORMAT),
    ROW("lying array", "\xdd\xff\xff\xff\xff\xc0", 0, LM_E_FORMAT),
    ROW("lying map", "\xdf\x80\x00\x00\x00\xc0", 0, LM_E_FORMAT),
    ROW("lying text", "\xdb\xff\xff\xff\xff", 0, LM_E_FORMAT),
    ROW("lying bytes", "\xc6\xff\xff\xff\xff", 0, LM_E_FORMAT),
    ROW("lying extension", "\xc9\xff\xff\xff\xff\x03", 0, LM_E_FORMAT),
    ROW("map", "\x81\xa1k\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 0, LM_OK),
    ROW("text", "\xa3\xe2\x82\xac", 0, LM_OK),
    ROW("overlong text", "\xa2\xc0\x80", 0, LM_E_FORMAT),
    ROW("surrogate in text", "\xa3\xed\xa0\x80", 0, LM_E_FORMAT),
    ROW("wide text", "\xc7\x03\x07\xed\xa0\x80", 0, LM_OK),
    ROW("beyond unicode", "\xa4\xf4\x90\x80\x80", 0, LM_E_FORMAT),
    ROW("tuple", "\xc7\x02\x03\x91\xc0", 0, LM_OK),
    ROW("tuple of no array", "\xd4\x03\xc0", 0, LM_E_FORMAT),
    ROW("tuple and more", "\xc7\x03\x03\x91\xc0\xc0", 0, LM_E_FORMAT),
    ROW("unknown extension", "\xd4\x63\x00", 0, LM_E_VERSION),
    ROW("empty big int", "\xc7\x00\x02", 0, LM_E_FORMAT),
    ROW("doubles", "\xc7\x04\x01\x02\x01\x00\x00", 16, LM_OK),
    ROW("fewer doubles", "\xc7\x04\x01\x02\x01\x00\x00", 8, LM_E_FORMAT),
    ROW("more doubles", "\xc7\x04\x01\x01\x01\x00\x00", 16, LM_E_FORMAT),
    ROW("numbers without a column", "\xc0", 8, LM_E_FORMAT),
    ROW("doubles from the second on", "\xc7\x04\x01\x01\x01\x00\x01", 8, LM_E_FORMAT),
    ROW("doubles far away", "\xc7\x08\x01\x01\x01\x00\xff\xff\xff\x7f", 8, LM_E_FORMAT),
    ROW("endless doubles", "\xc7\x08\x01\xff\xff\xff\xff\x0f\x01\x00\x00", 8, LM_E_LIMIT),
    ROW("long count", "\xc7\x05\x01\x82\x00\x01\x00\x00", 16, LM_E_FORMAT),
    ROW("unknown float", "\xc7\x04\x01\x02\x01\x09\x00", 16, LM_E_VERSION),
    ROW("unknown column", "\xc7\x02\x01\x02\x63", 0, LM_E_VERSION),
    ROW("column and more", "\xc7\x04\x01\x02\x04\xc0\xc0", 0, LM_E_FORMAT),
    ROW("integers", "\xc7\x06\x01\x02\x02\x00\x00\x0a\x00", 0, LM_OK),
    ROW("integers of 9 bytes", "\xc7\x06\x01\x02\x02\x00\x09\x0a\x00", 0, LM_E_FORMAT),
    ROW("integers that are not there", "\xc7\x06\x01\x02\x02\x00\x01\x0a\x00", 0, LM_E_FORMAT),
    ROW("10^19ths", "\xc7\x07\x01\x02\x09\x00\x13\x00\x00\x00\x00", 0, LM_E_FORMAT),
    ROW("10ths", "\xc7\x07\x01\x02\x09\x00\x01\x00\x05\x00", 0, LM_OK),
    ROW("constant", "\xc7\x04\x01\x05\x04\xa1x", 0, LM_OK),
    ROW("constant list", "\xc7\x03\x01\x05\x04\x90", 0, LM_E_FORMAT),
    ROW("a constant bomb", "\xc7\x07\x01\xff\xff\xff\xff\x0f\x04\xc0", 0, LM_E_LIMIT),
    ROW("a bomb of empty lists", "\xc7\x0a\x01\xff\xff\xff\xff\x0f\x05\x00\x00\x04\xc0", 0,
        LM_E_LIMIT),
    ROW("a bomb of lists", "\xc7\x09\x01\xff\x07\x05\x00\xff\xff\x3f\x04\xc0", 0, LM_E_LIMIT),
    ROW("texts", "\xc7\x09\x01\x02\x03\x00\x01\x01\x02xyz", 0, LM_OK),
    ROW("texts cut off", "\xc7\x08\x01\x02\x03\x00\x01\x01\x02xy", 0, LM_E_FORMAT),
    ROW("ASCII that is none", "\xc7\x06\x01\x01\x03\x00\x00\x01\xff", 0, LM_E_FORMAT),
    ROW("UTF-8 that is none", "\xc7\x08\x01\x02\x03\x01\x00\x01\xc3\xa4", 0, LM_E_FORMAT),
    ROW("lengths of 3 bytes", "\xc7\x07\x01\x01\x03\x00\x03\x01\x00\x00", 0, LM_E_FORMAT),
    ROW("dicts", "\xc7\x07\x01\x03\x06\x01\xa1k\x04\x05", 0, LM_OK),
    ROW("dicts with a key of 1", "\xc7\x06\x01\x03\x06\x01\x01\x04\x05", 0, LM_E_FORMAT),
    ROW("dicts of more columns than bytes", "\xc7\x05\x01\x03\x06\xff\x7f\xa1", 0, LM_E_FORMAT),
    ROW("tuples", "\xc7\x06\x01\x03\x0b\x01\x07\x05\x00", 0, LM_E_FORMAT),
    ROW("bools", "\xc7\x03\x01\x03\x07\x05", 0, LM_OK),
    ROW("bools beyond the end", "\xc7\x03\x01\x03\x07\x08", 0, LM_E_FORMAT),
    ROW("missing cells", "\xc7\x05\x01\x03\x08\x05\x04\x01", 0, LM_OK),
    ROW("missing in missing", "\xc7\x07\x01\x03\x08\x05\x08\x03\x04\x01", 0, LM_E_FORMAT),
    ROW("two parts", "\xc7\x08\x01\x03\x0c\x02\x04\x01\x00\xa1x", 0, LM_OK),
    ROW("parts in parts", "\xc7\x0a\x01\x03\x0c\x02\x0c\x01\x04\x01\x04\x01\x04\x01", 0,
        LM_E_FORMAT),
    ROW("a first part that is too long", "\xc7\x06\x01\x03\x0c\x04\x04\x01\x00", 0, LM_E_FORMAT),
    ROW("different values", "\xc7\x0c\x01\x03\x0a\x01\x02\x03\x00\x00\x01xy\x00\x01", 0,
        LM_E_FORMAT),
    ROW("two values", "\xc7\x0c\x01\x02\x0a\x01\x02\x03\x00\x00\x01xy\x00\x01", 0, LM_OK),
    ROW("two values, index of a third", "\xc7\x0c\x01\x02\x0a\x01\x02\x03\x00\x00\x01xy\x00\x02", 0,
        LM_E_FORMAT),
    ROW("different lists", "\xc7\x0b\x01\x02\x0a\x01\x02\x05\x00\x00\x04\x01\x00\x01", 0,
        LM_E_FORMAT),
    ROW("raw in a list", "\xc7\x04\x01\x01\x0d\x00\x00", 8, LM_E_FORMAT),
    ROW("a buffer", "\xc7\x05\x0d\x08\x01\x0d\x00\x00", 8, LM_OK),
    ROW("a buffer of texts", "\xc7\x06\x0d\x08\x01\x03\x00\x00\x00", 0, LM_E_FORMAT),
    ROW("a buffer of 3-byte items", "\xc7\x05\x0d\x03\x01\x0d\x00\x00", 8, LM_E_FORMAT),
    ROW("a buffer in the blobs", "\xc7\x05\x0d\x08\x01\x0d\x01\x00", 8, LM_E_FORMAT),
};

static enum lm_code
verdict(const uint8_t *structure, size_t len, size_t words_len, size_t max, unsigned depth)
{
  static const uint8_t words[64];
  uint8_t *own = malloc(len); /* so that ASan notices a read past it */
  CHECK(own != NULL);
  memcpy(own, structure, len);
  struct lm_frame_view view = {own, len, NULL, 0, words, words_len, NULL, 0};
  struct lm_frame_limits limits = {max, depth};
  struct lm_error err = {LM_OK, 0, 0, ""};
  size_t estimate = 0;
  int wrong = lm_mpcheck(&view, &limits, &estimate, &err);
  free(own);
  if (wrong != 0)
    return err.code;
  CHECK(estimate >= len);
  return LM_OK;
}

static void
nested(void)
{
  static uint8_t deep[100000];
  memset(deep, 0x91, sizeof deep);
  deep[sizeof deep - 1] = 0xc0;
  CHECK(verdict(deep, sizeof deep, 0, SIZE_MAX, 512) == LM_E_LIMIT);
  CHECK(verdict(deep, sizeof deep, 0, SIZE_MAX, 100000) == LM_E_LIMIT);
  CHECK(verdict(deep + sizeof deep - 513, 513, 0, SIZE_MAX, 512) == LM_OK);
  CHECK(verdict(deep + sizeof deep - 514, 514, 0, SIZE_MAX, 512) == LM_E_LIMIT);
}

int
main(void)
{
  for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
    enum lm_code code =
        verdict((const uint8_t *)ROWS[i].structure, ROWS[i].len, ROWS[i].words_len, 1 << 20, 512);
    if (code != ROWS[i].code)
      fprintf(stderr, "%s: %d, not %d\n", ROWS[i].name, code, ROWS[i].code);
    CHECK(code == ROWS[i].code);
  }
  CHECK(verdict((const uint8_t *)"\x93\x01\x02\x03", 4, 0, 200, 512) == LM_E_LIMIT);
  nested();
  return 0;
}
