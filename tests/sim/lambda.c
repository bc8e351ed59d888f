#include "lambda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fiber.h"
#include "net.h"
#include "os.h"
#include "record.h"

enum { MAX_REQUEST = 8 << 20, MAX_SKEW_S = 300 };

struct sim_lambda_options sim_lambda;

static uint64_t invocations;
static unsigned running;

struct server {
  uint8_t *at;                          /* the run's memory */
  size_t len, room, head_len, body_len; /* head_len 0: not complete */
  size_t cut_at;       /* the connection ends after so many bytes of the request; 0: it does not */
  bool reset;          /* with a reset */
  size_t skip;         /* bytes of a request that has its answer already */
  uint64_t idle_since; /* counts requests */
};

/* One request, from when it was read to its end. */
struct call {
  struct sim_peer *peer;
  unsigned map;
  uint64_t first_item;
  uint32_t n_items, done;
  bool enveloped;
  int status;
  char type[64];   /* of an error, "" for none */
  char reason[40]; /* of a throttle */
  bool function_error;
};

void
sim_lambda_begin(void)
{
  invocations = 0;
  running = 0;
}

uint64_t
sim_invocations(void)
{
  return invocations;
}

unsigned
sim_running(void)
{
  return running;
}

/* --- replies --- */

struct text {
  char *at; /* the run's memory */
  size_t len, room;
};

static void
add(struct text *text, const char *bytes, size_t n)
{
  if (text->len + n > text->room) {
    size_t room = (text->len + n) * 2 + 256;
    char *at = sim_memory(room);
    if (text->len > 0)
      memcpy(at, text->at, text->len);
    text->at = at;
    text->room = room;
  }
  memcpy(text->at + text->len, bytes, n);
  text->len += n;
}

static void say(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct text *text, const char *format, ...)
{
  char line[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  add(text, line, (size_t)n);
}

static void
add_results(struct text *body, const struct call *call)
{
  for (uint32_t i = 0; i < call->done; i++)
    say(body, "%s{\"map\":%u,\"item\":%llu,\"run\":%u}", i == 0 ? "" : ",", call->map,
        (unsigned long long)(call->first_item + i), *sim_runs(call->map, call->first_item + i));
}

static void
write_body(struct text *body, const struct call *call)
{
  if (call->function_error) {
    say(body, "{\"errorType\":\"%s\",\"errorMessage\":\"raised\"}", call->type);
  } else if (call->status != 200) {
    say(body, "{\"message\":\"no\"%s%s%s}", call->reason[0] != '\0' ? ",\"Reason\":\"" : "",
        call->reason, call->reason[0] != '\0' ? "\"" : "");
  } else if (!call->enveloped) {
    add_results(body, call);
  } else {
    say(body,
        "{\"lambdamap\":{\"protocol\":1,\"map\":\"%032u\",\"chunk\":%llu,\"done\":%u},"
        "\"r\":{\"results\":[",
        call->map, (unsigned long long)call->first_item, call->done);
    add_results(body, call);
    say(body, "],\"errors\":{}}}");
  }
  if (sim_one_in(sim_lambda.large_one_in)) { /* JSON's blanks */
    size_t n = 70000 + sim_below(200000);
    char *blanks = sim_memory(n);
    memset(blanks, ' ', n);
    add(body, blanks, n);
  }
}

static void
write_reply(struct text *reply, const struct call *call, bool close)
{
  struct text body = {0};
  char date[40];
  time_t now = SIM_EPOCH_S + sim_now() / 1000000000;
  struct tm parts;
  write_body(&body, call);
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
  if (sim_one_in(20))
    say(reply, "HTTP/1.1 100 Continue\r\n\r\n");
  say(reply, "HTTP/1.1 %d Status\r\nDate: %s\r\nContent-Type: application/json\r\n", call->status,
      date);
  say(reply, "x-amzn-RequestId: r-%llu\r\n", (unsigned long long)invocations);
  if (call->function_error)
    say(reply, "X-Amz-Function-Error: Unhandled\r\n");
  else if (call->status != 200)
    say(reply, "x-amzn-ErrorType: %s\r\n", call->type);
  if (call->status == 429 && sim_one_in(4))
    say(reply, "Retry-After: %d\r\n", (int)sim_below(3));
  if (close)
    say(reply, "Connection: close\r\n");
  if (!sim_one_in(5)) {
    say(reply, "Content-Length: %zu\r\n\r\n", body.len);
    add(reply, body.at, body.len);
    return;
  }
  say(reply, "Transfer-Encoding: chunked\r\n\r\n");
  for (size_t at = 0; at < body.len;) {
    size_t n = 1 + sim_below(body.len - at);
    say(reply, "%zx\r\n", n);
    add(reply, body.at + at, n);
    say(reply, "\r\n");
    at += n;
  }
  say(reply, "0\r\n\r\n");
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
  server->len = server->head_len = server->body_len = 0;
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
answer(const struct call *call)
{
  struct sim_peer *peer = call->peer;
  struct text reply = {0};
  bool close = sim_one_in(sim_lambda.close_one_in);
  if (peer->closed)
    return;
  write_reply(&reply, call, close);
  size_t send = reply.len;
  bool cut = sim_one_in(sim_lambda.cut_reply_one_in);
  bool silent = !cut && sim_one_in(sim_lambda.silent_one_in);
  if (cut || silent)
    send = sim_below(reply.len);
  record_event("connection %u: %d %s%s%s%s", peer->id, call->status, call->type, cut ? ", cut" : "",
               silent ? ", silent" : "", close ? ", close" : "");
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
    return; /* it keeps the connection, and reads no other request from it */
  if (cut)
    sim_peer_close(peer, sim_one_in(2));
  else if (close || sim_one_in(sim_lambda.rude_one_in))
    sim_peer_close(peer, false);
  else
    await_request(peer);
}

static void
finish(void *argument)
{
  running--;
  answer(argument);
}

static void
run(struct call *call)
{
  running++;
  call->done = call->n_items;
  call->status = 200;
  if (sim_one_in(sim_lambda.raise_one_in)) {
    static const char *const types[] = {"ValueError", "Sandbox.Timedout", "Runtime.ExitError",
                                        "Runtime.OutOfMemory", "Function.ResponseSizeTooLarge"};
    call->function_error = true;
    snprintf(call->type, sizeof call->type, "%s", types[sim_below(5)]);
  } else if (sim_one_in(sim_lambda.unknown_one_in)) {
    call->status = 502 + (int)sim_below(3);
    snprintf(call->type, sizeof call->type, "BadGateway");
  } else if (call->n_items > 1 && sim_one_in(sim_lambda.partial_one_in)) {
    call->done = (uint32_t)(1 + sim_below(call->n_items - 1));
  }
  sim_run_begins(call->map, call->first_item, call->done);
  for (uint32_t i = 0; i < call->done; i++)
    ++*sim_runs(call->map, call->first_item + i);
  sim_at(sim_now() + sim_between(0, sim_lambda.duration_ns), finish, call);
}

struct refusal {
  int status;
  const char *type;
};

static void
refuse(struct call *call, const struct refusal *refusals, size_t n)
{
  const struct refusal *refusal = &refusals[sim_below(n)];
  call->status = refusal->status;
  snprintf(call->type, sizeof call->type, "%s", refusal->type);
  answer(call);
}

#define REFUSE(call, ...)                                                                          \
  do {                                                                                             \
    static const struct refusal refusals[] = {__VA_ARGS__};                                        \
    refuse(call, refusals, sizeof refusals / sizeof refusals[0]);                                  \
  } while (0)

/* The value of a header, or NULL. */
static const char *
header(const struct server *server, const char *name)
{
  const char *at = strcasestr((const char *)server->at, name);
  return at != NULL && (size_t)(at - (const char *)server->at) < server->head_len
             ? at + strlen(name)
             : NULL;
}

static int64_t
signed_at(const struct server *server)
{
  struct tm parts = {0};
  const char *date = header(server, "\r\nx-amz-date: ");
  if (date == NULL || strptime(date, "%Y%m%dT%H%M%SZ", &parts) == NULL)
    return 0;
  return (int64_t)timegm(&parts);
}

/* Keys are named after when they were made, in seconds. */
static bool
is_expired(const struct server *server)
{
  const char *credential = header(server, "Credential=AKID");
  int64_t made_s = credential == NULL ? 0 : strtoll(credential, NULL, 10);
  return sim_lambda.expires_ns > 0 && sim_now() - made_s * 1000000000 > sim_lambda.expires_ns;
}

/* The chunk that a request's head names; NULL: a promise is broken. */
static struct call *
read_head(struct sim_peer *peer)
{
  const char *id = header(peer->server, "\r\namz-sdk-invocation-id: ");
  struct call *call = sim_memory(sizeof *call);
  *call = (struct call){.peer = peer, .n_items = 1};
  if (id == NULL || sscanf(id, "%32u-", &call->map) != 1) {
    record_broken(OWN_REPLY, "a request names no map");
    return NULL;
  }
  call->first_item = strtoull(id + 33, NULL, 10);
  return call;
}

/* Answer while the body is on its way. What still comes of it is read and dropped, or the connection ends. */
static bool
refuse_early(struct sim_peer *peer)
{
  struct server *server = peer->server;
  struct call *call = read_head(peer);
  if (call == NULL)
    return false;
  call->status = 413;
  snprintf(call->type, sizeof call->type, "RequestTooLargeException");
  size_t left = server->head_len + server->body_len - server->len;
  answer(call);
  server->skip = left;
  if (sim_one_in(2))
    sim_peer_close(peer, sim_one_in(2));
  return true;
}

static void
serve(struct sim_peer *peer)
{
  struct server *server = peer->server;
  struct call *call = read_head(peer);
  const char *items = strstr((const char *)server->at + server->head_len, "\"items\":");
  invocations++;
  if (call == NULL)
    return;
  call->enveloped = items != NULL;
  if (items != NULL)
    call->n_items = (uint32_t)strtoul(items + 8, NULL, 10);
  if (sim_runs(call->map, call->first_item + call->n_items - 1) == NULL) {
    record_broken(OWN_REPLY, "a request names items that do not exist");
    return;
  }
  record_event("connection %u: map %u, items %llu+%u", peer->id, call->map,
               (unsigned long long)call->first_item, call->n_items);
  int64_t skew = signed_at(server) - (SIM_EPOCH_S + sim_now() / 1000000000);
  if (skew > MAX_SKEW_S || skew < -MAX_SKEW_S)
    REFUSE(call, {403, "InvalidSignatureException"}, {403, "RequestExpired"});
  else if (is_expired(server))
    REFUSE(call, {403, "ExpiredTokenException"});
  else if (sim_one_in(sim_lambda.stop_one_in))
    REFUSE(call, {404, "ResourceNotFoundException"}, {403, "AccessDeniedException"},
           {400, "InvalidParameterValueException"});
  else if (running >= sim_lambda.concurrency)
    REFUSE(call, {429, "TooManyRequestsException"}, {400, "Runtime.Unavailable"});
  else if (sim_one_in(sim_lambda.slow_down_one_in)) {
    snprintf(call->reason, sizeof call->reason, "CallerRateLimitExceeded");
    REFUSE(call, {429, "TooManyRequestsException"});
  } else if (sim_one_in(sim_lambda.poll_one_in))
    REFUSE(call, {409, "ResourceConflictException"}, {502, "ENINotReadyException"});
  else if (sim_one_in(sim_lambda.refuse_one_in))
    REFUSE(call, {500, "ServiceException"}, {502, "EC2ThrottledException"},
           {502, "EC2UnexpectedException"}, {413, "RequestTooLargeException"},
           {400, "InvalidRequestContentException"});
  else if (sim_one_in(sim_lambda.garbage_one_in)) {
    static const char garbage[] = "SSH-2.0-OpenSSH\r\n";
    sim_peer_send(peer, garbage, sizeof garbage - 1, 0);
    sim_peer_close(peer, false);
  } else {
    run(call);
  }
}

/* --- what the network calls --- */

void
sim_peer_accepted(struct sim_peer *peer)
{
  peer->server = sim_memory(sizeof(struct server));
  await_request(peer);
}

void
sim_peer_lost(struct sim_peer *peer)
{
  peer->closed = true; /* a run goes on: nobody tells the function */
}

static void
look(struct sim_peer *peer)
{
  struct server *server = peer->server;
  if (server->head_len == 0) {
    const char *end = memmem(server->at, server->len, "\r\n\r\n", 4);
    if (end == NULL)
      return;
    server->head_len = (size_t)(end + 4 - (const char *)server->at);
    const char *length = header(server, "\r\nContent-Length: ");
    server->body_len = length == NULL ? 0 : strtoull(length, NULL, 10);
    if (sim_one_in(sim_lambda.early_one_in) && server->len < server->head_len + server->body_len &&
        refuse_early(peer))
      return;
  }
  if (server->len == server->head_len + server->body_len)
    serve(peer);
  else if (server->len > server->head_len + server->body_len)
    record_broken(OWN_REPLY, "bytes follow the end of a request");
}

void
sim_peer_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  struct server *server = peer->server;
  if (server == NULL || server->len + n > MAX_REQUEST)
    return;
  size_t skipped = n < server->skip ? n : server->skip;
  server->skip -= skipped;
  bytes += skipped;
  n -= skipped;
  if (n == 0)
    return;
  if (server->len + n + 1 > server->room) {
    size_t room = (server->len + n) * 2 + 1024;
    uint8_t *at = sim_memory(room);
    if (server->len > 0)
      memcpy(at, server->at, server->len);
    server->at = at;
    server->room = room;
  }
  memcpy(server->at + server->len, bytes, n);
  server->len += n;
  server->at[server->len] = '\0';
  if (server->cut_at > 0 && server->len >= server->cut_at) {
    record_event("connection %u: ends after %zu bytes of a request", peer->id, server->len);
    sim_peer_close(peer, server->reset);
    return;
  }
  look(peer);
}
