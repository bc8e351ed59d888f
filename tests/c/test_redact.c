/* wire/redact: no secret of a request head reaches a log, nor does the body. */
#include <string.h>

#include "check.h"
#include "wire/redact.h"

static void
check(const char *head, const char *wanted)
{
  struct lm_buf out;
  struct lm_error err;
  lm_buf_init(&out, 4096);
  lm_redact_head(head, strlen(head), &out);
  CHECK(lm_buf_check(&out, "text", &err) == 0);
  CHECK(out.len == strlen(wanted) && memcmp(out.data, wanted, out.len) == 0);
  lm_buf_clean_up(&out);
}

static void
shown(const char *text, size_t size, const char *wanted)
{
  char out[64];
  CHECK(lm_redact_text(text, strlen(text), out, size) == strlen(wanted) &&
        strcmp(out, wanted) == 0);
}

int
main(void)
{
  shown("", 64, "");
  shown(" \r\n<html>\n\n  <b>Bad\tgateway</b>", 64, "<html> <b>Bad gateway</b>");
  shown("a\x1b[31mb\x7f\xc2\x9b"
        "c",
        64, "a?[31mb?\xc2?c");
  shown("caf\xc3\xa9", 64, "caf\xc3\xa9");
  shown("abcdef", 4, "abc");
  shown("abcdef", 1, "");
  check("POST / HTTP/1.1\r\nHost: a\r\nauthorization: AWS4 Signature=x\r\n\r\nAuthorization: body",
        "POST / HTTP/1.1\nHost: a\nauthorization: [redacted]\n");
  check("A: 1\r\nX-AMZ-Security-Token:tok\r\nCookie: c\r\nProxy-Authorization: p\r\n"
        "X-Amz-Client-Context: z\r\n\r\n",
        "A: 1\nX-AMZ-Security-Token: [redacted]\nCookie: [redacted]\nProxy-Authorization: "
        "[redacted]\nX-Amz-Client-Context: [redacted]\n");
  check("Authorizations: kept\nX-Authorization: kept\nno colon\n",
        "Authorizations: kept\nX-Authorization: kept\nno colon\n");
  check("Authorization: cut off", "Authorization: [redacted]\n");
  return 0;
}
