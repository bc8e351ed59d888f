/* What an I/O thread gives to the connections that it works on: its loop, its tools, its lists, and
 * whom to tell of a job. Belongs to that thread, and outlives its pools and connections. */
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
  int64_t now_ns;       /* start of the present turn */
  struct lm_loop *loop; /* owned by the thread, like the next two */
  struct lm_sigv4 *signer;
  uint8_t *scratch;         /* LM_SCRATCH_BYTES for received bytes */
  struct lm_list active;    /* connections with a job */
  struct lm_list again;     /* of those, the ones to go on with next turn */
  struct lm_heap timers;    /* of those, by deadline */
  atomic_uint *connections; /* of all threads, whatever their state; borrowed */

  void *context; /* borrowed: what these are called with */
  /* The job (moved) has ended its attempt as its outcome says. */
  void (*ended)(void *context, struct lm_job *job);
  /* With a complete reply in it: the job (moved) is to be decoded and judged. */
  void (*replied)(void *context, struct lm_job *job);
  void (*no_descriptors)(void *context); /* they have run out */
  /* lm_endpoint_dial's callback: from any thread, under the endpoint's lock; takes none itself. */
  void (*address_known)(void *context);
};

#endif
