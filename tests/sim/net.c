#include "net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fiber.h"
#include "os.h"
#include "os/loop.h"
#include "os/stream.h"
#include "policy/deadline.h"
#include "record.h"

enum { MAX_SOCKETS = 4096, FIRST_FD = 3 };

struct sim_net_options sim_net;
struct sim_fault sim_fault;
struct sim_refusals sim_refusals;

/* --- sockets --- */

struct packet;

struct socket {
  bool open, connected, failed, tls;
  bool fin, reset;              /* received from the peer */
  uint32_t generation;          /* of the descriptor */
  struct packet *in, *last_in;  /* arrived, not read yet */
  size_t in_done;               /* bytes read of the first one */
  size_t under_way;             /* sent, not arrived yet */
  size_t written;               /* in all */
  bool was_full;                /* a send found no room */
  struct lm_stream_failure why; /* why there is no connection */
  struct sim_peer *peer;
  struct lm_stream *stream; /* borrowed */
  /* In a loop. */
  struct lm_loop *loop;
  lm_loop_handler handler;
  void *owner;
  int edges; /* events since the last delivery */
  bool listed;
  uint32_t registration;
  /* The bytes that TLS must be offered again. */
  const void *again_at;
  size_t again_size;
};

static struct socket sockets[MAX_SOCKETS];
static unsigned n_open, n_peers;
static struct sim_first first_connection;
static int n_used = FIRST_FD; /* one more than the highest descriptor used in the last run */

unsigned
sim_sockets_open(void)
{
  return n_open;
}

/* --- the loop --- */

struct ready {
  int fd, events;
  uint32_t registration;
};

struct lm_loop {
  struct sim_queue waiting;
  bool woken;
  int *listed; /* owned: sockets with events */
  size_t n_listed, room;
  struct ready *ready; /* owned: events that are being delivered */
  size_t n_ready, next_ready, ready_room;
};

struct lm_loop *
lm_loop_new(struct lm_error *err)
{
  struct lm_loop *loop = lm_alloc_zero(1, sizeof *loop);
  if (loop == NULL)
    lm_error_nomem(err, sizeof *loop);
  return loop;
}

void
lm_loop_destroy(struct lm_loop *loop)
{
  if (loop == NULL)
    return;
  free(loop->listed);
  free(loop->ready);
  lm_free(loop);
}

static void
happened(struct socket *socket, int events)
{
  struct lm_loop *loop = socket->loop;
  if (loop == NULL)
    return;
  socket->edges |= events;
  if (!socket->listed) {
    socket->listed = true;
    if (loop->n_listed == loop->room) {
      loop->room = loop->room == 0 ? 64 : loop->room * 2;
      loop->listed = record_must(realloc(loop->listed, loop->room * sizeof *loop->listed));
    }
    loop->listed[loop->n_listed++] = (int)(socket - sockets);
  }
  sim_wake_all(&loop->waiting);
}

static bool
has_room(const struct socket *socket)
{
  return socket->under_way < sim_net.send_buffer;
}

static int
state_of(const struct socket *socket)
{
  int events = 0;
  if (socket->in != NULL || socket->fin || socket->reset)
    events |= LM_LOOP_READ;
  if (has_room(socket) || socket->reset)
    events |= LM_LOOP_WRITE;
  if (socket->fin || socket->reset)
    events |= LM_LOOP_HANGUP;
  return events;
}

int
lm_loop_set(struct lm_loop *loop, int fd, int events, lm_loop_handler handler, void *owner,
            struct lm_error *err)
{
  struct socket *socket = &sockets[fd];
  (void)events;
  if (sim_one_in(sim_options.system_fails_one_in))
    return lm_error_set(err, LM_E_SYSTEM, "epoll_ctl: %s", "No space left on device");
  socket->loop = loop;
  socket->handler = handler;
  socket->owner = owner;
  socket->registration++;
  if (state_of(socket) != 0)
    happened(socket, state_of(socket));
  return 0;
}

void
lm_loop_del(struct lm_loop *loop, int fd)
{
  struct socket *socket = &sockets[fd];
  (void)loop;
  socket->handler = NULL;
  socket->registration++;
}

void
lm_loop_want_write(struct lm_loop *loop, int fd, bool wanted)
{
  (void)loop, (void)fd, (void)wanted;
}

void *
lm_loop_owner(const struct lm_loop *loop, int fd, lm_loop_handler handler)
{
  (void)loop;
  return sockets[fd].handler == handler ? sockets[fd].owner : NULL;
}

static void
collect(struct lm_loop *loop)
{
  loop->n_ready = loop->next_ready = 0;
  if (loop->n_listed > loop->ready_room) {
    loop->ready_room = loop->n_listed * 2;
    loop->ready = record_must(realloc(loop->ready, loop->ready_room * sizeof *loop->ready));
  }
  while (loop->n_listed > 0) { /* in any order */
    size_t at = sim_below(loop->n_listed);
    struct socket *socket = &sockets[loop->listed[at]];
    loop->listed[at] = loop->listed[--loop->n_listed];
    socket->listed = false;
    loop->ready[loop->n_ready++] =
        (struct ready){(int)(socket - sockets), socket->edges, socket->registration};
    socket->edges = 0;
  }
}

void
lm_loop_wait(struct lm_loop *loop, int64_t timeout_ns)
{
  if (loop->next_ready < loop->n_ready)
    return;
  int64_t until = INT64_MAX;
  if (timeout_ns >= 0) {
    int64_t ms = (timeout_ns + 999999) / 1000000;
    until = sim_now() + (ms > 60000 ? 60000 : ms) * 1000000;
  }
  sim_switch();
  if (!loop->woken && loop->n_listed == 0)
    sim_wait(&loop->waiting, until);
  loop->woken = false;
  collect(loop);
}

static void
tell_opened(struct socket *socket)
{
  struct lm_stream *stream = socket->stream;
  stream->result = socket->failed ? 1 : 0;
  stream->os_errno = socket->why.os_errno;
  stream->fd = socket->failed ? -1 : (int)(socket - sockets);
  stream->http2 = socket->peer->http2;
  stream->opened(stream->owner, !socket->failed);
}

void
lm_loop_deliver(struct lm_loop *loop)
{
  while (loop->next_ready < loop->n_ready) {
    struct ready ready = loop->ready[loop->next_ready++];
    struct socket *socket = &sockets[ready.fd];
    if (!socket->open || socket->registration != ready.registration)
      continue;
    if (socket->stream != NULL && socket->stream->fd < 0) {
      if (socket->connected || socket->failed)
        tell_opened(socket);
    } else if (socket->handler != NULL) {
      int events = ready.events;
      if (has_room(socket) && sim_one_in(3))
        events |= LM_LOOP_WRITE;
      socket->handler(socket->owner, ready.fd, events);
    }
    if (sim_one_in(50)) /* the rest is for the next call */
      return;
  }
}

void
lm_loop_wake(struct lm_loop *loop)
{
  loop->woken = true;
  sim_wake_all(&loop->waiting);
  if (sim_one_in(4))
    sim_switch();
}

void
lm_loop_abandon(struct lm_loop *loop)
{
  (void)loop;
}

/* --- what is under way --- */

enum kind { TO_SERVER, TO_CLIENT, FIN, RESET, CONNECTED, GONE };

struct packet {
  enum kind kind;
  struct sim_peer *peer;
  int fd;
  uint32_t generation;
  size_t n;
  const uint8_t *bytes; /* in the run's memory */
  struct packet *next;  /* in its socket's `in` */
};

static struct socket *
client_of(const struct packet *packet)
{
  struct socket *socket = packet->fd < 0 ? NULL : &sockets[packet->fd];
  return socket != NULL && socket->open && socket->generation == packet->generation ? socket : NULL;
}

static void arrive(void *argument);

/* `bytes` are borrowed until the run ends. */
static void
send_packet(enum kind kind, struct sim_peer *peer, const uint8_t *bytes, size_t n, int64_t when_ns)
{
  struct packet *packet = sim_memory(sizeof *packet);
  *packet = (struct packet){.kind = kind, .peer = peer, .fd = peer->fd, .n = n, .bytes = bytes};
  if (peer->fd >= 0)
    packet->generation = sockets[peer->fd].generation;
  sim_at(when_ns, arrive, packet);
}

/* Whether the fault of this run concerns this connection and direction, and has not happened yet. */
static bool
fault_comes(const struct sim_peer *peer, bool in_reply)
{
  return sim_fault.kind != SIM_NO_FAULT && sim_fault.in_reply == in_reply && peer->id == 0 &&
         !peer->struck;
}

void
sim_peer_stall(struct sim_peer *peer)
{
  peer->stalled = true;
  peer->stalled_ns = peer->quiet_ns > sim_now() ? peer->quiet_ns : sim_now();
  peer->frozen_before_ns = sim_frozen();
}

static void
close_later(void *argument)
{
  sim_peer_close(argument, false);
}

/* What is sent from here on has a fault. */
static void
strike(struct sim_peer *peer)
{
  peer->struck = true;
  record_event("connection %u: the fault, after %zu bytes", peer->id, sim_fault.at);
  switch (sim_fault.kind) {
  case SIM_FIN:
    if (sim_fault.pause_ns > 0)
      sim_at(sim_now() + sim_fault.pause_ns, close_later, peer);
    else
      sim_peer_close(peer, false);
    break;
  case SIM_RESET:
    sim_peer_close(peer, true);
    break;
  case SIM_STALL:
    sim_peer_stall(peer);
    break;
  case SIM_EARLY:
    sim_peer_answer(peer);
    break;
  default:
    peer->resume_ns = sim_now() + sim_fault.pause_ns;
  }
}

static void
arrive_at_server(struct packet *packet, struct socket *socket)
{
  struct sim_peer *peer = packet->peer;
  if (peer->stalled) {
    if (peer->http2)
      sim_peer_not_received(peer, packet->bytes, packet->n);
    return;
  }
  if (sim_now() < peer->resume_ns) {
    sim_at(peer->resume_ns, arrive, packet);
    return;
  }
  if (socket != NULL) {
    socket->under_way -= packet->n;
    if (socket->was_full && has_room(socket)) {
      socket->was_full = false;
      happened(socket, LM_LOOP_WRITE);
    }
  }
  size_t n = packet->n, first = n;
  bool faulty = fault_comes(peer, false) && peer->received + n >= sim_fault.at;
  if (faulty)
    first = sim_fault.at - peer->received;
  peer->received += first;
  if (peer->id == 0)
    first_connection.received = peer->received;
  if (!peer->closed) {
    if (first > 0)
      sim_peer_received(peer, packet->bytes, first);
  } else if (!peer->refuses) { /* as TCP answers data after a close */
    int64_t when = sim_now() + sim_between(0, sim_net.latency_ns);
    peer->refuses = true;
    send_packet(RESET, peer, NULL, 0, when < peer->quiet_ns ? peer->quiet_ns : when);
  }
  if (!faulty)
    return;
  strike(peer);
  if (n > first) {
    if (socket != NULL)
      socket->under_way += n - first;
    packet->bytes += first;
    packet->n = n - first;
    arrive_at_server(packet, socket);
  }
}

static void
arrive_at_client(struct packet *packet, struct socket *socket)
{
  if (socket == NULL || socket->reset)
    return;
  packet->next = NULL;
  if (socket->in == NULL)
    socket->in = packet;
  else
    socket->last_in->next = packet;
  socket->last_in = packet;
  happened(socket, LM_LOOP_READ);
}

static void
arrive(void *argument)
{
  struct packet *packet = argument;
  struct socket *socket = client_of(packet);
  struct sim_peer *peer = packet->peer;
  switch (packet->kind) {
  case CONNECTED:
    if (socket != NULL) {
      socket->connected = !socket->failed;
      happened(socket, LM_LOOP_READ);
      if (socket->connected) {
        sim_peer_accepted(peer);
        if (fault_comes(peer, false) && sim_fault.at == 0)
          strike(peer);
      }
    }
    break;
  case TO_SERVER:
    arrive_at_server(packet, socket);
    break;
  case TO_CLIENT:
    arrive_at_client(packet, socket);
    break;
  case FIN:
    if (socket != NULL) {
      socket->fin = true;
      happened(socket, LM_LOOP_READ | LM_LOOP_HANGUP);
    }
    break;
  case RESET:
    if (socket != NULL) {
      socket->reset = true;
      if (sim_one_in(2)) /* data that has arrived and was not read is lost with it */
        socket->in = NULL;
      happened(socket, LM_LOOP_READ | LM_LOOP_WRITE | LM_LOOP_HANGUP);
    }
    break;
  case GONE:
    if (!peer->lost) {
      peer->lost = true;
      sim_peer_lost(peer);
    }
    break;
  }
}

static size_t
piece_of(size_t n)
{
  if (sim_one_in(sim_net.small_one_in))
    return 1 + sim_below(n < 16 ? n : 16);
  return sim_one_in(4) ? 1 + sim_below(n) : n;
}

static void
send_pieces(struct sim_peer *peer, const uint8_t *at, size_t n, int64_t delay_ns)
{
  int64_t when = sim_now() + delay_ns;
  peer->sent += n;
  if (peer->id == 0)
    first_connection.sent = peer->sent;
  while (n > 0) {
    size_t piece = piece_of(n);
    when += sim_between(0, sim_net.latency_ns);
    if (when < peer->quiet_ns)
      when = peer->quiet_ns;
    peer->quiet_ns = when;
    send_packet(TO_CLIENT, peer, at, piece, when);
    at += piece;
    n -= piece;
  }
}

void
sim_peer_send(struct sim_peer *peer, const void *bytes, size_t n, int64_t delay_ns)
{
  const uint8_t *at = bytes;
  if (peer->closed || peer->stalled)
    return;
  if (fault_comes(peer, true) && peer->sent + n >= sim_fault.at) {
    size_t first = sim_fault.at - peer->sent;
    send_pieces(peer, at, first, delay_ns);
    strike(peer);
    if (peer->closed || peer->stalled)
      return;
    if (peer->quiet_ns < peer->resume_ns)
      peer->quiet_ns = peer->resume_ns;
    peer->resume_ns = 0; /* the other direction continues */
    at += first;
    n -= first;
  }
  send_pieces(peer, at, n, delay_ns);
}

void
sim_peer_close(struct sim_peer *peer, bool reset)
{
  if (peer->closed || peer->stalled)
    return;
  peer->closed = true;
  int64_t when = sim_now() + sim_between(0, sim_net.latency_ns);
  if (when < peer->quiet_ns && !(reset && sim_one_in(2)))
    when = peer->quiet_ns;
  send_packet(reset ? RESET : FIN, peer, NULL, 0, when);
}

/* --- streams --- */

int
lm_stream_prepare(struct lm_error *err)
{
  (void)err;
  return 0;
}

const char *
lm_stream_version(void)
{
  return "simulated";
}

void
lm_streams_init(struct lm_streams *streams, struct lm_loop *loop, const int64_t *now)
{
  *streams = (struct lm_streams){.loop = loop, .now_ns = now};
}

void
lm_streams_clean_up(struct lm_streams *streams)
{
  (void)streams;
}

void
lm_streams_timers(struct lm_streams *streams, int64_t now)
{
  (void)streams, (void)now;
}

int64_t
lm_streams_next(const struct lm_streams *streams, int64_t now)
{
  (void)streams, (void)now;
  return LM_NEVER_NS;
}

static int
free_descriptor(void)
{
  for (int fd = FIRST_FD; fd < MAX_SOCKETS; fd++)
    if (!sockets[fd].open && !sockets[fd].listed)
      return fd;
  return -1;
}

/* The failure that the sweep has chosen. */
static void
refuse(int64_t most, int64_t *wait, struct lm_stream_failure *why)
{
  switch (sim_refusals.how) {
  case SIM_NO_ANSWER:
    why->os_errno = ETIMEDOUT;
    *wait = most;
    break;
  case SIM_HANDSHAKE_RESET:
    why->os_errno = ECONNRESET;
    break;
  case SIM_PROXY_FAILS:
    why->proxy_status = 502;
    break;
  case SIM_PROXY_WANTS_PASSWORD:
    why->proxy_status = 407;
    break;
  case SIM_UNTRUSTED:
    why->tls_refused = why->untrusted = true;
    break;
  default:
    why->os_errno = ECONNREFUSED;
  }
}

/* The result of an attempt to connect, and its duration; *why is empty on success. */
static bool
connects(const struct lm_stream_spec *spec, unsigned id, int64_t *wait,
         struct lm_stream_failure *why)
{
  static const int proxy_says[] = {407, 403, 502, 503};
  int64_t most = spec->connect_timeout_ms * 1000000;
  *why = (struct lm_stream_failure){.said = "no connection"};
  if (id >= sim_refusals.from && id < sim_refusals.until) {
    refuse(most, wait, why);
    return false;
  }
  if (n_open > sim_options.descriptors) {
    why->os_errno = EMFILE;
    why->no_descriptors = true;
    *wait = 0;
  } else if (sim_one_in(sim_net.black_hole_one_in) || *wait > most) {
    why->os_errno = ETIMEDOUT;
    *wait = most;
  } else if (sim_one_in(sim_net.refuse_one_in)) {
    why->os_errno = ECONNREFUSED;
  } else if (spec->proxy != NULL && sim_one_in(sim_net.proxy_refuses_one_in)) {
    why->proxy_status = proxy_says[sim_below(4)];
  } else if (spec->tls && sim_one_in(sim_net.tls_refuses_one_in)) {
    why->tls_refused = true;
    why->untrusted = sim_one_in(2);
  } else {
    return true;
  }
  return false;
}

int
lm_stream_open(struct lm_stream *stream, struct lm_streams *streams,
               const struct lm_stream_spec *spec, void (*opened)(void *owner, bool connected),
               void *owner, struct lm_error *err)
{
  *stream = (struct lm_stream){.fd = -1, .opened = opened, .owner = owner};
  int fd = free_descriptor();
  if (fd < 0 || sim_one_in(sim_options.system_fails_one_in))
    return lm_error_set(err, LM_E_SYSTEM, "no handle for a connection");
  stream->said = lm_alloc_zero(1, 64);
  if (stream->said == NULL)
    return lm_error_nomem(err, 64);
  struct sim_peer *peer = sim_memory(sizeof *peer);
  struct socket *socket = &sockets[fd];
  uint32_t generation = socket->generation + 1, registration = socket->registration + 1;
  *socket = (struct socket){.open = true,
                            .tls = spec->tls,
                            .generation = generation,
                            .registration = registration,
                            .peer = peer,
                            .stream = stream,
                            .loop = streams->loop};
  n_open++;
  if (fd >= n_used)
    n_used = fd + 1;
  *peer = (struct sim_peer){.id = n_peers++, .fd = fd};
  peer->http2 = spec->offer_http2 && sim_below(8) < sim_net.http2_of_8;
  stream->easy = socket;
  int64_t wait = sim_between(0, sim_net.connect_ns);
  socket->failed = !connects(spec, peer->id, &wait, &socket->why);
  send_packet(CONNECTED, peer, NULL, 0, sim_now() + wait);
  sim_switch();
  return 0;
}

void
lm_stream_close(struct lm_stream *stream)
{
  struct socket *socket = stream->easy;
  struct sim_peer *peer = socket->peer;
  lm_loop_del(socket->loop, (int)(socket - sockets));
  send_packet(GONE, peer, NULL, 0, sim_now() + sim_net.latency_ns);
  peer->fd = -1;
  socket->in = NULL;
  socket->open = false;
  socket->stream = NULL;
  n_open--;
  lm_free(stream->said);
  stream->said = NULL;
}

void
lm_stream_why_not_opened(const struct lm_stream *stream, struct lm_stream_failure *failure)
{
  const struct socket *socket = stream->easy;
  *failure = socket->why;
}

enum lm_stream_result
lm_stream_send(struct lm_stream *stream, const void *at, size_t size, size_t *n)
{
  struct socket *socket = stream->easy;
  sim_switch();
  *n = 0;
  if (socket->tls && socket->again_at != NULL &&
      (at != socket->again_at || size != socket->again_size))
    record_broken(SAME_BYTES, "%zu bytes were offered, and then %zu others", socket->again_size,
                  size);
  socket->again_at = NULL;
  if (socket->reset)
    return LM_STREAM_BROKEN;
  if (!has_room(socket) || (socket->tls && sim_one_in(8))) {
    /* Below TLS, part of a record may have left. */
    socket->was_full = true;
    if (has_room(socket)) /* then it continues at once, but not in this call */
      happened(socket, LM_LOOP_WRITE);
    if (socket->tls) {
      socket->again_at = at;
      socket->again_size = size;
    }
    if (socket->peer->id == 0 && socket->tls)
      first_connection.left = socket->written + size;
    return LM_STREAM_AGAIN;
  }
  size_t room = sim_net.send_buffer - socket->under_way;
  *n = size < room || (socket->tls && size < 16384) ? size : room;
  if (sim_one_in(8))
    *n = 1 + sim_below(*n);
  socket->under_way += *n;
  socket->written += *n;
  struct sim_peer *peer = socket->peer;
  if (peer->id == 0)
    first_connection.left = socket->written;
  uint8_t *sent = memcpy(sim_memory(*n), at, *n);
  for (size_t done = 0; done < *n;) {
    size_t piece = piece_of(*n - done);
    /* In order in each direction: of events at the same time, the next one comes later. */
    send_packet(TO_SERVER, peer, sent + done, piece, sim_now() + sim_net.latency_ns);
    done += piece;
  }
  return LM_STREAM_OK;
}

enum lm_stream_result
lm_stream_recv(struct lm_stream *stream, void *at, size_t size, size_t *n)
{
  struct socket *socket = stream->easy;
  sim_switch();
  *n = 0;
  if (socket->in != NULL) {
    if (sim_one_in(4))
      size = 1 + sim_below(size);
    while (socket->in != NULL && *n < size) {
      const struct packet *first = socket->in;
      size_t have = first->n - socket->in_done, some = have < size - *n ? have : size - *n;
      memcpy((uint8_t *)at + *n, first->bytes + socket->in_done, some);
      *n += some;
      socket->in_done += some;
      if (some == have) {
        socket->in = first->next;
        socket->in_done = 0;
      }
    }
    if (socket->peer->id == 0)
      first_connection.got += *n;
    return LM_STREAM_OK;
  }
  if (socket->reset)
    return LM_STREAM_BROKEN;
  if (socket->fin && socket->peer->id == 0)
    first_connection.eof = true;
  return socket->fin ? LM_STREAM_OK : LM_STREAM_AGAIN;
}

const char *
lm_stream_why(const struct lm_stream *stream)
{
  (void)stream;
  return "reset by the peer";
}

const char *
lm_stream_peer(const struct lm_stream *stream, long *port)
{
  (void)stream;
  *port = 443;
  return "192.0.2.1";
}

const struct sim_peer *
sim_peer_of(const struct lm_stream *stream)
{
  const struct socket *socket = stream->easy;
  return socket->peer;
}

const struct sim_first *
sim_first_connection(void)
{
  return &first_connection;
}

unsigned
sim_connections(void)
{
  return n_peers;
}

void
sim_net_forget(void)
{
  for (int fd = FIRST_FD; fd < n_used; fd++)
    sockets[fd] = (struct socket){.generation = sockets[fd].generation + 1};
  n_used = FIRST_FD;
  n_open = n_peers = 0;
  first_connection = (struct sim_first){0};
}
