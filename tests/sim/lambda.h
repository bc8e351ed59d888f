/* A simulated Lambda: it reads requests, runs the function or not, and replies in forty ways. It
 * lies only within the protocol: what it reports as not run has not run. */
#ifndef LM_SIM_LAMBDA_H
#define LM_SIM_LAMBDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_peer;
struct sim_stream;

/* How this world's Lambda behaves; set before a run. One in 0: never. */
struct sim_lambda_options {
  unsigned concurrency;        /* concurrent runs; more are throttled */
  int64_t duration_ns;         /* maximum duration of a run */
  int64_t idle_ns;             /* idle connections are closed after at most this time; 0: never */
  int64_t expires_ns;          /* validity of credentials; 0: for ever */
  unsigned refuse_one_in;      /* an error before the function runs */
  unsigned stop_one_in;        /* an error that concerns every chunk */
  unsigned poll_one_in;        /* the function is not ready */
  unsigned slow_down_one_in;   /* the rate is too high */
  unsigned unknown_one_in;     /* a 5xx by a proxy, after which the function may have run */
  unsigned raise_one_in;       /* a function error */
  unsigned partial_one_in;     /* some items are done */
  unsigned cut_request_one_in; /* the connection ends while the request is read */
  unsigned cut_reply_one_in;   /* the connection ends while the reply is sent */
  unsigned silent_one_in;      /* no reply, or an incomplete one */
  unsigned close_one_in;       /* Connection: close */
  unsigned rude_one_in;        /* closed after a reply that promised to keep the connection */
  unsigned slow_one_in;        /* the reply arrives in many pieces over a long time */
  unsigned early_one_in;       /* a refusal before the body has arrived */
  unsigned in_band_one_in;     /* an error by the worker itself */
  unsigned unmarked_one_in;    /* not a lambdamap worker */
  unsigned hostile_one_in;     /* a worker that lies */
};
extern struct sim_lambda_options sim_lambda;

/* What one request is answered with, whatever else this world's Lambda does; set before a run. */
struct sim_script {
  unsigned request; /* which one, from 1 on; 0: none */
  int status;
  const char *type; /* NULL: none */
  bool function_error, runs, garbage;
  bool closes, resets; /* the connection, after SIM_EARLY */
};
extern struct sim_script sim_script;

/* A request that came on the first connection, and where its bytes and those of its reply end there. */
struct sim_served {
  size_t request_end;         /* 0: it was answered before that */
  size_t head_end, reply_end; /* 0: it was not answered; head_end 0 also: it has none */
  int status;
  bool until_close, scripted, function_error;
};
enum { SIM_MAX_SERVED = 16 };
const struct sim_served *sim_served(unsigned *n);

/* From the world: how often an item of a map has run, to be incremented; NULL: no such item. */
uint32_t *sim_runs(unsigned map, uint64_t item);
/* The handler is called for a chunk, and calls the function for its first `runs` items. */
void sim_run_begins(unsigned map, uint64_t first_item, uint32_t n_items, uint32_t runs);

/* A request that was read: its head as the text of HTTP/1.1, with the names of headers as the core spells
 * them there, and its body. The run's memory. */
struct sim_request {
  struct sim_peer *peer;
  struct sim_stream *stream; /* of HTTP/2; NULL: HTTP/1.1 */
  const uint8_t *at, *body;
  size_t head_len, body_len;
};
/* Decide what becomes of it, run the function or do not, and answer now or later. */
void sim_serve(const struct sim_request *request);
/* Refuse it by its head. False: a promise is broken. */
bool sim_refuse_early(const struct sim_request *request);

void sim_lambda_begin(void);               /* before each run */
uint64_t sim_invocations(void);            /* completely read requests of this run */
uint64_t sim_invocations_over_http2(void); /* of these */
unsigned sim_running(void);

#endif
