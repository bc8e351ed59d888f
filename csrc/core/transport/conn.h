/* One connection: how it is opened, the bytes on it, and the attempts that depend on it.
 *
 * Vocabulary. A *stream* (os/stream.h) opens the connection (address, TCP, proxy, TLS, verification) and
 * sends and receives bytes. A *protocol* (h1.h) makes requests and replies of these bytes. A *site* is what
 * the connections of one I/O thread to one endpoint share; the pool that it is part of decides which
 * connection a job gets, and which protocol a connection has. A *turn* is what the I/O thread shares with all
 * of its connections.
 *
 * States.
 *
 *   lm_conn_open ─► CONNECTING ─► BUSY ─► IDLE ─► BUSY ─► ...
 *                       │          │        │
 *                       └──────────┴────────┴─► closed
 *
 * A CONNECTING connection has no protocol yet. Where HTTP/1.1 is certain, it is opened for a job, which it
 * has from the beginning; elsewhere for whatever waits when it is open. Over HTTP/1.1, a connection has one
 * job while it is BUSY; IDLE ones are in the site's `idle` list, last used first, and are counted in the
 * endpoint, where other threads claim them. Over HTTP/2, a connection is in the site's `shared` list until it
 * is closed, and has any number of jobs (h2.h); with none it is IDLE.
 *
 * A job that is attached to a connection is in the turn's `active` list, and in its `timers` by its deadline.
 * Its attempt ends in one of two ways. With a complete reply, it goes to turn->replied. Without one, it goes
 * to turn->ended, with an outcome that says whether the function may have run (`job->touched`: a byte of the
 * request may have left). A request is never sent twice from here.
 *
 * Lock rules. None: a connection belongs to one I/O thread from lm_conn_open to the end of lm_conn_close. The
 * counts that other threads read, of idle connections (endpoint) and of all (turn), are atomic.
 *
 * Who frees. A connection owns its job and gives it away before it is closed. It is closed, and thereby freed,
 * when it cannot be reused, and when the peer closes it while it is IDLE; after a call that may end an
 * attempt, it must not be used. The pool closes connections that were idle for too long.
 */
#ifndef LM_TRANSPORT_CONN_H
#define LM_TRANSPORT_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "job/job.h"
#include "os/stream.h"
#include "transport/endpoint.h"
#include "transport/turn.h"

enum lm_conn_state { LM_CONN_CONNECTING, LM_CONN_IDLE, LM_CONN_BUSY };

struct lm_conn;
struct lm_h1; /* h1.c */
struct lm_h2; /* h2.c */

/* What makes requests and replies of the bytes on an open connection. */
struct lm_protocol {
  /* The socket is readable or writable, or has been closed, or the next turn of a long transfer has come. May
   * end attempts, and free the connection. */
  void (*proceed)(struct lm_conn *conn);
  /* End the attempt of one of several jobs, and no other one. NULL: a connection has one job, its own. */
  void (*drop)(struct lm_job *job, enum lm_failure failure, const char *why);
  void (*clean_up)(struct lm_conn *conn); /* free what it has of the connection */
};

/* What the connections of one I/O thread to one endpoint share. */
struct lm_site {
  struct lm_turn *turn;         /* borrowed */
  struct lm_endpoint *endpoint; /* strong */
  struct lm_list connecting;    /* CONNECTING connections without a job */
  struct lm_list idle;          /* IDLE connections, last used first */
  struct lm_list shared;        /* connections over HTTP/2 */
  bool changed; /* one of them has more room for jobs, or is gone: jobs that wait can look again */
  struct lm_streams streams;
  /* It is connected: give it a protocol. */
  void (*opened)(struct lm_conn *conn);
  /* It cannot be connected, and has no job: close it. */
  void (*not_opened)(struct lm_conn *conn, const struct lm_outcome *outcome,
                     const struct lm_error *err);
};

struct lm_conn {
  struct lm_node link;  /* in one of its site's lists; in none if it has a job of its own */
  struct lm_node again; /* in its turn's `again` list while it has more to send or receive */
  struct lm_site *site; /* borrowed */
  struct lm_stream stream;
  enum lm_conn_state state;
  const struct lm_protocol *protocol; /* static; NULL while CONNECTING */
  struct lm_h1 *h1;                   /* owned, by the protocol; NULL: it is another one */
  struct lm_h2 *h2;                   /* likewise */
  int64_t born_ns, idle_since_ns;
  struct lm_job *job; /* owned, while CONNECTING for it, or BUSY over HTTP/1.1; NULL: none */
  size_t slice;       /* size of the last write that wrote nothing, 0: none; TLS needs the same
                         bytes again */
  bool large;         /* over HTTP/2, it is for large bodies alone */
  bool peer_closed;   /* the peer has closed its side; the event is reported once only */
};

/* Start to connect: for `job` (moved), or, if that is NULL, for whatever waits then. NULL: *err, and the job
 * is still the caller's. */
struct lm_conn *lm_conn_open(struct lm_site *site, struct lm_job *job, const char *resolve,
                             int64_t connect_timeout_ms, struct lm_error *err);

/* Close and free; it must have no job. */
void lm_conn_close(struct lm_conn *conn);

/* Attach the job (moved) to an IDLE connection, which becomes BUSY. -1: *err, and nothing has changed. */
int lm_conn_attach(struct lm_conn *conn, struct lm_job *job, struct lm_error *err);
/* Take its own job back. */
struct lm_job *lm_conn_detach(struct lm_conn *conn);
/* Make the connection IDLE: its job is detached, and the reply was read to its exact end. */
void lm_conn_keep(struct lm_conn *conn);
/* The same, without the `idle` list. */
void lm_conn_rest(struct lm_conn *conn);

/* End the attempt of its own job without a usable reply, and close the connection. `text` must not be the
 * job's own. */
void lm_conn_lose(struct lm_conn *conn, enum lm_failure failure, const char *text);

/* For a protocol with several jobs on a connection: put a job into the turn's list and timers, and take it
 * out again. -1: *err, and nothing has changed. */
int lm_conn_hold(struct lm_conn *conn, struct lm_job *job, struct lm_error *err);
void lm_conn_release(struct lm_job *job);
/* What a loss says of a job's attempt, by job->touched and job->head. */
struct lm_outcome lm_conn_loss(const struct lm_job *job, enum lm_failure failure);
/* Count and note the connection for the first job that it has. */
void lm_conn_note_connection(struct lm_conn *conn, struct lm_job *job);
/* Note a complete reply, and heed its Date. */
void lm_conn_note_reply(struct lm_conn *conn, struct lm_job *job);

/* End the job's attempt: its deadline has passed, or its map was cancelled (`why`: the message). */
void lm_conn_expire(struct lm_job *job);
void lm_conn_cancel(struct lm_job *job, const char *why);

/* Send of these bytes what the socket takes, *n. After AGAIN some may have left all the same (TLS), and the next
 * call must begin with the same bytes. */
enum lm_stream_result lm_conn_send(struct lm_conn *conn, const uint8_t *at, size_t size, size_t *n);
/* Continue in the next turn: other connections have theirs first. */
void lm_conn_go_on_next_turn(struct lm_conn *conn);
/* What `again` calls for. */
void lm_conn_continue(struct lm_conn *conn);

/* Whether an IDLE connection has received nothing since its last reply but records of the TLS layer itself.
 * One that is not silent must be closed. */
bool lm_conn_is_silent(struct lm_conn *conn);

#endif
