/* wire/names: whatever is accepted is safe in a path, a query, a host name and a header line. The
 * first byte says what the rest is taken for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/names.h"

#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition))                                                                              \
      abort();                                                                                     \
  } while (0)

static bool
all_of(const char *text, size_t len, const char *allowed)
{
  for (size_t i = 0; i < len; i++)
    if (text[i] == '\0' || strchr(allowed, text[i]) == NULL)
      return false;
  return true;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define WORD LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-_"

static void
check_function(const char *text, size_t len)
{
  struct lm_name name;
  struct lm_error err;
  struct lm_buf out;
  if (lm_name_check_function(text, len, &name, &err) != 0) {
    MUST(err.code == LM_E_INVALID && err.offset <= len);
    return;
  }
  MUST(len >= 1 && len <= LM_NAME_MAX_FUNCTION && all_of(text, len, WORD ".:$"));
  MUST(name.function.len > 0 && all_of(name.function.at, name.function.len, WORD "."));
  MUST(name.function.at >= text && name.function.at + name.function.len <= text + len);
  MUST(!(name.function.len <= 2 && all_of(name.function.at, name.function.len, ".")));
  MUST(name.account.len == 0 || (name.account.len == 12 && all_of(name.account.at, 12, DIGITS)));
  if (name.region.len > 0)
    MUST(lm_name_check_region(name.region.at, name.region.len, &err) == 0);
  if (name.qualifier.len > 0)
    MUST(lm_name_check_qualifier(name.qualifier.at, name.qualifier.len, &err) == 0);
  lm_buf_init(&out, 4096);
  lm_name_append_path(&out, text, len);
  MUST(out.failed == LM_OK && all_of((const char *)out.data, out.len, WORD ".~/%"));
  int slashes = 0;
  for (size_t i = 0; i < out.len; i++)
    slashes += out.data[i] == '/';
  MUST(slashes == 4);
  lm_buf_clean_up(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct lm_error err;
  struct lm_buf out;
  if (size == 0)
    return 0;
  unsigned kind = data[0] % 4;
  size_t len = size - 1;
  char *text = malloc(len + (len == 0));
  MUST(text != NULL);
  memcpy(text, data + 1, len);
  if (kind == 0) {
    check_function(text, len);
  } else if (kind == 1) {
    if (lm_name_check_qualifier(text, len, &err) == 0)
      MUST(len >= 1 && len <= LM_NAME_MAX_QUALIFIER && all_of(text, len, WORD "$."));
  } else if (kind == 2) {
    if (lm_name_check_region(text, len, &err) == 0)
      MUST(len >= 1 && len <= LM_NAME_MAX_REGION && all_of(text, len, LOWER DIGITS "-") &&
           text[0] != '-' && text[len - 1] != '-');
  } else {
    if (lm_name_check_header("it", text, len, 100, &err) == 0)
      for (size_t i = 0; i < len; i++)
        MUST(len <= 100 && text[i] >= ' ' && text[i] < 0x7f);
  }
  lm_buf_init(&out, 3 * len + 16);
  lm_name_append_query(&out, text, len);
  MUST(out.failed == LM_OK && all_of((const char *)out.data, out.len, WORD ".~%="));
  lm_buf_clean_up(&out);
  free(text);
  return 0;
}
