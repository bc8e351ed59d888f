/* wire/envelope and wire/json: spans lie in the text, what was accepted is JSON again, text for
 * people is clean UTF-8, whatever the bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/envelope.h"

#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition))                                                                              \
      abort();                                                                                     \
  } while (0)

static const char *start, *end;

static bool
inside(const struct lm_span *span)
{
  return span->at == NULL
             ? span->len == 0
             : span->at >= start && span->at <= end && span->len <= (size_t)(end - span->at);
}

/* For people: as a JSON string again, it must be accepted. */
static void
shown(const struct lm_span *span, size_t size)
{
  char text[66], quoted[140];
  struct lm_reply reply;
  struct lm_error err;
  MUST(size <= sizeof text);
  size_t len = lm_json_text(span, text, size);
  MUST(size == 0 || (len < size && text[len] == '\0'));
  size_t n = 0;
  quoted[n++] = '"';
  for (size_t i = 0; i < len; i++) {
    char c = text[i];
    MUST(c != 0x7f && (c < 0 || c >= ' ' || c == '\n' || c == '\t'));
    if (c == '"' || c == '\\' || c == '\n' || c == '\t')
      quoted[n++] = '\\';
    quoted[n++] = c == '\n' ? 'n' : c == '\t' ? 't' : c;
  }
  quoted[n++] = '"';
  MUST(lm_envelope_read(quoted, n, &reply, &err) == 0);
}

/* As any JSON, not as a reply: one of ours with a key that stands twice is JSON, too. */
static void
is_json(const struct lm_span *span)
{
  struct lm_json json;
  struct lm_span whole;
  struct lm_error err;
  if (span->at == NULL)
    return;
  lm_json_init(&json, span->at, span->len, &err);
  MUST(lm_json_read_raw(&json, &whole) == 0 && lm_json_end(&json) == 0);
}

/* What is taken as a reply to a request is one to it alone. */
static void
check_reply(const struct lm_reply *reply)
{
  static const char id[] = "0123456789abcdef0123456789abcdef";
  struct lm_error err;
  for (int json = 0; json < 2; json++) {
    if (lm_envelope_check(reply, id, 3, 4, json, &err) != 0) {
      MUST(err.code == LM_E_FORMAT && err.text[0] != '\0');
      continue;
    }
    MUST(reply->has_protocol && reply->protocol == LM_PROTOCOL);
    MUST(reply->error.at != NULL || (reply->has_done && reply->done > 0));
    MUST(reply->map.at == NULL || lm_json_is(&reply->map, id));
    MUST(!reply->has_chunk || reply->chunk == 3);
    MUST((json ? reply->result.at : reply->result_json.at) == NULL);
    if (reply->has_done)
      MUST(reply->map.at != NULL && reply->has_chunk && reply->done <= 4 &&
           (reply->done == 0 || (json ? reply->result_json.at : reply->result.at) != NULL));
  }
}

static void
read_reply(const char *text, size_t size)
{
  struct lm_reply reply, again;
  struct lm_error err;
  if (lm_envelope_read(text, size, &reply, &err) != 0) {
    MUST(err.code == LM_E_FORMAT && err.offset <= size && err.text[0] != '\0');
    return;
  }
  const struct lm_span *spans[] = {&reply.map,         &reply.code,  &reply.result,
                                   &reply.result_json, &reply.error, &reply.output};
  for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
    MUST(inside(spans[i]) && (reply.marked || spans[i]->at == NULL));
    shown(spans[i], 1 + size % 66);
  }
  is_json(&reply.code);
  is_json(&reply.error);
  is_json(&reply.result_json);
  is_json(&reply.output);
  MUST(reply.result.at == NULL || memchr(reply.result.at, '\\', reply.result.len) == NULL);
  MUST(reply.error.at == NULL || *reply.error.at == '{');
  if (reply.marked)
    check_reply(&reply);
  MUST(reply.chunk <= INT64_MAX && reply.worker_us <= INT64_MAX);
  MUST(lm_envelope_read(text, size, &again, &err) == 0 &&
       memcmp(&reply, &again, sizeof reply) == 0);
  if (size > 0 && (text[size - 1] == '}' || text[size - 1] == ']'))
    MUST(lm_envelope_read(text, size - 1, &again, &err) == -1);
}

static void
read_error(const char *text, size_t size)
{
  struct lm_aws_error said;
  lm_envelope_read_aws_error(text, size, &said);
  MUST(inside(&said.error_message) && inside(&said.message) && inside(&said.reason));
  MUST(inside(&said.code));
  MUST(inside(&said.error_type) || lm_json_is(&said.error_type, "Sandbox.Timedout"));
  shown(&said.error_message, 33);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *text = malloc(size + (size == 0));
  const char *payload;
  size_t len;
  MUST(text != NULL);
  if (size > 0)
    memcpy(text, data, size);
  start = text;
  end = text + size;
  read_reply(text, size);
  read_error(text, size);
  const struct lm_span all = {text, size};
  (void)lm_json_weight(&all);
  shown(&all, 64);
  if (lm_envelope_request_payload((const uint8_t *)text, size, &payload, &len) == 0) {
    const struct lm_span span = {payload, len};
    MUST(inside(&span) && len > 0 &&
         (payload[0] == '{' || (len >= 4 && memcmp(payload, "lm1:", 4) == 0)));
  }
  free(text);
  return 0;
}
