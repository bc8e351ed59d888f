#include "wire/envelope.h"

#include <string.h>

#include "wire/frame.h"

enum { MAX_DEPTH = 64 };

/* --- writing --- */

static void
slot(struct lm_buf *body, const char *name, size_t *at)
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
  slot(body, ",\"attempt\":", &slots->attempt_at);
  slot(body, ",\"left_ms\":", &slots->left_ms_at);
  lm_buf_str(body, "},\"p\":\"");
}

void
lm_envelope_close(struct lm_buf *body)
{
  lm_buf_str(body, "\"}");
}

static void
fill_slot(uint8_t *at, uint64_t number)
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
  fill_slot(body + slots->attempt_at, attempt);
  fill_slot(body + slots->left_ms_at, (uint64_t)left_ms);
}

int
lm_envelope_request_payload(const uint8_t *body, size_t len, const char **text, size_t *text_len)
{
  static const char opening[] = "},\"p\":\"" LM_TEXT_PREFIX;
  const size_t n = sizeof opening - 1;
  if (len < n + 2 || memcmp(body + len - 2, "\"}", 2) != 0)
    return -1;
  /* The head is some hundred bytes, and no JSON string in it holds this sequence unescaped. */
  for (size_t at = 0; at + n + 2 <= len; at++)
    if (body[at] == '}' && memcmp(body + at, opening, n) == 0) {
      *text = (const char *)body + at + n - LM_TEXT_PREFIX_LEN;
      *text_len = len - 2 - (at + n - LM_TEXT_PREFIX_LEN);
      return 0;
    }
  return -1;
}

/* --- reading: a strict scanner that builds nothing --- */

struct scanner {
  const char *start, *at, *end;
  struct lm_error *err;
};

static int
refuse(struct scanner *scanner, const char *why)
{
  return lm_error_at(scanner->err, LM_E_FORMAT, (size_t)(scanner->at - scanner->start),
                     "the reply is not valid JSON at byte %zu: %s",
                     (size_t)(scanner->at - scanner->start), why);
}

static void
skip_blanks(struct scanner *scanner)
{
  while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\t' ||
                                        *scanner->at == '\n' || *scanner->at == '\r'))
    scanner->at++;
}

static bool
next_is(struct scanner *scanner, char c)
{
  skip_blanks(scanner);
  if (scanner->at == scanner->end || *scanner->at != c)
    return false;
  scanner->at++;
  return true;
}

static int
hex_value(char c)
{
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* Four hex digits at scanner->at, or -1. */
static int
read_unit(struct scanner *scanner)
{
  int unit = 0;
  if (scanner->end - scanner->at < 4)
    return -1;
  for (int i = 0; i < 4; i++) {
    int digit = hex_value(scanner->at[i]);
    if (digit < 0)
      return -1;
    unit = unit * 16 + digit;
  }
  scanner->at += 4;
  return unit;
}

static int
skip_escape(struct scanner *scanner)
{
  scanner->at++; /* the backslash */
  if (scanner->at == scanner->end)
    return refuse(scanner, "a string ends in its middle");
  char c = *scanner->at++;
  if (c != 'u')
    return c != '\0' && strchr("\"\\/bfnrt", c) != NULL ? 0 : refuse(scanner, "an unknown escape");
  int unit = read_unit(scanner);
  if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
    return refuse(scanner, "a broken \\u escape");
  if (unit < 0xD800 || unit > 0xDBFF)
    return 0;
  if (scanner->end - scanner->at < 6 || scanner->at[0] != '\\' || scanner->at[1] != 'u')
    return refuse(scanner, "half of a surrogate pair");
  scanner->at += 2;
  unit = read_unit(scanner);
  return unit >= 0xDC00 && unit <= 0xDFFF ? 0 : refuse(scanner, "half of a surrogate pair");
}

static bool
is_tail(const unsigned char *at, const unsigned char *end, int n)
{
  if (end - at < n)
    return false;
  for (int i = 0; i < n; i++)
    if ((at[i] & 0xC0) != 0x80)
      return false;
  return true;
}

static int
skip_multibyte(struct scanner *scanner)
{
  const unsigned char *at = (const unsigned char *)scanner->at;
  const unsigned char *end = (const unsigned char *)scanner->end;
  int n = at[0] >= 0xC2 && at[0] <= 0xDF ? 1 : at[0] >= 0xE0 && at[0] <= 0xEF ? 2
          : at[0] >= 0xF0 && at[0] <= 0xF4 ? 3
                                           : 0;
  bool good = n > 0 && is_tail(at + 1, end, n) && !(at[0] == 0xE0 && at[1] < 0xA0) &&
              !(at[0] == 0xED && at[1] > 0x9F) && !(at[0] == 0xF0 && at[1] < 0x90) &&
              !(at[0] == 0xF4 && at[1] > 0x8F);
  if (!good)
    return refuse(scanner, "a string that is not UTF-8");
  scanner->at += n + 1;
  return 0;
}

/* A string with its quotes; *span is what stands between them, *escaped whether a backslash is in
 * it. */
static int
read_string(struct scanner *scanner, struct lm_span *span, bool *escaped)
{
  if (!next_is(scanner, '"'))
    return refuse(scanner, "a string is missing");
  span->at = scanner->at;
  *escaped = false;
  /* Base64 is the bulk: plain printable ASCII goes through the first test. */
  while (scanner->at < scanner->end) {
    unsigned char c = (unsigned char)*scanner->at;
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      scanner->at++;
    } else if (c == '"') {
      span->len = (size_t)(scanner->at - span->at);
      scanner->at++;
      return 0;
    } else if (c == '\\') {
      *escaped = true;
      if (skip_escape(scanner) != 0)
        return -1;
    } else if (c >= 0x80) {
      if (skip_multibyte(scanner) != 0)
        return -1;
    } else {
      return refuse(scanner, "a control byte in a string");
    }
  }
  return refuse(scanner, "a string ends in its middle");
}

static bool
skip_digits(struct scanner *scanner)
{
  const char *from = scanner->at;
  while (scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9')
    scanner->at++;
  return scanner->at > from;
}

static int
skip_number(struct scanner *scanner)
{
  if (*scanner->at == '-')
    scanner->at++;
  const char *first = scanner->at;
  if (!skip_digits(scanner) || (*first == '0' && scanner->at - first > 1))
    return refuse(scanner, "a broken number");
  if (scanner->at < scanner->end && *scanner->at == '.') {
    scanner->at++;
    if (!skip_digits(scanner))
      return refuse(scanner, "a broken number");
  }
  if (scanner->at < scanner->end && (*scanner->at == 'e' || *scanner->at == 'E')) {
    scanner->at++;
    if (scanner->at < scanner->end && (*scanner->at == '+' || *scanner->at == '-'))
      scanner->at++;
    if (!skip_digits(scanner))
      return refuse(scanner, "a broken number");
  }
  return 0;
}

static int
skip_word(struct scanner *scanner)
{
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < 3; i++) {
    size_t n = strlen(words[i]);
    if ((size_t)(scanner->end - scanner->at) >= n && memcmp(scanner->at, words[i], n) == 0) {
      scanner->at += n;
      return 0;
    }
  }
  return refuse(scanner, "a value is missing");
}

/* Any value. Iterative: the depth costs one bit each. */
static int
skip_value(struct scanner *scanner)
{
  uint64_t is_object = 0; /* one bit a level */
  int depth = 0;
  struct lm_span span;
  bool escaped;
  for (;;) {
    skip_blanks(scanner);
    if (scanner->at == scanner->end)
      return refuse(scanner, "it ends in its middle");
    char c = *scanner->at;
    bool opened = false;
    if (c == '{' || c == '[') {
      if (depth == MAX_DEPTH - 1)
        return refuse(scanner, "it is nested too deep");
      scanner->at++;
      depth++;
      is_object = is_object << 1 | (c == '{');
      opened = true;
    } else if (c == '"') {
      if (read_string(scanner, &span, &escaped) != 0)
        return -1;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      if (skip_number(scanner) != 0)
        return -1;
    } else if (skip_word(scanner) != 0) {
      return -1;
    }
    while (depth > 0 && next_is(scanner, is_object & 1 ? '}' : ']')) {
      depth--;
      is_object >>= 1;
      opened = false;
    }
    if (depth == 0)
      return 0;
    if (!opened && !next_is(scanner, ','))
      return refuse(scanner, "a comma or a closing bracket is missing");
    if (is_object & 1) {
      if (read_string(scanner, &span, &escaped) != 0)
        return -1;
      if (!next_is(scanner, ':'))
        return refuse(scanner, "a colon is missing");
    }
  }
}

static int
read_raw(struct scanner *scanner, struct lm_span *span)
{
  skip_blanks(scanner);
  span->at = scanner->at;
  if (skip_value(scanner) != 0)
    return -1;
  span->len = (size_t)(scanner->at - span->at);
  return 0;
}

/* A whole number without sign, at most `max`. */
static int
read_uint(struct scanner *scanner, uint64_t max, uint64_t *number)
{
  struct lm_span span;
  if (read_raw(scanner, &span) != 0)
    return -1;
  *number = 0;
  if (span.len == 0 || span.len > 19)
    return refuse(scanner, "a whole number is expected");
  for (size_t i = 0; i < span.len; i++) {
    if (span.at[i] < '0' || span.at[i] > '9')
      return refuse(scanner, "a whole number is expected");
    *number = *number * 10 + (uint64_t)(span.at[i] - '0');
  }
  return *number <= max ? 0 : refuse(scanner, "a number is out of its range");
}

static int
read_plain_string(struct scanner *scanner, struct lm_span *span)
{
  bool escaped;
  if (read_string(scanner, span, &escaped) != 0)
    return -1;
  return escaped ? refuse(scanner, "an escape where none is allowed") : 0;
}

static bool
is_key(const struct lm_span *key, const char *name)
{
  return key->len == strlen(name) && memcmp(key->at, name, key->len) == 0;
}

/* Calls `member` for each member of the object at scanner->at, behind its colon. */
static int
each_member(struct scanner *scanner,
            int (*member)(struct scanner *, const struct lm_span *key, void *context), void *context)
{
  if (!next_is(scanner, '{'))
    return refuse(scanner, "an object is expected");
  if (next_is(scanner, '}'))
    return 0;
  do {
    struct lm_span key;
    bool escaped;
    skip_blanks(scanner);
    if (read_string(scanner, &key, &escaped) != 0)
      return -1;
    if (!next_is(scanner, ':'))
      return refuse(scanner, "a colon is missing");
    if (member(scanner, &key, context) != 0)
      return -1;
  } while (next_is(scanner, ','));
  return next_is(scanner, '}') ? 0 : refuse(scanner, "a comma or a closing brace is missing");
}

static int
once(struct scanner *scanner, unsigned *seen, unsigned bit)
{
  if (*seen & bit)
    return refuse(scanner, "a key stands twice");
  *seen |= bit;
  return 0;
}

struct reading {
  struct lm_reply *reply;
  unsigned outer, inner; /* known keys seen */
};

static int
read_inner(struct scanner *scanner, const struct lm_span *key, void *context)
{
  struct reading *reading = context;
  struct lm_reply *reply = reading->reply;
  struct lm_span ignored;
  uint64_t number = 0;
  int result = 0;
  if (is_key(key, "protocol")) {
    result = once(scanner, &reading->inner, 1);
    if (result == 0 && (result = read_uint(scanner, UINT32_MAX, &number)) == 0)
      reply->protocol = (uint32_t)number;
  } else if (is_key(key, "map")) {
    result = once(scanner, &reading->inner, 2);
    if (result == 0)
      result = read_plain_string(scanner, &reply->map);
  } else if (is_key(key, "chunk")) {
    result = once(scanner, &reading->inner, 4);
    if (result == 0 && (result = read_uint(scanner, INT64_MAX, &reply->chunk)) == 0)
      reply->has_chunk = true;
  } else if (is_key(key, "done")) {
    result = once(scanner, &reading->inner, 8);
    if (result == 0 && (result = read_uint(scanner, UINT32_MAX, &number)) == 0) {
      reply->done = (uint32_t)number;
      reply->has_done = true;
    }
  } else if (is_key(key, "us")) {
    result = once(scanner, &reading->inner, 16);
    if (result == 0)
      result = read_uint(scanner, INT64_MAX, &reply->worker_us);
  } else if (is_key(key, "code")) {
    result = once(scanner, &reading->inner, 32);
    if (result == 0 && (result = read_raw(scanner, &reply->code)) == 0)
      reply->stale_code = !is_key(&reply->code, "null");
  } else {
    result = read_raw(scanner, &ignored);
  }
  return result;
}

static int
read_outer(struct scanner *scanner, const struct lm_span *key, void *context)
{
  struct reading *reading = context;
  struct lm_reply *reply = reading->reply;
  struct lm_span ignored;
  skip_blanks(scanner);
  if (is_key(key, "lambdamap")) {
    if (once(scanner, &reading->outer, 1) != 0)
      return -1;
    if (scanner->at == scanner->end || *scanner->at != '{')
      return read_raw(scanner, &ignored);
    reply->marked = true;
    return each_member(scanner, read_inner, reading);
  }
  if (is_key(key, "r"))
    return once(scanner, &reading->outer, 2) != 0 ? -1
                                                  : read_plain_string(scanner, &reply->result);
  if (is_key(key, "error")) {
    if (once(scanner, &reading->outer, 4) != 0)
      return -1;
    if (scanner->at == scanner->end || *scanner->at != '{')
      return read_raw(scanner, &ignored);
    return read_raw(scanner, &reply->error);
  }
  if (is_key(key, "out"))
    return once(scanner, &reading->outer, 8) != 0 ? -1 : read_raw(scanner, &reply->output);
  return read_raw(scanner, &ignored);
}

/* Whether the top level is an object that has our marker: others' objects are only checked, so that
 * a member of theirs with a name of ours is no error. */
struct marker {
  bool found;
};

static int
look_for_marker(struct scanner *scanner, const struct lm_span *key, void *context)
{
  struct marker *marker = context;
  struct lm_span value;
  if (read_raw(scanner, &value) != 0)
    return -1;
  if (is_key(key, "lambdamap") && value.at[0] == '{')
    marker->found = true;
  return 0;
}

static int
nothing_follows(struct scanner *scanner)
{
  skip_blanks(scanner);
  return scanner->at == scanner->end ? 0 : refuse(scanner, "something follows its end");
}

static bool
starts_as_ours(const char *text, size_t len)
{
  static const char opening[] = "{\"lambdamap\":{";
  static const char spaced[] = "{\"lambdamap\": {";
  return (len > sizeof opening && memcmp(text, opening, sizeof opening - 1) == 0) ||
         (len > sizeof spaced && memcmp(text, spaced, sizeof spaced - 1) == 0);
}

int
lm_envelope_read(const char *text, size_t len, struct lm_reply *reply, struct lm_error *err)
{
  struct scanner scanner = {text, text, text + len, err};
  memset(reply, 0, sizeof *reply);
  skip_blanks(&scanner);
  if (scanner.at == scanner.end)
    return refuse(&scanner, "it is empty");
  if (*scanner.at != '{') {
    struct lm_span ignored;
    return read_raw(&scanner, &ignored) != 0 ? -1 : nothing_follows(&scanner);
  }
  if (!starts_as_ours(text, len)) {
    struct scanner first = scanner;
    struct marker marker = {false};
    if (each_member(&first, look_for_marker, &marker) != 0)
      return -1;
    if (!marker.found)
      return nothing_follows(&first);
  }
  struct reading reading = {.reply = reply};
  return each_member(&scanner, read_outer, &reading) != 0 ? -1 : nothing_follows(&scanner);
}

static int
read_aws_member(struct scanner *scanner, const struct lm_span *key, void *context)
{
  struct lm_aws_error *out = context;
  struct lm_span value;
  struct lm_span *place = is_key(key, "errorType")                               ? &out->error_type
                          : is_key(key, "errorMessage")                          ? &out->error_message
                          : is_key(key, "message") || is_key(key, "Message")     ? &out->message
                          : is_key(key, "Reason")                                ? &out->reason
                          : is_key(key, "__type") || is_key(key, "code") || is_key(key, "Code") ? &out->code
                                                                                 : NULL;
  bool escaped;
  skip_blanks(scanner);
  if (place == NULL || scanner->at == scanner->end || *scanner->at != '"')
    return read_raw(scanner, &value);
  return read_string(scanner, place, &escaped);
}

void
lm_envelope_read_aws_error(const char *text, size_t len, struct lm_aws_error *out)
{
  struct lm_error ignored;
  struct scanner scanner = {text, text, text + len, &ignored};
  memset(out, 0, sizeof *out);
  if (each_member(&scanner, read_aws_member, out) != 0 || nothing_follows(&scanner) != 0) {
    memset(out, 0, sizeof *out);
    return;
  }
  if (out->code.at != NULL) { /* "ns#Code:more" */
    const char *hash = memchr(out->code.at, '#', out->code.len);
    if (hash != NULL) {
      out->code.len -= (size_t)(hash + 1 - out->code.at);
      out->code.at = hash + 1;
    }
    const char *colon = memchr(out->code.at, ':', out->code.len);
    if (colon != NULL)
      out->code.len = (size_t)(colon - out->code.at);
  }
}
