/* http/http1: no bytes make it read or write where it may not, and cutting them in pieces changes
 * nothing. The first two bytes say where to cut and how small the body's cap is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/http1.h"

#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition))                                                                              \
      abort();                                                                                     \
  } while (0)

struct reading {
  struct lm_http1 reply;
  struct lm_buf body;
  struct lm_error err;
  enum lm_http1_state_out state, at_eof;
  size_t taken;
};

/* One piece of `first` bytes, then pieces of `step`. */
static void
feed(struct reading *reading, const uint8_t *bytes, size_t n, size_t first, size_t step, size_t max)
{
  memset(&reading->reply, 0xA5, sizeof reading->reply);
  lm_http1_init(&reading->reply);
  lm_buf_init(&reading->body, max);
  reading->state = LM_HTTP1_MORE;
  reading->taken = 0;
  reading->err.code = LM_OK;
  for (size_t at = 0, size = first; at < n && reading->state == LM_HTTP1_MORE;
       at += size, size = step) {
    size_t taken = SIZE_MAX;
    if (size > n - at)
      size = n - at;
    reading->state =
        lm_http1_feed(&reading->reply, bytes + at, size, &taken, &reading->body, &reading->err);
    MUST(taken <= size && (reading->state != LM_HTTP1_MORE || taken == size));
    reading->taken += taken;
    MUST(reading->body.len <= max);
  }
  struct lm_http1 after = reading->reply;
  struct lm_error err;
  reading->at_eof = lm_http1_eof(&after, &err);
  MUST(reading->at_eof != LM_HTTP1_MORE);
  MUST(reading->state == LM_HTTP1_MORE || reading->at_eof == reading->state);
  lm_http1_clean_up(&reading->reply);
}

static void
same(const struct reading *a, const struct reading *b)
{
  MUST(a->state == b->state && a->at_eof == b->at_eof && a->err.code == b->err.code);
  MUST(memcmp(&a->reply, &b->reply, offsetof(struct lm_http1, state)) == 0);
  if (a->state == LM_HTTP1_BAD)
    return;
  MUST(a->taken == b->taken && a->body.len == b->body.len);
  MUST(a->body.len == 0 || memcmp(a->body.data, b->body.data, a->body.len) == 0);
}

static void
sane(const struct reading *reading)
{
  const struct lm_http1 *reply = &reading->reply;
  const char *texts[] = {reply->head.request_id, reply->head.error_type,
                         reply->head.executed_version};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    for (const char *at = texts[i]; *at != '\0'; at++)
      MUST(*at >= 0x20 && *at < 0x7f);
  const struct lm_report *report = &reply->head.report;
  MUST(report->known ? report->billed_ms > 0 && report->memory_mb > 0 : report->billed_ms == 0);
  MUST(report->billed_ms <= LM_REPORT_MOST && report->memory_mb <= LM_REPORT_MOST);
  MUST(report->max_memory_mb <= LM_REPORT_MOST && report->init_us <= LM_REPORT_MOST);
  if (!reply->head_done)
    return;
  MUST(reply->head.status >= 200 && reply->head.status <= 599);
  if (reading->state == LM_HTTP1_COMPLETE && reply->head.content_length >= 0 &&
      reply->head.status != 304)
    MUST((uint64_t)reply->head.content_length == reading->body.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static struct reading whole, pieces;
  if (size < 2)
    return 0;
  size_t cut = data[0], max = data[1] < 128 ? data[1] : 65536;
  data += 2;
  size -= 2;
  feed(&whole, data, size, size, 1, max);
  sane(&whole);
  const size_t cuts[][2] = {
      {1 + cut, size + 1}, {size > cut ? size - cut : 1, size + 1}, {1 + cut, 1 + cut % 7}, {1, 1}};
  for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    feed(&pieces, data, size, cuts[i][0], cuts[i][1], max);
    same(&whole, &pieces);
    lm_buf_clean_up(&pieces.body);
  }
  lm_buf_clean_up(&whole.body);
  return 0;
}
