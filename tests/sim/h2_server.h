/* The HTTP/2 of a simulated Lambda: an nghttp2 session as the server, on each connection that has chosen it.
 * What becomes of a request is lambda.c's decision; here is what HTTP/2 adds. It follows the protocol: a
 * stream that it refuses, or that is above the last id of its GOAWAY, is never served. */
#ifndef LM_SIM_H2_SERVER_H
#define LM_SIM_H2_SERVER_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "h2_frames.h"

struct sim_call;
struct sim_peer;

/* How this world's HTTP/2 is; set before a run. One in 0: never. */
struct sim_h2_options {
  unsigned streams;        /* SETTINGS_MAX_CONCURRENT_STREAMS; 0: 128 */
  bool limited;            /* the first window of a stream is not the usual one: */
  unsigned window;         /* so many bytes; 0: it opens later */
  unsigned late_one_in;    /* SETTINGS come later */
  unsigned change_one_in;  /* another number of streams, per request */
  unsigned slow_one_in;    /* of the pieces of requests are read later */
  unsigned pad_one_in;     /* frames are padded */
  unsigned refuse_one_in;  /* REFUSED_STREAM */
  unsigned go_away_one_in; /* GOAWAY, graceful or not */
  unsigned dead_one_in;    /* the path goes silent, for good */
};
extern struct sim_h2_options sim_h2;

/* --- h2_server.c --- */

void sim_h2_begin(void); /* before each run */
void sim_h2_accept(struct sim_peer *peer);
void sim_h2_received(struct sim_peer *peer, const uint8_t *bytes, size_t n);
/* The same of a path on which nothing arrives any more. */
void sim_h2_not_received(struct sim_peer *peer, const uint8_t *bytes, size_t n);
/* After a run: streams that a client has left open without need. */
void sim_h2_check_left(void);

/* Where the frames of one request and its reply lie in the bytes of the first connection's two directions;
 * 0: they did not come. */
struct sim_h2_place {
  size_t begin;               /* of the request's HEADERS */
  size_t head_end, reply_end; /* of the reply's HEADERS, and of its last frame */
  bool in_body;               /* what follows are trailers */
};
enum { SIM_H2_PLACES = 8 };
extern struct sim_h2_place sim_h2_places[SIM_H2_PLACES];

struct sim_h2_connection {
  nghttp2_session *session; /* the run's memory, as is all of it */
  struct sim_peer *peer;
  struct sim_h2_connection *next;
  struct sim_stream *first, *last; /* to look at after this piece */
  unsigned n_open;                 /* streams */
  int32_t came_id;                 /* the highest whose HEADERS have come, refused ones included */
  int32_t begun_id, served_id;     /* the highest that began, that was served */
  int32_t last_id;                 /* of GOAWAY: those above are not served */
  struct sim_frames to_server, to_client;
  unsigned
      at_stake; /* requests on a path that is dead: the client's when it died, and later ones */
  uint32_t stake_id;       /* the highest of the client's when it died */
  size_t received, cut_at; /* the connection ends after so many bytes; 0: it does not */
  uint64_t idle_since;     /* counts streams */
  bool settled, leaving;   /* SETTINGS were sent; GOAWAY was */
  bool spoilt;             /* what it sent was not HTTP/2 */
};

struct sim_stream {
  struct sim_h2_connection *on;
  int32_t id;
  struct sim_stream *next; /* to look at */
  bool listed, seen;
  bool complete; /* the request is */
  bool gone;     /* refused: it is not served */
  bool served, answered, closed;
  uint8_t *head, *body;
  size_t head_len, head_room, body_len, body_room;
  /* The reply. */
  const uint8_t *reply;
  size_t reply_len, reply_done, released; /* bytes that may be sent by now */
  bool trailers;
};

/* Send what there is, or only a part of it before the connection ends. */
void sim_h2_flush(struct sim_h2_connection *h2);
void sim_h2_flush_and_cut(struct sim_h2_connection *h2);
/* Send GOAWAY; streams above those that were served may be refused by it. */
void sim_h2_go_away(struct sim_h2_connection *h2, uint32_t error_code);

/* --- h2_settings.c --- */

nghttp2_mem sim_h2_memory(void);       /* the run's */
void sim_h2_settle(void *connection);  /* send the first SETTINGS */
void sim_h2_open_window(void *stream); /* of a request, now and again until it is complete */
/* Other streams than before may be open; if none, then for a while. */
void sim_h2_change_settings(struct sim_h2_connection *h2);
/* What was read of a request makes room for more, now or later. */
void sim_h2_consume(struct sim_h2_connection *h2, int32_t id, size_t n);

/* --- h2_check.c --- */

/* The path is about to die: the core's requests on it that were not answered are at stake. */
void sim_h2_count_at_stake(struct sim_h2_connection *h2);

/* What the core has on connections on which nothing arrives any more: it must not be there for long. */
void sim_h2_check_silence(void);

/* --- h2_answer.c --- */

void sim_h2_answer(const struct sim_call *call);

#endif
