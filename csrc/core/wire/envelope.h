/* The JSON envelope around payloads; frozen. docs/wire-format.md lists its fields.
 *
 * Request: {"command":...,"lambdamap":{STATIC,"chunk":N,"items":N,"attempt":N,"left_ms":N},
 *           "p":"lm1:..."}
 * Reply:   {"lambdamap":{...},"r":"lm1:...","error":{...},"out":[...]}, the last three optional.
 *
 * Pure functions on the caller's bytes; only an lm_buf of the caller's may grow. Any thread.
 */
#ifndef LM_WIRE_ENVELOPE_H
#define LM_WIRE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "wire/json.h"

enum { LM_PROTOCOL = 1, LM_MAP_ID_LEN = 32 };

/* Offsets of the numbers in a rendered request body that change with each attempt. */
struct lm_envelope_slots {
  size_t attempt_at; /* offset of a field of LM_SLOT_WIDTH bytes, right-aligned, blank padded */
  size_t left_ms_at;
};
enum { LM_SLOT_WIDTH = 10 };

/* Append the body up to and including the opening quote of "p". `head` is JSON text that
 * Python makes once per map: from the opening brace of the envelope to the last static member of
 * "lambdamap", e.g. {"command":"...","lambdamap":{"protocol":1,...,"function":"m:f" */
void lm_envelope_open(struct lm_buf *body, const char *head, size_t head_len, uint64_t chunk,
                      uint32_t items, struct lm_envelope_slots *slots);
/* Append the closing quote and brace. */
void lm_envelope_close(struct lm_buf *body);
/* Close a body whose payload is a JSON object, `json`, instead of a string. */
void lm_envelope_close_json(struct lm_buf *body, const uint8_t *json, size_t len);
/* Write the per-attempt numbers into a rendered body. left_ms is clamped to 0..999,999,999. */
void lm_envelope_patch(uint8_t *body, const struct lm_envelope_slots *slots, unsigned attempt,
                       int64_t left_ms);
/* The payload text (prefix and base64, or a JSON object) of a rendered request body, or -1. */
int lm_envelope_request_payload(const uint8_t *body, size_t len, const char **text,
                                size_t *text_len);

struct lm_reply {
  bool marked; /* top level is an object with an object under "lambdamap" */
  bool has_protocol;
  uint32_t protocol;
  struct lm_span map; /* contents of the string, no quotes; compared with the request's id */
  bool has_chunk;
  uint64_t chunk; /* as in the request */
  bool has_done;
  uint32_t done;      /* number of items that have run, from the chunk's first */
  uint64_t worker_us; /* time spent on the items, measured by the worker */
  bool stale_code;    /* "code" is present and not null: the worker's source differs from the
                         caller's; `code` is the raw JSON value */
  struct lm_span code;
  struct lm_span result; /* string contents of "r", a frame in text form; escapes are not allowed */
  struct lm_span result_json; /* raw JSON of the object under "r", with codec "json" */
  struct lm_span error;       /* raw JSON of the object under "error" */
  struct lm_span output;      /* raw JSON of the value under "out" */
};

/* Read a reply: JSON as accepted by json.h; unknown keys are ignored. A duplicate known key, escaped
 * or not, is an error, and so is a known field of the wrong type or range; null means absent for
 * error and code. Returns 0 also for valid JSON without the marker: marked is then false, and no
 * field is read. -1 and *err, with the offset, otherwise. text may be NULL if len is 0. */
int lm_envelope_read(const char *text, size_t len, struct lm_reply *reply, struct lm_error *err);

/* Check that a marked reply belongs to this request and does not contradict itself; -1 and *err if
 * not. `json`: the codec is "json". The error's own members are not checked. The same rules as
 * read_reply in lambdamap/shipping/envelope.py. */
int lm_envelope_check(const struct lm_reply *reply, const char map_id[LM_MAP_ID_LEN],
                      uint64_t chunk, uint32_t items, bool json, struct lm_error *err);

/* The error members of a Lambda error body: {"errorType":..,"errorMessage":..} or
 * {"message"|"Message":..,"Type":..,"Reason":..,"__type"|"code"|"Code":..}. Absent ones are
 * empty. Never fails: anything but a JSON object leaves all of them empty. String contents are raw;
 * lm_json_text decodes escapes. A timeout that is only named in the message ("... Task timed out
 * after 3.00 seconds", as the platform did until 2024) gets the error type used since, which then
 * does not point into `text`. */
struct lm_aws_error {
  struct lm_span error_type; /* function errors */
  struct lm_span error_message;
  struct lm_span message; /* API errors */
  struct lm_span reason;
  struct lm_span code; /* without "namespace#" and ":url" */
};
void lm_envelope_read_aws_error(const char *text, size_t len, struct lm_aws_error *out);

#endif
