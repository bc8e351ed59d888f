/* A strict JSON reader that builds nothing: it checks and points into the text. RFC 8259 in valid
 * UTF-8; \u escapes in pairs where they must be; at most LM_JSON_MAX_DEPTH brackets open; integers
 * of at most LM_JSON_MAX_DIGITS digits, which is what Python reads; other numbers are finite doubles,
 * with at most 309 digits before the point and four in the exponent. Pure; nothing is allocated and
 * nothing recurses; one thread per reader.
 *
 * Functions that can fail return -1 and fill the reader's error, with the offset, once.
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

/* -1 and *err, naming the place that was reached. */
int lm_json_refuse(struct lm_json *json, const char *why);

bool lm_json_next_is(struct lm_json *json, char c); /* behind blanks; then it is passed over */
bool lm_json_at(struct lm_json *json, char c);      /* the same, left where it is */

/* A string with its quotes; *span is what stands between them, escapes not undone. _plain refuses
 * escapes. */
int lm_json_read_string(struct lm_json *json, struct lm_span *span);
int lm_json_read_plain(struct lm_json *json, struct lm_span *span);

/* Any value; *span is its text. */
int lm_json_read_raw(struct lm_json *json, struct lm_span *span);

/* A whole number without sign, at most `max` (and 19 digits). */
int lm_json_read_uint(struct lm_json *json, uint64_t max, uint64_t *number);

/* An object. `member` is called behind the colon of each member and must read its value. */
int lm_json_each_member(struct lm_json *json,
                        int (*member)(struct lm_json *json, const struct lm_span *key,
                                      void *context),
                        void *context);

int lm_json_end(struct lm_json *json); /* -1 unless only blanks are left */

bool lm_json_is(const struct lm_span *span, const char *text); /* false for an absent one */

/* What the Python objects of a value that lm_json_read_raw has accepted take, in bytes: not less, and
 * a few times more at most. Saturates. */
size_t lm_json_weight(const struct lm_span *value);

/* Undo the escapes of a string's contents, for people: valid UTF-8 without control bytes other than
 * tab and newline ('?' stands for what is none), cut at a character's end to size - 1 bytes,
 * NUL-terminated. Returns its length. An absent span is "". Never fails, whatever the bytes are. */
size_t lm_json_text(const struct lm_span *span, char *text, size_t size);

#endif
