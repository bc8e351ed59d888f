/* Errors by value, and how functions of the core report failure. The return type tells:
 *
 *   int       -1 on failure, else 0 (or a count that the header names). A last parameter `err` is
 *             filled on failure only. Without one, there is one possible reason: out of memory, or the
 *             one that the header names.
 *   pointer   NULL, with or without `err` as above. Where NULL means "there is none", the header says so.
 *   bool      a question; or an attempt whose failure is handled, not reported. The functions that work
 *             on a job return false after they have put the reason into its outcome and error.
 *   enum      more than two results; the header says which of them fill `err`.
 *   void      cannot fail. An lm_buf remembers its failure until lm_buf_check.
 *
 * The readers of wire/columns.h differ: they return NULL, or a static text that says what is wrong.
 *
 * struct lm_error owns nothing: it may be copied, kept in a job, and dropped.
 */
#ifndef LM_BASE_ERROR_H
#define LM_BASE_ERROR_H

#include <stddef.h>

enum lm_code {
  LM_OK = 0,
  LM_E_NOMEM,   /* an allocation failed */
  LM_E_INVALID, /* an invalid argument or setting */
  LM_E_LIMIT,   /* a limit was exceeded */
  LM_E_FORMAT,  /* malformed input */
  LM_E_VERSION, /* a version, kind or extension that this build does not support */
  LM_E_FULL,    /* no room now: take a completion first; nothing was taken */
  LM_E_CLOSED,  /* cancelled, shut down, or owned by another process */
  LM_E_SYSTEM   /* a system call or library failed; os_errno, if not 0, is its errno */
};

enum { LM_ERROR_TEXT_SIZE = 240 };

struct lm_error {
  enum lm_code code;
  int os_errno;
  size_t offset;                 /* byte position in the input, 0 where there is none */
  char text[LM_ERROR_TEXT_SIZE]; /* NUL-terminated message; never contains a secret */
};

/* Fill *err and return -1. The text is truncated to fit; offset and os_errno are set to 0. */
int lm_error_set(struct lm_error *err, enum lm_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with the byte position of the error in the input. */
int lm_error_at(struct lm_error *err, enum lm_code code, size_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a failed system call; the text ends with strerror(os_errno). */
int lm_error_system(struct lm_error *err, int os_errno, const char *what);

/* The same for an allocation of `bytes` that failed: LM_E_NOMEM. */
int lm_error_nomem(struct lm_error *err, size_t bytes);

#endif
