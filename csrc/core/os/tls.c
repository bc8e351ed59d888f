#include "os/tls.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "os/threads.h"

struct store {
  struct store *next;
  X509_STORE *parsed;
  char *ca_file, *ca_path; /* owned; NULL for none */
};

static struct lm_mutex lock = LM_MUTEX_INITIALIZER;
static bool usable;           /* set once, before any thread of ours runs */
static struct store *stores;  /* guarded by lock; lives as long as the process */
static int chosen_index = -1; /* where an SSL_CTX keeps `chosen`; set once, as `usable` */

void
lm_tls_set_transport(const char *ssl_version)
{
  /* "OpenSSL/3.0.15" against "OpenSSL 3.0.15 3 Sep 2024 ..." */
  const char *ours = lm_tls_version();
  usable = false;
  if (chosen_index < 0)
    chosen_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
  if (ssl_version == NULL || strncmp(ssl_version, "OpenSSL/", 8) != 0 ||
      strncmp(ours, "OpenSSL ", 8) != 0)
    return;
  size_t len = strcspn(ours + 8, " ");
  usable =
      strncmp(ssl_version + 8, ours + 8, len) == 0 && strchr(" +-", ssl_version[8 + len]) != NULL;
}

bool
lm_tls_store_usable(void)
{
  return usable;
}

const char *
lm_tls_version(void)
{
  return OpenSSL_version(OPENSSL_VERSION);
}

const char *
lm_tls_default_ca_file(void)
{
  static const char *const places[] = {
      "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Alpine, Arch */
      "/etc/pki/tls/certs/ca-bundle.crt",                  /* Amazon Linux, Fedora, RHEL */
      "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* newer RHEL */
      "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
      "/etc/ssl/cert.pem",                                 /* macOS, BSD */
  };
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
    if (access(places[i], R_OK) == 0)
      return places[i];
  return NULL;
}

static bool
tls_same(const char *a, const char *b)
{
  return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static char *
tls_copy(const char *text)
{
  size_t size = strlen(text) + 1;
  char *copied = lm_alloc(size);
  return copied == NULL ? NULL : memcpy(copied, text, size);
}

static struct store *
tls_parse(const char *ca_file, const char *ca_path, struct lm_error *err)
{
  struct store *store = lm_alloc_zero(1, sizeof *store);
  if (store == NULL) {
    lm_error_nomem(err, sizeof *store);
    return NULL;
  }
  if ((ca_file != NULL && (store->ca_file = tls_copy(ca_file)) == NULL) ||
      (ca_path != NULL && (store->ca_path = tls_copy(ca_path)) == NULL) ||
      (store->parsed = X509_STORE_new()) == NULL) {
    lm_error_nomem(err, sizeof *store);
    goto err_store;
  }
  const char *file = ca_file != NULL || ca_path != NULL ? ca_file : lm_tls_default_ca_file();
  if (file == NULL && ca_path == NULL) {
    lm_error_set(err, LM_E_INVALID,
                 "no CA bundle found on this system: install ca-certificates, or pass ca_bundle=");
    goto err_store;
  }
  if (X509_STORE_load_locations(store->parsed, file, ca_path) != 1) {
    lm_error_set(err, LM_E_INVALID, "cannot read CA certificates from %s",
                 file != NULL ? file : ca_path);
    goto err_store;
  }
  return store;

err_store:
  X509_STORE_free(store->parsed);
  lm_free(store->ca_path);
  lm_free(store->ca_file);
  lm_free(store);
  return NULL;
}

struct x509_store_st *
lm_tls_store(const char *ca_file, const char *ca_path, struct lm_error *err)
{
  lm_mutex_lock(&lock);
  struct store *store = stores;
  while (store != NULL && !(tls_same(store->ca_file, ca_file) && tls_same(store->ca_path, ca_path)))
    store = store->next;
  if (store == NULL && (store = tls_parse(ca_file, ca_path, err)) != NULL) {
    store->next = stores;
    stores = store;
  }
  lm_mutex_unlock(&lock);
  return store == NULL ? NULL : store->parsed;
}

void
lm_tls_lock(void)
{
  lm_mutex_lock(&lock);
}

void
lm_tls_unlock(void)
{
  lm_mutex_unlock(&lock);
}

void
lm_tls_use_store(void *ssl_ctx, struct x509_store_st *store)
{
  SSL_CTX_set1_cert_store(ssl_ctx, store);
  /* Read a record's header and body at once. Idle connections keep no record buffers and no session:
   * libcurl creates one context per connection, so no session could be resumed. */
  SSL_CTX_set_read_ahead(ssl_ctx, 1);
  SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_keylog_callback(ssl_ctx, NULL); /* libcurl sets one if SSLKEYLOGFILE is set */
}

static void
tls_on_info(const SSL *ssl, int where, int result)
{
  const unsigned char *name = NULL;
  unsigned len = 0;
  (void)result;
  if (!(where & SSL_CB_HANDSHAKE_DONE))
    return;
  bool *chosen = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), chosen_index);
  SSL_get0_alpn_selected(ssl, &name, &len);
  *chosen = len == 2 && memcmp(name, "h2", 2) == 0;
}

int
lm_tls_offer_http2(void *ssl_ctx, bool *chosen)
{
  static const unsigned char offered[] = "\x02h2\x08http/1.1";
  if (chosen_index < 0 || SSL_CTX_set_ex_data(ssl_ctx, chosen_index, chosen) != 1 ||
      SSL_CTX_set_alpn_protos(ssl_ctx, offered, sizeof offered - 1) != 0)
    return -1;
  SSL_CTX_set_info_callback(ssl_ctx, tls_on_info);
  return 0;
}
