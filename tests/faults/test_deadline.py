"""Time: how long is waited, and by which clock. Rows 13, 47, 56, 62 and 63."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import lambdamap
import tasks
from driver import HANG_S, collect, invoke, open_map
from places import SUPPORT
from scripted import Connection, Request, after, hold, reply, run

ANSWER = b'{"ok":1}'


@pytest.mark.parametrize(
    "seconds", [2.5, pytest.param(70.0, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
def test_row_13_reply_that_takes_long(site: Any, seconds: float) -> None:
    """A function that runs longer than other clients' read timeout runs once."""
    server = site.server(then=after(seconds, run()))
    assert list(site.map(server, tasks.square, [3], idempotent=True)) == [9]
    assert server.complete == 1
    (request,) = server.requests
    assert request.envelope["left_ms"] > 1_800_000


def test_row_56_deadline_of_a_map(site: Any, idempotent: bool) -> None:
    """The map ends then; what was sent may have run, what was not sent has not.

    The envelope contained the time left, and nothing is retried.
    """
    server = site.server([run(), run()], then=hold())
    started = time.monotonic()
    results = site.map(
        server, tasks.square, range(10), timeout=1.5, max_concurrency=2, idempotent=idempotent
    )
    taken = []
    with pytest.raises(lambdamap.DeadlineError) as caught:
        for result in results:
            taken.append(result)
    took = time.monotonic() - started
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert took >= 1.45
    done = len(taken)
    assert taken == [0, 1][:done]
    assert (list(error.indices), error.ran, error.attempts) == ([done], "MAYBE", 1)
    assert "timeout" in str(error)
    assert all(request.envelope["left_ms"] <= 1500 for request in server.requests)
    sent = server.complete
    assert sent <= 4
    assert took < HANG_S
    time.sleep(0.2)
    assert server.complete == sent


def test_row_56_finished_items_are_on_the_error(site: Any) -> None:
    """Results are stored by position, even if the last one arrives first."""

    def step(connection: Connection, request: Request) -> None:
        chunk = request.envelope["chunk"]
        (after(0.05 * (8 - chunk), run()) if chunk else hold())(connection, request)

    server = site.server(then=step)
    with pytest.raises(lambdamap.DeadlineError) as caught:
        list(site.map(server, tasks.square, range(8), timeout=4.0))
    assert list(caught.value.indices) == [0]
    assert list(caught.value.partial.items()) == [(i, i * i) for i in range(1, 8)]


def test_row_56_never_sent(site: Any) -> None:
    """A chunk that waited for a slot until the deadline has not run."""
    server = site.server(then=hold())
    net_map = open_map(site.target(server, max_concurrency=1), timeout_ms=1500)
    for number in range(3):
        assert net_map.submit(b"{}", number, 1)
    ends = [(end.failure, end.ran, end.attempts) for end in collect(net_map)]
    assert ends == [("deadline", "MAYBE", 1), ("deadline", "NOT", 0), ("deadline", "NOT", 0)]
    assert server.complete == 1


def test_row_56_of_one_invocation(site: Any, idempotent: bool) -> None:
    """`invocation_timeout` ends an attempt, not the map."""
    server = site.server([hold()], then=run())
    results = site.map(
        server, tasks.square, range(5), invocation_timeout=1.5, idempotent=idempotent
    )
    if idempotent:
        assert list(results) == [0, 1, 4, 9, 16]
        assert results.stats["retries"] == 1
        return
    with pytest.raises(lambdamap.DeadlineError) as caught:
        list(results)
    assert (len(caught.value.indices), caught.value.ran) == (1, "MAYBE")


# --- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, -1])
def test_row_62_wall_clock_that_jumps(site: Any, periods: Callable[..., None], hours: int) -> None:
    """Delays use a monotonic clock; signatures use the wall clock and the offset from a refusal."""
    server = site.server(
        [after(0.5, reply(ANSWER)), reply(ANSWER)], then=reply(ANSWER), check_signatures=False
    )
    net_map = open_map(site.target(server), invocation_timeout_ms=10_000, timeout_ms=20_000)
    assert net_map.submit(b"{}", 0, 1)
    server.wait_for(1)
    periods(wall_shift_s=hours * 3600)
    assert net_map.submit(b"{}", 1, 1)
    assert [end.failure for end in collect(net_map)] == ["", ""]
    (late,) = invoke(site.target(site.server(then=hold())), invocation_timeout_ms=300)
    assert late.failure == "deadline"
    stamps = [
        time.mktime(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        for request in server.requests
    ]
    assert abs(abs(stamps[1] - stamps[0]) - 3600) < 60


def lazy_reader(connection: Connection) -> None:
    """Stop reading in the middle of the request, so that the sender's TCP window closes."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if connection.server.tls is not None and not connection.start_tls():
        return
    connection.read(1000)
    connection.wait(3600)  # until the server stops
    connection.close()


@pytest.mark.parametrize(
    ("unacknowledged_s", "attempt_ms"),
    [
        (0.7, 20_000),
        (60.0, 1500),
        pytest.param(60.0, 300_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
    ids=["kernel", "attempt", "full-length"],
)
def test_row_63_peer_that_stops_reading(
    site: Any,
    idempotent: bool,
    periods: Callable[..., None],
    unacknowledged_s: float,
    attempt_ms: int,
) -> None:
    """The kernel gives up after TCP_USER_TIMEOUT, or the deadline comes first.

    Chunks on other connections succeed.
    """
    periods(unacknowledged_s=unacknowledged_s)
    server = site.server(greetings=[lazy_reader], then=reply(ANSWER))
    target = site.target(server, max_attempts=1)
    stuck = open_map(target, idempotent=idempotent, invocation_timeout_ms=attempt_ms)
    assert stuck.submit(b'"' + b"x" * 5_000_000 + b'"', 0, 1)
    server.wait_for_connections(1)
    passed = invoke(target, [b"{}"] * 20, idempotent=idempotent)
    assert [end.failure for end in passed] == [""] * 20
    (lost,) = collect(stuck, 120)
    expected = "deadline" if attempt_ms < unacknowledged_s * 1000 else "connection_lost"
    assert (lost.failure, lost.ran) == (expected, "MAYBE")


# --- Ctrl-C -------------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, sys, threading, time
sys.path[:0] = {support!r}
import lambdamap, tasks
options = dict(function="f", endpoint_url={url!r}, region="eu-central-1", credentials=("k", "s"),
               chunksize=1, progress=False, ca_bundle={ca!r}, http_version={version!r})
{setup}
ready = threading.Semaphore(0)
def press():
    for delay in {delays}:
        ready.acquire()
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)
list(lambdamap.map(tasks.square, [1], **{{**options, "function": "good"}}))  # imports are done
presser = threading.Thread(target=press)
presser.start()
caught = 0
for _ in {delays}:
    began = time.monotonic()
    try:
        ready.release()
        list(lambdamap.map(tasks.square, data(), **options))
    except KeyboardInterrupt:
        caught += 1
took = time.monotonic() - began
presser.join()
from lambdamap import _net
def left():
    state = _net.debug_state()
    return state["in_flight"], state["used_bytes"]
end = time.monotonic() + 20
while any(left()) and time.monotonic() < end:
    time.sleep(0.01)
print(caught, *left(), took)
print(list(lambdamap.map(tasks.square, [2, 3], **{{**options, "function": "good"}})))
"""


@pytest.mark.parametrize(
    ("setup", "delays"),
    [
        ("def data(): return range(20)", (0.3,)),
        ("def data(): return range(20)", (0.3, 0.3)),
        ("def data():\n    while True: yield 0", (0.3,)),
        ("def data():\n    time.sleep(40); yield 0", (0.3,)),
    ],
    ids=["waiting", "twice", "encoding", "input"],
)
def test_row_47_ctrl_c(site: Any, setup: str, delays: tuple[float, ...]) -> None:
    """KeyboardInterrupt at once; sockets are closed, nothing is left behind, the next map works."""

    def step(connection: Connection, request: Request) -> None:
        (run() if "/good/" in request.target else hold())(connection, request)

    server = site.server(then=step, check_signatures=False)
    code = INTERRUPTED.format(
        support=[str(place) for place in SUPPORT], url=server.url, setup=textwrap.dedent(setup), delays=delays,
        ca=str(site.ca_file),
        version="auto" if site.scheme == "h2" else "1.1",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    counts, answer = done.stdout.splitlines()
    caught, in_flight, used_bytes, took = counts.split()
    assert (int(caught), int(in_flight), int(used_bytes)) == (len(delays), 0, 0)
    assert float(took) < 20  # a guard; 0.3 s is expected on an idle machine
    assert answer == "[4, 9]"
    ends = time.monotonic() + HANG_S
    held = [c for c in server.connections if c.open]
    while held and time.monotonic() < ends:
        time.sleep(0.01)
        held = [c for c in server.connections if c.open]
    assert not held


# A signal between two results leaves the map to the garbage collector, which warns about it.
@pytest.mark.filterwarnings("ignore:a map was dropped:ResourceWarning")
def test_row_47_again_and_again(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many signals while maps run: each map ends in one of two ways, and the next one works."""
    # A signal between an open() and its with statement leaves the file to the garbage collector, in any
    # Python code. The AWS files do not exist here, so that no file is opened.
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null/none")
    server = site.server(then=after(0.01, run()))
    options = site.options(server)
    assert list(lambdamap.map(tasks.square, [3], **options)) == [9]  # imports have finished
    before = signal.getsignal(signal.SIGINT)
    storming = True
    over = threading.Event()

    def interrupt(_: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, except where Python would print the exception and continue.

        After the test, a late signal does nothing.
        """
        while frame is not None:
            if frame.f_code.co_name in ("__del__", "gc_callback"):
                return
            frame = frame.f_back
        if storming:
            raise KeyboardInterrupt

    def press() -> None:
        while not over.wait(0.05):
            os.kill(os.getpid(), signal.SIGINT)

    caught = maps = 0
    ends = time.monotonic() + HANG_S
    presser = threading.Thread(target=press)
    signal.signal(signal.SIGINT, interrupt)
    try:
        presser.start()
        while maps < 12 or (not caught and time.monotonic() < ends):
            maps += 1
            try:
                found = list(lambdamap.map(tasks.square, range(30), **options))
                assert found == [x * x for x in range(30)]
            except KeyboardInterrupt:
                caught += 1
    except KeyboardInterrupt:
        caught += 1  # between two maps
    finally:
        storming = False
        over.set()
        presser.join()
        signal.signal(signal.SIGINT, before)
    assert caught
    assert list(lambdamap.map(tasks.square, range(5), **options)) == [0, 1, 4, 9, 16]
    assert list(itertools.islice(lambdamap.map(tasks.square, range(5), **options), 5))
