#include "transport/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "os/seams.h"
#include "os/threads.h"
#include "os/tls.h"

enum { MAX_ADDRESSES = 16, MAX_WAITERS = 8 };

static const int64_t FRESH_NS = 30000000000;

struct waiter {
  void (*woken)(void *);
  void *context;
};

struct lm_addresses {
  atomic_uint refs;
  atomic_uint turn; /* index of the address that the next connection tries first */
  struct lm_mutex lock;
  /* Guarded by lock. */
  char text[MAX_ADDRESSES][INET6_ADDRSTRLEN];
  unsigned count;
  int64_t answered_ns; /* when the last look-up ended; 0: never */
  bool running, suspect;
  int failure; /* EAI_ value of the last look-up; 0: success */
  struct waiter waiters[MAX_WAITERS];
  unsigned waiting;
};

static char *
endpoint_join(const char *format, const char *host, unsigned port)
{
  int size = snprintf(NULL, 0, format, host, port);
  char *text = size < 0 ? NULL : lm_alloc((size_t)size + 1);
  if (text != NULL)
    snprintf(text, (size_t)size + 1, format, host, port);
  return text;
}

static bool
endpoint_is_literal(const char *host)
{
  unsigned char address[sizeof(struct in6_addr)];
  return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

struct lm_endpoint *
lm_endpoint_new(const struct lm_endpoint_spec *spec, struct lm_error *err)
{
  struct lm_endpoint *endpoint = lm_alloc_zero(1, sizeof *endpoint);
  if (endpoint == NULL || (endpoint->known = lm_alloc_zero(1, sizeof *endpoint->known)) == NULL) {
    lm_free(endpoint);
    lm_error_nomem(err, sizeof *endpoint);
    return NULL;
  }
  atomic_init(&endpoint->known->refs, 1);
  lm_mutex_init(&endpoint->known->lock);
  bool v6 = strchr(spec->host, ':') != NULL;
  bool usual_port = spec->port == (spec->tls ? 443 : 80);
  endpoint->tls = spec->tls;
  endpoint->host = endpoint_join("%s", spec->host, 0);
  endpoint->url = endpoint_join(spec->tls ? (v6 ? "https://[%s]:%u/" : "https://%s:%u/")
                                          : (v6 ? "http://[%s]:%u/" : "http://%s:%u/"),
                                spec->host, spec->port);
  endpoint->authority = usual_port
                            ? endpoint_join(v6 ? "[%s]" : "%s", spec->host, 0)
                            : endpoint_join(v6 ? "[%s]:%u" : "%s:%u", spec->host, spec->port);
  endpoint->dial_host = endpoint_join("%s", spec->proxy != NULL ? spec->proxy_host : spec->host, 0);
  endpoint->dial_port = spec->proxy != NULL ? spec->proxy_port : spec->port;
  if (spec->proxy != NULL)
    endpoint->proxy = endpoint_join("%s", spec->proxy, 0);
  if (spec->ca_file != NULL)
    endpoint->ca_file = endpoint_join("%s", spec->ca_file, 0);
  if (endpoint->host == NULL || endpoint->url == NULL || endpoint->authority == NULL ||
      endpoint->dial_host == NULL || (spec->proxy != NULL && endpoint->proxy == NULL) ||
      (spec->ca_file != NULL && endpoint->ca_file == NULL)) {
    lm_error_nomem(err, strlen(spec->host));
    goto err_endpoint;
  }
  endpoint->literal = endpoint_is_literal(endpoint->dial_host);
  endpoint->http_version = spec->http_version;
  /* The SSL_CTX of an https:// proxy is set up by the same callback, and must not offer HTTP/2. */
  bool tls_proxy = spec->proxy != NULL && strncmp(spec->proxy, "https://", 8) == 0;
  endpoint->offers_http2 =
      spec->tls && spec->http_version != LM_HTTP_1 && lm_tls_store_usable() && !tls_proxy;
  atomic_init(&endpoint->speaks, endpoint->offers_http2 ? LM_HTTP_ANY : LM_HTTP_1);
  if (spec->http_version == LM_HTTP_2 && !endpoint->offers_http2) {
    lm_error_set(err, LM_E_INVALID, "HTTP/2 needs %s",
                 !spec->tls  ? "an https:// endpoint"
                 : tls_proxy ? "a proxy without TLS"
                             : "a libcurl with the OpenSSL that lambdamap is linked with");
    goto err_endpoint;
  }
  if (spec->tls && lm_tls_store_usable() &&
      (endpoint->store = lm_tls_store(spec->ca_file, spec->ca_path, err)) == NULL)
    goto err_endpoint;
  return endpoint;

err_endpoint:
  lm_endpoint_unref(endpoint);
  return NULL;
}

struct lm_endpoint *
lm_endpoint_ref(struct lm_endpoint *endpoint)
{
  atomic_fetch_add(&endpoint->known->refs, 1);
  return endpoint;
}

void
lm_endpoint_unref(struct lm_endpoint *endpoint)
{
  if (endpoint == NULL || atomic_fetch_sub(&endpoint->known->refs, 1) != 1)
    return;
  lm_mutex_destroy(&endpoint->known->lock);
  lm_free(endpoint->known);
  lm_free(endpoint->dial_host);
  lm_free(endpoint->ca_file);
  lm_free(endpoint->proxy);
  lm_free(endpoint->authority);
  lm_free(endpoint->url);
  lm_free(endpoint->host);
  lm_free(endpoint);
}

bool
lm_endpoint_claim(struct lm_endpoint *endpoint, unsigned thread)
{
  atomic_int *n = &endpoint->idle[thread].n;
  int now = atomic_load(n);
  while (now > 0)
    if (atomic_compare_exchange_weak(n, &now, now - 1))
      return true;
  return false;
}

void
lm_endpoint_add_idle(struct lm_endpoint *endpoint, unsigned thread, int n)
{
  atomic_fetch_add(&endpoint->idle[thread].n, n);
}

static bool
endpoint_same(const char *a, const char *b)
{
  return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool
lm_endpoint_same(const struct lm_endpoint *endpoint, const struct lm_endpoint_spec *spec)
{
  uint16_t dial_port = spec->proxy != NULL ? spec->proxy_port : spec->port;
  char port[8];
  snprintf(port, sizeof port, ":%u/", spec->port);
  size_t url_len = strlen(endpoint->url), port_len = strlen(port);
  return endpoint->tls == spec->tls && endpoint->http_version == spec->http_version &&
         endpoint_same(endpoint->host, spec->host) && endpoint_same(endpoint->proxy, spec->proxy) &&
         endpoint_same(endpoint->ca_file, spec->ca_file) && endpoint->dial_port == dial_port &&
         url_len > port_len && strcmp(endpoint->url + url_len - port_len, port) == 0;
}

static void
endpoint_take_answer(struct lm_addresses *known, const struct addrinfo *answers)
{
  known->count = 0;
  for (const struct addrinfo *at = answers; at != NULL && known->count < MAX_ADDRESSES;
       at = at->ai_next) {
    const void *address;
    if (at->ai_family == AF_INET)
      address = &((const struct sockaddr_in *)(const void *)at->ai_addr)->sin_addr;
    else if (at->ai_family == AF_INET6)
      address = &((const struct sockaddr_in6 *)(const void *)at->ai_addr)->sin6_addr;
    else
      continue;
    if (inet_ntop(at->ai_family, address, known->text[known->count], INET6_ADDRSTRLEN) != NULL)
      known->count++;
  }
}

static void *
endpoint_look_up(void *argument)
{
  struct lm_endpoint *endpoint = argument; /* strong */
  struct lm_addresses *known = endpoint->known;
  char port[8];
  snprintf(port, sizeof port, "%u", endpoint->dial_port);
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *answers = NULL;
  int failure = lm_seams.resolve(endpoint->dial_host, port, &hints, &answers);

  lm_mutex_lock(&known->lock);
  known->failure = failure;
  if (failure == 0)
    endpoint_take_answer(known, answers);
  known->answered_ns = lm_seams.now_ns();
  known->running = known->suspect = false;
  for (unsigned i = 0; i < known->waiting; i++) /* under the lock, for lm_endpoint_forget */
    known->waiters[i].woken(known->waiters[i].context);
  known->waiting = 0;
  lm_mutex_unlock(&known->lock);
  if (answers != NULL)
    freeaddrinfo(answers);
  lm_endpoint_unref(endpoint);
  return NULL;
}

/* With known->lock held. The thread is detached: getaddrinfo cannot be interrupted, so nothing may wait for
 * it. */
static int
endpoint_start_look_up(struct lm_endpoint *endpoint, struct lm_error *err)
{
  lm_endpoint_ref(endpoint);
  int failed = lm_thread_start("lambdamap-dns", endpoint_look_up, endpoint, err);
  if (failed != 0)
    lm_endpoint_unref(endpoint);
  endpoint->known->running = failed == 0;
  return failed;
}

static void
endpoint_write_list(struct lm_endpoint *endpoint, char *list, size_t size)
{
  struct lm_addresses *known = endpoint->known;
  unsigned turn = atomic_fetch_add(&known->turn, 1);
  int at = snprintf(list, size, "%s:%u:", endpoint->dial_host, endpoint->dial_port);
  for (unsigned i = 0; i < known->count && at > 0 && (size_t)at < size; i++) {
    const char *address = known->text[(turn + i) % known->count];
    bool v6 = strchr(address, ':') != NULL;
    at +=
        snprintf(list + at, size - (size_t)at, v6 ? "%s[%s]" : "%s%s", i == 0 ? "" : ",", address);
  }
}

static bool
endpoint_wait_for(struct lm_addresses *known, void (*woken)(void *), void *context)
{
  for (unsigned i = 0; i < known->waiting; i++)
    if (known->waiters[i].context == context)
      return true;
  if (known->waiting == MAX_WAITERS)
    return false;
  known->waiters[known->waiting++] = (struct waiter){woken, context};
  return true;
}

enum lm_dial
lm_endpoint_dial(struct lm_endpoint *endpoint, int64_t asked_ns, int64_t now_ns, char *list,
                 size_t list_size, void (*woken)(void *), void *context, struct lm_error *err)
{
  list[0] = '\0';
  if (endpoint->literal)
    return LM_DIAL_READY;
  struct lm_addresses *known = endpoint->known;
  enum lm_dial dial = LM_DIAL_READY;
  lm_mutex_lock(&known->lock);
  bool fresh = known->failure == 0 ? now_ns - known->answered_ns <= FRESH_NS
                                   : known->answered_ns >= asked_ns;
  bool stale = known->answered_ns == 0 || known->suspect || !fresh;
  int no_thread = 0;
  if (stale && !known->running)
    no_thread = endpoint_start_look_up(endpoint, err);
  if (known->count > 0) {
    endpoint_write_list(endpoint, list, list_size);
  } else if (known->running && endpoint_wait_for(known, woken, context)) {
    dial = LM_DIAL_WAIT;
  } else if (no_thread != 0) {
    dial = LM_DIAL_FAILED;
  } else {
    dial = known->failure == EAI_NONAME ? LM_DIAL_UNKNOWN_NAME : LM_DIAL_FAILED;
    lm_error_set(err, LM_E_SYSTEM, "cannot look up %s: %s", endpoint->dial_host,
                 known->failure != 0 ? gai_strerror(known->failure) : "no usable address");
  }
  lm_mutex_unlock(&known->lock);
  return dial;
}

void
lm_endpoint_forget(struct lm_endpoint *endpoint, void *context)
{
  struct lm_addresses *known = endpoint->known;
  lm_mutex_lock(&known->lock);
  for (unsigned i = 0; i < known->waiting; i++)
    if (known->waiters[i].context == context) {
      known->waiters[i] = known->waiters[--known->waiting];
      break;
    }
  lm_mutex_unlock(&known->lock);
}

void
lm_endpoint_suspect(struct lm_endpoint *endpoint)
{
  lm_mutex_lock(&endpoint->known->lock);
  endpoint->known->suspect = true;
  lm_mutex_unlock(&endpoint->known->lock);
}
