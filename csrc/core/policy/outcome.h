/* What became of an invocation, and what to do about it. Pure tables and functions; outcome.c has the
 * reason beside each row. */
#ifndef LM_POLICY_OUTCOME_H
#define LM_POLICY_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the handler ran. Of several attempts, the largest value counts. */
enum lm_ran {
  LM_RAN_NOT,   /* it did not run */
  LM_RAN_MAYBE, /* part of the request was sent and no reply was read */
  LM_RAN_YES    /* it ran, perhaps to its end */
};

/* The kinds of failure, each with its name in Python, where flight/failures.py has a row for each in the
 * same order. */
#define LM_FAILURES(X)                                                                             \
  X(CONFIG, "config")                                                                              \
  X(ACCESS_DENIED, "access_denied")                                                                \
  X(FUNCTION_NOT_FOUND, "function_not_found")                                                      \
  X(SERVICE, "service")                                                                            \
  X(THROTTLED, "throttled")                                                                        \
  X(CONNECT, "connect")                                                                            \
  X(CONNECTION_LOST, "connection_lost")                                                            \
  X(DEADLINE, "deadline")                                                                          \
  X(REMOTE, "remote") /* the handler raised, outside lambdamap's envelope */                       \
  X(WORKER_INIT, "worker_init")                                                                    \
  X(WORKER_TIMEOUT, "worker_timeout")                                                              \
  X(WORKER_CRASHED, "worker_crashed")                                                              \
  X(TOO_LARGE, "too_large")                                                                        \
  X(PROTOCOL, "protocol")                                                                          \
  X(CANCELLED, "cancelled")                                                                        \
  X(MEMORY, "memory")                                                                              \
  X(SYSTEM, "system") /* threads, descriptors, dispatcher shut down */

#define LM_FAILURE(kind, name) LM_FAIL_##kind,
enum lm_failure { LM_FAIL_NONE, LM_FAILURES(LM_FAILURE) };
#undef LM_FAILURE

enum lm_action {
  LM_DO_DONE,  /* deliver: success, or a final failure */
  LM_DO_RETRY, /* after LM_BACKOFF_TRANSIENT; counts as an attempt */
  LM_DO_RECONNECT, /* no connection: LM_BACKOFF_CONNECT, for the map's connect patience; not an attempt */
  LM_DO_THROTTLE,  /* 429: back to the front of its map; not an attempt */
  LM_DO_SLOW_DOWN, /* as THROTTLE, where the rate is too high */
  LM_DO_POLL, /* the function is not ready: LM_BACKOFF_POLL, for poll_patience_ns; not an attempt */
  LM_DO_RESIGN,     /* signature refused: once more, at once, if our clock was wrong */
  LM_DO_RESIGN_OLD, /* signature expired on the way: once more, at once */
  LM_DO_REFRESH,    /* credentials expired: again with newer ones */
  LM_DO_SPLIT,      /* request or reply too large: halve the chunk */
  LM_DO_RETRY_SLOW /* as RETRY, after LM_BACKOFF_THROTTLE: a resource that needs seconds to recover */
};

struct lm_outcome {
  enum lm_ran ran;
  enum lm_failure failure;
  enum lm_action action;
  bool stops_map; /* every chunk would fail like this */
};

/* The error type that stands for a reply with neither a type nor a body. */
#define LM_TYPE_OF_EMPTY "(empty)"

/* A complete reply that is a failure: a status other than 200, or 200 with X-Amz-Function-Error
 * (function_error). error_type: from the header, else from the body, with or without a trailing
 * "Exception"; "" if neither has one. */
struct lm_outcome lm_outcome_of_reply(int status, bool function_error, const char *error_type,
                                      size_t error_type_len);

/* A complete 200 without X-Amz-Function-Error whose body is not a lambdamap reply. error_type: the body's
 * errorType (an emulator that drops headers), else "". */
struct lm_outcome lm_outcome_of_unmarked(const char *error_type, size_t error_type_len);

/* No complete reply. sent: a byte of the request may have left. status: of the head, if it was read,
 * else 0. failure: what the connection reported; the result has CONNECTION_LOST, CONNECT or PROTOCOL (a
 * 200 that was cut off) instead where `sent` and `status` tell more. */
struct lm_outcome lm_outcome_of_loss(bool sent, int status, enum lm_failure failure);

/* The peer says that it has not processed the request, of which something has left. */
struct lm_outcome lm_outcome_of_refusal(void);

/* What to do after a 429, by the "Reason" in its body: LM_DO_THROTTLE or LM_DO_SLOW_DOWN. */
enum lm_action lm_outcome_of_throttle(const char *reason, size_t reason_len);

/* Whether LM_DO_RETRY or LM_DO_RETRY_SLOW may be followed: always if the handler did not run, else only
 * if the map is idempotent. */
bool lm_outcome_retryable(const struct lm_outcome *outcome, bool idempotent);

#endif
