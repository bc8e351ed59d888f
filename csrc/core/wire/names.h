/* Names that go into a request's path, query and host: what is allowed, checked before anything is
 * sent, and how they are written on the wire. Pure; any thread.
 *
 * The alphabets are closed, so no slash, dot segment, blank, control byte or non-ASCII character
 * can reach a path or a host name. Errors are LM_E_INVALID with the offset, say what is allowed,
 * and do not repeat the input.
 */
#ifndef LM_WIRE_NAMES_H
#define LM_WIRE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/span.h"

enum {
  LM_NAME_MAX_FUNCTION = 256,
  LM_NAME_MAX_QUALIFIER = 128,
  LM_NAME_MAX_REGION = 63 /* a label of a host name */
};

/* The parts of a function's name; absent ones are empty. They point into the text. */
struct lm_name {
  struct lm_span partition, region, account;
  struct lm_span function;  /* never empty */
  struct lm_span qualifier; /* version, alias, $LATEST or $LATEST.PUBLISHED */
};

/* NAME, NAME:QUALIFIER, ACCOUNT:function:NAME or arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME,
 * the last two with or without :QUALIFIER; also with the parts in front of "function" that the API
 * lets be left out. `name` may be NULL. */
int lm_name_check_function(const char *text, size_t len, struct lm_name *name,
                           struct lm_error *err);
int lm_name_check_qualifier(const char *text, size_t len, struct lm_error *err);
int lm_name_check_region(const char *text, size_t len, struct lm_error *err);

/* A value of a header: 0 to max_len bytes of visible ASCII and blanks. `what` names it for
 * people. */
int lm_name_check_header(const char *what, const char *text, size_t len, size_t max_len,
                         struct lm_error *err);

/* Append text with everything but unreserved characters percent-encoded. */
void lm_name_append_encoded(struct lm_buf *out, const char *text, size_t len);

/* Append the wire path of Invoke for a checked function name, and the query for a checked qualifier
 * (nothing for an empty one). */
void lm_name_append_path(struct lm_buf *out, const char *function, size_t len);
void lm_name_append_query(struct lm_buf *out, const char *qualifier, size_t len);

#endif
