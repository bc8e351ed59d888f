/* Connections opened by libcurl (address, TCP, proxy, TLS, verification), and the bytes on them. The only
 * file of the core that uses libcurl.
 *
 * A stream belongs to one I/O thread, and is one of that thread's streams to one endpoint. Its handle is in
 * one of several CURLMs ("shards") of at most LM_SHARD_HANDLES, because libcurl finds a connection by a
 * linear search of its CURLM. */
#ifndef LM_OS_STREAM_H
#define LM_OS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "os/loop.h"

enum { LM_SHARD_HANDLES = 128 };

struct lm_shard; /* stream.c */

struct lm_streams {
  struct lm_loop *loop;  /* borrowed */
  const int64_t *now_ns; /* borrowed: start of the thread's current turn */
  struct lm_list shards; /* owned */
};

struct lm_stream_spec { /* borrowed while the stream is open; resolve is copied */
  const char *url;      /* http(s)://host:port/ */
  const char *proxy;    /* NULL: none; the environment is ignored */
  const char *resolve;  /* for CURLOPT_RESOLVE; "": none */
  int64_t connect_timeout_ms;
  bool tls;
  struct x509_store_st *store; /* to verify certificates against; NULL: use ca_file */
  const char *ca_file;         /* NULL: libcurl's default */
  bool offer_http2;            /* by ALPN; only with a store */
};

struct lm_stream {
  struct lm_node opening;      /* in its shard's list until `opened` is called */
  struct lm_shard *shard;      /* borrowed; NULL: not open */
  void *easy;                  /* owned CURL; in the shard's CURLM */
  struct curl_slist *resolve;  /* owned; libcurl reads it while connecting */
  char *said;                  /* owned; libcurl's error buffer, while connecting */
  int fd;                      /* -1 until connected; libcurl closes it */
  int os_errno;                /* of the last socket() that failed */
  int result;                  /* the last CURLcode */
  struct x509_store_st *store; /* borrowed, from the spec */
  bool offers_http2;
  bool http2; /* the peer has chosen it */
  void (*opened)(void *owner, bool connected);
  void *owner;
};

enum lm_stream_result { LM_STREAM_OK, LM_STREAM_AGAIN, LM_STREAM_BROKEN };

/* Why there is no connection. */
struct lm_stream_failure {
  const char *said; /* valid while the stream is open */
  int os_errno;     /* 0: none */
  int proxy_status; /* the proxy's reply to CONNECT, 0: none */
  bool untrusted;   /* verification failed, or the CA certificates cannot be read */
  bool tls_refused; /* TLS with this endpoint would fail again */
  bool no_descriptors;
};

/* Once per process, before the first stream. */
int lm_stream_prepare(struct lm_error *err);
const char *lm_stream_version(void); /* of the libcurl in use; static */

void lm_streams_init(struct lm_streams *streams, struct lm_loop *loop, const int64_t *now_ns);
void lm_streams_clean_up(struct lm_streams *streams); /* no stream may be open */
/* Call libcurl for the shards whose timer has expired, and free empty shards. */
void lm_streams_timers(struct lm_streams *streams, int64_t now_ns);
/* When lm_streams_timers has something to do next; LM_NEVER_NS: no timer is set. */
int64_t lm_streams_next(const struct lm_streams *streams, int64_t now_ns);

/* Start to connect. `opened(owner, ...)` is called once, from the loop or lm_streams_timers, unless the
 * stream is closed before; it may close the stream. The struct must stay where it is while the stream is open.
 * -1: *err, and nothing is open. */
int lm_stream_open(struct lm_stream *stream, struct lm_streams *streams,
                   const struct lm_stream_spec *spec, void (*opened)(void *owner, bool connected),
                   void *owner, struct lm_error *err);
void lm_stream_close(struct lm_stream *stream);

/* After opened(owner, false). */
void lm_stream_why_not_opened(const struct lm_stream *stream, struct lm_stream_failure *failure);

/* On a connected stream. BROKEN: lm_stream_why has the reason. OK with *n == 0 from recv: the peer has
 * closed. After AGAIN from send, the same bytes must be passed again (TLS). */
enum lm_stream_result lm_stream_send(struct lm_stream *stream, const void *at, size_t size,
                                     size_t *n);
enum lm_stream_result lm_stream_recv(struct lm_stream *stream, void *at, size_t size, size_t *n);
const char *lm_stream_why(const struct lm_stream *stream);

/* The peer's address, valid while the stream is open; "?": unknown. */
const char *lm_stream_peer(const struct lm_stream *stream, long *port);

#endif
