"""The local Lambda's check of signatures, with botocore as the other side."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambdamap.local.signature import BadSignatureError, Verifier

KEY, SECRET = "AKLOCAL", "secret/with+odd=characters"
VERIFIER = Verifier(KEY, SECRET)


def signed(
    url: str = "http://127.0.0.1:9001/2015-03-31/functions/f/invocations",
    body: bytes = b'{"a": 1}',
    extra: dict[str, str] | None = None,
    secret: str = SECRET,
    token: str | None = None,
) -> tuple[str, dict[str, str], bytes]:
    """Target, headers and body as they come over the wire."""
    request = AWSRequest("POST", url, headers=extra or {}, data=body)
    SigV4Auth(Credentials(KEY, secret, token), "lambda", "eu-central-1").add_auth(request)
    prepared = request.prepare()
    headers = {}
    for name, value in prepared.headers.items():
        headers[name.lower()] = value.decode() if isinstance(value, bytes) else str(value)
    headers.setdefault("host", "127.0.0.1:9001")
    return prepared.url.split("9001", 1)[1], headers, body


def check(target: str, headers: dict[str, str], body: bytes) -> None:
    VERIFIER.check("POST", target, headers, body)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"body": b""},
        {"body": bytes(range(256)) * 100},
        {"token": "a/session+token=="},
        {"extra": {"X-Amz-Log-Type": "Tail", "X-Amz-Client-Context": "e30=", "Other": " a  b "}},
        {"url": "http://127.0.0.1:9001/2015-03-31/functions/f/invocations?Qualifier=%24LATEST"},
        {"url": "http://127.0.0.1:9001/2015-03-31/functions/f%3Av1/invocations"},
        {"url": "http://127.0.0.1:9001/2015-03-31/functions/f/invocations?b=2&a=&a=%2F%20x"},
    ],
)
def test_botocore_is_believed(more: dict[str, Any]) -> None:
    check(*signed(**more))


def hashed(body: bytes = b'{"a": 1}', **more: Any) -> tuple[str, dict[str, str], bytes]:
    """A request that says the hash of its body in its head."""
    digest = {"X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
    return signed(body=body, extra=digest, **more)


def test_a_head_with_the_bodys_hash_shows_the_signature() -> None:
    verifier = Verifier(KEY, SECRET)
    target, headers, body = hashed()
    claim = verifier.check_headers("POST", target, headers)
    assert claim.fresh
    verifier.check_body(claim, body)
    with pytest.raises(BadSignatureError, match="does not match"):
        verifier.check_body(claim, body + b" ")
    again = verifier.check_headers("POST", target, headers)
    assert not again.fresh  # good, but it may have been overheard
    verifier.check_body(again, body)
    for wrong in (
        hashed(secret="another")[1],
        {**headers, "x-amz-content-sha256": "0" * 64},
        {**headers, "host": "example.org"},
    ):
        with pytest.raises(BadSignatureError, match="does not match"):
            verifier.check_headers("POST", target, wrong)


def test_a_head_without_it_shows_the_access_key() -> None:
    target, headers, body = signed()
    claim = VERIFIER.check_headers("POST", target, headers)
    assert not claim.fresh
    VERIFIER.check_body(claim, body)
    target, headers, body = signed(secret="another")
    claim = VERIFIER.check_headers("POST", target, headers)
    with pytest.raises(BadSignatureError, match="does not match"):
        VERIFIER.check_body(claim, body)
    target, headers, body = signed()  # a hash that is not signed shows nothing
    headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    assert not VERIFIER.check_headers("POST", target, headers).fresh


@pytest.mark.parametrize("value", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""])
def test_other_values_of_the_hash_show_nothing(value: str) -> None:
    target, headers, body = signed(extra={"X-Amz-Content-SHA256": value})
    assert not VERIFIER.check_headers("POST", target, headers).fresh
    if value:
        with pytest.raises(BadSignatureError):
            check(target, headers, body)


def test_a_signature_that_was_not_just_made_shows_less(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(KEY, SECRET)
    target, headers, body = hashed()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    claim = verifier.check_headers("POST", target, headers)
    assert not claim.fresh
    verifier.check_body(claim, body)


def test_signatures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(KEY, SECRET)
    for number in range(10):
        assert verifier.check_headers("POST", *hashed(b"%d" % number)[:2]).fresh
    assert len(verifier._used) == 10
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    verifier.check_headers("POST", *hashed(b"last")[:2])
    assert len(verifier._used) == 1


def test_anything_changed_is_noticed() -> None:
    target, headers, body = signed(extra={"X-Amz-Log-Type": "Tail"})
    check(target, headers, body)
    changed: list[tuple[str, dict[str, str], bytes]] = [
        (target, headers, body + b" "),
        (target + "?Qualifier=1", headers, body),
        (target.replace("/f/", "/g/"), headers, body),
        (target, {**headers, "x-amz-log-type": "None"}, body),
        (target, {**headers, "host": "example.org"}, body),
        signed(secret="another"),
    ]
    for request in changed:
        with pytest.raises(BadSignatureError) as caught:
            check(*request)
        assert caught.value.args[0] == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda v: "", "MissingAuthenticationTokenException"),
        (lambda v: "Bearer x", "MissingAuthenticationTokenException"),
        (lambda v: v.replace("AKLOCAL", "AKOTHER"), "UnrecognizedClientException"),
        (lambda v: v.replace("host;", ""), "IncompleteSignatureException"),
        (lambda v: v.replace("/lambda/", "/s3/"), "MissingAuthenticationTokenException"),
        (lambda v: v[:-1], "MissingAuthenticationTokenException"),
        (lambda v: v[:-64] + "0" * 64, "InvalidSignatureException"),
    ],
)
def test_broken_authorization(change: Any, kind: str) -> None:
    target, headers, body = signed()
    headers["authorization"] = change(headers["authorization"])
    with pytest.raises(BadSignatureError) as caught:
        check(target, headers, body)
    assert caught.value.args[0] == kind


@pytest.mark.parametrize(
    "stamp", ["", "yesterday", "20260230T000000Z", "\u0662\u0660260101T000000Z"]
)
def test_broken_dates(stamp: str) -> None:
    target, headers, body = signed()
    with pytest.raises(BadSignatureError) as caught:
        check(target, {**headers, "x-amz-date": stamp}, body)
    assert caught.value.args[0] == "IncompleteSignatureException"


@pytest.mark.parametrize("seconds", [-301, 301])
def test_old_and_future_ones(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    request = signed()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    with pytest.raises(BadSignatureError) as caught:
        check(*request)
    assert "Signature expired" in caught.value.args[1]
