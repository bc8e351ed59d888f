#include "policy/outcome.h"

#include <string.h>

#define NOT LM_RAN_NOT
#define MAYBE LM_RAN_MAYBE
#define YES LM_RAN_YES

struct rule {
  int status;       /* 0: any */
  const char *type; /* AWS's error type, without a trailing "Exception"; NULL: any */
  struct lm_outcome outcome;
};

/* Invoke's API errors. The Invoke API promises that a handler did not run when it answers one of
 * its own error types; an answer of 500 to 504 without one comes from something in between. The
 * first rule that fits counts. */
static const struct rule API[] = {
    {400, "RecursiveInvocation", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {400, "ExpiredToken", {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true}},
    {400, NULL, {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {401, NULL, {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true}},
    {403, "ExpiredToken", {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true}},
    {403, "InvalidSignature", {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true}},
    {403, "SignatureDoesNotMatch", {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true}},
    {403, "RequestTimeTooSkewed", {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_RESIGN, true}},
    {403, "EFSMountFailure", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {403, "S3FilesMountFailure", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {403, NULL, {NOT, LM_FAIL_ACCESS_DENIED, LM_DO_DONE, true}},
    {404, NULL, {NOT, LM_FAIL_FUNCTION_NOT_FOUND, LM_DO_DONE, true}},
    {407, NULL, {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {408, NULL, {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {409, "DurableExecutionAlreadyStarted", {YES, LM_FAIL_SERVICE, LM_DO_DONE, false}},
    {409, NULL, {NOT, LM_FAIL_SERVICE, LM_DO_POLL, true}},
    {410, NULL, {MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {413, NULL, {NOT, LM_FAIL_TOO_LARGE, LM_DO_SPLIT, false}},
    {415, NULL, {NOT, LM_FAIL_PROTOCOL, LM_DO_DONE, true}},
    {429, NULL, {NOT, LM_FAIL_THROTTLED, LM_DO_THROTTLE, false}},
    {500, "Service", {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {502, "EC2Throttled", {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {502, "EC2Unexpected", {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {502, "SubnetIPAddressLimitReached", {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {502, "ENILimitReached", {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {502, "ResourceNotReady", {NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}},
    {502, "EC2AccessDenied", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "InvalidRuntime", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "InvalidZipFile", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "InvalidSecurityGroupID", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "InvalidSubnetID", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "KMSAccessDenied", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "KMSDisabled", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "KMSInvalidState", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
    {502, "KMSNotFound", {NOT, LM_FAIL_CONFIG, LM_DO_DONE, true}},
};

/* What the platform says of a handler that did not answer by itself: X-Amz-Function-Error, and
 * errorType in the body. */
static const struct rule FUNCTION[] = {
    {0, "Sandbox.Timedout", {YES, LM_FAIL_WORKER_TIMEOUT, LM_DO_DONE, false}},
    {0, "Runtime.ExitError", {YES, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false}},
    {0, "Runtime.OutOfMemory", {YES, LM_FAIL_WORKER_CRASHED, LM_DO_DONE, false}},
    {0, "Function.ResponseSizeTooLarge", {YES, LM_FAIL_TOO_LARGE, LM_DO_DONE, false}},
    {0, "Runtime.MarshalError", {YES, LM_FAIL_PROTOCOL, LM_DO_DONE, false}},
    {0, "Runtime.ImportModuleError", {NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true}},
    {0, "Runtime.HandlerNotFound", {NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true}},
    {0, "Runtime.UserCodeSyntaxError", {NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true}},
    {0, "Runtime.MalformedHandlerName", {NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true}},
    {0, "Runtime.InvalidEntrypoint", {NOT, LM_FAIL_WORKER_INIT, LM_DO_DONE, true}},
    {0, NULL, {YES, LM_FAIL_REMOTE, LM_DO_DONE, false}},
};

static bool
same_type(const char *rule, const char *type, size_t len)
{
  static const char suffix[] = "Exception";
  size_t n = strlen(rule), extra = sizeof suffix - 1;
  if (len == n + extra && memcmp(type + n, suffix, extra) == 0)
    len = n;
  return len == n && memcmp(rule, type, n) == 0;
}

static const struct lm_outcome *
find(const struct rule *rules, size_t n, int status, const char *type, size_t len)
{
  for (size_t i = 0; i < n; i++)
    if ((rules[i].status == 0 || rules[i].status == status) &&
        (rules[i].type == NULL || same_type(rules[i].type, type, len)))
      return &rules[i].outcome;
  return NULL;
}

struct lm_outcome
lm_outcome_of_reply(int status, bool function_error, const char *error_type, size_t error_type_len)
{
  if (function_error)
    return *find(FUNCTION, sizeof FUNCTION / sizeof FUNCTION[0], 0, error_type, error_type_len);
  const struct lm_outcome *known =
      find(API, sizeof API / sizeof API[0], status, error_type, error_type_len);
  if (known != NULL)
    return *known;
  if (status >= 500 && status <= 599)
    return error_type_len > 0 ? (struct lm_outcome){NOT, LM_FAIL_SERVICE, LM_DO_RETRY, false}
                              : (struct lm_outcome){MAYBE, LM_FAIL_SERVICE, LM_DO_RETRY, false};
  if (status >= 400 && status <= 499)
    return (struct lm_outcome){NOT, LM_FAIL_SERVICE, LM_DO_DONE, true};
  return (struct lm_outcome){MAYBE, LM_FAIL_PROTOCOL, LM_DO_DONE, true};
}

struct lm_outcome
lm_outcome_of_unmarked(const char *error_type, size_t error_type_len)
{
  if (error_type_len > 0)
    return *find(FUNCTION, sizeof FUNCTION / sizeof FUNCTION[0], 0, error_type, error_type_len);
  return (struct lm_outcome){YES, LM_FAIL_PROTOCOL, LM_DO_DONE, true};
}

struct lm_outcome
lm_outcome_of_loss(bool sent, int status, enum lm_failure failure)
{
  struct lm_outcome outcome = {NOT, failure, LM_DO_RETRY, false};
  if (status == 200) {
    outcome.ran = YES;
    if (failure == LM_FAIL_CONNECT || failure == LM_FAIL_CONNECTION_LOST)
      outcome.failure = LM_FAIL_PROTOCOL;
  } else if (sent) {
    outcome.ran = MAYBE;
    if (failure == LM_FAIL_CONNECT)
      outcome.failure = LM_FAIL_CONNECTION_LOST;
  } else if (failure == LM_FAIL_CONNECTION_LOST) {
    outcome.failure = LM_FAIL_CONNECT;
  }
  return outcome;
}

bool
lm_outcome_retryable(const struct lm_outcome *outcome, bool idempotent)
{
  return outcome->action == LM_DO_RETRY && (outcome->ran == NOT || idempotent);
}
