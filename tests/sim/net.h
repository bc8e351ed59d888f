/* Connections between the core's streams (os/loop.h, os/stream.h) and a simulated peer, which
 * cuts, delays and closes them at will.
 *
 * A socket is the client's end, a peer the server's; each outlives the closing of the other. What
 * one sends arrives at the other later, in order, in pieces of any size. */
#ifndef LM_SIM_NET_H
#define LM_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_peer;

/* How this world's network behaves; set before a run. One in 0: never. */
struct sim_net_options {
  int64_t latency_ns;         /* one way, maximum */
  int64_t connect_ns;         /* maximum, including the handshake */
  unsigned refuse_one_in;     /* connections are refused */
  unsigned black_hole_one_in; /* connecting is never answered */
  unsigned small_one_in;      /* pieces of a few bytes */
  unsigned proxy_refuses_one_in;
  unsigned tls_refuses_one_in; /* no handshake, or an untrusted certificate */
  size_t send_buffer;          /* bytes sent by a client that have not arrived */
  unsigned
      http2_of_8; /* of 8 servers behind an address, this many choose HTTP/2 if it is offered */
};
extern struct sim_net_options sim_net;

/* One fault, at one byte of the first connection; set before a run. */
enum sim_fault_kind {
  SIM_NO_FAULT,
  SIM_FIN,
  SIM_RESET,
  SIM_STALL, /* nothing more arrives */
  SIM_PAUSE, /* the rest arrives later */
  SIM_EARLY  /* the server answers (sim_peer_answer) */
};
struct sim_fault {
  enum sim_fault_kind kind;
  bool in_reply;    /* in what the server sends; else in what it receives */
  size_t at;        /* after this many bytes */
  int64_t pause_ns; /* of SIM_PAUSE; until SIM_FIN */
};
extern struct sim_fault sim_fault;

/* Attempts to connect that fail, of connections `from` to `until` - 1 of a run; set before it. */
enum sim_refusal {
  SIM_CONNECTS,
  SIM_PORT_CLOSED,
  SIM_NO_ANSWER,       /* until the attempt's time is over */
  SIM_HANDSHAKE_RESET, /* in TLS, or in the proxy's reply: there are no bytes of it here */
  SIM_PROXY_FAILS,
  SIM_PROXY_WANTS_PASSWORD,
  SIM_UNTRUSTED
};
struct sim_refusals {
  enum sim_refusal how;
  unsigned from, until;
};
extern struct sim_refusals sim_refusals;

/* The server's side, lambda.c, which may call the functions below from these. */
void sim_peer_accepted(struct sim_peer *peer);
/* The bytes stay until the run ends; those of one write are contiguous. */
void sim_peer_received(struct sim_peer *peer, const uint8_t *bytes, size_t n);
/* The same over HTTP/2, on a path on which nothing arrives any more. */
void sim_peer_not_received(struct sim_peer *peer, const uint8_t *bytes, size_t n);
void sim_peer_lost(struct sim_peer *peer); /* the client has closed; nothing more arrives */
/* Answer the request that has come in part. */
void sim_peer_answer(struct sim_peer *peer);

struct sim_peer {
  unsigned id;
  bool closed;      /* by the server */
  bool lost;        /* by the client */
  bool refuses;     /* bytes came after it was closed: a reset is on its way */
  int64_t quiet_ns; /* when the last of the sent bytes arrives */
  int fd;           /* the client's socket, -1: closed */
  void *server;     /* lambda.c's */
  size_t received, sent;
  bool struck, stalled; /* nothing arrives any more, in either direction */
  int64_t resume_ns, stalled_ns, frozen_before_ns;
  bool http2;
};

/* Send this many bytes, which stay unchanged until the run ends, after delay_ns, cut into pieces. */
void sim_peer_send(struct sim_peer *peer, const void *bytes, size_t n, int64_t delay_ns);
/* Close after all sent bytes have arrived: with a FIN, or a reset, which may overtake them. */
void sim_peer_close(struct sim_peer *peer, bool reset);

/* From now on nothing arrives, in either direction, and nobody is told. */
void sim_peer_stall(struct sim_peer *peer);

struct lm_stream;
/* The other end of an open stream. */
const struct sim_peer *sim_peer_of(const struct lm_stream *stream);

unsigned sim_sockets_open(void);
/* The first connection, as its two ends saw it. */
struct sim_first {
  size_t received, sent; /* bytes, by the server */
  size_t left,
      got;  /* by the client: written (what TLS was offered, too: it may have a part), and read */
  bool eof; /* the last that the client read was the end */
};
const struct sim_first *sim_first_connection(void);
unsigned sim_connections(void); /* attempts to connect */
/* After a run: what is left of it. */
void sim_net_forget(void);

#endif
