"""Creates, updates and deletes the function and its role in an AWS account, through boto3.

Everything created has the tag ``lambdamap``; nothing without it is ever changed or deleted. Errors
of AWS become errors that name the missing permission or the wrong setting.
"""

from __future__ import annotations

import base64
import contextlib
import difflib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lambdamap._version import __version__
from lambdamap.deploy.package import MAX_DIRECT_BYTES, Runtime
from lambdamap.errors import AccessDeniedError, ConfigError, ServiceError

__all__ = ["HANDLER", "Account", "Deployed", "Wanted", "caller_policy"]

HANDLER = "lambdamap.worker.entry.handler"
TAG = "lambdamap"
_DELAY_S = 1.0  # between two polls, also of boto3's waiters
_ROLE_S = 60.0  # until a new role can be assumed
_READY_S = 300.0  # until a function is created or updated
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_BAD_KEYS = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
)
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


class Wanted(NamedTuple):
    """The wanted state of a function."""

    name: str
    runtime: Runtime
    archive: bytes | None  # the zip; None: an image
    image: str | None
    memory_mb: int
    timeout_s: int
    environment: dict[str, str]
    role: str | None  # ARN; None: create one for this function
    bucket: str | None  # for zips that are too large for the API call

    @property
    def digest(self) -> str | None:
        """SHA-256 of the zip in base64, as in Lambda's CodeSha256; None for an image."""
        if self.archive is None:
            return None
        return base64.b64encode(hashlib.sha256(self.archive).digest()).decode()


class Deployed(NamedTuple):
    """The deployed function."""

    arn: str
    region: str
    created: bool
    changed: bool


def caller_policy(arn: str) -> dict[str, Any]:
    """Return the minimal policy for callers: to invoke the function, its versions and aliases."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "lambda:InvokeFunction",
                "Resource": [arn, f"{arn}:*"],
            }
        ],
    }


def _log_policy(partition: str, region: str, account: str, name: str) -> dict[str, Any]:
    """Return the minimal policy for the function itself: to write its log."""
    group = f"arn:{partition}:logs:{region}:{account}:log-group:/aws/lambda/{name}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "logs:CreateLogGroup", "Resource": group},
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": f"{group}:*",
            },
        ],
    }


def check_name(name: str) -> str:
    """Return a function's name, or raise ConfigError if it is malformed or more than a name."""
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"invalid function name {name!r}: use 1 to 64 letters, digits, hyphens and underscores"
        )
    return name


class Account:
    """One account in one region.

    Parameters
    ----------
    region, profile
        None: as boto3 finds them.
    say
        Called with a line for each step that is done.
    wait_s
        Seconds between two polls.

    Raises
    ------
    ConfigError
        boto3 is not installed, the region or profile does not exist, or there are no credentials.
    """

    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        *,
        say: Callable[[str], object] = lambda text: None,
        wait_s: float = _DELAY_S,
    ) -> None:
        try:
            import boto3
            import botocore.exceptions
        except ImportError:
            raise ConfigError("deploying needs boto3: pip install 'lambdamap[aws]'") from None
        self._exceptions = botocore.exceptions
        self._say = say
        self._wait_s = wait_s
        try:
            session = boto3.session.Session(
                profile_name=profile,
                # boto3 itself reads AWS_DEFAULT_REGION only.
                region_name=region or os.environ.get("AWS_REGION"),
            )
        except botocore.exceptions.ProfileNotFound as error:
            raise ConfigError(f"{error}: see `aws configure list-profiles`") from error
        self.region = _checked_region(session)
        self._lambda = session.client("lambda")
        self._iam = session.client("iam")
        self._s3 = session.client("s3")
        with self._refusals("sts:GetCallerIdentity"):
            caller = session.client("sts").get_caller_identity()
        self.account = str(caller["Account"])
        self.partition = str(caller["Arn"]).split(":")[1]

    # --- the whole --------------------------------------------------------------------------------

    def deploy(self, wanted: Wanted) -> Deployed:
        """Create or update the function. Returns when it is ready.

        Raises
        ------
        AccessDeniedError
            The caller lacks a permission; the message names it.
        ConfigError
            A function or role of that name was not created by lambdamap, the zip needs a bucket, or
            AWS rejects a setting.
        ServiceError
            AWS failed, or took too long.
        """
        check_name(wanted.name)
        before = self._find(wanted.name)
        if before is not None:
            self._check_ours(before, wanted)
        role = wanted.role or self._role(wanted.name)
        if before is None:
            arn = self._create(wanted, role)
            self._ready("function_active_v2", wanted.name)
            return Deployed(arn, self.region, created=True, changed=True)
        changed = self._update_code(wanted, before["Configuration"])
        changed |= self._update_configuration(wanted, before["Configuration"], role)
        if not changed:
            self._say(f"{wanted.name} is up to date")
        arn = str(before["Configuration"]["FunctionArn"])
        return Deployed(arn, self.region, created=False, changed=changed)

    def delete(self, name: str) -> None:
        """Delete the function and the role that was created for it. Idempotent.

        Raises
        ------
        ConfigError
            The function was not created by lambdamap.
        AccessDeniedError
            The caller lacks a permission; the message names it.
        """
        check_name(name)
        found = self._find(name)
        if found is None:
            self._say(f"the function {name} does not exist in {self.region}")
        else:
            self._check_tag(found, name)
            with self._refusals("lambda:DeleteFunction"):
                self._lambda.delete_function(FunctionName=name)
            self._say(f"deleted the function {name}")
        self._delete_role(_role_name(name))

    # --- the role ---------------------------------------------------------------------------------

    def _role(self, name: str) -> str:
        """Return the ARN of the function's own role, which is created if it does not exist."""
        role = _role_name(name)
        other = "or pass --role with the ARN of an existing role"
        with self._refusals("iam:GetRole", other):
            found = self._get_role(role)
        if found is None:
            with self._refusals("iam:CreateRole and iam:TagRole", other):
                found = self._iam.create_role(
                    RoleName=role,
                    AssumeRolePolicyDocument=json.dumps(_TRUST),
                    Description=f"Writes the log of the Lambda function {name}",
                    Tags=[{"Key": TAG, "Value": __version__}],
                )["Role"]
            self._say(f"created the role {role}")
        elif not _may_be_assumed(found):
            raise ConfigError(
                f"Lambda may not assume the existing role {role}: allow sts:AssumeRole to "
                "lambda.amazonaws.com in its trust policy, or pass --role with the ARN of another"
            )
        if _is_tagged(found.get("Tags", [])):
            policy = _log_policy(self.partition, self.region, self.account, name)
            with self._refusals("iam:PutRolePolicy", other):
                self._iam.put_role_policy(
                    RoleName=role,
                    PolicyName=f"log-{self.region}",
                    PolicyDocument=json.dumps(policy),
                )
        return str(found["Arn"])

    def _get_role(self, role: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._iam.get_role(RoleName=role)["Role"]
        except self._iam.exceptions.NoSuchEntityException:
            return None
        return found

    def _delete_role(self, role: str) -> None:
        with self._refusals("iam:GetRole"):
            found = self._get_role(role)
        if found is None:
            return
        if not _is_tagged(found.get("Tags", [])):
            self._say(f"kept the role {role}, which was not created by lambdamap")
            return
        with self._refusals("iam:ListRolePolicies"):
            names = self._iam.list_role_policies(RoleName=role)["PolicyNames"]
        own = f"log-{self.region}"
        if own in names:
            with self._refusals("iam:DeleteRolePolicy"):
                self._iam.delete_role_policy(RoleName=role, PolicyName=own)
        if [name for name in names if name != own]:
            self._say(f"kept the role {role}, which has other policies or is used in other regions")
            return
        with self._refusals("iam:DeleteRole"):
            self._iam.delete_role(RoleName=role)
        self._say(f"deleted the role {role}")

    # --- the function -----------------------------------------------------------------------------

    def _find(self, name: str) -> dict[str, Any] | None:
        with self._refusals("lambda:GetFunction"):
            try:
                found: dict[str, Any] = self._lambda.get_function(FunctionName=name)
            except self._lambda.exceptions.ResourceNotFoundException:
                return None
        return found

    def _check_tag(self, found: dict[str, Any], name: str) -> None:
        if TAG not in (found.get("Tags") or {}):
            raise ConfigError(
                f"the function {name} in {self.region} was not created by lambdamap: choose another "
                f"name, or add the tag `{TAG}` to let lambdamap manage it"
            )

    def _check_ours(self, found: dict[str, Any], wanted: Wanted) -> None:
        self._check_tag(found, wanted.name)
        configuration = found["Configuration"]
        kind = configuration.get("PackageType", "Zip")
        if kind != ("Image" if wanted.image else "Zip"):
            raise ConfigError(
                f"{wanted.name} was deployed as {kind.lower()}, and AWS cannot change that: run "
                f"`lambdamap delete {wanted.name}` first, or choose another name"
            )

    def _code(self, wanted: Wanted) -> dict[str, Any]:
        if wanted.image is not None:
            return {"ImageUri": wanted.image}
        assert wanted.archive is not None
        if len(wanted.archive) <= MAX_DIRECT_BYTES and wanted.bucket is None:
            return {"ZipFile": wanted.archive}
        if wanted.bucket is None:
            raise ConfigError(
                f"the zip of {len(wanted.archive) / 2**20:.0f} MB exceeds the 50 MB that AWS accepts "
                f"directly: pass --bucket with an S3 bucket in {self.region}, or --image"
            )
        key = f"lambdamap/{wanted.name}.zip"
        with self._refusals(f"s3:PutObject on {wanted.bucket}/{key}"):
            self._s3.put_object(Bucket=wanted.bucket, Key=key, Body=wanted.archive)
        return {"S3Bucket": wanted.bucket, "S3Key": key}

    def _create(self, wanted: Wanted, role: str) -> str:
        settings: dict[str, Any] = {
            "FunctionName": wanted.name,
            "Role": role,
            "Code": self._code(wanted),
            "MemorySize": wanted.memory_mb,
            "Timeout": wanted.timeout_s,
            "Architectures": [wanted.runtime.architecture],
            "Environment": {"Variables": wanted.environment},
            "Description": "Works for lambdamap",
            "Tags": {TAG: __version__},
        }
        if wanted.image is None:
            settings |= {"PackageType": "Zip", "Runtime": wanted.runtime.name, "Handler": HANDLER}
        else:
            settings["PackageType"] = "Image"
        ends = time.monotonic() + _ROLE_S
        with self._refusals("lambda:CreateFunction, lambda:TagResource and iam:PassRole"):
            while True:
                try:
                    created = self._lambda.create_function(**settings)
                    break
                except self._lambda.exceptions.InvalidParameterValueException as error:
                    # A new role is known everywhere only after some seconds.
                    new = wanted.role is None and "cannot be assumed" in str(error)
                    if not new or time.monotonic() > ends:
                        raise
                    self._say("waiting until the role can be assumed")
                    time.sleep(self._wait_s)
        self._say(f"created the function {wanted.name}")
        return str(created["FunctionArn"])

    def _update_code(self, wanted: Wanted, before: dict[str, Any]) -> bool:
        if wanted.digest is not None and wanted.digest == before.get("CodeSha256"):
            return False
        self._ready("function_updated_v2", wanted.name)
        with self._refusals("lambda:UpdateFunctionCode"):
            self._lambda.update_function_code(
                FunctionName=wanted.name,
                Architectures=[wanted.runtime.architecture],
                **self._code(wanted),
            )
        self._ready("function_updated_v2", wanted.name)
        self._say(f"updated the code of {wanted.name}")
        return True

    def _update_configuration(self, wanted: Wanted, before: dict[str, Any], role: str) -> bool:
        # Variables set by others are kept.
        variables = {**before.get("Environment", {}).get("Variables", {}), **wanted.environment}
        settings: dict[str, Any] = {
            "Role": role,
            "MemorySize": wanted.memory_mb,
            "Timeout": wanted.timeout_s,
            "Environment": {"Variables": variables},
        }
        if wanted.image is None:
            settings |= {"Runtime": wanted.runtime.name, "Handler": HANDLER}
        now = {name: before.get(name) for name in settings}
        now["Environment"] = {"Variables": before.get("Environment", {}).get("Variables", {})}
        if now == settings:
            return False
        self._ready("function_updated_v2", wanted.name)
        with self._refusals("lambda:UpdateFunctionConfiguration and iam:PassRole"):
            self._lambda.update_function_configuration(FunctionName=wanted.name, **settings)
        self._ready("function_updated_v2", wanted.name)
        self._say(f"updated the settings of {wanted.name}")
        return True

    def _ready(self, waiter: str, name: str) -> None:
        """Wait until the function is created or updated.

        Raises
        ------
        ServiceError
            That failed, with AWS's reason, or took longer than five minutes.
        """
        attempts = max(1, int(_READY_S / max(self._wait_s, 0.01)))
        with self._refusals("lambda:GetFunction"):
            try:
                self._lambda.get_waiter(waiter).wait(
                    FunctionName=name,
                    WaiterConfig={"Delay": self._wait_s, "MaxAttempts": attempts},
                )
            except self._exceptions.WaiterError as error:
                last = error.last_response.get("Configuration", {})
                reason = last.get("StateReason") or last.get("LastUpdateStatusReason") or str(error)
                raise ServiceError(
                    f"{name} did not become ready ({reason}): run the command again, or check the "
                    "function in the AWS console"
                ) from error

    # --- errors of AWS ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _refusals(self, permission: str, otherwise: str = "") -> Iterator[None]:
        """Convert exceptions of boto3 to errors with a remedy.

        permission: what the calls in this block need. otherwise: an alternative to it.
        """
        exceptions = self._exceptions
        try:
            yield
        except exceptions.ClientError as error:
            raise self._explained(error, permission, otherwise) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise ConfigError(
                f"{error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass --profile"
            ) from error
        except exceptions.EndpointConnectionError as error:
            raise ConfigError(
                f"{error} Check the network and the region ({self.region})"
            ) from error
        except (exceptions.BotoCoreError, exceptions.HTTPClientError) as error:
            raise ServiceError(f"{permission} failed: {error}: run the command again") from error

    def _explained(self, error: Any, permission: str, otherwise: str) -> ConfigError | ServiceError:
        code = error.response.get("Error", {}).get("Code", "")
        text = error.response.get("Error", {}).get("Message", "")
        if code in _DENIED:
            named = re.search(r"to perform: ([a-z0-9]+:[A-Za-z]+)", text)
            lacking = named[1] if named else permission
            hint = f", {otherwise}" if otherwise else ""
            return AccessDeniedError(
                f"missing permission {lacking}: add it to the caller's policy{hint} ({text})"
            )
        if code in _BAD_KEYS:
            return AccessDeniedError(
                f"AWS rejected the credentials ({code}: {text}): check the keys, the clock of this "
                f"machine, and that {self.region} is enabled for the account"
            )
        if code in ("ResourceConflictException", "TooManyRequestsException", "Throttling"):
            return ServiceError(f"AWS is busy with another request ({text}): run the command again")
        if code == "NoSuchBucket":
            return ConfigError(f"{text}: --bucket must name an S3 bucket in {self.region}")
        if code == "ResourceNotFoundException":
            return ConfigError(f"{text}: check --region ({self.region}), --role and --image")
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
            return ConfigError(f"AWS rejected {error.operation_name}: {code}: {text}")
        return ServiceError(
            f"AWS failed in {error.operation_name} ({code}: {text}): run the command again"
        )


# --- helpers --------------------------------------------------------------------------------------


def _role_name(function: str) -> str:
    """Return the name of a function's role, in the 64 characters that IAM allows."""
    name = f"lambdamap-{function}"
    if len(name) <= 64:
        return name
    return f"{name[:55]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _is_tagged(tags: list[dict[str, str]]) -> bool:
    return any(tag.get("Key") == TAG for tag in tags)


def _may_be_assumed(role: dict[str, Any]) -> bool:
    """Return whether the trust policy of a role mentions Lambda."""
    policy = role.get("AssumeRolePolicyDocument") or {}
    return "lambda.amazonaws.com" in json.dumps(policy)


def _checked_region(session: Any) -> str:
    region = session.region_name
    if not region:
        raise ConfigError("no AWS region: pass --region, or set AWS_REGION or AWS_DEFAULT_REGION")
    known = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("lambda", partition)
    ]
    if region in known:
        return str(region)
    near = difflib.get_close_matches(region, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"unknown AWS region {region!r}{hint}")
