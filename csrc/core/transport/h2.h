/* HTTP/2 on a connection: many requests at a time, a stream each.
 *
 * Frames are sent once a turn, up to a budget: what several jobs have to say leaves in one write. Bytes that
 * lm_http2 has given are committed: they are sent even if their job is given up, followed by RST_STREAM. So
 * nothing is taken from it unless the socket has taken all that was taken before.
 *
 * The end of a stream is the end of its job's attempt, and of nothing else. When the connection fails, or the
 * peer has not answered a PING, the attempts of all streams end. A PING is sent after a silence, and when a
 * reply is late: no streams are opened until it is answered, so that a dead path takes no more attempts than
 * are on it. A peer that is going away (GOAWAY) gets no new streams; those that it has taken run on.
 */
#ifndef LM_TRANSPORT_H2_H
#define LM_TRANSPORT_H2_H

#include "transport/conn.h"

/* Make HTTP/2 the protocol of a connection that has none. -1: out of memory. */
int lm_h2_adopt(struct lm_conn *conn, struct lm_error *err);

/* Streams that run, and how many more may be opened now; neither ends an attempt. */
unsigned lm_h2_running(const struct lm_conn *conn);
unsigned lm_h2_room(const struct lm_conn *conn);

/* Whether the peer has said how many streams it allows; there is room for one until then. */
bool lm_h2_settled(const struct lm_conn *conn);

/* Open a stream for the job (moved), and send it in the next turn. If that fails, its attempt ends. */
void lm_h2_start(struct lm_conn *conn, struct lm_job *job);

/* Send a PING if the peer is silent, and end what runs if it stays silent. May free the connection. */
void lm_h2_tend(struct lm_conn *conn, int64_t now_ns);
/* When lm_h2_tend has something to do next; LM_NEVER_NS: nothing runs, and no PING is unanswered. */
int64_t lm_h2_due(const struct lm_conn *conn);

#endif
