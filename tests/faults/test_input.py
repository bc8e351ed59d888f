"""What the caller passes, and how much of it. Rows 28, 45, 46, 53 and 54."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lambdamap
import tasks
from places import ROOT, SUPPORT
from scripted import Connection, Request, aws_error, run

MIB = 1 << 20


def too_large(most_items: int, never: int | None = None) -> Any:
    """Reply 413 to chunks of more items, and to any that contains the item `never`."""
    refused = aws_error(413, "RequestEntityTooLargeException", "smaller than 6291456 bytes")
    running = run()

    def step(connection: Connection, request: Request) -> None:
        first, count = request.envelope["chunk"], request.envelope["items"]
        bad = count > most_items or (never is not None and first <= never < first + count)
        (refused if bad else running)(connection, request)

    return step


def test_row_28_chunk_is_halved(site: Any, idempotent: bool) -> None:
    """Nothing ran, so the halves are sent whether or not f may run twice."""
    server = site.server(then=too_large(3))
    results = site.map(server, tasks.square, range(40), chunksize=10, idempotent=idempotent)
    assert list(results) == [x * x for x in range(40)]
    assert max(server.runs.values()) == 1
    assert set(server.items.values()) == {1}


def test_row_28_down_to_one_item(site: Any, idempotent: bool) -> None:
    """The item that does not fit is named; finished results are on the error."""
    server = site.server(then=too_large(100, never=13))
    taken = []
    with pytest.raises(lambdamap.PayloadTooLargeError, match="item 13:") as caught:
        for result in site.map(
            server, tasks.square, range(20), chunksize=20, idempotent=idempotent
        ):
            taken.append(result)
    assert taken == [x * x for x in range(13)]
    assert (list(caught.value.indices), caught.value.ran) == ([13], "NOT")
    assert caught.value.partial.items() <= {i: i * i for i in range(14, 20)}.items()
    assert 13 not in server.items and set(server.items.values()) == {1}


def test_row_28_payload_that_cannot_be_halved(site: Any) -> None:
    server = site.server(then=aws_error(413, "RequestTooLargeException"))
    options = site.options(server)
    del options["chunksize"]
    function = options.pop("function")
    with pytest.raises(lambdamap.PayloadTooLargeError) as caught:
        list(lambdamap.invoke_map(function, [{"n": 1}], **options))
    assert caught.value.ran == "NOT"
    assert server.complete == 1


class Upset(Exception):
    """The input's own exception."""


@pytest.mark.parametrize("at", [0, 1, 7, 30])
def test_row_45_input_that_raises(plain_site: Any, at: int) -> None:
    """The items before it run and are returned; then the same exception is raised."""
    error = Upset("no more")

    def data() -> Iterator[int]:
        yield from range(at)
        raise error

    server = plain_site.server()
    threads = threading.active_count()
    taken = []
    with pytest.raises(Upset) as caught:
        for result in plain_site.map(server, tasks.square, data(), chunksize=4):
            taken.append(result)
    assert caught.value is error
    assert taken == [x * x for x in range(at)]
    assert set(server.items.values()) <= {1}
    assert threading.active_count() <= threads + len(server.connections)


def test_row_45_even_when_it_raises_what_steers_python(plain_site: Any) -> None:
    def data() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    server = plain_site.server()
    results = plain_site.map(server, tasks.square, iter([0]))
    assert list(results) == [0]
    with pytest.raises(KeyboardInterrupt):
        list(plain_site.map(server, tasks.square, data()))


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_row_46_item_that_cannot_be_sent(plain_site: Any, chunksize: int) -> None:
    data: list[Any] = [*range(7), (x for x in ()), *range(8, 20)]
    server = plain_site.server()
    taken = []
    with pytest.raises(lambdamap.EncodeError, match="item 7") as caught:
        for result in plain_site.map(server, tasks.identity, data, chunksize=chunksize):
            taken.append(result)
    assert isinstance(caught.value, TypeError)
    assert (list(caught.value.indices), caught.value.ran) == ([7], "NOT")
    assert taken == list(range(7))
    assert max(server.items) == 6


def test_row_46_item_above_the_limit(plain_site: Any) -> None:
    """Found by the caller, before anything of it is sent."""
    server = plain_site.server()
    data = [b"small", os.urandom(6 * MIB), b"small"]
    taken = []
    with pytest.raises(lambdamap.PayloadTooLargeError, match="item 1:") as caught:
        for result in plain_site.map(server, tasks.identity, data):
            taken.append(result)
    assert (list(caught.value.indices), caught.value.ran) == ([1], "NOT")
    assert taken == [b"small"]
    assert all(len(request.body) < MIB for request in server.requests)
    assert 1 not in server.items


def test_row_46_items_that_only_together_are_above_it(plain_site: Any) -> None:
    data = [os.urandom(2 * MIB) for _ in range(6)]
    server = plain_site.server()
    found = list(plain_site.map(server, tasks.size, data, chunksize=6))
    assert found == [2 * MIB] * 6
    assert set(server.items.values()) == {1}
    assert all(len(request.body) <= 6_291_456 for request in server.requests)


def test_row_53_every_allocation_fails_in_turn() -> None:
    """The core's own test: a map over real sockets in which the n-th allocation fails, for each n."""
    folder = ROOT / "tests" / "c"
    subprocess.run(
        ["make", "-s", "-C", str(folder), "build/asan/test_net_memory"], check=True, timeout=600
    )
    done = subprocess.run(
        [str(folder / "build/asan/test_net_memory")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "total_mib", [320, pytest.param(10_240, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])]
)
def test_row_54_input_larger_than_the_memory(serve: Callable[..., Any], total_mib: int) -> None:
    """Items are created when they can be sent: the caller's memory stays bounded."""
    answered = run()

    def step(connection: Connection, request: Request) -> None:
        answered(connection, request)
        with connection.server.lock:
            request.body = b""  # the server must not keep the input

    server = serve(then=step, check_signatures=False)
    code = f"""
    import sys
    sys.path[:0] = {[str(place) for place in SUPPORT]!r}
    import lambdamap, tasks
    def data():
        for number in range({total_mib}):
            yield number.to_bytes(4, "big") + bytes(1 << 20)
    count = 0
    for size in lambdamap.map(
        tasks.size, data(), function="f", endpoint_url={server.url!r}, region="eu-central-1",
        credentials=("k", "s"), chunksize=2, progress=False, max_inflight_bytes=64 << 20,
        compression=False,
    ):
        assert size == 4 + (1 << 20)
        count += 1
    with open("/proc/self/status") as file:
        high = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    print(count, high // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, timeout=2900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, high_mib = map(int, done.stdout.split())
    assert count == total_mib
    assert high_mib < 256
