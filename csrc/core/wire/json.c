#include "wire/json.h"

#include <string.h>

void
lm_json_init(struct lm_json *json, const char *text, size_t len, struct lm_error *err)
{
  if (len == 0)
    text = "";
  *json = (struct lm_json){text, text, text + len, 0, err};
}

int
lm_json_refuse(struct lm_json *json, const char *why)
{
  size_t offset = (size_t)(json->at - json->start);
  return lm_error_at(json->err, LM_E_FORMAT, offset, "malformed reply at byte %zu: %s", offset,
                     why);
}

static void
json_skip_blanks(struct lm_json *json)
{
  while (json->at < json->end &&
         (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r'))
    json->at++;
}

bool
lm_json_at(struct lm_json *json, char c)
{
  json_skip_blanks(json);
  return json->at < json->end && *json->at == c;
}

bool
lm_json_next_is(struct lm_json *json, char c)
{
  if (!lm_json_at(json, c))
    return false;
  json->at++;
  return true;
}

bool
lm_json_is(const struct lm_span *span, const char *text)
{
  size_t len = strlen(text);
  return span->at != NULL && span->len == len && memcmp(span->at, text, len) == 0;
}

int
lm_json_end(struct lm_json *json)
{
  json_skip_blanks(json);
  return json->at == json->end ? 0 : lm_json_refuse(json, "extra data after the value");
}

/* --- strings --- */

static int
json_hex_value(char c)
{
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* The UTF-16 unit of the four hex digits at `at`, or -1. */
static int
json_read_unit(const char *at, const char *end)
{
  int unit = 0;
  if (end - at < 4)
    return -1;
  for (int i = 0; i < 4; i++) {
    int digit = json_hex_value(at[i]);
    if (digit < 0)
      return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

/* The character of the \u escape whose first hex digit is at *at, moved past it (and past its
 * second half); -1 if it is invalid. */
static int32_t
json_read_escaped(const char **at, const char *end)
{
  int unit = json_read_unit(*at, end);
  if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
    return -1;
  const char *rest = *at + 4;
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    if (end - rest < 6 || rest[0] != '\\' || rest[1] != 'u')
      return -1;
    int low = json_read_unit(rest + 2, end);
    if (low < 0xDC00 || low > 0xDFFF)
      return -1;
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    rest += 6;
  }
  *at = rest;
  return unit;
}

static int
json_skip_escape(struct lm_json *json)
{
  json->at++; /* the backslash */
  if (json->at == json->end)
    return lm_json_refuse(json, "unterminated string");
  char c = *json->at++;
  if (c == 'u')
    return json_read_escaped(&json->at, json->end) >= 0
               ? 0
               : lm_json_refuse(json, "invalid \\u escape");
  return c != '\0' && strchr("\"\\/bfnrt", c) != NULL ? 0 : lm_json_refuse(json, "invalid escape");
}

/* Bytes of the UTF-8 character at `text` (2 to 4), or 0 if it is invalid: overlong forms, surrogates
 * and values above U+10FFFF are. */
static int
json_multibyte_len(const char *text, const char *end)
{
  const unsigned char *at = (const unsigned char *)text;
  int n = at[0] >= 0xC2 && at[0] <= 0xDF   ? 2
          : at[0] >= 0xE0 && at[0] <= 0xEF ? 3
          : at[0] >= 0xF0 && at[0] <= 0xF4 ? 4
                                           : 0;
  if (n == 0 || end - text < n)
    return 0;
  for (int i = 1; i < n; i++)
    if ((at[i] & 0xC0) != 0x80)
      return 0;
  bool good = !(at[0] == 0xE0 && at[1] < 0xA0) && !(at[0] == 0xED && at[1] > 0x9F) &&
              !(at[0] == 0xF0 && at[1] < 0x90) && !(at[0] == 0xF4 && at[1] > 0x8F);
  return good ? n : 0;
}

typedef signed char lanes __attribute__((vector_size(16)));

/* Non-zero in the lanes that need a closer look: a quote, a backslash, a control byte or part of a
 * multi-byte character (these are negative). */
static lanes
json_special(const char *at)
{
  lanes text;
  memcpy(&text, at, sizeof text);
  return (lanes)((text < 0x20) | (text == '"') | (text == '\\'));
}

static bool
json_any(lanes mask)
{
  uint64_t halves[2];
  memcpy(halves, &mask, sizeof halves);
  return (halves[0] | halves[1]) != 0;
}

/* The first byte that needs a closer look, or end. Most text is base64, so 32 bytes are tested at
 * once. */
static const char *
json_skip_ordinary(const char *at, const char *end)
{
  while (end - at >= 32 && !json_any(json_special(at) | json_special(at + 16)))
    at += 32;
  if (end - at >= 16 && !json_any(json_special(at)))
    at += 16;
  while (at < end && (signed char)*at >= 0x20 && *at != '"' && *at != '\\')
    at++;
  return at;
}

static int
json_read_string(struct lm_json *json, struct lm_span *span, bool *escaped)
{
  if (!lm_json_next_is(json, '"'))
    return lm_json_refuse(json, "expected a string");
  span->at = json->at;
  *escaped = false;
  for (;;) {
    json->at = json_skip_ordinary(json->at, json->end);
    if (json->at == json->end)
      return lm_json_refuse(json, "unterminated string");
    unsigned char c = (unsigned char)*json->at;
    if (c == '"') {
      span->len = (size_t)(json->at - span->at);
      json->at++;
      return 0;
    }
    if (c == '\\') {
      *escaped = true;
      if (json_skip_escape(json) != 0)
        return -1;
    } else if (c >= 0x80) {
      int n = json_multibyte_len(json->at, json->end);
      if (n == 0)
        return lm_json_refuse(json, "string is not UTF-8");
      json->at += n;
    } else {
      return lm_json_refuse(json, "unescaped control character in a string");
    }
  }
}

int
lm_json_read_string(struct lm_json *json, struct lm_span *span)
{
  bool escaped;
  return json_read_string(json, span, &escaped);
}

int
lm_json_read_unescaped(struct lm_json *json, struct lm_span *span)
{
  bool escaped;
  if (json_read_string(json, span, &escaped) != 0)
    return -1;
  return escaped ? lm_json_refuse(json, "escapes are not allowed here") : 0;
}

/* --- numbers and words --- */

/* Skip digits; return their number. */
static size_t
json_skip_digits(struct lm_json *json)
{
  const char *from = json->at;
  while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
    json->at++;
  return (size_t)(json->at - from);
}

static bool
json_skip_char(struct lm_json *json, char c)
{
  if (json->at == json->end || *json->at != c)
    return false;
  json->at++;
  return true;
}

/* Whether digits, the first of which has the weight 10^308, make a finite double; they may contain a
 * decimal point. */
static bool
json_is_finite(const char *at, const char *end)
{
  static const char most[] = "17976931348623157"; /* of DBL_MAX; what follows is rounded */
  for (size_t i = 0; most[i] != '\0'; at++) {
    if (at < end && *at == '.')
      continue;
    char digit = at < end && *at >= '0' && *at <= '9' ? *at : '0';
    if (digit != most[i])
      return digit < most[i];
    if (at == end)
      at--; /* zeros follow */
    i++;
  }
  return true;
}

/* Skip what follows the 'e' of a number; *exponent is 0 if negative. */
static int
json_skip_exponent(struct lm_json *json, size_t *exponent)
{
  bool negative = json_skip_char(json, '-');
  if (!negative)
    (void)json_skip_char(json, '+');
  const char *from = json->at;
  size_t n = json_skip_digits(json);
  if (n == 0)
    return lm_json_refuse(json, "invalid number");
  if (n > 4)
    return lm_json_refuse(json, "number out of range");
  for (size_t i = 0; i < n && !negative; i++)
    *exponent = *exponent * 10 + (size_t)(from[i] - '0');
  return 0;
}

static int
json_skip_number(struct lm_json *json)
{
  (void)json_skip_char(json, '-');
  const char *first = json->at;
  size_t digits = json_skip_digits(json), exponent = 0;
  if (digits == 0 || (*first == '0' && digits > 1))
    return lm_json_refuse(json, "invalid number");
  bool has_point = json_skip_char(json, '.');
  if (has_point && json_skip_digits(json) == 0)
    return lm_json_refuse(json, "invalid number");
  const char *end = json->at;
  bool has_exponent = json_skip_char(json, 'e') || json_skip_char(json, 'E');
  if (has_exponent && json_skip_exponent(json, &exponent) != 0)
    return -1;
  if (!has_point && !has_exponent)
    return digits <= LM_JSON_MAX_DIGITS ? 0 : lm_json_refuse(json, "integer has too many digits");
  size_t before_point = (*first == '0' ? 0 : digits) + exponent;
  bool fits =
      before_point <= 308 || (before_point == 309 && *first != '0' && json_is_finite(first, end));
  return fits ? 0 : lm_json_refuse(json, "number out of range");
}

static int
json_skip_word(struct lm_json *json)
{
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < 3; i++) {
    size_t n = strlen(words[i]);
    if ((size_t)(json->end - json->at) >= n && memcmp(json->at, words[i], n) == 0) {
      json->at += n;
      return 0;
    }
  }
  return lm_json_refuse(json, "expected a value");
}

int
lm_json_read_uint(struct lm_json *json, uint64_t max, uint64_t *number)
{
  struct lm_span span;
  if (lm_json_read_raw(json, &span) != 0)
    return -1;
  *number = 0;
  for (size_t i = 0; i < span.len; i++) {
    if (span.at[i] < '0' || span.at[i] > '9' || i == 19)
      return lm_json_refuse(json, "expected an integer without a sign");
    *number = *number * 10 + (uint64_t)(span.at[i] - '0');
  }
  return *number <= max ? 0 : lm_json_refuse(json, "number out of range");
}

/* --- values --- */

static int
json_enter(struct lm_json *json)
{
  if (json->depth == LM_JSON_MAX_DEPTH)
    return lm_json_refuse(json, "nested too deeply");
  json->depth++;
  json->at++;
  return 0;
}

static int
json_read_key(struct lm_json *json, struct lm_span *key)
{
  if (lm_json_read_string(json, key) != 0)
    return -1;
  return lm_json_next_is(json, ':') ? 0 : lm_json_refuse(json, "expected ':'");
}

/* A value that is not an array or object; its first character is at json->at. */
static int
json_skip_scalar(struct lm_json *json)
{
  struct lm_span ignored;
  char c = *json->at;
  if (c == '"')
    return lm_json_read_string(json, &ignored);
  if (c == '-' || (c >= '0' && c <= '9'))
    return json_skip_number(json);
  return json_skip_word(json);
}

/* Not recursive: each open level is one bit of is_object. */
static int
json_skip_value(struct lm_json *json)
{
  uint64_t is_object = 0; /* the innermost level in the lowest bit */
  const unsigned outside = json->depth;
  struct lm_span ignored;
  for (;;) {
    bool opened = lm_json_at(json, '{') || lm_json_at(json, '[');
    if (json->at == json->end)
      return lm_json_refuse(json, json->at == json->start ? "no content" : "truncated");
    if (opened) {
      is_object = is_object << 1 | (*json->at == '{');
      if (json_enter(json) != 0)
        return -1;
    } else if (json_skip_scalar(json) != 0) {
      return -1;
    }
    while (json->depth > outside && lm_json_next_is(json, is_object & 1 ? '}' : ']')) {
      json->depth--;
      is_object >>= 1;
      opened = false;
    }
    if (json->depth == outside)
      return 0;
    if (!opened && !lm_json_next_is(json, ','))
      return lm_json_refuse(json, "expected ',' or a closing bracket");
    if ((is_object & 1) && json_read_key(json, &ignored) != 0)
      return -1;
  }
}

int
lm_json_read_raw(struct lm_json *json, struct lm_span *span)
{
  json_skip_blanks(json);
  span->at = json->at;
  if (json_skip_value(json) != 0)
    return -1;
  span->len = (size_t)(json->at - span->at);
  return 0;
}

int
lm_json_each_member(struct lm_json *json,
                    int (*member)(struct lm_json *json, const struct lm_span *key, void *context),
                    void *context)
{
  if (!lm_json_at(json, '{'))
    return lm_json_refuse(json, "expected an object");
  if (json_enter(json) != 0)
    return -1;
  if (!lm_json_next_is(json, '}')) {
    do {
      struct lm_span key;
      if (json_read_key(json, &key) != 0 || member(json, &key, context) != 0)
        return -1;
    } while (lm_json_next_is(json, ','));
    if (!lm_json_next_is(json, '}'))
      return lm_json_refuse(json, "expected ',' or '}'");
  }
  json->depth--;
  return 0;
}

/* --- weight --- */

/* Bytes that CPython's objects take, rounded up. */
enum {
  WEIGHT_ARRAY = 112, /* with room for four */
  WEIGHT_ITEM = 9,    /* a slot in an array, including over-allocation */
  WEIGHT_OBJECT = 64,
  WEIGHT_MEMBERS = 184, /* room for five */
  WEIGHT_MEMBER = 80,   /* each one beyond those */
  WEIGHT_NUMBER = 32,
  WEIGHT_STRING = 80
};

static size_t
json_plus(size_t sum, size_t more)
{
  return more > SIZE_MAX - sum ? SIZE_MAX : sum + more;
}

/* Moves *at to the closing quote. One wide character makes all characters of the string wide. */
static size_t
json_string_weight(const char **at, const char *end)
{
  bool wide = false;
  const char *from = ++*at;
  for (; *at < end && **at != '"'; ++*at) {
    wide = wide || (signed char)**at < 0 || **at == '\\';
    if (**at == '\\' && end - *at > 1)
      ++*at;
  }
  size_t len = (size_t)(*at - from);
  return json_plus(WEIGHT_STRING, wide ? (len > SIZE_MAX / 4 ? SIZE_MAX : 4 * len) : len);
}

/* Moves *at to the last character of the number. */
static size_t
json_number_weight(const char **at, const char *end)
{
  const char *from = *at;
  while (end - *at > 1 && strchr("+-.0123456789Ee", (*at)[1]) != NULL && (*at)[1] != '\0')
    ++*at;
  return WEIGHT_NUMBER + (size_t)(*at - from) / 2;
}

size_t
lm_json_weight(const struct lm_span *value)
{
  uint8_t room[LM_JSON_MAX_DEPTH] = {0}; /* of each open object: 6 at first; 0: an array */
  unsigned depth = 0;
  size_t sum = 0;
  const char *end = value->at + value->len;
  for (const char *at = value->at; at < end; at++) {
    char c = *at;
    if (c == '"') {
      sum = json_plus(sum, json_string_weight(&at, end));
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      sum = json_plus(sum, json_number_weight(&at, end));
    } else if (c == '[' || c == '{') {
      if (depth == LM_JSON_MAX_DEPTH)
        return SIZE_MAX;
      room[depth++] = c == '{' ? 6 : 0;
      sum = json_plus(sum, c == '{' ? WEIGHT_OBJECT : WEIGHT_ARRAY);
    } else if (c == ']' || c == '}') {
      depth -= depth > 0;
    } else if (c == ',' && depth > 0 && room[depth - 1] == 0) {
      sum = json_plus(sum, WEIGHT_ITEM);
    } else if (c == ':' && depth > 0 && room[depth - 1] > 0) {
      uint8_t *left = &room[depth - 1];
      sum = json_plus(sum, *left == 6 ? WEIGHT_MEMBERS : *left == 1 ? WEIGHT_MEMBER : 0);
      *left -= *left > 1;
    }
  }
  return sum;
}

/* --- text to show --- */

static bool
json_is_shown(int32_t c)
{
  return c == '\t' || c == '\n' || (c >= 0x20 && c != 0x7f);
}

static int
json_write_utf8(int32_t c, char out[4])
{
  if (c < 0x80) {
    out[0] = json_is_shown(c) ? (char)c : '?';
    return 1;
  }
  int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (int i = n - 1; i > 0; i--, c >>= 6)
    out[i] = (char)(0x80 | (c & 0x3F));
  out[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
  return n;
}

/* The character at *at, which is moved past it; '?' if it is invalid. */
static int
json_next_char(const char **at, const char *end, char out[4])
{
  static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/??\n?\t";
  const char *from = *at;
  if ((signed char)*from < 0) {
    int n = json_multibyte_len(from, end);
    memcpy(out, n > 0 ? from : "?", n > 0 ? (size_t)n : 1);
    *at = from + (n > 0 ? n : 1);
    return n > 0 ? n : 1;
  }
  if (*from == '\\' && end - from >= 2) {
    const char *name = from[1] == '\0' ? NULL : strchr(names, from[1]);
    if (name != NULL) {
      out[0] = meant[name - names];
      *at = from + 2;
      return 1;
    }
    const char *digits = from + 2;
    int32_t c = from[1] == 'u' ? json_read_escaped(&digits, end) : -1;
    if (c >= 0) {
      *at = digits;
      return json_write_utf8(c, out);
    }
  }
  *at = from + 1;
  return json_write_utf8(*from, out);
}

size_t
lm_json_text(const struct lm_span *span, char *text, size_t size)
{
  size_t len = 0;
  if (size == 0)
    return 0;
  if (span->at != NULL) {
    for (const char *at = span->at, *end = at + span->len; at < end;) {
      char one[4];
      size_t n = (size_t)json_next_char(&at, end, one);
      if (n > size - 1 - len)
        break;
      memcpy(text + len, one, n);
      len += n;
    }
  }
  text[len] = '\0';
  return len;
}
