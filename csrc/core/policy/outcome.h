/* What became of an invocation, and what to do about it. Pure tables and functions; the reason for
 * each row stands next to it in outcome.c. */
#ifndef LM_POLICY_OUTCOME_H
#define LM_POLICY_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the handler ran. Ordered: the worst of several attempts is the largest. */
enum lm_ran {
  LM_RAN_NOT,   /* it cannot have run */
  LM_RAN_MAYBE, /* part of the request left this machine and no reply was read */
  LM_RAN_YES    /* it ran, possibly to the end */
};

/* The kind of failure: one Python exception class each. */
enum lm_failure {
  LM_FAIL_NONE,
  LM_FAIL_CONFIG,
  LM_FAIL_ACCESS_DENIED,
  LM_FAIL_FUNCTION_NOT_FOUND,
  LM_FAIL_SERVICE,
  LM_FAIL_THROTTLED,
  LM_FAIL_CONNECT,
  LM_FAIL_CONNECTION_LOST,
  LM_FAIL_DEADLINE,
  LM_FAIL_REMOTE, /* the handler raised outside our envelope */
  LM_FAIL_WORKER_INIT,
  LM_FAIL_WORKER_TIMEOUT,
  LM_FAIL_WORKER_CRASHED,
  LM_FAIL_TOO_LARGE,
  LM_FAIL_PROTOCOL,
  LM_FAIL_CANCELLED,
  LM_FAIL_MEMORY,
  LM_FAIL_SYSTEM /* threads, descriptors, dispatcher shut down */
};

enum lm_action {
  LM_DO_DONE,      /* hand it over: success, or a failure that stays */
  LM_DO_RETRY,     /* LM_BACKOFF_TRANSIENT, counts as an attempt */
  LM_DO_RECONNECT, /* no connection: LM_BACKOFF_CONNECT for the map's connect patience; no attempt */
  LM_DO_THROTTLE,  /* 429: back to the front of its map, counts as no attempt */
  LM_DO_SLOW_DOWN, /* as THROTTLE, but it is the rate that is too high */
  LM_DO_POLL,   /* it is being made ready: LM_BACKOFF_POLL for the policy's patience; no attempt */
  LM_DO_RESIGN, /* the signature: once more at once if our clock was off */
  LM_DO_RESIGN_OLD, /* it was too old when it arrived: once more at once */
  LM_DO_REFRESH,    /* the credentials have expired: again with newer ones */
  LM_DO_SPLIT,      /* too large, request or reply: halve the chunk */
  LM_DO_RETRY_SLOW /* as RETRY with LM_BACKOFF_THROTTLE: what is short needs seconds to come back */
};

struct lm_outcome {
  enum lm_ran ran;
  enum lm_failure failure;
  enum lm_action action;
  bool stops_map; /* the same would happen to every chunk */
};

/* The error type of a reply that has neither a type nor a body. */
#define LM_TYPE_OF_EMPTY "(empty)"

/* A complete reply that is not a success of ours: any status but 200, or 200 with
 * X-Amz-Function-Error. error_type: from the header, else from the body, with or without a trailing
 * "Exception"; "" when neither names one. function_error: the X-Amz-Function-Error header is present. */
struct lm_outcome lm_outcome_of_reply(int status, bool function_error, const char *error_type,
                                      size_t error_type_len);

/* A complete 200 whose body is no reply of ours and no function error by header: error_type is the
 * body's errorType or "" (an emulator that drops headers). */
struct lm_outcome lm_outcome_of_unmarked(const char *error_type, size_t error_type_len);

/* No complete reply. `sent`: some byte of the request may have left. `status`: of the head that
 * was read, 0 for none. `failure`: as the connection saw it; the result names CONNECTION_LOST,
 * CONNECT or PROTOCOL (a reply of 200 cut short) where what was sent and read says so. */
struct lm_outcome lm_outcome_of_loss(bool sent, int status, enum lm_failure failure);

/* What to do after a 429, by the "Reason" in its body: THROTTLE or SLOW_DOWN. */
enum lm_action lm_outcome_of_throttle(const char *reason, size_t reason_len);

/* Whether RETRY or RETRY_SLOW is followed: NOT always, MAYBE and a lost result only if
 * idempotent. */
bool lm_outcome_retryable(const struct lm_outcome *outcome, bool idempotent);

#endif
