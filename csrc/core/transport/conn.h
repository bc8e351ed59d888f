/* One connection and the request on it.
 *
 * Vocabulary. A *stream* (os/stream.h) opens the connection (address, TCP, proxy, TLS, verification) and
 * sends and receives bytes; the HTTP is ours. A *site* is what the connections of one I/O thread to one
 * endpoint share; the pool that it is part of decides which connection a job gets. A *turn* is what the I/O
 * thread shares with all of its connections.
 *
 * States.
 *
 *   lm_conn_open ─► CONNECTING ─► BUSY ─► IDLE ─► BUSY ─► ...
 *                       │          │        │
 *                       └──────────┴────────┴─► closed
 *
 * CONNECTING and BUSY connections have a job and a timer for its deadline, and are in the turn's `active`
 * list. A BUSY one sends the request and receives the reply at the same time: the peer may reply before it
 * has read everything. A long transfer pauses after a slice and continues in the next turn (`again`). IDLE
 * connections have no job, are in the site's `idle` list, last used first, and are counted in the endpoint,
 * where other threads claim them.
 *
 * An attempt ends in one of two ways. With a complete reply, the connection becomes IDLE, or is closed if it
 * cannot be reused, and the job goes to turn->replied. Without one, the connection is closed and the job goes
 * to turn->ended, with an outcome that says whether the function may have run (`touched`: a byte of the
 * request may have left). A request is never sent twice from here.
 *
 * Lock rules. None: a connection belongs to one I/O thread from lm_conn_open to the end of lm_conn_close. The
 * counts that other threads read, of idle connections (endpoint) and of all (turn), are atomic.
 *
 * Who frees. A connection owns its job while CONNECTING or BUSY and gives it away before it is closed. It
 * frees itself when an attempt ends without a reply or it cannot be reused, and when the peer closes it while
 * IDLE; after a call that may end the attempt, it must not be used. The pool closes connections that were
 * idle for too long.
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

/* What the connections of one I/O thread to one endpoint share. */
struct lm_site {
  struct lm_turn *turn;         /* borrowed */
  struct lm_endpoint *endpoint; /* strong */
  struct lm_list idle;          /* IDLE connections, last used first */
  struct lm_streams streams;
};

struct lm_conn {
  struct lm_node link;       /* in its site's `idle` or its turn's `active` list */
  struct lm_node again;      /* in its turn's `again` list while it has more to send or receive */
  struct lm_heap_item timer; /* in its turn's `timers` while it has a job */
  struct lm_site *site;      /* borrowed */
  struct lm_stream stream;
  enum lm_conn_state state;
  int64_t born_ns, idle_since_ns;
  struct lm_job *job;         /* owned while CONNECTING or BUSY */
  struct lm_buf out;          /* request head, followed by the body if that is small */
  size_t out_done, body_done; /* bytes written */
  size_t slice;               /* size of the last write that wrote nothing, 0: none; TLS needs the
                                  same bytes again */
  bool body_apart;            /* the body is sent from the job's buffer, not from out */
  bool touched;               /* a byte of this request may have left */
  bool all_sent;
  bool hopeless;    /* any other connection to this endpoint would fail, too */
  bool peer_closed; /* the peer has closed its side; the event is reported once only */
  struct lm_http1 reply;
};

/* Start to connect for `job` (moved). NULL: *err, and the job is still the caller's. */
struct lm_conn *lm_conn_open(struct lm_site *site, struct lm_job *job, const char *resolve,
                             struct lm_error *err);

/* Sign and start sending conn->job on a connected connection. */
void lm_conn_start(struct lm_conn *conn);

/* Continue a long transfer after a slice. */
void lm_conn_continue(struct lm_conn *conn);

/* Whether an IDLE connection has received nothing since its last reply but records of the TLS layer itself.
 * One that is not silent must be closed. */
bool lm_conn_is_silent(struct lm_conn *conn);

/* End the attempt: its deadline has passed, or its map was cancelled (`why`: the message). */
void lm_conn_expire(struct lm_conn *conn);
void lm_conn_cancel(struct lm_conn *conn, const char *why);

/* Close and free; it must have no job. */
void lm_conn_close(struct lm_conn *conn);

#endif
