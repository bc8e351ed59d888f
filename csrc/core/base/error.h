/* Errors by value.
 *
 * A core function that can fail returns 0 or -1 (or a pointer or NULL) and fills the caller's
 * struct lm_error. The struct owns nothing: it may be copied, kept in a job, and dropped.
 */
#ifndef LM_BASE_ERROR_H
#define LM_BASE_ERROR_H

#include <stddef.h>

enum lm_code {
  LM_OK = 0,
  LM_E_NOMEM,   /* an allocation failed */
  LM_E_INVALID, /* an argument of the caller is not acceptable */
  LM_E_LIMIT,   /* a configured bound was reached */
  LM_E_FORMAT,  /* bytes from outside do not follow their format */
  LM_E_VERSION, /* a version, kind or extension that this build does not know */
  LM_E_FULL,    /* no room now: take a completion first; nothing was consumed */
  LM_E_CLOSED,  /* cancelled, shut down, or owned by another process */
  LM_E_SYSTEM   /* a system call or library failed; os_errno says why when it is not 0 */
};

enum { LM_ERROR_TEXT_SIZE = 240 };

struct lm_error {
  enum lm_code code;
  int os_errno;
  size_t offset;                 /* byte position in the input, where one is meant */
  char text[LM_ERROR_TEXT_SIZE]; /* NUL-terminated, for people; never holds a secret */
};

/* Fill *err and return -1. The text is cut to fit; offset and os_errno become 0. */
int lm_error_set(struct lm_error *err, enum lm_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the byte position at which the input is wrong. */
int lm_error_at(struct lm_error *err, enum lm_code code, size_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a failed system call; the text ends with strerror(os_errno). */
int lm_error_system(struct lm_error *err, int os_errno, const char *what);

/* LM_E_NOMEM naming the number of bytes asked for. */
int lm_error_nomem(struct lm_error *err, size_t bytes);

#endif
