#include "job/coding.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "job/batch.h"
#include "policy/deadline.h"
#include "wire/redact.h"

void
lm_coding_fail(struct lm_job *job, enum lm_ran ran, enum lm_failure failure, const char *format,
               ...)
{
  job->outcome = (struct lm_outcome){ran, failure, LM_DO_DONE, false};
  job->error.code = LM_E_SYSTEM;
  va_list args;
  va_start(args, format);
  if (vsnprintf(job->error.text, sizeof job->error.text, format, args) < 0)
    job->error.text[0] = '\0';
  va_end(args);
}

static void
coding_fail_as(struct lm_job *job, enum lm_ran ran, enum lm_failure failure,
               const struct lm_error *err)
{
  if (err->code == LM_E_NOMEM)
    failure = LM_FAIL_MEMORY;
  job->outcome = (struct lm_outcome){ran, failure, LM_DO_DONE, false};
  job->error = *err;
}

enum {
  MAX_LEFT_MS = 999999999, /* nine digits: the envelope's slot */
  SHOWN_BYTES = 200        /* of a body that is not a Lambda error */
};

/* A chunk is a frame or, with codec="json", a JSON object. */
static bool
coding_is_json(const uint8_t *chunk, size_t len)
{
  return len > 0 && chunk[0] == '{';
}

bool
lm_coding_request(struct lm_coder *coder, struct lm_job *job)
{
  const struct lm_batch_opts *opts = &job->batch->opts;
  struct lm_error err;
  if (opts->envelope == NULL) {
    size_t max = job->body.max;
    lm_buf_move(&job->body, &job->frame);
    job->body.max = max;
    if (job->body.len <= max)
      return true;
    job->body.failed = LM_E_LIMIT;
  } else {
    int sealed;
    size_t guess = opts->envelope_len + 256 + job->frame.len / 2;
    lm_buf_reserve(&job->body, guess < job->body.max ? guess : job->body.max);
    lm_envelope_open(&job->body, opts->envelope, opts->envelope_len, job->first_item, job->n_items,
                     &job->slots);
    if (coding_is_json(job->frame.data, job->frame.len)) {
      sealed = 0;
      job->json = true;
      lm_envelope_close_json(&job->body, job->frame.data, job->frame.len);
    } else {
      sealed = lm_frame_to_text(coder, job->frame.data, job->frame.len, opts->compress, &job->body,
                                &err);
      lm_envelope_close(&job->body);
    }
    if (sealed == 0 && lm_buf_check(&job->body, "the request", &err) == 0) {
      lm_buf_clean_up(&job->frame);
      return true;
    }
    if (sealed != 0 && job->body.failed == LM_OK) {
      coding_fail_as(job, LM_RAN_NOT, LM_FAIL_PROTOCOL, &err);
      return false;
    }
  }
  bool has_memory = job->body.failed != LM_E_NOMEM;
  lm_buf_check(&job->body, "the request", &err);
  if (has_memory && opts->envelope == NULL)
    lm_error_set(&err, LM_E_LIMIT, "payload of %zu bytes exceeds the limit of %zu bytes",
                 job->body.len, job->body.max);
  else if (has_memory)
    lm_error_set(&err, LM_E_LIMIT,
                 "payload of %zu bytes exceeds the limit of %zu bytes after compression and base64",
                 job->frame.len, job->body.max);
  coding_fail_as(job, LM_RAN_NOT, LM_FAIL_TOO_LARGE, &err);
  if (job->outcome.failure == LM_FAIL_TOO_LARGE && opts->envelope != NULL && job->n_items > 1)
    job->outcome.action = LM_DO_SPLIT;
  if (opts->envelope != NULL)
    lm_buf_clean_up(&job->body); /* the frame is kept, to be split */
  return false;
}

void
lm_coding_patch(struct lm_job *job, int64_t now_ns)
{
  job->digested_ns = 0;
  if (job->batch->opts.envelope != NULL)
    lm_envelope_patch(job->body.data, &job->slots, job->attempts,
                      lm_deadline_left_ms(job->deadline_ns, now_ns, MAX_LEFT_MS));
}

/* Set the job's error: "TYPE: TEXT (HTTP 400)" with JSON's escapes decoded, or the beginning of a body that
 * has neither. */
static void
coding_describe(struct lm_job *job, const struct lm_span *type, const struct lm_span *text)
{
  char name[LM_HEAD_TEXT], shown[LM_ERROR_TEXT_SIZE];
  const struct lm_reply_head *head = &job->head;
  if (type->len > 0 || text->len > 0) {
    bool both = lm_json_text(type, name, sizeof name) > 0 && text->len > 0;
    lm_json_text(text, shown, sizeof shown);
    lm_error_set(&job->error, LM_E_SYSTEM, "%s%s%s (HTTP %d)", name, both ? ": " : "", shown,
                 head->status);
  } else if (lm_redact_text((const char *)job->reply.data, job->reply.len, shown, SHOWN_BYTES + 1) >
             0) {
    if (head->has_function_error)
      lm_error_set(&job->error, LM_E_SYSTEM, "function error without a message: %s", shown);
    else
      lm_error_set(&job->error, LM_E_SYSTEM, "HTTP %d%s%s: %s", head->status,
                   head->content_type[0] == '\0' ? "" : ", ", head->content_type, shown);
  } else {
    lm_error_set(&job->error, LM_E_SYSTEM, "HTTP %d without a body", head->status);
  }
}

/* A chunk that may have run is split only if its items may run again. */
static void
coding_limit_split(struct lm_job *job)
{
  bool may_split = job->batch->opts.envelope != NULL && job->n_items > 1 &&
                   (job->outcome.ran == LM_RAN_NOT || job->batch->opts.idempotent);
  if (job->outcome.action == LM_DO_SPLIT && !may_split)
    job->outcome.action = LM_DO_DONE;
}

static void
coding_fail_unmarked(struct lm_job *job)
{
  struct lm_aws_error said;
  lm_envelope_read_aws_error((const char *)job->reply.data, job->reply.len, &said);
  job->outcome = lm_outcome_of_unmarked(said.error_type.at, said.error_type.len);
  coding_limit_split(job);
  if (said.error_type.len > 0 || said.error_message.len > 0)
    coding_describe(job, &said.error_type, &said.error_message);
  else
    lm_error_set(&job->error, LM_E_FORMAT,
                 "the reply is not from a lambdamap worker: set the function's handler to "
                 "lambdamap.worker.entry.handler, or use invoke_map for other functions");
}

/* Decode the results of a reply into job->result. */
static int
coding_take_results(struct lm_coder *coder, struct lm_job *job, struct lm_error *err)
{
  const struct lm_reply *view = &job->view;
  const size_t most = job->batch->opts.max_result_bytes;
  if (view->result_json.at != NULL) {
    job->estimate_bytes = lm_json_weight(&view->result_json);
    if (job->estimate_bytes > most)
      return lm_error_set(err, LM_E_LIMIT, "results exceed the limit of %zu bytes", most);
    lm_buf_append(&job->result, view->result_json.at, view->result_json.len);
    return lm_buf_check(&job->result, "the results", err);
  }
  if (coder == NULL)
    return lm_error_set(err, LM_E_NOMEM, "out of memory");
  struct lm_frame_limits limits = LM_FRAME_LIMITS_DEFAULT;
  limits.max_output_bytes = most;
  return lm_frame_from_text(coder, view->result.at, view->result.len, &limits, &job->result,
                            &job->estimate_bytes, err);
}

void
lm_coding_reply(struct lm_coder *coder, struct lm_job *job)
{
  const struct lm_batch_opts *opts = &job->batch->opts;
  struct lm_reply *view = &job->view;
  struct lm_error err;
  job->outcome = (struct lm_outcome){LM_RAN_YES, LM_FAIL_NONE, LM_DO_DONE, false};
  if (opts->envelope == NULL)
    return;
  if (lm_envelope_read((const char *)job->reply.data, job->reply.len, view, &err) != 0)
    goto refused;
  if (!view->marked) {
    coding_fail_unmarked(job);
    return;
  }
  if (lm_envelope_check(view, opts->map_id, job->first_item, job->n_items, job->json, &err) != 0)
    goto refused;
  if (view->has_done && view->done > 0 && coding_take_results(coder, job, &err) != 0)
    goto refused;
  return;

refused: /* discard everything in the reply */
  coding_fail_as(job, LM_RAN_YES, LM_FAIL_PROTOCOL, &err);
  job->outcome.stops_map = view->has_protocol && view->protocol != LM_PROTOCOL;
  memset(view, 0, sizeof *view);
  lm_buf_clear(&job->result);
}

void
lm_coding_complete(struct lm_coder *coder, struct lm_job *job)
{
  if (job->head.status == 200 && !job->head.has_function_error) {
    lm_coding_reply(coder, job);
    return;
  }
  struct lm_aws_error said;
  lm_envelope_read_aws_error((const char *)job->reply.data, job->reply.len, &said);
  struct lm_span type = {job->head.error_type, strlen(job->head.error_type)};
  if (job->head.has_function_error)
    type = said.error_type;
  else if (type.len == 0)
    type = said.code.len > 0 ? said.code : said.error_type; /* of an emulator */
  struct lm_span text =
      job->head.has_function_error || said.message.len == 0 ? said.error_message : said.message;
  bool empty = type.len == 0 && job->reply.len == 0 && !job->head.has_function_error;
  struct lm_span known =
      empty ? (struct lm_span){LM_TYPE_OF_EMPTY, strlen(LM_TYPE_OF_EMPTY)} : type;
  job->outcome = lm_outcome_of_reply(job->head.status, job->head.has_function_error,
                                     known.at == NULL ? "" : known.at, known.len);
  coding_limit_split(job);
  if (job->outcome.action == LM_DO_THROTTLE)
    job->outcome.action =
        lm_outcome_of_throttle(said.reason.at == NULL ? "" : said.reason.at, said.reason.len);
  coding_describe(job, &type, &text);
}

int
lm_coding_recover(struct lm_coder *coder, const struct lm_job *job, struct lm_buf *frame,
                  struct lm_error *err)
{
  if (job->frame.len > 0) {
    lm_buf_append(frame, job->frame.data, job->frame.len);
    return lm_buf_check(frame, "the request frame", err);
  }
  const char *text;
  size_t len, estimate;
  struct lm_frame_limits limits = LM_FRAME_LIMITS_DEFAULT;
  if (job->batch->opts.envelope == NULL) {
    lm_buf_append(frame, job->body.data, job->body.len);
    return lm_buf_check(frame, "the payload", err);
  }
  if (lm_envelope_request_payload(job->body.data, job->body.len, &text, &len) != 0)
    return lm_error_set(err, LM_E_INVALID, "the request contains no chunk");
  limits.max_output_bytes = frame->max;
  if (coding_is_json((const uint8_t *)text, len)) {
    lm_buf_append(frame, text, len);
    return lm_buf_check(frame, "the request frame", err);
  }
  return lm_frame_from_text(coder, text, len, &limits, frame, &estimate, err);
}
