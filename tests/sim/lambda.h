/* A simulated Lambda: it reads requests, runs the function or does not, and answers in forty ways. It lies
 * within the protocol only: what it says did not run has not run. */
#ifndef LM_SIM_LAMBDA_H
#define LM_SIM_LAMBDA_H

#include <stdint.h>

/* How this world's Lambda is; set before a run. One in 0: never. */
struct sim_lambda_options {
  unsigned concurrency;        /* runs at once; more are throttled */
  int64_t duration_ns;         /* of a run, at most */
  int64_t idle_ns;             /* idle connections are closed after this at most; 0: never */
  int64_t expires_ns;          /* how long credentials are good for; 0: for ever */
  unsigned refuse_one_in;      /* an error before the function runs */
  unsigned stop_one_in;        /* one that concerns every chunk */
  unsigned poll_one_in;        /* the function is not ready */
  unsigned slow_down_one_in;   /* the rate is too high */
  unsigned unknown_one_in;     /* a 5xx of something in between, which may have run it */
  unsigned raise_one_in;       /* a function error */
  unsigned partial_one_in;     /* some items are done */
  unsigned cut_request_one_in; /* the connection ends while the request is read */
  unsigned cut_reply_one_in;   /* it ends while the reply is sent */
  unsigned silent_one_in;      /* no reply, or none to its end */
  unsigned close_one_in;       /* Connection: close */
  unsigned rude_one_in;        /* closed after a reply that promised to go on */
  unsigned slow_one_in;        /* the reply comes in many pieces over a long time */
  unsigned early_one_in;       /* a refusal before the body has come */
  unsigned in_band_one_in;     /* the worker answers with an error of its own */
  unsigned unmarked_one_in;    /* not a lambdamap worker */
  unsigned hostile_one_in;     /* a worker that lies */
};
extern struct sim_lambda_options sim_lambda;

/* The world's answer: how often an item of a map has run, to be counted; NULL: there is no such item. */
uint32_t *sim_runs(unsigned map, uint64_t item);
/* The handler is called for a chunk, and calls the function for the first `runs` of its items. */
void sim_run_begins(unsigned map, uint64_t first_item, uint32_t n_items, uint32_t runs);

void sim_lambda_begin(void);    /* before each run */
uint64_t sim_invocations(void); /* requests that were read to their end, in this run */
unsigned sim_running(void);

#endif
