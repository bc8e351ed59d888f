"""Dropped packets and names that do not resolve. Rows 2 to 5, 12 and 15.

These tests run in their own network namespace, or are skipped with the reason.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import netns
import tasks
from driver import collect, invoke, open_map, open_target
from scripted import Server, hold, reply

pytestmark = pytest.mark.own_network

ANSWER = b'{"ok":1}'
HOST = "lambda.test"


def named(server: Server, host: str = HOST) -> str:
    return server.url.replace(server.host, host)


def test_row_02_no_answer_to_the_syn(idempotent: bool) -> None:
    with netns.blackhole() as port:
        target = open_target(
            f"http://127.0.0.1:{port}", max_connect_ms=300, connect_patience_ms=900
        )
        started = time.monotonic()
        (lost,) = invoke(target, idempotent=idempotent)
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 0)
    assert (lost.bytes_sent, lost.stops_map) == (0, False)
    assert time.monotonic() - started >= 0.9


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_row_02_at_full_length(site: Any) -> None:
    """5 s each for connection and TLS, retried for 15 s."""
    with netns.blackhole() as port:
        url = f"{'https' if site.scheme == 'tls' else 'http'}://127.0.0.1:{port}"
        started = time.monotonic()
        with pytest.raises(lambdamap.ConnectError) as caught:
            list(
                lambdamap.map(
                    tasks.square, [1], function="f", endpoint_url=url, region="eu-central-1",
                    credentials=("k", "s"), progress=False,
                )
            )  # fmt: skip
        took = time.monotonic() - started
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 0)
    assert 14 < took < 60


def test_row_03_name_that_does_not_exist(site: Any) -> None:
    server = site.server(then=reply(ANSWER))
    with netns.Names(then=3) as names, pytest.raises(lambdamap.ConfigError, match=HOST) as caught:
        list(
            site.map(
                server, tasks.square, range(100), endpoint_url=named(server), max_concurrency=8
            )
        )
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 1)
    assert "endpoint_url" in str(caught.value)
    assert len(names.asked) == 1
    assert not server.connections


@pytest.mark.parametrize("ask_s", [0.5, pytest.param(4.0, marks=pytest.mark.soak)])
def test_row_04_slow_name_server(site: Any, ask_s: float) -> None:
    """One look-up for 1,000 chunks, and not a thread for each of them."""
    server = site.server(then=reply(ANSWER), check_signatures=False)
    threads = len(os.listdir("/proc/self/task"))
    with netns.Names(delay_s=60) as names:
        target = site.target(server, host=HOST)
        net_map = open_map(target)
        for number in range(1000):
            assert net_map.submit(b'{"n":1}', number, 1)
        time.sleep(ask_s)
        assert not server.connections
        assert len(os.listdir("/proc/self/task")) <= threads + 1 + 8  # one is the name server's
        names.answers.set()
        answered = collect(net_map)
    assert [end.failure for end in answered] == [""] * 1000
    assert len(names.asked) == 1
    assert server.complete == 1000


def test_row_05_name_server_that_fails_and_recovers(site: Any, idempotent: bool) -> None:
    """Each attempt makes a new look-up. (The system's resolver sends two to four queries for each.)"""
    server = site.server(then=reply(ANSWER))
    with netns.Names(codes=[2] * 4) as names:
        target = site.target(server, host=HOST, connect_patience_ms=15_000)
        (answered,) = invoke(target, idempotent=idempotent)
    assert (answered.failure, answered.attempts) == ("", 1)
    assert len(names.asked) >= 5
    assert server.complete == 1


def test_row_05_name_server_that_goes_on_failing(plain_site: Any) -> None:
    server = plain_site.server(then=reply(ANSWER))
    with netns.Names(then=2), pytest.raises(lambdamap.ConnectError, match=HOST) as caught:
        options = {"endpoint_url": named(server), "connect_timeout": 0.5}
        list(plain_site.map(server, tasks.square, [1], **options))
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 0)


def test_row_12_idle_connection_that_was_dropped(
    site: Any, idempotent: bool, periods: Callable[..., None]
) -> None:
    """A middlebox has silently dropped its state: what is sent is never acknowledged."""
    periods(unacknowledged_s=0.5)
    server = site.server(then=reply(ANSWER))
    target = site.target(server, max_connect_ms=200)
    invoke(target)
    started = time.monotonic()
    with netns.drop(server.port):
        (lost,) = invoke(target, idempotent=idempotent)
    assert (lost.failure, lost.ran) == ("connection_lost", "MAYBE")
    assert lost.attempts == 1  # there is no connection for another
    assert server.complete == 1
    assert 0.4 < time.monotonic() - started < 20


def test_row_12_old_connections_are_not_used(site: Any, periods: Callable[..., None]) -> None:
    periods(max_idle_s=0.2)
    server = site.server(then=reply(ANSWER))
    target = site.target(server)
    for _ in range(2):
        (answered,) = invoke(target)
        assert (answered.failure, answered.attempts) == ("", 1)
        time.sleep(0.4)
    assert [request.connection for request in server.requests] == [0, 1]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_row_12_at_full_length(site: Any) -> None:
    server = site.server(then=reply(ANSWER))
    target = site.target(server)
    invoke(target)
    started = time.monotonic()
    with netns.drop(server.port):
        (lost,) = invoke(target, hang_s=300, invocation_timeout_ms=300_000)
    assert (lost.failure, lost.ran, lost.attempts) == ("connection_lost", "MAYBE", 1)
    assert 55 < time.monotonic() - started < 100


def vanish_while_waiting(site: Any, seconds: float, idempotent: bool = False) -> Any:
    server = site.server(then=hold())
    target = site.target(server, max_connect_ms=200)
    cut = threading.Event()

    def cutter() -> None:
        server.wait_for(1)
        time.sleep(0.2)  # the request has been acknowledged
        with netns.drop(server.port):
            cut.wait(seconds)

    thread = threading.Thread(target=cutter)
    thread.start()
    started = time.monotonic()
    (lost,) = invoke(
        target, hang_s=300, idempotent=idempotent, invocation_timeout_ms=int(seconds * 1000)
    )
    took = time.monotonic() - started
    cut.set()
    thread.join()
    assert (lost.failure, lost.ran) == ("connection_lost", "MAYBE")
    assert server.complete == 1
    return lost, took


def test_row_15_peer_that_vanishes(
    plain_site: Any, idempotent: bool, periods: Callable[..., None]
) -> None:
    """Nothing is being sent: keep-alive probes detect it."""
    periods(keepalive_idle_s=1, keepalive_interval_s=1, unacknowledged_s=1)
    lost, _ = vanish_while_waiting(plain_site, 25, idempotent)
    assert lost.attempts == 1


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_row_15_at_full_length(site: Any) -> None:
    _, took = vanish_while_waiting(site, 200)
    assert took < 130
