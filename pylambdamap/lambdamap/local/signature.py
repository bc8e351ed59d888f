"""Checks AWS Signature Version 4 on a received request, as the real endpoint would."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

__all__ = ["BadSignatureError", "Verifier"]

_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/, ]+)/(?P<scope>(?P<date>\d{8})/(?P<region>[^/, ]+)"
    r"/lambda/aws4_request), ?SignedHeaders=(?P<names>[^, ]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SKEW_S = 300


class BadSignatureError(Exception):
    """args = (AWS's error type, message)."""


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(key, safe="-_.~"), quote(value, safe="-_.~")) for key, value in pairs)
    return "&".join(f"{key}={value}" for key, value in encoded)


class Verifier:
    """Knows one key pair."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._scope, self._signing_key = "", b""  # of the last request

    def check(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
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
        if found["key"] != self._access_key:
            raise BadSignatureError(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        names = found["names"].split(";")
        if "host" not in names or "x-amz-date" not in names:
            raise BadSignatureError(
                "IncompleteSignatureException", "host and x-amz-date must be signed"
            )
        stamp = headers.get("x-amz-date", "")
        self._check_time(stamp, found["date"])
        path, _, query = target.partition("?")
        canonical = "\n".join(
            [
                method,
                quote(path, safe="/-_.~"),
                _query(query) if query else "",
                *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
                "",
                found["names"],
                hashlib.sha256(body).hexdigest(),
            ]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        scope = found["scope"]
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = _hmac(self._key(scope), to_sign).hex()
        if not hmac.compare_digest(signature, found["signature"]):
            raise BadSignatureError(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided.",
            )

    def _check_time(self, stamp: str, date: str) -> None:
        try:
            if not _STAMP.fullmatch(stamp) or not stamp.startswith(date):
                raise ValueError
            signed = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise BadSignatureError(
                "IncompleteSignatureException", "X-Amz-Date is no date"
            ) from None
        if abs(time.time() - signed) > _SKEW_S:
            now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            raise BadSignatureError(
                "InvalidSignatureException",
                f"Signature expired: {stamp} is now earlier or later than {now} - 5 min",
            )

    def _key(self, scope: str) -> bytes:
        if scope != self._scope:
            key = f"AWS4{self._secret_key}".encode()
            for part in scope.split("/"):
                key = _hmac(key, part)
            self._scope, self._signing_key = scope, key
        return self._signing_key
