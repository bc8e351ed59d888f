"""Errors of Lambda itself, and of proxies in front of it. Rows 20 to 24 and 29."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from driver import collect, invoke, open_map
from scripted import Connection, Request, aws_error, plain_reply, raw, reply, run

ANSWER = b'{"ok":1}'


def test_row_20_service_exception_twice(site: Any, idempotent: bool) -> None:
    """Lambda's own error: f did not run, so it is retried in any case.

    tests/c/test_retry.c tests the delays, with given random numbers.
    """
    failing = aws_error(500, "ServiceException")
    server = site.server([failing, failing], then=run())
    results = site.map(server, tasks.square, [3], idempotent=idempotent)
    assert list(results) == [9]
    assert results.stats["retries"] == 2
    assert server.complete == 3
    assert sum(server.runs.values()) == 1


def test_row_20_and_no_more_than_max_attempts(site: Any, idempotent: bool) -> None:
    server = site.server(then=aws_error(500, "ServiceException"))
    for attempts in (1, 3, 5):
        before = server.complete
        with pytest.raises(lambdamap.ServiceError) as caught:
            list(site.map(server, tasks.square, [3], idempotent=idempotent, max_attempts=attempts))
        assert (caught.value.ran, caught.value.attempts) == ("NOT", attempts)
        assert server.complete - before == attempts
        assert caught.value.request_id == "request-error"


def test_row_21_an_outage_empties_the_quota(site: Any, periods: Callable[..., None]) -> None:
    """500 tokens, 14 per retry: 35 retries in all, then every chunk fails at its first attempt."""
    periods(transient_base_s=0.01)
    server = site.server(then=aws_error(500, "ServiceException"))
    net_map = open_map(site.target(server))
    for number in range(150):
        assert net_map.submit(b'{"n":1}', number, 1)
    lost = collect(net_map)
    assert {(end.failure, end.ran) for end in lost} == {("service", "NOT")}
    assert server.complete == 150 + 500 // 14
    assert net_map.stats["retries"] == 500 // 14


def test_row_21_the_quota_comes_back(site: Any, periods: Callable[..., None]) -> None:
    periods(transient_base_s=0.01)
    server = site.server([aws_error(500, "ServiceException")] * 85, then=reply(ANSWER))
    target = site.target(server)
    invoke(target, [b"{}"] * 50)
    assert [end.failure for end in invoke(target, [b"{}"] * 20)] == [""] * 20
    server.script = iter([aws_error(500, "ServiceException")])
    (answered,) = invoke(target)
    assert (answered.failure, answered.attempts) == ("", 2)


@pytest.mark.parametrize(
    "code",
    [
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "InvalidZipFileException",
        "InvalidRuntimeException",
        "InvalidSubnetIDException",
        "InvalidSecurityGroupIDException",
        "EC2AccessDeniedException",
    ],
)
def test_row_22_configuration_that_cannot_work(
    plain_site: Any, idempotent: bool, code: str
) -> None:
    server = plain_site.server(then=aws_error(502, code, "the key is gone"))
    with pytest.raises(lambdamap.ConfigError, match=f"{code}: the key is gone") as caught:
        list(
            plain_site.map(
                server, tasks.square, range(20), max_concurrency=1, idempotent=idempotent
            )
        )
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 1)
    assert isinstance(caught.value, ValueError)
    assert server.complete == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_row_23_an_error_of_somebody_in_between(site: Any, idempotent: bool, status: int) -> None:
    """Without an AWS error type, it may have come after f ran."""
    page = b"<html><body>" + b"Bad Gateway. " * 1000 + b"</body></html>"
    server = site.server(then=raw(plain_reply(page, status, {"Content-Type": "text/html"})))
    with pytest.raises(lambdamap.ServiceError) as caught:
        list(site.map(server, tasks.square, [3], idempotent=idempotent))
    assert caught.value.ran == "MAYBE"
    assert caught.value.attempts == server.complete == (3 if idempotent else 1)
    assert str(status) in str(caught.value)
    assert len(str(caught.value)) < 1024
    assert type(caught.value) is lambdamap.ServiceError


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "ResourceNotFoundException", lambdamap.FunctionNotFoundError),
        (403, "AccessDeniedException", lambdamap.AccessDeniedError),
        (403, "UnrecognizedClientException", lambdamap.AccessDeniedError),
        (403, "MissingAuthenticationTokenException", lambdamap.AccessDeniedError),
        (400, "InvalidParameterValueException", lambdamap.ConfigError),
        (400, "RecursiveInvocationException", lambdamap.ConfigError),
        (403, "EFSMountFailureException", lambdamap.ConfigError),
        (415, "UnsupportedMediaTypeException", lambdamap.ProtocolError),
    ],
)
def test_row_24_what_would_happen_to_every_chunk(
    plain_site: Any, status: int, code: str, kind: type[lambdamap.LambdaMapError]
) -> None:
    """The map stops: of 1,000 chunks, only those in flight were sent."""
    server = plain_site.server(then=aws_error(status, code, "no"))
    results = plain_site.map(server, tasks.square, range(1000), max_concurrency=8)
    with pytest.raises(kind) as caught:
        list(results)
    assert type(caught.value) is kind
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 1)
    time.sleep(0.05)
    assert 1 <= server.complete <= 8
    assert list(results) == []


def test_row_24_after_some_are_done(site: Any) -> None:
    """Finished results are on the error."""
    server = site.server([run()] * 10, then=aws_error(403, "AccessDeniedException"))
    with pytest.raises(lambdamap.AccessDeniedError) as caught:
        list(site.map(server, tasks.square, range(100), max_concurrency=1))
    assert caught.value.indices[0] == 10
    taken = 10 - len(caught.value.partial)
    assert caught.value.partial == {i: i * i for i in range(taken, 10)}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "ResourceConflictException"),
        (409, "SnapStartNotReadyException"),
        (409, "SnapStartRegenerationFailureException"),
        (409, "CodeArtifactUserPendingException"),
        (409, "CodeArtifactUserDeletedException"),
        (502, "ENINotReadyException"),
        (502, "ResourceNotReadyException"),
    ],
)
def test_row_29_function_that_is_being_made_ready(
    plain_site: Any, periods: Callable[..., None], status: int, code: str
) -> None:
    periods(poll_base_s=0.02, max_poll_s=0.05)
    server = plain_site.server([aws_error(status, code, "Pending")] * 5, then=run())
    results = plain_site.map(server, tasks.square, [3], max_attempts=1)
    assert list(results) == [9]
    assert server.complete == 6
    times = [request.at for request in server.requests]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert all(
        wait >= least for wait, least in zip(waits, [0.02, 0.04, 0.05, 0.05, 0.05], strict=True)
    )


@pytest.mark.parametrize(
    "patience_s", [0.3, pytest.param(300.0, marks=[pytest.mark.soak, pytest.mark.timeout(400)])]
)
def test_row_29_function_that_never_is(
    site: Any, periods: Callable[..., None], patience_s: float
) -> None:
    """Polled until the end of the patience, the last time as it ends; then the map gives up."""
    if patience_s < 60:
        periods(poll_base_s=0.02, max_poll_s=0.1, poll_patience_s=patience_s)
    server = site.server(then=aws_error(409, "ResourceConflictException", "Pending"))
    with pytest.raises(lambdamap.ServiceError, match="Pending") as caught:
        list(site.map(server, tasks.square, range(10), max_concurrency=2))
    assert caught.value.ran == "NOT"
    assert server.complete < 30 + 2 * patience_s / 5
    assert server.requests[-1].at - server.requests[0].at >= patience_s


def test_row_29_conflict_that_time_does_not_mend(site: Any) -> None:
    server = site.server(then=aws_error(409, "RuntimeVersionDeletedException"))
    with pytest.raises(lambdamap.ConfigError):
        list(site.map(server, tasks.square, [3]))
    assert server.complete == 1


def test_scarce_network_interfaces_are_waited_for(site: Any, periods: Callable[..., None]) -> None:
    """Resources that need seconds to recover get the longer delays."""
    periods(throttle_base_s=0.05)
    server = site.server([aws_error(502, "ENILimitReachedException")], then=run())
    assert list(site.map(server, tasks.square, [3])) == [9]
    assert server.complete == 2


def test_a_bad_payload_costs_itself_only(plain_site: Any) -> None:
    """With one payload per invocation, an error of Lambda about one concerns that one only."""

    def picky(connection: Connection, request: Request) -> None:
        bad = request.body == b"{oops"
        step = aws_error(400, "InvalidRequestContentException", "no JSON") if bad else reply(ANSWER)
        step(connection, request)

    server = plain_site.server(then=picky)
    options = plain_site.options(server)
    payloads = [b"1"] * 6
    payloads[2] = b"{oops"
    found = list(
        lambdamap.invoke_map(
            options.pop("function"), payloads, on_error="return", max_concurrency=1,
            **{k: v for k, v in options.items() if k != "chunksize"},
        )
    )  # fmt: skip
    assert [one for one in found if not isinstance(one, Exception)] == [{"ok": 1}] * 5
    assert isinstance(found[2], lambdamap.ConfigError)
    assert (found[2].ran, list(found[2].indices)) == ("NOT", [2])
    assert server.complete == 6


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (502, b"<html>\n <title>Bad gateway at edge-17</title>", "text/html; charset=utf-8",
         "HTTP 502, text/html: <html> <title>Bad gateway at edge-17</title>"),
        (403, b"Blocked by\x1b[31m policy 4711", "text/plain", "HTTP 403, text/plain: Blocked by?[31m"),
        (404, b'{"detail": "no route"}', "application/json", 'HTTP 404, application/json: {"detail"'),
        (503, b"", "text/plain", "HTTP 503 without a body"),
        (418, b"x" * 5000, "text/plain", "HTTP 418, text/plain: " + "x" * 200),
    ],
)  # fmt: skip
def test_unexpected_body_is_shown(
    plain_site: Any, status: int, body: bytes, kind: str, shown: str
) -> None:
    server = plain_site.server(then=raw(plain_reply(body, status, {"Content-Type": kind})))
    with pytest.raises(lambdamap.LambdaMapError) as caught:
        list(plain_site.map(server, tasks.square, [3]))
    assert shown in str(caught.value)
    assert "x" * 201 not in str(caught.value)


def test_message_of_an_api_error_has_its_escapes_undone(plain_site: Any) -> None:
    server = plain_site.server(then=aws_error(404, "ResourceNotFoundException", 'no "café"\nhere'))
    with pytest.raises(lambdamap.FunctionNotFoundError) as caught:
        list(plain_site.map(server, tasks.square, [3]))
    assert 'ResourceNotFoundException: no "café"\nhere (HTTP 404)' in str(caught.value)


def test_every_declared_error_is_decided() -> None:
    """Each error that the installed botocore declares for Invoke has its own row in the table of
    outcomes.

    Its status matches. So an error that AWS adds requires a decision here.
    """
    session = pytest.importorskip("botocore.session").Session()
    source = Path(__file__).parents[2] / "csrc/core/policy/outcome.c"
    table = source.read_text().split("API[] = {")[1].split("};")[0]
    rows = [
        (int(status), name) for status, name in re.findall(r'\{(\d+), "([\w.]+)",\s+ROW', table)
    ]
    assert len(rows) > 40
    declared = session.get_service_model("lambda").operation_model("Invoke").error_shapes
    assert len(declared) > 40
    missing = [
        (shape.metadata["error"]["httpStatusCode"], shape.name)
        for shape in declared
        if not {
            (shape.metadata["error"]["httpStatusCode"], shape.name.removesuffix("Exception")),
            (0, shape.name.removesuffix("Exception")),
        }
        & set(rows)
    ]
    assert not missing, f"decide on these in policy/outcome.c: {missing}"
