/* CA certificates: one parsed store per process and source, shared by all TLS connections. */
#ifndef LM_OS_TLS_H
#define LM_OS_TLS_H

#include <stdbool.h>

#include "base/error.h"

/* Set the TLS library of libcurl, as its version info names it. Once, before the first endpoint. */
void lm_tls_set_transport(const char *ssl_version);

/* Whether that is the OpenSSL that this module is linked with, so that it can use a store of ours.
 * Otherwise connections use CURLOPT_CAINFO. */
bool lm_tls_store_usable(void);

const char *lm_tls_version(void); /* of the OpenSSL in use; static */

/* The X509_STORE for a bundle file and a directory of hashed certificates. Either may be NULL; both NULL:
 * the distribution's bundle. Parsed at the first call, kept until the process ends. Thread-safe. NULL:
 * *err names the file. */
struct x509_store_st *lm_tls_store(const char *ca_file, const char *ca_path, struct lm_error *err);

/* The distribution's bundle file, or NULL if none is found. Static. */
const char *lm_tls_default_ca_file(void);

/* Around a fork: no thread parses a store meanwhile. */
void lm_tls_lock(void);
void lm_tls_unlock(void);

/* Make an SSL_CTX verify against the store and ignore SSLKEYLOGFILE, which would write its keys to a
 * file. */
void lm_tls_use_store(void *ssl_ctx, struct x509_store_st *store);

/* Offer HTTP/2 and HTTP/1.1 in the handshakes of an SSL_CTX. *chosen is set when a handshake ends, and must
 * stay valid as long as the context. -1: out of memory. */
int lm_tls_offer_http2(void *ssl_ctx, bool *chosen);

#endif
