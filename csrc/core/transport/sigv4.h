/* AWS Signature Version 4 for the Lambda API, with libcrypto's SHA-256.
 *
 * libcurl's signer is not used: those of Debian 12 and Ubuntu 24.04 sign names with a colon wrongly. A
 * signer belongs to one thread. It keeps its digest context, its buffers and the signing key of the last
 * (day, region, secret), so that signing allocates nothing once the buffers have grown. Secrets in it are
 * overwritten when it is destroyed.
 */
#ifndef LM_TRANSPORT_SIGV4_H
#define LM_TRANSPORT_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct lm_sigv4;

enum {
  LM_SIGV4_MAX_SECRET = 512,
  LM_SIGV4_MAX_REGION = 63,
  /* A larger body's hash is sent in the head, so that a server can check the signature before it reads the
   * body, as the local Lambda does. For smaller ones that would cost 4 % of a request. */
  LM_SIGV4_UNHASHED_BYTES = 16384
};

struct lm_sigv4_request {   /* all borrowed for the call */
  const char *host;         /* the Host header's value */
  const char *path;         /* as sent, percent-encoded */
  const char *query;        /* canonical: encoded, sorted; "": none */
  const char *const *extra; /* further x-amz-* headers to sign: lower-case name, value, ..., NULL;
                               sorted by name, no name twice; may be NULL */
  const uint8_t *body;
  size_t body_len;
  const uint8_t *body_digest; /* its SHA-256 if known, else NULL */
  const char *region;
  const char *access_key, *secret_key;
  const char *token; /* NULL: none */
  int64_t unix_s;    /* the signature's time */
};

struct lm_sigv4 *lm_sigv4_new(void); /* NULL when out of memory */
void lm_sigv4_destroy(struct lm_sigv4 *signer);

/* SHA-256, for body_digest. False: libcrypto failed. */
bool lm_sigv4_digest(struct lm_sigv4 *signer, const uint8_t *bytes, size_t len, uint8_t out[32]);

/* Append the header lines X-Amz-Content-Sha256 (for a body above LM_SIGV4_UNHASHED_BYTES), X-Amz-Date,
 * X-Amz-Security-Token (with a token) and Authorization to *out. Content-Type: application/json is signed,
 * too; the caller sends it. LM_E_INVALID for a value that is too long or has a character outside printable
 * ASCII, which could end its line. */
int lm_sigv4_sign(struct lm_sigv4 *signer, const struct lm_sigv4_request *request,
                  struct lm_buf *out, struct lm_error *err);

#endif
