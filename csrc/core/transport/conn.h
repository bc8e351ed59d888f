/* One connection and the request on it.
 *
 * A stream opens it (address, TCP, proxy, TLS, verification) and moves its bytes; the HTTP on it is
 * ours. CONNECTING until the stream says so, then SENDING and RECEIVING one request at a time with
 * IDLE between. Belongs to one I/O thread, from lm_conn_open to the end of lm_conn_close.
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
