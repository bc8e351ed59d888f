"""What only HTTP/2 has: refused and reset streams, GOAWAY, PING, windows, and peers that abuse them.

The other rows run over HTTP/2 as well (`site` of conftest.py).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from h2.errors import ErrorCodes

import lambdamap
import tasks
from certificates import Authority
from driver import HANG_S, api_options, collect, invoke, open_map
from scripted import Connection, Request, Server, Step, hold, reply, run
from scripted_h2 import H2Connection, frames, goaway, reset_stream, settings

ANSWER = b'{"ok":1}'

pytestmark = pytest.mark.parametrize("site", ["h2"], indirect=True)


def frame(
    kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    """A frame of HTTP/2; its length may be a lie."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def connections(server: Server) -> list[int]:
    """The connection of each request."""
    return [request.connection for request in server.requests]


def after(first: Step, then: Step) -> Step:
    def both(connection: Connection, request: Request) -> None:
        first(connection, request)
        then(connection, request)

    return both


# --- versions -------------------------------------------------------------------------------------


def test_row_67_many_chunks_share_a_connection(site: Any) -> None:
    server = site.server(then=run())
    results = site.map(server, tasks.square, range(200), chunksize=1, max_concurrency=64)
    assert list(results) == [n * n for n in range(200)]
    # 8, and more if the server takes a second to say how many streams it allows.
    assert len(server.connections) <= 24
    assert results.stats.connections == len(server.connections)
    assert all(item == 1 for item in server.items.values())


def test_row_67_http_1_1_on_request(
    site: Any, serve: Callable[..., Server], authority: Authority
) -> None:
    """A server that offers both; None takes HTTP/2."""
    context = authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = serve(then=reply(ANSWER), tls=context)
    (answered,) = invoke(site.target(server, http_version="1.1"))
    assert (answered.failure, answered.body) == ("", ANSWER)
    assert context.sslobject_class is not None
    assert server.connections[0].sock.selected_alpn_protocol() != "h2"


def test_row_67_nothing_but_http_2(
    site: Any, serve: Callable[..., Server], authority: Authority
) -> None:
    """With http_version="2", an endpoint that does not offer it is a mistake of configuration."""
    server = serve(then=run(), tls=authority.context())
    options = site.options(server, http_version="2")
    with pytest.raises(lambdamap.ConfigError, match="http_version") as caught:
        list(lambdamap.map(tasks.square, range(4), **options))
    assert caught.value.ran == "NOT"
    assert server.complete == 0
    with pytest.raises(lambdamap.ConfigError, match="https"):
        lambdamap.map(tasks.square, [1], **api_options(serve(), http_version="2"))


# --- what was not processed -----------------------------------------------------------------------


def test_row_68_refused_streams_have_not_run(site: Any) -> None:
    """Sent again without idempotent, as an attempt."""
    server = site.server([reset_stream(ErrorCodes.REFUSED_STREAM)] * 2, then=reply(ANSWER))
    (answered,) = invoke(site.target(server))
    assert (answered.failure, answered.attempts, server.complete) == ("", 3, 3)
    assert set(connections(server)) == {0}


def test_row_68_always_refused(site: Any) -> None:
    server = site.server(then=reset_stream(ErrorCodes.REFUSED_STREAM))
    (refused,) = invoke(site.target(server))
    assert (refused.failure, refused.ran) == ("service", "NOT")
    assert refused.attempts == server.complete == 3
    assert "REFUSED_STREAM" in refused.message


def test_row_69_streams_above_goaway_have_not_run(site: Any) -> None:
    """Those that the server has taken run on; the others go to a new connection."""
    server = site.server([goaway(last=0, close=True)], then=reply(ANSWER))
    (answered,) = invoke(site.target(server))
    assert (answered.failure, answered.attempts) == ("", 2)
    assert connections(server) == [0, 1]


def test_row_69_a_graceful_goaway(site: Any) -> None:
    server = site.server([after(goaway(), reply(ANSWER))], then=reply(ANSWER))
    target = site.target(server)
    for number in range(3):
        (answered,) = invoke(target)
        assert (answered.failure, answered.attempts, server.complete) == ("", 1, number + 1)
    assert connections(server) == [0, 1, 1]


def test_row_69_goaway_with_an_error(site: Any, idempotent: bool) -> None:
    """Nobody says of the stream that it was not processed."""
    server = site.server(then=goaway(code=ErrorCodes.INTERNAL_ERROR, close=True))
    (lost,) = invoke(site.target(server), idempotent=idempotent)
    assert (lost.failure, lost.ran) == ("connection_lost", "MAYBE")
    assert lost.attempts == server.complete == (3 if idempotent else 1)


# --- what may have run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR]
)
def test_row_70_a_stream_that_is_reset(site: Any, idempotent: bool, code: ErrorCodes) -> None:
    server = site.server(then=reset_stream(code))
    (lost,) = invoke(site.target(server), idempotent=idempotent)
    assert (lost.failure, lost.ran) == ("connection_lost", "MAYBE")
    assert lost.attempts == server.complete == (3 if idempotent else 1)
    assert set(connections(server)) == {0}  # its other streams are as good as before


def test_row_70_reset_after_the_head(site: Any) -> None:
    server = site.server(then=reset_stream(ErrorCodes.REFUSED_STREAM, head=True))
    (lost,) = invoke(site.target(server))
    assert (lost.failure, lost.ran, lost.status) == ("protocol", "RAN", 200)


def test_row_71_no_answer_to_a_ping(site: Any, periods: Callable[..., None]) -> None:
    """A dead path is noticed in the middle of a long run."""

    def forget(connection: Any, request: Request) -> None:
        connection.connection.forgotten = True

    periods(silence_s=0.5)
    server = site.server([forget], then=reply(ANSWER))
    started = time.monotonic()
    target = site.target(server)
    (lost,) = invoke(target)
    assert (lost.failure, lost.ran) == ("connection_lost", "MAYBE")
    assert "PING" in lost.message
    assert 0.9 < time.monotonic() - started < HANG_S
    (answered,) = invoke(target)
    assert answered.failure == ""


def test_row_71_a_long_run_is_pinged_and_goes_on(site: Any, periods: Callable[..., None]) -> None:
    def slow(connection: Any, request: Request) -> None:
        connection.wait(2.0)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + ANSWER)

    periods(silence_s=0.4)
    server = site.server([slow])
    (answered,) = invoke(site.target(server))
    assert (answered.failure, answered.body, answered.attempts) == ("", ANSWER, 1)
    (connection,) = server.connections
    assert isinstance(connection, H2Connection) and connection.pings >= 2


def test_row_72_a_cancelled_stream_is_reset_and_its_connection_kept(site: Any) -> None:
    server = site.server([hold(), hold()], then=reply(ANSWER))
    target = site.target(server)
    net_map = open_map(target)
    net_map.submit(b"{}", 0, 1)
    server.wait_for(1)
    net_map.cancel()
    (cancelled,) = collect(net_map)
    assert (cancelled.failure, cancelled.ran) == ("cancelled", "MAYBE")
    server.script = iter(())
    (answered,) = invoke(target)
    assert answered.failure == ""
    assert set(connections(server)) == {0}
    (connection,) = server.connections
    assert isinstance(connection, H2Connection)
    assert connection.resets == [(1, ErrorCodes.CANCEL)]


# --- room -----------------------------------------------------------------------------------------


def test_row_73_few_streams_are_allowed(site: Any) -> None:
    """More connections are opened than 8; nothing waits for good."""
    server = site.server(then=run(), max_streams=2)
    results = site.map(server, tasks.square, range(60), chunksize=1, max_concurrency=40)
    assert list(results) == [n * n for n in range(60)]
    assert results.stats.retries == 0


def test_row_73_large_payloads_both_ways(site: Any) -> None:
    text = "x" * 3_000_000
    server = site.server(then=run())
    results = site.map(server, tasks.identity, [text] * 6, chunksize=1, compression=False)
    assert all(result == text for result in results)


@pytest.mark.parametrize("opens", [True, False])
def test_row_73_no_window_at_first(site: Any, opens: bool) -> None:
    """INITIAL_WINDOW_SIZE is 0: the body waits for WINDOW_UPDATE, or for its deadline."""

    def shut(connection: Any, request: Request) -> None:
        connection.connection.opens_windows = opens
        settings(initial_window_size=0)(connection, request)
        reply(ANSWER)(connection, request)

    server = site.server([shut], then=reply(ANSWER))
    target = site.target(server)
    invoke(target)
    (ended,) = invoke(target, [b"[" + b"1" * 1000 + b"]"], invocation_timeout_ms=1500)
    assert (ended.failure, ended.ran) == (("", "RAN") if opens else ("deadline", "MAYBE"))
    assert server.complete == 1 + opens


# --- peers that abuse it --------------------------------------------------------------------------

GARBAGE = {
    "not-http2": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "unknown-stream": frame(0, 1, 99, b"data"),
    "push": frame(5, 4, 1, (2).to_bytes(4, "big") + b"\x88"),
    "settings-of-odd-length": frame(4, 0, 0, b"12345"),
    "data-on-the-connection": frame(0, 0, 0, b"data"),
    "huge-frame": frame(0, 0, 1, b"", length=(1 << 24) - 1),
    "broken-hpack": frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
    "window-overflow": frame(8, 0, 0, (0x7FFFFFFF).to_bytes(4, "big")) * 2,
    "bare-continuation": frame(9, 4, 1, b"\x88"),
    "unknown-frame-in-a-head": frame(1, 0, 1, b"\x88") + frame(0, 0, 1, b""),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_row_74_frames_that_are_invalid(site: Any, garbage: bytes) -> None:
    """The connection ends, what was sent on it is MAYBE, and the next one is clean."""
    server = site.server([after(frames(garbage), hold())], then=reply(ANSWER))
    target = site.target(server)
    (lost,) = invoke(target)
    assert lost.failure in ("protocol", "connection_lost")
    assert lost.ran == "MAYBE"
    (answered,) = invoke(target)
    assert (answered.failure, answered.body) == ("", ANSWER)
    assert connections(server) == [0, 1]


def _endless(pieces: Iterator[bytes]) -> Step:
    def step(connection: Any, request: Request) -> None:
        for piece in pieces:
            with connection.connection.lock:
                if not (connection.open and connection.connection.send(piece)):
                    return

    return step


FLOODS = {
    "ping": frame(6, 0, 0, b"12345678"),
    "settings": frame(4, 0, 0),
    "empty-data": frame(0, 0, 1),
    "continuation": frame(9, 0, 1, b""),
    "window-updates": frame(8, 0, 0, (1).to_bytes(4, "big")),
    "priority": frame(2, 0, 1, b"\x00\x00\x00\x00\x10"),
    "unknown": frame(0xEE, 0, 1, b"whatever"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_row_75_floods(site: Any, kind: str) -> None:
    """Frames without end that bring nothing: bounded, and not by time."""
    start = frame(1, 0, 1, b"\x88") if kind == "continuation" else b""
    if kind == "empty-data":
        start = frame(1, 4, 1, b"\x88")
    flood = itertools.chain([start], itertools.repeat(FLOODS[kind] * 1000))
    server = site.server([_endless(flood)], then=reply(ANSWER))
    target = site.target(server)
    (lost,) = invoke(target)
    assert lost.failure in ("protocol", "connection_lost")
    assert lost.ran == ("RAN" if kind == "empty-data" else "MAYBE")
    (answered,) = invoke(target)
    assert (answered.failure, answered.body) == ("", ANSWER)


def _header_bomb() -> Iterator[bytes]:
    """One field of 4,000 bytes in HPACK's table, and then references to it."""
    name, value = b"x", b"v" * 4000
    literal = bytes([0x40, len(name)]) + name + b"\x7f\xa1\x1e" + value
    yield frame(1, 0, 1, b"\x88" + literal)
    while True:
        yield frame(9, 0, 1, b"\xbe" * 4000)


def test_row_75_a_header_bomb(site: Any) -> None:
    server = site.server([_endless(_header_bomb())], then=reply(ANSWER))
    target = site.target(server)
    (lost,) = invoke(target)
    assert lost.failure in ("protocol", "connection_lost")
    (answered,) = invoke(target)
    assert answered.failure == ""
