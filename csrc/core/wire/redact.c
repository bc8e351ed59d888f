#include "wire/redact.h"

#include <stdbool.h>
#include <string.h>

static bool
redact_same_name(const char *name, size_t len, const char *lower)
{
  if (len != strlen(lower))
    return false;
  for (size_t i = 0; i < len; i++) {
    char c = name[i];
    if (c >= 'A' && c <= 'Z')
      c = (char)(c - 'A' + 'a');
    if (c != lower[i])
      return false;
  }
  return true;
}

static bool
redact_is_secret(const char *name, size_t len)
{
  static const char *const secrets[] = {"authorization", "x-amz-security-token",
                                        "proxy-authorization", "cookie", "x-amz-client-context"};
  for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
    if (redact_same_name(name, len, secrets[i]))
      return true;
  return false;
}

void
lm_redact_head(const char *head, size_t len, struct lm_buf *out)
{
  while (len > 0) {
    const char *end = memchr(head, '\n', len);
    size_t whole = end == NULL ? len : (size_t)(end - head) + 1;
    size_t line = whole;
    while (line > 0 && (head[line - 1] == '\n' || head[line - 1] == '\r'))
      line--;
    if (line == 0)
      return;
    const char *colon = memchr(head, ':', line);
    if (colon != NULL && redact_is_secret(head, (size_t)(colon - head))) {
      lm_buf_append(out, head, (size_t)(colon - head));
      lm_buf_str(out, ": [redacted]");
    } else {
      lm_buf_append(out, head, line);
    }
    lm_buf_byte(out, '\n');
    head += whole;
    len -= whole;
  }
}

size_t
lm_redact_text(const char *text, size_t len, char *shown, size_t size)
{
  size_t n = 0;
  bool blank = true; /* drops blanks at the start */
  for (size_t i = 0; i < len && n + 1 < size; i++) {
    unsigned char c = (unsigned char)text[i];
    bool is_c1 = (c & 0xE0) == 0x80 && i > 0 && (unsigned char)text[i - 1] == 0xC2;
    bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (space && blank)
      continue;
    shown[n++] = (char)(space ? ' ' : c < 0x20 || c == 0x7f || is_c1 ? '?' : c);
    blank = space;
  }
  shown[n] = '\0';
  return n;
}
