/* A strict JSON reader that builds nothing: it checks the text and points into it. Accepts RFC 8259
 * in valid UTF-8, with \u surrogates only in pairs, nested at most LM_JSON_MAX_DEPTH deep; integers
 * have at most LM_JSON_MAX_DIGITS digits, as in Python; other numbers must be finite doubles with at
 * most 309 digits before the point and four in the exponent. Pure: no allocation, no recursion. One
 * thread per reader.
 *
 * Functions that can fail return -1 and set the reader's error, with the offset.
 */
#ifndef LM_WIRE_JSON_H
#define LM_WIRE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

enum { LM_JSON_MAX_DEPTH = 64, LM_JSON_MAX_DIGITS = 4300 };

struct lm_json {
  const char *start, *at, *end; /* borrowed */
  unsigned depth;               /* brackets open at `at` */
  struct lm_error *err;
};

/* text may be NULL when len is 0. */
void lm_json_init(struct lm_json *json, const char *text, size_t len, struct lm_error *err);

/* Set the error, with the current offset. Returns -1. */
int lm_json_refuse(struct lm_json *json, const char *why);

bool lm_json_next_is(struct lm_json *json, char c); /* skip blanks; skip c if it is next */
bool lm_json_at(struct lm_json *json, char c);      /* the same without skipping c */

/* Read a string; *span is the text between its quotes, with escapes not decoded. _unescaped refuses
 * escapes. */
int lm_json_read_string(struct lm_json *json, struct lm_span *span);
int lm_json_read_unescaped(struct lm_json *json, struct lm_span *span);

/* Read any value; *span is its text. */
int lm_json_read_raw(struct lm_json *json, struct lm_span *span);

/* Read an integer without a sign, at most `max` (and 19 digits). */
int lm_json_read_uint(struct lm_json *json, uint64_t max, uint64_t *number);

/* Read an object. `member` is called after the colon of each member and must read its value. */
int lm_json_each_member(struct lm_json *json,
                        int (*member)(struct lm_json *json, const struct lm_span *key,
                                      void *context),
                        void *context);

int lm_json_end(struct lm_json *json); /* -1 unless only blanks are left */

bool lm_json_is(const struct lm_span *span, const char *text); /* false for an absent one */

/* Upper bound, in bytes, of the Python objects of a value that lm_json_read_raw has accepted; at most
 * a few times too high. Saturates. */
size_t lm_json_weight(const struct lm_span *value);

/* Decode the escapes of a string's contents for display: valid UTF-8 without control bytes other than
 * tab and newline ('?' replaces invalid bytes), truncated at a character boundary to size - 1 bytes,
 * NUL-terminated. Returns its length. An absent span is "". Never fails. */
size_t lm_json_text(const struct lm_span *span, char *text, size_t size);

#endif
