#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "fiber.h"
#include "http/http1.h"
#include "lambda.h"
#include "os.h"
#include "record.h"
#include "wire/frame.h"

struct sim_reply_options sim_reply;

/* A run that holds more than this in its memory has no more large replies. */
enum { MUCH_BYTES = 16 << 20 };

static struct lm_coder *coder; /* the world's own, never freed */

/* --- text --- */

struct text {
  char *at; /* in the run's memory */
  size_t len, room;
};

static char *
extend(struct text *text, size_t n)
{
  if (text->len + n > text->room) {
    size_t room = text->len + n + (n > 4096 ? 600 : text->len + 500);
    char *at = sim_memory(room);
    if (text->len > 0)
      memcpy(at, text->at, text->len);
    text->at = at;
    text->room = room;
  }
  char *end = text->at + text->len;
  text->len += n;
  return end;
}

static void
add_bytes(struct text *text, const void *bytes, size_t n)
{
  if (n > 0)
    memcpy(extend(text, n), bytes, n);
}

static void
add(struct text *text, const char *string)
{
  add_bytes(text, string, strlen(string));
}

static void
add_number(struct text *text, uint64_t n)
{
  char digits[20];
  size_t at = sizeof digits;
  do
    digits[--at] = (char)('0' + n % 10);
  while ((n /= 10) > 0);
  add_bytes(text, digits + at, sizeof digits - at);
}

static void
add_fill(struct text *text, char c, size_t n)
{
  memset(extend(text, n), c, n);
}

/* --- payloads --- */

size_t
sim_payload_name(char name[48], unsigned map, uint64_t first_item, uint32_t n_items)
{
  return (size_t)snprintf(name, 48, "<%u:%llu+%u>", map, (unsigned long long)first_item, n_items);
}

bool
sim_payload_is_own(const struct sim_call *call, const char *payload, size_t len)
{
  char name[48];
  struct lm_buf frame;
  struct lm_error err;
  struct lm_frame_limits limits = LM_FRAME_LIMITS_DEFAULT;
  size_t estimate, n = sim_payload_name(name, call->map, call->first_item, call->n_items);
  if (call->form != SIM_FRAME)
    return memmem(payload, len < 100 ? len : 100, name, n) != NULL;
  sim_feed();
  lm_buf_init(&frame, 64 << 20);
  bool own = lm_frame_from_text(coder, payload, len, &limits, &frame, &estimate, &err) == 0 &&
             memmem(frame.data, frame.len < 200 ? frame.len : 200, name, n) != NULL;
  lm_buf_clean_up(&frame);
  sim_starve_again();
  return own;
}

/* A frame of one string, as text; `first`: its first byte. */
static void
add_frame(struct text *body, const struct text *string, uint8_t first)
{
  struct text structure = {0}, raw = {0};
  struct lm_buf text;
  struct lm_error err;
  uint8_t head[5] = {first, (uint8_t)(string->len >> 24), (uint8_t)(string->len >> 16),
                     (uint8_t)(string->len >> 8), (uint8_t)string->len};
  add_bytes(&structure, head, sizeof head);
  add_bytes(&structure, string->at, string->len);
  struct lm_frame_view view = {.structure = (uint8_t *)structure.at,
                               .structure_len = structure.len};
  size_t n = lm_frame_joined_len(&view);
  lm_frame_join(&view, (uint8_t *)extend(&raw, n));
  sim_feed();
  lm_buf_init(&text, 64 << 20);
  if (lm_frame_to_text(coder, (uint8_t *)raw.at, raw.len, false, &text, &err) != 0)
    record_must(NULL);
  add_bytes(body, text.data, text.len);
  lm_buf_clean_up(&text);
  sim_starve_again();
}

void
sim_reply_prepare(void)
{
  static char letters[2000];
  struct text string = {letters, sizeof letters, sizeof letters}, body = {0};
  coder = record_must(lm_coder_new());
  memset(letters, 'x', sizeof letters);
  add_frame(&body, &string, 0xdb);
  struct sim_call call = {.form = SIM_FRAME};
  (void)sim_payload_is_own(&call, body.at, body.len);
}

/* --- bodies --- */

static void
add_results(struct text *body, const struct sim_call *call)
{
  for (uint32_t i = 0; i < call->done; i++) {
    add(body, i == 0 ? "{\"map\":" : ",{\"map\":");
    add_number(body, call->map);
    add(body, ",\"item\":");
    add_number(body, call->first_item + i);
    add(body, ",\"run\":");
    add_number(body, *sim_runs(call->map, call->first_item + i));
    add(body, "}");
  }
}

enum lie {
  NO_LIE,
  OTHER_PROTOCOL,
  OTHER_MAP,
  OTHER_CHUNK,
  TOO_MANY_DONE,
  NOTHING_SAID,
  KEY_TWICE,
  NO_PROTOCOL,
  OTHER_CODEC,
  CUT_JSON,
  BAD_RESULTS, /* BAD_RESULTS and all later ones */
  N_LIES
};

static void
add_payload(struct text *body, const struct sim_call *call, enum lie lie)
{
  bool frame = (call->form == SIM_FRAME) != (lie == OTHER_CODEC);
  struct text results = {0};
  if (!frame) {
    add(body, lie >= BAD_RESULTS ? "{\"results\":[}" : "{\"results\":[");
    add_results(body, call);
    add(body, "],\"errors\":{}}");
    return;
  }
  add_results(&results, call);
  add(body, "\"");
  size_t start = body->len;
  uint64_t how = lie >= BAD_RESULTS ? 1 + sim_below(5) : 0;
  /* 0xc1 is an invalid type byte, 0xdf a map of that many pairs. */
  add_frame(body, &results, how == 1 ? 0xc1 : how == 2 ? 0xdf : 0xdb);
  if (how == 3)
    body->at[start + sim_below(body->len - start)] = '!';
  else if (how == 4)
    body->len = start + sim_below(body->len - start);
  else if (how == 5)
    body->at[start + 2] = '2'; /* lm2: */
  add(body, "\"");
}

static void
add_reply_of_worker(struct text *body, const struct sim_call *call)
{
  enum lie lie = call->word == SIM_HOSTILE ? (enum lie)(1 + sim_below(N_LIES + 5)) : NO_LIE;
  char map[40];
  snprintf(map, sizeof map, "%032u", call->map + (lie == OTHER_MAP));
  add(body, lie == NO_PROTOCOL      ? "{\"lambdamap\":{"
            : lie == OTHER_PROTOCOL ? "{\"lambdamap\":{\"protocol\":2,"
                                    : "{\"lambdamap\":{\"protocol\":1,");
  add(body, "\"map\":\"");
  add(body, map);
  add(body, "\",\"chunk\":");
  add_number(body, call->first_item + (lie == OTHER_CHUNK));
  add(body, ",\"us\":");
  add_number(body, call->us);
  if (call->word != SIM_REFUSED && lie != NOTHING_SAID) {
    add(body, ",\"done\":");
    add_number(body, lie == TOO_MANY_DONE ? call->n_items + 1 : call->done);
  }
  add(body, lie == KEY_TWICE ? ",\"us\":0" : ",\"code\":null");
  add(body, "}");
  if (call->word != SIM_REFUSED && (call->done > 0 || lie != NO_LIE) && lie != NOTHING_SAID) {
    add(body, ",\"r\":");
    add_payload(body, call, lie);
  }
  if (call->word == SIM_ITEM_FAILED || call->word == SIM_REFUSED)
    add(body, ",\"error\":{\"type\":\"ValueError\",\"message\":\"no\"}");
  if (lie != CUT_JSON)
    add(body, "}");
}

static void
add_error_body(struct text *body, const struct sim_call *call, const char *type_key)
{
  const char *between = "{";
  if (type_key != NULL && call->type != NULL) {
    add(body, "{\"");
    add(body, type_key);
    add(body, "\":\"");
    add(body, call->type);
    add(body, "\"");
    between = ",";
  }
  if (call->reason != NULL) {
    add(body, between);
    add(body, "\"Reason\":\"");
    add(body, call->reason);
    add(body, "\"");
    between = ",";
  }
  add(body, between);
  add(body, call->function_error ? "\"errorMessage\":\"raised\"}" : "\"message\":\"no\"}");
}

/* `type_key`: the key of the error type in the body. */
static void
write_body(struct text *body, const struct sim_call *call, const char *type_key)
{
  bool failed = call->function_error || call->status != 200;
  if (failed && call->type != NULL && strcmp(call->type, "(empty)") == 0)
    return;
  if (failed && call->type == NULL && sim_one_in(8)) /* by a proxy */
    add(body, "<html>no</html>");
  else if (call->function_error && call->type != NULL &&
           strcmp(call->type, "Sandbox.Timedout") == 0 && sim_one_in(2))
    add(body, "{\"errorMessage\":\"2026 Task timed out after 3.00 seconds\"}");
  else if (failed)
    add_error_body(body, call, type_key);
  else if (call->form == SIM_BARE)
    add_results(body, call);
  else if (call->word == SIM_UNMARKED && call->type == NULL)
    add(body, sim_one_in(2) ? "\"hello\"" : "{\"statusCode\":200}");
  else if (call->word == SIM_UNMARKED)
    add_error_body(body, call, "errorType");
  else
    add_reply_of_worker(body, call);
  if (sim_memory_used() < MUCH_BYTES && sim_one_in(sim_reply.large_one_in)) { /* whitespace */
    size_t most = sim_one_in(sim_reply.huge_one_in) ? 2000000 : 60000;
    add_fill(body, ' ', 60000 + sim_below(most));
  }
}

/* --- heads --- */

static const char *
date_now(void)
{
  static char date[40];
  static time_t is;
  time_t now = SIM_EPOCH_S + sim_now() / 1000000000;
  struct tm parts;
  if (now != is || date[0] == '\0')
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
  is = now;
  return date;
}

/* In any spelling that RFC 9110 allows. */
static void
add_header(struct text *head, const char *name, const char *value, bool odd)
{
  size_t at = head->len;
  add(head, name);
  uint64_t letters = odd ? sim_below(3) : 0;
  for (; letters > 0 && at < head->len; at++) {
    char c = head->at[at];
    if (letters == 1 && c >= 'A' && c <= 'Z')
      head->at[at] = (char)(c + 32);
    else if (letters == 2 && c >= 'a' && c <= 'z')
      head->at[at] = (char)(c - 32);
  }
  add(head, !odd ? ": " : sim_one_in(2) ? ":" : ": \t ");
  add(head, value);
  add(head, odd && sim_one_in(3) ? " \t\r\n" : "\r\n");
}

static void
add_informational(struct text *head, uint64_t n)
{
  for (; n > 0; n--)
    add(head, sim_one_in(2)
                  ? "HTTP/1.1 100 Continue\r\n\r\n"
                  : "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n");
}

enum framing { LENGTH, CHUNKED, UNTIL_CLOSE };

static void
add_chunked(struct text *reply, const struct text *body, bool odd)
{
  for (size_t at = 0; at < body->len;) {
    char size[40];
    size_t n = 1 + sim_below(body->len - at);
    snprintf(size, sizeof size,
             !odd            ? "%zx\r\n"
             : sim_one_in(3) ? "%08zX\r\n"
             : sim_one_in(2) ? "%zX ;name=\"value\"\r\n"
                             : "%zx;a\r\n",
             n);
    add(reply, size);
    add_bytes(reply, body->at + at, n);
    add(reply, "\r\n");
    at += n;
  }
  add(reply,
      odd && sim_one_in(2) ? "00;last\r\nX-Trailer: one\r\nDate: never\r\n\r\n" : "0\r\n\r\n");
}

static void
add_odd_headers(struct text *head)
{
  static const char long_id[] = "an id \xc3\xa9 that is longer than a hundred and sixty bytes, "
                                "which is what is kept of a header "
                                "whose value is a text: this one has more of them than that, so "
                                "that it is cut, somewhere here";
  if (sim_one_in(3))
    add_header(head, "X-Amz-Executed-Version", "$LATEST", true);
  if (sim_one_in(3))
    add_header(head, "Content-Encoding", "identity", true);
  if (sim_one_in(3))
    add_header(head, "Connection", sim_one_in(2) ? "keep-alive" : "x-other , Keep-Alive", true);
  if (sim_one_in(6))
    add_header(head, "Age", "3", true);
  if (sim_one_in(6))
    add_header(head, "X-Amzn-RequestId", long_id, true);
  if (sim_one_in(6))
    add_header(head, "A-name-that-is-longer-than-those-that-are-known", "", true);
  if (sim_one_in(6))
    add_header(head, "Retry-After", "1234567890123456", true);
  if (sim_one_in(6)) {
    add(head, "X-Long: ");
    add_fill(head, 'x', sim_below(LM_HEAD_MAX_LINE - 20));
    add(head, "\r\n");
  }
  if (sim_one_in(6))
    add_header(head, "X-Text", "\xc3\xa9 \xff\t,;", true);
}

/* At most 4 KB of a log, and most of them with a REPORT line. */
static void
add_log(struct text *head)
{
  static const char report[] =
      "\nREPORT RequestId: r-1\tDuration: 11.50 ms\tBilled Duration: 12 ms\t"
      "Memory Size: 128 MB\tMax Memory Used: 50 MB\t\n";
  struct text log = {0};
  add_fill(&log, 'x', sim_below(4096 - sizeof report));
  add(&log, report);
  if (sim_one_in(4))
    log.len = sim_below(log.len);
  add(head, "X-Amz-Log-Result: ");
  size_t n = lm_base64_encoded_size(log.len);
  lm_base64_encode((const uint8_t *)log.at, log.len, extend(head, n));
  add(head, "\r\n");
}

static void
add_error_head(struct text *head, const struct sim_call *call, const char **type_key, bool odd)
{
  static const char *const keys[] = {"__type", "code", "Code", "errorType"};
  *type_key = NULL;
  if (call->function_error) {
    add_header(head, "X-Amz-Function-Error", "Unhandled", odd);
    *type_key = "errorType";
  } else if (call->type != NULL && strcmp(call->type, "(empty)") == 0) {
    return;
  } else if (call->type != NULL && sim_one_in(4)) {
    *type_key = keys[sim_below(4)];
  } else if (call->type != NULL) {
    struct text value = {0};
    add(&value, sim_one_in(8) ? "com.amazonaws.lambda#" : "");
    add(&value, call->type);
    add(&value, sim_one_in(2) ? "Exception" : "");
    add(&value, sim_one_in(8) ? ":http://internal.amazon.com/" : "");
    add_bytes(&value, "", 1);
    add_header(head, "x-amzn-ErrorType", value.at, odd);
  }
  if ((call->status == 429 || call->status == 409) && sim_one_in(4))
    add_header(head, "Retry-After", sim_one_in(8) ? "90" : sim_one_in(2) ? "1" : "soon", odd);
  if (call->status == 429 && sim_one_in(8))
    add_header(head, "X-Amz-Retry-After", "300", odd);
}

/* Invalid replies. They do not change what was done. */
static void
add_garbage(struct text *reply, const struct text *body)
{
  static const char *const heads[] = {
      "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
      "Content-Length: two\r\n\r\n{}",
      "Content-Length: 1234567890123456\r\n\r\n{}",
      "Content-Length: \r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\nx\r\n",
      "No blank \r\nContent-Length: 2\r\n\r\n{}",
      "Transfer-Encoding: gzip\r\n\r\n{}",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\n2 2\r\n{}\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
      "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n{}",
      "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
      "Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
      "Content-Length: 999999999999\r\n\r\n{",
      "No colon\r\n\r\n",
      ": no name\r\n\r\n",
      "Bare: line\nContent-Length: 2\r\n\r\n{}",
      "Control: \x01\r\nContent-Length: 2\r\n\r\n{}",
      "Date: Thu, 01 Jan 2026 00:00:00 UTC\r\n\r\n{}", /* no length, and the connection is not closed */
  };
  static const char *const lines[] = {"HTTP/1.1 999 No", "HTTP/1.2 200 OK", "HTTP/1.1-200 OK",
                                      "HTTP/1.1 2000 OK", "HTTP/1.1 20"};
  uint64_t which = sim_below(sizeof heads / sizeof heads[0] + 8) + 1;
  if (which <= sizeof heads / sizeof heads[0]) {
    add(reply, heads[which - 1]);
    return;
  }
  switch (which - sizeof heads / sizeof heads[0]) {
  case 1:
    reply->len = 0;
    add(reply, "SSH-2.0-OpenSSH\r\n");
    break;
  case 2:
    reply->len = 0;
    add(reply, lines[sim_below(5)]);
    add(reply, "\r\n\r\n");
    break;
  case 3:
    reply->len = 0;
    add(reply, "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n");
    break;
  case 4:
    reply->len = 0;
    add_informational(reply, LM_HEAD_MAX_INFORMATIONAL + 1);
    break;
  case 5:
    add(reply, "X-Long: ");
    add_fill(reply, 'x', LM_HEAD_MAX_LINE);
    break;
  case 6:
    for (size_t i = 0; i < 1 + LM_HEAD_MAX_BYTES / 4000; i++) {
      add(reply, "X-Long: ");
      add_fill(reply, 'x', 4000);
      add(reply, "\r\n");
    }
    break;
  case 7:
    add(reply, "Content-Length: ");
    add_number(reply, body->len);
    add(reply, "\r\n\r\n");
    add_bytes(reply, body->at, body->len);
    add(reply, "and more");
    break;
  default: /* chunks of a byte cost more than they test */
    add(reply, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < 400; i++) {
      add(reply, "1;");
      add_fill(reply, 'x', 1000);
      add(reply, "\r\n \r\n");
    }
    add_bytes(reply, body->at, body->len < 10 ? body->len : 10);
  }
}

/* Status line and headers, except for the framing of the body. */
static void
add_head(struct text *reply, const struct sim_call *call, bool odd, bool old, const char **type_key)
{
  static const char *const dates[] = {"tomorrow",
                                      "Thu, 32 Jan 2026 00:00:00 GMT",
                                      "Thu, 01 Foo 2026 00:00:00 GMT",
                                      "Thu, 01 Jan 1969 00:00:00 GMT",
                                      "Thu, 01 Jan 2026 24:00:00 GMT",
                                      "Thu, 01 Jan 2026 00:60:00 GMT",
                                      "Thu, 01 Jan 2026 00:00:61 GMT",
                                      "Thu, 01-Jan-2026 00:00:00 GMT",
                                      "Thu, 01 Jan 2026 00.00.00 GMT"};
  add(reply, old ? "HTTP/1.0 " : "HTTP/1.1 ");
  add_number(reply, (uint64_t)call->status);
  add(reply, odd && sim_one_in(3) ? "\r\n" : " Status\r\n");
  if (!odd || !sim_one_in(4))
    add_header(reply, "Date", odd && sim_one_in(4) ? dates[sim_below(9)] : date_now(), odd);
  add_header(reply, "Content-Type", odd ? "application/json; charset=utf-8" : "application/json",
             odd);
  if (!odd || !sim_one_in(4)) {
    add(reply, "x-amzn-RequestId: r-");
    add_number(reply, sim_invocations());
    add(reply, "\r\n");
  }
  *type_key = NULL;
  if (call->function_error || call->status != 200)
    add_error_head(reply, call, type_key, odd);
  if (call->asks_log && call->status == 200)
    add_log(reply);
  if (odd)
    add_odd_headers(reply);
}

void
sim_reply_write(const struct sim_call *call, bool close, struct sim_written *out)
{
  struct text reply = {0}, body = {0};
  char length[24];
  const char *type_key;
  bool odd = sim_one_in(sim_reply.odd_one_in), old = odd && sim_one_in(4);
  bool no_body = call->status == 204 || call->status == 304;
  enum framing framing = old ? LENGTH : sim_one_in(5) ? CHUNKED : LENGTH;
  if (odd && close && !no_body)
    framing = UNTIL_CLOSE;
  if (odd || sim_one_in(20))
    add_informational(&reply, 1 + sim_below(3));
  size_t start = reply.len;
  add_head(&reply, call, odd, old, &type_key);
  if (!no_body)
    write_body(&body, call, type_key);
  if (!old && !no_body && (call->garbage || sim_one_in(sim_reply.garbage_one_in))) {
    struct text broken = {0};
    add_bytes(&broken, reply.at + start, reply.len - start);
    add_garbage(&broken, &body);
    *out = (struct sim_written){(uint8_t *)broken.at, broken.len, 0, false};
    return;
  }
  if (close)
    add_header(&reply, "Connection", odd ? "x, Close" : "close", odd);
  else if (old && !sim_one_in(3))
    add_header(&reply, "Connection", "keep-alive", odd);
  if (framing == CHUNKED && !no_body) {
    add_header(&reply, "Transfer-Encoding", odd ? "Chunked" : "chunked", odd);
  } else if (framing == LENGTH && !no_body) {
    snprintf(length, sizeof length, "%s%zu", odd ? "00" : "", body.len);
    add_header(&reply, "Content-Length", length, odd);
  }
  add(&reply, "\r\n");
  size_t head_len = reply.len;
  if (framing == CHUNKED && !no_body)
    add_chunked(&reply, &body, odd);
  else
    add_bytes(&reply, body.at, body.len);
  *out = (struct sim_written){(uint8_t *)reply.at, reply.len, head_len, framing == UNTIL_CLOSE};
}

void
sim_reply_write_parts(const struct sim_call *call, struct sim_parts *out)
{
  struct text head = {0}, body = {0};
  char length[24];
  const char *type_key;
  bool odd = sim_one_in(sim_reply.odd_one_in);
  bool no_body = call->status == 204 || call->status == 304;
  add_head(&head, call, odd, false, &type_key);
  if (!no_body) {
    write_body(&body, call, type_key);
    snprintf(length, sizeof length, "%s%zu", odd ? "00" : "", body.len);
    if (!sim_one_in(4))
      add_header(&head, "Content-Length", length, odd);
  }
  *out = (struct sim_parts){head.at, head.len, (const uint8_t *)body.at, body.len, odd};
}
