/* AWS Signature Version 4 for the Lambda API, with libcrypto's SHA-256.
 *
 * libcurl's own signer is not used: the versions in Debian 12 and Ubuntu 24.04 mis-sign names with
 * a colon. A signer belongs to one thread; it keeps its digest context, its scratch buffers and the
 * signing key of the last (day, region, secret), so that a signature allocates nothing once the
 * buffers have grown. What is secret in it is overwritten when the signer goes.
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
  /* The head of a larger body has its hash, so that a server can check the signature before it
   * keeps any of the body: the local Lambda does. Below, it would cost a request 4 % more. */
  LM_SIGV4_UNHASHED_BYTES = 16384
};

struct lm_sigv4_request {   /* all borrowed for the call */
  const char *host;         /* as in the Host header, with a port that is not the scheme's own */
  const char *path;         /* as on the wire, percent-encoded */
  const char *query;        /* canonical: encoded, sorted; "" for none */
  const char *const *extra; /* further x-amz-* headers to sign: lower-case name, value, ..., NULL;
                               sorted by name, no name twice; may be NULL */
  const uint8_t *body;
  size_t body_len;
  const uint8_t *body_digest; /* its SHA-256 where that is known, else NULL */
  const char *region;
  const char *access_key, *secret_key;
  const char *token; /* NULL for none */
  int64_t unix_s;    /* the signature's time */
};

struct lm_sigv4 *lm_sigv4_new(void); /* NULL when out of memory */
void lm_sigv4_destroy(struct lm_sigv4 *signer);

/* SHA-256, for body_digest. False: libcrypto cannot. */
bool lm_sigv4_digest(struct lm_sigv4 *signer, const uint8_t *bytes, size_t len, uint8_t out[32]);

/* Append the header lines X-Amz-Content-Sha256 (with a body above LM_SIGV4_UNHASHED_BYTES),
 * X-Amz-Date, X-Amz-Security-Token (with a token) and Authorization to *out. Content-Type:
 * application/json is signed too, and the caller's to send. LM_E_INVALID for a value that is not
 * visible ASCII (it could end its header line), or too long. */
int lm_sigv4_sign(struct lm_sigv4 *signer, const struct lm_sigv4_request *request,
                  struct lm_buf *out, struct lm_error *err);

#endif
