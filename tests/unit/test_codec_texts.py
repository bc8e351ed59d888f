"""What the codec says of values and bytes that it refuses: the one place that holds its wording.

What it says of payloads of rarer types is in test_codec_reading.py, beside these payloads.
"""

from __future__ import annotations

import base64
import collections
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tasks
from lambdamap import _codec
from lambdamap.shipping import json_codec

decode, encode, to_json = _codec.decode, _codec.encode, _codec.encode_json
GOOD = encode([1.5] * 10)


def changed(place: int, byte: int) -> bytes:
    return GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]


def header(flags: int, *lengths: int) -> bytes:
    return bytes([0x4C, 1, flags, 0, *lengths])


def raw(structure: bytes, packed: bytes = b"") -> bytes:
    """A raw frame: its structure, and the packed section."""
    n, m = len(structure), len(packed)
    return header(0, n, n, m, m, 0, 0, 0) + structure + packed


def listed(payload: bytes) -> bytes:
    """A list as a column: its length and the column."""
    return raw(bytes([0xC7, len(payload), _codec.EXT_LIST]) + payload)


def as_text(frame: bytes) -> str:
    return f"lm1:{base64.b64encode(frame).decode()}"


RELEASE = "use the same release of lambdamap on both sides"
PICKLE = "pass built-in types, numpy or pandas data, or allow_pickle=True"
REFUSED_BYTES = [
    (b"", "not a lambdamap frame"),
    (
        changed(1, 9),
        f"the frame has wire version 9, but this side supports version 1: {RELEASE}",
    ),
    (
        changed(2, 0x40),
        f"the frame has flags 0x4000, but this side supports 0x0700: {RELEASE}",
    ),
    (changed(3, 1), f"the frame has flags 0x0001, but this side supports 0x0700: {RELEASE}"),
    (header(0, 0xFF), "invalid frame header"),
    (GOOD + b"x", "the section lengths in the frame's header are inconsistent"),
    (
        header(1, 0x80, 0x40, 1, 0, 0, 0, 0, 0) + b"\xc0",
        "the frame declares more bytes than its sections can inflate to",
    ),
    (header(1, 9, 2, 0, 0, 0, 0, 0) + b"\xff\xff", "deflated section is corrupt"),
    (
        header(1, 9, 2, 0, 0, 0, 0, 0) + b"\x03\x00",
        "deflated section does not inflate to the 9 bytes it declares",
    ),
    (raw(b"\xc1"), "truncated value or invalid type byte"),
    (raw(b"\xc0\xc0"), "extra bytes after the value"),
    (raw(b"\xc7\x02\x03\x90\xc0"), "extra bytes after the value of an extension"),
    (raw(b"\xd4\x03\xc0"), "extension does not contain an array"),
    (raw(b"\xc7\x00\x02"), "BIG_INT extension has no digits"),
    (raw(b"\xd4\x63\x00"), "unknown extension type 99 (1 to 14 and 127 are supported)"),
    (raw(b"\xc7\x04\x0a\x92\xa1x\x01"), "unknown kind of value 'x'"),
    (raw(b"\x82\x01\xc0\x01\xc0"), "duplicate key in a dict"),
    (raw(b"\xc0", b"x"), "section has numbers that no column refers to"),
    (raw(b"\x91" * 120 + b"\xc0"), "the value is nested too deeply"),
    (raw(b"\xd4\x09\x90"), "SET extension without a frozen flag"),
    (raw(b"\xc7\x04\x09\x93\xc2\x01\x01"), "duplicate item in a set"),
    (
        raw(b"\xc7\x01\x7fN"),
        "the value contains a pickle, and unpickling can run any code: pass allow_pickle=True if "
        "you trust the sender",
    ),
    (
        encode(len),
        "the function or class builtins:len could run code: pass allow_pickle=True if you trust "
        "the sender",
    ),
    (
        listed(b"\xff\xff\xff\xff\x0f\x04\xc0"),
        "the value would take more than 1000000 bytes",
    ),
    (
        encode({k * (2**61 - 1): 0 for k in range(8, 2000)}),
        "too many hash collisions among the keys of a dict or set",
    ),
    (listed(b"\x05\x63"), "a column of unknown kind"),
    (listed(b"\x05\x01\x63\x00"), "a column with an unknown element type"),
    (listed(b"\xff"), "invalid length of list"),
    (listed(b"\x05\x02"), "truncated column"),
    (listed(b"\x02\x01\x00\x00"), "column exceeds its section"),
    (listed(b"\x02\x02\x00\x09\x00\x00"), "integers in column are wider than 8 bytes"),
    (listed(b"\x01\x07\xff"), "column has bits after its last cell"),
    (listed(b"\x01\x03\x00\x03"), "invalid width of lengths in column"),
    (listed(b"\x01\x0d\x00\x00"), "RAW column in a list"),
    (listed(b"\x01\x04\x90"), "CONST column does not contain a scalar"),
    (listed(b"\x01\x0e\xc0"), "FRAMES column does not contain a FRAMES extension"),
    (listed(b"\x01\x0a\x03\x01"), "invalid width of indices in UNIQUE column"),
    (listed(b"\x01\x0a\x01\x02"), "UNIQUE column has more values than cells"),
    (listed(b"\x02\x0a\x01\x01\x04"), "UNIQUE column does not contain a TEXT column"),
    (
        listed(b"\x02\x0a\x01\x01\x03\x00\x00\x01a\x00\x05"),
        "UNIQUE column has an index out of range",
    ),
    (listed(b"\x01\x09\x00\x20\x00\x00\x00"), "exponent of DECIMAL column is too large"),
    (
        listed(b"\x01\x08\x01\x08\x01\x04\xc0"),
        "NULLABLE column inside a column that cannot contain one",
    ),
    (
        listed(b"\x02\x0c\x01\x0c\x01\x04\xc0\x04\xc0"),
        "SPLIT column inside a column that cannot contain one",
    ),
    (listed(b"\x01\x06\x01\x01\x04\xc0"), "DICT column has a key that is not a string"),
    (raw(b"\xc7\x04\x0d\x03\x01\x02\x00"), "invalid item size in buffer"),
    (raw(b"\xc7\x04\x0d\x08\x01\x04\xc0"), "invalid kind of column in buffer"),
    (raw(b"\xc7\x01\x0d\x08"), "invalid length of buffer"),
    (raw(b"\xc7\x05\x0d\x04\x00\x01\x00\x00"), "buffer of doubles has items that are not 8 bytes"),
]


@pytest.mark.parametrize(("frame", "message"), REFUSED_BYTES)
def test_refused_bytes(frame: bytes, message: str) -> None:
    with pytest.raises(_codec.DecodeFailure) as caught:
        decode(frame, max_output_bytes=1_000_000, max_depth=100)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lm2:", "the text does not begin with lm1:"),
        ("lm1:AAA", "base64 of 3 characters: not a multiple of 4"),
        ("lm1:AA*A", "base64: byte 0x2a at character 2 is not allowed"),
        ("lm1:TAEAAAEBAAAAAAB=", "base64: the unused bits at the end are not 0"),
        ("lm1:é", "the text contains characters that are not base64"),
        (
            as_text(raw(b"\x92\xc0")),
            "malformed frame at byte 0: truncated value or invalid type byte",
        ),
        (as_text(raw(b"\xa1\xff")), "malformed frame at byte 0: text is not UTF-8"),
        (
            as_text(listed(b"\x05\x63")),
            "the frame contains a column of unknown kind (99.0; kinds 0 to 14 are supported)",
        ),
        (
            as_text(listed(b"\x05\x01\x63\x00")),
            "the frame contains a column with an unknown element type (1.99; kinds 0 to 14 are "
            "supported)",
        ),
        (as_text(raw(b"\x91" * 120 + b"\xc0")), "the value is nested deeper than 100 levels"),
        (
            _codec.encode_text(list(range(1 << 20))),
            "the frame declares more than 1000000 bytes",
        ),
    ],
)
def test_refused_texts(text: str, message: str) -> None:
    with pytest.raises(_codec.DecodeFailure) as caught:
        _codec.decode_text(text, max_output_bytes=1_000_000, max_depth=100)
    assert str(caught.value) == message


class Changes:
    """Clears the container that it is in when it is encoded."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def __reduce__(self) -> Any:
        self.container.clear()
        return int, (7,)


def in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def list_that_changes() -> list[Any]:
    value: list[Any] = [1.5] * 5
    value.insert(2, Changes(value))
    return value


def dict_that_changes() -> dict[str, Any]:
    value: dict[str, Any] = {"a": 1}
    value["b"] = Changes(value)
    return value


def counter() -> Any:
    value: Any = collections.Counter("a")
    value.label = "x"
    return value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: encode(in_itself()),
            "the value is nested deeper than 400 levels or contains itself",
        ),
        (
            lambda: encode(list_that_changes(), allow_pickle=True),
            "the list was changed during encoding",
        ),
        (
            lambda: encode(dict_that_changes(), allow_pickle=True),
            "the dict was changed during encoding",
        ),
        (lambda: encode(object()), f"builtins.object needs pickle: {PICKLE}"),
        (
            lambda: encode(np.ma.array([1])),
            "numpy.ma.MaskedArray needs pickle: pass numpy.asarray() of it, or allow_pickle=True",
        ),
        (
            lambda: encode(threading.Lock(), allow_pickle=True),
            "_thread.lock cannot be pickled (TypeError: cannot pickle '_thread.lock' object)",
        ),
        (
            lambda: encode(tasks.square, callables=False),
            "tasks:square is a function, and the caller accepts only data, unless it passes "
            "allow_pickle=True",
        ),
        (
            lambda: encode(memoryview(np.zeros(2, "f4,f4"))),
            "a memoryview that was released or has another format than memoryview.cast() knows "
            "cannot be sent: send its bytes",
        ),
        (
            lambda: encode(counter()),
            "a Counter with attributes cannot be sent: use a class of your own",
        ),
        (
            lambda: encode(weakref.ref(Changes)),
            "a ReferenceType cannot be sent: send the object it refers to",
        ),
        (lambda: encode(x for x in ()), "a generator cannot be sent: convert it to a list"),
        (
            lambda: to_json(in_itself()),
            "the value is nested deeper than 56 levels or contains itself",
        ),
        (lambda: to_json("\ud800"), "JSON cannot represent lone surrogates"),
        (
            lambda: to_json(float("nan")),
            "JSON cannot represent NaN or infinity: pass None or use another codec",
        ),
        (lambda: to_json({1: 2}), "JSON keys must be str, not int (1): pass a list of pairs"),
        (lambda: to_json((1,)), "JSON cannot represent a tuple: pass a list"),
        (
            lambda: to_json(b""),
            "JSON cannot represent bytes: pass None, bool, int, float, str, list or dict",
        ),
        (
            lambda: to_json(10**5000),
            "the integer has more digits than sys.get_int_max_str_digits() allows",
        ),
    ],
)
def test_refused_values(call: Callable[[], object], message: str) -> None:
    with pytest.raises(_codec.EncodeFailure) as caught:
        call()
    assert caught.value.args[0] == message


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (b"[1", "the results are not valid JSON: "),
        (
            {"results": 1},
            "'results' is not an array, or 'errors' is not an object",
        ),
        (
            {"results": [], "errors": {"x": {}}},
            "a key of 'errors' is not the index of an item",
        ),
    ],
)
def test_refused_results_in_json(results: Any, message: str) -> None:
    with pytest.raises(_codec.DecodeFailure, match=f"^{re.escape(message)}"):
        json_codec.results_of(results)


def refilling(packer: _codec.ChunkPacker) -> Iterator[int]:
    yield 1
    packer.fill(iter(()), 1, 1)


def refill() -> None:
    packer = _codec.ChunkPacker({})
    packer.fill(refilling(packer), 5, 1000)


UNTYPED: Any = _codec


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        *(
            (call, TypeError, f"{name}() {wrong}")
            for name in ("encode", "encode_text", "decode", "decode_text")
            for call, wrong in (
                (
                    lambda name=name: getattr(UNTYPED, name)(b"", colour=1),
                    "got an unexpected keyword argument 'colour'",
                ),
                (
                    lambda name=name: getattr(UNTYPED, name)(b"", True),
                    "takes exactly one positional argument (2 given)",
                ),
                (
                    lambda name=name: getattr(UNTYPED, name)(allow_pickle=True),
                    "takes exactly one positional argument (0 given)",
                ),
            )
        ),
        (
            lambda: decode(GOOD, max_output_bytes=-1),
            ValueError,
            "max_output_bytes must not be negative",
        ),
        (lambda: decode(GOOD, max_depth=-1), ValueError, "max_depth must not be negative"),
        (lambda: UNTYPED.Chunker(1, a=1), TypeError, "Chunker takes no keyword arguments"),
        (
            lambda: UNTYPED.ChunkPacker({}).fill([], 1, 1),
            TypeError,
            "fill() argument 1 must be an iterator",
        ),
        (refill, ValueError, "ChunkPacker already executing"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
