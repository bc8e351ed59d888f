/* policy/outcome: the outcome of each reply, and of a lost one. This table is written independently of the
 * one under test. */
#include <string.h>

#include "check.h"
#include "policy/outcome.h"

#define NOT LM_RAN_NOT
#define MAYBE LM_RAN_MAYBE
#define RAN LM_RAN_YES

struct expected {
  int status;
  const char *type;
  enum lm_ran ran;
  enum lm_failure failure;
  enum lm_action action;
  bool stops;
};

static const struct expected replies[] = {
    /* configuration: the same for every chunk */
    {400, "InvalidParameterValueException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {400, "NoPublishedVersionException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {400, "ModeNotSupportedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {400, "ValidationException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {400, "RecursiveInvocationException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {400, "", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {409, "", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {409, "CodeArtifactUserFailedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {409, "RuntimeAliasDeletedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    /* of one payload, and its durable name */
    {400, "InvalidRequestContentException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, false},
    {409, "DurableExecutionAlreadyStartedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, false},
    {400, "SnapStartException", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {402, "ServiceQuotaExceededException", NOT, LM_FAIL_SERVICE, LM_DO_DONE, true},
    {403, "EFSMountFailureException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {403, "S3FilesMountFailureException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {407, "", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {409, "RuntimeVersionDeletedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "EC2AccessDeniedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "InvalidRuntimeException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "InvalidZipFileException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "InvalidSecurityGroupIDException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "InvalidSubnetIDException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "KMSAccessDeniedException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "KMSDisabledException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "KMSInvalidStateException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {502, "KMSNotFoundException", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
    {404, "ResourceNotFoundException", NOT, LM_FAIL_FUNCTION_NOT_FOUND, LM_DO_DONE, true},
    {404, "", NOT, LM_FAIL_FUNCTION_NOT_FOUND, LM_DO_DONE, true},
    {415, "UnsupportedMediaTypeException", NOT, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    /* permissions, and what new credentials or another clock may fix */
    {403, "AccessDeniedException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true},
    {403, "UnrecognizedClientException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true},
    {403, "MissingAuthenticationTokenException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true},
    {403, "", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true},
    {401, "", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true},
    {403, "ExpiredTokenException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_REFRESH, true},
    {403, "ExpiredToken", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_REFRESH, true},
    {403, "InvalidSignatureException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true},
    {403, "SignatureDoesNotMatch", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true},
    {403, "RequestTimeTooSkewed", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true},
    {403, "RequestExpired", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN_OLD, true},
    {400, "RequestExpired", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN_OLD, true},
    {400, "RequestExpiredException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN_OLD, true},
    {400, "ExpiredTokenException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_REFRESH, true},
    {400, "InvalidSignatureException", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true},
    {403, "RequestInTheFuture", NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true},
    /* not ready, too large, too many */
    {408, "EFSMountTimeoutException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {408, "EFSMountConnectivityException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {408, "S3FilesMountTimeoutException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {408, "S3FilesMountConnectivityException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {408, "SnapStartTimeoutException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {408, "", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {409, "ResourceConflictException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {409, "SnapStartNotReadyException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {409, "CodeArtifactUserPendingException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {409, "CodeArtifactUserDeletedException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {409, "SnapStartRegenerationFailureException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {502, "ENINotReadyException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {502, "ResourceNotReadyException", NOT, LM_FAIL_SERVICE, LM_DO_POLL, true},
    {410, "EFSIOException", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {413, "RequestTooLargeException", NOT, LM_FAIL_TOO_LARGE, LM_DO_SPLIT, false},
    {413, "RequestEntityTooLargeException", NOT, LM_FAIL_TOO_LARGE, LM_DO_SPLIT, false},
    {413, "SerializedRequestEntityTooLargeException", NOT, LM_FAIL_TOO_LARGE, LM_DO_SPLIT, false},
    {413, "", NOT, LM_FAIL_TOO_LARGE, LM_DO_SPLIT, false},
    {429, "TooManyRequestsException", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {429, "", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {400, "ThrottlingException", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {400, "Throttling", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {400, "TooManyRequestsException", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {400, "RequestLimitExceeded", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {503, "ThrottledException", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    /* an emulator without a free environment */
    {400, "Runtime.Unavailable", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {400, "Client.InitIncomplete", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {400, LM_TYPE_OF_EMPTY, NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {403, LM_TYPE_OF_EMPTY, NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true},
    {502, LM_TYPE_OF_EMPTY, MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    /* internal errors of the service */
    {500, "ServiceException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {502, "EC2ThrottledException", NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false},
    {502, "EC2UnexpectedException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY_SLOW, false},
    {502, "SubnetIPAddressLimitReachedException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY_SLOW, false},
    {502, "ENILimitReachedException", NOT, LM_FAIL_SERVICE, LM_DO_RETRY_SLOW, false},
    /* a 5xx of a proxy tells nothing about the function */
    {500, "", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {502, "", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {503, "", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {504, "", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {503, "bad_gateway", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {502, "ServiceException", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {500, "Exception", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {500, "ServiceExceptio", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    {599, "", MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false},
    /* unknown */
    {418, "", NOT, LM_FAIL_SERVICE, LM_DO_DONE, true},
    {301, "", NOT, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    {307, "", NOT, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    {303, "", MAYBE, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    {304, "", MAYBE, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    {202, "", MAYBE, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    {204, "", MAYBE, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
};

static const struct expected functions[] = {
    {200, "ValueError", RAN, LM_FAIL_REMOTE, LM_DO_DONE, false},
    {200, "", RAN, LM_FAIL_REMOTE, LM_DO_DONE, false},
    {200, "Sandbox.Timedout", RAN, LM_FAIL_WORKER_TIMEOUT, LM_DO_DONE, false},
    {200, "Sandbox.Timeout", RAN, LM_FAIL_WORKER_TIMEOUT, LM_DO_DONE, false},
    {200, "Runtime.ExitError", RAN, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false},
    {200, "Runtime.OutOfMemory", RAN, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false},
    {200, "Runtime.Unknown", RAN, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false},
    {200, "Sandbox.Failure", RAN, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false},
    {200, "Extension.Crash", RAN, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false},
    {200, "Function.ResponseSizeTooLarge", RAN, LM_FAIL_TOO_LARGE, LM_DO_SPLIT, false},
    {200, "Runtime.MarshalError", RAN, LM_FAIL_PROTOCOL, LM_DO_DONE, false},
    {200, "Runtime.ImportModuleError", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {200, "Runtime.HandlerNotFound", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {200, "Runtime.UserCodeSyntaxError", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {200, "Runtime.MalformedHandlerName", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {200, "Runtime.InvalidEntrypoint", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {200, "Extension.InitError", NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true},
    {200, "Runtime.UnmarshalError", NOT, LM_FAIL_PROTOCOL, LM_DO_DONE, true},
    {200, "Runtime.LambdaContextUnmarshalError", NOT, LM_FAIL_CONFIG, LM_DO_DONE, true},
};

static void
compare(const struct lm_outcome *got, const struct expected *row)
{
  if (got->ran != row->ran || got->failure != row->failure || got->action != row->action ||
      got->stops_map != row->stops) {
    fprintf(stderr, "%d %s: ran %d, failure %d, action %d, stops %d\n", row->status, row->type,
            got->ran, got->failure, got->action, got->stops_map);
    abort();
  }
}

static void
tables(void)
{
  for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
    const struct expected *row = &replies[i];
    struct lm_outcome got = lm_outcome_of_reply(row->status, false, row->type, strlen(row->type));
    compare(&got, row);
  }
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    const struct expected *row = &functions[i];
    struct lm_outcome got = lm_outcome_of_reply(row->status, true, row->type, strlen(row->type));
    compare(&got, row);
    if (row->type[0] == '\0')
      continue;
    got = lm_outcome_of_unmarked(row->type, strlen(row->type)); /* the header was dropped */
    compare(&got, row);
  }
  struct lm_outcome got = lm_outcome_of_unmarked("", 0);
  CHECK(got.ran == RAN && got.failure == LM_FAIL_PROTOCOL && got.action == LM_DO_DONE &&
        got.stops_map);
}

/* The outcome depends on what was sent and read, not on how the connection ended. */
static void
losses(void)
{
  static const struct {
    bool sent;
    int status;
    enum lm_failure failure;
    enum lm_ran ran;
    enum lm_failure named;
    enum lm_action action;
  } cases[] = {
      {false, 0, LM_FAIL_CONNECT, NOT, LM_FAIL_CONNECT, LM_DO_RECONNECT},
      {false, 0, LM_FAIL_CONNECTION_LOST, NOT, LM_FAIL_CONNECT, LM_DO_RECONNECT},
      {false, 0, LM_FAIL_DEADLINE, NOT, LM_FAIL_DEADLINE, LM_DO_RETRY},
      {false, 0, LM_FAIL_PROTOCOL, NOT, LM_FAIL_PROTOCOL, LM_DO_RETRY},
      {true, 0, LM_FAIL_CONNECT, MAYBE, LM_FAIL_CONNECTION_LOST, LM_DO_RETRY},
      {true, 0, LM_FAIL_CONNECTION_LOST, MAYBE, LM_FAIL_CONNECTION_LOST, LM_DO_RETRY},
      {true, 0, LM_FAIL_DEADLINE, MAYBE, LM_FAIL_DEADLINE, LM_DO_RETRY},
      {true, 0, LM_FAIL_PROTOCOL, MAYBE, LM_FAIL_PROTOCOL, LM_DO_RETRY},
      {true, 500, LM_FAIL_CONNECTION_LOST, MAYBE, LM_FAIL_CONNECTION_LOST, LM_DO_RETRY},
      {true, 200, LM_FAIL_CONNECTION_LOST, RAN, LM_FAIL_PROTOCOL, LM_DO_RETRY},
      {true, 200, LM_FAIL_PROTOCOL, RAN, LM_FAIL_PROTOCOL, LM_DO_RETRY},
      {true, 200, LM_FAIL_DEADLINE, RAN, LM_FAIL_DEADLINE, LM_DO_RETRY},
      {false, 200, LM_FAIL_PROTOCOL, RAN, LM_FAIL_PROTOCOL, LM_DO_RETRY},
      {false, 0, LM_FAIL_MEMORY, NOT, LM_FAIL_MEMORY, LM_DO_DONE},
      {true, 0, LM_FAIL_SYSTEM, MAYBE, LM_FAIL_SYSTEM, LM_DO_DONE},
      {true, 200, LM_FAIL_MEMORY, RAN, LM_FAIL_MEMORY, LM_DO_DONE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct lm_outcome got = lm_outcome_of_loss(cases[i].sent, cases[i].status, cases[i].failure);
    CHECK(got.ran == cases[i].ran && got.failure == cases[i].named &&
          got.action == cases[i].action && !got.stops_map);
    CHECK(lm_outcome_retryable(&got, false) == (got.ran == NOT && got.action == LM_DO_RETRY));
    CHECK(lm_outcome_retryable(&got, true) == (got.action == LM_DO_RETRY));
  }
}

/* Without idempotent, no row retries anything that may have run. */
static void
nothing_runs_twice(void)
{
  for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
    const struct expected *row = &replies[i];
    struct lm_outcome got = lm_outcome_of_reply(row->status, false, row->type, strlen(row->type));
    if (got.ran != NOT)
      CHECK(!lm_outcome_retryable(&got, false) &&
            (got.action == LM_DO_DONE || got.action == LM_DO_RETRY));
  }
  for (int status = 100; status < 600; status++) {
    struct lm_outcome got = lm_outcome_of_reply(status, false, "Whatever", 8);
    CHECK(got.ran != RAN && got.failure != LM_FAIL_NONE);
    got = lm_outcome_of_reply(status, true, "Whatever", 8);
    CHECK(got.ran == RAN && !lm_outcome_retryable(&got, true));
  }
}

static void
throttles(void)
{
  static const struct {
    const char *reason;
    enum lm_action action;
  } cases[] = {
      {"ConcurrentInvocationLimitExceeded", LM_DO_THROTTLE},
      {"ReservedFunctionConcurrentInvocationLimitExceeded", LM_DO_THROTTLE},
      {"ConcurrentSnapshotCreateLimitExceeded", LM_DO_THROTTLE},
      {"", LM_DO_THROTTLE},
      {"FunctionInvocationRateLimitExceeded", LM_DO_SLOW_DOWN},
      {"ReservedFunctionInvocationRateLimitExceeded", LM_DO_SLOW_DOWN},
      {"CallerRateLimitExceeded", LM_DO_SLOW_DOWN},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK(lm_outcome_of_throttle(cases[i].reason, strlen(cases[i].reason)) == cases[i].action);
}

int
main(void)
{
  throttles();
  tables();
  losses();
  nothing_runs_twice();
  return 0;
}
