/* One connection and the request on it.
 *
 * Vocabulary. A *stream* (os/stream.h) opens the connection (address, TCP, proxy, TLS, verification) and
 * moves its bytes; the HTTP on it is ours. A *site* is what the connections of one I/O thread to one
 * endpoint share; the pool around it decides which connection a job gets. A *turn* is what the I/O thread
 * gives to all of its connections.
 *
 * States.
 *
 *   lm_conn_open ─► CONNECTING ─► BUSY ─► IDLE ─► BUSY ─► ...
 *                       │          │        │
 *                       └──────────┴────────┴─► closed
 *
 * CONNECTING and BUSY ones have a job, a timer for its deadline, and are in the turn's `active` list. BUSY
 * sends the head and body, and reads the reply meanwhile: a peer may answer before it has all. A long
 * transfer stops after a slice and goes on next turn (`again`). IDLE ones have no job, are in the site's
 * `idle` list, last used first, and are counted at the endpoint, where other threads claim them.
 *
 * An attempt ends in one of two ways. With a complete reply: the connection becomes IDLE, or is closed
 * when it cannot carry another request, and the job goes to turn->replied. Without one: the connection is
 * closed and the job goes to turn->ended, with what is known of whether the function ran (`touched`: a
 * byte of the request may have left). No request is ever sent twice from here.
 *
 * Lock rules. None: everything belongs to one I/O thread, from lm_conn_open to the end of lm_conn_close.
 * What other threads read, the endpoint's count of idle connections and the turn's of all, is atomic.
 *
 * Who frees. A connection owns its job while CONNECTING or BUSY and gives it away before it is closed. It
 * frees itself when an attempt ends without a reply, or with one after which it cannot go on, and when the
 * peer closes it while IDLE; so after a call that may end the attempt it must not be touched. The pool closes
 * those that were idle for too long.
 */
#ifndef LM_TRANSPORT_CONN_H
#define LM_TRANSPORT_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "http/http1.h"
#include "job/job.h"
#include "os/stream.h"
#include "transport/endpoint.h"
#include "transport/turn.h"

enum lm_conn_state { LM_CONN_CONNECTING, LM_CONN_IDLE, LM_CONN_BUSY };

/* What the connections of one I/O thread to one endpoint have in common. */
struct lm_site {
  struct lm_turn *turn;         /* borrowed */
  struct lm_endpoint *endpoint; /* strong */
  struct lm_list idle;          /* connections, last used first */
  struct lm_streams streams;
};

struct lm_conn {
  struct lm_node link;       /* in its site's idle or its I/O thread's active list */
  struct lm_node again;      /* in the I/O thread's list of connections with more to do */
  struct lm_heap_item timer; /* in the I/O thread's heap while it has a job */
  struct lm_site *site;      /* borrowed */
  struct lm_stream stream;
  enum lm_conn_state state;
  int64_t born_ns, idle_since_ns;
  struct lm_job *job;         /* owned while CONNECTING or BUSY */
  struct lm_buf out;          /* request head, and the body behind it when that is small */
  size_t out_done, body_done; /* bytes written */
  size_t slice;               /* bytes offered to the last write that wrote nothing, 0 for none: TLS
                                  must be offered the same again */
  bool body_apart;            /* the body is sent from the job's buffer */
  bool touched;               /* some byte of this request may have left */
  bool all_sent;
  bool hopeless;    /* no other connection to this endpoint would do better */
  bool peer_closed; /* the peer sends no more: an edge-triggered event that is not repeated */
  struct lm_http1 reply;
};

/* Start a connection for `job`. NULL: *err; the job stays the caller's. */
struct lm_conn *lm_conn_open(struct lm_site *site, struct lm_job *job, const char *resolve,
                             struct lm_error *err);

/* Sign and start sending conn->job on a connected connection. */
void lm_conn_start(struct lm_conn *conn);

/* Go on after a slice of a long transfer. */
void lm_conn_continue(struct lm_conn *conn);

/* Of an idle connection: whether nothing has come since the end of its last reply but what concerns
 * the TLS layer alone. One that is not silent is good for nothing any more. */
bool lm_conn_is_silent(struct lm_conn *conn);

/* The attempt ends now: its time is over, or it is not wanted any more. */
void lm_conn_expire(struct lm_conn *conn);
void lm_conn_cancel(struct lm_conn *conn, const char *why);

/* Close; a job on it must have been taken away before. */
void lm_conn_close(struct lm_conn *conn);

#endif
