#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Truncated text may end within a UTF-8 character: drop the incomplete character. */
static void
error_drop_broken_end(char *text)
{
  size_t len = strlen(text), tail = 0;
  while (tail < len && tail < 3 && (text[len - 1 - tail] & 0xC0) == 0x80)
    tail++;
  unsigned char lead = tail < len ? (unsigned char)text[len - 1 - tail] : 0;
  size_t needs = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
  if (needs > tail)
    text[len - 1 - tail] = '\0';
}

static void
error_fill(struct lm_error *err, enum lm_code code, size_t offset, const char *format, va_list args)
{
  err->code = code;
  err->os_errno = 0;
  err->offset = offset;
  int len = vsnprintf(err->text, sizeof err->text, format, args);
  if (len < 0)
    err->text[0] = '\0';
  else if ((size_t)len >= sizeof err->text)
    error_drop_broken_end(err->text);
}

int
lm_error_set(struct lm_error *err, enum lm_code code, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  error_fill(err, code, 0, format, args);
  va_end(args);
  return -1;
}

int
lm_error_at(struct lm_error *err, enum lm_code code, size_t offset, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  error_fill(err, code, offset, format, args);
  va_end(args);
  return -1;
}

int
lm_error_system(struct lm_error *err, int os_errno, const char *what)
{
  char reason[96];
#if defined(__GLIBC__) && defined(_GNU_SOURCE) /* the GNU variant, which returns the text */
  const char *said = strerror_r(os_errno, reason, sizeof reason);
#else
  const char *said = strerror_r(os_errno, reason, sizeof reason) == 0 ? reason : "unknown error";
#endif
  lm_error_set(err, LM_E_SYSTEM, "%s: %s", what, said);
  err->os_errno = os_errno;
  return -1;
}

int
lm_error_nomem(struct lm_error *err, size_t bytes)
{
  return lm_error_set(err, LM_E_NOMEM, "out of memory (%zu bytes requested)", bytes);
}
