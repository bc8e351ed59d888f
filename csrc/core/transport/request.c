#include "transport/request.h"

#include <string.h>

#include "job/batch.h"
#include "job/coding.h"
#include "os/seams.h"
#include "transport/target.h"
#include "wire/redact.h"

/* A large body is patched and digested before it waits for a connection; after a longer wait, again. */
static const int64_t STALE_NS = 1000000000;

/* A job's own signed headers: name, value, name, value, ..., NULL; sorted. */
enum { MOST_OWN = 2 };

static void
request_own_headers(const struct lm_job *job, const char *own[2 * MOST_OWN + 1])
{
  if (job->durable_name != NULL) {
    *own++ = "x-amz-durable-execution-name";
    *own++ = job->durable_name;
  }
  if (job->asks_report) {
    *own++ = "x-amz-log-type";
    *own++ = "Tail";
  }
  *own = NULL;
}

/* Merge them with the target's, which are sorted, too. */
static void
request_merge_headers(const char **target, const char **own, const char **merged)
{
  while (*target != NULL || *own != NULL) {
    bool first = *own == NULL || (*target != NULL && strcmp(*target, *own) < 0);
    const char ***from = first ? &target : &own;
    *merged++ = *(*from)++;
    *merged++ = *(*from)++;
  }
  *merged = NULL;
}

static int
request_sign(struct lm_turn *turn, const struct lm_endpoint *endpoint, struct lm_job *job,
             const char **own, struct lm_buf *out, struct lm_error *err)
{
  const char *merged[2 * (LM_MAX_SIGNED_HEADERS + MOST_OWN) + 1];
  struct lm_target *target = job->batch->target;
  struct lm_credentials *credentials = lm_target_credentials(target);
  job->signed_offset_s = atomic_load(&endpoint->clock_offset_s);
  struct lm_sigv4_request request = {
      .host = endpoint->authority,
      .path = target->path,
      .query = target->query,
      .extra = target->signed_headers,
      .body = job->body.data,
      .body_len = job->body.len,
      .body_digest = job->digested_ns != 0 ? job->body_digest : NULL,
      .region = target->region,
      .access_key = credentials->access_key,
      .secret_key = credentials->secret_key,
      .token = credentials->token,
      .unix_s = lm_seams.unix_s() + job->signed_offset_s,
  };
  if (own[0] != NULL) {
    request_merge_headers(target->signed_headers, own, merged);
    request.extra = merged;
  }
  job->signed_with = credentials->generation;
  int result = lm_sigv4_sign(turn->signer, &request, out, err);
  lm_credentials_unref(credentials);
  return result;
}

static void
request_trace(const struct lm_buf *head, struct lm_job *job)
{
  struct lm_buf text;
  lm_buf_init(&text, LM_MAX_HEAD_BYTES);
  lm_redact_head((const char *)head->data, head->len, &text);
  lm_notes_add_text(&job->batch->notes, LM_NOTE_SENT, job, &text);
}

int
lm_request_write(struct lm_turn *turn, const struct lm_endpoint *endpoint, struct lm_job *job,
                 struct lm_buf *out, struct lm_error *err)
{
  const struct lm_target *target = job->batch->target;
  const char *own[2 * MOST_OWN + 1];
  request_own_headers(job, own);
  if (job->digested_ns == 0 || turn->now_ns - job->digested_ns > STALE_NS)
    lm_coding_patch(job, turn->now_ns);
  lm_buf_clear(out);
  lm_buf_append(out, target->head, target->head_len);
  lm_buf_str(out, "amz-sdk-invocation-id: ");
  lm_buf_append(out, job->batch->opts.map_id, LM_MAP_ID_LEN);
  lm_buf_byte(out, '-');
  lm_buf_uint(out, job->first_item);
  lm_buf_str(out, "\r\namz-sdk-request: attempt=");
  lm_buf_uint(out, job->attempts);
  lm_buf_str(out, "; max=");
  lm_buf_uint(out, target->max_attempts);
  for (const char **at = own; *at != NULL; at += 2) {
    lm_buf_str(out, "\r\n");
    lm_buf_str(out, at[0]);
    lm_buf_str(out, ": ");
    lm_buf_str(out, at[1]);
  }
  lm_buf_str(out, "\r\nContent-Length: ");
  lm_buf_uint(out, job->body.len);
  lm_buf_str(out, "\r\n");
  if (request_sign(turn, endpoint, job, own, out, err) != 0)
    return -1;
  lm_buf_str(out, "\r\n");
  if (job->batch->notes.traced)
    request_trace(out, job);
  return lm_buf_check(out, "the request head", err);
}
