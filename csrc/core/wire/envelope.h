/* The outer envelope: plain JSON, frozen for ever. docs/wire-format.md lists its fields.
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

/* Where the numbers that change per attempt stand in a rendered request body. */
struct lm_envelope_slots {
  size_t attempt_at; /* offset of a field of LM_SLOT_WIDTH bytes, right-aligned, blank padded */
  size_t left_ms_at;
};
enum { LM_SLOT_WIDTH = 10 };

/* Append the body up to and including the opening quote of "p". `head` is JSON text made once a
 * map by Python: everything from the opening brace of the envelope to the last static member of
 * "lambdamap", e.g. {"command":"...","lambdamap":{"protocol":1,...,"function":"m:f" */
void lm_envelope_open(struct lm_buf *body, const char *head, size_t head_len, uint64_t chunk,
                      uint32_t items, struct lm_envelope_slots *slots);
/* Append the closing quote and brace. */
void lm_envelope_close(struct lm_buf *body);
/* The same for a payload that is plain JSON: an object, `json`, instead of a text. */
void lm_envelope_plain(struct lm_buf *body, const uint8_t *json, size_t len);
/* Write the per-attempt numbers into a rendered body. left_ms is cut to 0..999,999,999. */
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
  uint64_t chunk; /* echo of the request's number */
  bool has_done;
  uint32_t done;      /* items worked on, counted from the chunk's first */
  uint64_t worker_us; /* time spent on the items, as the worker measured it */
  bool stale_code;    /* "code" was present and not null: the worker runs another source than the
                         caller's; `code` is the raw JSON value */
  struct lm_span code;
  struct lm_span result; /* string contents of "r": a text-form frame; no escapes are allowed */
  struct lm_span plain;  /* raw JSON of the object under "r", of a worker that answers in JSON */
  struct lm_span error;  /* raw JSON of the object under "error" */
  struct lm_span output; /* raw JSON of the value under "out" */
};

/* Read a reply: JSON as json.h has it, unknown keys skipped. A known key twice is an error, however
 * it is escaped, and so is a known field that is not of its type and range; null stands for an
 * absent error and code. 0 also for valid JSON without the marker: marked is false then, and no
 * known key was looked at. -1 and *err, with the offset, for anything else. text may be NULL when
 * len is 0. */
int lm_envelope_read(const char *text, size_t len, struct lm_reply *reply, struct lm_error *err);

/* Whether a marked reply is one to this request, and does not contradict itself; -1 and *err. `json`:
 * the request's payload was plain JSON. The error's own members are not looked at. The same rules
 * as read_reply in lambdamap/envelope.py. */
int lm_envelope_check(const struct lm_reply *reply, const char map_id[LM_MAP_ID_LEN],
                      uint64_t chunk, uint32_t items, bool json, struct lm_error *err);

/* The error members of a Lambda error body: {"errorType":..,"errorMessage":..} or
 * {"message"|"Message":..,"Type":..,"Reason":..,"__type"|"code"|"Code":..}. Absent ones stay
 * empty. Never fails: what is no JSON object leaves all of them empty. String contents are raw:
 * escapes are undone by lm_json_text. A time-out that says so only in its message ("... Task timed
 * out after 3.00 seconds", as the platform did until 2024) gets the error type of a newer one,
 * which is not in `text`. */
struct lm_aws_error {
  struct lm_span error_type; /* function errors */
  struct lm_span error_message;
  struct lm_span message; /* API errors */
  struct lm_span reason;
  struct lm_span code; /* without "namespace#" and ":url" */
};
void lm_envelope_read_aws_error(const char *text, size_t len, struct lm_aws_error *out);

#endif
