#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
fill(struct lm_error *err, enum lm_code code, size_t offset, const char *format, va_list args)
{
  err->code = code;
  err->os_errno = 0;
  err->offset = offset;
  if (vsnprintf(err->text, sizeof err->text, format, args) < 0)
    err->text[0] = '\0';
}

int
lm_error_set(struct lm_error *err, enum lm_code code, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fill(err, code, 0, format, args);
  va_end(args);
  return -1;
}

int
lm_error_at(struct lm_error *err, enum lm_code code, size_t offset, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fill(err, code, offset, format, args);
  va_end(args);
  return -1;
}

int
lm_error_system(struct lm_error *err, int os_errno, const char *what)
{
  char reason[96];
#if defined(_GNU_SOURCE)
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
  return lm_error_set(err, LM_E_NOMEM, "out of memory (%zu bytes were asked for)", bytes);
}
