#include "wire/http1.h"

#include <string.h>

enum state {
  STATUS_LINE,
  HEADER,
  BODY,       /* Content-Length bytes */
  UNTIL_EOF,
  CHUNK_SIZE,
  CHUNK_DATA,
  CHUNK_END,  /* the CRLF behind a chunk */
  TRAILER,
  COMPLETE,
  BAD
};

void
lm_http1_init(struct lm_http1 *reply)
{
  memset(reply, 0, offsetof(struct lm_http1, line));
  reply->content_length = reply->retry_after_ms = reply->date_s = -1;
  reply->state = STATUS_LINE;
}

bool
lm_http1_started(const struct lm_http1 *reply)
{
  return reply->head_bytes > 0;
}

/* --- small readers --- */

static bool
is_digit(char c)
{
  return c >= '0' && c <= '9';
}

static char
lower(char c)
{
  return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool
same_text(const char *text, size_t len, const char *word)
{
  size_t i = 0;
  for (; i < len && word[i] != '\0'; i++)
    if (lower(text[i]) != word[i])
      return false;
  return i == len && word[i] == '\0';
}

/* Decimal digits only, at most 15 of them; -1 for anything else. */
static int64_t
read_number(const char *text, size_t len)
{
  int64_t n = 0;
  if (len == 0 || len > 15)
    return -1;
  for (size_t i = 0; i < len; i++) {
    if (!is_digit(text[i]))
      return -1;
    n = n * 10 + (text[i] - '0');
  }
  return n;
}

static void
keep_text(char *to, size_t size, const char *text, size_t len)
{
  if (len >= size)
    len = size - 1;
  memcpy(to, text, len);
  to[len] = '\0';
}

/* Whether a comma-separated list holds the word. */
static bool
list_has(const char *text, size_t len, const char *word)
{
  for (size_t at = 0; at <= len;) {
    size_t end = at;
    while (end < len && text[end] != ',')
      end++;
    size_t from = at, to = end;
    while (from < to && (text[from] == ' ' || text[from] == '\t'))
      from++;
    while (to > from && (text[to - 1] == ' ' || text[to - 1] == '\t'))
      to--;
    if (same_text(text + from, to - from, word))
      return true;
    at = end + 1;
  }
  return false;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", the only form that a sender may use; -1 for any other. */
static int64_t
read_date(const char *text, size_t len)
{
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (len != 29 || memcmp(text + 25, " GMT", 4) != 0 || text[19] != ':' || text[22] != ':')
    return -1;
  int64_t day = read_number(text + 5, 2), year = read_number(text + 12, 4);
  int64_t hour = read_number(text + 17, 2), minute = read_number(text + 20, 2);
  int64_t second = read_number(text + 23, 2), month = 0;
  while (month < 12 && memcmp(months + 3 * month, text + 8, 3) != 0)
    month++;
  if (day < 1 || day > 31 || year < 1970 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60 || month == 12)
    return -1;
  /* Days since 1970-01-01 in the Gregorian calendar, the year counted from March. */
  int64_t m = (month + 10) % 12, y = year - (month < 2);
  int64_t days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719468;
  return days * 86400 + hour * 3600 + minute * 60 + second;
}

/* --- lines --- */

static int
read_status_line(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
      line[8] != ' ' || (len > 12 && line[12] != ' '))
    return lm_error_set(err, LM_E_FORMAT, "the reply does not begin with an HTTP/1 status line");
  int64_t status = read_number(line + 9, 3);
  if (status < 100 || status > 599)
    return lm_error_set(err, LM_E_FORMAT, "the reply's status is no number from 100 to 599");
  reply->http10 = line[7] == '0';
  reply->status = (int)status;
  reply->state = HEADER;
  return 0;
}

static void
keep_error_type(struct lm_http1 *reply, const char *text, size_t len)
{
  const char *colon = memchr(text, ':', len);
  if (colon != NULL)
    len = (size_t)(colon - text);
  const char *hash = memchr(text, '#', len);
  if (hash != NULL) {
    len -= (size_t)(hash + 1 - text);
    text = hash + 1;
  }
  keep_text(reply->error_type, sizeof reply->error_type, text, len);
}

static int
read_content_length(struct lm_http1 *reply, const char *text, size_t len, struct lm_error *err)
{
  int64_t length = read_number(text, len);
  if (length < 0 || (reply->seen_length && length != reply->content_length))
    return lm_error_set(err, LM_E_FORMAT, "the reply's Content-Length is not one number");
  reply->seen_length = true;
  reply->content_length = length;
  return 0;
}

static int
read_header(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  const char *colon = memchr(line, ':', len);
  if (colon == NULL || colon == line || line[0] == ' ' || line[0] == '\t' || colon[-1] == ' ' ||
      colon[-1] == '\t')
    return lm_error_set(err, LM_E_FORMAT, "the reply holds a line that is no header");
  size_t name_len = (size_t)(colon - line);
  const char *value = colon + 1;
  size_t value_len = len - name_len - 1;
  while (value_len > 0 && (*value == ' ' || *value == '\t'))
    value++, value_len--;
  while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
    value_len--;
#define IS(word) (name_len == sizeof(word) - 1 && same_text(line, name_len, word))
  if (IS("content-length"))
    return read_content_length(reply, value, value_len, err);
  if (IS("transfer-encoding")) {
    if (reply->seen_encoding || !same_text(value, value_len, "chunked"))
      return lm_error_set(err, LM_E_FORMAT, "the reply's Transfer-Encoding is not chunked");
    reply->seen_encoding = reply->chunked = true;
  } else if (IS("connection")) {
    reply->said_close = reply->said_close || list_has(value, value_len, "close");
    reply->said_keep_alive = reply->said_keep_alive || list_has(value, value_len, "keep-alive");
  } else if (IS("content-encoding")) {
    reply->content_encoded = !same_text(value, value_len, "identity");
  } else if (IS("x-amzn-requestid")) {
    keep_text(reply->request_id, sizeof reply->request_id, value, value_len);
  } else if (IS("x-amzn-errortype")) {
    keep_error_type(reply, value, value_len);
  } else if (IS("x-amz-function-error")) {
    reply->has_function_error = true;
    keep_text(reply->function_error, sizeof reply->function_error, value, value_len);
  } else if (IS("x-amz-executed-version")) {
    keep_text(reply->executed_version, sizeof reply->executed_version, value, value_len);
  } else if (IS("x-amz-retry-after")) {
    reply->retry_after_ms = read_number(value, value_len);
  } else if (IS("retry-after")) {
    int64_t seconds = read_number(value, value_len);
    if (seconds >= 0 && reply->retry_after_ms < 0)
      reply->retry_after_ms = seconds > INT32_MAX ? (int64_t)INT32_MAX * 1000 : seconds * 1000;
  } else if (IS("date")) {
    reply->date_s = read_date(value, value_len);
  } else if (IS("age")) {
    reply->has_age = true;
  } else if (IS("location")) {
    keep_text(reply->location, sizeof reply->location, value, value_len);
  }
#undef IS
  return 0;
}

static int
end_of_head(struct lm_http1 *reply, struct lm_error *err)
{
  if (reply->status == 101)
    return lm_error_set(err, LM_E_FORMAT, "the peer wants another protocol, which was not asked for");
  if (reply->status < 200) {
    size_t bytes = reply->head_bytes;
    uint8_t seen = reply->informational;
    if (seen == LM_HTTP1_MAX_INFORMATIONAL)
      return lm_error_set(err, LM_E_LIMIT, "more than %d informational replies",
                          LM_HTTP1_MAX_INFORMATIONAL);
    lm_http1_init(reply);
    reply->head_bytes = bytes;
    reply->informational = (uint8_t)(seen + 1);
    return 0;
  }
  if (reply->chunked && (reply->seen_length || reply->http10))
    return lm_error_set(err, LM_E_FORMAT, "the reply is chunked and must not be");
  reply->head_done = true;
  reply->keep_alive = !reply->said_close && (!reply->http10 || reply->said_keep_alive);
  if (reply->status == 204 || reply->status == 304) {
    reply->state = COMPLETE;
  } else if (reply->chunked) {
    reply->state = CHUNK_SIZE;
  } else if (reply->seen_length) {
    reply->left = (uint64_t)reply->content_length;
    reply->state = reply->left == 0 ? COMPLETE : BODY;
  } else {
    reply->keep_alive = false;
    reply->state = UNTIL_EOF;
  }
  return 0;
}

static int
read_chunk_size(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  uint64_t size = 0;
  size_t at = 0;
  for (; at < len; at++) {
    char c = lower(line[at]);
    unsigned digit = is_digit(c) ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
    if (digit == 16)
      break;
    if (at >= 12)
      return lm_error_set(err, LM_E_LIMIT, "the reply holds a chunk of an absurd size");
    size = size * 16 + digit;
  }
  if (at == 0 || (at < len && line[at] != ';' && line[at] != ' ' && line[at] != '\t'))
    return lm_error_set(err, LM_E_FORMAT, "the reply's chunked coding is broken");
  reply->left = size;
  reply->state = size == 0 ? TRAILER : CHUNK_DATA;
  return 0;
}

/* One line without its CRLF. */
static int
take_line(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  if (memchr(line, '\0', len) != NULL || memchr(line, '\r', len) != NULL)
    return lm_error_set(err, LM_E_FORMAT, "the reply's head holds a control byte");
  switch (reply->state) {
  case STATUS_LINE:
    return read_status_line(reply, line, len, err);
  case HEADER:
    return len == 0 ? end_of_head(reply, err) : read_header(reply, line, len, err);
  case CHUNK_SIZE:
    return read_chunk_size(reply, line, len, err);
  case CHUNK_END:
    if (len != 0)
      return lm_error_set(err, LM_E_FORMAT, "the reply's chunked coding is broken");
    reply->state = CHUNK_SIZE;
    return 0;
  default: /* TRAILER: read and not believed */
    if (len == 0)
      reply->state = COMPLETE;
    return 0;
  }
}

/* Collect one line out of the next bytes. Returns the bytes taken, or -1. */
static ptrdiff_t
feed_line(struct lm_http1 *reply, const uint8_t *bytes, size_t n, struct lm_error *err)
{
  const uint8_t *end = memchr(bytes, '\n', n);
  size_t len = end == NULL ? n : (size_t)(end - bytes);
  size_t taken = end == NULL ? n : len + 1;
  const char *line = (const char *)bytes;
  reply->head_bytes += taken;
  if (reply->head_bytes > LM_HTTP1_MAX_HEAD && reply->state != CHUNK_SIZE && reply->state != CHUNK_END)
    return lm_error_set(err, LM_E_LIMIT, "the reply's head is larger than %d bytes",
                        LM_HTTP1_MAX_HEAD);
  if (reply->line_len > 0 || end == NULL) {
    if (len > LM_HTTP1_MAX_LINE - reply->line_len)
      return lm_error_set(err, LM_E_LIMIT, "a line of the reply's head is longer than %d bytes",
                          LM_HTTP1_MAX_LINE);
    memcpy(reply->line + reply->line_len, bytes, len);
    reply->line_len += len;
    if (end == NULL)
      return (ptrdiff_t)taken;
    line = reply->line;
    len = reply->line_len;
    reply->line_len = 0;
  } else if (len > LM_HTTP1_MAX_LINE) {
    return lm_error_set(err, LM_E_LIMIT, "a line of the reply's head is longer than %d bytes",
                        LM_HTTP1_MAX_LINE);
  }
  if (len == 0 || line[len - 1] != '\r')
    return lm_error_set(err, LM_E_FORMAT, "a line of the reply does not end in CR LF");
  return take_line(reply, line, len - 1, err) == 0 ? (ptrdiff_t)taken : -1;
}

enum lm_http1_state_out
lm_http1_feed(struct lm_http1 *reply, const uint8_t *bytes, size_t n, size_t *taken,
              struct lm_buf *body, struct lm_error *err)
{
  size_t at = 0;
  *taken = 0;
  while (at < n && reply->state != COMPLETE) {
    if (reply->state == BAD) {
      lm_error_set(err, LM_E_FORMAT, "the reply is broken");
      return LM_HTTP1_BAD;
    }
    if (reply->state == BODY || reply->state == CHUNK_DATA || reply->state == UNTIL_EOF) {
      size_t some = n - at;
      if (reply->state != UNTIL_EOF && some > reply->left)
        some = (size_t)reply->left;
      lm_buf_append(body, bytes + at, some);
      if (lm_buf_check(body, "the reply's body", err) != 0)
        goto bad;
      at += some;
      if (reply->state != UNTIL_EOF && (reply->left -= some) == 0)
        reply->state = reply->state == BODY ? COMPLETE : CHUNK_END;
      continue;
    }
    ptrdiff_t used = feed_line(reply, bytes + at, n - at, err);
    if (used < 0)
      goto bad;
    at += (size_t)used;
  }
  *taken = at;
  return reply->state == COMPLETE ? LM_HTTP1_COMPLETE : LM_HTTP1_MORE;

bad:
  reply->state = BAD;
  *taken = at;
  return LM_HTTP1_BAD;
}

enum lm_http1_state_out
lm_http1_eof(struct lm_http1 *reply, struct lm_error *err)
{
  if (reply->state == COMPLETE)
    return LM_HTTP1_COMPLETE;
  if (reply->state == UNTIL_EOF && reply->said_close) {
    reply->state = COMPLETE;
    return LM_HTTP1_COMPLETE;
  }
  lm_error_set(err, LM_E_FORMAT,
               reply->head_done ? "the connection was closed before the reply was complete"
                                : "the connection was closed before the reply's head was complete");
  reply->state = BAD;
  return LM_HTTP1_BAD;
}
