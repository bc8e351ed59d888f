#include "http/http1.h"

#include <string.h>

#include "base/alloc.h"
#include "http/text.h"

enum state {
  STATUS_LINE,
  HEADER,
  BODY, /* Content-Length bytes */
  UNTIL_EOF,
  CHUNK_SIZE,
  CHUNK_DATA,
  CHUNK_END, /* the CR LF after a chunk; line_len counts the bytes read of it */
  TRAILER,
  COMPLETE,
  BAD
};

void
lm_http1_init(struct lm_http1 *reply)
{
  memset(reply, 0, sizeof *reply);
  lm_head_init(&reply->head);
  reply->state = STATUS_LINE;
}

void
lm_http1_clean_up(struct lm_http1 *reply)
{
  lm_free(reply->line);
  reply->line = NULL;
}

bool
lm_http1_started(const struct lm_http1 *reply)
{
  return reply->head_bytes > 0;
}

/* --- lines --- */

static uint64_t
http1_load(const char *text)
{
  uint64_t word;
  memcpy(&word, text, sizeof word);
  return word;
}

/* Whether a line contains no control character but tabs. Tests eight bytes at a time for one that is
 * below 0x20 or 0x7f. */
static bool
http1_is_text(const char *text, size_t len)
{
  const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
  size_t i = 0;
  for (; len - i >= 8; i += 8) {
    uint64_t word = http1_load(text + i), del = word ^ (ones * 0x7f);
    if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & tops)
      break;
  }
  for (; i < len; i++)
    if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
      return false;
  return true;
}

/* Whether a comma-separated list contains the word. */
static bool
http1_list_has(const char *text, size_t len, const char *word)
{
  for (size_t at = 0; at <= len;) {
    size_t end = at;
    while (end < len && text[end] != ',')
      end++;
    const char *part = text + at;
    size_t part_len = end - at;
    lm_text_trim(&part, &part_len);
    if (lm_text_is_word(part, part_len, word))
      return true;
    at = end + 1;
  }
  return false;
}

/* Characters of a header's name (RFC 9110 section 5.6.2), in lower case; 0 for any other. */
static const char name_char[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b',   ['C'] = 'c',
    ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',   ['J'] = 'j',
    ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p',   ['Q'] = 'q',
    ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w',   ['X'] = 'x',
    ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd',   ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',   ['l'] = 'l',
    ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',   ['s'] = 's',
    ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',   ['z'] = 'z',
};

static int
http1_read_status_line(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
      line[8] != ' ' || (len > 12 && line[12] != ' '))
    return lm_error_set(err, LM_E_FORMAT, "the reply does not start with an HTTP/1 status line");
  int64_t status = lm_text_to_number(line + 9, 3);
  if (status < 100 || status > 599)
    return lm_error_set(err, LM_E_FORMAT, "invalid status in the reply: expected 100 to 599");
  reply->http10 = line[7] == '0';
  reply->head.status = (int)status;
  reply->state = HEADER;
  return 0;
}

struct header {
  struct lm_field field;
  char name[32]; /* what field.name points to: truncated, which leaves it unknown */
};

static int
http1_split_header(const char *line, size_t len, struct header *header, struct lm_error *err)
{
  size_t n = 0;
  for (char c; n < len && (c = name_char[(unsigned char)line[n]]) != '\0'; n++)
    if (n < sizeof header->name)
      header->name[n] = c;
  if (n == 0 || n == len || line[n] != ':')
    return lm_error_set(err, LM_E_FORMAT, "invalid header line in the reply");
  header->field = (struct lm_field){
      .name = header->name,
      .name_len = n < sizeof header->name ? n : sizeof header->name,
      .value = line + n + 1,
      .value_len = len - n - 1,
  };
  lm_text_trim(&header->field.value, &header->field.value_len);
  return 0;
}

static int
http1_read_header(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  struct header header;
  if (http1_split_header(line, len, &header, err) != 0)
    return -1;
  const struct lm_field *field = &header.field;
  if (lm_field_is(field, "transfer-encoding")) {
    if (reply->chunked || !lm_text_is_word(field->value, field->value_len, "chunked"))
      return lm_error_set(err, LM_E_FORMAT,
                          "unsupported Transfer-Encoding in the reply: expected chunked");
    reply->chunked = true;
  } else if (lm_field_is(field, "connection")) {
    reply->said_close =
        reply->said_close || http1_list_has(field->value, field->value_len, "close");
    reply->said_keep_alive =
        reply->said_keep_alive || http1_list_has(field->value, field->value_len, "keep-alive");
  } else {
    return lm_head_read(&reply->head, field, err);
  }
  return 0;
}

static int
http1_skip_informational(struct lm_http1 *reply, struct lm_error *err)
{
  size_t bytes = reply->head_bytes;
  uint8_t seen = reply->informational;
  if (reply->head.status == 101)
    return lm_error_set(err, LM_E_FORMAT, "the peer switched to a protocol that was not requested");
  if (seen == LM_HEAD_MAX_INFORMATIONAL)
    return lm_error_set(err, LM_E_LIMIT, "more than %d informational (1xx) replies",
                        LM_HEAD_MAX_INFORMATIONAL);
  lm_http1_init(reply);
  reply->head_bytes = bytes;
  reply->informational = (uint8_t)(seen + 1);
  return 0;
}

static size_t
http1_room_in(const struct lm_buf *body)
{
  return body->len < body->max ? body->max - body->len : 0;
}

static int
http1_too_large(const struct lm_buf *body, struct lm_error *err)
{
  return lm_error_set(err, LM_E_LIMIT, "the reply's body is larger than %zu bytes", body->max);
}

/* The empty line after the headers: determine the body's length (RFC 9112 section 6.3). */
static int
http1_end_of_head(struct lm_http1 *reply, struct lm_buf *body, struct lm_error *err)
{
  if (reply->head.status < 200)
    return http1_skip_informational(reply, err);
  reply->head_done = true; /* even if the head is refused below: the status was read */
  if (reply->chunked && (reply->head.content_length >= 0 || reply->http10))
    return lm_error_set(err, LM_E_FORMAT,
                        "Transfer-Encoding is not allowed with Content-Length or HTTP/1.0");
  bool closes = reply->said_close || (reply->http10 && !reply->said_keep_alive);
  if (reply->head.status == 204 || reply->head.status == 304) {
    if (reply->chunked || (reply->head.status == 204 && reply->head.content_length > 0))
      return lm_error_set(err, LM_E_FORMAT, "a reply with status %d must not have a body",
                          reply->head.status);
    reply->state = COMPLETE;
  } else if (reply->chunked) {
    reply->state = CHUNK_SIZE;
  } else if (reply->head.content_length >= 0) {
    reply->left = (uint64_t)reply->head.content_length;
    if (reply->left > http1_room_in(body))
      return http1_too_large(body, err);
    if (reply->left > 0)
      lm_buf_reserve(body, reply->left < LM_HEAD_TRUSTED ? reply->left : LM_HEAD_TRUSTED);
    reply->state = reply->left == 0 ? COMPLETE : BODY;
  } else if (closes) {
    reply->state = UNTIL_EOF;
  } else {
    return lm_error_set(err, LM_E_FORMAT, "no Content-Length or Transfer-Encoding in the reply");
  }
  reply->keep_alive = !closes;
  return 0;
}

static int
http1_broken_chunks(struct lm_error *err)
{
  return lm_error_set(err, LM_E_FORMAT, "invalid chunked encoding in the reply");
}

/* Hexadecimal digits, perhaps followed by ';' and extensions, which are ignored. */
static int
http1_read_chunk_size(struct lm_http1 *reply, const char *line, size_t len,
                      const struct lm_buf *body, struct lm_error *err)
{
  uint64_t size = 0;
  size_t at = 0;
  for (; at < len; at++) {
    char c = lm_text_lower(line[at]);
    if (!lm_text_is_digit(c) && !(c >= 'a' && c <= 'f'))
      break;
    if (size >> 48 != 0)
      return http1_too_large(body, err);
    size = size * 16 + (uint64_t)(lm_text_is_digit(c) ? c - '0' : c - 'a' + 10);
  }
  if (at == 0)
    return http1_broken_chunks(err);
  while (at < len && lm_text_is_blank(line[at]))
    at++;
  if (at < len && line[at] != ';')
    return http1_broken_chunks(err);
  if (size > http1_room_in(body))
    return http1_too_large(body, err);
  reply->chunk_bytes += size;
  if (reply->framing_bytes > LM_HEAD_MAX_BYTES + 8 * reply->chunk_bytes)
    return lm_error_set(err, LM_E_LIMIT, "too many bytes of chunk sizes in the reply");
  reply->left = size;
  reply->state = size == 0 ? TRAILER : CHUNK_DATA;
  return 0;
}

/* Trailers are checked and ignored. */
static int
http1_read_trailer(struct lm_http1 *reply, const char *line, size_t len, struct lm_error *err)
{
  struct header header;
  if (len > 0)
    return http1_split_header(line, len, &header, err);
  reply->state = COMPLETE;
  return 0;
}

/* One line without its CR LF. */
static int
http1_take_line(struct lm_http1 *reply, const char *line, size_t len, struct lm_buf *body,
                struct lm_error *err)
{
  if (!http1_is_text(line, len))
    return lm_error_set(err, LM_E_FORMAT, "control character in the reply's header");
  switch (reply->state) {
  case STATUS_LINE:
    return http1_read_status_line(reply, line, len, err);
  case HEADER:
    return len == 0 ? http1_end_of_head(reply, body, err)
                    : http1_read_header(reply, line, len, err);
  case CHUNK_SIZE:
    return http1_read_chunk_size(reply, line, len, body, err);
  default:
    return http1_read_trailer(reply, line, len, err);
  }
}

/* A server of another protocol may never send a line end: check each byte as it arrives. */
static bool
http1_may_be_status_line(const struct lm_http1 *reply, const uint8_t *bytes, size_t n)
{
  static const char start[] = "HTTP/1.";
  for (size_t i = reply->line_len; i < sizeof start - 1 && n > 0; i++, n--)
    if (*bytes++ != (uint8_t)start[i])
      return false;
  return true;
}

/* Read one line, or a part of it. Returns the number of bytes taken, or -1. */
static ptrdiff_t
http1_feed_line(struct lm_http1 *reply, const uint8_t *bytes, size_t n, struct lm_buf *body,
                struct lm_error *err)
{
  const uint8_t *end = memchr(bytes, '\n', n);
  size_t len = end == NULL ? n : (size_t)(end - bytes) + 1;
  const char *line = (const char *)bytes;
  if (reply->state == STATUS_LINE && !http1_may_be_status_line(reply, bytes, n))
    return lm_error_set(err, LM_E_FORMAT, "the reply does not start with an HTTP/1 status line");
  if (len > LM_HEAD_MAX_LINE - reply->line_len)
    return lm_error_set(err, LM_E_LIMIT, "a line of the reply's header is longer than %d bytes",
                        LM_HEAD_MAX_LINE);
  if (reply->state == CHUNK_SIZE)
    reply->framing_bytes += len;
  else if ((reply->head_bytes += len) > LM_HEAD_MAX_BYTES)
    return lm_error_set(err, LM_E_LIMIT, "the reply's header is larger than %d bytes",
                        LM_HEAD_MAX_BYTES);
  size_t taken = len;
  char *held = NULL;
  if (reply->line_len > 0 || end == NULL) {
    if (reply->line == NULL && (reply->line = lm_alloc(LM_HEAD_MAX_LINE)) == NULL)
      return lm_error_nomem(err, LM_HEAD_MAX_LINE);
    memcpy(reply->line + reply->line_len, bytes, len);
    reply->line_len += len;
    if (end == NULL)
      return (ptrdiff_t)taken;
    line = held = reply->line;
    len = reply->line_len;
    reply->line = NULL;
    reply->line_len = 0;
  }
  int result;
  if (len < 2 || line[len - 2] != '\r')
    result = lm_error_set(err, LM_E_FORMAT, "a line of the reply does not end in CR LF");
  else
    result = http1_take_line(reply, line, len - 2, body, err);
  lm_free(held);
  return result == 0 ? (ptrdiff_t)taken : -1;
}

static ptrdiff_t
http1_feed_chunk_end(struct lm_http1 *reply, const uint8_t *bytes, size_t n, struct lm_error *err)
{
  size_t taken = 0;
  for (; taken < n && reply->line_len < 2; taken++)
    if (bytes[taken] != (uint8_t) "\r\n"[reply->line_len++])
      return http1_broken_chunks(err);
  if (reply->line_len == 2) {
    reply->line_len = 0;
    reply->state = CHUNK_SIZE;
  }
  return (ptrdiff_t)taken;
}

static ptrdiff_t
http1_feed_body(struct lm_http1 *reply, const uint8_t *bytes, size_t n, struct lm_buf *body)
{
  if (reply->state == UNTIL_EOF) {
    lm_buf_append(body, bytes, n);
    return (ptrdiff_t)n;
  }
  if (n > reply->left)
    n = (size_t)reply->left;
  lm_buf_append(body, bytes, n);
  reply->left -= n;
  if (reply->left == 0)
    reply->state = reply->state == BODY ? COMPLETE : CHUNK_END;
  return (ptrdiff_t)n;
}

enum lm_http1_state_out
lm_http1_feed(struct lm_http1 *reply, const uint8_t *bytes, size_t n, size_t *taken,
              struct lm_buf *body, struct lm_error *err)
{
  *taken = 0;
  if (reply->state == BAD) {
    lm_error_set(err, LM_E_FORMAT, "the reply is invalid");
    return LM_HTTP1_BAD;
  }
  while (*taken < n && reply->state != COMPLETE) {
    const uint8_t *next = bytes + *taken;
    size_t left = n - *taken;
    ptrdiff_t used;
    if (reply->state == BODY || reply->state == CHUNK_DATA || reply->state == UNTIL_EOF)
      used = http1_feed_body(reply, next, left, body);
    else if (reply->state == CHUNK_END)
      used = http1_feed_chunk_end(reply, next, left, err);
    else
      used = http1_feed_line(reply, next, left, body, err);
    if (used < 0 || lm_buf_check(body, "the reply's body", err) != 0) {
      reply->state = BAD;
      return LM_HTTP1_BAD;
    }
    *taken += (size_t)used;
  }
  return reply->state == COMPLETE ? LM_HTTP1_COMPLETE : LM_HTTP1_MORE;
}

uint8_t *
lm_http1_room(struct lm_http1 *reply, struct lm_buf *body, size_t *n)
{
  if (reply->state != BODY || reply->left <= LM_HTTP1_TAIL)
    return NULL;
  uint64_t most = reply->left - LM_HTTP1_TAIL;
  size_t room = most < LM_HEAD_TRUSTED / 4 ? (size_t)most : LM_HEAD_TRUSTED / 4;
  uint8_t *at = lm_buf_reserve(body, room);
  if (at != NULL)
    *n = room;
  return at;
}

void
lm_http1_filled(struct lm_http1 *reply, struct lm_buf *body, size_t n)
{
  body->len += n;
  reply->left -= n;
}

enum lm_http1_state_out
lm_http1_eof(struct lm_http1 *reply, struct lm_error *err)
{
  if (reply->state == COMPLETE)
    return LM_HTTP1_COMPLETE;
  if (reply->state == UNTIL_EOF) {
    reply->state = COMPLETE;
    return LM_HTTP1_COMPLETE;
  }
  lm_error_set(err, LM_E_FORMAT,
               reply->head_done
                   ? "the connection was closed before the reply was complete"
                   : "the connection was closed before the reply's header was complete");
  reply->state = BAD;
  return LM_HTTP1_BAD;
}
