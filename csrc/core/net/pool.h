/* Connections of one I/O thread to one endpoint: idle ones, last used first, and the CURLMs
 * ("shards") that hold the easy handles. A shard holds at most LM_SHARD_HANDLES, because libcurl
 * finds a connection by walking through all of its CURLM. */
#ifndef LM_NET_POOL_H
#define LM_NET_POOL_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "net/conn.h"
#include "net/endpoint.h"

enum { LM_SHARD_HANDLES = 128 };

struct lm_io;

struct lm_shard {
  struct lm_node link;
  struct lm_pool *pool;
  CURLM *multi;
  unsigned handles;
  int64_t timer_ns; /* when libcurl wants to be called, LM_NEVER_NS: not */
  bool dead;        /* a socket of it could not be watched: libcurl connects nothing more here */
};

struct lm_pool {
  struct lm_node link;          /* in its I/O thread's list */
  struct lm_io *io;             /* borrowed */
  struct lm_endpoint *endpoint; /* strong */
  struct lm_list idle;          /* connections, last used first */
  struct lm_list shards;        /* owned */
  struct lm_list waiting;       /* jobs that wait for the endpoint's address */
};

struct lm_pool *lm_pool_new(struct lm_io *io, struct lm_endpoint *endpoint);
void lm_pool_destroy(struct lm_pool *pool); /* closes what is idle; no connection may be busy */

/* Put the job on the idle connection that was claimed for it, or a new one. False: job->outcome says
 * why not. */
bool lm_pool_send(struct lm_pool *pool, struct lm_job *job, bool claimed, int64_t now_ns);

/* The endpoint's address may be known by now. */
void lm_pool_retry_waiting(struct lm_pool *pool, int64_t now_ns);

/* A connection whose reply was read to its exact end. */
void lm_pool_keep(struct lm_pool *pool, struct lm_conn *conn, int64_t now_ns);

/* Close connections that were idle or alive for too long; all of them when `all`. */
void lm_pool_trim(struct lm_pool *pool, int64_t now_ns, bool all);

/* Call libcurl for the shards whose time has come; let empty ones go. */
void lm_pool_timers(struct lm_pool *pool, int64_t now_ns);

/* When the next of the above has something to do, LM_NEVER_NS: not before something happens. */
int64_t lm_pool_next(const struct lm_pool *pool, int64_t now_ns);

struct lm_shard *lm_pool_shard(struct lm_pool *pool, struct lm_error *err);
void lm_shard_drop(struct lm_shard *shard); /* one handle has left */
/* Tell what libcurl has finished. */
void lm_shard_collect(struct lm_shard *shard);

#endif
