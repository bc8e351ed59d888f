"""The C core's reader of HTTP/1.1 replies against h11's."""

from __future__ import annotations

from dataclasses import dataclass

import h11
from hypothesis import given
from hypothesis import strategies as st

from core_driver import ask


@dataclass
class Reply:
    """What a reader made of some bytes."""

    status: int
    keep_alive: bool
    taken: int
    body: bytes


def ours(data: bytes, answer: str) -> Reply | str:
    """The driver's answer, or its first word."""
    word, _, rest = answer.partition(" ")
    if word != "whole":
        return word
    status, keep_alive, taken, body = rest.split(" ")
    return Reply(int(status), keep_alive == "1", int(taken), bytes.fromhex(body))


def theirs(data: bytes) -> Reply | str:
    """h11's, whose peer closes after the bytes."""
    client = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=100_000)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        client.receive_data(data)
        closed = False
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA and not closed:
                closed = True
                client.receive_data(b"")
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                return "more"
    except h11.RemoteProtocolError:
        return "refused"
    extra, _ = client.trailing_data
    keep_alive = client.their_state is h11.DONE and not closed
    return Reply(status, keep_alive, len(data) - len(extra), body)


_token = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)
_value = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_framing = {"content-length", "transfer-encoding", "connection", "upgrade", "trailer"}
_headers = st.lists(
    st.tuples(_token.filter(lambda name: name.lower() not in _framing), _value), max_size=5
)
_body = st.binary(max_size=80)


def _lines(headers: list[tuple[str, str]]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)


@st.composite
def valid_replies(draw: st.DrawFn) -> bytes:
    """Any reply that a server may send, and sometimes bytes behind it."""
    data = b""
    for _ in range(draw(st.integers(0, 2))):
        data += b"HTTP/1.1 103 Early Hints\r\n" + _lines(draw(_headers)) + b"\r\n"
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 400, 429, 500, 503]))
    head = f"HTTP/1.1 {status} {draw(_token)}\r\n".encode() + _lines(draw(_headers))
    close = b"Connection: close\r\n" if draw(st.booleans()) else b""
    body = draw(_body)
    extra = draw(st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\n\r\n", b"x"]))
    if status == 204:
        return data + head + close + b"\r\n" + extra
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        return data + head + close + b"Content-Length: %d\r\n\r\n" % len(body) + body + extra
    if framing == "close":
        return data + head + b"Connection: close\r\n\r\n" + body
    data += head + close + b"Transfer-Encoding: chunked\r\n\r\n"
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b"']))
        data += b"%x%s\r\n" % (size, extension) + body[:size] + b"\r\n"
        body = body[size:]
    return data + b"0\r\n" + _lines(draw(_headers)) + b"\r\n" + extra


@given(st.lists(valid_replies(), min_size=10, max_size=20))
def test_valid_replies_read_alike(replies: list[bytes]) -> None:
    for data, answer in zip(replies, ask(("http1", data) for data in replies), strict=True):
        assert ours(data, answer) == theirs(data), data


_pieces = (
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"Content-Length: 3\r\n",
            b"Connection: close\r\n",
        ]
    )
    | st.sampled_from(
        [
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Length: 0\r\n",
            b"X: y\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n",
        ]
    )
    | st.sampled_from([b"abc", b"\r\n", b"\n", b"\r", b" ", b":", b"\t", b"\x00", b",", b"1", b";"])
)


@given(
    st.lists(
        st.lists(_pieces, max_size=8).map(b"".join)
        | st.builds(
            lambda data, at, piece, cut: (
                data[: at % len(data)] + piece + data[at % len(data) + cut :]
            ),
            valid_replies(),
            st.integers(0, 1000),
            _pieces | st.just(b""),
            st.integers(0, 3),
        ),
        min_size=20,
        max_size=40,
    )
)
def test_no_reply_that_h11_reads_otherwise(replies: list[bytes]) -> None:
    """Ours may refuse more; what it takes for whole, h11 must take for the same."""
    for data, answer in zip(replies, ask(("http1", data) for data in replies), strict=True):
        mine, other = ours(data, answer), theirs(data)
        if isinstance(mine, Reply):
            assert mine == other, data
