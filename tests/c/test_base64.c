/* base/base64: RFC 4648's vectors, all lengths there and back, and strictness. */
#include <stdbool.h>
#include <string.h>

#include "base/base64.h"
#include "check.h"

static void
vectors(void)
{
  static const char *const pairs[][2] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
  };
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    char text[16];
    uint8_t back[16];
    struct lm_error err;
    size_t n = strlen(pairs[i][0]), size = lm_base64_encoded_size(n), raw;
    CHECK(size == strlen(pairs[i][1]));
    lm_base64_encode((const uint8_t *)pairs[i][0], n, text);
    CHECK(memcmp(text, pairs[i][1], size) == 0);
    CHECK(lm_base64_decoded_size(text, size, &raw, &err) == 0 && raw == n);
    CHECK(lm_base64_decode(text, size, back, &err) == 0 && memcmp(back, pairs[i][0], n) == 0);
  }
}

static void
every_length(void)
{
  enum { MOST = 300 };
  uint8_t bytes[MOST], back[MOST];
  char text[MOST * 2];
  struct lm_error err;
  for (size_t i = 0; i < MOST; i++)
    bytes[i] = (uint8_t)(i * 37 + (i >> 3));
  for (size_t n = 0; n < MOST; n++) {
    size_t size = lm_base64_encoded_size(n), raw;
    lm_base64_encode(bytes, n, text);
    CHECK(lm_base64_decoded_size(text, size, &raw, &err) == 0 && raw == n);
    memset(back, 0xee, sizeof back);
    CHECK(lm_base64_decode(text, size, back, &err) == 0 && memcmp(back, bytes, n) == 0);
  }
}

/* Every invalid byte at every position of a text that is long enough for all fast paths. */
static void
strict(void)
{
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char text[128];
  uint8_t bytes[96] = {0}, back[96];
  struct lm_error err;
  size_t raw;
  lm_base64_encode(bytes, sizeof bytes, text);
  for (size_t at = 0; at < sizeof text; at++)
    for (int c = 0; c < 256; c++) {
      char before = text[at];
      text[at] = (char)c;
      bool fine = c != 0 && strchr(alphabet, c) != NULL;
      bool sized = lm_base64_decoded_size(text, sizeof text, &raw, &err) == 0;
      if (fine)
        CHECK(sized && lm_base64_decode(text, sizeof text, back, &err) == 0);
      else
        CHECK(!sized || raw < sizeof back || lm_base64_decode(text, sizeof text, back, &err) != 0);
      text[at] = before;
    }
  static const char *const broken[] = {
      "A", "AB", "ABC", "AB=C", "=AAA", "A===", "====", "AB==AAAA", "Zh==", "Zm9=", "AAAAA"};
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    size_t n = strlen(broken[i]);
    CHECK(lm_base64_decoded_size(broken[i], n, &raw, &err) != 0 ||
          lm_base64_decode(broken[i], n, back, &err) != 0);
  }
}

int
main(void)
{
  vectors();
  every_length();
  strict();
  return 0;
}
