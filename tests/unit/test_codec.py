"""The codec: every line of the round-trip table, hostile frames, bounds."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import math
import pathlib
import pickle
import subprocess
import sys
import threading
import uuid
import weakref
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tasks
from lambdamap import _codec
from lambdamap.shipping import kinds, lookup, pickling
from same import same


class Color(enum.Enum):
    RED = 1


class Flag(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: str


@dataclasses.dataclass
class Plain:
    a: int
    b: list[int]


@dataclasses.dataclass(frozen=True, order=True)
class Frozen:
    a: int


class SubDict(dict[str, int]):
    pass


class SubInt(int):
    pass


# Pytest imports this file under a name of its own; on the wire classes travel by their module's.
for _kind in (Color, Flag, Point, Plain, Frozen):
    _kind.__module__ = __name__


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
VALUES: list[Any] = [
    None, True, False,
    0, -1, 127, 128, 255, 256, -32, -33, -128, -129, 2**31, 2**32, 2**63, 2**64 - 1, 2**64,
    -(2**63), -(2**63) - 1, 10**40, -(10**40),
    0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 5e-324,
    "", "a", "ü" * 40, "x" * 300, "日本", "\ud800", "a\udfffb", "\0",
    b"", b"x" * 300, bytearray(b"abc"), bytearray(),
    [], [1], [1.0, 2.0, 3.0, 4.0, math.nan], [-0.0] * 5, list(range(100)), list(range(-5, 60)),
    [2**62, -(2**62)] * 10, [1.0, 2] * 5, [True] * 20, [1, True] * 9, [2**63] * 20,
    (), (1,), (1, (2, 3)), {}, {"a": 1}, {1: 2, (1, 2): 3, None: 4}, {"a": {"b": [{}]}},
    {1, 2, 3}, frozenset({1, 2}), set(), frozenset(),
    dt.datetime(2020, 1, 2, 3, 4, 5, 6), dt.datetime(2020, 1, 2, tzinfo=dt.timezone.utc),
    dt.datetime(2020, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), dt.date(1, 1, 1),
    dt.time(1, 2, 3, 4), dt.time(1, tzinfo=dt.timezone.utc, fold=1), dt.timedelta(-5, 3, 2),
    dt.timezone(dt.timedelta(hours=1), "X"), BERLIN,
    decimal.Decimal("1.10"), decimal.Decimal("NaN"), decimal.Decimal("-Infinity"),
    decimal.Decimal("1E+30"), 1 + 2j, complex(math.nan, -0.0), uuid.UUID(int=7),
    fractions.Fraction(1, 3), pathlib.PurePosixPath("/a/b"), array.array("d", [1.5]),
    Color.RED, Flag.A, Point(1, "a"), Plain(1, [2]), Frozen(3),
    tasks.square, Plain, len, int, functools.partial(tasks.add, 1, y=2),
    range(3, 9, 2), slice(1, None), collections.OrderedDict(b=1, a=2),
    collections.Counter("abca"), collections.defaultdict(list, {1: [2]}),
    collections.deque([1, 2], 5), collections.deque([1]),
    np.float64(1.5), np.float64(math.nan), np.float32(1.5), np.int64(3), np.uint8(3), np.bool_(True),
    np.complex128(1 + 2j), np.datetime64("2020-01-01T00:00:01", "s"), np.datetime64("NaT", "s"),
    np.timedelta64(5, "ms"), np.str_("abc"), np.str_(""), np.bytes_(b"ab"), np.float16(2),
    [np.float64(x) for x in range(5)], [np.float64(1), 2.0, 3.0, 4.0, 5.0],
    np.arange(5), np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.zeros((0, 3)), np.array(5.0), np.array(["a", "bc"]), np.array([b"a"]),
    np.array(["2020"], "M8[D]"), np.zeros(3, [("a", "<i4"), ("b", "<f8", (2,))]),
    np.array([1, "a", None, [1], {"k": 1.5}], object), np.arange(10)[::2],
    np.arange(3, dtype=">i4"), np.array([True, False]), np.dtype("f4"), np.dtype([("a", "i4")]),
]  # fmt: skip


META = {"unit": "m", "kind": [1, float]}
INTS = np.dtype(
    {"names": ["low", "all"], "formats": ["<i2", "<i4"], "offsets": [2, 0], "itemsize": 8}
)
ALIGNED = np.dtype([("a", "i1"), (("Title", "b"), "f8", (2, 1)), ("c", "U3")], align=True)
RECORDS = np.rec.array(
    [(1, 2.5, "a"), (3, 4.5, "b")], dtype=[("n", "i4"), ("x", "f8"), ("t", "U2")]
)
DTYPES: list[Any] = [
    "longlong", "ulonglong", ">q", "l", "intc", "intp", "longdouble", "clongdouble", "M8[25s]", "m8[us]", ">M8[7D]", "O",
    ">U3", "S0", "V5", INTS, ALIGNED, RECORDS.dtype, ("i4", (2, 3)), [("a", "longlong"), ("b", [("c", ALIGNED)], (2,))],
    np.dtype("i4", metadata=META), np.dtype(INTS, metadata=META), np.dtype("O", metadata={"vlen": str}),
    np.dtype([("a", np.dtype("<M8[s]", metadata=META)), ("o", "O")]), np.dtype((np.record, ALIGNED)),
    np.zeros(2, [("a", "i4"), ("b", "i1"), ("c", "i8")])[["a", "c"]].dtype, [],
    {"names": [], "formats": [], "itemsize": 8}, {"names": ["", "b"], "formats": ["i4", "i2"]},
    np.dtypes.StringDType(),
]  # fmt: skip
NUMPYS: list[Any] = [
    np.longlong(5), np.ulonglong(2**64 - 1), [np.longlong(1)] * 20, np.longdouble(1) / 3, np.str_("a\0"),
    np.str_("\ud800\0\0"), np.bytes_(b"\0"), np.void(b"a\0"), RECORDS, RECORDS[0], list(RECORDS), RECORDS[:0],
    RECORDS.reshape(1, 2), RECORDS.n, np.asfortranarray(RECORDS.reshape(2, 1)), RECORDS.view(np.ndarray),
    np.array([[1, [2], None], ["x", (), {}]], object, order="F"), np.array([[1, 2], [3, None]], object).T,
    np.zeros((0, 2), object), np.array(None, object), np.broadcast_to(np.arange(3), (2, 3)).copy(order="F"),
    np.zeros(3, INTS), np.ones((2, 2), ALIGNED, order="F"), np.zeros(2, ALIGNED)[0], np.ones(2, INTS)[1],
    np.datetime64(3, "25s"), np.timedelta64(5, "ms"), np.datetime64("NaT", "2h"), np.arange(3).astype(">M8[s]"),
    np.array([1.5, "x"], np.dtype("O", metadata={"vlen": str})), np.ones(3, np.dtype("f8", metadata=META)),
    np.array(["a\0", "b"]), np.array(["a\udcff"]), np.array(3, ">i2"), np.ones(2, "longdouble") / 3,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_are_the_same_in_all_that_numpy_overlooks(dtype: Any) -> None:
    dtype = np.dtype(dtype)
    for value in (dtype, np.zeros((2, 3), dtype, order="F"), np.zeros(0, dtype)):
        is_formless = dtype.kind == "T" or (
            dtype.hasobject and value is not dtype and dtype.kind != "O"
        )
        again = _codec.decode(
            _codec.encode(value, allow_pickle=is_formless), allow_pickle=is_formless
        )
        assert same(value, again)
        assert not is_formless or "needs pickle" in refusal(value)


@pytest.mark.parametrize("value", NUMPYS, ids=lambda v: f"{type(v).__name__}-{str(v)[:20]!r}")
def test_numpy_keeps_its_types(value: Any) -> None:
    assert same(value, _codec.decode(_codec.encode(value)))


def test_gaps_between_fields_carry_nothing() -> None:
    held = np.frombuffer(bytearray(b"number##" * 8), INTS)[::2]
    frame = _codec.encode(held, compression=False)
    assert b"numb" in frame and b"##" not in frame


def refusal(value: Any) -> str:
    with pytest.raises(_codec.EncodeFailure) as caught:
        _codec.encode(value)
    message: str = caught.value.args[0]
    return message


def test_numpy_without_a_form_is_pickled_or_refused(tmp_path: pathlib.Path) -> None:
    table = np.array([(1, "one"), (2, None)], dtype=[("n", "i8"), ("what", "O")])
    mapped = np.memmap(tmp_path / "numbers", "i4", "w+", shape=(2, 2))
    texts = np.array(["a", "bc"], np.dtypes.StringDType())
    for value in (table, table[0], texts, np.rec.array([(1, [2])], dtype=[("i", "i4"), ("o", "O")]), np.arange(2).reshape(1, 2).view(np.matrix), mapped,
                  np.ma.array([1, 2], mask=[0, 1]), np.ma.masked):  # fmt: skip
        message = refusal(value)
        assert type(value).__name__ in message and "allow_pickle=True" in message
        again = _codec.decode(_codec.encode([value], allow_pickle=True), allow_pickle=True)[0]
        assert same(value, again)
    assert "of dtype [('n', '<i8'), ('what', 'O')]" in refusal(table)
    assert "numpy.asarray()" in refusal(mapped)


def test_long_doubles_of_another_machine_are_refused() -> None:
    frame = _codec.encode(np.ones(2, "longdouble"), compression=False)
    bits = np.finfo("longdouble").nmant
    if bits == 52:
        pytest.skip("long doubles are doubles here")
    other = frame.replace(f":{bits}".encode(), {63: b":99", 112: b":999"}[bits])
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(other)


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{type(v).__name__}-{str(v)[:20]!r}")
def test_round_trip(value: Any, compression: bool) -> None:
    names = lookup.TRUSTED
    sealed = _codec.encode(value, compression=compression)
    assert same(value, _codec.decode(sealed, names=names))
    text = _codec.encode_text([value] * 3, compression=compression)
    assert text.startswith("lm1:")
    assert all(same(value, again) for again in _codec.decode_text(text, names=names))
    assert same(value, _codec.decode_text(_codec.encode_text(value).encode(), names=names))


def test_seed_chunk_is_smaller_than_json_and_zlib() -> None:
    import base64
    import json
    import random
    import zlib

    draw = random.Random(3).random
    chunk = [{"id": i, "values": [draw() for _ in range(100)], "name": "x"} for i in range(100)]
    seed = base64.b64encode(zlib.compress(json.dumps(chunk).encode()))
    assert len(_codec.encode_text(chunk)) <= 0.8 * len(seed)
    assert _codec.decode_text(_codec.encode_text(chunk)) == chunk


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ({"a": [1, 2, object()]}, "['a'][2]", "builtins.object"),
        ([1, (2, {"k": SubDict()})], "[1][1]['k']", "SubDict"),
        (SubInt(3), "", "SubInt"),
        ([lambda: 1], "[0]", "function"),
    ],
)
def test_what_cannot_travel_is_named(value: Any, path: str, text: str) -> None:
    with pytest.raises(_codec.EncodeFailure) as caught:
        _codec.encode(value)
    message, where = caught.value.args
    assert where == path
    assert text in message
    assert "allow_pickle" in message


def test_what_never_travels_says_what_to_do() -> None:
    async def later() -> None: ...

    coroutine = later()
    for value, text in [((x for x in ()), "convert it to a list"), (coroutine, "await it")]:
        for allow_pickle in (False, True):
            with pytest.raises(_codec.EncodeFailure) as caught:
                _codec.encode([[value]], allow_pickle=allow_pickle)
            message, where = caught.value.args
            assert text in message and "allow_pickle" not in message
            assert where == "[0][0]"
    coroutine.close()


def test_a_long_way_to_a_value_is_shown_by_its_ends() -> None:
    value: Any = [object()]
    for n in range(100):
        value = {"k" * 1000: value} if n == 99 else [value]
    with pytest.raises(_codec.EncodeFailure) as caught:
        _codec.encode(value)
    where = caught.value.args[1]
    assert where == f"['{'k' * 199}]" + "[0]" * 7 + "..." + "[0]" * 8


def test_a_subclass_is_never_changed_to_its_base() -> None:
    for value in (SubDict(a=1), SubInt(3)):
        again = _codec.decode(_codec.encode(value, allow_pickle=True), allow_pickle=True)
        assert type(again).__name__ == type(value).__name__
        assert again == value


VIEWS: list[memoryview] = [
    memoryview(b""), memoryview(array.array("d")), memoryview(b"abc"), memoryview(bytearray(b"abc")), memoryview(b"abcdef")[::-2],
    memoryview(bytes(48)).cast("d", (2, 3)), memoryview(bytes(8)).cast("d", ()), memoryview(array.array("h", [1, -2])),
    memoryview(np.arange(6.0).reshape(2, 3)), memoryview(np.asfortranarray(np.arange(6).reshape(2, 3))),
]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.format}{view.shape}")
def test_views_stay_views(view: memoryview) -> None:
    assert same(view, _codec.decode(_codec.encode(view)))
    inside = _codec.decode(_codec.encode(Holder(view), allow_pickle=True), allow_pickle=True)
    assert same(view, inside.held)


def test_views_that_would_be_something_else_are_refused() -> None:
    released = memoryview(b"x")
    released.release()
    strange: Any = memoryview(np.zeros(2, [("a", "i4")]))  # type: ignore[arg-type]
    for view in (released, strange, memoryview(np.zeros((0, 2)))):
        for value in (view, Holder(view)):
            with pytest.raises(_codec.EncodeFailure):
                _codec.encode(value, allow_pickle=True)


# --- what parts of one value share ----------------------------------------------------------------


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


def sent(item: Any) -> Any:
    """An item as f gets it, where pickles are allowed."""
    packer = _codec.ChunkPacker({}, allow_pickle=True)
    rest = {"a": 1.5}
    assert packer.fill(iter([rest, rest, item, rest]), 10, 1 << 20) == 4
    spec, items = _codec.decode(packer.take(), allow_pickle=True)
    assert (spec, items[:2], items[3:]) == ({}, [rest] * 2, [rest])
    return items[2]


def test_weak_containers_come_with_their_members() -> None:
    """Those beside them are the same ones; the others live as long as the container does."""
    a, b = Holder("a"), Holder("b")
    for place in (lambda x: x, Holder):  # by itself, and in an object that is pickled
        members = place(weakref.WeakSet([a, b])), [a]
        keys = place(weakref.WeakKeyDictionary({a: 1, b: 2})), [a]
        values = place(weakref.WeakValueDictionary({"a": a, "b": b})), [a]
        for value in (members, keys, values):
            with pytest.raises(_codec.Entangled):  # not in parts: the list would hold another one
                _codec.encode(value, allow_pickle=True)
            got, (first,) = sent(value)
            gc.collect()
            got = getattr(got, "held", got)
            kind = type(getattr(value[0], "held", value[0]))
            assert type(got) is kind and len(got) == 2
            there = list(got.values()) if kind is weakref.WeakValueDictionary else list(got)
            assert first in there and {x.held for x in there} == {"a", "b"}
            assert "needs pickle" in refusal(value)


def test_members_that_refer_to_their_container() -> None:
    node = Holder(None)
    node.held = weakref.WeakSet([node])
    again = sent(node)
    assert list(again.held) == [again]
    chosen = sent(node.held)
    assert next(iter(chosen)).held is chosen


def test_an_item_that_contains_itself_is_one_pickle() -> None:
    cycle: list[Any] = [1, {"a": ()}]
    cycle[1]["me"] = cycle
    got = sent(cycle)
    assert got[1]["me"] is got
    rows: list[Any] = [{"id": i, "row": None} for i in range(9)]
    rows[5]["row"] = rows[5]
    got = sent(rows)
    assert got[5]["row"] is got[5] and got[:5] == rows[:5]
    cycle.append(threading.Lock())  # cannot be pickled
    with pytest.raises(_codec.Entangled) as caught:
        _codec.ChunkPacker({}, allow_pickle=True).fill(iter([cycle]), 1, 1)
    assert "lock" in str(caught.value.__cause__)


def test_what_refers_weakly_is_refused() -> None:
    """cloudpickle makes the object of a proxy, and a dead finalizer."""
    thing = Holder(1)
    weak: list[Any] = [
        weakref.ref(thing),
        weakref.proxy(thing),
        weakref.proxy(len),
        weakref.finalize(thing, len, ""),
    ]
    for reference in weak:
        for allow_pickle in (False, True):
            with pytest.raises(_codec.EncodeFailure):
                _codec.encode([reference], allow_pickle=allow_pickle)
        with pytest.raises(_codec.EncodeFailure):
            _codec.encode(Holder(reference), allow_pickle=True)
    weak[-1].detach()


def test_pickles_need_a_word_on_both_sides() -> None:
    frame = _codec.encode(SubInt(3), allow_pickle=True)
    with pytest.raises(_codec.PickleRefused):
        _codec.decode(frame)


def test_cycles_and_depth() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(_codec.EncodeFailure):
        _codec.encode(cycle)
    deep: Any = 1
    for _ in range(150):
        deep = [(deep,)]
    assert same(deep, _codec.decode(_codec.encode(deep)))
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(_codec.encode(deep), max_depth=100)


class Changer:
    """Changes a container while it is read."""

    def __init__(self, change: Callable[[], Any]) -> None:
        self.change = change

    def __reduce__(self) -> Any:
        self.change()
        return int, (7,)


# --- named tuples of a class that no name leads to ---------------------------------------------


def row_class(*fields: str, name: str = "Row", **options: Any) -> Any:
    made: Any = collections.namedtuple(name, fields, rename=True, **options)  # type: ignore[misc]
    return made


def elsewhere(frame: bytes) -> Any:
    """What a process that knows none of this one's classes reads, as what it sends back."""
    code = (
        "import sys; from lambdamap import _codec; found = _codec.decode(sys.stdin.buffer.read());"
        "assert all(type(row) is type(found[0]) for row in found) and type(found[0]).__mro__[1:] == (tuple, object);"
        "sys.stderr.write(repr(found[0]) + found[0]._replace(x=5).__repr__());"
        "sys.stdout.buffer.write(_codec.encode(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=frame, capture_output=True, check=True
    )
    return _codec.decode(done.stdout), done.stderr.decode()


def test_rows_of_a_class_without_a_name_are_data() -> None:
    """They come back as objects of the very class, by way of a side that has to make one."""
    kind = row_class("x", "class", "_hidden", "1")
    assert kind._fields == ("x", "_1", "_2", "_3")
    rows = [kind(1, "a", None, [2.5]), kind(2, "b", (), {})]
    assert same(rows, _codec.decode(_codec.encode(rows, callables=False)))
    again, seen = elsewhere(_codec.encode(rows))
    assert same(rows, again)
    assert seen == "Row(x=1, _1='a', _2=None, _3=[2.5])Row(x=5, _1='a', _2=None, _3=[2.5])"
    vars(kind)["_make"]  # looked at in every way that leaves something in the class
    kind.__annotations__  # noqa: B018
    copy.copy(rows[0])
    assert same(rows, elsewhere(_codec.encode(rows))[0])


def test_rows_of_two_classes_of_one_name_stay_apart() -> None:
    one, two, other = row_class("x"), row_class("x"), row_class("x", "y")
    got = _codec.decode(_codec.encode([one(1), two(1), other(1, 2)]))
    assert [type(row) for row in got] == [one, two, other]
    gone = _codec.encode([row_class("x")(1)])  # nobody holds the class any more
    gc.collect()
    assert type(_codec.decode(gone)[0]) not in (one, two)


def test_a_pickled_class_and_its_rows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """f may ask whether an item is of the class that it has brought along."""
    import cloudpickle

    kind = row_class("x")
    pickled, frame = pickling.dumps(lambda row: isinstance(row, kind)), _codec.encode(kind(1))
    for load_first in (True, False):
        table: Any = weakref.WeakValueDictionary()
        monkeypatch.setattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", table)
        monkeypatch.setattr(kinds.classes, "_made", weakref.WeakValueDictionary())
        function = pickle.loads(pickled) if load_first else None
        row = _codec.decode(frame)
        function = function or pickle.loads(pickled)
        assert type(row) is not kind and function(row)
        back = _codec.encode(row)
        assert back == frame  # its rows are data as well, of the class that the caller knows


def test_a_named_tuple_with_more_than_fields_is_not_just_its_fields() -> None:
    def changed(name: str, value: Any) -> Any:
        kind = row_class("x")
        setattr(kind, name, value)
        return kind

    more: list[Any] = [
        type("Row", (row_class("x"),), {"__slots__": (), "twice": lambda self: 2 * self.x}),
        type("Row", (row_class("x"),), {"__slots__": ()}),
        row_class("x", defaults=(3,)), changed("__repr__", lambda self: "?"), changed("twice", 2),
        changed("__new__", lambda cls, x: tuple.__new__(cls, (x,))), changed("__doc__", "A row."),
        changed("x", property(lambda self: 5)), changed("_make", classmethod(lambda cls, x: cls(*x))),
        changed("__qualname__", "Other.Row"), NamedTuple("Row", [("x", int)]),
    ]  # fmt: skip
    for kind in more:
        value = kind(1)
        assert "needs pickle" in refusal(value)
        again = _codec.decode(_codec.encode(value, allow_pickle=True), allow_pickle=True)
        assert type(again) is kind and again == value


def test_an_id_leads_to_no_other_class() -> None:
    """A reply cannot have an object of another class made by naming what cloudpickle knows it by."""
    kind = row_class("x")
    frame = _codec.encode(kind(1), compression=False)
    other = type("Row", (row_class("x"),), {"__del__": lambda self: None})
    ident = pickling.ident_of(kind).encode()
    forged = frame.replace(ident, pickling.ident_of(other).encode())
    assert forged != frame and type(_codec.decode(forged)) not in (kind, other)


def test_containers_that_change_while_they_are_read() -> None:
    things: list[Any] = [1, None, 2]
    things[1] = Changer(lambda: things.append(3) or (things.pop(0) and None))
    grown: list[Any] = [None, 2]
    grown[0] = Changer(lambda: grown.extend(range(1000)))
    shrunk: list[Any] = [None, 2, 3]
    shrunk[0] = Changer(shrunk.clear)
    keyed: dict[Any, Any] = {"a": None, "b": 1}
    keyed["a"] = Changer(lambda: keyed.update({str(i): i for i in range(100)}))
    emptied: dict[Any, Any] = {"a": None, "b": 1}
    emptied["a"] = Changer(emptied.clear)
    for value in (grown, shrunk, keyed, emptied):
        with pytest.raises(_codec.EncodeFailure, match="changed"):
            _codec.encode(value, allow_pickle=True)
    _codec.encode(things, allow_pickle=True)


def head(structure: bytes, numeric: bytes = b"", **change: int) -> bytes:
    numbers = [len(structure), len(structure), len(numeric), 0]
    for name, value in change.items():
        numbers[["raw", "stored", "numeric", "planes"].index(name)] = value
    varints = b""
    for number in numbers:
        while number >= 0x80:
            varints += bytes([number & 0x7F | 0x80])
            number >>= 7
        varints += bytes([number])
    return b"L\x01\x00\x00" + varints + structure + numeric


F64_BLOCK = b"\xc7\x09\x01\x00"


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"L", b"L\x01\x00\x00", b"X" + head(b"\xc0")[1:], head(b"\xc0")[:-1], head(b"\xc0") + b"x",
        head(b"\xc1"), head(b"\xdd\x10\x00\x00\x00"), head(b"\xdf\x10\x00\x00\x00"),
        head(b"\xdb\xff\xff\xff\xff"), head(b"\xc6\x00\x00\x10\x00"), head(b"\xc9\xff\xff\xff\xff\x03"),
        head(b"\xa2\xff\xff"), head(b"\xa3\xed\xa0\x80"), head(b"\xc0\xc0"), head(b"\x91"),
        head(b"\x82\xa1a\x01\xa1a\x02"), head(b"\x81\x90\x01"), head(b"\xd4\x63\x00"),
        head(b"\xd4\x03\xc0"), head(b"\xc7\x02\x03\x90\xc0"), head(b"\xd4\x02"), head(b"\xc7\x00\x02"),
        head(b"\xd4\x09\x90"), head(b"\xc7\x03\x09\x93\xc2\x01\x01"[:-1]), head(b"\xd4\x01\x00"),
        head(F64_BLOCK + (2).to_bytes(8, "little"), b"\0" * 8),
        head(F64_BLOCK + (1).to_bytes(8, "little"), b"\0" * 16),
        head(F64_BLOCK + (2**40).to_bytes(8, "little"), b"\0" * 8),
        head(b"\xc7\x12\x01\x02\x03" + b"\0" * 16), head(b"\xc0", b"\0" * 7), head(b"\xc0", b"\0" * 8),
        head(b"\xc0", raw=2), head(b"\xc0", stored=2), head(b"\xc0", planes=1), head(b"", raw=0),
        head(b"\xc7\x03\x04\x92\x09\x00"), head(b"\xc7\x02\x0a\x91\x05"), head(b"\xc7\x01\x0a\x90"),
        head(b"\xc7\x01\x06\x90"), head(b"\xc7\x03\x06\x91\xa1x"),
    ],
    ids=lambda frame: frame.hex()[:40] or "empty",
)  # fmt: skip
def test_hostile_frames(frame: bytes) -> None:
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(frame)


def test_other_versions_are_refused() -> None:
    frame = bytearray(_codec.encode(1))
    frame[1] = 9
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(frame)


def test_limits_hold_before_anything_is_allocated() -> None:
    bomb = _codec.encode("a" * 50_000_000)
    assert len(bomb) < 300_000
    with pytest.raises(_codec.DecodeFailure, match="1000000"):
        _codec.decode(bomb, max_output_bytes=1_000_000)
    many = _codec.encode([None] * 200_000)
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(many, max_output_bytes=1_000_000)
    lying = head(b"\xc0" * 3, raw=1 << 40).replace(b"L\x01\x00", b"L\x01\x01", 1)
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(lying)


@pytest.mark.parametrize("text", ["", "lm1:", "lm2:AAAA", "lm1:A", "lm1:AB==", "lm1:!!!!", "lm1:ä"])
def test_hostile_texts(text: str) -> None:
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode_text(text)


def test_decoding_a_reply_imports_nothing() -> None:
    """A frame that names a module, or holds numpy data, does not make this side import it."""
    named = _codec.encode(fractions.Fraction).hex()
    unknown = _codec.encode(tasks.square).hex()
    numbers = _codec.encode(np.arange(3)).hex()
    code = (
        "import sys; from lambdamap import _codec\n"
        f"for frame in ({unknown!r}, {numbers!r}):\n"
        "    try: _codec.decode(bytes.fromhex(frame))\n"
        "    except _codec.DecodeFailure as error:\n"
        "        assert 'import it first' in str(error) or 'could run code' in str(error)\n"
        "    else: raise SystemExit('decoded')\n"
        "assert 'numpy' not in sys.modules and 'tasks' not in sys.modules\n"
        f"try: _codec.decode(bytes.fromhex({named!r}))\n"
        "except _codec.DecodeFailure: pass\n"
        "assert 'fractions' not in sys.modules\n"
        "_codec.encode([{'a': 1.5, 'b': (1, 'x')}]); assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Asked:
    """What a reader of names is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def callable(self, module: str, qualname: str) -> Any:
        self.asked.append(("callable", module, qualname))
        return tasks.add

    def type(self, module: str, qualname: str) -> Any:
        self.asked.append(("type", module, qualname))
        return Color

    def module(self, name: str) -> Any:
        self.asked.append(("module", name))
        return sys.modules[name]


def test_names_are_asked_for() -> None:
    frame = _codec.encode([tasks.square, Color.RED, np.arange(3)])
    names = Asked()
    found = _codec.decode(frame, names=names)
    assert found[:2] == [tasks.add, Color.RED]
    assert names.asked[:2] == [("callable", "tasks", "square"), ("type", __name__, "Color")]
    assert set(names.asked[2:]) == {("module", "numpy")}


# --- ChunkPacker and Chunker ----------------------------------------------------------------------


def test_chunk_packer() -> None:
    packer = _codec.ChunkPacker({"f": None, "k": [1.5] * 10})
    items = iter(range(10))
    assert packer.fill(items, 4, 1 << 20) == 4
    assert packer.fill(items, 4, 1 << 20) == 4
    assert _codec.decode(packer.take()) == [{"f": None, "k": [1.5] * 10}, [0, 1, 2, 3]]
    assert packer.chunk_items == 0
    assert packer.fill(items, 100, 1 << 20) == 6
    assert packer.exhausted
    assert packer.items_packed == 10
    assert _codec.decode(packer.take())[1] == [4, 5, 6, 7, 8, 9]
    assert packer.fill(items, 3, 1 << 20) == 0


def test_chunks_are_full_by_bytes() -> None:
    packer = _codec.ChunkPacker({})
    items = iter([b"x" * 400] * 5)
    chunks = []
    while not packer.exhausted:
        if packer.fill(items, 100, 1000):
            chunks.append(len(_codec.decode(packer.take())[1]))
    assert chunks == [2, 2, 1]
    assert packer.fill(iter([b"y" * 5000, 1]), 100, 1000) == 0  # the iterator has ended for good
    packer = _codec.ChunkPacker({})
    assert packer.fill(iter([b"y" * 5000, 1]), 100, 1000) == 1  # one item is always taken


def test_a_failure_leaves_the_chunk_as_it_was() -> None:
    packer = _codec.ChunkPacker({})
    items = iter([1, [2.0] * 9 + [object()], 3])
    with pytest.raises(_codec.EncodeFailure) as caught:
        packer.fill(items, 10, 1 << 20)
    assert caught.value.args[1] == "[9]"
    assert (packer.chunk_items, packer.items_packed) == (1, 1)
    assert packer.fill(items, 10, 1 << 20) == 2
    assert _codec.decode(packer.take()) == [{}, [1, 3]]

    def broken() -> Any:
        yield 1
        raise KeyError("no")

    packer = _codec.ChunkPacker({})
    with pytest.raises(KeyError):
        packer.fill(broken(), 10, 1 << 20)
    assert packer.items_packed == 1


def test_an_item_is_skipped() -> None:
    """It has an index, and is in no chunk."""
    packer = _codec.ChunkPacker({})
    items = iter([1, object(), 3])
    with pytest.raises(_codec.EncodeFailure):
        packer.fill(items, 10, 1 << 20)
    with pytest.raises(ValueError, match="empty"):
        packer.skip()
    assert _codec.decode(packer.take()) == [{}, [1]]
    packer.skip()
    assert packer.items_packed == 2
    assert packer.fill(items, 10, 1 << 20) == 1
    assert packer.items_packed == 3


def test_packer_is_not_reentrant() -> None:
    packer = _codec.ChunkPacker({})

    def items() -> Any:
        yield 1
        packer.take()

    with pytest.raises(ValueError, match="executing"):
        packer.fill(items(), 10, 1 << 20)


def test_chunker() -> None:
    fixed = _codec.Chunker(7)
    assert fixed.next(10, -1, -1) == 7
    auto = _codec.Chunker(0)
    assert [auto.next(4, 1000, -1) for _ in range(10)] == [1] * 8 + [0, 0]
    sizes = []
    for _ in range(40):
        auto.observe(1, 1000, 4)  # a millisecond each
        sizes.append(auto.next(4, 100_000, -1))
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 500  # half a second of work
    assert auto.next(4, 80, -1) == 10  # a share of what is left
    assert auto.next(4, -1, 400_000) == 100  # a quarter of the time left


# --- rows, which are made a group at a time --------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2, 5, 6, 50, 300, 700])
def test_rows_are_what_they_were_wherever_a_group_ends(columns: int) -> None:
    cells: list[Any] = [
        lambda i: i, lambda i: i / 3, lambda i: f"text {i}", lambda i: "same", lambda i: i % 3 == 0,
        lambda i: None if i % 5 else "é", lambda i: [str(i % 4)] * (i % 3), lambda i: {"in": i % 2},
        lambda i: (i, None), lambda i: i // 7, lambda i: "ü" * (i // 6 % 2),
        lambda i: b"x" if i < 40 else i,
    ]  # fmt: skip
    group = 512 // columns or 1
    for n in {4, group, group + 1, 2 * group + 1, 50}:
        rows = [{f"k{c}": cells[c % 12](i + c) for c in range(columns)} for i in range(n)]
        found = _codec.decode(_codec.encode(rows))
        assert same(found, rows)
        assert all(list(row) == list(rows[0]) for row in found)
        for row in found:  # each is its own
            row.clear()
            row["more"] = 1
        tuples = [tuple(row.values()) for row in rows]
        assert same(_codec.decode(_codec.encode(tuples)), tuples)
        if columns < 60:
            nested = [{"a": rows[: i % 9], "b": tuples[i % 4 :]} for i in range(12)]
            assert same(_codec.decode(_codec.encode(nested)), nested)


def test_a_cell_that_cannot_be_made_takes_its_group_with_it() -> None:
    rows = [{"a": f"{i}", "b": [i, len] if i == 33 else [i, i], "c": i / 7} for i in range(50)]
    frame = _codec.encode(rows)
    assert len(_codec.decode(frame, names=lookup.TRUSTED)) == 50

    class Nothing(Asked):
        def callable(self, module: str, qualname: str) -> Any:
            raise LookupError(qualname)

    for _ in range(3):
        with pytest.raises(_codec.DecodeFailure, match="LookupError: len"):
            _codec.decode(frame, names=Nothing())


def test_arguments_of_another_type_are_refused() -> None:
    call: Any = _codec.decode
    for name in ("max_output_bytes", "max_depth"):
        with pytest.raises(TypeError):
            call(_codec.encode([1]), **{name: "many"})
