"""Hostile replies. Rows 38, 41 to 43, 58 and 65."""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import tasks
from driver import invoke
from lambdamap import _codec
from scripted import Connection, Request, plain_reply, raw, run

ANSWER = b'{"ok":1}'
MIB = 1 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.fixture
def bounded_memory() -> Any:
    """Check that the test needs at most 64 MB more memory than at its start, at any time."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # reset the high-water mark
    before = resident_bytes()
    yield
    with open("/proc/self/status") as file:
        high = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
    assert high - before < 64 * MIB


# --- HTTP ---------------------------------------------------------------------------------------


def endless(head: bytes, piece: bytes) -> Any:
    """Send until the peer closes."""

    def step(connection: Connection, request: Request) -> None:
        if connection.send(head):
            while connection.send(piece) and not connection.server.stopping.is_set():
                pass
        connection.close()

    return step


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.http1
@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize(
    ("step", "ran"),
    [
        (endless(OK + b"\r\n", b"x" * 65536), "RAN"),
        (endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
         "RAN"),
        (endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000), "RAN"),
        (raw(OK + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 1000), "RAN"),
        (endless(OK + b"X-Long: ", b"x" * 65536), "MAYBE"),
        (endless(OK, b"X-Many: 1\r\n" * 5000), "MAYBE"),
        (endless(b"", b"x" * 65536), "MAYBE"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "MAYBE"),
        (endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n" * 1000),
         "RAN"),
    ],
    ids=["body", "chunks", "small-chunks", "length", "header", "headers", "line", "1xx",
         "trailers"],
)  # fmt: skip
def test_row_38_endless_reply(site: Any, step: Any, ran: str) -> None:
    """It is cut off at a limit."""
    server = site.server(then=step)
    (refused,) = invoke(site.target(server))
    assert (refused.failure, refused.ran) == ("protocol", ran)
    assert refused.bytes_received < 64 * MIB
    assert server.complete == 1


def test_row_38_one_byte_a_moment(site: Any, idempotent: bool) -> None:
    """The deadline of the attempt ends it, however steadily bytes arrive."""
    pieces: list[bytes | float] = []
    for byte in plain_reply(b'{"ok":1}' * 100):
        pieces += [bytes([byte]), 0.02]
    server = site.server(then=raw(*pieces))
    (late,) = invoke(site.target(server), idempotent=idempotent, invocation_timeout_ms=1000)
    assert (late.failure, late.ran) == ("deadline", "MAYBE")
    assert late.attempts == server.complete == (3 if idempotent else 1)


# --- frames -------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def frame(
    structure: bytes, *, raw_len: int | None = None, flags: int = 0, planes: bytes = b"",
    words: int = 0, packed_len: int = 0, blobs: int = 0,
) -> bytes:  # fmt: skip
    """Return a frame as described in docs/wire-format.md, correct or not.

    Its header contains the given values, and only the structure and the planes are present.
    """
    return b"".join(
        [
            bytes([0x4C, 1, flags, 0]),
            varint(len(structure) if raw_len is None else raw_len),
            varint(len(structure)),
            varint(packed_len),
            varint(0),
            varint(words),
            varint(len(planes)),
            varint(blobs),
            structure,
            planes,
        ]
    )


def deflated(data: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(data) + squeezer.flush()


def text(data: bytes) -> str:
    return "lm1:" + base64.b64encode(data).decode()


GOOD = b"\x92\x91\x09\x80"  # [[9], {}]: one result, no errors
ZEROS = deflated(b"\x92\x91\xc6" + struct.pack(">I", 64 * MIB) + bytes(64 * MIB) + b"\x80")
SIZE = 64 * MIB + 8
SMALL = deflated(GOOD)


def expect(
    plain_site: Any, result: Any, kind: Any = lambdamap.ProtocolError, **options: Any
) -> Any:
    """Return what a map of one item raises if its reply contains this result."""
    server = plain_site.server(then=run(lambda answer: {**answer, "r": result}))
    with pytest.raises(kind) as caught:
        list(plain_site.map(server, tasks.square, [3], **options))
    assert caught.value.ran == "RAN"
    assert caught.value.indices == range(1)
    assert server.complete == 1
    return caught.value


def test_frames_of_this_file_are_right(plain_site: Any) -> None:
    """Without the faults of the rows below, the frames are accepted."""
    for good in (frame(GOOD), frame(SMALL, raw_len=len(GOOD), flags=1)):
        server = plain_site.server(then=run(lambda answer, good=good: {**answer, "r": text(good)}))
        assert list(plain_site.map(server, tasks.square, [3])) == [9]


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize(
    "data",
    [
        frame(ZEROS, raw_len=SIZE, flags=1),
        frame(ZEROS, raw_len=1000, flags=1),
        frame(ZEROS, raw_len=1 << 40, flags=1),
        frame(SMALL, raw_len=len(GOOD) + 1, flags=1),
        frame(SMALL, raw_len=len(GOOD) - 1, flags=1),
        frame(SMALL[:-1], raw_len=len(GOOD), flags=1),
        frame(SMALL[:2] + b"\xff" + SMALL[3:], raw_len=len(GOOD), flags=1),
        frame(SMALL + b"\x00", raw_len=len(GOOD), flags=1),
        frame(b"", raw_len=len(GOOD), flags=1),
        frame(GOOD, words=1, planes=SMALL, flags=2),
        frame(GOOD, words=1 << 60),
        frame(GOOD, blobs=1 << 60),
        frame(GOOD, packed_len=1 << 40, flags=4),
        frame(GOOD) + b"x",
        frame(GOOD)[:-1],
        frame(GOOD, flags=128),
        b"\x4c\x02\x00\x00" + frame(GOOD)[4:],
        b"",
    ],
    ids=[
        "bomb", "bomb-small", "bomb-huge", "size+1", "size-1", "truncated", "damaged", "trailing",
        "empty", "planes", "words", "blobs", "packed", "behind", "short", "flag", "version", "nothing",
    ],
)  # fmt: skip
def test_row_41_deflate(plain_site: Any, data: bytes) -> None:
    """Refused before more memory is used than the caller allows."""
    expect(plain_site, text(data), max_result_bytes=16 * MIB)


def nested(depth: int) -> bytes:
    return b"\x92\x91" + b"\x91" * depth + b"\xc0" + b"\x80"


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize(
    "structure",
    [
        b"\xdd\x10\x00\x00\x00",
        b"\x92\xdd\x10\x00\x00\x00\x80",
        b"\xdf\x10\x00\x00\x00" * 31,
        b"\x92\x91\xc6\xff\xff\xff\xff\x80",
        b"\x92\x91\xdb\xff\xff\xff\xff\x80",
        nested(100_000),
        nested(600),
        b"\x92\x91\xa2\xc3\x28\x80",
        b"\x92\x91\xa3\xed\xa0\x80\x80",
        b"\x92\x91\x09\x80\xc0",
        b"\x92\x91\x09",
        b"\x92\x91\xc1\x80",
        b"\x92\x90\x80",
        b"\x92\x92\x09\x09\x80",
        b"\x92\x91\xc7\x04\x63abcd\x80",
        b"\x92\x91\xc7\x0a\x01\x00" + b"\xff" * 8 + b"\x00\x80",
    ],
    ids=[
        "array", "array-inside", "maps", "bin", "str", "depth-100000", "depth-600", "utf8",
        "surrogate", "trailing", "missing", "reserved", "no-results", "two-results", "ext", "block",
    ],
)  # fmt: skip
def test_row_42_structure(plain_site: Any, structure: bytes) -> None:
    """Wrong counts, depth, invalid text: refused before memory is allocated."""
    expect(plain_site, text(frame(structure)))


NAN = b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x01"


@pytest.mark.parametrize(
    "structure",
    [b"\x92\x91\x82\x01\x01\x01\x01\x80", b"\x92\x91\x81\x91\x01\x01\x80"],
    ids=["twice", "list"],
)
def test_row_42_keys(plain_site: Any, structure: bytes) -> None:
    expect(plain_site, text(frame(structure)), (lambdamap.ProtocolError, lambdamap.DecodeError))


def test_row_42_nan_keys(plain_site: Any) -> None:
    """They are different keys, as in Python."""
    both = text(frame(b"\x92\x91\x82" + NAN + b"\x01" + NAN + b"\x02\x80"))
    server = plain_site.server(then=run(lambda answer: {**answer, "r": both}))
    (found,) = plain_site.map(server, tasks.square, [3])
    assert list(found.values()) == [1, 2]


@pytest.mark.parametrize("done", [0, 2, 1000, -1, 1.5, "1", None])
def test_row_42_wrong_number_of_items(plain_site: Any, done: Any) -> None:
    def change(answer: dict[str, Any]) -> None:
        answer["lambdamap"]["done"] = done

    server = plain_site.server(then=run(change))
    with pytest.raises(lambdamap.ProtocolError) as caught:
        list(plain_site.map(server, tasks.square, [3]))
    assert caught.value.ran == "RAN"
    assert server.complete == 1


@pytest.mark.parametrize(
    "result",
    [
        "lm1:TAEAAAQEAAAAAACSkQmA!",
        "lm1:TAEAAAQEAAAAAACSkQmA=",
        "lm1:TAEAAAQEAAAAAACSkQm",
        "lm1:TAEAAAQEAAAAAACSkQl=",
        "lm1:TAEA AAQEAACSkQmA",
        "lm1:TAEAAAQEAAAAAACSkQ_-",
        "lm2:TAEAAAQEAAAAAACSkQmA",
        "TAEAAAQEAAAAAACSkQmA",
        "",
        None,
        9,
        [9],
    ],
    ids=str,
)
def test_row_43_base64(plain_site: Any, result: Any) -> None:
    expect(plain_site, result)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(b'"r":', b'"r":"lm1:","r":', 1),
        lambda body: body.replace(b'"done":', b'"done":1,"done":', 1),
        lambda body: body.replace(b'"us": ', b'"us": 1e999,"x":', 1),
        lambda body: body.replace(b'"us": ', b'"us": -1,"x":', 1),
        lambda body: body.replace(b'"map":', b'"map":"\\ud800","x":', 1),
        lambda body: body + b"{}",
        lambda body: body[:-1],
        lambda body: body.replace(b"{", b"{" + b'"a":[' * 100_000, 1),
        lambda body: body.replace(b'"chunk":', b'"chunk":0.5,"x":', 1),
        lambda body: b"\xff" + body,
        lambda body: body.replace(b'"r": "lm1:', b'"r": "lm1:\\u0041', 1),
    ],
    ids=[
        "r-twice", "done-twice", "1e999", "negative", "surrogate", "behind", "cut", "deep",
        "fraction", "byte", "escape",
    ],
)  # fmt: skip
def test_row_43_json(plain_site: Any, change: Callable[[bytes], bytes]) -> None:
    seen = []

    def step(connection: Connection, request: Request) -> None:
        from scripted import run_reply

        body = json.dumps(run_reply(request)).encode()
        seen.append(change(body) != body)
        connection.send(plain_reply(change(body)))

    server = plain_site.server(then=step)
    with pytest.raises(lambdamap.ProtocolError) as caught:
        list(plain_site.map(server, tasks.square, [3]))
    assert seen == [True]
    assert caught.value.ran == "RAN"


# --- replies to something else ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"map": "0" * 32}, {"chunk": 1}, {"map": None}, {"chunk": None}, {"map": "0" * 31}],
    ids=str,
)
def test_row_58_reply_to_another_chunk(
    plain_site: Any, idempotent: bool, change: dict[str, Any]
) -> None:
    """A cached or misrouted reply is never stored at the wrong position."""
    spoiled = run(lambda answer: answer["lambdamap"].update(change))
    server = plain_site.server([spoiled], then=run())
    with pytest.raises(lambdamap.ProtocolError) as caught:
        list(
            plain_site.map(server, tasks.square, range(5), max_concurrency=1, idempotent=idempotent)
        )
    assert caught.value.indices == range(1)
    assert caught.value.ran == "RAN"


def test_row_58_reply_of_the_chunk_before(plain_site: Any) -> None:
    """A proxy that is one reply late: each reply is refused, none is accepted."""
    kept: list[bytes] = []

    def one_late(connection: Connection, request: Request) -> None:
        from scripted import run_reply

        kept.append(plain_reply(json.dumps(run_reply(request)).encode()))
        connection.send(kept[max(0, len(kept) - 2)])

    server = plain_site.server(then=one_late)
    taken = []
    with pytest.raises(lambdamap.ProtocolError) as caught:
        for result in plain_site.map(server, tasks.square, range(5), max_concurrency=1):
            taken.append(result)
    assert taken == [0]
    assert caught.value.indices == range(1, 2)


def test_row_58_reply_that_comes_twice(plain_site: Any) -> None:
    """The second reply follows the first on the same connection: neither is accepted."""

    def twice(connection: Connection, request: Request) -> None:
        from scripted import run_reply

        connection.send(plain_reply(json.dumps(run_reply(request)).encode()) * 2)

    server = plain_site.server([twice], then=run())
    with pytest.raises(lambdamap.ProtocolError) as caught:
        list(plain_site.map(server, tasks.square, range(5), max_concurrency=1))
    assert caught.value.ran == "RAN"
    connections = {request.connection for request in server.requests[1:]}
    assert server.requests[0].connection not in connections


# --- the decoder as a whole ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [300, pytest.param(30_000, marks=pytest.mark.soak)])
def test_row_65_damaged_requests_in_the_worker(count: int) -> None:
    """The worker's decoder in this process: frames with changed bytes are errors or values.

    The process survives. The fuzz targets (./dev fuzz) extend this.
    """
    from lambdamap import _codec
    from lambdamap.worker.call import run_request

    seed = int(os.environ.get("LAMBDAMAP_SEED", "65"))
    print(f"LAMBDAMAP_SEED={seed}")
    chance = random.Random(seed)
    items: list[Any] = [
        [0.5] * 20,
        {"a": 1, "b": [None, True, "text"]},
        [{"x": i, "y": float(i)} for i in range(30)],
        b"bytes",
        10**30,
        (1, {2, 3}),
    ]
    head = {
        "protocol": 1, "version": "0", "python": "3", "by_value": 0, "map": "0" * 32, "chunk": 0,
        "items": len(items), "function": "tasks:identity", "left_ms": 1000,
    }  # fmt: skip
    spec: dict[str, Any] = {}
    frames = [
        _codec.encode([spec, items], compression=compression) for compression in (False, True)
    ]
    ends = {"good": 0, "bad": 0}
    for _ in range(count):
        data = bytearray(chance.choice(frames))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        reply = run_request({"lambdamap": head, "p": text(bytes(data))}, None, trusted=False)
        json.dumps(reply)
        ends["bad" if "error" in reply else "good"] += 1
    assert ends["bad"] > count // 2


# --- exceptions ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("bounded_memory")
def test_exceptions_share_what_they_may_take(plain_site: Any) -> None:
    """Each contains a list of 40 MB, in a few bytes."""
    nodes = [
        {"class": [("builtins", "ValueError", "")], "args": _codec.encode(([None] * 5_000_000,))}
    ]  # fmt: skip
    error = {
        "kind": "function", "type": "ValueError", "module": "builtins", "message": "large",
        "traceback": "", "index": None, "exception": _codec.encode_text(nodes), "ran": "RAN",
    }  # fmt: skip
    assert len(error["exception"]) < 500

    def all_failed(answer: dict[str, Any]) -> None:
        failed = [[None] * 20, dict.fromkeys(range(20), error)]
        answer["r"] = _codec.encode_text(failed)
        answer["lambdamap"]["done"] = 20

    server = plain_site.server(then=run(all_failed))
    got = list(plain_site.map(server, tasks.square, range(20), chunksize=20, on_error="return"))
    assert all(isinstance(e, lambdamap.RemoteError) and isinstance(e, ValueError) for e in got)
    assert "large" in str(got[19])
