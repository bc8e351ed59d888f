/* One world: its machine, its maps and what happens to them, all chosen by a seed. */
#ifndef LM_SIM_WORLD_H
#define LM_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "fiber.h"
#include "policy/chunk.h"
#include "reply.h"
#include "transport/endpoint.h"

struct lm_coder;
struct lm_dispatch;
struct lm_map;
struct lm_target;

enum { SIM_MAX_MAPS = 8, SIM_MAX_ITEMS = 400, SIM_MAX_TARGETS = 3 };

static const int64_t SIM_SECOND = 1000000000;

enum sim_state { SIM_NEW, SIM_SUBMITTED, SIM_DONE, SIM_FAILED };

struct sim_map {
  unsigned index, target, n_items, chunk;
  enum sim_form form;
  bool idempotent, named, shares_bound, adaptive, lazy /* takes its notes late */;
  int64_t invocation_ms, timeout_ms;
  int64_t cancel_ns, close_ns; /* after its start; 0: never */
  size_t payload_bytes, max_reply_bytes, max_result_bytes;
  struct lm_map *map;
  struct lm_chunker chunker;
  int64_t opened_ns, frozen_before_ns, deadline_ns, cancelled_ns;
  unsigned outstanding;
  bool closed, cancelled_elsewhere, ending, canceller_gone;
  struct sim_queue canceller_ended;
  uint32_t runs[SIM_MAX_ITEMS];
  bool handled[SIM_MAX_ITEMS]; /* the handler was called for a chunk that contains the item */
  uint8_t state[SIM_MAX_ITEMS], ended[SIM_MAX_ITEMS];
  uint8_t
      before[SIM_MAX_ITEMS]; /* enum lm_ran: of attempts for chunks that an item was in before */
  uint8_t ran[SIM_MAX_ITEMS], failure[SIM_MAX_ITEMS]; /* of items that failed */
  int64_t gap_ns;  /* 0, or it waits so long between two chunks, each of which it submits alone */
  bool gap_frozen; /* and the process stands still meanwhile */
};

struct sim_place { /* the location of a target */
  bool tls;
  const char *host, *proxy, *proxy_host, *ca_file;
  uint16_t port;
  enum lm_http_version http_version;
};

struct sim_world {
  struct sim_map maps[SIM_MAX_MAPS];
  struct sim_place places[SIM_MAX_TARGETS];
  unsigned n_maps, n_targets, maps_left;
  bool simple;      /* for the sweep: only usual choices */
  unsigned at_once; /* invocations, in a simple one */
  bool forks, starves, starts_starved, crowded /* many chunks at once */;
  int64_t freeze_ns, shut_down_ns; /* 0: never */
  size_t budget_bytes;
  struct lm_dispatch *dispatch;
  struct lm_target *targets[SIM_MAX_TARGETS];
  struct sim_queue maps_ended;
  bool over, shut_down;
  bool leaves; /* memory that a thread may still use */
  long live_before;
};
extern struct sim_world sim_world;

/* --- world.c --- */

void sim_choose_world(void);
/* One map, whose chunks of one item go one after the other; nothing fails in it. */
struct sim_simple {
  bool tls, http2, idempotent, by_name, by_proxy;
  enum sim_form form;
  unsigned n_items, at_once;         /* 0: one after the other */
  size_t payload_bytes, send_buffer; /* 0: small, and large */
};
void sim_simple_world(const struct sim_simple *simple);
void sim_open_targets(void);

/* --- sim.c --- */

/* A run from this seed on, of the world that is chosen after this. `show`: print its history. */
void sim_begin(uint64_t seed, bool show);
/* False: a promise was broken. */
bool sim_run_world(void);

/* --- sweep.c --- */

/* A fault at each byte of one connection, for each row of the fault matrix that is about the network. What
 * `main` returns. */
int sim_sweep(void);

/* --- caller.c --- */

void sim_callers_prepare(void); /* once, before the first run */
void *sim_call_map(void *map);  /* of a fiber */
void sim_check_items(const struct sim_map *map);

#endif
