#include "os/stream.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "os/seams.h"
#include "os/tls.h"
#include "policy/deadline.h"

enum { OLDEST_CURL = 0x074c00 /* 7.76.0 */ };

struct lm_shard {
  struct lm_node link;
  struct lm_streams *streams; /* borrowed */
  CURLM *multi;               /* owned */
  struct lm_list opening;     /* its streams that are connecting, oldest first */
  unsigned handles;
  int64_t timer_ns; /* when libcurl wants to be called; LM_NEVER_NS: not */
  bool dead;        /* a socket could not be registered: libcurl can connect nothing more here */
};

/* --- the library --- */

const char *
lm_stream_version(void)
{
  return curl_version_info(CURLVERSION_NOW)->version;
}

int
lm_stream_prepare(struct lm_error *err)
{
  const curl_version_info_data *have = curl_version_info(CURLVERSION_NOW);
  if (have->version_num < OLDEST_CURL)
    return lm_error_set(err, LM_E_VERSION, "libcurl %s is too old: install 7.76 or later",
                        have->version);
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return lm_error_set(err, LM_E_SYSTEM, "cannot initialize libcurl");
  lm_tls_set_transport(have->ssl_version);
  return 0;
}

/* --- shards --- */

/* The attempt to connect has ended. */
static void
stream_tell(struct lm_stream *stream, CURLcode code)
{
  curl_socket_t fd = CURL_SOCKET_BAD;
  lm_list_remove(&stream->opening);
  if (code == CURLE_OK)
    code = curl_easy_getinfo(stream->easy, CURLINFO_ACTIVESOCKET, &fd);
  if (code == CURLE_OK && fd == CURL_SOCKET_BAD)
    code = CURLE_COULDNT_CONNECT;
  stream->result = code;
  if (code == CURLE_OK) {
    curl_easy_setopt(stream->easy, CURLOPT_ERRORBUFFER, NULL);
    lm_free(stream->said);
    stream->said = NULL;
    stream->fd = fd;
  }
  stream->opened(stream->owner, code == CURLE_OK);
}

/* Report the attempts that libcurl has finished. */
static void
stream_collect(struct lm_shard *shard)
{
  int left = 0;
  for (CURLMsg *message; (message = curl_multi_info_read(shard->multi, &left)) != NULL;) {
    if (message->msg != CURLMSG_DONE)
      continue;
    CURLcode code = message->data.result;
    char *stream = NULL;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &stream);
    stream_tell((struct lm_stream *)(void *)stream, code);
  }
  if (shard->dead)
    LM_LIST_EACH (&shard->opening, node)
      stream_tell(LM_CONTAINER(node, struct lm_stream, opening), CURLE_OUT_OF_MEMORY);
}

static void
stream_on_socket(void *owner, int fd, int events)
{
  struct lm_shard *shard = owner;
  int running = 0, mask = 0;
  if (events & LM_LOOP_READ)
    mask |= CURL_CSELECT_IN;
  if (events & LM_LOOP_WRITE)
    mask |= CURL_CSELECT_OUT;
  curl_multi_socket_action(shard->multi, fd, mask, &running);
  stream_collect(shard);
}

static int
stream_watch_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *per_socket)
{
  struct lm_shard *shard = context;
  struct lm_loop *loop = shard->streams->loop;
  struct lm_error err;
  (void)easy, (void)per_socket;
  if (what == CURL_POLL_REMOVE) {
    if (lm_loop_owner(loop, fd, stream_on_socket) == shard)
      lm_loop_del(loop, fd);
    return 0;
  }
  int events =
      (what & CURL_POLL_IN ? LM_LOOP_READ : 0) | (what & CURL_POLL_OUT ? LM_LOOP_WRITE : 0);
  if (lm_loop_set(loop, fd, events, stream_on_socket, shard, &err) == 0)
    return 0;
  shard->dead = true;
  return -1;
}

static int
stream_set_timer(CURLM *multi, long timeout_ms, void *context)
{
  struct lm_shard *shard = context;
  (void)multi;
  shard->timer_ns =
      timeout_ms < 0 ? LM_NEVER_NS : lm_deadline_in(*shard->streams->now_ns, (int64_t)timeout_ms);
  return 0;
}

/* A shard with room for one more handle, which is counted already. */
static struct lm_shard *
stream_take_shard(struct lm_streams *streams, struct lm_error *err)
{
  LM_LIST_EACH (&streams->shards, node) {
    struct lm_shard *shard = LM_CONTAINER(node, struct lm_shard, link);
    if (shard->handles < LM_SHARD_HANDLES && !shard->dead) {
      shard->handles++;
      return shard;
    }
  }
  struct lm_shard *shard = lm_alloc_zero(1, sizeof *shard);
  if (shard == NULL || (shard->multi = curl_multi_init()) == NULL) {
    lm_free(shard);
    lm_error_nomem(err, sizeof *shard);
    return NULL;
  }
  shard->streams = streams;
  shard->handles = 1;
  shard->timer_ns = LM_NEVER_NS;
  lm_list_init(&shard->opening);
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, stream_watch_socket);
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard);
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, stream_set_timer);
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard);
  curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, 4L * LM_SHARD_HANDLES);
  lm_list_push_front(&streams->shards, &shard->link);
  return shard;
}

static void
stream_destroy_shard(struct lm_shard *shard)
{
  lm_list_remove(&shard->link);
  curl_multi_cleanup(shard->multi);
  lm_free(shard);
}

void
lm_streams_init(struct lm_streams *streams, struct lm_loop *loop, const int64_t *now_ns)
{
  *streams = (struct lm_streams){.loop = loop, .now_ns = now_ns};
  lm_list_init(&streams->shards);
}

void
lm_streams_clean_up(struct lm_streams *streams)
{
  LM_LIST_EACH (&streams->shards, node)
    stream_destroy_shard(LM_CONTAINER(node, struct lm_shard, link));
}

void
lm_streams_timers(struct lm_streams *streams, int64_t now_ns)
{
  LM_LIST_EACH (&streams->shards, node) {
    struct lm_shard *shard = LM_CONTAINER(node, struct lm_shard, link);
    if (shard->handles == 0) {
      stream_destroy_shard(shard);
      continue;
    }
    if (shard->timer_ns <= now_ns) {
      int running = 0;
      shard->timer_ns = LM_NEVER_NS;
      curl_multi_socket_action(shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
      stream_collect(shard);
    }
  }
}

int64_t
lm_streams_next(const struct lm_streams *streams, int64_t now_ns)
{
  int64_t next = LM_NEVER_NS;
  LM_LIST_EACH (&streams->shards, node) {
    struct lm_shard *shard = LM_CONTAINER(node, struct lm_shard, link);
    next = lm_deadline_earlier(next, shard->handles == 0 ? now_ns : shard->timer_ns);
  }
  return next;
}

/* --- sockets, as libcurl makes them --- */

static curl_socket_t
stream_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
  struct lm_stream *stream = context;
  (void)purpose;
#if defined(SOCK_CLOEXEC)
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
  int fd = socket(address->family, address->socktype, address->protocol);
#endif
  if (fd < 0) {
    stream->os_errno = errno;
    return CURL_SOCKET_BAD;
  }
  return fd;
}

static int
stream_set_socket_options(void *context, curl_socket_t fd, curlsocktype purpose)
{
  (void)context, (void)purpose;
  const int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#if defined(TCP_KEEPIDLE)
  const int idle_s = (int)(lm_periods.keepalive_idle_ns / 1000000000), probes = 6;
  const int interval_s = (int)(lm_periods.keepalive_interval_ns / 1000000000);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
#endif
#if defined(TCP_USER_TIMEOUT)
  const unsigned unacknowledged_ms = (unsigned)(lm_periods.unacknowledged_ns / 1000000);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
#endif
  return CURL_SOCKOPT_OK;
}

static CURLcode
stream_set_up_tls(CURL *easy, void *ssl_ctx, void *context)
{
  struct lm_stream *stream = context;
  (void)easy;
  lm_tls_use_store(ssl_ctx, stream->store);
  if (stream->offers_http2 && lm_tls_offer_http2(ssl_ctx, &stream->http2) != 0)
    return CURLE_OUT_OF_MEMORY;
  return CURLE_OK;
}

static bool
stream_set_options(struct lm_stream *stream, const struct lm_stream_spec *spec)
{
  CURL *easy = stream->easy;
  CURLcode bad = CURLE_OK;
#define SET(option, value)                                                                         \
  if (bad == CURLE_OK)                                                                             \
  bad = curl_easy_setopt(easy, option, value)
  SET(CURLOPT_URL, spec->url);
  SET(CURLOPT_PRIVATE, stream);
  SET(CURLOPT_ERRORBUFFER, stream->said);
  SET(CURLOPT_CONNECT_ONLY, 1L);
  SET(CURLOPT_FRESH_CONNECT, 1L);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  SET(CURLOPT_CONNECTTIMEOUT_MS, (long)spec->connect_timeout_ms);
  SET(CURLOPT_PROXY, spec->proxy == NULL ? "" : spec->proxy);
  SET(CURLOPT_NOPROXY, "");
  if (spec->proxy != NULL)
    SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
  if (stream->resolve != NULL)
    SET(CURLOPT_RESOLVE, stream->resolve);
  SET(CURLOPT_OPENSOCKETFUNCTION, stream_open_socket);
  SET(CURLOPT_OPENSOCKETDATA, stream);
  SET(CURLOPT_SOCKOPTFUNCTION, stream_set_socket_options);
  if (spec->tls) {
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (spec->store != NULL) {
      SET(CURLOPT_CAINFO, NULL);
      SET(CURLOPT_CAPATH, NULL);
      SET(CURLOPT_SSL_CTX_FUNCTION, stream_set_up_tls);
      SET(CURLOPT_SSL_CTX_DATA, stream);
      if (spec->offer_http2)
        SET(CURLOPT_SSL_ENABLE_ALPN, 0L); /* it would offer HTTP/1.1 alone */
    } else if (spec->ca_file != NULL) {
      SET(CURLOPT_CAINFO, spec->ca_file);
    }
  }
#undef SET
  return bad == CURLE_OK;
}

/* --- streams --- */

int
lm_stream_open(struct lm_stream *stream, struct lm_streams *streams,
               const struct lm_stream_spec *spec, void (*opened)(void *owner, bool connected),
               void *owner, struct lm_error *err)
{
  *stream = (struct lm_stream){
      .fd = -1,
      .store = spec->store,
      .offers_http2 = spec->offer_http2 && spec->store != NULL,
      .opened = opened,
      .owner = owner,
  };
  stream->said = lm_alloc_zero(1, CURL_ERROR_SIZE);
  stream->easy = curl_easy_init();
  if (stream->easy == NULL || stream->said == NULL ||
      (spec->resolve[0] != '\0' &&
       (stream->resolve = curl_slist_append(NULL, spec->resolve)) == NULL) ||
      !stream_set_options(stream, spec)) {
    lm_error_nomem(err, CURL_ERROR_SIZE);
    goto err_easy;
  }
  struct lm_shard *shard = stream_take_shard(streams, err);
  if (shard == NULL)
    goto err_easy;
  CURLMcode bad = curl_multi_add_handle(shard->multi, stream->easy);
  if (bad != CURLM_OK) {
    lm_error_set(err, LM_E_SYSTEM, "libcurl: %s", curl_multi_strerror(bad));
    goto err_shard;
  }
  stream->shard = shard;
  lm_list_push_back(&shard->opening, &stream->opening);
  return 0;

err_shard:
  shard->handles--;
err_easy:
  curl_easy_cleanup(stream->easy);
  curl_slist_free_all(stream->resolve);
  lm_free(stream->said);
  return -1;
}

void
lm_stream_close(struct lm_stream *stream)
{
  struct lm_shard *shard = stream->shard;
  if (lm_list_linked(&stream->opening))
    lm_list_remove(&stream->opening);
  if (stream->fd >= 0)
    lm_loop_del(shard->streams->loop, stream->fd);
  curl_multi_remove_handle(shard->multi, stream->easy);
  curl_easy_cleanup(stream->easy);
  curl_slist_free_all(stream->resolve);
  shard->handles--;
  lm_free(stream->said);
}

/* Whether verification failed, or there is no version or cipher in common. A handshake that was cut off
 * may succeed next time. */
static bool
stream_is_tls_refusal(CURLcode code, const char *said)
{
  switch ((int)code) { /* of the many that libcurl has */
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_CIPHER:
    return true;
  case CURLE_SSL_CONNECT_ERROR:
    return strstr(said, "SSL routines") != NULL && strstr(said, "eof") == NULL;
  default:
    return false;
  }
}

void
lm_stream_why_not_opened(const struct lm_stream *stream, struct lm_stream_failure *failure)
{
  CURLcode code = (CURLcode)stream->result;
  long os_errno = stream->os_errno, proxy_status = 0;
  if (os_errno == 0)
    curl_easy_getinfo(stream->easy, CURLINFO_OS_ERRNO, &os_errno);
  curl_easy_getinfo(stream->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
  *failure = (struct lm_stream_failure){
      .said = stream->said[0] != '\0' ? stream->said : curl_easy_strerror(code),
      .os_errno = (int)os_errno,
      .proxy_status = (int)proxy_status,
      .untrusted = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE,
      .tls_refused = stream_is_tls_refusal(code, stream->said),
      .no_descriptors = os_errno == EMFILE || os_errno == ENFILE,
  };
}

static enum lm_stream_result
stream_result_of(struct lm_stream *stream, CURLcode code)
{
  if (code == CURLE_OK)
    return LM_STREAM_OK;
  stream->result = code;
  return code == CURLE_AGAIN ? LM_STREAM_AGAIN : LM_STREAM_BROKEN;
}

enum lm_stream_result
lm_stream_send(struct lm_stream *stream, const void *at, size_t size, size_t *n)
{
  return stream_result_of(stream, curl_easy_send(stream->easy, at, size, n));
}

enum lm_stream_result
lm_stream_recv(struct lm_stream *stream, void *at, size_t size, size_t *n)
{
  return stream_result_of(stream, curl_easy_recv(stream->easy, at, size, n));
}

const char *
lm_stream_why(const struct lm_stream *stream)
{
  return curl_easy_strerror((CURLcode)stream->result);
}

const char *
lm_stream_peer(const struct lm_stream *stream, long *port)
{
  char *address = NULL;
  *port = 0;
  curl_easy_getinfo(stream->easy, CURLINFO_PRIMARY_IP, &address);
  curl_easy_getinfo(stream->easy, CURLINFO_PRIMARY_PORT, port);
  return address == NULL ? "?" : address;
}
