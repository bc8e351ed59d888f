"""The local Lambda's HTTP connection: how bytes are cut into pieces does not matter, and no bytes
make it raise."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lambdamap.local.budget import Budget
from lambdamap.local.http import Admission, Connection, Request

MOST = 1000  # bytes of a body


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.gone = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        self.gone = True

    def close(self) -> None:
        self.gone = True


class Owner:
    is_crowded = False
    scratch = bytearray(65536)

    def proved(self, connection: Connection) -> None:
        pass

    def closed(self, connection: Connection) -> None:
        pass

    def failed(self, text: str, error: BaseException) -> None:
        raise error


Seen = list[tuple[str, str, bytes, bool]]


def run(pieces: list[bytes], later: bool) -> tuple[Seen, bytes]:
    """The requests that are served, and what is written. later: answers come a turn later."""
    seen: Seen = []
    raised: list[Any] = []
    transport = Transport()
    budget = Budget(MOST)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: raised.append(context))

        def serve(request: Request) -> None:
            seen.append((request.method, request.target, request.body, request.too_large))
            body = b"%d" % len(seen)
            if later:
                loop.call_soon(request.reply, 200, body)
            else:
                request.reply(200, body)

        connection = Connection(lambda _: Admission(serve, True, MOST, (budget,)), Owner())
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
            if later:
                await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        connection.connection_lost(None)

    asyncio.run(main())
    assert not raised
    assert budget.used == 0
    return seen, transport.written


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[str, str, bytes, bool]]:
    """A request as bytes, and what is to be seen of it."""
    body = draw(st.binary(max_size=40) | st.binary(min_size=MOST - 5, max_size=MOST + 5))
    target = draw(st.sampled_from(["/", "/a/b", "/x%3Ay?Qualifier=1"]))
    too_large = len(body) > MOST
    seen = ("POST", target, b"" if too_large else body, too_large)
    head = f"POST {target} HTTP/1.1\r\nHost: h\r\n".encode()
    if draw(st.booleans()):
        head += b"X-Other: some value\r\n"
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, seen
    cut = draw(st.integers(0, len(body)))
    chunks = [part for part in (body[:cut], body[cut:]) if part]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks) + b"0\r\n\r\n"
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + coded, seen


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 9999)), st.booleans())
def test_pieces_do_not_matter(
    sent: list[tuple[bytes, tuple[str, str, bytes, bool]]], places: list[int], later: bool
) -> None:
    data = b"".join(raw for raw, _ in sent)
    seen, written = run(cut(data, places), later)
    assert seen == [wanted for _, wanted in sent]
    assert written.count(b"HTTP/1.1 200 OK") == len(sent)


PARTS = st.sampled_from(
    [
        b"POST / HTTP/1.1\r\n", b"GET /x HTTP/1.1\r\n", b"Host: h\r\n", b"Content-Length: 3\r\n",
        b"Content-Length: 99999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n", b"abc",
        b"3\r\nabc\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
        b"\n", b"\r", b"\0", b" ", b":", b"\xff" * 9, b"Upgrade: x\r\nConnection: Upgrade\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n", b"X" * 40_000,
    ]
)  # fmt: skip


@given(st.lists(PARTS | st.binary(max_size=20), max_size=20), st.booleans())
def test_no_bytes_make_it_raise(pieces: list[bytes], later: bool) -> None:
    run(pieces, later)
