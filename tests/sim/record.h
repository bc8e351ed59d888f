/* The history of one run, and the promises that were broken in it. */
#ifndef LM_SIM_RECORD_H
#define LM_SIM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The promises of docs/invariants.md, by their names there. */
enum promise {
  ONCE,          /* each chunk ends exactly once */
  NOT_MEANS_NOT, /* NOT: the function ran zero times */
  AT_MOST_ONCE,  /* without idempotent it runs at most once */
  RAN_MEANS_RAN, /* RAN, or a result: the function ran */
  OWN_REQUEST,   /* a request carries exactly its own chunk; so does a chunk that is returned */
  OWN_REPLY,     /* a result belongs to the last run of its chunk */
  BOUND,         /* concurrent attempts of a map, and of its function, are within their bounds */
  BUDGET,        /* bytes held are within the budget, except for one chunk per map */
  AT_STAKE,      /* a lost connection makes at most 128 chunks MAYBE */
  PROGRESS,      /* nothing waits for ever; deadlines and cancellations act in time */
  SAME_BYTES,    /* TLS is offered the same bytes again */
  NOTHING_LEFT,  /* memory, descriptors, connections, windows and budget are back at zero */
  N_PROMISES
};

const char *promise_name(enum promise promise);

/* Before each run. The history is written to this file as it happens; NULL: it is not. */
void record_begin(FILE *file);
void record_event(const char *format, ...) __attribute__((format(printf, 1, 2)));
void record_broken(enum promise promise, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How often a promise was broken in this run, and the first time as text; NULL: never. */
unsigned record_violations(void);
const char *record_first(void);

/* The simulator's own memory; the program ends when there is none. */
void *record_must(void *block);

#endif
