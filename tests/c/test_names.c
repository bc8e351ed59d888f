/* wire/names: what may go into a path, a query, a host and a header. */
#include <string.h>

#include "check.h"
#include "wire/names.h"

#define BYTES(text) text, sizeof(text) - 1
#define ARN "arn:aws:lambda:eu-central-1:123456789012:function:"

struct row {
  const char *text;
  size_t n;
  const char *parts; /* partition|region|account|function|qualifier; NULL: refused */
  size_t wrong_at;
};

static const struct row functions[] = {
    {BYTES("f"), "|||f|", 0},
    {BYTES("my-Function_1"), "|||my-Function_1|", 0},
    {BYTES("f.g"), "|||f.g|", 0},
    {BYTES("..."), "|||...|", 0},
    {BYTES("f:prod"), "|||f|prod", 0},
    {BYTES("f:42"), "|||f|42", 0},
    {BYTES("f:$LATEST"), "|||f|$LATEST", 0},
    {BYTES("f:$LATEST.PUBLISHED"), "|||f|$LATEST.PUBLISHED", 0},
    {BYTES("arn:prod"), "|||arn|prod", 0},
    {BYTES("my-func-1:prod"), "|||my-func-1|prod", 0},
    {BYTES("function:f"), "|||f|", 0},
    {BYTES("123456789012:function:f"), "||123456789012|f|", 0},
    {BYTES("123456789012:function:f:1"), "||123456789012|f|1", 0},
    {BYTES("123456789012:f"), "||123456789012|f|", 0},
    {BYTES("us-east-1:123456789012:function:f:$LATEST"), "|us-east-1|123456789012|f|$LATEST", 0},
    {BYTES(ARN "f"), "aws|eu-central-1|123456789012|f|", 0},
    {BYTES(ARN "f:live"), "aws|eu-central-1|123456789012|f|live", 0},
    {BYTES("arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f"),
     "aws-us-gov|us-gov-west-1|123456789012|f|", 0},
    {BYTES("arn:aws-cn:lambda:cn-north-1:123456789012:function:f:$LATEST"),
     "aws-cn|cn-north-1|123456789012|f|$LATEST", 0},

    {BYTES(""), NULL, 0},
    {BYTES("."), NULL, 0},
    {BYTES(".."), NULL, 0},
    {BYTES("..:1"), NULL, 0},
    {BYTES(ARN ".."), NULL, sizeof ARN - 1},
    {BYTES("a/../b"), NULL, 1},
    {BYTES("f%2e"), NULL, 1},
    {BYTES("f\r\nX: y"), NULL, 1},
    {BYTES("f\0g"), NULL, 1},
    {BYTES("f g"), NULL, 1},
    {BYTES("f?x=1"), NULL, 1},
    {BYTES("f#x"), NULL, 1},
    {BYTES("f\\"), NULL, 1},
    {BYTES("f@g"), NULL, 1},
    {BYTES("caf\xc3\xa9"), NULL, 3},
    {BYTES("f\x7f"), NULL, 1},
    {BYTES("$LATEST"), NULL, 0},
    {BYTES("f:"), NULL, 2},
    {BYTES(":f"), NULL, 0},
    {BYTES(":"), NULL, 0},
    {BYTES("f:$latest"), NULL, 2},
    {BYTES("f:$LATEST.X"), NULL, 2},
    {BYTES("f:a.b"), NULL, 3},
    {BYTES("f:a:b"), NULL, 4},
    {BYTES("a:b:c:d:e:f:g:h:i"), NULL, 17},
    {BYTES("arn:aws:lambda:eu-central-1:123456789012:layer:f"), NULL, 41},
    {BYTES("arn:aws:s3:eu-central-1:123456789012:function:f"), NULL, 8},
    {BYTES("arn:AWS:lambda:eu-central-1:123456789012:function:f"), NULL, 4},
    {BYTES("arn::lambda:eu-central-1:123456789012:function:f"), NULL, 4},
    {BYTES("arn:aws:lambda:evil.com/:123456789012:function:f"), NULL, 15},
    {BYTES("arn:aws:lambda::123456789012:function:f"), NULL, 15},
    {BYTES("arn:aws:lambda:eu-central-1:12345678901:function:f"), NULL, 28},
    {BYTES("arn:aws:lambda:eu-central-1:12345678901x:function:f"), NULL, 28},
    {BYTES(ARN), NULL, sizeof ARN - 1},
    {BYTES(ARN "f:1:2"), NULL, 0},
};

static void
check_function(const struct row *row)
{
  struct lm_name name;
  struct lm_error err = {0};
  /* A copy of its own, so that a read past the end is seen. */
  char *text = malloc(row->n + (row->n == 0));
  CHECK(text != NULL);
  memcpy(text, row->text, row->n);
  int got = lm_name_check_function(text, row->n, &name, &err);
  CHECK(lm_name_check_function(text, row->n, NULL, &err) == got);
  if ((got == 0) != (row->parts != NULL)) {
    fprintf(stderr, "%s: %d\n", row->text, got);
    abort();
  }
  if (got == 0) {
    char parts[512];
    snprintf(parts, sizeof parts, "%.*s|%.*s|%.*s|%.*s|%.*s", (int)name.partition.len,
             name.partition.at, (int)name.region.len, name.region.at, (int)name.account.len,
             name.account.at, (int)name.function.len, name.function.at, (int)name.qualifier.len,
             name.qualifier.at);
    CHECK(strcmp(parts, row->parts) == 0);
  } else {
    CHECK(err.code == LM_E_INVALID);
    if (err.offset != row->wrong_at && row->wrong_at != 0) {
      fprintf(stderr, "%s: wrong at %zu\n", row->text, err.offset);
      abort();
    }
  }
  free(text);
}

static void
lengths(void)
{
  struct lm_error err;
  char text[300];
  memset(text, 'a', sizeof text);
  CHECK(lm_name_check_function(text, 256, NULL, &err) == 0);
  CHECK(lm_name_check_function(text, 257, NULL, &err) == -1);
  CHECK(lm_name_check_function(text, 300, NULL, &err) == -1);
  CHECK(lm_name_check_qualifier(text, 128, &err) == 0);
  CHECK(lm_name_check_qualifier(text, 129, &err) == -1);
  CHECK(lm_name_check_region(text, 63, &err) == 0);
  CHECK(lm_name_check_region(text, 64, &err) == -1);
  memcpy(text, "aa-a", 4); /* a region that is no label of a host name */
  memcpy(text + 62, "-1:123456789012:f", 17);
  CHECK(lm_name_check_function(text, 79, NULL, &err) == -1);
  memcpy(text + 61, "-1:123456789012:f", 17);
  CHECK(lm_name_check_function(text, 78, NULL, &err) == 0);
  memset(text, 'a', sizeof text);
  memcpy(text, "f:", 2);
  CHECK(lm_name_check_function(text, 130, NULL, &err) == 0);
  CHECK(lm_name_check_function(text, 131, NULL, &err) == -1 && err.offset == 130);
}

static void
qualifiers_and_regions(void)
{
  static const char *const good[] = {"1", "prod", "$LATEST", "$LATEST.PUBLISHED", "a-b_C9"};
  static const char *const bad[] = {"",    "$LATES", "$",        "a.b", "a:b",
                                    "a b", "a/b",    "\xc3\xa9", "a\n"};
  static const char *const regions[] = {"us-east-1", "us-gov-west-1", "eusc-de-east-1", "local",
                                        "a"};
  static const char *const no_regions[] = {"",     "evil.com/", "US-EAST-1", "-a",  "a-",
                                           "a--b", "a_b",       "a b",       "a\n", "a@b"};
  struct lm_error err;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    CHECK(lm_name_check_qualifier(good[i], strlen(good[i]), &err) == 0);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    CHECK(lm_name_check_qualifier(bad[i], strlen(bad[i]), &err) == -1 && err.code == LM_E_INVALID);
  for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++)
    CHECK(lm_name_check_region(regions[i], strlen(regions[i]), &err) == 0);
  for (size_t i = 0; i < sizeof no_regions / sizeof no_regions[0]; i++)
    CHECK(lm_name_check_region(no_regions[i], strlen(no_regions[i]), &err) == -1);
}

static void
headers(void)
{
  struct lm_error err;
  CHECK(lm_name_check_header("it", "", 0, 10, &err) == 0);
  CHECK(lm_name_check_header("it", "Root=1-2;Sampled=0 ~", 20, 20, &err) == 0);
  CHECK(lm_name_check_header("it", "Root=1-2;Sampled=0 ~", 20, 19, &err) == -1);
  CHECK(lm_name_check_header("it", "a\r\nX: y", 7, 20, &err) == -1 && err.offset == 1);
  CHECK(lm_name_check_header("it", "a\tb", 3, 20, &err) == -1);
  CHECK(lm_name_check_header("it", "a\0b", 3, 20, &err) == -1);
  CHECK(lm_name_check_header("it", "\x7f", 1, 20, &err) == -1);
  CHECK(lm_name_check_header("it", "\xe9", 1, 20, &err) == -1);
}

static void
writing(void)
{
  struct lm_buf out;
  lm_buf_init(&out, 4096);
  lm_name_append_path(&out, BYTES("f:$LATEST"));
  lm_buf_byte(&out, '?');
  lm_name_append_query(&out, BYTES("$LATEST"));
  lm_name_append_query(&out, "", 0);
  lm_buf_byte(&out, '\0');
  CHECK(out.failed == LM_OK && strcmp((char *)out.data, "/2015-03-31/functions/f%3A%24LATEST/"
                                                        "invocations?Qualifier=%24LATEST") == 0);
  lm_buf_clear(&out);
  lm_name_append_encoded(&out, BYTES("aZ09-._~ /\0\xff"));
  lm_buf_byte(&out, '\0');
  CHECK(strcmp((char *)out.data, "aZ09-._~%20%2F%00%FF") == 0);
  lm_buf_clean_up(&out);
}

static void
write_with_little_memory(void)
{
  struct lm_buf out;
  lm_buf_init(&out, 4096);
  lm_name_append_path(&out, BYTES("f:prod"));
  CHECK(out.failed == LM_OK || out.failed == LM_E_NOMEM);
  lm_buf_clean_up(&out);
}

int
main(void)
{
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
    check_function(&functions[i]);
  lengths();
  qualifiers_and_regions();
  headers();
  writing();
  check_every_allocation(write_with_little_memory);
  return 0;
}
