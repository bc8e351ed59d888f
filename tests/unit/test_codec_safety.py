"""What the codec must survive: changes while it reads, memory that is short, bombs, long use."""

from __future__ import annotations

import datetime as dt
import decimal
import gc
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lambdamap import _codec
from same import same

MIXED: list[Any] = [
    [{"id": i, "name": f"n{i}", "x": i / 7, "tags": ["a", str(i)], "in": {"k": i}} for i in range(40)],
    [(i, f"t{i}", None if i % 3 else 0.5) for i in range(40)],
    [i / 100 for i in range(200)], ["one", "two"] * 40, [1] * 20 + ["x"] * 20, list(range(-9, 99)),
    [dt.date(2020, 1, 1 + i) for i in range(28)], [decimal.Decimal(i) for i in range(20)],
    {"a": (1, {2}, b"x", bytearray(b"y"), 10**30, "\ud800")}, np.arange(200.0) / 7, np.arange(99),
    [np.float64(i) for i in range(20)], [np.int64(i) for i in range(20)],
    [{"a": 1}] * 5 + [{"b": 2}] + [None],
]  # fmt: skip


# --- changes while it reads -----------------------------------------------------------------------


class Changer:
    """Changes its surroundings when it is pickled."""

    def __init__(self, change: Callable[[], Any]) -> None:
        self.change = change

    def __reduce__(self) -> Any:
        self.change()
        return int, (7,)


def encode(value: Any) -> Any:
    """The value that another side sees, or the error."""
    try:
        return _codec.decode(_codec.encode(value, allow_pickle=True), allow_pickle=True)
    except _codec.EncodeFailure as failure:
        if "changed" not in str(failure):
            raise
        return failure


@pytest.mark.parametrize("place", [0, 3, 19])
@pytest.mark.parametrize("shape", ["list", "dicts", "lists", "tuples", "nested"])
def test_a_list_of_one_kind_that_changes_is_refused_or_read_as_it_was(
    shape: str, place: int
) -> None:
    def row(i: int, cell: Any) -> Any:
        return {
            "list": cell, "dicts": {"i": i, "cell": cell, "text": f"t{i}"}, "lists": [i, cell, i],
            "tuples": (i, cell, [str(i)]), "nested": {"a": [{"b": cell, "c": "x" * i}]},
        }[shape]  # fmt: skip

    for change in ("clear", "extend", "replace", "shrink rows", "grow rows", "keys"):
        rows: list[Any] = [row(i, 1.5) for i in range(20)]

        def disturb(rows: list[Any] = rows, change: str = change) -> None:
            if change == "clear":
                rows.clear()
            elif change == "extend":
                rows.extend([1] * 1000)
            elif change == "replace":
                rows[:] = [["other"] * 3 for _ in range(20)]
            else:
                for item in list(rows):
                    if isinstance(item, dict):
                        if change == "shrink rows":
                            item.clear()
                        else:
                            item.update({f"k{i}": i for i in range(50 if change[0] == "g" else 1)})
                    elif isinstance(item, list):
                        item[:] = [] if change == "shrink rows" else [1] * 100

        rows[place] = row(place, Changer(disturb))
        found = encode(rows)
        assert isinstance(found, (list, _codec.EncodeFailure))


def test_another_thread_changes_what_is_read() -> None:
    """Whatever it sees of a row, each row is one that was there."""

    class Slow:
        def __reduce__(self) -> Any:
            time.sleep(0)  # gives the other thread a turn
            return int, (7,)

    rows: list[Any] = [{"a": i, "b": Slow(), "c": [i] * 3} for i in range(50)]
    stop = threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            rows[n % 50] = {"a": n, "b": Slow(), "c": [n] * (n % 5)}
            rows[(n * 7) % 50]["c"].append(n)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(8):
            found = encode(rows)
            if isinstance(found, list):
                assert len(found) == 50
                assert all(set(row) == {"a", "b", "c"} and row["b"] == 7 for row in found)
    finally:
        stop.set()
        thread.join()


def test_items_are_taken_when_they_come() -> None:
    """A generator may give the same list or dict again with other contents."""

    def items() -> Any:
        row: dict[str, Any] = {"values": [0.0] * 5, "name": "x", "deep": {"n": [0]}}
        for n in range(10):
            row["values"][0] = float(n)
            row["deep"]["n"][0] = n
            yield row

    packer = _codec.ChunkPacker({})
    packer.fill(items(), 100, 1 << 20)
    found = _codec.decode(packer.take())[1]
    assert [(row["values"][0], row["deep"]["n"]) for row in found] == [
        (float(n), [n]) for n in range(10)
    ]


def test_a_raw_frame_that_changes_while_it_is_read_is_read_as_it_was() -> None:
    texts = [f"text {i % 300}" for i in range(300_000)]
    packer = _codec.ChunkPacker({})
    packer.fill(iter(texts), len(texts), 1 << 30)
    frame = bytearray(packer.take())

    def change() -> None:
        frame[len(frame) // 4 :] = b"\xff" * (len(frame) - len(frame) // 4)

    assert _codec.decode(frame, check=change)[1] == texts


def test_while_others_run_the_collector_is_as_they_left_it() -> None:
    frame = _codec.encode([[i] for i in range(300_000)])
    seen = []

    def look() -> None:
        seen.append(gc.isenabled())

    assert gc.isenabled()
    _codec.decode(frame, check=look)
    assert seen and all(seen)
    assert gc.isenabled()
    try:
        _codec.decode(frame, check=gc.disable)
        assert not gc.isenabled()
    finally:
        gc.enable()


# --- failures in the middle -----------------------------------------------------------------------


def test_a_row_that_fails_leaves_the_rows_before_it() -> None:
    good = [{"a": i, "b": [i] * 3, "c": (str(i), None), "d": {"e": i / 3}} for i in range(5)]
    for bad in (
        {"a": 1, "b": [1, object()], "c": ("x", None), "d": {"e": 1.5}},
        {"a": 1, "b": [1] * 3, "c": ("x", object()), "d": {"e": 1.5}},
        {"a": 1, "b": [1] * 3, "c": ("x", 2), "d": {"e": object()}},
        object(),
    ):
        packer = _codec.ChunkPacker({"f": 1})
        with pytest.raises(_codec.EncodeFailure):
            packer.fill(iter([*good, bad]), 100, 1 << 20)
        assert packer.chunk_items == 5
        packer.fill(iter(good), 10, 1 << 20)
        assert same(_codec.decode(packer.take()), [{"f": 1}, good + good])


@pytest.mark.parametrize("max_bytes", [1, 60, 200, 1000])
def test_what_does_not_fit_comes_first_in_the_next_chunk(max_bytes: int) -> None:
    items: list[Any] = []
    for value in MIXED:
        items += value if isinstance(value, list) else [value]
    packer = _codec.ChunkPacker({})
    iterator, found = iter(items), []
    while not packer.exhausted:
        if packer.fill(iterator, 100, max_bytes):
            found += _codec.decode(packer.take())[1]
    assert same(found, items)


# --- bombs ----------------------------------------------------------------------------------------


def raw(structure: bytes) -> bytes:
    n = len(structure)
    assert n < 128
    return bytes([0x4C, 1, 0, 0, n, n, 0, 0, 0, 0, 0]) + structure


def varint(n: int) -> bytes:
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def listed(payload: bytes) -> bytes:
    return bytes([0xC7, len(payload), 1]) + payload


MANY = varint(2**32 - 1)
BOMBS = {
    "constants": listed(MANY + b"\x04\xc0"),
    "same integers": listed(MANY + b"\x02\x00\x00\x00\x00"),
    "same decimals": listed(MANY + b"\x09\x00\x00\x00\x00\x00"),
    "empty texts": listed(MANY + b"\x03\x00\x00\x00"),
    "empty lists": listed(MANY + b"\x05\x00\x00\x04\xc0"),
    "lists of many": listed(varint(65535) + b"\x05\x00" + varint(65535) + b"\x04\xc0"),
    "empty tuples": listed(MANY + b"\x0b\x00"),
    "tuples": listed(MANY + b"\x0b\x02\x04\xc0\x04\xc0"),
    "dicts": listed(MANY + b"\x06\x01\xa1k\x04\xc0"),
    "split": listed(MANY + b"\x0c" + varint(2**31) + b"\x04\xc0\x04\xc1"),
    "lists in lists": listed(varint(4096) + (b"\x05\x00" + varint(4096)) + b"\x05\x00\x50\x04\xc0"),
    "a buffer": bytes([0xC7, 11, 13, 8]) + MANY + b"\x02\x00\x00\x00\x00",
    "frames": listed(MANY + b"\x0e\xc7\x01\x0e\x90"),
    "nested lists": listed(b"\x01" + b"\x05\x00\x01" * 35 + b"\x04\xc0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    """Raw and sealed, each reader by itself: refused before memory is taken for it."""
    import base64

    frame = raw(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits: dict[str, Any] = {"max_output_bytes": 100_000_000, "max_depth": 30}
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(frame, **limits)
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode_text("lm1:" + base64.b64encode(frame).decode(), **limits)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.parametrize("value", MIXED, ids=lambda value: str(value)[:30])
def test_estimates_are_upper_bounds(value: Any) -> None:
    """A limit that is just what the objects take lets no frame pass that takes more."""

    seen: set[int] = set()  # what is shared costs once

    def size(thing: Any) -> int:
        if id(thing) in seen:
            return 0
        seen.add(id(thing))
        own = sys.getsizeof(thing)
        if isinstance(thing, dict):
            return own + sum(size(v) for v in thing.values())  # keys are kept from before
        if isinstance(thing, (list, tuple, set)):
            return own + sum(map(size, thing))
        return own

    text = _codec.encode_text(value, compression=False)
    real = size(_codec.decode_text(text))
    low, high = 0, 1 << 24
    while low < high:  # the smallest limit that is enough
        middle = (low + high) // 2
        try:
            _codec.decode_text(text, max_output_bytes=middle)
            high = middle
        except _codec.DecodeFailure:
            low = middle + 1
    assert low >= real


# --- memory ---------------------------------------------------------------------------------------

NO_MEMORY = """
import sys, _testcapi
from lambdamap import _codec
import datetime, decimal, lambdamap.shipping.kinds
rows = [{"id": i, "n": f"n{i}", "x": i / 7, "t": ["a", str(i)], "o": None if i % 2 else (i, "x")} for i in range(40)]
values = [rows, [1.5] * 9 + ["x"], [datetime.date(2020, 1, 1)] * 9, {"a": {1, 2}, "b": 2**80, "c": "\\ud800"},
          ["red", "green"] * 20, [{"a": 1}] * 5 + [{"b": [1.5]}]]
def try_all(function, *args):
    n = 0
    while True:
        _testcapi.set_nomemory(n, n + 1)
        try:
            function(*args)
            _testcapi.remove_mem_hooks()
            return n
        except MemoryError:
            pass
        except (_codec.EncodeFailure, _codec.DecodeFailure) as error:
            pass
        finally:
            _testcapi.remove_mem_hooks()
        n += 1
        assert n < 5000
total = 0
for value in values:
    frame = _codec.encode(value)
    assert _codec.decode(frame) == value
    total += try_all(_codec.encode, value)
    total += try_all(_codec.encode_text, value)
    total += try_all(_codec.decode, frame)
    assert _codec.decode(_codec.encode(value)) == value
    packer = _codec.ChunkPacker({})
    items = value if isinstance(value, list) else [value]
    total += try_all(lambda: (_codec.ChunkPacker({}).fill(iter(items), 100, 1 << 20)))
print(total)
"""


def test_memory_that_is_short_at_any_place() -> None:
    """Each of Python's allocations fails in turn: an error, and all is well afterwards."""
    pytest.importorskip("_testcapi", reason="this Python came without its own test helpers")
    done = subprocess.run(
        [sys.executable, "-c", NO_MEMORY], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 150


def round_trips(n: int) -> None:
    frames = [_codec.encode(value) for value in MIXED]
    broken = [frame[:-1] for frame in frames]
    for i in range(n):
        value = MIXED[i % len(MIXED)]
        frame = _codec.encode(value, compression=bool(i % 3))
        _codec.decode(frame)
        _codec.decode_text(_codec.encode_text(value, compression=False))
        with pytest.raises(_codec.DecodeFailure):
            _codec.decode(broken[i % len(broken)])
        with pytest.raises(_codec.EncodeFailure):
            _codec.encode([value, *([value] * 4), object()])


def growth(n: int) -> tuple[int, int]:
    """Of the process's allocated blocks, and of its peak memory in KB."""
    gc.collect()
    blocks, peak = sys.getallocatedblocks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    round_trips(n)
    gc.collect()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return sys.getallocatedblocks() - blocks, after - peak


def check_leaks(n: int) -> None:
    """What leaks does so every time; threads that other tests have left may allocate once."""
    round_trips(1000)  # what is kept for the next call has its size then
    most = (300 + n // 100, 20_000 + n // 10)
    for _ in range(3):
        blocks, kilobytes = found = growth(n)
        if blocks < most[0] and kilobytes < most[1]:
            return
    raise AssertionError(f"{found} were added again, {most} at most were to be")


def test_nothing_leaks() -> None:
    check_leaks(2_000)


@pytest.mark.soak
def test_nothing_leaks_over_a_hundred_thousand_round_trips() -> None:
    check_leaks(100_000)


def test_two_threads_at_once() -> None:
    """Large frames let the other thread run; each gets its own."""
    values = [[{"k": f"{i} {j}", "x": j / 3} for j in range(2000)] for i in range(4)]
    wrong: list[Any] = []

    def work(value: Any) -> None:
        for _ in range(8):
            if _codec.decode_text(_codec.encode_text(value)) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
