"""The AWS account's side of a deployment, through boto3: the role, the function, and their end.

Everything that is made carries the tag ``lambdamap``; what does not carry it is never changed or
deleted. Each refusal of AWS's becomes an error that names the permission or the setting.
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
_DELAY_S = 1.0  # between two looks; the waiters' too
_ROLE_S = 60.0  # until a new role can be assumed
_READY_S = 300.0
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
    """What a function is to be."""

    name: str
    runtime: Runtime
    archive: bytes | None  # the zip; None: an image
    image: str | None
    memory_mb: int
    timeout_s: int
    environment: dict[str, str]
    role: str | None  # ARN; None: one of its own is made
    bucket: str | None  # for zips that are too large for the call

    @property
    def digest(self) -> str | None:
        """As Lambda's CodeSha256."""
        if self.archive is None:
            return None
        return base64.b64encode(hashlib.sha256(self.archive).digest()).decode()


class Deployed(NamedTuple):
    """The function that is there now."""

    arn: str
    region: str
    created: bool
    changed: bool


def caller_policy(arn: str) -> dict[str, Any]:
    """The least that whoever calls the function needs: itself, its versions and aliases."""
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
    """The least that the function itself needs: its own log."""
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
    """Raise ConfigError unless it can be a function's plain name."""
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"a function's name has 1 to 64 letters, digits, - and _; {name!r} cannot be one"
        )
    return name


class Account:
    """One account in one region.

    Parameters
    ----------
    region, profile
        As boto3 finds them when None.
    say
        Is called with each thing that is done.
    wait_s
        Between two looks at something that is not ready.

    Raises
    ------
    ConfigError
        boto3 is not installed, or there is no such region or profile, or no credentials.
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
            raise ConfigError(
                "this needs boto3: pip install boto3 (or lambdamap with its extra [aws])"
            ) from None
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
        """Create the function, or make the one that is there be as wanted; returns when it is ready.

        Raises
        ------
        AccessDeniedError
            The caller lacks a permission, which is named.
        ConfigError
            Something is in the way: a function or role of that name that lambdamap did not make, a
            zip that needs a bucket, a setting that AWS does not take.
        ServiceError
            AWS did not do what it was asked to, or not in time.
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
            self._say(f"{wanted.name} is so already")
        arn = str(before["Configuration"]["FunctionArn"])
        return Deployed(arn, self.region, created=False, changed=changed)

    def delete(self, name: str) -> None:
        """Delete the function and the role that were made for it. Idempotent.

        Raises
        ------
        ConfigError
            lambdamap did not make that function.
        AccessDeniedError
            The caller lacks a permission, which is named.
        """
        check_name(name)
        found = self._find(name)
        if found is None:
            self._say(f"there is no function {name} in {self.region}")
        else:
            self._check_tag(found, name)
            with self._refusals("lambda:DeleteFunction"):
                self._lambda.delete_function(FunctionName=name)
            self._say(f"deleted the function {name}")
        self._delete_role(_role_name(name))

    # --- the role ---------------------------------------------------------------------------------

    def _role(self, name: str) -> str:
        """The ARN of the function's own role, made if it is not there."""
        role = _role_name(name)
        with self._refusals("iam:GetRole", "pass --role with the ARN of a role that is there"):
            found = self._get_role(role)
        if found is None:
            with self._refusals(
                "iam:CreateRole and iam:TagRole", "or pass --role with the ARN of one"
            ):
                found = self._iam.create_role(
                    RoleName=role,
                    AssumeRolePolicyDocument=json.dumps(_TRUST),
                    Description=f"Writes the log of the Lambda function {name}",
                    Tags=[{"Key": TAG, "Value": __version__}],
                )["Role"]
            self._say(f"made the role {role}")
        elif not _may_be_assumed(found):
            raise ConfigError(
                f"the role {role} is there and Lambda may not assume it: allow sts:AssumeRole to "
                "lambda.amazonaws.com in its trust policy, or pass --role with the ARN of another"
            )
        if _is_tagged(found.get("Tags", [])):
            policy = _log_policy(self.partition, self.region, self.account, name)
            with self._refusals("iam:PutRolePolicy", "or pass --role with the ARN of a role"):
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
            self._say(f"left the role {role}, which lambdamap did not make")
            return
        with self._refusals("iam:ListRolePolicies"):
            names = self._iam.list_role_policies(RoleName=role)["PolicyNames"]
        own = f"log-{self.region}"
        if own in names:
            with self._refusals("iam:DeleteRolePolicy"):
                self._iam.delete_role_policy(RoleName=role, PolicyName=own)
        if [name for name in names if name != own]:
            self._say(f"left the role {role}, which has other policies or serves other regions")
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
                f"there is a function {name} in {self.region} that lambdamap did not make: choose "
                f"another name, or tag that one `{TAG}` if it is to be lambdamap's"
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
                f"the zip has {len(wanted.archive) / 2**20:.0f} MB and AWS takes 50 MB with the "
                f"call: pass --bucket with an S3 bucket in {self.region} to send it through, or "
                "--image"
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
                    # A role is known everywhere only seconds after it was made.
                    new = wanted.role is None and "cannot be assumed" in str(error)
                    if not new or time.monotonic() > ends:
                        raise
                    self._say("waiting until the role can be assumed")
                    time.sleep(self._wait_s)
        self._say(f"made the function {wanted.name}")
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
        self._say(f"changed the code of {wanted.name}")
        return True

    def _update_configuration(self, wanted: Wanted, before: dict[str, Any], role: str) -> bool:
        # Variables that somebody else has set stay.
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
        self._say(f"changed the settings of {wanted.name}")
        return True

    def _ready(self, waiter: str, name: str) -> None:
        """Wait until what was asked for is done.

        Raises
        ------
        ServiceError
            It failed, with AWS's reason, or took longer than five minutes.
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
                    f"{name} does not become ready: {reason}. Run the command again, or look at the "
                    "function in the AWS console"
                ) from error

    # --- AWS's refusals ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _refusals(self, permission: str, otherwise: str = "") -> Iterator[None]:
        """Turn what boto3 raises into what the caller can do about it."""
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
            raise ServiceError(f"{permission} could not be asked for: {error}") from error

    def _explained(self, error: Any, permission: str, otherwise: str) -> ConfigError | ServiceError:
        code = error.response.get("Error", {}).get("Code", "")
        text = error.response.get("Error", {}).get("Message", "")
        if code in _DENIED:
            named = re.search(r"to perform: ([a-z0-9]+:[A-Za-z]+)", text)
            lacking = named[1] if named else permission
            hint = f", {otherwise}" if otherwise else ""
            return AccessDeniedError(
                f"the permission {lacking} is missing: have it added to the caller's policy{hint} "
                f"({text})"
            )
        if code in _BAD_KEYS:
            return AccessDeniedError(
                f"AWS does not accept these credentials ({code}: {text}): check the keys, the clock "
                f"of this machine, and that {self.region} is enabled for the account"
            )
        if code in ("ResourceConflictException", "TooManyRequestsException", "Throttling"):
            return ServiceError(f"AWS is busy with something else of this ({text}): run it again")
        if code == "NoSuchBucket":
            return ConfigError(f"{text}: --bucket must name an S3 bucket in {self.region}")
        if code == "ResourceNotFoundException":
            return ConfigError(f"{text}: check --region ({self.region}), --role and --image")
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
            return ConfigError(f"AWS refuses {error.operation_name}: {code}: {text}")
        return ServiceError(f"AWS failed at {error.operation_name} ({code}: {text}): run it again")


# --- small parts ----------------------------------------------------------------------------------


def _role_name(function: str) -> str:
    """IAM takes 64 characters, as many as a function's name may have."""
    name = f"lambdamap-{function}"
    if len(name) <= 64:
        return name
    return f"{name[:55]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _is_tagged(tags: list[dict[str, str]]) -> bool:
    return any(tag.get("Key") == TAG for tag in tags)


def _may_be_assumed(role: dict[str, Any]) -> bool:
    """Whether Lambda may take the role, as far as its trust policy is plain to read."""
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
    raise ConfigError(f"there is no AWS region {region} that boto3 knows{hint}")
