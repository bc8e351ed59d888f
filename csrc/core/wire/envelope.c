#include "wire/envelope.h"

#include <string.h>

#include "wire/frame.h"

/* --- writing --- */

static void
envelope_slot(struct lm_buf *body, const char *name, size_t *at)
{
  lm_buf_str(body, name);
  *at = body->len;
  lm_buf_append(body, "         0", LM_SLOT_WIDTH);
}

void
lm_envelope_open(struct lm_buf *body, const char *head, size_t head_len, uint64_t chunk,
                 uint32_t items, struct lm_envelope_slots *slots)
{
  lm_buf_append(body, head, head_len);
  lm_buf_str(body, ",\"chunk\":");
  lm_buf_uint(body, chunk);
  lm_buf_str(body, ",\"items\":");
  lm_buf_uint(body, items);
  envelope_slot(body, ",\"attempt\":", &slots->attempt_at);
  envelope_slot(body, ",\"left_ms\":", &slots->left_ms_at);
  lm_buf_str(body, "},\"p\":\"");
}

void
lm_envelope_close(struct lm_buf *body)
{
  lm_buf_str(body, "\"}");
}

void
lm_envelope_close_json(struct lm_buf *body, const uint8_t *json, size_t len)
{
  if (body->len > 0 && body->failed == LM_OK)
    body->len--; /* the quote */
  lm_buf_append(body, json, len);
  lm_buf_str(body, "}");
}

static void
envelope_fill_slot(uint8_t *at, uint64_t number)
{
  for (int i = LM_SLOT_WIDTH - 1; i >= 0; i--) {
    at[i] = number > 0 || i == LM_SLOT_WIDTH - 1 ? (uint8_t)('0' + number % 10) : ' ';
    number /= 10;
  }
}

void
lm_envelope_patch(uint8_t *body, const struct lm_envelope_slots *slots, unsigned attempt,
                  int64_t left_ms)
{
  left_ms = left_ms < 0 ? 0 : left_ms > 999999999 ? 999999999 : left_ms;
  envelope_fill_slot(body + slots->attempt_at, attempt);
  envelope_fill_slot(body + slots->left_ms_at, (uint64_t)left_ms);
}

int
lm_envelope_request_payload(const uint8_t *body, size_t len, const char **text, size_t *text_len)
{
  static const char opening[] = "},\"p\":", object[] = "{", text_form[] = "\"" LM_TEXT_PREFIX;
  const size_t n = sizeof opening - 1, text_n = sizeof text_form - 1;
  if (len < 2 || body[len - 1] != '}')
    return -1;
  /* The head has a few hundred bytes, and no JSON string in it contains this sequence unescaped. */
  for (size_t at = 0; at + n + text_n < len; at++) {
    if (body[at] != '}' || memcmp(body + at, opening, n) != 0)
      continue;
    const uint8_t *payload = body + at + n;
    if (memcmp(payload, object, 1) == 0) {
      *text = (const char *)payload;
      *text_len = len - 1 - (at + n);
      return 0;
    }
    if (memcmp(payload, text_form, text_n) == 0 && body[len - 2] == '"') {
      *text = (const char *)payload + 1;
      *text_len = len - 2 - (at + n + 1);
      return 0;
    }
  }
  return -1;
}

/* --- a worker's reply --- */

struct reading {
  struct lm_reply *reply;
  unsigned seen; /* known keys, one bit each */
};

enum {
  SEEN_MARKER = 1,
  SEEN_RESULT = 2,
  SEEN_ERROR = 4,
  SEEN_OUTPUT = 8,
  SEEN_PROTOCOL = 16,
  SEEN_MAP = 32,
  SEEN_CHUNK = 64,
  SEEN_DONE = 128,
  SEEN_US = 256,
  SEEN_CODE = 512
};

static int
envelope_once(struct lm_json *json, struct reading *reading, unsigned bit)
{
  if (reading->seen & bit)
    return lm_json_refuse(json, "duplicate key");
  reading->seen |= bit;
  return 0;
}

static int
envelope_read_small(struct lm_json *json, uint32_t *number)
{
  uint64_t read = 0;
  if (lm_json_read_uint(json, UINT32_MAX, &read) != 0)
    return -1;
  *number = (uint32_t)read;
  return 0;
}

static int
envelope_read_code(struct lm_json *json, struct lm_reply *reply)
{
  if (lm_json_read_raw(json, &reply->code) != 0)
    return -1;
  reply->stale_code = !lm_json_is(&reply->code, "null");
  return 0;
}

static int
envelope_read_error(struct lm_json *json, struct lm_reply *reply)
{
  struct lm_span value;
  bool is_object = lm_json_at(json, '{');
  if (lm_json_read_raw(json, &value) != 0)
    return -1;
  if (is_object)
    reply->error = value;
  else if (!lm_json_is(&value, "null"))
    return lm_json_refuse(json, "error must be an object or null");
  return 0;
}

/* Decode a key that contains escapes: it may be a known one. */
static bool
envelope_is_escaped(const struct lm_span *key, char text[32], struct lm_span *decoded)
{
  if (memchr(key->at, '\\', key->len) == NULL)
    return false;
  *decoded = (struct lm_span){text, lm_json_text(key, text, 32)};
  return memchr(text, '\\', decoded->len) == NULL;
}

static int
envelope_read_inner(struct lm_json *json, const struct lm_span *key, void *context)
{
  struct reading *reading = context;
  struct lm_reply *reply = reading->reply;
  struct lm_span ignored, decoded;
  char text[32];
#define ONCE(bit, read) (envelope_once(json, reading, bit) != 0 ? -1 : (read))
  if (lm_json_is(key, "protocol")) {
    int result = ONCE(SEEN_PROTOCOL, envelope_read_small(json, &reply->protocol));
    reply->has_protocol = result == 0; /* another protocol's number stops the map, not its lack */
    return result;
  }
  if (lm_json_is(key, "map"))
    return ONCE(SEEN_MAP, lm_json_read_unescaped(json, &reply->map));
  if (lm_json_is(key, "chunk")) {
    reply->has_chunk = true;
    return ONCE(SEEN_CHUNK, lm_json_read_uint(json, INT64_MAX, &reply->chunk));
  }
  if (lm_json_is(key, "done")) {
    reply->has_done = true;
    return ONCE(SEEN_DONE, envelope_read_small(json, &reply->done));
  }
  if (lm_json_is(key, "us"))
    return ONCE(SEEN_US, lm_json_read_uint(json, INT64_MAX, &reply->worker_us));
  if (lm_json_is(key, "code"))
    return ONCE(SEEN_CODE, envelope_read_code(json, reply));
  if (envelope_is_escaped(key, text, &decoded))
    return envelope_read_inner(json, &decoded, context);
  return lm_json_read_raw(json, &ignored);
}

static int
envelope_read_outer(struct lm_json *json, const struct lm_span *key, void *context)
{
  struct reading *reading = context;
  struct lm_reply *reply = reading->reply;
  struct lm_span ignored, decoded;
  char text[32];
  if (lm_json_is(key, "lambdamap")) {
    reply->marked = true;
    return ONCE(SEEN_MARKER, lm_json_each_member(json, envelope_read_inner, reading));
  }
  if (lm_json_is(key, "r"))
    return ONCE(SEEN_RESULT, lm_json_at(json, '{') ? lm_json_read_raw(json, &reply->result_json)
                                                   : lm_json_read_unescaped(json, &reply->result));
  if (lm_json_is(key, "error"))
    return ONCE(SEEN_ERROR, envelope_read_error(json, reply));
  if (lm_json_is(key, "out"))
    return ONCE(SEEN_OUTPUT, lm_json_read_raw(json, &reply->output));
  if (envelope_is_escaped(key, text, &decoded))
    return envelope_read_outer(json, &decoded, context);
  return lm_json_read_raw(json, &ignored);
#undef ONCE
}

/* Objects of other functions are only checked for syntax: their members may have our names. */
static int
envelope_look_for_marker(struct lm_json *json, const struct lm_span *key, void *context)
{
  bool *found = context;
  bool is_object = lm_json_at(json, '{');
  struct lm_span value, decoded;
  char text[32];
  if (lm_json_read_raw(json, &value) != 0)
    return -1;
  if (is_object && (lm_json_is(key, "lambdamap") || (envelope_is_escaped(key, text, &decoded) &&
                                                     lm_json_is(&decoded, "lambdamap"))))
    *found = true;
  return 0;
}

/* Our workers write the marker first, so only replies of other functions are read twice. */
static bool
envelope_starts_as_ours(const char *text, size_t len)
{
  static const char opening[] = "{\"lambdamap\":{", spaced[] = "{\"lambdamap\": {";
  return (len > sizeof opening && memcmp(text, opening, sizeof opening - 1) == 0) ||
         (len > sizeof spaced && memcmp(text, spaced, sizeof spaced - 1) == 0);
}

int
lm_envelope_read(const char *text, size_t len, struct lm_reply *reply, struct lm_error *err)
{
  struct lm_json json;
  struct reading reading = {.reply = reply};
  struct lm_span ignored;
  memset(reply, 0, sizeof *reply);
  if (!envelope_starts_as_ours(text, len)) {
    bool marked = false;
    lm_json_init(&json, text, len, err);
    if ((lm_json_at(&json, '{') ? lm_json_each_member(&json, envelope_look_for_marker, &marked)
                                : lm_json_read_raw(&json, &ignored)) != 0 ||
        lm_json_end(&json) != 0)
      return -1;
    if (!marked)
      return 0;
  }
  lm_json_init(&json, text, len, err);
  if (lm_json_each_member(&json, envelope_read_outer, &reading) != 0 || lm_json_end(&json) != 0)
    return -1;
  return 0;
}

int
lm_envelope_check(const struct lm_reply *reply, const char map_id[LM_MAP_ID_LEN], uint64_t chunk,
                  uint32_t items, bool json, struct lm_error *err)
{
  if (!reply->has_protocol)
    return lm_error_set(err, LM_E_FORMAT, "the reply has no protocol number");
  if (reply->protocol != LM_PROTOCOL)
    return lm_error_set(err, LM_E_FORMAT,
                        "the worker speaks protocol %u, this caller %d: deploy the same release of "
                        "lambdamap on both sides",
                        (unsigned)reply->protocol, LM_PROTOCOL);
  /* A worker that could not read the request may reply without its map and chunk. */
  bool refused = reply->error.at != NULL && !reply->has_done;
  bool same_map =
      reply->map.len == LM_MAP_ID_LEN && memcmp(reply->map.at, map_id, LM_MAP_ID_LEN) == 0;
  bool same_chunk = reply->has_chunk && reply->chunk == chunk;
  if ((!same_map && !(refused && reply->map.at == NULL)) ||
      (!same_chunk && !(refused && !reply->has_chunk)))
    return lm_error_set(err, LM_E_FORMAT, "the reply does not belong to chunk %llu of this map",
                        (unsigned long long)chunk);
  bool has_results = json ? reply->result_json.at != NULL : reply->result.at != NULL;
  if (json ? reply->result.at != NULL : reply->result_json.at != NULL)
    return lm_error_set(err, LM_E_FORMAT, "the results are not encoded with the request's codec");
  if (refused)
    return 0;
  if (!reply->has_done)
    return lm_error_set(err, LM_E_FORMAT,
                        "the reply has neither a count of done items nor an error");
  if (reply->done > items)
    return lm_error_set(err, LM_E_FORMAT, "the reply says that %u of %u items are done",
                        (unsigned)reply->done, (unsigned)items);
  if (reply->done > 0 ? !has_results : reply->error.at == NULL)
    return lm_error_set(err, LM_E_FORMAT, "the reply contains neither results nor an error");
  return 0;
}

/* --- Lambda's error bodies --- */

static int
envelope_read_aws_member(struct lm_json *json, const struct lm_span *key, void *context)
{
  struct lm_aws_error *out = context;
  struct lm_span *place = NULL, ignored;
  if (lm_json_is(key, "errorType"))
    place = &out->error_type;
  else if (lm_json_is(key, "errorMessage"))
    place = &out->error_message;
  else if (lm_json_is(key, "message") || lm_json_is(key, "Message"))
    place = &out->message;
  else if (lm_json_is(key, "Reason"))
    place = &out->reason;
  else if (lm_json_is(key, "__type") || lm_json_is(key, "code") || lm_json_is(key, "Code"))
    place = &out->code;
  if (place == NULL || !lm_json_at(json, '"'))
    return lm_json_read_raw(json, &ignored);
  return lm_json_read_string(json, place);
}

static void
envelope_cut_code(struct lm_span *code)
{
  const char *hash = memchr(code->at, '#', code->len);
  if (hash != NULL) {
    code->len -= (size_t)(hash + 1 - code->at);
    code->at = hash + 1;
  }
  const char *colon = memchr(code->at, ':', code->len);
  if (colon != NULL)
    code->len = (size_t)(colon - code->at);
}

static bool
envelope_contains(const struct lm_span *span, const char *words)
{
  size_t n = strlen(words);
  for (size_t i = 0; i + n <= span->len; i++)
    if (memcmp(span->at + i, words, n) == 0)
      return true;
  return false;
}

void
lm_envelope_read_aws_error(const char *text, size_t len, struct lm_aws_error *out)
{
  static const char timed_out[] = "Sandbox.Timedout";
  struct lm_error ignored;
  struct lm_json json;
  memset(out, 0, sizeof *out);
  lm_json_init(&json, text, len, &ignored);
  if (lm_json_each_member(&json, envelope_read_aws_member, out) != 0 || lm_json_end(&json) != 0) {
    memset(out, 0, sizeof *out);
    return;
  }
  if (out->code.at != NULL)
    envelope_cut_code(&out->code);
  if (out->error_type.len == 0 && envelope_contains(&out->error_message, "Task timed out after "))
    out->error_type = (struct lm_span){timed_out, sizeof timed_out - 1};
}
