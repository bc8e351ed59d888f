#include "world.h"

#include <stdio.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "fiber.h"
#include "h2_server.h"
#include "lambda.h"
#include "net.h"
#include "os.h"
#include "os/seams.h"
#include "record.h"
#include "transport/target.h"

/* The payloads of one map: each attempt leaves two copies of them in the run's memory. */
enum { MAP_BYTES = 4 << 20 };

struct sim_world sim_world;

static unsigned
rarely(unsigned one_in)
{
  return sim_one_in(2) ? 0 : one_in / 2 + (unsigned)sim_below(one_in);
}

static void
choose_place(struct sim_place *place, unsigned index)
{
  static const char *const hosts[] = {"lambda.test", "192.0.2.1", "2001:db8::1"};
  place->tls = sim_world.crowded ? !sim_one_in(8) : sim_one_in(2);
  place->host = hosts[index == 0 ? 0 : sim_below(3)];
  place->port = sim_one_in(4) ? 8443 : place->tls ? 443 : 80;
  if (sim_one_in(5)) {
    place->proxy_host = sim_one_in(2) ? "proxy.test" : "192.0.2.9";
    place->proxy = place->proxy_host[0] == 'p' ? "http://proxy.test:3128" : "http://192.0.2.9:3128";
  }
  if (place->tls && sim_one_in(4))
    place->ca_file = "/ca.pem";
  place->http_version = sim_one_in(8) ? LM_HTTP_1 : sim_one_in(8) ? LM_HTTP_2 : LM_HTTP_ANY;
  if (!place->tls && !sim_one_in(8))
    place->http_version = LM_HTTP_ANY; /* HTTP/2 is refused there */
}

/* HTTP/2, if a server has chosen it. */
static void
choose_http2(bool calm)
{
  sim_h2 = (struct sim_h2_options){0};
  sim_h2.streams = sim_one_in(4) ? 1 + (unsigned)sim_below(10) : 0;
  sim_h2.limited = sim_one_in(4);
  sim_h2.window = sim_one_in(3) ? 0 : 200 + (unsigned)sim_below(sim_one_in(2) ? 5000 : 1000000);
  sim_h2.late_one_in = rarely(6);
  sim_h2.change_one_in = rarely(60);
  sim_h2.slow_one_in = rarely(10);
  sim_h2.pad_one_in = rarely(6);
  if (sim_world.crowded) {
    sim_h2.streams = 0;
    sim_lambda.concurrency = 10000;
    sim_lambda.duration_ns = 40 * SIM_SECOND;
    sim_world.budget_bytes = 64 << 20;
    sim_options.descriptors = 1000;
    sim_net.send_buffer = 200000;
    sim_h2.limited = false;
  }
  if (calm)
    return;
  sim_h2.refuse_one_in = rarely(30);
  sim_h2.go_away_one_in = rarely(60);
  sim_h2.dead_one_in = sim_world.crowded ? 100 : rarely(200);
  if (sim_world.crowded && sim_one_in(2))
    sim_net.refuse_one_in = 2 + (unsigned)sim_below(2); /* few connections have all */
}

/* What goes wrong by itself. */
static void
choose_trouble(void)
{
  sim_options.no_event_one_in = rarely(200);
  sim_options.system_fails_one_in = rarely(2000);
  sim_net.refuse_one_in = rarely(20);
  sim_net.black_hole_one_in = rarely(100);
  sim_net.proxy_refuses_one_in = rarely(40);
  sim_net.tls_refuses_one_in = rarely(200);
  sim_lambda.refuse_one_in = rarely(30);
  sim_lambda.stop_one_in = rarely(300);
  sim_lambda.poll_one_in = rarely(60);
  sim_lambda.slow_down_one_in = rarely(60);
  sim_lambda.unknown_one_in = rarely(40);
  sim_lambda.raise_one_in = rarely(40);
  sim_lambda.cut_request_one_in = rarely(30);
  sim_lambda.cut_reply_one_in = rarely(15);
  sim_lambda.silent_one_in = rarely(150);
  sim_lambda.rude_one_in = rarely(30);
  sim_lambda.slow_one_in = rarely(60);
  sim_lambda.early_one_in = rarely(10);
  sim_lambda.in_band_one_in = rarely(60);
  sim_lambda.unmarked_one_in = rarely(100);
  sim_lambda.hostile_one_in = rarely(60);
  sim_reply.garbage_one_in = rarely(60);
}

static size_t
choose_payload(bool large)
{
  /* Beyond one write, the limit above which a CPU thread encodes, and one turn. */
  static const size_t steps[] = {60000, 70000, 130000, 300000};
  if (!large)
    return sim_below(2000);
  size_t most = sim_one_in(8) ? 600000 : steps[sim_below(4)];
  return sim_below(most);
}

static void
choose_map(struct sim_map *map, unsigned index)
{
  /* One after the other: compilers evaluate initializers in different orders. */
  map->index = index;
  map->target = (unsigned)sim_below(sim_world.n_targets);
  map->n_items = 1 + (unsigned)sim_below(sim_one_in(4) ? SIM_MAX_ITEMS : 40);
  if (sim_world.crowded)
    map->n_items = SIM_MAX_ITEMS;
  map->form = sim_one_in(3) ? SIM_BARE : sim_one_in(2) ? SIM_JSON : SIM_FRAME;
  map->idempotent = sim_one_in(2);
  map->named = sim_one_in(10);
  map->shares_bound = sim_one_in(6);
  map->lazy = sim_one_in(4);
  map->invocation_ms = sim_one_in(4) ? -1 : sim_between(1000, 60000);
  map->timeout_ms = sim_one_in(3) ? sim_between(10, 60000) : -1;
  map->cancel_ns = sim_one_in(6) ? sim_between(1, 3 * SIM_SECOND) : 0;
  map->close_ns = sim_one_in(8) ? sim_between(1, 3 * SIM_SECOND) : 0;
  map->payload_bytes = choose_payload(sim_one_in(sim_world.forks ? 4 : 12));
  map->max_reply_bytes = sim_one_in(20) ? sim_below(3000) : 8 << 20;
  map->max_result_bytes = sim_one_in(20) ? sim_below(3000) : 8 << 20;
  if (map->payload_bytes > 30 * sim_net.send_buffer)
    map->payload_bytes = 30 * sim_net.send_buffer; /* or one upload takes a minute */
  if (map->n_items * map->payload_bytes > MAP_BYTES)
    map->n_items = MAP_BYTES / (unsigned)map->payload_bytes;
  if (sim_one_in(300)) {
    map->payload_bytes = 6300000; /* more than Lambda accepts */
    map->n_items = 1 + (unsigned)sim_below(6);
  }
  if (sim_h2.limited && sim_h2.window > 0 && map->payload_bytes > 30 * sim_h2.window)
    map->payload_bytes = 30 * sim_h2.window;
  map->cancelled_elsewhere = map->cancel_ns != 0 && sim_one_in(2);
  map->chunk = map->form != SIM_BARE ? 1 + (unsigned)sim_below(7) : 1;
  if (sim_world.crowded) { /* but what they send is little */
    map->payload_bytes = sim_below(2000);
    map->chunk = 1;
    map->invocation_ms = sim_one_in(2) ? sim_between(200, 5000) : map->invocation_ms;
    map->cancelled_elsewhere = false;
    map->cancel_ns = map->close_ns = 0;
    map->timeout_ms = -1;
  }
  map->adaptive = map->form != SIM_BARE && sim_one_in(3) && !sim_world.crowded;
  if (map->invocation_ms < 0 && sim_lambda.silent_one_in > 0 && map->timeout_ms < 0)
    map->invocation_ms = 30000; /* or the caller waits for a silent reply for ever, as requested */
}

void
sim_choose_world(void)
{
  bool calm = sim_one_in(4);
  memset(&sim_world, 0, sizeof sim_world);
  sim_world.crowded = sim_one_in(20);
  sim_world.n_targets = 1 + (unsigned)sim_below(SIM_MAX_TARGETS);
  for (unsigned i = 0; i < sim_world.n_targets; i++)
    choose_place(&sim_world.places[i], i);
  sim_world.budget_bytes = sim_one_in(4) ? 20000 + sim_below(200000) : 64 << 20;
  sim_world.forks = sim_one_in(6);
  sim_world.starves = sim_one_in(8);
  sim_world.starts_starved = sim_one_in(12);
  sim_world.freeze_ns = sim_one_in(6) ? sim_between(SIM_SECOND, 60 * SIM_SECOND) : 0;
  sim_world.shut_down_ns = sim_one_in(24) ? sim_between(1, 4 * SIM_SECOND) : 0;
  sim_options = (struct sim_world_options){0};
  sim_options.cores = 1 + (unsigned)sim_below(4);
  sim_options.descriptors = sim_one_in(8) ? 4 + sim_below(30) : 1000;
  sim_options.others_open = sim_one_in(4) ? sim_below(40) : 0;
  sim_options.uncounted = sim_one_in(20);
  sim_options.clock_error_s = sim_one_in(6) ? sim_between(-4000, 4000) : 0;
  sim_options.no_thread_one_in = rarely(20);
  sim_options.look_up_fails_one_in = rarely(10);
  sim_options.own_store = !sim_one_in(4);
  sim_options.short_at_thread_one_in = sim_world.starves ? 2 : 0;
  sim_net = (struct sim_net_options){0};
  sim_net.latency_ns = sim_between(10000, sim_one_in(3) ? 80000000 : 1000000);
  sim_net.connect_ns = sim_between(10000, sim_one_in(6) ? 8 * SIM_SECOND : 100000000);
  sim_net.small_one_in = rarely(10);
  sim_net.http2_of_8 = sim_one_in(4) ? (unsigned)sim_below(8) : 8;
  sim_net.send_buffer = sim_one_in(3) ? 200 + sim_below(5000) : 200000;
  sim_fault = (struct sim_fault){.kind = SIM_NO_FAULT};
  sim_refusals = (struct sim_refusals){.how = SIM_CONNECTS};
  sim_lambda = (struct sim_lambda_options){0};
  sim_script = (struct sim_script){.request = 0};
  sim_lambda.concurrency = sim_one_in(3) ? 1 + (unsigned)sim_below(10) : 1000;
  sim_lambda.duration_ns = sim_between(0, sim_one_in(4) ? 20 * SIM_SECOND : 200000000);
  sim_lambda.idle_ns = sim_one_in(2) ? sim_between(1000000, 20 * SIM_SECOND) : 0;
  sim_lambda.expires_ns = sim_one_in(8) ? sim_between(SIM_SECOND, 100 * SIM_SECOND) : 0;
  sim_lambda.partial_one_in = rarely(10);
  sim_lambda.close_one_in = rarely(30);
  sim_reply = (struct sim_reply_options){0};
  sim_reply.large_one_in = rarely(100);
  sim_reply.odd_one_in = rarely(10);
  sim_reply.huge_one_in = sim_world.starves ? 8 : 30;
  if (sim_world.starves && sim_one_in(2))
    sim_reply.large_one_in = 4; /* CPU threads run out of memory, too */
  if (!calm)
    choose_trouble();
  choose_http2(calm);
  sim_world.n_maps = 1 + (unsigned)sim_below(SIM_MAX_MAPS);
  for (unsigned i = 0; i < sim_world.n_maps; i++)
    choose_map(&sim_world.maps[i], i);
}

void
sim_simple_world(const struct sim_simple *simple)
{
  memset(&sim_world, 0, sizeof sim_world);
  sim_world.simple = true;
  sim_world.at_once = simple->at_once > 0 ? simple->at_once : 1;
  sim_world.n_targets = sim_world.n_maps = 1;
  sim_world.places[0] = (struct sim_place){
      .tls = simple->tls, .host = simple->by_name ? "lambda.test" : "192.0.2.1", .port = 443};
  if (simple->by_proxy) {
    sim_world.places[0].proxy = "http://192.0.2.9:3128";
    sim_world.places[0].proxy_host = "192.0.2.9";
  }
  sim_world.budget_bytes = 64 << 20;
  sim_options = (struct sim_world_options){.cores = 1, .descriptors = 1000};
  sim_net = (struct sim_net_options){.latency_ns = 1000000, .connect_ns = 1000000};
  sim_net.send_buffer = simple->send_buffer > 0 ? simple->send_buffer : 200000;
  sim_fault = (struct sim_fault){.kind = SIM_NO_FAULT};
  sim_refusals = (struct sim_refusals){.how = SIM_CONNECTS};
  sim_lambda = (struct sim_lambda_options){.concurrency = 1000, .duration_ns = 1000000};
  sim_script = (struct sim_script){.request = 0};
  sim_reply = (struct sim_reply_options){0};
  sim_h2 = (struct sim_h2_options){0};
  sim_options.own_store = simple->http2;
  sim_net.http2_of_8 = simple->http2 ? 8 : 0;
  sim_world.maps[0] =
      (struct sim_map){.n_items = simple->n_items,
                       .chunk = 1,
                       .form = simple->form,
                       .idempotent = simple->idempotent,
                       .invocation_ms = 4000,
                       .timeout_ms = -1,
                       .payload_bytes = simple->payload_bytes > 0 ? simple->payload_bytes : 20,
                       .max_reply_bytes = 8 << 20,
                       .max_result_bytes = 8 << 20};
}

/* --- targets --- */

static const char *const usual[] = {"X-Amz-Invocation-Type", "RequestResponse", NULL};
static const char *const more[] = {
    "User-Agent", "sim", "X-Amz-Tenant-Id", "t", "X-Amz-Log-Type", "  Tail   of  it ", NULL};
static const char *const none[] = {NULL};
#define FOUR "x-amz-a", "1", "x-amz-b", "2", "x-amz-c", "3", "x-amz-d", "4"
static const char *const too_many[] = {FOUR, FOUR, FOUR, FOUR, "x-amz-e", "5", NULL};

static void
spoil(struct lm_target_spec *how)
{
  static const char long_word[] =
      "0123456789012345678901234567890123456789012345678901234567890123456789"
      "0123456789012345678901234567890123456789012345678901234567890123456789"
      "0123456789012345678901234567890123456789012345678901234567890123456789"
      "0123456789012345678901234567890123456789012345678901234567890123456789";
  static const char *const not_ascii[] = {"x-amz-a", "\xc3\xa9", NULL};
  switch (sim_below(5)) {
  case 0:
    how->secret_key = long_word;
    break;
  case 1:
    how->region = long_word;
    break;
  case 2:
    how->access_key = "AKID \n";
    break;
  case 3:
    how->headers = not_ascii;
    break;
  default:
    how->region = "";
  }
}

static struct lm_target *
open_target(const struct sim_place *place)
{
  static const char *const *const headers[] = {usual, usual, usual, more, more, none};
  struct lm_error err;
  char access_key[32], key[16];
  bool simple = sim_world.simple;
  struct lm_target *target = NULL;
  snprintf(access_key, sizeof access_key, "AKID%lld", (long long)(sim_now() / SIM_SECOND));
  snprintf(key, sizeof key, "f%u", (unsigned)sim_below(2));
  struct lm_endpoint_spec where = {.tls = place->tls,
                                   .host = place->host,
                                   .port = place->port,
                                   .proxy = place->proxy,
                                   .proxy_host = place->proxy_host,
                                   .proxy_port = 3128,
                                   .ca_file = place->ca_file,
                                   .http_version = place->http_version};
  unsigned fits = lm_dispatch_descriptor_cap(sim_world.dispatch);
  unsigned most = simple              ? sim_world.at_once
                  : sim_world.crowded ? 100 + (unsigned)sim_below(700)
                                      : 1 + (unsigned)sim_below(sim_one_in(2) ? 4 : 64);
  struct lm_target_spec how = {.region = "us-east-1",
                               .access_key = access_key,
                               .secret_key = "secret",
                               .expires_s = INT64_MAX,
                               .max_attempts = 3,
                               .max_concurrency = most < fits ? most : fits,
                               .connect_timeout_ms = 5000,
                               .connect_patience_ms = 15000};
  how.path = sim_one_in(4) ? "/2015-03-31/functions/f%3A1/~_a b/\xc3\xa9"
                           : "/2015-03-31/functions/f/invocations";
  how.query = sim_one_in(4) ? "Qualifier=live&A=%2F&B&A=" : "";
  how.token = sim_one_in(3) ? "token" : NULL;
  how.headers = headers[simple ? 0 : sim_below(6)];
  if (!simple) {
    how.max_attempts = 1 + (unsigned)sim_below(5);
    how.connect_patience_ms = sim_between(0, 15000);
  }
  if (!simple && sim_one_in(100))
    how.headers = too_many;
  if (!simple && sim_one_in(100)) /* a key that cannot be used for signing */
    spoil(&how);
  if (sim_lambda.expires_ns > 0 && sim_one_in(2))
    how.expires_s =
        lm_seams.unix_s() + sim_lambda.expires_ns / SIM_SECOND; /* otherwise a reply reports it */
  struct lm_endpoint *endpoint = lm_dispatch_endpoint(sim_world.dispatch, &where, &err);
  unsigned cap = simple || !sim_one_in(4) ? 64 : (unsigned)sim_below(20);
  if (sim_world.crowded || sim_world.at_once > 1)
    cap = 1000;
  struct lm_function *function =
      lm_sched_function(&sim_world.dispatch->sched, key, cap, sim_now(), &err);
  if (endpoint != NULL && function != NULL)
    target = lm_target_new(endpoint, function, &how, &err);
  lm_endpoint_unref(endpoint);
  return target;
}

void
sim_open_targets(void)
{
  for (unsigned i = 0; i < sim_world.n_targets; i++)
    sim_world.targets[i] = open_target(&sim_world.places[i]);
}
