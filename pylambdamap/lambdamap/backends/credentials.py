"""AWS credentials: from the environment directly, from all other sources through botocore.

Lambda functions and CI jobs get their keys in the environment, and reading it imports nothing.
botocore, which handles profiles, SSO, containers and instance roles, is called on the calling thread,
and only if the environment contains no keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from lambdamap.errors import ConfigError

__all__ = ["Credentials", "find"]


class Credentials(NamedTuple):
    """One key pair with its token. Neither `repr` nor errors show the secret or the token."""

    access_key: str
    secret_key: str
    token: str | None
    expires_at: float | None  # seconds since 1970
    source: str

    def __reduce__(self) -> NoReturn:
        raise TypeError("AWS credentials cannot be pickled: let the other process find its own")

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r}, source={self.source!r})"


def _clean(value: object, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise ConfigError(f"{name} must be a non-empty string of printable ASCII")
    return value.strip()


def _explicit(given: Any) -> Credentials:
    if isinstance(given, Mapping):
        get = given.get
        access = get("access_key") or get("aws_access_key_id") or get("AccessKeyId")
        secret = get("secret_key") or get("aws_secret_access_key") or get("SecretAccessKey")
        token = get("token") or get("aws_session_token") or get("SessionToken")
    elif isinstance(given, tuple) and len(given) in (2, 3):
        access, secret, token = (*given, None)[:3]
    else:
        frozen = (
            given.get_frozen_credentials() if hasattr(given, "get_frozen_credentials") else given
        )
        access = getattr(frozen, "access_key", None)
        secret = getattr(frozen, "secret_key", None)
        token = getattr(frozen, "token", None)
    if not access or not secret:
        raise ConfigError(
            "credentials must contain access_key and secret_key: pass a mapping, a tuple, or the "
            "result of boto3.Session().get_credentials()"
        )
    return Credentials(
        _clean(access, "access_key"),
        _clean(secret, "secret_key"),
        _clean(token, "token") if token else None,
        _expiry(given),
        "argument",
    )


def _expiry(found: Any) -> float | None:
    """Return when botocore's refreshable credentials expire, in seconds since 1970."""
    time = getattr(found, "_expiry_time", None)
    return time.timestamp() if time is not None else None


def _environment_expiry() -> float | None:
    text = os.environ.get("AWS_CREDENTIAL_EXPIRATION")
    if not text:
        return None
    from datetime import datetime, timezone

    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ConfigError(
            f"AWS_CREDENTIAL_EXPIRATION must be a time such as 2026-01-31T12:00:00Z, got {text!r}"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def _environment() -> Credentials | None:
    access = os.environ.get("AWS_ACCESS_KEY_ID")
    if not access:
        return None
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not secret:
        raise ConfigError("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not: set both")
    token = os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN")
    return Credentials(
        _clean(access, "AWS_ACCESS_KEY_ID"),
        _clean(secret, "AWS_SECRET_ACCESS_KEY"),
        _clean(token, "AWS_SESSION_TOKEN") if token else None,
        _environment_expiry(),
        "environment",
    )


def _botocore(profile: str | None) -> Credentials:
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        raise ConfigError(
            "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or, for profiles, "
            "SSO and roles, install boto3 (pip install 'lambdamap[aws]'); backend='local' needs none"
        ) from None
    try:
        found = botocore.session.Session(profile=profile).get_credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except botocore.exceptions.ProfileNotFound as error:
        raise ConfigError(f"{error}: see `aws configure list-profiles`") from error
    except botocore.exceptions.BotoCoreError as error:
        raise ConfigError(f"botocore cannot find AWS credentials: {error}") from error
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise ConfigError(
            "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws "
            "configure` or `aws sso login` (botocore found no profile, container or instance role "
            "either); backend='local' needs none"
        )
    return Credentials(
        frozen.access_key,
        frozen.secret_key,
        frozen.token,
        _expiry(found),
        f"botocore ({getattr(found, 'method', 'unknown')})",
    )


def find(given: Any, profile: str | None) -> Credentials:
    """Return the credentials for one map.

    Parameters
    ----------
    given
        The ``credentials`` option, or None.
    profile
        The ``profile`` option, or None; with a profile, the environment's keys are ignored.

    Raises
    ------
    ConfigError
        There are none, or they are malformed.
    """
    if given is not None:
        return _explicit(given)
    if profile is None and (found := _environment()) is not None:
        return found
    return _botocore(profile)
