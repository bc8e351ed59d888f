/* Pure parts of the core behind a pipe, for tests that compare them with other implementations: one command
 * per line on stdin, its result on stdout.
 *
 *   sign HOST PATH QUERY REGION ACCESS SECRET TOKEN UNIX_S BODY [NAME VALUE]...
 *   bench N SIZE         N signatures of SIZE bytes: microseconds of CPU each
 *   outcome STATUS FUNCTION_ERROR TYPE
 *   json TEXT            "ours", "others" or "refused"
 *   reply TEXT MAP CHUNK ITEMS JSON   "taken" or "refused WHY", as a reply to that request
 *   weight TEXT          upper bound of the bytes of its objects
 *   http1 BYTES          "whole STATUS KEEP_ALIVE TAKEN BODY", "more" or "refused WHY"; the bytes
 *                        are fed in small pieces, then the peer closes
 *
 * Arguments are in hexadecimal, "-" for an empty one, and "." for an absent TOKEN. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/http1.h"
#include "policy/outcome.h"
#include "transport/sigv4.h"
#include "wire/envelope.h"

enum { MAX_ARGS = 64 };

static char *args[MAX_ARGS];
static size_t lens[MAX_ARGS];

static size_t
undo_hex(char *text)
{
  size_t n = 0;
  if (strcmp(text, "-") != 0)
    for (; text[2 * n] != '\0'; n++) {
      const char digits[] = {text[2 * n], text[2 * n + 1], '\0'};
      char *end;
      text[n] = (char)strtoul(digits, &end, 16);
      if (end != digits + 2)
        abort();
    }
  text[n] = '\0';
  return n;
}

static void
sign(struct lm_sigv4 *signer, int n)
{
  const char *extra[MAX_ARGS] = {NULL};
  struct lm_buf out;
  struct lm_error err;
  for (int i = 10; i < n; i++)
    extra[i - 10] = args[i];
  struct lm_sigv4_request request = {
      .host = args[1],
      .path = args[2],
      .query = args[3],
      .region = args[4],
      .access_key = args[5],
      .secret_key = args[6],
      .token = args[7],
      .unix_s = strtoll(args[8], NULL, 10),
      .body = (const uint8_t *)args[9],
      .body_len = lens[9],
      .extra = n > 10 ? extra : NULL,
  };
  lm_buf_init(&out, 65536);
  if (lm_sigv4_sign(signer, &request, &out, &err) != 0)
    printf("refused %s", err.text);
  else
    for (size_t i = 0; i < out.len; i++)
      if (out.data[i] == '\n')
        putchar('|');
      else if (out.data[i] != '\r')
        putchar(out.data[i]);
  putchar('\n');
  lm_buf_clean_up(&out);
}

static void
bench(struct lm_sigv4 *signer, long times, size_t size)
{
  struct lm_buf out;
  struct lm_error err;
  struct timespec before, after;
  uint8_t *body = calloc(1, size + 1);
  struct lm_sigv4_request request = {
      .host = "lambda.eu-central-1.amazonaws.com",
      .path = "/2015-03-31/functions/my-function/invocations",
      .query = "",
      .region = "eu-central-1",
      .access_key = "AKIDEXAMPLE",
      .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
      .unix_s = 1790000000,
      .body = body,
      .body_len = size,
  };
  lm_buf_init(&out, 65536);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  for (long i = 0; i < times; i++) {
    lm_buf_clear(&out);
    request.unix_s += i & 1;
    if (lm_sigv4_sign(signer, &request, &out, &err) != 0)
      abort();
  }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  printf("%.3f\n", ((double)(after.tv_sec - before.tv_sec) * 1e6 +
                    (double)(after.tv_nsec - before.tv_nsec) / 1e3) /
                       (double)times);
  lm_buf_clean_up(&out);
  free(body);
}

static void
json(void)
{
  struct lm_reply reply;
  struct lm_error err;
  puts(lm_envelope_read(args[1], lens[1], &reply, &err) != 0 ? "refused"
       : reply.marked                                        ? "ours"
                                                             : "others");
}

static void
reply_to(void)
{
  struct lm_reply reply;
  struct lm_error err;
  if (lens[2] != LM_MAP_ID_LEN)
    abort();
  if (lm_envelope_read(args[1], lens[1], &reply, &err) != 0)
    printf("refused %s\n", err.text);
  else if (!reply.marked)
    puts("refused no marker");
  else if (lm_envelope_check(&reply, args[2], strtoull(args[3], NULL, 10),
                             (uint32_t)strtoul(args[4], NULL, 10), args[5][0] == '1', &err) != 0)
    printf("refused %s\n", err.text);
  else
    puts("taken");
}

static void
http1(void)
{
  static struct lm_http1 reply;
  struct lm_buf body;
  struct lm_error err;
  enum lm_http1_state_out state = LM_HTTP1_MORE;
  size_t at = 0;
  lm_http1_init(&reply);
  lm_buf_init(&body, 1 << 20);
  for (size_t taken, size = 1; at < lens[1] && state == LM_HTTP1_MORE; at += taken) {
    size = size % 13 + 1 < lens[1] - at ? size % 13 + 1 : lens[1] - at;
    state = lm_http1_feed(&reply, (const uint8_t *)args[1] + at, size, &taken, &body, &err);
  }
  bool more = state == LM_HTTP1_MORE;
  if (more)
    state = lm_http1_eof(&reply, &err);
  if (state == LM_HTTP1_COMPLETE) {
    printf("whole %d %d %zu ", reply.head.status, reply.keep_alive, at);
    for (size_t i = 0; i < body.len; i++)
      printf("%02x", body.data[i]);
    putchar('\n');
  } else if (more) {
    puts("more");
  } else {
    printf("refused %s\n", err.text);
  }
  lm_http1_clean_up(&reply);
  lm_buf_clean_up(&body);
}

static void
obey(struct lm_sigv4 *signer, int n)
{
  const char *command = args[0];
  if (strcmp(command, "sign") == 0 && n >= 10) {
    sign(signer, n);
  } else if (strcmp(command, "bench") == 0 && n == 3) {
    bench(signer, strtol(args[1], NULL, 10), (size_t)strtol(args[2], NULL, 10));
  } else if (strcmp(command, "outcome") == 0 && n == 4) {
    struct lm_outcome got =
        lm_outcome_of_reply((int)strtol(args[1], NULL, 10), args[2][0] == '1', args[3], lens[3]);
    printf("%d %d %d %d\n", got.ran, got.failure, got.action, got.stops_map);
  } else if (strcmp(command, "http1") == 0 && n == 2) {
    http1();
  } else if (strcmp(command, "json") == 0 && n == 2) {
    json();
  } else if (strcmp(command, "weight") == 0 && n == 2) {
    const struct lm_span value = {args[1], lens[1]};
    printf("%zu\n", lm_json_weight(&value));
  } else if (strcmp(command, "reply") == 0 && n == 6) {
    reply_to();
  } else {
    fprintf(stderr, "no such command: %s, %d arguments\n", command, n - 1);
    exit(2);
  }
}

int
main(void)
{
  char *line = NULL;
  size_t room = 0;
  struct lm_sigv4 *signer = lm_sigv4_new();
  if (signer == NULL)
    return 1;
  while (getline(&line, &room, stdin) > 0) {
    int n = 0;
    for (char *word = strtok(line, " \n"); word != NULL && n < MAX_ARGS;
         word = strtok(NULL, " \n")) {
      args[n] = strcmp(word, ".") == 0 ? NULL : word;
      lens[n] = n > 0 && args[n] != NULL ? undo_hex(word) : strlen(word);
      n++;
    }
    if (n > 0)
      obey(signer, n);
  }
  lm_sigv4_destroy(signer);
  free(line);
  return 0;
}
