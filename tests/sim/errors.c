#include "errors.h"

#include "fiber.h"

#define EMPTY "(empty)" /* neither a type nor a body */
#define OTHER NULL      /* any type without a row of its own, or none */

/* The chunk is refused; others may not be. */
static const struct sim_error refuses[] = {
    {0, "TooManyRequests", SIM_NEVER},
    {0, "Throttling", SIM_NEVER},
    {0, "Throttled", SIM_NEVER},
    {0, "RequestThrottled", SIM_NEVER},
    {0, "RequestLimitExceeded", SIM_NEVER},
    {429, OTHER, SIM_NEVER},
    {400, "Runtime.Unavailable", SIM_NEVER},
    {400, "Client.InitIncomplete", SIM_NEVER},
    {400, EMPTY, SIM_NEVER},
    {400, "InvalidRequestContent", SIM_NEVER},
    {409, "DurableExecutionAlreadyStarted", SIM_NEVER},
    {413, "RequestTooLarge", SIM_NEVER},
    {413, "SerializedRequestEntityTooLarge", SIM_NEVER},
    {413, OTHER, SIM_NEVER},
    {408, "EFSMountConnectivity", SIM_NEVER},
    {408, "EFSMountTimeout", SIM_NEVER},
    {408, "S3FilesMountConnectivity", SIM_NEVER},
    {408, "S3FilesMountTimeout", SIM_NEVER},
    {408, "SnapStartTimeout", SIM_NEVER},
    {500, "Service", SIM_NEVER},
    {502, "EC2Throttled", SIM_NEVER},
    {502, "EC2Unexpected", SIM_NEVER},
    {502, "SubnetIPAddressLimitReached", SIM_NEVER},
    {502, "ENILimitReached", SIM_NEVER},
};

/* The function is not ready yet. */
static const struct sim_error polls[] = {
    {409, "ResourceConflict", SIM_NEVER},
    {409, "SnapStartNotReady", SIM_NEVER},
    {409, "SnapStartRegenerationFailure", SIM_NEVER},
    {409, "CodeArtifactUserPending", SIM_NEVER},
    {409, "CodeArtifactUserDeleted", SIM_NEVER},
    {502, "ENINotReady", SIM_NEVER},
    {502, "ResourceNotReady", SIM_NEVER},
};

/* A failure outside the function, or before or after it ran. */
static const struct sim_error may_run[] = {
    {408, OTHER, SIM_PERHAPS}, {410, "EFSIO", SIM_PERHAPS}, {410, OTHER, SIM_PERHAPS},
    {501, OTHER, SIM_PERHAPS}, {503, OTHER, SIM_PERHAPS},   {504, OTHER, SIM_PERHAPS},
    {599, OTHER, SIM_PERHAPS},
};

/* The same for every chunk. */
static const struct sim_error ends[] = {
    {0, "ExpiredToken", SIM_NEVER},
    {0, "InvalidSignature", SIM_NEVER},
    {0, "SignatureDoesNotMatch", SIM_NEVER},
    {0, "RequestTimeTooSkewed", SIM_NEVER},
    {0, "RequestExpired", SIM_NEVER},
    {0, "RequestInTheFuture", SIM_NEVER},
    {400, "InvalidParameterValue", SIM_NEVER},
    {400, "NoPublishedVersion", SIM_NEVER},
    {400, "ModeNotSupported", SIM_NEVER},
    {400, "RecursiveInvocation", SIM_NEVER},
    {400, "SnapStart", SIM_NEVER},
    {400, OTHER, SIM_NEVER},
    {401, OTHER, SIM_NEVER},
    {402, "ServiceQuotaExceeded", SIM_NEVER},
    {402, OTHER, SIM_NEVER},
    {403, "EFSMountFailure", SIM_NEVER},
    {403, "S3FilesMountFailure", SIM_NEVER},
    {403, OTHER, SIM_NEVER},
    {404, "ResourceNotFound", SIM_NEVER},
    {404, OTHER, SIM_NEVER},
    {407, OTHER, SIM_NEVER},
    {415, "UnsupportedMediaType", SIM_NEVER},
    {415, OTHER, SIM_NEVER},
    {409, "CodeArtifactUserFailed", SIM_NEVER},
    {409, "RuntimeAliasDeleted", SIM_NEVER},
    {409, "RuntimeVersionDeleted", SIM_NEVER},
    {409, OTHER, SIM_NEVER},
    {502, "EC2AccessDenied", SIM_NEVER},
    {502, "InvalidRuntime", SIM_NEVER},
    {502, "InvalidZipFile", SIM_NEVER},
    {502, "InvalidSecurityGroupID", SIM_NEVER},
    {502, "InvalidSubnetID", SIM_NEVER},
    {502, "KMSAccessDenied", SIM_NEVER},
    {502, "KMSDisabled", SIM_NEVER},
    {502, "KMSInvalidState", SIM_NEVER},
    {502, "KMSNotFound", SIM_NEVER},
    {301, OTHER, SIM_NEVER},
    {302, OTHER, SIM_NEVER},
    {307, OTHER, SIM_NEVER},
    {308, OTHER, SIM_NEVER},
    {418, OTHER, SIM_NEVER},
    {451, OTHER, SIM_NEVER},
    {201, OTHER, SIM_PERHAPS},
    {204, EMPTY, SIM_PERHAPS},
    {304, EMPTY, SIM_PERHAPS},
};

/* Function errors after the function was called. */
static const struct sim_error raises[] = {
    {0, "Sandbox.Timedout", SIM_ALWAYS},
    {0, "Sandbox.Timeout", SIM_ALWAYS},
    {0, "Runtime.ExitError", SIM_ALWAYS},
    {0, "Runtime.OutOfMemory", SIM_ALWAYS},
    {0, "Runtime.Unknown", SIM_ALWAYS},
    {0, "Function.Unknown", SIM_ALWAYS},
    {0, "Sandbox.Failure", SIM_ALWAYS},
    {0, "Extension.Crash", SIM_ALWAYS},
    {0, "Extension.ExitError", SIM_ALWAYS},
    {0, "Function.ResponseSizeTooLarge", SIM_ALWAYS},
    {0, "Runtime.MarshalError", SIM_ALWAYS},
    {0, "Runtime.TruncatedResponse", SIM_ALWAYS},
    {0, "Runtime.InvalidResponseModeHeader", SIM_ALWAYS},
    {0, OTHER, SIM_ALWAYS},
};

/* Function errors before that: the same for every chunk. */
static const struct sim_error ends_by_error[] = {
    {0, "Runtime.ImportModuleError", SIM_NEVER},
    {0, "Runtime.HandlerNotFound", SIM_NEVER},
    {0, "Runtime.UserCodeSyntaxError", SIM_NEVER},
    {0, "Runtime.MalformedHandlerName", SIM_NEVER},
    {0, "Runtime.BuiltInModuleConflict", SIM_NEVER},
    {0, "Runtime.BeforeSnapshotError", SIM_NEVER},
    {0, "Runtime.AfterRestoreError", SIM_NEVER},
    {0, "Runtime.InvalidEntrypoint", SIM_NEVER},
    {0, "Runtime.InvalidWorkingDir", SIM_NEVER},
    {0, "Runtime.InvalidTaskConfig", SIM_NEVER},
    {0, "Extension.InitError", SIM_NEVER},
    {0, "Extension.LaunchError", SIM_NEVER},
    {0, "Runtime.UnmarshalError", SIM_NEVER},
    {0, "Runtime.LambdaContextUnmarshalError", SIM_NEVER},
};

#define GROUP(rows)                                                                                \
  {                                                                                                \
    rows, sizeof(rows) / sizeof(rows)[0]                                                           \
  }

static const struct {
  const struct sim_error *rows;
  size_t n;
} groups[] = {
    [SIM_REFUSES] = GROUP(refuses), [SIM_POLLS] = GROUP(polls),
    [SIM_MAY_RUN] = GROUP(may_run), [SIM_ENDS] = GROUP(ends),
    [SIM_RAISES] = GROUP(raises),   [SIM_ENDS_BY_ERROR] = GROUP(ends_by_error),
};

const struct sim_error *
sim_any_error(enum sim_errors group)
{
  return &groups[group].rows[sim_below(groups[group].n)];
}
