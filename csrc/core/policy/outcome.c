#include "policy/outcome.h"

#include <string.h>

/* The outcome of a row: ran, failure, action, whether the whole map stops. */
#define ROW(ran, failure, action, stops)                                                           \
  {                                                                                                \
    LM_RAN_##ran, LM_FAIL_##failure, LM_DO_##action, stops                                         \
  }

struct rule {
  int status;       /* 0: any */
  const char *type; /* without a trailing "Exception"; NULL: any or none */
  struct lm_outcome outcome;
};

/* Errors of the Invoke API: those that its model declares, those common to AWS's APIs, and those of
 * emulators. The first matching row counts. By the API's contract the function did not run if the API
 * replies with one of its own errors. Any other 5xx may come from a proxy, so whether it ran is unknown
 * (UNKNOWN_5XX). A test compares the declared errors with botocore's model. */
static const struct rule API[] = {
    /* AWS's common errors. Some services send them as 400, others as 403 or 429. */
    {0, "ExpiredToken", ROW(NOT, ACCESS_DENIED, REFRESH, true)},
    {0, "InvalidSignature", ROW(NOT, ACCESS_DENIED, RESIGN, true)},
    {0, "SignatureDoesNotMatch", ROW(NOT, ACCESS_DENIED, RESIGN, true)},
    {0, "RequestTimeTooSkewed", ROW(NOT, ACCESS_DENIED, RESIGN, true)},
    {0, "RequestExpired", ROW(NOT, ACCESS_DENIED, RESIGN_OLD, true)},
    {0, "RequestInTheFuture", ROW(NOT, ACCESS_DENIED, RESIGN, true)},
    {0, "TooManyRequests", ROW(NOT, THROTTLED, THROTTLE, false)},
    {0, "Throttling", ROW(NOT, THROTTLED, THROTTLE, false)},
    {0, "Throttled", ROW(NOT, THROTTLED, THROTTLE, false)},
    {0, "RequestThrottled", ROW(NOT, THROTTLED, THROTTLE, false)},
    {0, "RequestLimitExceeded", ROW(NOT, THROTTLED, THROTTLE, false)},
    {429, NULL, ROW(NOT, THROTTLED, THROTTLE, false)},

    /* Emulators that have no free environment. */
    {400, "Runtime.Unavailable", ROW(NOT, THROTTLED, THROTTLE, false)},
    {400, "Client.InitIncomplete", ROW(NOT, THROTTLED, THROTTLE, false)},
    {400, LM_TYPE_OF_EMPTY, ROW(NOT, THROTTLED, THROTTLE, false)},

    /* This payload, or its name, is invalid. */
    {400, "InvalidRequestContent", ROW(NOT, CONFIG, DONE, false)},
    {409, "DurableExecutionAlreadyStarted",
     ROW(NOT, CONFIG, DONE, false)}, /* with another payload */
    {413, "RequestTooLarge", ROW(NOT, TOO_LARGE, SPLIT, false)},
    {413, "SerializedRequestEntityTooLarge", ROW(NOT, TOO_LARGE, SPLIT, false)},
    {413, NULL, ROW(NOT, TOO_LARGE, SPLIT, false)}, /* the real type has other names, too */

    /* The same for every chunk. */
    {400, "InvalidParameterValue", ROW(NOT, CONFIG, DONE, true)},
    {400, "NoPublishedVersion", ROW(NOT, CONFIG, DONE, true)},
    {400, "ModeNotSupported", ROW(NOT, CONFIG, DONE, true)},
    {400, "RecursiveInvocation", ROW(NOT, CONFIG, DONE, true)},
    {400, "SnapStart", ROW(NOT, WORKER_INIT, DONE, true)}, /* an after-restore hook failed */
    {400, NULL, ROW(NOT, CONFIG, DONE, true)},
    {401, NULL, ROW(NOT, ACCESS_DENIED, DONE, true)},
    {402, "ServiceQuotaExceeded", ROW(NOT, SERVICE, DONE, true)},
    {402, NULL, ROW(NOT, SERVICE, DONE, true)},
    {403, "EFSMountFailure", ROW(NOT, CONFIG, DONE, true)},
    {403, "S3FilesMountFailure", ROW(NOT, CONFIG, DONE, true)},
    {403, NULL, ROW(NOT, ACCESS_DENIED, DONE, true)}, /* AccessDenied, UnrecognizedClient, ... */
    {404, "ResourceNotFound", ROW(NOT, FUNCTION_NOT_FOUND, DONE, true)},
    {404, NULL, ROW(NOT, FUNCTION_NOT_FOUND, DONE, true)},
    {407, NULL, ROW(NOT, CONFIG, DONE, true)}, /* a proxy requires a password */
    {415, "UnsupportedMediaType", ROW(NOT, PROTOCOL, DONE, true)},
    {415, NULL, ROW(NOT, PROTOCOL, DONE, true)},

    /* A file system or snapshot was not available in time. Without a type, not from AWS. */
    {408, "EFSMountConnectivity", ROW(NOT, SERVICE, RETRY, false)},
    {408, "EFSMountTimeout", ROW(NOT, SERVICE, RETRY, false)},
    {408, "S3FilesMountConnectivity", ROW(NOT, SERVICE, RETRY, false)},
    {408, "S3FilesMountTimeout", ROW(NOT, SERVICE, RETRY, false)},
    {408, "SnapStartTimeout", ROW(NOT, SERVICE, RETRY, false)},
    {408, NULL, ROW(MAYBE, SERVICE, RETRY, false)},

    /* The function is not ready yet. */
    {409, "ResourceConflict", ROW(NOT, SERVICE, POLL, true)},
    {409, "SnapStartNotReady", ROW(NOT, SERVICE, POLL, true)},
    {409, "SnapStartRegenerationFailure", ROW(NOT, SERVICE, POLL, true)},
    {409, "CodeArtifactUserPending", ROW(NOT, SERVICE, POLL, true)},
    {409, "CodeArtifactUserDeleted", ROW(NOT, SERVICE, POLL, true)},
    {502, "ENINotReady", ROW(NOT, SERVICE, POLL, true)},
    {502, "ResourceNotReady", ROW(NOT, SERVICE, POLL, true)},
    /* The function cannot become ready. */
    {409, "CodeArtifactUserFailed", ROW(NOT, CONFIG, DONE, true)},
    {409, "RuntimeAliasDeleted", ROW(NOT, CONFIG, DONE, true)},
    {409, "RuntimeVersionDeleted", ROW(NOT, CONFIG, DONE, true)},
    {409, NULL, ROW(NOT, CONFIG, DONE, true)},

    {410, "EFSIO", ROW(MAYBE, SERVICE, RETRY, false)}, /* the file system failed while it ran */
    {410, NULL, ROW(MAYBE, SERVICE, RETRY, false)},

    {500, "Service", ROW(NOT, SERVICE, RETRY, false)},
    {502, "EC2Throttled", ROW(NOT, THROTTLED, THROTTLE, false)},
    {502, "EC2Unexpected", ROW(NOT, SERVICE, RETRY_SLOW, false)},
    {502, "SubnetIPAddressLimitReached", ROW(NOT, SERVICE, RETRY_SLOW, false)},
    {502, "ENILimitReached", ROW(NOT, SERVICE, RETRY_SLOW, false)},
    {502, "EC2AccessDenied", ROW(NOT, CONFIG, DONE, true)},
    {502, "InvalidRuntime", ROW(NOT, CONFIG, DONE, true)},
    {502, "InvalidZipFile", ROW(NOT, CONFIG, DONE, true)},
    {502, "InvalidSecurityGroupID", ROW(NOT, CONFIG, DONE, true)},
    {502, "InvalidSubnetID", ROW(NOT, CONFIG, DONE, true)},
    {502, "KMSAccessDenied", ROW(NOT, CONFIG, DONE, true)},
    {502, "KMSDisabled", ROW(NOT, CONFIG, DONE, true)},
    {502, "KMSInvalidState", ROW(NOT, CONFIG, DONE, true)},
    {502, "KMSNotFound", ROW(NOT, CONFIG, DONE, true)},

    /* Redirects are not followed: they would send the credentials elsewhere. */
    {301, NULL, ROW(NOT, PROTOCOL, DONE, true)},
    {302, NULL, ROW(NOT, PROTOCOL, DONE, true)},
    {307, NULL, ROW(NOT, PROTOCOL, DONE, true)},
    {308, NULL, ROW(NOT, PROTOCOL, DONE, true)},
};

/* Function errors that the platform or the runtime reports in a 200 reply. */
static const struct rule FUNCTION[] = {
    {0, "Sandbox.Timedout", ROW(YES, WORKER_TIMEOUT, DONE, false)},
    {0, "Sandbox.Timeout", ROW(YES, WORKER_TIMEOUT, DONE, false)}, /* by the emulator */

    {0, "Runtime.ExitError", ROW(YES, WORKER_CRASHED, DONE, false)},
    {0, "Runtime.OutOfMemory", ROW(YES, WORKER_CRASHED, DONE, false)},
    {0, "Runtime.Unknown", ROW(YES, WORKER_CRASHED, DONE, false)},
    {0, "Function.Unknown", ROW(YES, WORKER_CRASHED, DONE, false)},
    {0, "Sandbox.Failure", ROW(YES, WORKER_CRASHED, DONE, false)},
    {0, "Extension.Crash", ROW(YES, WORKER_CRASHED, DONE, false)},
    {0, "Extension.ExitError", ROW(YES, WORKER_CRASHED, DONE, false)},

    /* The results are lost. If f may run again, halves of the chunk may fit. */
    {0, "Function.ResponseSizeTooLarge", ROW(YES, TOO_LARGE, SPLIT, false)},
    {0, "Runtime.MarshalError", ROW(YES, PROTOCOL, DONE, false)},
    {0, "Runtime.TruncatedResponse", ROW(YES, PROTOCOL, DONE, false)},
    {0, "Runtime.InvalidResponseModeHeader", ROW(YES, PROTOCOL, DONE, false)},

    /* Before the handler is called: the next environment would fail, too. */
    {0, "Runtime.ImportModuleError", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.HandlerNotFound", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.UserCodeSyntaxError", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.MalformedHandlerName", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.BuiltInModuleConflict", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.BeforeSnapshotError", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.AfterRestoreError", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.InvalidEntrypoint", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.InvalidWorkingDir", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.InvalidTaskConfig", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Extension.InitError", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Extension.LaunchError", ROW(NOT, WORKER_INIT, DONE, true)},
    {0, "Runtime.UnmarshalError",
     ROW(NOT, PROTOCOL, DONE, true)}, /* the request could not be parsed */
    {0, "Runtime.LambdaContextUnmarshalError", ROW(NOT, CONFIG, DONE, true)},

    {0, NULL, ROW(YES, REMOTE, DONE, false)}, /* the handler raised */
};

static const struct lm_outcome UNKNOWN_4XX = ROW(NOT, SERVICE, DONE, true);
static const struct lm_outcome UNKNOWN_5XX = ROW(MAYBE, SERVICE, RETRY, false); /* a proxy, ... */
static const struct lm_outcome UNKNOWN_STATUS = ROW(MAYBE, PROTOCOL, DONE, true);
static const struct lm_outcome UNMARKED =
    ROW(YES, PROTOCOL, DONE, true); /* not a lambdamap worker */

static bool
outcome_same_type(const char *rule, const char *type, size_t len)
{
  static const char suffix[] = "Exception";
  size_t n = strlen(rule), extra = sizeof suffix - 1;
  if (len == n + extra && memcmp(type + n, suffix, extra) == 0)
    len = n;
  return len == n && memcmp(rule, type, n) == 0;
}

static const struct lm_outcome *
outcome_find(const struct rule *rules, size_t n, int status, const char *type, size_t len)
{
  for (size_t i = 0; i < n; i++)
    if ((rules[i].status == 0 || rules[i].status == status) &&
        (rules[i].type == NULL || outcome_same_type(rules[i].type, type, len)))
      return &rules[i].outcome;
  return NULL;
}

static struct lm_outcome
outcome_of_function_error(const char *type, size_t len)
{
  return *outcome_find(FUNCTION, sizeof FUNCTION / sizeof FUNCTION[0], 0, type, len);
}

struct lm_outcome
lm_outcome_of_reply(int status, bool function_error, const char *error_type, size_t error_type_len)
{
  if (function_error)
    return outcome_of_function_error(error_type, error_type_len);
  const struct lm_outcome *known =
      outcome_find(API, sizeof API / sizeof API[0], status, error_type, error_type_len);
  if (known != NULL)
    return *known;
  return status >= 500 ? UNKNOWN_5XX : status >= 400 ? UNKNOWN_4XX : UNKNOWN_STATUS;
}

struct lm_outcome
lm_outcome_of_unmarked(const char *error_type, size_t error_type_len)
{
  return error_type_len > 0 ? outcome_of_function_error(error_type, error_type_len) : UNMARKED;
}

struct lm_outcome
lm_outcome_of_loss(bool sent, int status, enum lm_failure failure)
{
  bool line_failed = failure == LM_FAIL_CONNECT || failure == LM_FAIL_CONNECTION_LOST;
  bool may_pass = line_failed || failure == LM_FAIL_DEADLINE || failure == LM_FAIL_PROTOCOL;
  struct lm_outcome outcome = {LM_RAN_NOT, failure, may_pass ? LM_DO_RETRY : LM_DO_DONE, false};
  if (status == 200) {
    outcome.ran = LM_RAN_YES;
    if (line_failed)
      outcome.failure = LM_FAIL_PROTOCOL;
  } else {
    if (sent)
      outcome.ran = LM_RAN_MAYBE;
    if (line_failed)
      outcome.failure = sent ? LM_FAIL_CONNECTION_LOST : LM_FAIL_CONNECT;
    if (outcome.failure == LM_FAIL_CONNECT)
      outcome.action = LM_DO_RECONNECT;
  }
  return outcome;
}

struct lm_outcome
lm_outcome_of_refusal(void)
{
  return (struct lm_outcome){LM_RAN_NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false};
}

enum lm_action
lm_outcome_of_throttle(const char *reason, size_t reason_len)
{
  static const char rate[] =
      "RateLimitExceeded"; /* suffix of the reasons that concern a rate, the caller's as well */
  size_t n = sizeof rate - 1;
  bool by_rate = reason_len >= n && memcmp(reason + reason_len - n, rate, n) == 0;
  return by_rate ? LM_DO_SLOW_DOWN : LM_DO_THROTTLE;
}

bool
lm_outcome_retryable(const struct lm_outcome *outcome, bool idempotent)
{
  return (outcome->action == LM_DO_RETRY || outcome->action == LM_DO_RETRY_SLOW) &&
         (outcome->ran == LM_RAN_NOT || idempotent);
}
