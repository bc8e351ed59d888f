/* One Lambda endpoint and the addresses of the host that connections go to.
 *
 * The name is resolved on a thread of its own, by at most one look-up at a time. Addresses are fresh for
 * 30 s; later ones are still used while a new look-up runs. A failure to connect starts a look-up at the
 * next one. I/O threads never wait for a look-up. Reference-counted and thread-safe.
 */
#ifndef LM_TRANSPORT_ENDPOINT_H
#define LM_TRANSPORT_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "os/threads.h"

enum lm_http_version {
  LM_HTTP_ANY, /* HTTP/2 if the peer chooses it (ALPN), else HTTP/1.1 */
  LM_HTTP_1,
  LM_HTTP_2
};

struct lm_endpoint_spec { /* borrowed for the call */
  bool tls;
  const char *host; /* name or address; IPv6 without brackets */
  uint16_t port;
  const char *proxy;      /* URL; NULL: none, the environment is ignored */
  const char *proxy_host; /* the URL's host; NULL without a proxy */
  uint16_t proxy_port;
  const char *ca_file; /* NULL: the distribution's bundle */
  const char *ca_path;
  enum lm_http_version http_version;
};

/* The number of idle connections of one I/O thread that are not claimed; negative if a claimed one was
 * closed. Padded to a cache line. */
struct lm_idle {
  atomic_int n;
  char padding[60];
};

struct lm_endpoint {
  /* Owned; immutable after lm_endpoint_new unless said otherwise. */
  bool tls;
  char *host;
  char *url;       /* https://host:port/, for libcurl */
  char *authority; /* the Host header: host, with the port unless it is the scheme's default */
  char *proxy;
  char *ca_file;
  struct x509_store_st *store; /* never freed; NULL without TLS or if not usable (tls.h) */
  char *dial_host;             /* host, or the proxy's host */
  uint16_t dial_port;
  enum lm_http_version http_version; /* that is wanted */
  bool offers_http2;                 /* it is wanted, over TLS that we can set up */
  atomic_int speaks; /* enum lm_http_version of the last connection; ANY: there was none; changes */
  bool literal;      /* dial_host is an address: no look-up */
  atomic_int_fast64_t clock_offset_s;     /* to add to our clock when signing; changes */
  struct lm_idle idle[LM_MAX_IO_THREADS]; /* by the thread's index */
  struct lm_addresses *known;             /* private to endpoint.c; changes */
};

struct lm_endpoint *lm_endpoint_new(const struct lm_endpoint_spec *spec, struct lm_error *err);
struct lm_endpoint *lm_endpoint_ref(struct lm_endpoint *endpoint);
void lm_endpoint_unref(struct lm_endpoint *endpoint); /* NULL is allowed */
bool lm_endpoint_same(const struct lm_endpoint *endpoint, const struct lm_endpoint_spec *spec);

enum lm_dial { LM_DIAL_READY, LM_DIAL_WAIT, LM_DIAL_UNKNOWN_NAME, LM_DIAL_FAILED };

/* Where an attempt that began at asked_ns should connect to. READY: `list` has an entry for CURLOPT_RESOLVE,
 * starting with the next address in turn, or "" if none is needed. WAIT: a look-up is running; when it ends,
 * `woken(context)` is called once from its thread, under the endpoint's lock, unless lm_endpoint_forget was
 * called. UNKNOWN_NAME and FAILED: a look-up that ended after asked_ns failed, or none could start; *err has the
 * reason. */
enum lm_dial lm_endpoint_dial(struct lm_endpoint *endpoint, int64_t asked_ns, int64_t now_ns,
                              char *list, size_t list_size, void (*woken)(void *), void *context,
                              struct lm_error *err);

/* After this, `woken` is not called with this context, and no such call is running. */
void lm_endpoint_forget(struct lm_endpoint *endpoint, void *context);

/* Claim one of a thread's idle connections for a job. False: there is none. */
bool lm_endpoint_claim(struct lm_endpoint *endpoint, unsigned thread);
/* Add n to the number of idle connections that are not claimed. */
void lm_endpoint_add_idle(struct lm_endpoint *endpoint, unsigned thread, int n);

/* Connecting failed: start a look-up with the next lm_endpoint_dial. */
void lm_endpoint_suspect(struct lm_endpoint *endpoint);

#endif
