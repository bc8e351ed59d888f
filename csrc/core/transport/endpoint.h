/* One Lambda endpoint and the addresses of the host that connections go to.
 *
 * Names are resolved on a thread of their own, at most one look-up at a time: answers serve for
 * 30 s, then go on serving while a new look-up runs; a connect failure asks for one at once. I/O
 * threads only ever read what is known. Reference-counted and thread-safe.
 */
#ifndef LM_TRANSPORT_ENDPOINT_H
#define LM_TRANSPORT_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "os/threads.h"

struct lm_endpoint_spec { /* all borrowed for the call */
  bool tls;
  const char *host; /* name or address; IPv6 without brackets */
  uint16_t port;
  const char *proxy;      /* URL, or NULL: none, whatever the environment says */
  const char *proxy_host; /* the part of it that is connected to; NULL without a proxy */
  uint16_t proxy_port;
  const char *ca_file; /* NULL: the distribution's */
  const char *ca_path;
};

/* Idle connections of one I/O thread that nobody has claimed; below zero when a claimed one is gone.
 * Each has a cache line of its own. */
struct lm_idle {
  atomic_int n;
  char apart[60];
};

struct lm_endpoint {
  /* Immutable after new; owned. */
  bool tls;
  char *host;
  char *url;       /* what libcurl connects to: https://host:port/ */
  char *authority; /* the Host header: host, with the port unless it is the scheme's own */
  char *proxy;
  char *ca_file;
  struct x509_store_st *store; /* borrowed for ever; NULL without TLS or when not usable */
  char *dial_host;             /* host, or the proxy's */
  uint16_t dial_port;
  bool literal;                           /* dial_host is an address: nothing to look up */
  atomic_int_fast64_t clock_offset_s;     /* to be added to our clock when signing; changes */
  struct lm_idle idle[LM_MAX_IO_THREADS]; /* by the thread's index */
  struct lm_addresses *known;             /* the rest is endpoint.c's */
};

struct lm_endpoint *lm_endpoint_new(const struct lm_endpoint_spec *spec, struct lm_error *err);
struct lm_endpoint *lm_endpoint_ref(struct lm_endpoint *endpoint);
void lm_endpoint_unref(struct lm_endpoint *endpoint); /* NULL is allowed */
bool lm_endpoint_same(const struct lm_endpoint *endpoint, const struct lm_endpoint_spec *spec);

enum lm_dial { LM_DIAL_READY, LM_DIAL_WAIT, LM_DIAL_UNKNOWN_NAME, LM_DIAL_FAILED };

/* What an attempt that began at asked_ns connects to now. READY: `list` holds a CURLOPT_RESOLVE entry that starts with the address
 * whose turn it is, or "" when none is needed. WAIT: a look-up runs; `woken(context)` is called once
 * from its thread when it ends, under the endpoint's lock, unless it was forgotten; one that failed speaks only to attempts that began before its end.
 * UNKNOWN_NAME and FAILED: *err says what the resolver said. */
enum lm_dial lm_endpoint_dial(struct lm_endpoint *endpoint, int64_t asked_ns, int64_t now_ns,
                              char *list, size_t list_size, void (*woken)(void *), void *context,
                              struct lm_error *err);

/* `woken` is called with this context no more, and is in no such call. */
void lm_endpoint_forget(struct lm_endpoint *endpoint, void *context);

/* Have one of a thread's idle connections for a job. False: there is none. */
bool lm_endpoint_claim(struct lm_endpoint *endpoint, unsigned thread);
/* There are n more that nobody has claimed, or has claimed any longer. */
void lm_endpoint_add_idle(struct lm_endpoint *endpoint, unsigned thread, int n);

/* A connection could not be made: look the name up again before the next one. */
void lm_endpoint_suspect(struct lm_endpoint *endpoint);

#endif
