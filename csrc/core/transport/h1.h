/* HTTP/1.1 on a connection: one request at a time.
 *
 * The request is sent and the reply received at the same time: the peer may reply before it has read
 * everything. A long transfer pauses after a slice and continues in the next turn (`again`). With a complete
 * reply, the connection becomes IDLE, or is closed if it cannot be reused; without one, it is closed.
 */
#ifndef LM_TRANSPORT_H1_H
#define LM_TRANSPORT_H1_H

#include "transport/conn.h"

/* Make HTTP/1.1 the protocol of a connection that has none. -1: out of memory. */
int lm_h1_adopt(struct lm_conn *conn, struct lm_error *err);

/* Sign and start sending conn->job on a BUSY connection. */
void lm_h1_start(struct lm_conn *conn);

#endif
