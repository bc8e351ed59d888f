/* One parsed CA store per process and source, shared by every TLS connection. */
#ifndef LM_OS_TLS_H
#define LM_OS_TLS_H

#include <stdbool.h>

#include "base/error.h"

/* What libcurl's TLS is, as its version info names it. Said once, before the first endpoint. */
void lm_tls_set_transport(const char *ssl_version);

/* Whether that is the same OpenSSL that this module was linked with, so that a store of ours may be
 * handed to it. Otherwise connections fall back to CAINFO. */
bool lm_tls_store_usable(void);

const char *lm_tls_version(void); /* of the OpenSSL that this module runs with */

/* The X509_STORE for a bundle file and a folder of hashed certificates, either of which may be
 * NULL; both NULL: the bundle of the distribution. Parsed when first asked for, kept until the
 * process ends; thread-safe. NULL: *err says which file. */
struct x509_store_st *lm_tls_store(const char *ca_file, const char *ca_path, struct lm_error *err);

/* The distribution's bundle file, or NULL when none is found. Static storage. */
const char *lm_tls_default_ca_file(void);

/* Around a fork: nobody is parsing a store while it happens. */
void lm_tls_lock(void);
void lm_tls_unlock(void);

/* Make an SSL_CTX verify against the store, and keep its keys to itself: SSLKEYLOGFILE, which would
 * write them to a file, is not honoured. */
void lm_tls_use_store(void *ssl_ctx, struct x509_store_st *store);

#endif
