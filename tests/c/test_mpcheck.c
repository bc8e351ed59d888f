/* wire/mpcheck: what it takes, and all that it must not. */
#include <string.h>

#include "check.h"
#include "wire/mpcheck.h"

struct row {
  const char *name, *structure;
  size_t len, numeric_len;
  enum lm_code code;
};

#define ROW(name, bytes, numeric, code)                                                            \
  {                                                                                                \
    name, bytes, sizeof(bytes) - 1, numeric, code                                                  \
  }

static const struct row ROWS[] = {
    ROW("nil", "\xc0", 0, LM_OK),
    ROW("never used byte", "\xc1", 0, LM_E_FORMAT),
    ROW("two values", "\xc0\xc0", 0, LM_E_FORMAT),
    ROW("array", "\x93\x01\xc2\xc3", 0, LM_OK),
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
    ROW("block", "\xc7\x09\x01\x00\x02\0\0\0\0\0\0\0", 16, LM_OK),
    ROW("block without numbers", "\xc7\x09\x01\x00\x02\0\0\0\0\0\0\0", 8, LM_E_FORMAT),
    ROW("numbers without block", "\xc0", 8, LM_E_FORMAT),
    ROW("endless block", "\xc7\x09\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff", 8, LM_E_FORMAT),
    ROW("block of int16", "\xc7\x12\x01\x02\x02\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0", 16, LM_OK),
    ROW("block of width 3", "\xc7\x12\x01\x02\x03\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0", 16,
        LM_E_FORMAT),
    ROW("block of bytes", "\xc7\x09\x01\x03\x09\0\0\0\0\0\0\0", 16, LM_OK),
    ROW("block of an unknown element", "\xc7\x09\x01\x04\x01\0\0\0\0\0\0\0", 8, LM_E_FORMAT),
};

static enum lm_code
verdict(const uint8_t *structure, size_t len, size_t numeric_len, size_t max, unsigned depth)
{
  static const uint8_t numeric[64];
  struct lm_frame_view view = {structure, len, numeric, numeric_len};
  struct lm_frame_limits limits = {max, depth};
  struct lm_error err = {LM_OK, 0, 0, ""};
  size_t estimate = 0;
  if (lm_mpcheck(&view, &limits, &estimate, &err) != 0)
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
        verdict((const uint8_t *)ROWS[i].structure, ROWS[i].len, ROWS[i].numeric_len, 1 << 20, 512);
    if (code != ROWS[i].code)
      fprintf(stderr, "%s: %d, not %d\n", ROWS[i].name, code, ROWS[i].code);
    CHECK(code == ROWS[i].code);
  }
  CHECK(verdict((const uint8_t *)"\x93\x01\x02\x03", 4, 0, 200, 512) == LM_E_LIMIT);
  nested();
  return 0;
}
