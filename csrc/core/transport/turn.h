/* What an I/O thread shares with its connections: its loop, buffers, lists, and the callbacks that take a job
 * back. Belongs to that thread, and outlives its pools and connections. */
#ifndef LM_TRANSPORT_TURN_H
#define LM_TRANSPORT_TURN_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "os/loop.h"
#include "transport/sigv4.h"

struct lm_job;

enum { LM_SCRATCH_BYTES = 65536 };

struct lm_turn {
  unsigned index;       /* of the thread */
  unsigned n_threads;   /* of the crew */
  int64_t now_ns;       /* start of the current turn */
  struct lm_loop *loop; /* owned by the thread, like the next two */
  struct lm_sigv4 *signer;
  uint8_t *scratch;         /* LM_SCRATCH_BYTES, for received bytes */
  struct lm_list active;    /* jobs on a connection */
  struct lm_heap timers;    /* of them, by deadline */
  struct lm_list again;     /* connections that continue in the next turn */
  atomic_uint *connections; /* number of connections of all threads, in any state; borrowed */

  void *context; /* borrowed; passed to these callbacks */
  /* The attempt of the job (moved) has ended without a reply, as its outcome says. */
  void (*ended)(void *context, struct lm_job *job);
  /* The job (moved) holds a complete reply: decode it, then classify the outcome. */
  void (*replied)(void *context, struct lm_job *job);
  void (*no_descriptors)(void *context); /* the process has run out of descriptors */
  /* For lm_endpoint_dial: called on any thread, under the endpoint's lock; takes no lock. */
  void (*address_known)(void *context);
};

#endif
