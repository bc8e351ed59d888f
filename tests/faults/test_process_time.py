"""Clocks that jump (row 62) and a process that is stopped for a while (row 64)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options
from outside import script_environment
from scripted import Connection, Request, Server, after, aws_error, run, throttle

HOUR_S = 3600.0


# --- row 62: the wall clock ------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_row_62_a_jump_while_requests_wait(
    jump_s: float, site: Any, periods: Callable[..., None]
) -> None:
    """No timeout ends early or late: they use a clock that cannot be set."""
    answer = threading.Event()

    def wait(connection: Connection, request: Request) -> None:
        assert answer.wait(30)
        run()(connection, request)

    server = site.server([wait, wait], then=run())
    results = site.map(server, tasks.square, range(6), timeout=60, max_concurrency=2)
    server.wait_for(2)
    periods(wall_shift_s=jump_s)
    time.sleep(0.2)  # the I/O threads turn meanwhile
    answer.set()
    assert list(results) == [0, 1, 4, 9, 16, 25]
    assert results.stats.retries == 0
    assert set(server.items.values()) == {1}


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_row_62_a_jump_during_backoff(
    jump_s: float, serve: Callable[..., Server], periods: Callable[..., None]
) -> None:
    """A retry that waits for a second waits for a second."""
    server = serve([throttle(x_amz_retry_after="1000")])
    results = lambdamap.map(tasks.square, [3], **api_options(server, timeout=60))
    server.wait_for(1)
    periods(wall_shift_s=jump_s)
    assert list(results) == [9]
    assert server.complete == 2
    waited = server.requests[1].at - server.requests[0].at
    assert 0.9 < waited < 30


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_row_62_deadlines_hold(
    jump_s: float, serve: Callable[..., Server], periods: Callable[..., None]
) -> None:
    server = serve(then=after(20, run()))
    started = time.monotonic()
    results = lambdamap.map(tasks.square, [3], **api_options(server, timeout=1.0))
    server.wait_for(1)
    periods(wall_shift_s=jump_s)
    with pytest.raises(lambdamap.DeadlineError):
        list(results)
    assert 0.9 < time.monotonic() - started < 15


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_row_62_signing_follows_the_server(
    jump_s: float, serve: Callable[..., Server], periods: Callable[..., None]
) -> None:
    """A request whose time is an hour off is refused once; the Date of the refusal corrects later
    ones.

    The correction ends when the clock is right again.
    """

    def refuse_if_off(connection: Connection, request: Request) -> None:
        signed = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        now = datetime.now(timezone.utc)
        if abs((signed.replace(tzinfo=timezone.utc) - now).total_seconds()) > 300:
            date = now.strftime("%a, %d %b %Y %H:%M:%S GMT")
            aws_error(403, "InvalidSignatureException", "Signature expired", Date=date)(
                connection, request
            )
            return
        run()(connection, request)

    server = serve(then=refuse_if_off)
    options = api_options(server, max_concurrency=1)
    assert list(lambdamap.map(tasks.square, range(3), **options)) == [0, 1, 4]
    periods(wall_shift_s=jump_s)
    assert list(lambdamap.map(tasks.square, range(3), **options)) == [0, 1, 4]
    assert server.complete == 3 + 4
    periods(wall_shift_s=0.0)
    assert list(lambdamap.map(tasks.square, range(3), **options)) == [0, 1, 4]
    assert server.complete <= 7 + 4
    assert server.items == dict.fromkeys(range(3), 3)


# --- row 64: stopped and woken ---------------------------------------------------------------------

SLEEPER = """
import json, os, sys
import lambdamap, tasks
from lambdamap import _net
options = json.loads(os.environ["TEST_OPTIONS"])
_net.debug_periods(max_idle_s=float(os.environ["TEST_IDLE_S"]))
numbers = list(range(8))
assert list(lambdamap.map(tasks.square, numbers, **options)) == [x * x for x in numbers]
print("idle", flush=True)
sys.stdin.readline()
results = lambdamap.map(tasks.square, numbers, **options)
assert list(results) == [x * x for x in numbers]
print(results.stats.retries, results.stats.connections, flush=True)
"""


def sleep_and_wake(
    server: Server,
    options: dict[str, Any],
    idle_s: float,
    stopped_s: float,
    meanwhile: Callable[[Connection], None],
) -> tuple[int, int]:
    """Stop a process with idle connections for a while, then map; return its retries and
    connections.

    The caller decides what happens to each connection meanwhile.
    """
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SLEEPER],
        env={**script_environment(options), "TEST_IDLE_S": str(idle_s)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "idle\n", process.communicate()
        os.kill(process.pid, signal.SIGSTOP)
        with server.lock:
            before = list(server.connections)
        for connection in before:
            meanwhile(connection)
        time.sleep(stopped_s)
        process.stdin.write("go\n")
        process.stdin.flush()
        os.kill(process.pid, signal.SIGCONT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    retries, connections = output.split()
    assert sum(connection.swallowed for connection in before) == 0
    assert server.items == dict.fromkeys(range(8), 2)
    return int(retries), int(connections)


def forget(connection: Connection) -> None:
    """Drop everything silently, as a NAT does with an expired flow."""
    connection.forgotten = True


def shut_down(connection: Connection) -> None:
    with contextlib.suppress(OSError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def test_row_64_stopped_with_an_idle_pool(site: Any) -> None:
    """All connections have silently become useless. None is used after waking up.

    They are too old, by a clock that has continued.
    """
    server = site.server()
    options = site.options(server, max_concurrency=4)
    retries, connections = sleep_and_wake(server, options, 0.5, 1.5, forget)
    assert retries == 0 and connections > 0


def test_row_64_stopped_while_the_server_closes(site: Any) -> None:
    """The FINs wait in the sockets; they are noticed before anything is sent."""
    server = site.server()
    options = site.options(server, max_concurrency=4)
    retries, connections = sleep_and_wake(server, options, 50, 0.5, shut_down)
    assert retries == 0 and connections > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_row_64_stopped_for_ten_minutes(site: Any) -> None:
    server = site.server()
    options = site.options(server, max_concurrency=4)
    assert sleep_and_wake(server, options, 50, 600, forget)[0] == 0
