/* The fields of a request's head, and what a reply's head says, whatever the version of HTTP. */
#ifndef LM_HTTP_HEAD_H
#define LM_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "http/report.h"

enum {
  LM_HEAD_MAX_LINE = 8192,        /* one field with ": " and CR LF; of HTTP/1.1, any line */
  LM_HEAD_MAX_BYTES = 65536,      /* all heads of one reply, with 1xx and trailers */
  LM_HEAD_MAX_INFORMATIONAL = 16, /* 1xx replies before the real one */
  LM_HEAD_TRUSTED = 1 << 20,      /* bytes of a body reserved in advance for a Content-Length */
  LM_HEAD_TEXT = 160,             /* bytes kept of a value that is text */
  LM_HEAD_MEDIA_TYPE = 48         /* the same of a Content-Type */
};

/* One field (header) of a head. Borrows its text, which is not NUL-terminated. */
struct lm_field {
  const char *name; /* lower case */
  size_t name_len;
  const char *value; /* without blanks around it */
  size_t value_len;
  bool secret; /* never put into a compression table (HPACK), here or at a proxy */
};

/* Whether it has the name, a literal in lower case. */
#define lm_field_is(field, literal)                                                                \
  ((field)->name_len == sizeof(literal) - 1 &&                                                     \
   memcmp((field)->name, literal, sizeof(literal) - 1) == 0)

/* What a reply's head says of the invocation. Text is truncated to fit, NUL-terminated, printable ASCII
 * ('?' replaces anything else), and "" if the header is absent. */
struct lm_reply_head {
  int status;              /* 200 to 599; 0: none was read */
  bool has_age;            /* an Age header: from a cache, so date_s is old */
  bool has_function_error; /* X-Amz-Function-Error, whatever its value */
  bool content_encoded;    /* a Content-Encoding other than identity, which was not requested */
  bool retry_after_is_ms;  /* retry_after_ms is x-amz-retry-after's */
  int64_t content_length;  /* -1 if absent */
  int64_t retry_after_ms;  /* x-amz-retry-after (ms), else Retry-After (s); -1 if neither is a
                              number of at most 15 digits */
  int64_t date_s;          /* Date as seconds since 1970, -1 if absent or malformed */
  struct lm_report report; /* of X-Amz-Log-Result */
  char request_id[64];     /* x-amzn-RequestId */
  char error_type[LM_HEAD_TEXT];         /* x-amzn-ErrorType, cut at ':' and after any '#' */
  char executed_version[LM_HEAD_TEXT];   /* X-Amz-Executed-Version */
  char content_type[LM_HEAD_MEDIA_TYPE]; /* without parameters, unless the status is 200 */
};

void lm_head_init(struct lm_reply_head *head); /* no reply yet; padding is 0 as well */

/* Read one field; the status is set before. A field that means nothing here is ignored. LM_E_FORMAT: a
 * Content-Length that is not one number, or a second one. */
int lm_head_read(struct lm_reply_head *head, const struct lm_field *field, struct lm_error *err);

#endif
