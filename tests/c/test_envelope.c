/* wire/envelope and wire/json: rendering a request, reading replies and error bodies. */
#include <string.h>

#include "check.h"
#include "wire/envelope.h"

#define BYTES(text) text, sizeof(text) - 1
#define HEAD "{\"command\":\"x\",\"lambdamap\":{\"protocol\":1,\"map\":\"m\""
#define MARK "\"lambdamap\":{\"protocol\":1}"

/* Read a copy, so that ASan notices a read past its end; spans point into *kept. */
static int
read_reply(const char *text, size_t n, char **kept, struct lm_reply *reply, struct lm_error *err)
{
  *kept = malloc(n + (n == 0));
  CHECK(*kept != NULL);
  memcpy(*kept, text, n);
  return lm_envelope_read(*kept, n, reply, err);
}

static bool
is(const struct lm_span *span, const char *text)
{
  return lm_json_is(span, text);
}

/* --- requests --- */

static void
request(void)
{
  struct lm_buf body;
  struct lm_envelope_slots slots;
  const char *text;
  size_t len;
  lm_buf_init(&body, 4096);
  lm_envelope_open(&body, BYTES(HEAD), 7, 3, &slots);
  lm_buf_str(&body, "lm1:AAAA");
  lm_envelope_close(&body);
  CHECK(body.failed == LM_OK);
  lm_envelope_patch(body.data, &slots, 2, 1500);
  CHECK(body.len == strlen(HEAD ",\"chunk\":7,\"items\":3,\"attempt\":         2,\"left_ms\":      "
                                "1500},\"p\":\"lm1:AAAA\"}"));
  CHECK(memcmp(body.data,
               BYTES(HEAD ",\"chunk\":7,\"items\":3,\"attempt\":         2,\"left_ms\":      "
                          "1500},\"p\":\"lm1:AAAA\"}")) == 0);
  lm_envelope_patch(body.data, &slots, 4294967295u, INT64_MAX);
  CHECK(memcmp(body.data + slots.attempt_at, "4294967295", 10) == 0);
  CHECK(memcmp(body.data + slots.left_ms_at, " 999999999", 10) == 0);
  lm_envelope_patch(body.data, &slots, 0, -5);
  CHECK(memcmp(body.data + slots.attempt_at, "         0", 10) == 0);
  CHECK(memcmp(body.data + slots.left_ms_at, "         0", 10) == 0);

  /* The request is JSON, and the payload is found in it. */
  struct lm_reply reply;
  struct lm_error err;
  CHECK(lm_envelope_read((const char *)body.data, body.len, &reply, &err) == 0 && reply.marked);
  CHECK(reply.has_chunk && reply.chunk == 7);
  CHECK(lm_envelope_request_payload(body.data, body.len, &text, &len) == 0);
  CHECK(len == 8 && memcmp(text, "lm1:AAAA", 8) == 0);
  CHECK(lm_envelope_request_payload(body.data, body.len - 1, &text, &len) == -1);
  CHECK(lm_envelope_request_payload(body.data, 0, &text, &len) == -1);
  CHECK(lm_envelope_request_payload((const uint8_t *)BYTES("{\"a\":\"},\\\"p\\\":\\\"lm1:\"}"),
                                    &text, &len) == -1);

  /* The same with a JSON payload. */
  static const char json[] = "{\"items\":[\"},\"],\"star\":false}";
  lm_buf_clear(&body);
  lm_envelope_open(&body, BYTES(HEAD), 7, 3, &slots);
  lm_envelope_close_json(&body, (const uint8_t *)json, sizeof json - 1);
  CHECK(body.failed == LM_OK);
  CHECK(lm_envelope_read((const char *)body.data, body.len, &reply, &err) == 0 && reply.marked);
  CHECK(lm_envelope_request_payload(body.data, body.len, &text, &len) == 0);
  CHECK(len == sizeof json - 1 && memcmp(text, json, len) == 0);
  static const char answer[] = "{\"lambdamap\":{\"done\":1},\"r\":{\"results\":[1]}}";
  CHECK(lm_envelope_read(answer, sizeof answer - 1, &reply, &err) == 0);
  CHECK(reply.result.at == NULL && reply.result_json.len == 15 &&
        memcmp(reply.result_json.at, "{\"results\":[1]}", 15) == 0);
  lm_buf_clean_up(&body);
}

static void
render_with_little_memory(void)
{
  struct lm_buf body;
  struct lm_envelope_slots slots;
  lm_buf_init(&body, 65536);
  lm_envelope_open(&body, BYTES(HEAD), 7, 3, &slots);
  for (int i = 0; i < 1000; i++)
    lm_buf_str(&body, "AAAA");
  lm_envelope_close(&body);
  CHECK(body.failed == LM_OK || body.failed == LM_E_NOMEM);
  lm_buf_clean_up(&body);
}

/* --- replies --- */

static void
whole_reply(void)
{
  static const char text[] =
      " {\"lambdamap\" : {\"protocol\":1,\"version\":\"0.1.0\",\"python\":\"3.11\",\"map\":\"abc\","
      "\"chunk\":9223372036854775807,\"done\":12,\"us\":3400,\"code\":{\"was\":\"x\"},\"new\":[1]},"
      "\"r\":\"lm1:QUJD\",\"out\":[[0,\"hi\"]],\"error\":{\"kind\":\"function\",\"n\":[1,{}]},"
      "\"x\":{\"r\":1,\"r\":2}}\r\n";
  struct lm_reply reply;
  struct lm_error err;
  char *kept;
  CHECK(read_reply(BYTES(text), &kept, &reply, &err) == 0);
  CHECK(reply.marked && reply.protocol == 1 && is(&reply.map, "abc"));
  CHECK(reply.has_chunk && reply.chunk == INT64_MAX && reply.has_done && reply.done == 12);
  CHECK(reply.worker_us == 3400 && reply.stale_code && is(&reply.code, "{\"was\":\"x\"}"));
  CHECK(is(&reply.result, "lm1:QUJD") && is(&reply.output, "[[0,\"hi\"]]"));
  CHECK(is(&reply.error, "{\"kind\":\"function\",\"n\":[1,{}]}"));
  free(kept);

  CHECK(read_reply(BYTES("{\"lambdamap\":{\"code\":null},\"error\":null}"), &kept, &reply, &err) ==
        0);
  CHECK(reply.marked && !reply.stale_code && reply.error.at == NULL && reply.result.at == NULL);
  CHECK(!reply.has_chunk && !reply.has_done && reply.protocol == 0 && reply.output.at == NULL);
  free(kept);

  /* The marker may be anywhere, with whitespace or without. */
  CHECK(read_reply(BYTES("{\"r\":\"\",\"lambdamap\":{}}"), &kept, &reply, &err) == 0);
  CHECK(reply.marked && reply.result.at != NULL && reply.result.len == 0);
  free(kept);
  CHECK(read_reply(BYTES("{\"lambdamap\": {\"us\": 0}, \"r\": \"x\"}"), &kept, &reply, &err) == 0);
  CHECK(reply.marked && is(&reply.result, "x"));
  free(kept);
}

enum kind { OURS, OTHERS, BROKEN };

struct row {
  const char *text;
  size_t n;
  enum kind kind;
};

static const struct row rows[] = {
    {BYTES("{" MARK "}"), OURS},
    {BYTES("{" MARK ",\"r\":\"x\",\"error\":{}}"), OURS},
    {BYTES("{" MARK ",\"e\":1e308}"), OURS},
    {BYTES("{" MARK ",\"e\":1.7976931348623157e+308}"), OURS},
    {BYTES("{" MARK ",\"e\":-17976931348623157.9E292}"), OURS},
    {BYTES("{" MARK ",\"e\":1.7976931348623158e+308}"), BROKEN},
    {BYTES("{" MARK ",\"e\":1.8e308}"), BROKEN},
    {BYTES("{" MARK ",\"e\":2e308}"), BROKEN},
    {BYTES("{" MARK ",\"e\":1e309}"), BROKEN},
    {BYTES("{" MARK ",\"e\":0.1e309}"), BROKEN},
    {BYTES("{" MARK ",\"e\":9e307}"), OURS},
    {BYTES("{" MARK ",\"e\":1E-9999}"), OURS},
    {BYTES("{" MARK ",\"e\":0.5e308}"), OURS},
    {BYTES("{" MARK ",\"e\":1e999}"), BROKEN},
    {BYTES("{" MARK ",\"e\":1e99999}"), BROKEN},
    {BYTES("{" MARK ",\"e\":1e00001}"), BROKEN},
    {BYTES("{" MARK ",\"e\":-12.5e+3}"), OURS},
    {BYTES("{" MARK ",\"e\":\"\\ud83d\\ude00 \\\"\\\\\\/\\b\\f\\n\\r\\t\"}"), OURS},
    {BYTES("{" MARK ",\"e\":\"\xf0\x9f\x98\x80 \xc3\xa9 \xe2\x82\xac\"}"), OURS},

    /* not from lambdamap */
    {BYTES("null"), OTHERS},
    {BYTES("true"), OTHERS},
    {BYTES(" false "), OTHERS},
    {BYTES("12"), OTHERS},
    {BYTES("-0"), OTHERS},
    {BYTES("\"text\""), OTHERS},
    {BYTES("[]"), OTHERS},
    {BYTES("[1,[2,{}],\"x\"]"), OTHERS},
    {BYTES("{}"), OTHERS},
    {BYTES("{\"r\":1,\"r\":2,\"error\":3}"), OTHERS},
    {BYTES("{\"lambdamap\":1}"), OTHERS},
    {BYTES("{\"x\":{\"lambdamap\":{}}}"), OTHERS},

    /* not JSON */
    {BYTES(""), BROKEN},
    {BYTES("   "), BROKEN},
    {BYTES("Task timed out after 3.00 seconds"), BROKEN},
    {BYTES("<html>"), BROKEN},
    {BYTES("nul"), BROKEN},
    {BYTES("nullx"), BROKEN},
    {BYTES("NaN"), BROKEN},
    {BYTES("Infinity"), BROKEN},
    {BYTES("01"), BROKEN},
    {BYTES("+1"), BROKEN},
    {BYTES("-"), BROKEN},
    {BYTES("1."), BROKEN},
    {BYTES(".5"), BROKEN},
    {BYTES("1e"), BROKEN},
    {BYTES("1e+"), BROKEN},
    {BYTES("0x1"), BROKEN},
    {BYTES("{}{}"), BROKEN},
    {BYTES("{} x"), BROKEN},
    {BYTES("{}\0"), BROKEN},
    {BYTES("\xef\xbb\xbf{}"), BROKEN},
    {BYTES("{"), BROKEN},
    {BYTES("}"), BROKEN},
    {BYTES("[1"), BROKEN},
    {BYTES("[1,"), BROKEN},
    {BYTES("[1,]"), BROKEN},
    {BYTES("[,1]"), BROKEN},
    {BYTES("[1 2]"), BROKEN},
    {BYTES("[1}"), BROKEN},
    {BYTES("{1:2}"), BROKEN},
    {BYTES("{\"a\"}"), BROKEN},
    {BYTES("{\"a\":}"), BROKEN},
    {BYTES("{\"a\":1,}"), BROKEN},
    {BYTES("{\"a\" 1}"), BROKEN},
    {BYTES("{,}"), BROKEN},
    {BYTES("{'a':1}"), BROKEN},
    {BYTES("[/* */1]"), BROKEN},
    {BYTES("\""), BROKEN},
    {BYTES("\"a"), BROKEN},
    {BYTES("\"a\\"), BROKEN},
    {BYTES("\"a\\\""), BROKEN},
    {BYTES("\"\\x41\""), BROKEN},
    {BYTES("\"\\u12\""), BROKEN},
    {BYTES("\"\\u12g4\""), BROKEN},
    {BYTES("\"a\0b\""), BROKEN},
    {BYTES("\"a\nb\""), BROKEN},
    {BYTES("\"0123456789abcdef0123456789abcde\x1f\""), BROKEN},
    {BYTES("\"\\\0\""), BROKEN},
    /* strings that are not UTF-8, and lone surrogates */
    {BYTES("\"\x80\""), BROKEN},
    {BYTES("\"\xc3\""), BROKEN},
    {BYTES("\"\xc0\xaf\""), BROKEN},
    {BYTES("\"\xe0\x80\x80\""), BROKEN},
    {BYTES("\"\xed\xa0\x80\""), BROKEN},
    {BYTES("\"\xf4\x90\x80\x80\""), BROKEN},
    {BYTES("\"\xf8\x88\x80\x80\x80\""), BROKEN},
    {BYTES("\"0123456789abcdef\xe2\x82"), BROKEN},
    {BYTES("\"\\ud800\""), BROKEN},
    {BYTES("\"\\udc00\""), BROKEN},
    {BYTES("\"\\ud800\\ud800\""), BROKEN},
    {BYTES("\"\\ud800\\n\""), BROKEN},
    {BYTES("\"\\ud800x\""), BROKEN},
    {BYTES("\"\\ud800\\u"), BROKEN},
    /* our keys: once each, and of the right type */
    {BYTES("{" MARK "," MARK "}"), BROKEN},
    {BYTES("{\"lambdamap\":1," MARK "}"), BROKEN},
    {BYTES("{" MARK ",\"r\":\"a\",\"r\":\"b\"}"), BROKEN},
    {BYTES("{" MARK ",\"error\":{},\"error\":{}}"), BROKEN},
    {BYTES("{" MARK ",\"error\":null,\"error\":null}"), BROKEN},
    {BYTES("{" MARK ",\"error\":null,\"\\u0065rror\":{}}"), BROKEN},
    {BYTES("{" MARK ",\"error\":\"boom\"}"), BROKEN},
    {BYTES("{" MARK ",\"\\u0065rror\":\"boom\"}"), BROKEN},
    {BYTES("{" MARK ",\"error\":[]}"), BROKEN},
    {BYTES("{" MARK ",\"error\":1}"), BROKEN},
    {BYTES("{" MARK ",\"error\":true}"), BROKEN},
    {BYTES("{" MARK ",\"error\":null}"), OURS},
    {BYTES("{" MARK ",\"e\\u0000rror\":1,\"error\\u0000\":1,\"\\\\u0065rror\":1}"), OURS},
    {BYTES("{\"\\u006cambdamap\":{\"done\":1}}"), OURS},
    {BYTES("{\"\\u006cambdamap\":{\"done\":true}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"done\":1,\"\\u0064one\":1}}"), BROKEN},
    {BYTES("{" MARK ",\"out\":[],\"out\":[]}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":1,\"protocol\":1}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"map\":\"a\",\"map\":\"a\"}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"chunk\":1,\"chunk\":1}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"done\":1,\"done\":1}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"us\":1,\"us\":1}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"code\":1,\"code\":1}}"), BROKEN},
    {BYTES("{" MARK ",\"r\":1}"), BROKEN},
    {BYTES("{" MARK ",\"r\":null}"), BROKEN},
    {BYTES("{" MARK ",\"r\":\"a\\n\"}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"map\":\"\\u0061\"}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"map\":7}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":\"1\"}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":-1}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":1.0}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":1e0}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":4294967296}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":4294967295}}"), OURS},
    {BYTES("{\"lambdamap\":{\"chunk\":9223372036854775808}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"chunk\":18446744073709551616}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"done\":true}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"us\":null}}"), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":1},\"r\":\"x\""), BROKEN},
    {BYTES("{\"lambdamap\":{\"protocol\":1"), BROKEN},
    {BYTES("{\"lambdamap\":{"), BROKEN},
    {BYTES("{\"lambdamap\": {"), BROKEN},
};

static void
check_row(const struct row *row)
{
  struct lm_reply reply;
  struct lm_error err = {0};
  char *kept;
  int got = read_reply(row->text, row->n, &kept, &reply, &err);
  if ((got == 0) != (row->kind != BROKEN) || (got == 0 && reply.marked != (row->kind == OURS))) {
    fprintf(stderr, "%s: %d, %s\n", row->text, got, err.text);
    abort();
  }
  if (got != 0)
    CHECK(err.code == LM_E_FORMAT && err.offset <= row->n);
  if (got == 0 && !reply.marked)
    CHECK(reply.result.at == NULL && reply.error.at == NULL && !reply.has_done);
  free(kept);
}

#define ID "0123456789abcdef0123456789abcdef"

/* To chunk 3 of map ID, of 4 items. */
static const struct {
  const char *text;
  bool json, taken;
} answers[] = {
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":4},\"r\":\"\"}", false,
     true},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":4},\"r\":\"\"}", true,
     false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":4},\"r\":{}}", true,
     true},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":4},\"r\":{}}", false,
     false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":5},\"r\":\"\"}", false,
     false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":4}}", false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":0}}", false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":0},\"error\":{}}",
     false, true},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3,\"done\":1},\"error\":{}}",
     false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":4,\"done\":4},\"r\":\"\"}", false,
     false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"0" ID "\",\"chunk\":3,\"done\":4},\"r\":\"\"}",
     false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"chunk\":3,\"done\":4},\"r\":\"\"}", false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"done\":4},\"r\":\"\"}", false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"" ID "\",\"chunk\":3},\"r\":\"\"}", false, false},
    {"{\"lambdamap\":{\"protocol\":2,\"map\":\"" ID "\",\"chunk\":3,\"done\":4},\"r\":\"\"}", false,
     false},
    {"{\"lambdamap\":{\"map\":\"" ID "\",\"chunk\":3,\"done\":4},\"r\":\"\"}", false, false},
    {"{\"lambdamap\":{\"protocol\":1},\"error\":{}}", false, true},
    {"{\"lambdamap\":{\"protocol\":1,\"chunk\":4},\"error\":{}}", false, false},
    {"{\"lambdamap\":{\"protocol\":1,\"map\":\"\"},\"error\":{}}", false, false},
    {"{\"lambdamap\":{\"protocol\":2},\"error\":{}}", false, false},
    {"{\"lambdamap\":{},\"error\":{}}", false, false},
};

static void
check_answer(size_t i)
{
  struct lm_reply reply;
  struct lm_error err = {0};
  char *kept;
  CHECK(read_reply(answers[i].text, strlen(answers[i].text), &kept, &reply, &err) == 0);
  int got = lm_envelope_check(&reply, ID, 3, 4, answers[i].json, &err);
  if ((got == 0) != answers[i].taken) {
    fprintf(stderr, "%s: %d, %s\n", answers[i].text, got, err.text);
    abort();
  }
  CHECK(got == 0 || (err.code == LM_E_FORMAT && err.text[0] != '\0'));
  free(kept);
}

/* No proper prefix of a reply is a reply, or that of another protocol. */
static void
cut_replies(void)
{
  static const char text[] = "{\"lambdamap\":{\"protocol\":1,\"map\":\"abc\",\"done\":1,\"us\":10},"
                             "\"r\":\"lm1:QUJD0123456789abcdefghijk\",\"out\":[[0,\"\\u00e9\"]]}";
  struct lm_reply reply;
  struct lm_error err;
  char *kept;
  for (size_t n = 0; n < sizeof text - 1; n++) {
    CHECK(read_reply(text, n, &kept, &reply, &err) == -1);
    CHECK(!reply.has_protocol || reply.protocol == 1);
    free(kept);
  }
  CHECK(lm_envelope_read(NULL, 0, &reply, &err) == -1);
}

static void
depth(void)
{
  char text[300];
  struct lm_reply reply;
  struct lm_error err;
  for (int levels = 1; levels < 120; levels++) { /* arrays only */
    memset(text, '[', (size_t)levels);
    memset(text + levels, ']', (size_t)levels);
    CHECK((lm_envelope_read(text, (size_t)(2 * levels), &reply, &err) == 0) == (levels <= 64));
  }
  for (int levels = 1; levels < 120; levels++) { /* inside two objects of ours */
    int n = snprintf(text, sizeof text, "{\"lambdamap\":{\"x\":");
    memset(text + n, '[', (size_t)levels);
    n += levels;
    memset(text + n, ']', (size_t)levels);
    n += levels;
    text[n++] = '}';
    text[n++] = '}';
    CHECK((lm_envelope_read(text, (size_t)n, &reply, &err) == 0) == (levels <= 62));
  }
  for (int levels = 0; levels < 40; levels++) { /* the type of each level is checked */
    int n = 0;
    for (int i = 0; i < levels; i++)
      n += snprintf(text + n, sizeof text - (size_t)n, i % 3 == 0 ? "{\"a\":" : "[");
    text[n++] = '1';
    for (int i = levels; i-- > 0;)
      text[n++] = i % 3 == 0 ? '}' : ']';
    CHECK(lm_envelope_read(text, (size_t)n, &reply, &err) == 0);
    if (levels > 0) {
      text[n - 1] = text[n - 1] == '}' ? ']' : '}';
      CHECK(lm_envelope_read(text, (size_t)n, &reply, &err) == -1);
    }
  }
}

static void
long_numbers(void)
{
  char text[LM_JSON_MAX_DIGITS + 16];
  struct lm_reply reply;
  struct lm_error err;
  for (size_t n = 1; n < LM_JSON_MAX_DIGITS + 3; n += n % 300 < 20 || n > 4290 ? 1 : 7) {
    memset(text, '1', n);
    CHECK((lm_envelope_read(text, n, &reply, &err) == 0) == (n <= LM_JSON_MAX_DIGITS));
    memcpy(text + n, ".5", 2);
    CHECK((lm_envelope_read(text, n + 2, &reply, &err) == 0) == (n <= 309));
    memcpy(text + n, "e0", 2);
    CHECK((lm_envelope_read(text, n + 2, &reply, &err) == 0) == (n <= 309));
    text[0] = '2';
    CHECK((lm_envelope_read(text, n + 2, &reply, &err) == 0) == (n <= 308));
  }
}

/* The string scanner's 16-byte steps, with each special byte at each position. */
static void
string_steps(void)
{
  static const struct {
    const char *piece;
    bool good;
  } pieces[] = {{"\\n", true},   {"\xc3\xa9", true}, {"\\ud83d\\ude00", true},
                {"~", true},     {"\x7f", true},     {"\x1f", false},
                {"\xff", false}, {"\xc3", false},    {"\\q", false},
                {"\"\"", false}, {"!", true},        {" ", true}};
  struct lm_reply reply;
  struct lm_error err;
  for (size_t at = 0; at < 70; at++)
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
      char text[200];
      int n = snprintf(
          text, sizeof text, "\"%.*s%s%.*s\"", (int)at,
          "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
          pieces[i].piece, (int)(70 - at),
          "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
      CHECK((lm_envelope_read(text, (size_t)n, &reply, &err) == 0) == pieces[i].good);
    }
}

/* --- Lambda's own errors --- */

static void
aws_errors(void)
{
  struct lm_aws_error said;
  lm_envelope_read_aws_error(
      BYTES("{\"errorMessage\":\"no \\\"x\\\"\",\"errorType\":\"KeyError\",\"requestId\":\"\","
            "\"stackTrace\":[\"a\"]}"),
      &said);
  CHECK(is(&said.error_type, "KeyError") && is(&said.error_message, "no \\\"x\\\""));
  CHECK(said.message.at == NULL && said.code.at == NULL);
  lm_envelope_read_aws_error(
      BYTES("{\"Reason\":\"ConcurrentInvocationLimitExceeded\",\"Type\":\"User\","
            "\"message\":\"Rate Exceeded.\"}"),
      &said);
  CHECK(is(&said.reason, "ConcurrentInvocationLimitExceeded") &&
        is(&said.message, "Rate Exceeded."));
  lm_envelope_read_aws_error(BYTES("{\"Message\":\"x\",\"__type\":\"com.a.b#Oops:http://y/\"}"),
                             &said);
  CHECK(is(&said.message, "x") && is(&said.code, "Oops"));
  lm_envelope_read_aws_error(BYTES("{\"Code\":\"Oops\"}"), &said);
  CHECK(is(&said.code, "Oops"));
  /* Values of another type are ignored. */
  lm_envelope_read_aws_error(BYTES("{\"errorType\":7,\"message\":{\"a\":1},\"code\":null}"), &said);
  CHECK(said.error_type.at == NULL && said.message.at == NULL && said.code.at == NULL);
  static const char *const none[] = {
      "", "null", "[\"errorType\"]", "<html>", "{\"errorType\":\"x\"", "{\"errorType\":\"x\"} x"};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    lm_envelope_read_aws_error(none[i], strlen(none[i]), &said);
    CHECK(said.error_type.at == NULL && said.error_type.len == 0);
  }
  lm_envelope_read_aws_error(NULL, 0, &said);
  CHECK(said.error_type.at == NULL);

  /* A timeout, in the new and the old form. */
  lm_envelope_read_aws_error(
      BYTES("{\"errorType\":\"Sandbox.Timedout\",\"errorMessage\":\"RequestId: 1 Error: Task timed "
            "out after 3.00 seconds\"}"),
      &said);
  CHECK(is(&said.error_type, "Sandbox.Timedout"));
  lm_envelope_read_aws_error(
      BYTES("{\"errorMessage\":\"2024-04-01T00:00:00Z 1-2 Task timed out after 3.00 seconds\"}"),
      &said);
  CHECK(is(&said.error_type, "Sandbox.Timedout"));
  lm_envelope_read_aws_error(
      BYTES("{\"errorType\":\"MyError\",\"errorMessage\":\"Task timed out after lunch\"}"), &said);
  CHECK(is(&said.error_type, "MyError"));
  lm_envelope_read_aws_error(BYTES("{\"errorMessage\":\"Task timed out after\"}"), &said);
  CHECK(said.error_type.at == NULL);
}

/* --- text --- */

static void
text(void)
{
  static const struct {
    const char *raw;
    size_t size;
    const char *shown;
  } cases[] = {
      {"plain", 64, "plain"},
      {"", 64, ""},
      {"a\\\"b\\\\c\\/d", 64, "a\"b\\c/d"},
      {"a\\nb\\tc\\rd\\be\\ff", 64, "a\nb\tc?d?e?f"},
      {"\\u00e9\\u20ac\\ud83d\\ude00", 64, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
      {"\\u0000\\u001b[31m\\u007f\\u0009", 64, "??[31m?\t"},
      {"\xc3\xa9", 64, "\xc3\xa9"},
      /* truncated after a character */
      {"abcdef", 4, "abc"},
      {"ab\xc3\xa9", 4, "ab"},
      {"ab\xc3\xa9", 5, "ab\xc3\xa9"},
      {"ab\\u20ac", 5, "ab"},
      {"abc", 1, ""},
      /* invalid input */
      {"a\\", 64, "a\\"},
      {"a\\u12", 64, "a\\u12"},
      {"\\ud800", 64, "\\ud800"},
      {"\x80\xff\x01\x7f", 64, "????"},
      {"\xe2\x82", 64, "??"},
  };
  char out[64];
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct lm_span span = {cases[i].raw, strlen(cases[i].raw)};
    size_t len = lm_json_text(&span, out, cases[i].size);
    if (strcmp(out, cases[i].shown) != 0 || len != strlen(out)) {
      fprintf(stderr, "%s: %s\n", cases[i].raw, out);
      abort();
    }
  }
  struct lm_span absent = {NULL, 0};
  CHECK(lm_json_text(&absent, out, sizeof out) == 0 && out[0] == '\0');
  CHECK(lm_json_text(&absent, NULL, 0) == 0);
}

int
main(void)
{
  request();
  check_every_allocation(render_with_little_memory);
  whole_reply();
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    check_row(&rows[i]);
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
    check_answer(i);
  cut_replies();
  depth();
  long_numbers();
  string_steps();
  aws_errors();
  text();
  return 0;
}
