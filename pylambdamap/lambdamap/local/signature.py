"""Checks AWS Signature Version 4 on received requests, as the real endpoint does."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

__all__ = ["BadSignatureError", "Claim", "Verifier"]

_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/, ]+)/(?P<scope>(?P<date>\d{8})/(?P<region>[^/, ]+)"
    r"/lambda/aws4_request), ?SignedHeaders=(?P<names>[^, ]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SKEW_S = 300
_FRESH_S = 15  # between signing and arrival, on one machine


class BadSignatureError(Exception):
    """args = (AWS's error type, message)."""


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(key, safe="-_.~"), quote(value, safe="-_.~")) for key, value in pairs)
    return "&".join(f"{key}={value}" for key, value in encoded)


class Claim(NamedTuple):
    """What the headers of a request say about its sender."""

    canonical: str  # the canonical request without the hash of the body
    scope: str
    stamp: str
    signature: str
    body_hash: str | None  # None: the signature cannot be checked without the body
    fresh: bool  # the signature is valid, recent, and was not used before


class Verifier:
    """Checks requests against one key pair."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._scope, self._signing_key = "", b""  # of the last request
        self._used: dict[str, float] = {}  # signatures of the last seconds, oldest first

    def check(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Raise `BadSignatureError` unless the request was signed with this key pair just now."""
        self.check_body(self.check_headers(method, target, headers), body)

    def check_headers(self, method: str, target: str, headers: Mapping[str, str]) -> Claim:
        """Check what can be checked without the body; `check_body` does the rest.

        If the body's hash is among the signed headers, that is the whole signature. Otherwise it is
        the time and the access key, which is as secret as the secret key here.

        Parameters
        ----------
        target
            Path and query as received.
        headers
            With names in lower case.

        Raises
        ------
        BadSignatureError
            The request was not signed with this key pair, or not just now.
        """
        found = _CREDENTIAL.fullmatch(headers.get("authorization", ""))
        if found is None:
            raise BadSignatureError(
                "MissingAuthenticationTokenException", "Missing Authentication Token"
            )
        if not hmac.compare_digest(found["key"].encode(), self._access_key.encode()):
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
        age_s = self._check_time(stamp, found["date"])
        path, _, query = target.partition("?")
        canonical = "\n".join(
            [
                method,
                quote(path, safe="/-_.~"),
                _query(query) if query else "",
                *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
                "",
                found["names"],
                "",
            ]
        )
        claim = Claim(canonical, found["scope"], stamp, found["signature"], None, False)
        if "x-amz-content-sha256" not in names:
            return claim
        body_hash = headers.get("x-amz-content-sha256", "")
        if not _SHA256.fullmatch(body_hash):
            return claim
        self._compare(claim, body_hash)
        fresh = abs(age_s) <= _FRESH_S and self._is_new(claim.signature)
        return claim._replace(body_hash=body_hash, fresh=fresh)

    def check_body(self, claim: Claim, body: bytes) -> None:
        """Raise `BadSignatureError` unless this is the body that was signed."""
        body_hash = hashlib.sha256(body).hexdigest()
        if claim.body_hash is None:
            self._compare(claim, body_hash)
        elif claim.body_hash != body_hash:
            raise _mismatch()

    def _compare(self, claim: Claim, body_hash: str) -> None:
        digest = hashlib.sha256((claim.canonical + body_hash).encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{claim.stamp}\n{claim.scope}\n{digest}"
        signature = _hmac(self._key(claim.scope), to_sign).hex()
        if not hmac.compare_digest(signature, claim.signature):
            raise _mismatch()

    def _is_new(self, signature: str) -> bool:
        """Remember a signature, and return whether this is its first use in the last seconds."""
        now = time.monotonic()
        used = self._used
        while used and used[oldest := next(iter(used))] < now - 3 * _FRESH_S:
            del used[oldest]
        if signature in used:
            return False
        used[signature] = now
        return True

    def _check_time(self, stamp: str, date: str) -> float:
        """Return how many seconds ago the request was signed."""
        try:
            if not _STAMP.fullmatch(stamp) or not stamp.startswith(date):
                raise ValueError
            signed = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise BadSignatureError(
                "IncompleteSignatureException", "X-Amz-Date is not a date"
            ) from None
        age_s = time.time() - signed
        if abs(age_s) > _SKEW_S:
            now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            raise BadSignatureError(
                "InvalidSignatureException",
                f"Signature expired: {stamp} is now earlier or later than {now} - 5 min",
            )
        return age_s

    def _key(self, scope: str) -> bytes:
        if scope != self._scope:
            key = f"AWS4{self._secret_key}".encode()
            for part in scope.split("/"):
                key = _hmac(key, part)
            self._scope, self._signing_key = scope, key
        return self._signing_key


def _mismatch() -> BadSignatureError:
    return BadSignatureError(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided.",
    )
