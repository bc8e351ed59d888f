"""Credentials: the environment, an argument, botocore; and never in a repr."""

from __future__ import annotations

from typing import Any

import pytest

import lambdamap
from lambdamap.backends.credentials import find


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    found = find(None, None)
    assert found[:4] == ("AKID", "secret", "token", None)
    assert "secret" not in repr(found)
    assert "token" not in repr(found)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(lambdamap.ConfigError, match="AWS_SECRET_ACCESS_KEY is not"):
        find(None, None)


@pytest.mark.parametrize(
    "given",
    [
        {"access_key": "A", "secret_key": "S", "token": "T"},
        {"AccessKeyId": "A", "SecretAccessKey": "S", "SessionToken": "T"},
        ("A", "S", "T"),
    ],
)
def test_argument(given: Any) -> None:
    assert find(given, None)[:3] == ("A", "S", "T")


def test_botocore_object() -> None:
    from botocore.credentials import Credentials

    assert find(Credentials("A", "S", "T"), None)[:3] == ("A", "S", "T")


def test_none_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(lambdamap.ConfigError, match="no AWS credentials"):
        find(None, None)
    with pytest.raises(lambdamap.ConfigError, match="no AWS credentials"):
        lambdamap.map(abs, [1], function="f", region="us-east-1")


def test_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = PA\naws_secret_access_key = PS\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert find(None, "work")[:2] == ("PA", "PS")
    with pytest.raises(lambdamap.ConfigError, match="aws configure list-profiles"):
        find(None, "absent")


def test_hostile_values() -> None:
    with pytest.raises(lambdamap.ConfigError, match="printable ASCII"):
        find(("A\r\nX: y", "S"), None)
    with pytest.raises(lambdamap.ConfigError, match="access_key and secret_key"):
        find({}, None)
