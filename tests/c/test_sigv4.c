/* transport/sigv4: signatures by botocore, the cached key, invalid values, memory. */
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "transport/sigv4.h"

#define SCOPE "20260921/eu-central-1/lambda/aws4_request"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

static const char *const tail[] = {"x-amz-log-type", "Tail", NULL};

static struct lm_sigv4_request
plain(void)
{
  return (struct lm_sigv4_request){
      .host = "lambda.eu-central-1.amazonaws.com",
      .path = "/2015-03-31/functions/f/invocations",
      .query = "",
      .body = (const uint8_t *)"{}",
      .body_len = 2,
      .region = "eu-central-1",
      .access_key = "AKIDEXAMPLE",
      .secret_key = SECRET,
      .unix_s = 1790000000,
  };
}

static const char *
sign(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, struct lm_buf *out)
{
  struct lm_error err;
  lm_buf_clear(out);
  CHECK(lm_sigv4_sign(signer, request, out, &err) == 0);
  lm_buf_byte(out, '\0');
  CHECK(out->failed == LM_OK);
  return (const char *)out->data;
}

static const char PLAIN[] =
    "X-Amz-Date: 20260921T141320Z\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" SCOPE
    ", SignedHeaders=content-type;host;x-amz-date, "
    "Signature=3d287aeafe57f09c171bd4af737aadf0d163f356266291e4dfde6e85fa33cbf3\r\n";
static const char FULL[] =
    "X-Amz-Date: 20260921T141320Z\r\n"
    "X-Amz-Security-Token: tok\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" SCOPE
    ", SignedHeaders=content-type;host;x-amz-date;x-amz-log-type;x-amz-security-token, "
    "Signature=8bdb83f4597049189420eaeb04b64f52cecb13bc0ce0f2224520ef1c30223eea\r\n";

static const char HASHED[] =
    "X-Amz-Content-Sha256: 39061532d423f2d385027b9d40fc07e2bedf7bf3151e8f8bdd5ff005cd5136d1\r\n"
    "X-Amz-Date: 20260921T141320Z\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" SCOPE
    ", SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, "
    "Signature=9dcf51f5a48912ecea3077759c175f52b00d97ecad5c4c69a934d3a6a65b25eb\r\n";

static void
known_signatures(void)
{
  static uint8_t long_body[LM_SIGV4_UNHASHED_BYTES + 1], body_digest[32];
  struct lm_sigv4 *signer = lm_sigv4_new();
  struct lm_buf out;
  struct lm_sigv4_request request = plain(), full = plain(), hashed = plain();
  CHECK(signer != NULL);
  lm_buf_init(&out, 4096);
  full.path = "/2015-03-31/functions/f%3Aprod/invocations";
  full.query = "Qualifier=%24LATEST";
  full.token = "tok";
  full.extra = tail;
  CHECK(strcmp(sign(signer, &request, &out), PLAIN) == 0);
  CHECK(strcmp(sign(signer, &full, &out), FULL) == 0);

  /* The head of a large body has its hash, whether it was passed or computed. */
  memset(long_body, 'x', sizeof long_body);
  hashed.body = long_body;
  hashed.body_len = sizeof long_body;
  CHECK(strcmp(sign(signer, &hashed, &out), HASHED) == 0);
  CHECK(lm_sigv4_digest(signer, hashed.body, hashed.body_len, body_digest));
  hashed.body_digest = body_digest;
  CHECK(strcmp(sign(signer, &hashed, &out), HASHED) == 0);
  hashed.body_len--;
  CHECK(strstr(sign(signer, &hashed, &out), "Sha256") == NULL);

  /* The key changes with the day, the region and the secret, and back. */
  struct lm_sigv4_request others[3] = {plain(), plain(), plain()};
  others[0].unix_s += 86400;
  others[1].region = "us-east-1";
  others[2].secret_key = SECRET "x";
  for (int i = 0; i < 3; i++) {
    CHECK(strcmp(sign(signer, &others[i], &out), PLAIN) != 0);
    CHECK(strcmp(sign(signer, &request, &out), PLAIN) == 0);
  }

  /* Once the buffers have grown, signing allocates nothing. */
  lm_alloc_fail_from(1);
  CHECK(strcmp(sign(signer, &full, &out), FULL) == 0);
  CHECK(strcmp(sign(signer, &others[1], &out), PLAIN) != 0);
  CHECK(lm_alloc_count() == 0);
  lm_alloc_fail_from(0);
  lm_buf_clean_up(&out);
  lm_sigv4_destroy(signer);
}

static void
refusals(void)
{
  static char long_text[70000];
  static const char *const hostile[] = {"x-amz-a", "a\r\nX: y", NULL};
  struct lm_sigv4 *signer = lm_sigv4_new();
  struct lm_buf out;
  struct lm_error err;
  struct lm_sigv4_request bad[8];
  CHECK(signer != NULL);
  memset(long_text, 'x', sizeof long_text - 1);
  for (int i = 0; i < 8; i++)
    bad[i] = plain();
  bad[0].token = "a\nb";
  bad[1].extra = hostile;
  bad[2].access_key = "a b";
  bad[3].region = "eu\r\n";
  bad[4].secret_key = long_text;
  bad[5].region = long_text;
  bad[6].host = "a\tb";
  bad[7].token = "caf\xe9";
  lm_buf_init(&out, 4096);
  for (int i = 0; i < 8; i++) {
    CHECK(lm_sigv4_sign(signer, &bad[i], &out, &err) == -1 && err.code == LM_E_INVALID);
    CHECK(out.len == 0);
  }
  bad[0].token = long_text;
  CHECK(lm_sigv4_sign(signer, &bad[0], &out, &err) == -1 && err.code == LM_E_LIMIT);
  struct lm_sigv4_request request = plain(); /* the next one is not affected */
  CHECK(strcmp(sign(signer, &request, &out), PLAIN) == 0);
  lm_buf_clean_up(&out);
  lm_buf_init(&out, 100);
  CHECK(lm_sigv4_sign(signer, &request, &out, &err) == -1 && err.code == LM_E_LIMIT);
  lm_buf_clean_up(&out);
  lm_sigv4_destroy(signer);
  lm_sigv4_destroy(NULL);
}

static void
sign_with_little_memory(void)
{
  static char token[6000];
  struct lm_error err;
  struct lm_buf out;
  memset(token, 't', sizeof token - 1);
  struct lm_sigv4_request request = plain();
  request.token = token; /* longer than the signer's first buffer */
  lm_buf_init(&out, 8192);
  struct lm_sigv4 *signer = lm_sigv4_new();
  if (signer != NULL && lm_sigv4_sign(signer, &request, &out, &err) != 0)
    CHECK(err.code == LM_E_NOMEM);
  lm_sigv4_destroy(signer);
  lm_buf_clean_up(&out);
}

int
main(void)
{
  known_signatures();
  refusals();
  check_every_allocation(sign_with_little_memory);
  return 0;
}
