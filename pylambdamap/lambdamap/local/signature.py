"""Checks AWS Signature Version 4 on a received request, as the real endpoint would."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import parse_qsl, quote

__all__ = ["BadSignatureError", "check"]

_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/, ]+)/(?P<scope>(?P<date>\d{8})/(?P<region>[^/, ]+)"
    r"/lambda/aws4_request), ?SignedHeaders=(?P<names>[^, ]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_SKEW_S = 300


class BadSignatureError(Exception):
    """args = (AWS's error type, message)."""


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def check(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
) -> None:
    """Raise `BadSignatureError` unless the request was signed with this key pair, just now.

    Parameters
    ----------
    target
        Path and query as they came over the wire.
    headers
        Lower-case names.
    """
    found = _CREDENTIAL.fullmatch(headers.get("authorization", ""))
    if found is None:
        raise BadSignatureError(
            "MissingAuthenticationTokenException", "Missing Authentication Token"
        )
    names = found["names"].split(";")
    stamp = headers.get("x-amz-date", "")
    if found["key"] != access_key:
        raise BadSignatureError(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    if "host" not in names or "x-amz-date" not in names:
        raise BadSignatureError(
            "IncompleteSignatureException", "host and x-amz-date must be signed"
        )
    try:
        when = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise BadSignatureError("IncompleteSignatureException", "X-Amz-Date is no date") from None
    now = datetime.now(timezone.utc)
    if abs((now - when).total_seconds()) > _SKEW_S or not stamp.startswith(found["date"]):
        raise BadSignatureError(
            "InvalidSignatureException",
            f"Signature expired: {stamp} is now earlier or later than {now:%Y%m%dT%H%M%SZ} - 5 min",
        )
    path, _, query = target.partition("?")
    pairs = sorted(
        (quote(key, safe="-_.~"), quote(value, safe="-_.~"))
        for key, value in parse_qsl(query, keep_blank_values=True)
    )
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            "&".join(f"{key}={value}" for key, value in pairs),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            "",
            found["names"],
            hashlib.sha256(body).hexdigest(),
        ]
    )
    key = f"AWS4{secret_key}".encode()
    for part in found["scope"].split("/"):
        key = _hmac(key, part)
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            stamp,
            found["scope"],
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    if not hmac.compare_digest(_hmac(key, to_sign).hex(), found["signature"]):
        raise BadSignatureError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        )
