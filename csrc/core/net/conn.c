#include "net/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/batch.h"
#include "net/coding.h"
#include "net/dispatch.h"
#include "net/io_thread.h"
#include "net/pool.h"
#include "net/seams.h"
#include "net/target.h"
#include "net/tls.h"
#include "policy/deadline.h"
#include "policy/skew.h"
#include "wire/redact.h"

enum {
  MAX_HEAD_BYTES = 32768 + 8192,
  TOGETHER_BYTES = 65536, /* a body up to this travels in one write with its head */
  SLICE_BYTES = 262144,   /* one write of a larger one */
  TURN_BYTES = 1 << 18    /* moved per turn of the loop before others have theirs */
};

/* A large body is patched and digested before it waits for a connection: anew, if that was long. */
static const int64_t STALE_NS = 1000000000;

#define DURABLE_NAME "x-amz-durable-execution-name"

static void on_event(void *owner, int fd, int events);

/* --- sockets, as libcurl makes them --- */

static curl_socket_t
open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
  struct lm_conn *conn = context;
  (void)purpose;
#if defined(SOCK_CLOEXEC)
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
  int fd = socket(address->family, address->socktype, address->protocol);
#endif
  if (fd < 0) {
    conn->os_errno = errno;
    return CURL_SOCKET_BAD;
  }
  return fd;
}

static int
set_socket_options(void *context, curl_socket_t fd, curlsocktype purpose)
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
use_store(CURL *easy, void *ssl_ctx, void *store)
{
  (void)easy;
  lm_tls_use_store(ssl_ctx, store);
  return CURLE_OK;
}

static bool
set_options(struct lm_conn *conn, int64_t connect_timeout_ms)
{
  const struct lm_endpoint *endpoint = conn->pool->endpoint;
  CURL *easy = conn->easy;
  CURLcode bad = CURLE_OK;
#define SET(option, value)                                                                         \
  if (bad == CURLE_OK)                                                                             \
  bad = curl_easy_setopt(easy, option, value)
  SET(CURLOPT_URL, endpoint->url);
  SET(CURLOPT_PRIVATE, conn);
  SET(CURLOPT_ERRORBUFFER, conn->said);
  SET(CURLOPT_CONNECT_ONLY, 1L);
  SET(CURLOPT_FRESH_CONNECT, 1L);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_timeout_ms);
  SET(CURLOPT_PROXY, endpoint->proxy == NULL ? "" : endpoint->proxy);
  SET(CURLOPT_NOPROXY, "");
  if (endpoint->proxy != NULL)
    SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
  if (conn->resolve != NULL)
    SET(CURLOPT_RESOLVE, conn->resolve);
  SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
  SET(CURLOPT_OPENSOCKETDATA, conn);
  SET(CURLOPT_SOCKOPTFUNCTION, set_socket_options);
  if (endpoint->tls) {
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (endpoint->store != NULL) {
      SET(CURLOPT_CAINFO, NULL);
      SET(CURLOPT_CAPATH, NULL);
      SET(CURLOPT_SSL_CTX_FUNCTION, use_store);
      SET(CURLOPT_SSL_CTX_DATA, endpoint->store);
    } else if (endpoint->ca_file != NULL) {
      SET(CURLOPT_CAINFO, endpoint->ca_file);
    }
  }
#undef SET
  return bad == CURLE_OK;
}

/* --- life --- */

struct lm_conn *
lm_conn_open(struct lm_pool *pool, struct lm_job *job, const char *resolve, struct lm_error *err)
{
  struct lm_io *io = pool->io;
  struct lm_conn *conn = lm_alloc_zero(1, sizeof *conn);
  if (conn == NULL) {
    lm_error_nomem(err, sizeof *conn);
    return NULL;
  }
  conn->pool = pool;
  conn->fd = -1;
  conn->state = LM_CONN_CONNECTING;
  conn->born_ns = io->now_ns;
  lm_buf_init(&conn->out, MAX_HEAD_BYTES + TOGETHER_BYTES);
  lm_http1_init(&conn->reply);
  conn->said = lm_alloc_zero(1, CURL_ERROR_SIZE);
  conn->easy = curl_easy_init();
  if (conn->easy == NULL || conn->said == NULL ||
      (resolve[0] != '\0' && (conn->resolve = curl_slist_append(NULL, resolve)) == NULL) ||
      !set_options(conn, job->batch->target->connect_timeout_ms) ||
      lm_heap_set(&io->timers, &conn->timer, job->deadline_ns) != 0) {
    lm_error_nomem(err, sizeof *conn);
    goto err_easy;
  }
  conn->shard = lm_pool_shard(pool, err);
  if (conn->shard == NULL)
    goto err_timer;
  conn->job = job;
  lm_list_push_back(&io->active, &conn->link);
  atomic_fetch_add(&io->dispatch->connections, 1);
  CURLMcode bad = curl_multi_add_handle(conn->shard->multi, conn->easy);
  if (bad != CURLM_OK) {
    lm_error_set(err, LM_E_SYSTEM, "libcurl: %s", curl_multi_strerror(bad));
    goto err_shard;
  }
  return conn;

err_shard:
  atomic_fetch_sub(&io->dispatch->connections, 1);
  lm_list_remove(&conn->link);
  lm_shard_drop(conn->shard);
err_timer:
  lm_heap_remove(&io->timers, &conn->timer);
err_easy:
  curl_easy_cleanup(conn->easy);
  curl_slist_free_all(conn->resolve);
  lm_free(conn->said);
  lm_free(conn);
  return NULL;
}

void
lm_conn_close(struct lm_conn *conn)
{
  struct lm_io *io = conn->pool->io;
  atomic_fetch_sub(&io->dispatch->connections, 1);
  if (conn->state == LM_CONN_IDLE)
    lm_endpoint_add_idle(conn->pool->endpoint, io->index, -1);
  if (lm_list_linked(&conn->link))
    lm_list_remove(&conn->link);
  if (lm_list_linked(&conn->again))
    lm_list_remove(&conn->again);
  lm_heap_remove(&io->timers, &conn->timer);
  if (conn->fd >= 0)
    lm_loop_del(io->loop, conn->fd);
  curl_multi_remove_handle(conn->shard->multi, conn->easy);
  curl_easy_cleanup(conn->easy);
  curl_slist_free_all(conn->resolve);
  lm_shard_drop(conn->shard);
  lm_buf_clean_up(&conn->out);
  lm_http1_clean_up(&conn->reply);
  lm_free(conn->said);
  lm_free(conn);
}

static struct lm_job *
take_job(struct lm_conn *conn)
{
  struct lm_io *io = conn->pool->io;
  struct lm_job *job = conn->job;
  conn->job = NULL;
  lm_heap_remove(&io->timers, &conn->timer);
  if (lm_list_linked(&conn->again))
    lm_list_remove(&conn->again);
  lm_list_remove(&conn->link);
  return job;
}

static void
keep_head(struct lm_job *job, const struct lm_http1 *reply)
{
  struct lm_reply_head *head = &job->head;
  head->status = reply->status;
  head->retry_after_ms = reply->retry_after_ms;
  head->date_s = reply->date_s;
  head->has_age = reply->has_age;
  head->function_error = reply->has_function_error;
  memcpy(head->request_id, reply->request_id, sizeof head->request_id);
  memcpy(head->error_type, reply->error_type, sizeof head->error_type);
  memcpy(head->executed_version, reply->executed_version, sizeof head->executed_version);
  if (reply->status != 200)
    memcpy(head->content_type, reply->content_type, sizeof head->content_type);
}

/* The attempt ends without a reply that can be used, and the connection with it. `text` is not the
 * job's. */
static void
lose(struct lm_conn *conn, enum lm_failure failure, const char *text)
{
  struct lm_io *io = conn->pool->io;
  struct lm_job *job = take_job(conn);
  if (conn->reply.head_done)
    keep_head(job, &conn->reply);
  job->outcome =
      lm_outcome_of_loss(conn->touched, conn->reply.head_done ? conn->reply.status : 0, failure);
  if (conn->hopeless) {
    job->outcome.action = LM_DO_DONE;
    job->outcome.stops_map = true;
  }
  lm_error_set(&job->error, LM_E_SYSTEM, "%s", text);
  lm_conn_close(conn);
  lm_io_ended(io, job);
}

static void
lose_protocol(struct lm_conn *conn, const struct lm_error *err)
{
  lose(conn, err->code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_PROTOCOL, err->text);
}

static void
trace_connection(struct lm_conn *conn)
{
  struct lm_buf text;
  char *address = NULL;
  long port = 0;
  char line[192];
  curl_easy_getinfo(conn->easy, CURLINFO_PRIMARY_IP, &address);
  curl_easy_getinfo(conn->easy, CURLINFO_PRIMARY_PORT, &port);
  snprintf(line, sizeof line, "%.100s via %s port %ld%s", conn->pool->endpoint->authority,
           address == NULL ? "?" : address, port,
           conn->pool->endpoint->proxy != NULL ? ", a proxy" : "");
  lm_buf_init(&text, sizeof line);
  lm_buf_str(&text, line);
  lm_notes_add_text(&conn->job->batch->notes, LM_NOTE_CONNECTED, conn->job, &text);
}

/* Whether TLS with this endpoint cannot work for anyone: a certificate that does not verify, or no
 * version and cipher in common. A handshake that broke off may do better next time. */
static bool
is_tls_refusal(CURLcode code, const char *said)
{
  switch (code) {
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

static void
fail_to_connect(struct lm_conn *conn, CURLcode code)
{
  struct lm_error err;
  char what[LM_ERROR_TEXT_SIZE];
  long os_errno = conn->os_errno;
  if (os_errno == 0)
    curl_easy_getinfo(conn->easy, CURLINFO_OS_ERRNO, &os_errno);
  snprintf(what, sizeof what, "cannot connect to %s: %s", conn->pool->endpoint->url,
           conn->said[0] != '\0' ? conn->said : curl_easy_strerror(code));
  lm_error_set(&err, LM_E_SYSTEM, "%s", what);
  if (os_errno != 0)
    lm_error_system(&err, (int)os_errno, what);
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    lm_error_set(&err, LM_E_SYSTEM,
                 "%.140s: the CA certificates to trust are those of ca_bundle, or AWS_CA_BUNDLE",
                 what);
  long proxy_said = 0;
  if (conn->pool->endpoint->proxy != NULL)
    curl_easy_getinfo(conn->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_said);
  if (proxy_said >= 300)
    lm_error_set(&err, LM_E_SYSTEM, "the proxy %s answered %ld to CONNECT %s%s",
                 conn->pool->endpoint->dial_host, proxy_said, conn->pool->endpoint->authority,
                 proxy_said == 407 ? ": its URL must name a user and a password" : "");
  if (os_errno == EMFILE || os_errno == ENFILE)
    lm_dispatch_drop_idle(conn->pool->io->dispatch);
  lm_endpoint_suspect(conn->pool->endpoint);
  conn->hopeless = proxy_said == 407 || is_tls_refusal(code, conn->said);
  lose(conn, proxy_said == 407 ? LM_FAIL_CONFIG : LM_FAIL_CONNECT, err.text);
}

void
lm_conn_connected(struct lm_conn *conn, CURLcode code)
{
  struct lm_io *io = conn->pool->io;
  struct lm_error err;
  curl_socket_t fd = CURL_SOCKET_BAD;
  if (code == CURLE_OK)
    code = curl_easy_getinfo(conn->easy, CURLINFO_ACTIVESOCKET, &fd);
  if (code == CURLE_OK && fd == CURL_SOCKET_BAD)
    code = CURLE_COULDNT_CONNECT;
  if (code != CURLE_OK) {
    fail_to_connect(conn, code);
    return;
  }
  curl_easy_setopt(conn->easy, CURLOPT_ERRORBUFFER, NULL);
  lm_free(conn->said);
  conn->said = NULL;
  conn->fd = fd;
  if (lm_loop_set(io->loop, fd, LM_LOOP_READ | LM_LOOP_WRITE | LM_LOOP_EDGE, on_event, conn,
                  &err) != 0) {
    lose(conn, LM_FAIL_SYSTEM, err.text);
    return;
  }
  atomic_fetch_add(&conn->job->batch->stats.connections, 1);
  if (conn->job->batch->notes.traced)
    trace_connection(conn);
  lm_list_remove(&conn->link); /* lm_conn_start puts it back */
  lm_heap_remove(&io->timers, &conn->timer);
  lm_conn_start(conn);
}

/* --- one request --- */

/* The target's signed headers and, in its place among them, the job's own. */
static void
with_name(const struct lm_target *target, const struct lm_job *job, const char **merged)
{
  bool before = true;
  for (const char **at = target->signed_headers; *at != NULL; at += 2) {
    if (before && strcmp(at[0], DURABLE_NAME) > 0) {
      *merged++ = DURABLE_NAME;
      *merged++ = job->durable_name;
      before = false;
    }
    *merged++ = at[0];
    *merged++ = at[1];
  }
  if (before) {
    *merged++ = DURABLE_NAME;
    *merged++ = job->durable_name;
  }
  *merged = NULL;
}

static int
sign(struct lm_conn *conn, struct lm_job *job, struct lm_error *err)
{
  const char *merged[2 * (LM_MAX_SIGNED_HEADERS + 1) + 1];
  struct lm_target *target = job->batch->target;
  struct lm_credentials *credentials = lm_target_credentials(target);
  job->signed_offset_s = atomic_load(&conn->pool->endpoint->clock_offset_s);
  struct lm_sigv4_request request = {
      .host = conn->pool->endpoint->authority,
      .path = target->path,
      .query = target->query,
      .extra = target->signed_headers,
      .body = job->body.data,
      .body_len = job->body.len,
      .body_digest = job->digested_ns != 0 ? job->body_digest : NULL,
      .region = target->region,
      .access_key = credentials->access_key,
      .secret_key = credentials->secret_key,
      .token = credentials->token,
      .unix_s = lm_seams.unix_s() + job->signed_offset_s,
  };
  if (job->durable_name != NULL) {
    with_name(target, job, merged);
    request.extra = merged;
  }
  job->signed_with = credentials->generation;
  int result = lm_sigv4_sign(conn->pool->io->signer, &request, &conn->out, err);
  lm_credentials_unref(credentials);
  return result;
}

static void
trace_head(const struct lm_buf *head, struct lm_job *job)
{
  struct lm_buf text;
  lm_buf_init(&text, MAX_HEAD_BYTES);
  lm_redact_head((const char *)head->data, head->len, &text);
  lm_notes_add_text(&job->batch->notes, LM_NOTE_SENT, job, &text);
}

static int
write_head(struct lm_conn *conn, struct lm_job *job, struct lm_error *err)
{
  const struct lm_target *target = job->batch->target;
  struct lm_buf *out = &conn->out;
  lm_buf_clear(out);
  lm_buf_append(out, target->head, target->head_len);
  lm_buf_str(out, "amz-sdk-invocation-id: ");
  lm_buf_append(out, job->batch->opts.map_id, LM_MAP_ID_LEN);
  lm_buf_byte(out, '-');
  lm_buf_uint(out, job->first_item);
  lm_buf_str(out, "\r\namz-sdk-request: attempt=");
  lm_buf_uint(out, job->attempts);
  lm_buf_str(out, "; max=");
  lm_buf_uint(out, target->max_attempts);
  if (job->durable_name != NULL) {
    lm_buf_str(out, "\r\n" DURABLE_NAME ": ");
    lm_buf_str(out, job->durable_name);
  }
  lm_buf_str(out, "\r\nContent-Length: ");
  lm_buf_uint(out, job->body.len);
  lm_buf_str(out, "\r\n");
  if (sign(conn, job, err) != 0)
    return -1;
  lm_buf_str(out, "\r\n");
  if (job->batch->notes.traced)
    trace_head(out, job);
  conn->body_apart = job->body.len > TOGETHER_BYTES;
  if (!conn->body_apart)
    lm_buf_append(out, job->body.data, job->body.len);
  return lm_buf_check(out, "the request head", err);
}

static void
go_on_next_turn(struct lm_conn *conn)
{
  if (!lm_list_linked(&conn->again))
    lm_list_push_back(&conn->pool->io->again, &conn->again);
}

/* Write until everything has left, the socket is full, or the turn is over. -1: *err. */
static int
send_more(struct lm_conn *conn, struct lm_error *err)
{
  struct lm_job *job = conn->job;
  size_t moved = 0;
  while (!conn->all_sent) {
    bool in_head = conn->out_done < conn->out.len;
    const uint8_t *at =
        in_head ? conn->out.data + conn->out_done : job->body.data + conn->body_done;
    size_t left = in_head ? conn->out.len - conn->out_done : job->body.len - conn->body_done;
    size_t offer = conn->slice != 0 ? conn->slice : left > SLICE_BYTES ? SLICE_BYTES : left;
    size_t n = 0;
    CURLcode code = curl_easy_send(conn->easy, at, offer, &n);
    if (code == CURLE_AGAIN) {
      conn->touched = true;
      conn->slice = offer;
      lm_loop_want_write(conn->pool->io->loop, conn->fd, true);
      return 0;
    }
    if (code != CURLE_OK)
      return lm_error_set(err, LM_E_SYSTEM, "the connection broke while sending: %s",
                          curl_easy_strerror(code));
    if (n > 0)
      conn->touched = true;
    conn->slice = 0;
    job->bytes_sent += n;
    moved += n;
    if (in_head)
      conn->out_done += n;
    else
      conn->body_done += n;
    conn->all_sent =
        conn->out_done == conn->out.len && (!conn->body_apart || conn->body_done == job->body.len);
    if (!conn->all_sent && moved >= TURN_BYTES) {
      go_on_next_turn(conn);
      return 0;
    }
  }
  lm_loop_want_write(conn->pool->io->loop, conn->fd, false);
  return 0;
}

/* Learn our clock's error from a reply of AWS's own: not a proxy's, not a kept copy. */
static void
heed_date(struct lm_endpoint *endpoint, struct lm_job *job)
{
  const struct lm_reply_head *head = &job->head;
  if (head->date_s >= 0 && !head->has_age && head->request_id[0] != '\0')
    atomic_store(&endpoint->clock_offset_s, lm_skew_offset(head->date_s, lm_seams.unix_s()));
  job->clock_was_off =
      lm_skew_matters(job->signed_offset_s, atomic_load(&endpoint->clock_offset_s));
}

static void
finish(struct lm_conn *conn, bool extra_bytes)
{
  struct lm_pool *pool = conn->pool;
  struct lm_io *io = pool->io;
  struct lm_error err;
  if (extra_bytes || conn->reply.content_encoded) {
    lm_error_set(&err, LM_E_FORMAT, "%s",
                 extra_bytes ? "bytes follow the end of the reply"
                             : "the reply is content-encoded, which was not asked for");
    lose_protocol(conn, &err);
    return;
  }
  struct lm_job *job = take_job(conn);
  keep_head(job, &conn->reply);
  heed_date(pool->endpoint, job);
  if (job->batch->notes.traced)
    lm_notes_add(&job->batch->notes, LM_NOTE_REPLY, job, 0, lm_seams.now_ns() - job->started_ns);
  if (conn->reply.keep_alive && conn->all_sent && !conn->peer_closed)
    lm_pool_keep(pool, conn, io->now_ns);
  else
    lm_conn_close(conn);
  lm_io_replied(io, job);
}

/* Read until the socket is dry, the reply is complete, or the turn is over. True: the attempt has
 * ended and conn may be gone. */
static bool
receive(struct lm_conn *conn)
{
  struct lm_io *io = conn->pool->io;
  struct lm_job *job = conn->job;
  struct lm_error err;
  size_t moved = 0;
  for (;;) {
    size_t n = 0, taken = 0, room = LM_SCRATCH_BYTES;
    enum lm_http1_state_out state;
    uint8_t *in_place = lm_http1_room(&conn->reply, &job->reply, &room);
    CURLcode code = curl_easy_recv(conn->easy, in_place != NULL ? in_place : io->scratch, room, &n);
    if (code == CURLE_AGAIN)
      return false;
    if (code == CURLE_OK && n > 0) {
      job->bytes_received += n;
      moved += n;
      if (in_place == NULL) {
        state = lm_http1_feed(&conn->reply, io->scratch, n, &taken, &job->reply, &err);
      } else {
        lm_http1_filled(&conn->reply, &job->reply, n);
        state = LM_HTTP1_MORE;
      }
    } else if (code == CURLE_OK) {
      state = lm_http1_eof(&conn->reply, &err);
      taken = n;
      if (state == LM_HTTP1_COMPLETE)
        conn->reply.keep_alive = false;
      if (state == LM_HTTP1_BAD && !lm_http1_started(&conn->reply)) {
        lose(conn, LM_FAIL_CONNECTION_LOST, "the connection was closed before a reply came");
        return true;
      }
    } else {
      lm_error_set(&err, LM_E_SYSTEM, "the connection broke before the reply was complete: %s",
                   curl_easy_strerror(code));
      lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
      return true;
    }
    if (state == LM_HTTP1_BAD) {
      lose_protocol(conn, &err);
      return true;
    }
    if (state == LM_HTTP1_COMPLETE) {
      finish(conn, taken < n);
      return true;
    }
    if (moved >= TURN_BYTES) {
      go_on_next_turn(conn);
      return false;
    }
  }
}

void
lm_conn_continue(struct lm_conn *conn)
{
  struct lm_error err;
  if (!conn->all_sent && send_more(conn, &err) != 0) {
    /* The peer may have answered (413) and closed; its reply counts for more than our error. */
    if (!receive(conn))
      lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
    return;
  }
  receive(conn);
}

void
lm_conn_start(struct lm_conn *conn)
{
  struct lm_io *io = conn->pool->io;
  struct lm_job *job = conn->job;
  struct lm_error err;
  conn->state = LM_CONN_BUSY;
  conn->out_done = conn->body_done = conn->slice = 0;
  conn->touched = conn->all_sent = false;
  lm_http1_init(&conn->reply);
  lm_list_push_back(&io->active, &conn->link);
  job->state = LM_SENDING;
  if (job->digested_ns == 0 || io->now_ns - job->digested_ns > STALE_NS)
    lm_code_patch(job, io->now_ns);
  if (lm_heap_set(&io->timers, &conn->timer, job->deadline_ns) != 0) {
    lose(conn, LM_FAIL_MEMORY, "out of memory");
    return;
  }
  if (write_head(conn, job, &err) != 0) {
    lose(conn, err.code == LM_E_NOMEM ? LM_FAIL_MEMORY : LM_FAIL_SYSTEM, err.text);
    return;
  }
  atomic_fetch_add(&job->batch->stats.requests, 1);
  if (send_more(conn, &err) != 0 && !receive(conn))
    lose(conn, LM_FAIL_CONNECTION_LOST, err.text);
}

void
lm_conn_expire(struct lm_conn *conn)
{
  lose(conn, LM_FAIL_DEADLINE,
       conn->state == LM_CONN_CONNECTING ? "the time was over before a connection stood"
       : conn->reply.head_done           ? "the time was over while the reply came"
                                         : "the time was over before a reply came");
}

void
lm_conn_cancel(struct lm_conn *conn, const char *why)
{
  lose(conn, LM_FAIL_CANCELLED, why);
}

bool
lm_conn_is_silent(struct lm_conn *conn)
{
  struct lm_io *io = conn->pool->io;
  size_t n = 0;
  return curl_easy_recv(conn->easy, io->scratch, LM_SCRATCH_BYTES, &n) == CURLE_AGAIN;
}

static void
on_event(void *owner, int fd, int events)
{
  struct lm_conn *conn = owner;
  (void)fd;
  conn->peer_closed = conn->peer_closed || (events & LM_LOOP_HANGUP);
  if (conn->state == LM_CONN_BUSY) {
    lm_conn_continue(conn);
    return;
  }
  if (!(events & LM_LOOP_READ))
    return;
  if (!lm_conn_is_silent(conn))
    lm_conn_close(conn);
}
