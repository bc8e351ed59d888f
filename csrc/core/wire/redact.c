#include "wire/redact.h"

#include <stdbool.h>
#include <string.h>

static bool
same_name(const char *name, size_t len, const char *lower)
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
is_secret(const char *name, size_t len)
{
  static const char *const secrets[] = {"authorization", "x-amz-security-token",
                                        "proxy-authorization", "cookie", "x-amz-client-context"};
  for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
    if (same_name(name, len, secrets[i]))
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
    if (colon != NULL && is_secret(head, (size_t)(colon - head))) {
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
