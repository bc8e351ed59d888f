"""What deploying says of what cannot work: the one place that holds its wording."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from lambdamap.deploy import account, elf, package, wheels
from lambdamap.deploy.image import dockerfile
from lambdamap.errors import AccessDeniedError, ConfigError, ServiceError

HERE = package.Runtime.here()
OTHER = package.Runtime("3.12" if HERE.python != "3.12" else "3.13", "arm64")
REGION = "eu-central-1"
WHEEL = "--wheel with lambdamap's wheel for the function's Python (./dev wheel makes one)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: package.Runtime.of("3.9", None),
            "the runtime must be python3.10 or later, got '3.9'",
        ),
        (
            lambda: package.Runtime.of(None, "mips"),
            "the architecture must be x86_64 or arm64, got 'mips'",
        ),
        (
            lambda: account.check_name("a b"),
            "invalid function name 'a b': use 1 to 64 letters, digits, hyphens and underscores",
        ),
        (
            lambda: dockerfile(package.Runtime("3.11", "x86_64")),
            "the image of python3.11 has glibc 2.26, but lambdamap's wheel needs 2.34: pass --runtime "
            "python3.12 or later",
        ),
        (
            lambda: wheels.pack_installed("not_there", Path()),
            "the worker needs not_there, which is not installed here: pip install not_there",
        ),
    ],
)
def test_what_cannot_be_deployed(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-name.py").write_text("")
    binary = tmp_path / f"binary{EXTENSION_SUFFIXES[0]}"
    binary.write_text("")
    for name, message in (
        (
            "not_there.inner",
            f"no module not_there in {tmp_path} or on sys.path: pass --module with an import name or a "
            "path",
        ),
        (
            "binary",
            f"binary is not Python source ({binary}): only modules with source can be packed",
        ),
        ("no-name.py", "no-name.py cannot be imported: its name is not a Python identifier"),
    ):
        with pytest.raises(ConfigError) as caught:
            package.find_module(name)
        assert str(caught.value) == message


def test_a_package_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "huge").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(package, "MAX_UNZIPPED_BYTES", 1)
    with pytest.raises(ConfigError) as caught:
        package.check_size(tmp_path)
    assert str(caught.value) == (
        "the package of 3 MB exceeds Lambda's limit of 250 MB unzipped; the largest parts are huge 3 "
        "MB: remove what the function does not import, or deploy a container image of up to 10 GB "
        "(`lambdamap dockerfile`, then --image URI)"
    )


def test_wheels(tmp_path: Path) -> None:
    file = tmp_path / "no.whl"
    file.write_text("")
    with pytest.raises(ConfigError) as caught:
        wheels.pack_lambdamap(tmp_path / "a", OTHER, file, print)
    assert str(caught.value) == f"{file} is not a wheel: File is not a zip file"
    with pytest.raises(ConfigError) as caught:
        wheels.pack_lambdamap(tmp_path / "b", OTHER, None, print)
    assert str(caught.value) == (
        f"the function runs {OTHER.name} on arm64, but this installation of lambdamap is for Python "
        f"{HERE.python} on {sys.platform} {HERE.architecture}: pass {WHEEL}, run deploy with the "
        "function's Python, or use --image"
    )


def test_libraries(tmp_path: Path) -> None:
    library = tmp_path / f"_net{OTHER.extension}"
    assert OTHER.obstacle(tmp_path, "_net") == f"_net is missing for {OTHER.name} on arm64"
    library.write_bytes(b"text")
    assert OTHER.obstacle(tmp_path, "_net") == (
        f"_net is not a library: {library.name} is not a 64-bit ELF file"
    )
    library.write_bytes(b"\x7fELF\x02\x01" + struct.pack("<B", 0))
    with pytest.raises(ValueError, match="is damaged"):
        elf.needs_of(library)


class _Account(account.Account):
    """One that has asked AWS nothing yet."""

    def __init__(self) -> None:
        self.region = REGION
        self._exceptions = botocore.exceptions


def refusal(code: str, text: str, status: int = 400) -> Exception:
    response: Any = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return botocore.exceptions.ClientError(response, "CreateFunction")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            refusal("AccessDenied", "user is not authorized to perform: iam:GetRole on x"),
            AccessDeniedError,
            "missing permission iam:GetRole: add it to the caller's policy, or pass --role (user is not "
            "authorized to perform: iam:GetRole on x)",
        ),
        (
            refusal("AccessDenied", "no"),
            AccessDeniedError,
            "missing permission iam:CreateRole: add it to the caller's policy, or pass --role (no)",
        ),
        (
            refusal("ExpiredToken", "too old"),
            AccessDeniedError,
            "AWS rejected the credentials (ExpiredToken: too old): check the keys, the clock of this "
            "machine, and that eu-central-1 is enabled for the account",
        ),
        (
            refusal("Throttling", "slow down"),
            ServiceError,
            "AWS is busy with another request (slow down): run the command again",
        ),
        (
            refusal("NoSuchBucket", "no bucket"),
            ConfigError,
            "no bucket: --bucket must name an S3 bucket in eu-central-1",
        ),
        (
            refusal("ResourceNotFoundException", "no image"),
            ConfigError,
            "no image: check --region (eu-central-1), --role and --image",
        ),
        (
            refusal("InvalidParameterValueException", "bad"),
            ConfigError,
            "AWS rejected CreateFunction: InvalidParameterValueException: bad",
        ),
        (
            refusal("ServiceException", "oops", 500),
            ServiceError,
            "AWS failed in CreateFunction (ServiceException: oops): run the command again",
        ),
        (
            botocore.exceptions.NoCredentialsError(),
            ConfigError,
            "Unable to locate credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass "
            "--profile",
        ),
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"),
            ConfigError,
            'Could not connect to the endpoint URL: "https://x" Check the network and the region '
            "(eu-central-1)",
        ),
        (
            botocore.exceptions.ReadTimeoutError(endpoint_url="https://x"),
            ServiceError,
            'iam:CreateRole failed: Read timeout on endpoint URL: "https://x": run the command again',
        ),
    ],
)
def test_what_aws_refuses(error: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught, _Account()._refusals("iam:CreateRole", "or pass --role"):
        raise error
    assert str(caught.value) == message
