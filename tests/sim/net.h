/* Connections between the core's streams (os/loop.h, os/stream.h) and a simulated peer, which cuts,
 * delays and closes them as it likes.
 *
 * A socket is the client's end, a peer the server's; each outlives the other's closing. What one sends
 * arrives at the other later, in order, in pieces of any size. */
#ifndef LM_SIM_NET_H
#define LM_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_peer;

/* How this world's network is; set before a run. One in 0: never. */
struct sim_net_options {
  int64_t latency_ns;         /* one way, at most */
  int64_t connect_ns;         /* at most, handshake included */
  unsigned refuse_one_in;     /* nobody listens */
  unsigned black_hole_one_in; /* no answer to connecting */
  unsigned small_one_in;      /* pieces of a few bytes */
  size_t send_buffer;         /* bytes under way from a client */
};
extern struct sim_net_options sim_net;

/* The server's side, lambda.c. It may call the functions below from these. */
void sim_peer_accepted(struct sim_peer *peer);
void sim_peer_received(struct sim_peer *peer, const uint8_t *bytes, size_t n);
void sim_peer_lost(struct sim_peer *peer); /* the client has closed; nothing more arrives */

struct sim_peer {
  unsigned id;
  bool closed;      /* by the server */
  bool lost;        /* by the client */
  int64_t quiet_ns; /* when the last of what was sent arrives */
  int fd;           /* the client's socket, -1: gone */
  void *server;     /* lambda.c's */
};

/* Send so many bytes, after delay_ns, cut into pieces. */
void sim_peer_send(struct sim_peer *peer, const void *bytes, size_t n, int64_t delay_ns);
/* Close after what was sent has arrived: with a FIN, or a reset, which may overtake it. */
void sim_peer_close(struct sim_peer *peer, bool reset);

unsigned sim_sockets_open(void);
/* After a run: whatever is left of it. */
void sim_net_forget(void);

#endif
