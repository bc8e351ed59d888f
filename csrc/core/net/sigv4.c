#include "net/sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

enum {
  DIGEST = 32,
  BLOCK = 64,
  DATE_LEN = 8,        /* 20261124 */
  STAMP_LEN = 16,      /* 20261124T101500Z */
  MAX_CANONICAL = 65536,
  MAX_SECRET = 512
};

struct lm_sigv4 {
  EVP_MD_CTX *context;  /* owned */
  const EVP_MD *sha256; /* owned when it was fetched */
  struct lm_buf text;   /* canonical request, then string to sign */
  struct lm_buf signed_names;
  char scope_key[MAX_SECRET + DATE_LEN + 80]; /* date, region and secret that `key` was made from */
  uint8_t key[DIGEST];
};

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
static const EVP_MD *
get_sha256(void)
{
  return EVP_MD_fetch(NULL, "SHA256", NULL); /* EVP_sha256() looks it up at every digest */
}

static void
put_sha256(const EVP_MD *md)
{
  EVP_MD_free((EVP_MD *)md);
}
#else
static const EVP_MD *
get_sha256(void)
{
  return EVP_sha256();
}

static void
put_sha256(const EVP_MD *md)
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
  signer->sha256 = get_sha256();
  if (signer->context == NULL || signer->sha256 == NULL) {
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
  put_sha256(signer->sha256);
  EVP_MD_CTX_free(signer->context);
  lm_buf_clean_up(&signer->signed_names);
  lm_buf_clean_up(&signer->text);
  OPENSSL_cleanse(signer, sizeof *signer);
  lm_free(signer);
}

/* --- digests --- */

static bool
digest(struct lm_sigv4 *signer, const void *first, size_t first_len, const void *second,
       size_t second_len, uint8_t out[DIGEST])
{
  return EVP_DigestInit_ex(signer->context, signer->sha256, NULL) == 1 &&
         EVP_DigestUpdate(signer->context, first, first_len) == 1 &&
         EVP_DigestUpdate(signer->context, second, second_len) == 1 &&
         EVP_DigestFinal_ex(signer->context, out, NULL) == 1;
}

/* HMAC-SHA-256 (RFC 2104). key_len is at most BLOCK, or it is digested first. */
static bool
hmac(struct lm_sigv4 *signer, const void *key, size_t key_len, const void *text, size_t text_len,
     uint8_t out[DIGEST])
{
  uint8_t inner[BLOCK] = {0}, outer[BLOCK], hash[DIGEST];
  bool good = true;
  if (key_len > BLOCK)
    good = digest(signer, key, key_len, "", 0, inner);
  else
    memcpy(inner, key, key_len);
  for (int i = 0; i < BLOCK; i++) {
    outer[i] = inner[i] ^ 0x5c;
    inner[i] ^= 0x36;
  }
  good = good && digest(signer, inner, BLOCK, text, text_len, hash) &&
         digest(signer, outer, BLOCK, hash, DIGEST, out);
  OPENSSL_cleanse(inner, sizeof inner);
  OPENSSL_cleanse(outer, sizeof outer);
  return good;
}

static void
append_hex(struct lm_buf *out, const uint8_t hash[DIGEST])
{
  static const char digits[] = "0123456789abcdef";
  char text[2 * DIGEST];
  for (int i = 0; i < DIGEST; i++) {
    text[2 * i] = digits[hash[i] >> 4];
    text[2 * i + 1] = digits[hash[i] & 15];
  }
  lm_buf_append(out, text, sizeof text);
}

/* --- the parts --- */

static void
put_digits(char *at, int width, int64_t number)
{
  for (int i = width - 1; i >= 0; i--, number /= 10)
    at[i] = (char)('0' + number % 10);
}

/* 20261124T101500Z out of seconds since 1970, in the Gregorian calendar. */
static void
write_stamp(int64_t unix_s, char stamp[STAMP_LEN + 1])
{
  if (unix_s < 0)
    unix_s = 0;
  int64_t days = unix_s / 86400 + 719468, seconds = unix_s % 86400;
  int64_t era = days / 146097, of_era = days % 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month_from_march = (5 * of_year + 2) / 153;
  int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  put_digits(stamp, 4, era * 400 + year_of_era + (month <= 2));
  put_digits(stamp + 4, 2, month);
  put_digits(stamp + 6, 2, of_year - (153 * month_from_march + 2) / 5 + 1);
  stamp[8] = 'T';
  put_digits(stamp + 9, 2, seconds / 3600);
  put_digits(stamp + 11, 2, seconds / 60 % 60);
  put_digits(stamp + 13, 2, seconds % 60);
  stamp[15] = 'Z';
  stamp[16] = '\0';
}

/* The wire path with each segment encoded once more, as every service but S3 wants it. */
static void
append_path(struct lm_buf *out, const char *path)
{
  static const char digits[] = "0123456789ABCDEF";
  for (; *path != '\0'; path++) {
    unsigned char c = (unsigned char)*path;
    bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                 (c != '\0' && strchr("-._~/", c) != NULL);
    if (plain) {
      lm_buf_byte(out, c);
    } else {
      char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
      lm_buf_append(out, escape, 3);
    }
  }
}

static void
append_header(struct lm_sigv4 *signer, const char *name, const char *value)
{
  lm_buf_str(&signer->text, name);
  lm_buf_byte(&signer->text, ':');
  /* Blanks are trimmed and inner runs of them folded to one. */
  bool pending = false, any = false;
  for (; *value != '\0'; value++) {
    if (*value == ' ') {
      pending = any;
      continue;
    }
    if (pending)
      lm_buf_byte(&signer->text, ' ');
    pending = false;
    any = true;
    lm_buf_byte(&signer->text, (uint8_t)*value);
  }
  lm_buf_byte(&signer->text, '\n');
  if (signer->signed_names.len > 0)
    lm_buf_byte(&signer->signed_names, ';');
  lm_buf_str(&signer->signed_names, name);
}

static void
append_headers(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, const char *stamp)
{
  const char *own[] = {"x-amz-date", stamp, "x-amz-security-token", request->token};
  size_t next = 0, n_own = request->token != NULL ? 2 : 1;
  const char *const *extra = request->extra;
  append_header(signer, "content-type", "application/json");
  append_header(signer, "host", request->host);
  while (next < n_own || extra[0] != NULL) {
    if (extra[0] == NULL || (next < n_own && strcmp(own[2 * next], extra[0]) < 0)) {
      append_header(signer, own[2 * next], own[2 * next + 1]);
      next++;
    } else {
      append_header(signer, extra[0], extra[1]);
      extra += 2;
    }
  }
}

/* signer->key for this day, region and secret; made only when one of them has changed. */
static int
derive_key(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, const char *date,
           struct lm_error *err)
{
  char wanted[sizeof signer->scope_key];
  char secret[MAX_SECRET + 8];
  size_t secret_len = strlen(request->secret_key), region_len = strlen(request->region);
  if (secret_len > MAX_SECRET || region_len > 64)
    return lm_error_set(err, LM_E_INVALID, "the secret key or the region is too long");
  memset(wanted, 0, sizeof wanted);
  memcpy(wanted, date, DATE_LEN);
  memcpy(wanted + DATE_LEN, request->region, region_len);
  memcpy(wanted + DATE_LEN + 66, request->secret_key, secret_len);
  int result = 0;
  if (memcmp(wanted, signer->scope_key, sizeof wanted) != 0) {
    memset(signer->scope_key, 0, sizeof signer->scope_key); /* no key yet, should one step fail */
    memcpy(secret, "AWS4", 4);
    memcpy(secret + 4, request->secret_key, secret_len);
    if (hmac(signer, secret, secret_len + 4, date, DATE_LEN, signer->key) &&
        hmac(signer, signer->key, DIGEST, request->region, region_len, signer->key) &&
        hmac(signer, signer->key, DIGEST, "lambda", 6, signer->key) &&
        hmac(signer, signer->key, DIGEST, "aws4_request", 12, signer->key))
      memcpy(signer->scope_key, wanted, sizeof wanted);
    else
      result = lm_error_set(err, LM_E_SYSTEM, "libcrypto cannot compute a signature");
    OPENSSL_cleanse(secret, sizeof secret);
  }
  OPENSSL_cleanse(wanted, sizeof wanted);
  return result;
}

static void
append_scope(struct lm_buf *out, const struct lm_sigv4_request *request, const char *date)
{
  lm_buf_append(out, date, DATE_LEN);
  lm_buf_byte(out, '/');
  lm_buf_str(out, request->region);
  lm_buf_str(out, "/lambda/aws4_request");
}

int
lm_sigv4_sign(struct lm_sigv4 *signer, const struct lm_sigv4_request *request, struct lm_buf *out,
              struct lm_error *err)
{
  char stamp[STAMP_LEN + 1];
  uint8_t hash[DIGEST];
  struct lm_buf *text = &signer->text;
  write_stamp(request->unix_s, stamp);
  if (derive_key(signer, request, stamp, err) != 0)
    return -1;
  lm_buf_clear(text);
  lm_buf_clear(&signer->signed_names);
  lm_buf_str(text, "POST\n");
  append_path(text, request->path);
  lm_buf_byte(text, '\n');
  lm_buf_str(text, request->query);
  lm_buf_byte(text, '\n');
  append_headers(signer, request, stamp);
  lm_buf_byte(text, '\n');
  lm_buf_append(text, signer->signed_names.data, signer->signed_names.len);
  lm_buf_byte(text, '\n');
  if (!digest(signer, request->body, request->body_len, "", 0, hash))
    return lm_error_set(err, LM_E_SYSTEM, "libcrypto cannot compute a digest");
  append_hex(text, hash);
  if (lm_buf_check(text, "the canonical request", err) != 0)
    return -1;
  if (!digest(signer, text->data, text->len, "", 0, hash))
    return lm_error_set(err, LM_E_SYSTEM, "libcrypto cannot compute a digest");

  lm_buf_clear(text);
  lm_buf_str(text, "AWS4-HMAC-SHA256\n");
  lm_buf_append(text, stamp, STAMP_LEN);
  lm_buf_byte(text, '\n');
  append_scope(text, request, stamp);
  lm_buf_byte(text, '\n');
  append_hex(text, hash);
  if (lm_buf_check(text, "the string to sign", err) != 0)
    return -1;
  if (!hmac(signer, signer->key, DIGEST, text->data, text->len, hash))
    return lm_error_set(err, LM_E_SYSTEM, "libcrypto cannot compute a signature");

  lm_buf_str(out, "X-Amz-Date: ");
  lm_buf_append(out, stamp, STAMP_LEN);
  if (request->token != NULL) {
    lm_buf_str(out, "\r\nX-Amz-Security-Token: ");
    lm_buf_str(out, request->token);
  }
  lm_buf_str(out, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=");
  lm_buf_str(out, request->access_key);
  lm_buf_byte(out, '/');
  append_scope(out, request, stamp);
  lm_buf_str(out, ", SignedHeaders=");
  lm_buf_append(out, signer->signed_names.data, signer->signed_names.len);
  lm_buf_str(out, ", Signature=");
  append_hex(out, hash);
  lm_buf_str(out, "\r\n");
  return lm_buf_check(out, "the request head", err);
}
