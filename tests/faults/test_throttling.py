"""429: nothing ran, and the service is overloaded. Rows 16 to 19."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import tasks
from driver import collect, invoke, open_map
from scripted import Connection, Request, Step, plain_reply, raw, reply, run, throttle

ANSWER = b'{"ok":1}'


def for_seconds(seconds: float, first: Step, then: Step, at_once: int = 1) -> Step:
    """Run one step for a while after this many requests have arrived, then another."""
    ends: list[float] = []

    def step(connection: Connection, request: Request) -> None:
        if not ends:
            connection.server.wait_for(at_once)
            ends.append(time.monotonic() + seconds)
        (first if request.at < ends[0] else then)(connection, request)

    return step


def slots(count: int, seconds: float, step: Step, refuse: Step | None = None) -> Step:
    """A function with this many environments: 429 beyond them."""
    free = threading.BoundedSemaphore(count)
    refused = throttle("ReservedFunctionConcurrentInvocationLimitExceeded")

    def taken(connection: Connection, request: Request) -> None:
        if not free.acquire(blocking=False):
            (refuse or refused)(connection, request)
            return
        try:
            connection.wait(seconds)
        finally:
            free.release()
        step(connection, request)

    return taken


def test_row_16_throttled_for_a_while(site: Any, periods: Callable[..., None]) -> None:
    """No attempt is used up (there is only one), and the window shrinks and recovers.

    Few requests are sent meanwhile.
    """
    periods(throttle_base_s=0.02)
    server = site.server(then=for_seconds(1.0, throttle(), reply(ANSWER), at_once=32))
    target = site.target(server, max_attempts=1, max_concurrency=32)
    net_map = open_map(target)
    for number in range(200):
        assert net_map.submit(b'{"n":1}', number, 1)
    least = target.window
    answered = []
    ends = time.monotonic() + 30
    while net_map.outstanding:
        assert time.monotonic() < ends
        net_map.wait(0.02)
        least = min(least, target.window)
        while (end := net_map.take()) is not None:
            answered.append(end)
    assert [end.failure for end in answered] == [""] * 200
    assert {end.attempts for end in answered} == {1}
    assert least == 1
    assert target.window > 4
    throttles = net_map.stats["throttles"]
    assert 32 <= throttles < 150
    assert server.complete == 200 + throttles


def test_row_16_at_full_length(site: Any) -> None:
    """30 s of 429, which AWS's own scaling may take."""
    server = site.server(then=for_seconds(30, throttle(), run()))
    results = site.map(server, tasks.square, range(50), max_attempts=1)
    assert list(results) == [x * x for x in range(50)]
    assert results.stats["throttles"] < 50 + 60


test_row_16_at_full_length = pytest.mark.soak(test_row_16_at_full_length)


@pytest.mark.parametrize(
    "patience_s", [1.0, pytest.param(60.0, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
def test_row_17_throttled_for_ever(
    site: Any, periods: Callable[..., None], patience_s: float
) -> None:
    """The map gives up once, as a whole, not once per chunk."""
    if patience_s < 60:
        periods(throttle_base_s=0.02, throttle_patience_s=patience_s)
    server = site.server(then=throttle("ReservedFunctionConcurrentInvocationLimitExceeded"))
    results = site.map(server, tasks.square, range(100))
    started = time.monotonic()
    with pytest.raises(lambdamap.ThrottledError) as caught:
        list(results)
    assert time.monotonic() - started >= patience_s * 0.9
    assert caught.value.ran == "NOT"
    assert caught.value.attempts == 0
    assert "max_concurrency" in str(caught.value)
    assert list(results) == []
    assert server.complete < 256 + 80
    assert not server.runs


def test_row_17_throttled_until_the_deadline(site: Any, periods: Callable[..., None]) -> None:
    periods(throttle_base_s=60.0)  # each chunk has its 429 and waits; none is in flight at the end
    server = site.server(then=throttle())
    with pytest.raises(lambdamap.ThrottledError, match="deadline") as caught:
        list(site.map(server, tasks.square, range(20), timeout=2.0))
    assert caught.value.ran == "NOT"


def test_row_17_the_next_map_has_patience_of_its_own(
    site: Any, periods: Callable[..., None]
) -> None:
    periods(throttle_base_s=0.02, throttle_patience_s=1.5)
    server = site.server(then=throttle())
    options = site.options(server)
    with pytest.raises(lambdamap.ThrottledError):
        list(lambdamap.map(tasks.square, range(4), **options))
    server.then = for_seconds(0.2, throttle(), run())
    assert list(lambdamap.map(tasks.square, range(4), **options)) == [0, 1, 4, 9]


@pytest.mark.parametrize(
    ("headers", "least_s", "most_s"),
    [
        ({"Retry_After": "1"}, 1.0, 6.5),
        ({"x_amz_retry_after": "300"}, 0.3, 5.5),
        ({"Retry_After": "soon"}, 0.0, 1.0),
        ({"Retry_After": "-5"}, 0.0, 1.0),
        ({"Retry_After": "1000000000"}, 4.9, 6.0),
        ({"Retry_After": "9" * 40}, 0.0, 6.0),
        pytest.param({"Retry_After": "3"}, 3.0, 8.5, marks=pytest.mark.soak),
        pytest.param({"x_amz_retry_after": "1500"}, 1.5, 7.0, marks=pytest.mark.soak),
    ],
    ids=lambda value: "-".join(value.values())[:12] if isinstance(value, dict) else "",
)
def test_row_18_what_the_server_asks_for(
    site: Any,
    periods: Callable[..., None],
    headers: dict[str, str],
    least_s: float,
    most_s: float,
) -> None:
    """At least the requested delay, at most 5 s more; an absurd value adds only 5 s to ours."""
    if site.scheme == "tls" and least_s > 0.5:
        pytest.skip("the time does not depend on TLS")
    periods(throttle_base_s=0.01)
    server = site.server([throttle(**headers)], then=reply(ANSWER))
    (answered,) = invoke(site.target(server))
    assert (answered.failure, answered.attempts, answered.throttles) == ("", 1, 1)
    first, second = server.requests
    assert least_s <= second.at - first.at
    assert second.at - first.at < most_s + 10  # a guard against hanging, on a busy machine


def test_row_19_ten_slots_and_a_thousand_chunks(site: Any, periods: Callable[..., None]) -> None:
    periods(throttle_base_s=0.02)
    server = site.server(then=slots(10, 0.005, reply(ANSWER)), check_signatures=False)
    net_map = open_map(site.target(server, max_concurrency=64))
    for number in range(1000):
        assert net_map.submit(b'{"n":1}', number, 1)
    answered = collect(net_map, 60)
    assert [end.failure for end in answered] == [""] * 1000
    assert server.complete < 3000


def test_row_19_results_in_order(site: Any, periods: Callable[..., None]) -> None:
    periods(throttle_base_s=0.02)
    server = site.server(then=slots(10, 0.002, run()))
    assert list(site.map(server, tasks.square, range(300), max_concurrency=64)) == [
        x * x for x in range(300)
    ]
    assert server.complete < 900
    assert set(server.items.values()) == {1}


def test_rate_limit_spaces_the_starts(site: Any) -> None:
    """A 429 that concerns the rate: the window is unchanged, the starts are spread."""
    taken: list[float] = []
    lock = threading.Lock()
    refused = throttle("ReservedFunctionInvocationRateLimitExceeded")

    def paced(connection: Connection, request: Request) -> None:
        with lock:
            fits = not taken or request.at - taken[-1] >= 0.01
            if fits:
                taken.append(request.at)
        (reply(ANSWER) if fits else refused)(connection, request)

    server = site.server(then=paced)
    target = site.target(server, max_concurrency=16, max_attempts=1)
    net_map = open_map(target)
    for number in range(100):
        assert net_map.submit(b'{"n":1}', number, 1)
    answered = collect(net_map, 60)
    assert [end.failure for end in answered] == [""] * 100
    assert target.window == 16
    assert server.complete < 400


def test_window_is_shared_by_maps_of_one_function(site: Any, periods: Callable[..., None]) -> None:
    """What one map has learned about the function's capacity holds for the next."""
    periods(throttle_base_s=0.02)
    server = site.server(then=slots(4, 0.01, reply(ANSWER)))
    target = site.target(server, max_concurrency=64)
    for expected in (1000, 160):
        before = server.complete
        net_map = open_map(target)
        for number in range(100):
            assert net_map.submit(b'{"n":1}', number, 1)
        collect(net_map)
        assert server.complete - before < expected


@pytest.mark.parametrize(
    ("status", "header", "body"),
    [
        (400, "ThrottlingException", b'{"message":"Rate exceeded"}'),
        (400, "", b'{"__type":"com.amazon#TooManyRequestsException","message":"slow down"}'),
        (400, "RequestLimitExceeded", b"{}"),
        (502, "EC2ThrottledException", b"{}"),
        (400, "", b'{"errorType":"Runtime.Unavailable","errorMessage":"no free environment"}'),
        (400, "", b""),
    ],
    ids=["ThrottlingException", "in the body", "RequestLimitExceeded", "EC2", "managed", "one"],
)
def test_throttles_by_other_names(
    plain_site: Any, periods: Callable[..., None], status: int, header: str, body: bytes
) -> None:
    """Other throttling errors of AWS, and emulators whose environments are all busy.

    Nothing ran, and no attempt is used up.
    """
    periods(throttle_base_s=0.02)
    kind = {"x-amzn-ErrorType": header} if header else {}
    refused = raw(plain_reply(body, status, kind))
    server = plain_site.server([refused] * 4, then=run())
    results = plain_site.map(server, tasks.square, range(6), max_attempts=1, max_concurrency=2)
    assert list(results) == [x * x for x in range(6)]
    assert results.stats["throttles"] == 4
    assert set(server.items.values()) == {1}


def test_each_map_has_its_own_bound(plain_site: Any) -> None:
    """max_concurrency is a map's own, whatever other maps of the function have.

    The function's window is above both.
    """
    lock, now, most = threading.Lock(), [0, 0], [0, 0]
    both = threading.Barrier(2)

    def count(connection: Connection, request: Request) -> None:
        which = int(b'"b"' in request.body)
        with lock:
            now[which] += 1
            most[which] = max(most[which], now[which])
        connection.wait(0.01)
        with lock:
            now[which] -= 1
        reply(ANSWER)(connection, request)

    server = plain_site.server(then=count)
    options = plain_site.options(server)
    function = options.pop("function")
    del options["chunksize"]

    def read(payload: str, at_once: int) -> None:
        results = lambdamap.invoke_map(
            function, [payload] * 40, max_concurrency=at_once, buffersize=40, **options
        )
        both.wait()
        assert list(results) == [{"ok": 1}] * 40

    one = threading.Thread(target=read, args=("a", 1))
    one.start()
    read("b", 8)
    one.join()
    assert most[0] == 1
    assert 2 <= most[1] <= 8
