#include "lambda.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "errors.h"
#include "fiber.h"
#include "h2_server.h"
#include "net.h"
#include "os.h"
#include "record.h"
#include "reply.h"

enum { MAX_REQUEST = 8 << 20, MAX_SKEW_S = 300 };

struct sim_lambda_options sim_lambda;
struct sim_script sim_script;

static uint64_t invocations, over_http2;
static unsigned running;
static struct sim_served served[SIM_MAX_SERVED];
static unsigned n_served;

struct server {
  const uint8_t *at; /* a request, in the run's memory */
  size_t len, room, head_len,
      body_len;  /* room 0: where the network has it; head_len 0: incomplete */
  size_t cut_at; /* the connection ends after this many bytes of the request; 0: it does not */
  bool reset;    /* with a reset */
  size_t skip;   /* bytes of a request that was already answered */
  uint64_t idle_since; /* number of requests by then */
};

void
sim_lambda_begin(void)
{
  invocations = over_http2 = 0;
  running = 0;
  n_served = 0;
  sim_h2_begin();
}

const struct sim_served *
sim_served(unsigned *n)
{
  *n = n_served;
  return served;
}

static void
note_served(const struct sim_peer *peer, size_t request_end)
{
  if (peer->id == 0 && n_served < SIM_MAX_SERVED)
    served[n_served++] = (struct sim_served){.request_end = request_end};
}

static void
note_answered(const struct sim_call *call, const struct sim_written *reply)
{
  if (call->peer->id != 0 || n_served == 0)
    return;
  struct sim_served *last = &served[n_served - 1];
  last->head_end = reply->head_len == 0 ? 0 : call->peer->sent + reply->head_len;
  last->reply_end = call->peer->sent + reply->len;
  last->status = call->status;
  last->until_close = reply->until_close;
  last->function_error = call->function_error;
  last->scripted = call->scripted;
}

uint64_t
sim_invocations(void)
{
  return invocations;
}

uint64_t
sim_invocations_over_http2(void)
{
  return over_http2;
}

unsigned
sim_running(void)
{
  return running;
}

/* --- idle connections --- */

struct idle {
  struct sim_peer *peer;
  uint64_t since;
};

static void
close_idle(void *argument)
{
  struct idle *idle = argument;
  struct server *server = idle->peer->server;
  if (server->idle_since == idle->since && server->len == 0 && !idle->peer->closed) {
    record_event("connection %u: closed, idle", idle->peer->id);
    sim_peer_close(idle->peer, false);
  }
}

static void
await_request(struct sim_peer *peer)
{
  struct server *server = peer->server;
  server->at = NULL;
  server->len = server->room = server->head_len = server->body_len = 0;
  server->idle_since++;
  if (sim_one_in(sim_lambda.cut_request_one_in)) {
    server->cut_at = 1 + sim_below(600);
    server->reset = sim_one_in(2);
  } else {
    server->cut_at = 0;
  }
  if (sim_lambda.idle_ns > 0) {
    struct idle *idle = sim_memory(sizeof *idle);
    *idle = (struct idle){peer, server->idle_since};
    sim_at(sim_now() + sim_between(0, sim_lambda.idle_ns), close_idle, idle);
  }
}

/* --- answering --- */

static void
answer_over_http1(const struct sim_call *call)
{
  struct sim_peer *peer = call->peer;
  struct sim_written reply;
  bool close = sim_one_in(sim_lambda.close_one_in);
  if (peer->closed)
    return;
  sim_reply_write(call, close, &reply);
  note_answered(call, &reply);
  size_t send = reply.len;
  unsigned cut_one_in = sim_lambda.cut_reply_one_in;
  bool cut = sim_one_in(call->function_error ? (cut_one_in + 3) / 4 : cut_one_in);
  bool silent = !cut && sim_one_in(sim_lambda.silent_one_in);
  if (cut || silent)
    send = sim_below(reply.len);
  record_event("connection %u: %d %s%s%s%s", peer->id, call->status,
               call->type != NULL ? call->type : "", cut ? ", cut" : "", silent ? ", silent" : "",
               close ? ", close" : "");
  if (sim_one_in(sim_lambda.slow_one_in)) {
    for (size_t at = 0; at < send;) {
      size_t n = 1 + sim_below(send - at);
      sim_peer_send(peer, reply.at + at, n, sim_between(0, 3000000000));
      at += n;
    }
  } else {
    sim_peer_send(peer, reply.at, send, 0);
  }
  if (silent)
    return; /* it keeps the connection, and reads no further request from it */
  if (cut)
    sim_peer_close(peer, reply.until_close || sim_one_in(2)); /* a FIN would end the body */
  else if (close || sim_one_in(sim_lambda.rude_one_in))
    sim_peer_close(peer, false);
  else
    await_request(peer);
}

static void
answer(const struct sim_call *call)
{
  if (call->stream != NULL)
    sim_h2_answer(call);
  else
    answer_over_http1(call);
}

static void
finish(void *argument)
{
  running--;
  answer(argument);
}

/* Reply later: the function runs, or an environment must start first. */
static void
take_time(struct sim_call *call)
{
  int64_t ns = sim_between(0, sim_lambda.duration_ns);
  running++;
  call->us = (uint64_t)ns / 1000;
  sim_at(sim_now() + ns, finish, call);
}

static void
set_error(struct sim_call *call, const struct sim_error *error)
{
  static const int any[] = {400, 403, 429};
  call->status = error->status != 0 ? error->status : any[sim_below(3)];
  call->type = error->type;
}

static bool
has_run(const struct sim_error *error)
{
  return error->runs == SIM_ALWAYS || (error->runs == SIM_PERHAPS && sim_one_in(2));
}

/* The function is called for this many items. */
static void
run(struct sim_call *call, uint32_t n)
{
  sim_run_begins(call->map, call->first_item, call->n_items, n);
  for (uint32_t i = 0; i < n; i++)
    ++*sim_runs(call->map, call->first_item + i);
}

static void
fail_in_function(struct sim_call *call, enum sim_errors group)
{
  const struct sim_error *error = sim_any_error(group);
  call->type = error->type != NULL ? error->type : sim_one_in(2) ? "ValueError" : NULL;
  call->function_error = true;
  if (error->runs == SIM_ALWAYS)
    run(call, (uint32_t)(1 + sim_below(call->n_items)));
  take_time(call);
}

static void
invoke(struct sim_call *call)
{
  bool enveloped = call->form != SIM_BARE;
  if (sim_one_in(sim_lambda.raise_one_in)) {
    fail_in_function(call, SIM_RAISES);
    return;
  }
  call->done = call->n_items;
  if (call->n_items > 1 && sim_one_in(sim_lambda.partial_one_in)) {
    call->done = (uint32_t)(1 + sim_below(call->n_items - 1));
  } else if (enveloped && sim_one_in(sim_lambda.in_band_one_in)) {
    call->word = sim_one_in(8) ? SIM_REFUSED : SIM_ITEM_FAILED;
    call->done = call->word == SIM_REFUSED ? 0 : (uint32_t)sim_below(call->n_items);
  } else if (enveloped && sim_one_in(sim_lambda.unmarked_one_in)) {
    call->word = SIM_UNMARKED;
    call->type = sim_one_in(10) ? NULL : sim_any_error(SIM_RAISES)->type;
  } else if (enveloped && sim_one_in(sim_lambda.hostile_one_in)) {
    call->word = SIM_HOSTILE;
  }
  run(call, call->done + (call->word == SIM_ITEM_FAILED));
  take_time(call);
}

/* An error of the API that does not say whether the function may have run. */
static void
refuse(struct sim_call *call, enum sim_errors group)
{
  const struct sim_error *error = sim_any_error(group);
  set_error(call, error);
  if (call->type == NULL && sim_one_in(2))
    call->type = "SomeOther";
  if (has_run(error)) {
    run(call, (uint32_t)(1 + sim_below(call->n_items)));
    take_time(call);
  } else {
    answer(call);
  }
}

static void
refuse_as(struct sim_call *call, int status, const char *type)
{
  call->status = status;
  call->type = type;
  answer(call);
}

/* The value of a header, or NULL; its line is complete. */
static const char *
header(const struct sim_request *request, const char *name)
{
  size_t n = strlen(name);
  const char *at = memmem(request->at, request->head_len, name, n);
  return at == NULL ? NULL : at + n;
}

static int64_t
signed_at(const struct sim_request *request)
{
  struct tm parts = {0};
  const char *date = header(request, "\r\nX-Amz-Date: ");
  if (date == NULL || strptime(date, "%Y%m%dT%H%M%SZ", &parts) == NULL)
    return 0;
  return (int64_t)timegm(&parts);
}

/* Keys are named after the time when they were made, in seconds. */
static bool
is_expired(const struct sim_request *request)
{
  const char *credential = header(request, "Credential=AKID");
  int64_t made_s = credential == NULL ? 0 : strtoll(credential, NULL, 10);
  return sim_lambda.expires_ns > 0 && sim_now() - made_s * 1000000000 > sim_lambda.expires_ns;
}

/* The chunk that a request's head names; NULL: a promise is broken. */
static struct sim_call *
read_head(const struct sim_request *request)
{
  const char *id = header(request, "\r\namz-sdk-invocation-id: ");
  struct sim_call *call = sim_memory(sizeof *call);
  *call = (struct sim_call){
      .peer = request->peer, .stream = request->stream, .n_items = 1, .status = 200};
  if (id == NULL) {
    record_broken(OWN_REQUEST, "a request names no map");
    return NULL;
  }
  call->map = (unsigned)strtoul(id, NULL, 10);
  call->first_item = strtoull(id + 33, NULL, 10);
  call->asks_log = header(request, "\r\nx-amz-log-type: Tail\r\n") != NULL;
  return call;
}

/* The payload of a request, and the contents of its envelope. */
static void
read_body(const struct sim_request *request, struct sim_call *call)
{
  const char *body = (const char *)request->body, *payload = body;
  size_t len = request->body_len, head = len < 600 ? len : 600;
  const char *items = memmem(body, head, "\"items\":", 8);
  const char *opening = memmem(body, head, "},\"p\":", 6);
  if (items != NULL && opening != NULL) {
    bool frame = opening[6] == '"';
    payload = opening + 6 + frame;
    len -= (size_t)(payload - body) + 1 + frame;
    call->n_items = (uint32_t)strtoul(items + 8, NULL, 10);
    call->form = frame ? SIM_FRAME : SIM_JSON;
  }
  if (sim_runs(call->map, call->first_item + call->n_items - 1) == NULL)
    record_broken(OWN_REQUEST, "a request names items that do not exist");
  else if (!sim_payload_is_own(call, payload, len))
    record_broken(OWN_REQUEST, "a request for items %llu+%u of map %u carries others",
                  (unsigned long long)call->first_item, call->n_items, call->map);
}

bool
sim_refuse_early(const struct sim_request *request)
{
  struct sim_call *call = read_head(request);
  if (call == NULL)
    return false;
  refuse_as(call, 413, "RequestTooLarge");
  return true;
}

static struct sim_request
request_of(struct sim_peer *peer)
{
  const struct server *server = peer->server;
  return (struct sim_request){.peer = peer,
                              .at = server->at,
                              .head_len = server->head_len,
                              .body = server->at + server->head_len,
                              .body_len = server->body_len};
}

/* Reply while the body is still arriving. The rest of it is read and dropped, or the connection
 * ends. */
static bool
refuse_early(struct sim_peer *peer)
{
  struct server *server = peer->server;
  struct sim_request request = request_of(peer);
  size_t left = server->head_len + server->body_len - server->len;
  if (!sim_refuse_early(&request))
    return false;
  server->skip = left;
  if (sim_one_in(2))
    sim_peer_close(peer, sim_one_in(2));
  return true;
}

static void
follow_script(struct sim_call *call)
{
  call->status = sim_script.status;
  call->type = sim_script.type;
  call->function_error = sim_script.function_error;
  call->garbage = sim_script.garbage;
  call->scripted = true;
  call->done = call->n_items;
  if (sim_script.runs)
    run(call, call->n_items);
}

void
sim_peer_answer(struct sim_peer *peer)
{
  struct server *server = peer->server;
  struct sim_call *call = sim_memory(sizeof *call);
  size_t whole = server->head_len + server->body_len, left = whole - server->len;
  bool in_head = server->head_len == 0;
  if (server->len == 0 || server->len == whole) /* there is none */
    return;
  *call = (struct sim_call){.peer = peer, .n_items = 1};
  note_served(peer, 0);
  follow_script(call);
  answer(call);
  server->skip = in_head ? 0 : left;
  if (sim_script.closes || sim_script.resets || in_head)
    sim_peer_close(peer, sim_script.resets);
}

void
sim_serve(const struct sim_request *request)
{
  struct sim_call *call = read_head(request);
  invocations++;
  over_http2 += request->stream != NULL;
  note_served(request->peer, request->peer->received);
  if (call == NULL)
    return;
  read_body(request, call);
  if (record_violations() > 0)
    return;
  record_event("connection %u: map %u, items %llu+%u", request->peer->id, call->map,
               (unsigned long long)call->first_item, call->n_items);
  if (invocations == sim_script.request) {
    follow_script(call);
    take_time(call);
    return;
  }
  int64_t skew = signed_at(request) - (SIM_EPOCH_S + sim_now() / 1000000000);
  if (skew > MAX_SKEW_S || skew < -MAX_SKEW_S) {
    refuse_as(call, 403, sim_one_in(2) ? "InvalidSignature" : "RequestExpired");
  } else if (is_expired(request)) {
    refuse_as(call, 403, "ExpiredToken");
  } else if (sim_one_in(sim_lambda.stop_one_in)) {
    if (sim_one_in(2))
      fail_in_function(call, SIM_ENDS_BY_ERROR);
    else
      refuse(call, SIM_ENDS);
  } else if (running >= sim_lambda.concurrency) {
    call->reason = sim_one_in(2) ? "ReservedFunctionConcurrentInvocationLimitExceeded" : NULL;
    refuse_as(call, 429, "TooManyRequests");
  } else if (sim_one_in(sim_lambda.slow_down_one_in)) {
    call->reason = "CallerRateLimitExceeded";
    refuse_as(call, 429, "TooManyRequests");
  } else if (sim_one_in(sim_lambda.poll_one_in)) {
    refuse(call, SIM_POLLS);
  } else if (sim_one_in(sim_lambda.refuse_one_in)) {
    refuse(call, SIM_REFUSES);
  } else if (sim_one_in(sim_lambda.unknown_one_in)) {
    refuse(call, SIM_MAY_RUN);
  } else {
    invoke(call);
  }
}

/* --- what the network calls --- */

void
sim_peer_accepted(struct sim_peer *peer)
{
  if (peer->http2) {
    sim_h2_accept(peer);
    return;
  }
  peer->server = memset(sim_memory(sizeof(struct server)), 0, sizeof(struct server));
  await_request(peer);
}

void
sim_peer_not_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  sim_h2_not_received(peer, bytes, n);
}

void
sim_peer_lost(struct sim_peer *peer)
{
  peer->closed = true; /* a run continues: the function does not notice */
}

static void
look(struct sim_peer *peer)
{
  struct server *server = peer->server;
  struct sim_request request = request_of(peer);
  if (server->head_len == 0) {
    const char *end = memmem(server->at, server->len, "\r\n\r\n", 4);
    if (end == NULL)
      return;
    server->head_len = (size_t)(end + 4 - (const char *)server->at);
    request.head_len = server->head_len;
    const char *length = header(&request, "\r\nContent-Length: ");
    server->body_len = length == NULL ? 0 : strtoull(length, NULL, 10);
    if (sim_one_in(sim_lambda.early_one_in) && server->len < server->head_len + server->body_len &&
        refuse_early(peer))
      return;
  }
  request = request_of(peer);
  if (server->len == server->head_len + server->body_len)
    sim_serve(&request);
  else if (server->len > server->head_len + server->body_len)
    record_broken(OWN_REQUEST, "bytes follow the end of a request");
}

/* Bytes after the end of the last request are only counted. */
static void
append(struct server *server, const uint8_t *bytes, size_t n)
{
  if (server->len == 0) {
    server->at = bytes;
  } else if (server->room > 0 || bytes != server->at + server->len) {
    uint8_t *at = (uint8_t *)server->at;
    if (server->len + n > server->room) {
      size_t whole = server->head_len + server->body_len;
      server->room = server->len + n > whole ? (server->len + n) * 2 + 1024 : whole;
      at = memcpy(sim_memory(server->room), server->at, server->len);
    }
    memcpy(at + server->len, bytes, n);
    server->at = at;
  }
  server->len += n;
}

void
sim_peer_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  struct server *server = peer->server;
  if (peer->http2) {
    sim_h2_received(peer, bytes, n);
    return;
  }
  if (server == NULL || server->len + n > MAX_REQUEST)
    return;
  size_t skipped = n < server->skip ? n : server->skip;
  server->skip -= skipped;
  bytes += skipped;
  n -= skipped;
  if (n == 0)
    return;
  append(server, bytes, n);
  if (server->cut_at > 0 && server->len >= server->cut_at) {
    record_event("connection %u: ends after %zu bytes of a request", peer->id, server->len);
    sim_peer_close(peer, server->reset);
    return;
  }
  look(peer);
}
