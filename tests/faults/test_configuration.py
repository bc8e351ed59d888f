"""Credentials, clocks, and other contents of a request's headers. Rows 25 to 27."""

from __future__ import annotations

import asyncio
import base64
import datetime
import email.utils
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import scripted
import tasks
from driver import invoke
from scripted import Connection, Request, Step, aws_error, plain_reply, reply, run

# --- credentials --------------------------------------------------------------------------------


class Keys:
    """Credentials like botocore's refreshable ones: each look-up returns the newest."""

    def __init__(self, *tokens: str, lives_s: float | None = None) -> None:
        self.access_key = scripted.ACCESS_KEY
        self.secret_key = scripted.SECRET_KEY
        self.tokens = list(tokens)
        self.lookups = 0
        self.lives_s = lives_s

    @property
    def token(self) -> str:
        return self.tokens[min(self.lookups, len(self.tokens)) - 1]

    @property
    def _expiry_time(self) -> datetime.datetime | None:
        if self.lives_s is None or self.lookups > 1:
            return None
        return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(
            seconds=self.lives_s
        )

    def get_frozen_credentials(self) -> Keys:
        self.lookups += 1
        return self


def only(token: str, step: Step) -> Step:
    """Reply ExpiredToken to any other token."""
    refused = aws_error(403, "ExpiredTokenException", "The security token is expired")

    def checked(connection: Connection, request: Request) -> None:
        good = request.headers.get("x-amz-security-token") == token
        (step if good else refused)(connection, request)

    return checked


def test_row_25_expired_token_is_replaced(site: Any) -> None:
    """All refused chunks share one look-up, and no attempt is used up."""
    keys = Keys("old", "new")
    server = site.server(then=only("new", run()))
    results = site.map(
        server, tasks.square, range(40), credentials=keys, max_concurrency=8, max_attempts=1
    )
    assert list(results) == [x * x for x in range(40)]
    assert keys.lookups == 2
    assert 41 <= server.complete <= 40 + 8
    assert set(server.items.values()) == {1}


def test_row_25_one_look_up_for_all_maps(site: Any) -> None:
    keys = Keys("old", "new")
    server = site.server(then=only("new", run()))
    options = site.options(server, credentials=keys)
    maps = [lambdamap.map(tasks.square, range(10), **options)]
    looked_up = keys.lookups
    assert looked_up == 1
    results: list[list[int]] = []

    def one() -> None:
        keys_now = keys.lookups
        results.append(list(lambdamap.map(tasks.square, range(10), **options)))
        assert keys_now >= 1

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    results.append(list(maps[0]))
    for thread in threads:
        thread.join()
    assert results == [[x * x for x in range(10)]] * 5
    # one look-up each to start a map, and at most one to refresh
    assert keys.lookups <= 5 + 1


def test_row_25_no_newer_token(site: Any) -> None:
    """One error for the whole map."""
    server = site.server(then=only("new", run()))
    results = site.map(
        server,
        tasks.square,
        range(100),
        credentials=(scripted.ACCESS_KEY, scripted.SECRET_KEY, "old"),
        max_concurrency=4,
    )
    with pytest.raises(lambdamap.AccessDeniedError, match="have expired"):
        list(results)
    assert server.complete <= 4
    assert not server.runs


def test_row_25_what_is_done_is_on_the_error(plain_site: Any) -> None:
    keys = (scripted.ACCESS_KEY, scripted.SECRET_KEY, "old")
    server = plain_site.server([run()] * 5, then=only("new", run()))
    results = plain_site.map(server, tasks.square, range(20), credentials=keys, max_concurrency=1)
    taken = []
    with pytest.raises(lambdamap.AccessDeniedError) as caught:
        for result in results:
            taken.append(result)
    done = [*taken, *(caught.value.partial[i] for i in sorted(caught.value.partial))]
    assert done == [x * x for x in range(5)]


def test_row_25_newer_ones_are_refused_too(site: Any) -> None:
    keys = Keys("old", "older", "oldest", "antique", "last")
    server = site.server(then=only("new", run()))
    with pytest.raises(lambdamap.AccessDeniedError):
        list(site.map(server, tasks.square, range(10), credentials=keys, max_concurrency=1))
    assert server.complete <= 4


def test_row_25_credentials_are_renewed_before_they_expire(
    plain_site: Any, periods: Callable[..., None]
) -> None:
    """With less than 10 min left (here 4 of 5 s), credentials are renewed before they are refused.

    They are looked up once, in the middle of the map.
    """
    periods(refresh_before_s=4)
    keys = Keys("soon", "new", lives_s=5.5)
    server = plain_site.server(then=run())
    # One at a time, so that they arrive in the order in which they were signed.
    results = plain_site.map(
        server, tasks.square, slowly(range(30), 0.1), credentials=keys, max_concurrency=1
    )
    assert list(results) == [x * x for x in range(30)]
    assert keys.lookups == 2
    tokens = [request.headers["x-amz-security-token"] for request in server.requests]
    assert tokens == sorted(tokens, reverse=True)  # "soon" before "new"
    assert set(tokens) == {"soon", "new"}
    assert server.complete == 30


def test_row_25_in_an_event_loop(plain_site: Any) -> None:
    """The loop is woken to look for newer credentials, although no reply has arrived."""
    keys = Keys("old", "new")
    server = plain_site.server(then=only("new", run()))

    async def collect() -> list[int]:
        options = plain_site.options(server, credentials=keys, max_concurrency=4)
        return [result async for result in lambdamap.amap(tasks.square, range(20), **options)]

    assert asyncio.run(collect()) == [x * x for x in range(20)]
    assert keys.lookups == 2


def slowly(data: Any, seconds: float) -> Any:
    for item in data:
        time.sleep(seconds)
        yield item


# --- clocks -------------------------------------------------------------------------------------


class ServiceClock:
    """A service whose clock is `ahead_s` ahead, and that accepts signatures within 5 minutes."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s
        self.refused = 0

    def now(self) -> float:
        return time.time() + self.ahead_s

    def dated(self, body: bytes, status: int = 200, **headers: str) -> bytes:
        headers["Date"] = email.utils.formatdate(self.now(), usegmt=True)
        headers["x-amzn-RequestId"] = "request-dated"
        return plain_reply(body, status, {k.replace("_", "-"): v for k, v in headers.items()})

    def step(self, connection: Connection, request: Request) -> None:
        signed = datetime.datetime.strptime(
            request.headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z"
        ).timestamp()
        if abs(signed - self.now()) > 300:
            self.refused += 1
            connection.send(
                self.dated(
                    b'{"message":"Signature expired: it is now earlier than it was"}',
                    403,
                    x_amzn_ErrorType="InvalidSignatureException",
                )
            )
        else:
            connection.send(self.dated(b'{"ok":1}'))


@pytest.mark.parametrize("ahead_s", [1200.0, -1200.0], ids=["slow", "fast"])
def test_row_26_clock_that_is_off(site: Any, ahead_s: float) -> None:
    """From the first refusal on, the Date of the replies is used, until the clock is right again."""
    clock = ServiceClock(ahead_s)
    server = site.server(then=clock.step)
    target = site.target(server, max_attempts=1)
    answered = invoke(target, [b"{}"] * 20)
    assert [(end.failure, end.attempts) for end in answered] == [("", 1)] * 20
    first_wave = clock.refused
    assert 1 <= first_wave <= 20
    assert server.complete == 20 + first_wave
    assert [end.failure for end in invoke(target, [b"{}"] * 20)] == [""] * 20
    assert clock.refused == first_wave

    clock.ahead_s = 0.0
    answered = invoke(target, [b"{}"] * 10)
    assert [(end.failure, end.attempts) for end in answered] == [("", 1)] * 10
    assert clock.refused <= first_wave + 10
    again = clock.refused
    assert [end.failure for end in invoke(target, [b"{}"] * 10)] == [""] * 10
    assert clock.refused == again


def test_row_26_a_few_minutes_are_tolerated(site: Any) -> None:
    clock = ServiceClock(200.0)
    server = site.server(then=clock.step)
    invoke(site.target(server), [b"{}"] * 3)
    assert (server.complete, clock.refused) == (3, 0)
    signed = {request.headers["x-amz-date"][:13] for request in server.requests}
    now = {
        time.strftime("%Y%m%dT%H%M", time.gmtime(time.time() - back)) for back in (0, 30, 60, 120)
    }
    assert signed <= now


def test_row_27_refused_signature_and_a_clock_that_is_right(site: Any) -> None:
    clock = ServiceClock()
    refused = clock.dated(
        b'{"message":"The request signature we calculated does not match"}',
        403,
        x_amzn_ErrorType="InvalidSignatureException",
    )
    server = site.server(then=lambda connection, request: void(connection.send(refused)))
    with pytest.raises(lambdamap.AccessDeniedError, match="does not match") as caught:
        list(site.map(server, tasks.square, range(20), max_concurrency=1, idempotent=True))
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 1)
    assert server.complete == 1


def void(_: object) -> None:
    """Discard a value, in a lambda."""


def test_tenant_client_context_and_qualifier(plain_site: Any) -> None:
    """Each is sent where boto3 would put it, and signed.

    Maps of two tenants share only the function's window.
    """
    server = plain_site.server(then=reply(b'{"ok":1}'))
    options = plain_site.options(server, qualifier="$LATEST", client_context={"custom": {"a": 1}})
    function = options.pop("function")
    del options["chunksize"]
    for tenant in ("blue 7", "red/e"):
        assert list(lambdamap.invoke_map(function, [1], tenant_id=tenant, **options)) == [{"ok": 1}]
        request = server.requests[-1]
        assert request.headers["x-amz-tenant-id"] == tenant
        context = base64.b64decode(request.headers["x-amz-client-context"])
        assert json.loads(context) == {"custom": {"a": 1}}
        assert request.target.endswith(f"{function}/invocations?Qualifier=%24LATEST")
    list(lambdamap.invoke_map(function, [1], **options))
    assert "x-amz-tenant-id" not in server.requests[-1].headers


def test_qualifier_that_contradicts_the_name(plain_site: Any) -> None:
    server = plain_site.server(then=reply(b"1"))
    options = plain_site.options(server, qualifier="v2")
    function = options.pop("function")
    del options["chunksize"]
    with pytest.raises(lambdamap.ConfigError, match=r"qualifier is 'v2', .*:v1"):
        lambdamap.invoke_map(f"{function}:v1", [1], **options)
    assert list(lambdamap.invoke_map(f"{function}:v2", [1], **options)) == [1]
    assert server.requests[0].target.endswith(f"{function}%3Av2/invocations")


def test_names_of_durable_executions(plain_site: Any) -> None:
    """Each payload has its own name, signed in its place among the headers, also when it is resent.

    A name that belongs to another payload is an error of one payload only, which has not run.
    """

    def durable(connection: Connection, request: Request) -> None:
        name = request.headers["x-amz-durable-execution-name"]
        taken = aws_error(409, "DurableExecutionAlreadyStartedException", "started before")
        first = next(r for r in server.requests if r.body == request.body) is request
        if request.body == b"20":
            taken(connection, request)
        elif first and request.body == b"10":
            aws_error(500, "ServiceException")(connection, request)
        else:
            reply(json.dumps(name).encode())(connection, request)

    server = plain_site.server(then=durable)
    options = plain_site.options(server, tenant_id="blue", client_context={}, on_error="return")
    function = options.pop("function")
    del options["chunksize"]
    for wanted in ("job-7-{index}", lambda index, payload: f"job-7-{payload // 10}"):
        found = list(
            lambdamap.invoke_map(
                function, [0, 10, 20, 30], durable_execution_name=wanted, **options
            )
        )
        assert [found[at] for at in (0, 1, 3)] == ["job-7-0", "job-7-1", "job-7-3"]
        assert isinstance(found[2], lambdamap.ConfigError)
        assert (found[2].ran, list(found[2].indices)) == ("NOT", [2])
    assert not server.bad_signatures


def test_names_that_are_no_names(plain_site: Any) -> None:
    server = plain_site.server(then=reply(b"1"))
    options = plain_site.options(server)
    function = options.pop("function")
    del options["chunksize"]
    with pytest.raises(lambdamap.ConfigError, match="durable_execution_name"):
        lambdamap.invoke_map(function, [1, 2], durable_execution_name="job", **options)
    for name in ("", "a b", "a\r\nX: y", "é", "x" * 65, None):
        taken = []
        with pytest.raises(
            lambdamap.ConfigError, match=r"item 1: .*durable_execution_name"
        ) as caught:
            for result in lambdamap.invoke_map(
                function, [1, 2],
                durable_execution_name=lambda index, _, name=name: name if index else "job",
                **options,
            ):  # fmt: skip
                taken.append(result)
        assert (taken, list(caught.value.indices), caught.value.ran) == ([1], [1], "NOT")
