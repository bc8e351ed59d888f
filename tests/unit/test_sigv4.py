"""The native signer against botocore's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from core_driver import ask

UNHASHED_BYTES = 16384  # LM_SIGV4_UNHASHED_BYTES of sigv4.h


@dataclass
class Case:
    """One request to sign."""

    function: str = "f"
    qualifier: str = ""
    region: str = "eu-central-1"
    host: str = ""
    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    token: str | None = None
    time: int = 1_790_000_000
    body: bytes = b"{}"
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.host = self.host or f"lambda.{self.region}.amazonaws.com"

    @property
    def path(self) -> str:
        return f"/2015-03-31/functions/{quote(self.function, safe='')}/invocations"

    @property
    def query(self) -> str:
        return f"Qualifier={quote(self.qualifier, safe='')}" if self.qualifier else ""

    def ours(self) -> list[str | bytes | None]:
        """The driver's command."""
        arguments: list[str | bytes | None] = ["sign", self.host, self.path, self.query]
        arguments += [self.region, self.access_key, self.secret_key, self.token]
        arguments += [str(self.time), self.body]
        for name in sorted(self.extra):
            arguments += [name, self.extra[name]]
        return arguments

    def theirs(self) -> str:
        """The header lines that botocore makes of it."""
        stamp = datetime.fromtimestamp(self.time, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        auth = SigV4Auth(
            Credentials(self.access_key, self.secret_key, self.token), "lambda", self.region
        )
        url = f"https://{self.host}{self.path}" + (f"?{self.query}" if self.query else "")
        request = AWSRequest("POST", url, data=self.body, headers=dict(self.extra))
        request.headers["Content-Type"] = "application/json"
        digest = hashlib.sha256(self.body).hexdigest() if len(self.body) > UNHASHED_BYTES else None
        if digest is not None:
            request.headers["X-Amz-Content-SHA256"] = digest
        request.headers["X-Amz-Date"] = stamp
        request.context["timestamp"] = stamp
        if self.token is not None:
            request.headers["X-Amz-Security-Token"] = self.token
        canonical = auth.canonical_request(request)
        signature = auth.signature(auth.string_to_sign(request, canonical), request)
        names = auth.signed_headers(auth.headers_to_sign(request))
        lines = [f"X-Amz-Content-Sha256: {digest}"] if digest is not None else []
        lines.append(f"X-Amz-Date: {stamp}")
        if self.token is not None:
            lines.append(f"X-Amz-Security-Token: {self.token}")
        lines.append(
            f"Authorization: AWS4-HMAC-SHA256 Credential={auth.scope(request)}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return "".join(line + "|" for line in lines)


ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"

NAMED = [
    Case(),
    Case(body=b""),
    Case(function="f:prod"),
    Case(function="f:$LATEST"),
    Case(function="my.function_1-x"),
    Case(function=ARN),
    Case(function=f"{ARN}:$LATEST", qualifier="$LATEST"),
    Case(function="123456789012:function:f:7"),
    Case(qualifier="$LATEST"),
    Case(qualifier="prod"),
    Case(token="IQoJb3JpZ2luX2VjE/+=="),
    Case(token="x" * 3000),
    Case(host="localhost:9001"),
    Case(host="[::1]:9001"),
    Case(region="us-gov-west-1"),
    Case(secret_key="k"),
    Case(secret_key="k" * 60),
    Case(secret_key="k" * 61),
    Case(secret_key="k" * 512),
    Case(time=0),
    Case(time=951_782_399),
    Case(time=951_782_400),
    Case(time=4_107_542_400),
    Case(extra={"x-amz-log-type": "Tail"}),
    Case(extra={"x-amz-a": "  much   white  space ", "x-amz-tenant-id": "a b"}, token="t"),
    Case(extra={"x-amz-security": "sorts before the token", "x-amz-z": ""}, token="t"),
    Case(extra={"x-amz-date-x": "sorts behind the date"}),
    Case(body=b"\x00\xff" * 5000),
    Case(body=b"x" * UNHASHED_BYTES),
    Case(body=b"x" * (UNHASHED_BYTES + 1)),
    Case(body=b"x" * 100_000, extra={"x-amz-client-context": "a", "x-amz-z": "b"}, token="t"),
]


def agree(cases: list[Case]) -> None:
    for case, answer in zip(cases, ask(case.ours() for case in cases), strict=True):
        assert answer == case.theirs(), case


def test_named_cases() -> None:
    agree(NAMED)


def test_the_key_follows_its_parts() -> None:
    """One signer, one cached key: a change of day, region or secret, and back, is seen."""
    changes = [Case(), Case(time=1_790_086_400), Case(region="us-east-1"), Case(secret_key="other")]
    agree([case for change in changes for case in (Case(), change, change, Case())])


_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
_names = st.from_regex(r"[a-zA-Z0-9_-]{1,20}(:(\$LATEST|[a-zA-Z0-9_-]{1,9}))?", fullmatch=True)
_headers = st.dictionaries(
    st.from_regex(r"x-amz-[a-z0-9-]{1,12}", fullmatch=True).filter(
        lambda name: name not in ("x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
    ),
    _values,
    max_size=4,
)
_cases = st.builds(
    Case,
    function=_names | st.sampled_from([ARN, f"{ARN}:live"]),
    qualifier=st.sampled_from(["", "$LATEST", "$LATEST.PUBLISHED", "12", "a_b-c"]),
    region=st.sampled_from(["eu-central-1", "us-east-1", "cn-north-1", "local"]),
    access_key=_text,
    secret_key=_text,
    token=st.none() | _text,
    time=st.integers(0, 2**33),
    body=st.binary(max_size=3000),
    extra=_headers,
)


@given(st.lists(_cases, min_size=20, max_size=40))
def test_random_cases(cases: list[Case]) -> None:
    agree(cases)


def test_what_would_end_its_line_is_refused() -> None:
    bad = [
        Case(token="a\r\nX: y"),
        Case(token="a\nb"),
        Case(token="caf\xe9"),
        Case(access_key="A KID"),
        Case(access_key="A\r\n"),
        Case(region="a\nb"),
        Case(secret_key="k" * 513),
        Case(region="r" * 64),
        Case(extra={"x-amz-a": "\x7f"}),
    ]
    for case, answer in zip(bad, ask(case.ours() for case in bad), strict=True):
        assert answer.startswith("refused"), case
        assert case.secret_key not in answer
