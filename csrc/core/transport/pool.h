/* The connections of one I/O thread to one endpoint, and the jobs that wait for its address. Belongs to that
 * thread. */
#ifndef LM_TRANSPORT_POOL_H
#define LM_TRANSPORT_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "transport/conn.h"

struct lm_pool {
  struct lm_node link; /* in its I/O thread's list */
  struct lm_site site;
  /* Owned; jobs that wait for the endpoint's address, or for a connection that others may use as well. */
  struct lm_list waiting;
  unsigned n_waiting;
  int64_t look_ns;   /* when to look at them again */
  int64_t failed_ns; /* when connecting failed last; 0: never */
};

struct lm_pool *lm_pool_new(struct lm_turn *turn,
                            struct lm_endpoint *endpoint); /* NULL: out of memory */
void lm_pool_destroy(struct lm_pool *pool); /* closes idle connections; there must be no others */

/* Send the job (moved): over HTTP/1.1 on an idle connection, if one was claimed for it, or on a new one; over
 * HTTP/2 on one of the pool's, as few as are enough. False: it is still the caller's, and job->outcome has
 * the reason. */
bool lm_pool_send(struct lm_pool *pool, struct lm_job *job, bool claimed, int64_t now_ns);

/* Try the waiting jobs again, end those that are late or cancelled. */
void lm_pool_retry_waiting(struct lm_pool *pool, int64_t now_ns);

/* Close idle connections that were idle or open for too long; with `all`, every idle one. No stream runs on
 * an idle connection over HTTP/2. */
void lm_pool_trim(struct lm_pool *pool, int64_t now_ns, bool all);

/* Run libcurl's timers that have expired, ask silent peers whether they are there, look at waiting jobs. */
void lm_pool_timers(struct lm_pool *pool, int64_t now_ns);

/* When one of the three above has something to do next; LM_NEVER_NS: only after an event. */
int64_t lm_pool_next(const struct lm_pool *pool, int64_t now_ns);

#endif
