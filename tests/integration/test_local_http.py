"""The local Lambda's HTTP side against what no well-behaved client sends."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lambdamap.local import LocalLambda, http

HANG_S = 20
PATH = b"/2015-03-31/functions/f/invocations"
LINE = b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def function() -> Iterator[LocalLambda]:
    with LocalLambda(handler="tasks.handler", sandboxes=1, auth=False) as running:
        yield running


def dial(function: LocalLambda) -> socket.socket:
    return socket.create_connection(("127.0.0.1", function.port), timeout=HANG_S)


def reply(peer: socket.socket, got: bytes = b"") -> tuple[int, bytes, bytes]:
    """Status and body of the next reply, and what came behind it."""
    while b"\r\n\r\n" not in got:
        data = peer.recv(65536)
        if not data:
            return 0, b"", b""
        got += data
    head, _, rest = got.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    while len(rest) < length:
        data = peer.recv(65536)
        assert data
        rest += data
    return status, rest[:length], rest[length:]


def closed(peer: socket.socket) -> bool:
    try:
        while peer.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/one\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),  # no Host
        (LINE + b"Content-Length: -1\r\n\r\n", 400),
        (LINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (LINE + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
        (LINE + b"Content-Length: 99999999999\r\n\r\n", 413),
        (LINE + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (LINE + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (LINE + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (LINE + b"A b: c\r\n\r\n", 400),
        (LINE + b" folded: x\r\n\r\n", 0),
        (LINE + b"X: " + b"a" * 40000 + b"\r\n\r\n", 431),
        (b"A" * 100_000, 431),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET " + PATH + b" HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST /2015-03-31/functions/../../x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
)
def test_malformed_requests(function: LocalLambda, request_: bytes, status: int) -> None:
    with dial(function) as peer:
        peer.sendall(request_)
        found, body, _ = reply(peer)
        if status:
            assert found == status
            assert "message" in json.loads(body)
        if found in (400, 413, 431, 501):
            assert closed(peer)
    with dial(function) as peer:  # and it goes on
        peer.sendall(LINE + b"Content-Length: 1\r\n\r\n7")
        assert json.loads(reply(peer)[1])["event"] == 7


def test_byte_by_byte(function: LocalLambda) -> None:
    with dial(function) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in LINE + b'Content-Length: 8\r\n\r\n{"a": 1}':
            peer.sendall(bytes([byte]))
        assert json.loads(reply(peer)[1])["event"] == {"a": 1}


def test_chunked_bodies_and_continue(function: LocalLambda) -> None:
    with dial(function) as peer:
        peer.sendall(LINE + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n")
        peer.sendall(LINE + b"Content-Length: 1\r\n\r\n8")
        _, body, rest = reply(peer)
        assert json.loads(body)["event"] == [1, 2]
        assert json.loads(reply(peer, rest)[1])["event"] == 8
        peer.sendall(LINE + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"9")
        assert json.loads(reply(peer)[1])["event"] == 9


def test_many_pipelined_requests(function: LocalLambda) -> None:
    with dial(function) as peer:
        count = 3000
        dry = LINE + b"X-Amz-Invocation-Type: DryRun\r\nContent-Length: 1\r\n\r\n1"
        sender = threading.Thread(target=peer.sendall, args=(dry * count + LINE + b"\r\n",))
        sender.start()
        rest = b""
        for _ in range(count):
            status, _, rest = reply(peer, rest)
            assert status == 204
        assert json.loads(reply(peer, rest)[1])["event"] == {}
        sender.join(HANG_S)


def test_an_empty_body_is_an_empty_object(function: LocalLambda) -> None:
    with dial(function) as peer:
        peer.sendall(LINE + b"\r\n")
        assert json.loads(reply(peer)[1])["event"] == {}


def test_far_too_large_keeps_the_connection(function: LocalLambda) -> None:
    size = 20_000_000
    with dial(function) as peer:
        peer.sendall(LINE + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(20):
            peer.sendall(bytes(1_000_000))
        assert reply(peer)[0] == 413
        peer.sendall(LINE + b"Content-Length: 1\r\n\r\n7")
        assert json.loads(reply(peer)[1])["event"] == 7


def test_http_1_0_is_closed_after_its_reply(function: LocalLambda) -> None:
    with dial(function) as peer:
        peer.sendall(b"POST " + PATH + b" HTTP/1.0\r\nContent-Length: 1\r\n\r\n7")
        assert json.loads(reply(peer)[1])["event"] == 7
        assert closed(peer)


def test_a_request_that_never_ends(function: LocalLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_STRANGER_S", 0.2)
    monkeypatch.setattr(http, "_SLOW_S", 0.2)
    for start in (b"POS", LINE, LINE + b"Content-Length: 10\r\n\r\n123"):
        with dial(function) as peer:
            peer.sendall(start)
            assert closed(peer)


def test_a_caller_that_leaves_does_not_run(function: LocalLambda, tmp_path: Path) -> None:
    def load(wanted: int) -> None:
        """Wait until so many invocations run or wait."""
        ends = time.monotonic() + HANG_S
        while function._on_loop(lambda pool: pool.load) != wanted:
            assert time.monotonic() < ends
            time.sleep(0.005)

    before = function.stats["invocations"]
    body = json.dumps({"until": str(tmp_path / "gone")}).encode()
    with dial(function) as busy:
        busy.sendall(LINE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        load(1)
        with dial(function) as leaves:
            leaves.sendall(LINE + b"Content-Length: 1\r\n\r\n1")
            load(2)
        load(1)
        (tmp_path / "gone").touch()
        assert reply(busy)[0] == 200
        busy.sendall(LINE + b"Content-Length: 1\r\n\r\n2")
        assert json.loads(reply(busy)[1])["event"] == 2
    assert function.stats["invocations"] == before + 2


def test_first_come_first_served(function: LocalLambda) -> None:
    """One sandbox, many callers: all are served, none is refused."""

    def ask(number: int) -> int:
        with dial(function) as peer:
            body = b"%d" % number
            peer.sendall(LINE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            return int(json.loads(reply(peer)[1])["event"])

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(ask, range(200))) == list(range(200))
