#include "transport/sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

enum {
  DIGEST = 32,
  HEX = 2 * DIGEST,
  BLOCK = 64,
  DATE_LEN = 8,   /* 20261124 */
  STAMP_LEN = 16, /* 20261124T101500Z */
  FIRST_CANONICAL = 4096,
  MAX_CANONICAL = 65536
};

struct lm_sigv4 {
  EVP_MD_CTX *context;        /* owned */
  const EVP_MD *sha256;       /* owned with OpenSSL 3 */
  struct lm_buf text;         /* canonical request, then string to sign */
  struct lm_buf signed_names; /* a;b;c */
  /* What `key` was derived from; date is "" if there is none. */
  char date[DATE_LEN + 1];
  char region[LM_SIGV4_MAX_REGION + 1];
  char secret[LM_SIGV4_MAX_SECRET + 1];
  uint8_t key[DIGEST];
};

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
static const EVP_MD *
sigv4_get_sha256(void)
{
  return EVP_MD_fetch(NULL, "SHA256", NULL); /* EVP_sha256() would be looked up at every digest */
}

static void
sigv4_put_sha256(const EVP_MD *md)
{
  EVP_MD_free((EVP_MD *)md);
}
#else
static const EVP_MD *
sigv4_get_sha256(void)
{
  return EVP_sha256();
}

static void
sigv4_put_sha256(const EVP_MD *md)
{
  (void)md;
}
#endif

struct lm_sigv4 *
lm_sigv4_new(void)
{
  struct lm_sigv4 *signer = lm_alloc_zero(1, sizeof *signer);
  if (signer == NULL)
    return NULL;
  lm_buf_init(&signer->text, MAX_CANONICAL);
  lm_buf_init(&signer->signed_names, MAX_CANONICAL);
  signer->context = EVP_MD_CTX_new();
  signer->sha256 = sigv4_get_sha256();
  if (signer->context == NULL || signer->sha256 == NULL ||
      lm_buf_reserve(&signer->text, FIRST_CANONICAL) == NULL ||
      lm_buf_reserve(&signer->signed_names, 1) == NULL) {
    lm_sigv4_destroy(signer);
    return NULL;
  }
  return signer;
}

void
lm_sigv4_destroy(struct lm_sigv4 *signer)
{
  if (signer == NULL)
    return;
  sigv4_put_sha256(signer->sha256);
  EVP_MD_CTX_free(signer->context);
  lm_buf_clean_up(&signer->signed_names);
  if (signer->text.data != NULL)
    OPENSSL_cleanse(signer->text.data, signer->text.cap); /* the session token */
  lm_buf_clean_up(&signer->text);
  OPENSSL_cleanse(signer, sizeof *signer);
  lm_free(signer);
}

/* --- digests --- */

static bool
sigv4_digest(struct lm_sigv4 *signer, const void *first, size_t first_len, const void *second,
             size_t second_len, uint8_t out[DIGEST])
{
  return EVP_DigestInit_ex(signer->context, signer->sha256, NULL) == 1 &&
         EVP_DigestUpdate(signer->context, first, first_len) == 1 &&
         (second_len == 0 || EVP_DigestUpdate(signer->context, second, second_len) == 1) &&
         EVP_DigestFinal_ex(signer->context, out, NULL) == 1;
}

bool
lm_sigv4_digest(struct lm_sigv4 *signer, const uint8_t *bytes, size_t len, uint8_t out[DIGEST])
{
  return sigv4_digest(signer, bytes, len, NULL, 0, out);
}

/* HMAC-SHA-256 (RFC 2104). `out` may be `key`. */
static bool
sigv4_hmac(struct lm_sigv4 *signer, const void *key, size_t key_len, const void *text,
           size_t text_len, uint8_t out[DIGEST])
{
  uint8_t inner[BLOCK] = {0}, outer[BLOCK], hash[DIGEST];
  bool good = true;
  if (key_len > BLOCK)
    good = sigv4_digest(signer, key, key_len, NULL, 0, inner);
  else
    memcpy(inner, key, key_len);
  for (int i = 0; i < BLOCK; i++) {
    outer[i] = inner[i] ^ 0x5c;
    inner[i] ^= 0x36;
  }
  good = good && sigv4_digest(signer, inner, BLOCK, text, text_len, hash) &&
         sigv4_digest(signer, outer, BLOCK, hash, DIGEST, out);
  OPENSSL_cleanse(inner, sizeof inner);
  OPENSSL_cleanse(outer, sizeof outer);
  OPENSSL_cleanse(hash, sizeof hash); /* as secret as `out` */
  return good;
}

static int
sigv4_no_digest(struct lm_error *err)
{
  return lm_error_set(err, LM_E_SYSTEM, "libcrypto failed to compute a SHA-256 digest");
}

static void
sigv4_write_hex(const uint8_t hash[DIGEST], char text[HEX])
{
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < DIGEST; i++) {
    text[2 * i] = digits[hash[i] >> 4];
    text[2 * i + 1] = digits[hash[i] & 15];
  }
}

static void
sigv4_append_hex(struct lm_buf *out, const uint8_t hash[DIGEST])
{
  char text[HEX];
  sigv4_write_hex(hash, text);
  lm_buf_append(out, text, sizeof text);
}

/* --- the parts --- */

static void
sigv4_put_digits(char *at, int width, int64_t number)
{
  for (int i = width - 1; i >= 0; i--, number /= 10)
    at[i] = (char)('0' + number % 10);
}

/* Write seconds since 1970 as 20261124T101500Z. */
static void
sigv4_write_stamp(int64_t unix_s, char stamp[STAMP_LEN + 1])
{
  if (unix_s < 0)
    unix_s = 0;
  int64_t days = unix_s / 86400 + 719468, seconds = unix_s % 86400;
  int64_t era = days / 146097, of_era = days % 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month_from_march = (5 * of_year + 2) / 153;
  int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  sigv4_put_digits(stamp, 4, era * 400 + year_of_era + (month <= 2));
  sigv4_put_digits(stamp + 4, 2, month);
  sigv4_put_digits(stamp + 6, 2, of_year - (153 * month_from_march + 2) / 5 + 1);
  stamp[8] = 'T';
  sigv4_put_digits(stamp + 9, 2, seconds / 3600);
  sigv4_put_digits(stamp + 11, 2, seconds / 60 % 60);
  sigv4_put_digits(stamp + 13, 2, seconds % 60);
  stamp[15] = 'Z';
  stamp[16] = '\0';
}

/* Append the path percent-encoded once more, as all services but S3 require: everything but unreserved
 * characters and '/'. */
static void
sigv4_append_path(struct lm_buf *out, const char *path)
{
  static const char digits[] = "0123456789ABCDEF";
  size_t len = strlen(path);
  uint8_t *room = lm_buf_reserve(out, 3 * len);
  if (room == NULL)
    return;
  uint8_t *at = room;
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)path[i];
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '/' ||
        c == '-' || c == '.' || c == '_' || c == '~') {
      *at++ = c;
    } else {
      *at++ = '%';
      *at++ = (uint8_t)digits[c >> 4];
      *at++ = (uint8_t)digits[c & 15];
    }
  }
  out->len += (size_t)(at - room);
}

/* Append name:value, with spaces trimmed and runs of them replaced by one. */
static int
sigv4_append_header(struct lm_sigv4 *signer, const char *name, const char *value,
                    struct lm_error *err)
{
  struct lm_buf *text = &signer->text, *names = &signer->signed_names;
  size_t name_len = strlen(name), value_len = strlen(value);
  uint8_t *at = lm_buf_reserve(text, name_len + value_len + 2);
  uint8_t *list = lm_buf_reserve(names, name_len + 1);
  if (at == NULL || list == NULL)
    return lm_buf_check(at == NULL ? text : names, "the canonical request", err);
  memcpy(at, name, name_len);
  at[name_len] = ':';
  uint8_t *start = at + name_len + 1, *end = start;
  for (size_t i = 0; i < value_len; i++) {
    unsigned char c = (unsigned char)value[i];
    if (c > ' ' && c < 0x7f)
      *end++ = c;
    else if (c != ' ')
      return lm_error_set(err, LM_E_INVALID,
                          "value of header %.64s contains a character outside printable ASCII",
                          name);
    else if (end > start && end[-1] != ' ')
      *end++ = ' ';
  }
  if (end > start && end[-1] == ' ')
    end--;
  *end++ = '\n';
  text->len += (size_t)(end - at);
  if (names->len > 0)
    lm_buf_byte(names, ';');
  lm_buf_append(names, name, name_len);
  return 0;
}

static bool
sigv4_shows_hash(const struct lm_sigv4_request *request)
{
  return request->body_len > LM_SIGV4_UNHASHED_BYTES;
}

/* Append the headers sorted by name: content-type, host, then ours and the caller's x-amz-* merged. */
static int
sigv4_append_headers(struct lm_sigv4 *signer, const struct lm_sigv4_request *request,
                     const char *stamp, const char *body_hash, struct lm_error *err)
{
  static const char *const none[] = {NULL};
  const char *const own[] = {"x-amz-content-sha256",
                             body_hash,
                             "x-amz-date",
                             stamp,
                             request->token == NULL ? NULL : "x-amz-security-token",
                             request->token,
                             NULL};
  const char *const *ours = sigv4_shows_hash(request) ? own : own + 2;
  const char *const *theirs = request->extra == NULL ? none : request->extra;
  if (sigv4_append_header(signer, "content-type", "application/json", err) != 0 ||
      sigv4_append_header(signer, "host", request->host, err) != 0)
    return -1;
  while (*ours != NULL || *theirs != NULL) {
    const char *const **next =
        *theirs == NULL || (*ours != NULL && strcmp(*ours, *theirs) < 0) ? &ours : &theirs;
    if (sigv4_append_header(signer, (*next)[0], (*next)[1], err) != 0)
      return -1;
    *next += 2;
  }
  return 0;
}

/* Derive signer->key for this day, region and secret, if one of them has changed. */
static int
sigv4_derive_key(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, const char *date,
                 struct lm_error *err)
{
  if (memcmp(signer->date, date, DATE_LEN) == 0 && strcmp(signer->region, request->region) == 0 &&
      strcmp(signer->secret, request->secret_key) == 0)
    return 0;
  char secret[LM_SIGV4_MAX_SECRET + 4];
  size_t secret_len = strlen(request->secret_key), region_len = strlen(request->region);
  if (secret_len > LM_SIGV4_MAX_SECRET)
    return lm_error_set(err, LM_E_INVALID, "secret key is longer than %d bytes",
                        LM_SIGV4_MAX_SECRET);
  if (region_len > LM_SIGV4_MAX_REGION)
    return lm_error_set(err, LM_E_INVALID, "region is longer than %d characters",
                        LM_SIGV4_MAX_REGION);
  signer->date[0] = '\0'; /* no key, if a step fails */
  memcpy(secret, "AWS4", 4);
  memcpy(secret + 4, request->secret_key, secret_len);
  bool good = sigv4_hmac(signer, secret, secret_len + 4, date, DATE_LEN, signer->key) &&
              sigv4_hmac(signer, signer->key, DIGEST, request->region, region_len, signer->key) &&
              sigv4_hmac(signer, signer->key, DIGEST, "lambda", 6, signer->key) &&
              sigv4_hmac(signer, signer->key, DIGEST, "aws4_request", 12, signer->key);
  OPENSSL_cleanse(secret, sizeof secret);
  if (!good)
    return sigv4_no_digest(err);
  OPENSSL_cleanse(signer->secret, sizeof signer->secret);
  memcpy(signer->secret, request->secret_key, secret_len + 1);
  memcpy(signer->region, request->region, region_len + 1);
  memcpy(signer->date, date, DATE_LEN);
  return 0;
}

static void
sigv4_append_scope(struct lm_buf *out, const struct lm_sigv4_request *request, const char *date)
{
  lm_buf_append(out, date, DATE_LEN);
  lm_buf_byte(out, '/');
  lm_buf_str(out, request->region);
  lm_buf_str(out, "/lambda/aws4_request");
}

/* Write the body's SHA-256 as lower-case hex. */
static int
sigv4_hash_body(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, char text[HEX + 1],
                struct lm_error *err)
{
  uint8_t hash[DIGEST];
  const uint8_t *known = request->body_digest;
  if (known == NULL && !sigv4_digest(signer, request->body, request->body_len, NULL, 0, hash))
    return sigv4_no_digest(err);
  sigv4_write_hex(known == NULL ? hash : known, text);
  text[HEX] = '\0';
  return 0;
}

/* Write the canonical request to signer->text. */
static int
sigv4_build_canonical(struct lm_sigv4 *signer, const struct lm_sigv4_request *request,
                      const char *stamp, const char *body_hash, struct lm_error *err)
{
  struct lm_buf *text = &signer->text;
  lm_buf_clear(text);
  lm_buf_clear(&signer->signed_names);
  lm_buf_str(text, "POST\n");
  sigv4_append_path(text, request->path);
  lm_buf_byte(text, '\n');
  lm_buf_str(text, request->query);
  lm_buf_byte(text, '\n');
  if (lm_buf_check(text, "the canonical request", err) != 0 ||
      sigv4_append_headers(signer, request, stamp, body_hash, err) != 0)
    return -1;
  lm_buf_byte(text, '\n');
  lm_buf_append(text, signer->signed_names.data, signer->signed_names.len);
  lm_buf_byte(text, '\n');
  lm_buf_append(text, body_hash, HEX);
  return lm_buf_check(text, "the canonical request", err);
}

/* Replace the canonical request in signer->text by the string to sign. */
static int
sigv4_build_string_to_sign(struct lm_sigv4 *signer, const struct lm_sigv4_request *request,
                           const char *stamp, struct lm_error *err)
{
  struct lm_buf *text = &signer->text;
  uint8_t hash[DIGEST];
  if (!sigv4_digest(signer, text->data, text->len, NULL, 0, hash))
    return sigv4_no_digest(err);
  lm_buf_clear(text);
  lm_buf_str(text, "AWS4-HMAC-SHA256\n");
  lm_buf_append(text, stamp, STAMP_LEN);
  lm_buf_byte(text, '\n');
  sigv4_append_scope(text, request, stamp);
  lm_buf_byte(text, '\n');
  sigv4_append_hex(text, hash);
  return lm_buf_check(text, "the string to sign", err);
}

static bool
sigv4_is_visible(const char *text)
{
  for (; *text != '\0'; text++)
    if (*text <= ' ' || *text >= 0x7f)
      return false;
  return true;
}

int
lm_sigv4_sign(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, struct lm_buf *out,
              struct lm_error *err)
{
  char stamp[STAMP_LEN + 1], body_hash[HEX + 1];
  uint8_t signature[DIGEST];
  if (!sigv4_is_visible(request->access_key) || !sigv4_is_visible(request->region))
    return lm_error_set(err, LM_E_INVALID,
                        "access key or region contains a character outside printable ASCII");
  sigv4_write_stamp(request->unix_s, stamp);
  if (sigv4_derive_key(signer, request, stamp, err) != 0 ||
      sigv4_hash_body(signer, request, body_hash, err) != 0 ||
      sigv4_build_canonical(signer, request, stamp, body_hash, err) != 0 ||
      sigv4_build_string_to_sign(signer, request, stamp, err) != 0)
    return -1;
  if (!sigv4_hmac(signer, signer->key, DIGEST, signer->text.data, signer->text.len, signature))
    return sigv4_no_digest(err);

  if (sigv4_shows_hash(request)) {
    lm_buf_str(out, "X-Amz-Content-Sha256: ");
    lm_buf_append(out, body_hash, HEX);
    lm_buf_str(out, "\r\n");
  }
  lm_buf_str(out, "X-Amz-Date: ");
  lm_buf_append(out, stamp, STAMP_LEN);
  if (request->token != NULL) {
    lm_buf_str(out, "\r\nX-Amz-Security-Token: ");
    lm_buf_str(out, request->token);
  }
  lm_buf_str(out, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=");
  lm_buf_str(out, request->access_key);
  lm_buf_byte(out, '/');
  sigv4_append_scope(out, request, stamp);
  lm_buf_str(out, ", SignedHeaders=");
  lm_buf_append(out, signer->signed_names.data, signer->signed_names.len);
  lm_buf_str(out, ", Signature=");
  sigv4_append_hex(out, signature);
  lm_buf_str(out, "\r\n");
  return lm_buf_check(out, "the request head", err);
}
