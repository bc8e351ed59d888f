"""What the backends say of a configuration that cannot work: the one place that holds its wording."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lambdamap
from lambdamap import backends, options
from lambdamap.backends import aws, credentials, endpoints, proxies

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"
KEYS = ("A", "S")
PROFILES = (
    "botocore cannot read the profile: The config profile (nobody) could not be found: see `aws "
    "configure list-profiles`"
)


def route(function: str, **given: Any) -> Any:
    return aws.route(options.resolve(function=function, credentials=KEYS, **given), function)


def resolved(**given: Any) -> Any:
    return endpoints.resolve(options.resolve(credentials=KEYS, **given), "us-east-1")


CASES: list[tuple[dict[str, str], Callable[[], object], str]] = [
    ({}, lambda: route("f"), "no AWS region: pass region=, or set AWS_REGION"),
    (
        {},
        lambda: route(ARN, region="us-east-1"),
        "region is 'us-east-1', but the function's ARN is in 'eu-central-1': leave region= out",
    ),
    ({"AWS_REGION": "a b"}, lambda: route("f"), "'a b' is not an AWS region"),
    (
        {"AWS_REGION": "fips us-east-1"},
        lambda: route("f"),
        "'fips us-east-1' is not an AWS region: use the region's own name, and set "
        "AWS_USE_FIPS_ENDPOINT=true",
    ),
    ({}, lambda: route("f", profile="nobody"), PROFILES),
    (
        {"AWS_ENDPOINT_URL": "https://user:secret@host"},
        resolved,
        "endpoint_url must look like https://host[:port], got 'https://...@host'",
    ),
    (
        {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENDPOINT_URL": "https://host"},
        resolved,
        "both endpoint_url and AWS_USE_FIPS_ENDPOINT are set, and the latter is only for AWS's own "
        "endpoints: unset one of them",
    ),
    (
        {"HTTPS_PROXY": "ftp://user:secret@host"},
        lambda: proxies.find("https", "host"),
        "HTTPS_PROXY must look like http://[user:password@]host:port",
    ),
    (
        {"AWS_ACCESS_KEY_ID": "A"},
        lambda: credentials.find(None, None),
        "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not: set both",
    ),
    (
        {
            "AWS_ACCESS_KEY_ID": "A",
            "AWS_SECRET_ACCESS_KEY": "S",
            "AWS_CREDENTIAL_EXPIRATION": "soon",
        },
        lambda: credentials.find(None, None),
        "AWS_CREDENTIAL_EXPIRATION must be a time such as 2026-01-31T12:00:00Z, got 'soon'",
    ),
    (
        {},
        lambda: credentials.find({}, None),
        "credentials must contain access_key and secret_key: pass a mapping, a tuple, or the result "
        "of boto3.Session().get_credentials()",
    ),
    (
        {},
        lambda: credentials.find(("A\n", "S"), None),
        "access_key must be a non-empty string of printable ASCII",
    ),
    (
        {},
        lambda: credentials.find(None, None),
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure` "
        "or `aws sso login` (botocore found no profile, container or instance role either); "
        "backend='local' needs none",
    ),
    (
        {},
        lambda: backends.choose(options.resolve(backend="aws")),
        "backend='aws' needs a function: pass function=, or set LAMBDAMAP_FUNCTION to its name",
    ),
    (
        {"AWS_LAMBDA_FUNCTION_NAME": "mine", "_HANDLER": "app.go"},
        backends.own_function,
        "this code runs in the Lambda function mine, whose handler does not serve lambdamap: add `go = "
        "lambdamap.worker.wrap(go)` after it, or name the function to use with "
        "lambdamap.configure(function=...)",
    ),
]


@pytest.mark.parametrize(("environment", "call", "message"), CASES)
def test_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    call: Callable[[], object],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(lambdamap.ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_a_qualifier_in_two_places() -> None:
    with pytest.raises(lambdamap.ConfigError) as caught:
        route("f:v1", region="us-east-1", qualifier="v2")
    assert str(caught.value) == (
        "qualifier is 'v2', but the function's name ends with :v1: leave one out"
    )


def test_a_file_that_botocore_is_needed_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\nca_bundle = /some/file\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(lambdamap.ConfigError) as caught:
        resolved()
    assert str(caught.value) == (
        "the AWS configuration file sets an endpoint, FIPS, dual-stack or a CA bundle, and reading it "
        "needs botocore: pip install 'lambdamap[aws]', or pass endpoint_url= and ca_bundle="
    )
    with pytest.raises(lambdamap.ConfigError) as caught:
        credentials.find(None, None)
    assert str(caught.value) == (
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or, for profiles, SSO "
        "and roles, install boto3 (pip install 'lambdamap[aws]'); backend='local' needs none"
    )


def test_credentials_are_not_pickled() -> None:
    with pytest.raises(TypeError) as caught:
        pickle.dumps(credentials.Credentials("A", "S", None, None, "argument"))
    assert str(caught.value) == (
        "AWS credentials cannot be pickled: let the other process find its own"
    )


def test_the_local_lambda_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "_said", False)
    with caplog.at_level(logging.WARNING, "lambdamap"):
        for _ in range(2):
            assert backends.choose(options.resolve()) == "local"
    assert caplog.messages == [
        "no Lambda function is configured, so maps run on a local Lambda: set LAMBDAMAP_FUNCTION to "
        "run on AWS, or backend='local' to avoid this warning"
    ]
