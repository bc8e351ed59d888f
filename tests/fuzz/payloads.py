"""Payloads that nobody would write, out of a fuzzer's bytes; and what must hold while one is read."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import enum
import faulthandler
import functools
import sys
import time
import tracemalloc
import zoneinfo
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lambdamap import _codec
from lambdamap.shipping import kinds
from lambdamap.shipping.kinds import parts, stdlib
from lambdamap.shipping.kinds.pandas import columns, values

MAX_BYTES = 1 << 20  # max_output_bytes of what is read
_PEAK_BYTES = (
    24 << 20
)  # while it is read: the libraries' own copies, and what is kept for next time
_CPU_S = 1.0
_HANG_S = 20


class Ext:
    """An extension with whatever payload."""

    def __init__(self, ext: int, content: tuple[Any, ...]) -> None:
        self.ext, self.content = ext, content


stdlib.EXACT[Ext] = lambda value: (value.ext, value.content)


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: str


class Row(NamedTuple):
    a: int


NAMES = [
    ("builtins", "list"), ("builtins", "eval"), ("os", "system"), ("numpy", "float64"), ("numpy", "f2py"),
    (__name__, "Color"), (__name__, "Row"), ("collections", "Counter"), ("concurrent.futures", "ProcessPoolExecutor"),
    ("fuzzed", "plain"), ("canary", "Sings"), ("fuzzed", "secret"), ("builtins", "ValueError"), ("json", "JSONDecodeError"),
]  # fmt: skip
TEXTS = [
    "", "a", "é", "\ud800", "x" * 300, "left", "both", "python", "pyarrow", "Int64", "boolean", "<f8", "|S0", "<U3",
    "<M8[ns]", "|V9", "O", "D", "h", "2B", "Q-NOV", "Europe/Berlin", "UTC", "../x", "RED", "C", "F", "d", "u",
    "PosixPath", "1e999999", "nan", "class", "args", "vars", "fields", "members", "message", "links", "kind", "cause",
]  # fmt: skip
INTS = [
    0,
    1,
    2,
    3,
    7,
    -1,
    63,
    64,
    65,
    127,
    1000,
    2**31,
    2**53,
    2**61 - 1,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**40,
    10**9,
]
_ARRAYS = [
    "<i8",
    "<f8",
    "|b1",
    "<i1",
    "<M8[ns]",
    "<M8[s]",
    "<m8[us]",
    "<u4",
    "<c16",
    "<U2",
    "|S3",
    "|V0",
    "|O",
]

# What a part is most often, by the types that it may have: of these a builder asks for more than it says.
_KINDS = {(ext, tag): kind for ext, kinds in kinds.KINDS.items() for tag, kind in kinds.items()}
_TAGS = list(_KINDS)
_COLUMNS = list(columns.COLUMNS)
_PANDAS_PARTS = ("index", "range", "multi")


class Maker:
    """Values out of a `FuzzedDataProvider`."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def pick(self, choices: Any) -> Any:
        return choices[self.data.ConsumeIntInRange(0, len(choices) - 1)]

    def value(self, depth: int = 5) -> Any:
        how = self.data.ConsumeIntInRange(0, 19)
        if depth <= 0 or how < 6:
            return self.scalar()
        if how < 8:
            return [self.value(depth - 1) for _ in range(self.data.ConsumeIntInRange(0, 5))]
        if how == 8:
            return [self.scalar()] * self.pick([1, 3, 20, 100, 3000])
        if how == 9:
            return self.row(depth)
        if how == 10:
            return self.mapping(depth)
        if how == 11:
            return self.array()
        return self.extension(depth)

    def scalar(self) -> Any:
        how = self.data.ConsumeIntInRange(0, 7)
        if how == 0:
            return None
        if how == 1:
            return self.data.ConsumeBool()
        if how == 2:
            return self.pick(INTS)
        if how == 3:
            return self.data.ConsumeInt(8)
        if how == 4:
            return self.data.ConsumeFloat()
        if how == 5:
            return self.pick(TEXTS)
        if how == 6:
            return self.data.ConsumeUnicode(self.data.ConsumeIntInRange(0, 20))
        return self.data.ConsumeBytes(self.data.ConsumeIntInRange(0, 40))

    def mapping(self, depth: int) -> dict[Any, Any]:
        made = {}
        for _ in range(self.data.ConsumeIntInRange(0, 4)):
            with contextlib.suppress(TypeError):
                made[self.scalar()] = self.value(depth - 1)
        return made

    def array(self, n: int | None = None) -> Any:
        descr = self.pick(_ARRAYS)
        if descr == "|O":
            items = [self.scalar() for _ in range(self.data.ConsumeIntInRange(0, 5))]
            return Ext(parts.ARRAY, ("O", (len(items),), self.pick("CF"), items))
        dtype = np.dtype(descr)
        size = self.data.ConsumeIntInRange(0, 6) if n is None else n
        body = self.data.ConsumeBytes(size * dtype.itemsize).ljust(size * dtype.itemsize, b"\0")
        shape: tuple[Any, ...] = (size,)
        if self.data.ConsumeIntInRange(0, 9) == 0:
            shape = self.pick(
                [(), (size, 1), (size, size), (-1,), (10**9,), (0, 10**12), (1.0,), [size]]
            )
        return Ext(parts.ARRAY, (descr, shape, "C", body))

    def column(self, depth: int) -> Any:
        tag = self.pick(_COLUMNS)
        return (tag, *self.content(columns.COLUMNS[tag], depth))

    def extension(self, depth: int) -> Any:
        ext, tag = self.pick(_TAGS)
        kind = _KINDS[ext, tag]
        if ext == parts.PICKLE:
            return Ext(parts.DECIMAL, ("1",))
        content = self.content(kind, depth)
        if ext in (parts.TIME, parts.NAMED, parts.PANDAS):
            content = (tag, *content)
        if self.data.ConsumeIntInRange(0, 30) == 0:
            content = (*content, self.value(depth - 1))
        return Ext(ext, content)

    def content(self, kind: Any, depth: int) -> tuple[Any, ...]:
        fields = kind.fields
        if fields is None:
            fields = ((object,),) * self.data.ConsumeIntInRange(0, 9)
        made = [self.part(types, depth - 1) for types in fields]
        if len(made) >= 2 and fields[:2] == (parts.TEXT, parts.TEXT) and self.data.ConsumeBool():
            made[:2] = self.pick(NAMES)
        return tuple(made)

    def part(self, types: tuple[type, ...], depth: int) -> Any:
        if self.data.ConsumeIntInRange(0, 15) == 0:
            return self.value(depth)
        kind = self.pick(types)
        if kind is int:
            return self.pick(INTS) if self.data.ConsumeBool() else self.data.ConsumeInt(4)
        if kind is str:
            return self.pick(TEXTS)
        if kind is bool:
            return self.data.ConsumeBool()
        if kind is float:
            return self.data.ConsumeFloat()
        if kind in (bytes, bytearray):
            return self.data.ConsumeBytes(self.data.ConsumeIntInRange(0, 32))
        if kind is list:
            make = self.pick(
                [
                    self.value,
                    self.column,
                    lambda d: self.array(),
                    lambda d: self.scalar(),
                    self.index,
                ]
            )
            return [make(depth - 1) for _ in range(self.data.ConsumeIntInRange(0, 4))]
        if kind is tuple:
            return self.column(depth) if self.data.ConsumeBool() else self.row(depth)
        if kind is dict:
            return self.mapping(depth)
        if kind is dt.timedelta:
            return dt.timedelta(self.data.ConsumeInt(1))
        if kind is type(None):
            return None
        make = self.pick([self.value, lambda d: self.array(), self.index, self.extension])
        return make(depth)

    def row(self, depth: int) -> tuple[Any, ...]:
        return tuple(self.value(depth - 1) for _ in range(self.data.ConsumeIntInRange(0, 4)))

    def index(self, depth: int) -> Any:
        tag = self.pick(_PANDAS_PARTS)
        return Ext(parts.PANDAS, (tag, *self.content(values.KINDS[tag], depth)))


def tree_of(value: Any) -> Any:
    """An honest value as extensions and plain data, of which each part may be exchanged."""
    if type(value) in (list, tuple):
        return type(value)(map(tree_of, value))
    if type(value) is dict:
        return {key: tree_of(item) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    ext, content = kinds.reduce(value, False, True)
    if ext == parts.BUFFER:
        return bytes(content[0])
    return Ext(ext, tuple(map(tree_of, content)))


class Mutator:
    """Exchanges some parts of a tree."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.at = {
            maker.data.ConsumeIntInRange(0, 40) for _ in range(maker.data.ConsumeIntInRange(0, 2))
        }
        self.seen = 0

    def changed(self, tree: Any) -> Any:
        self.seen += 1
        if self.seen in self.at:
            make = self.maker
            return make.pick(
                [
                    make.value,
                    make.extension,
                    make.index,
                    lambda _: make.scalar(),
                    lambda _: make.array(),
                ]
            )(2)
        if type(tree) is Ext:
            return Ext(tree.ext, self.changed_all(tree.content))
        if type(tree) in (list, tuple):
            return type(tree)(self.changed_all(tree))
        if type(tree) is dict:
            return dict(zip(tree, self.changed_all(tree.values()), strict=True))
        return tree

    def changed_all(self, trees: Any) -> tuple[Any, ...]:
        return tuple(map(self.changed, trees))


TREES: list[Any] = []


def frame_of(data: Any) -> bytes:
    """A raw frame: of bytes as they are, of an unlikely value, or of an honest one with other parts."""
    if data.ConsumeIntInRange(0, 2):
        maker = Maker(data)
        tree = maker.pick(TREES)
        try:
            return _codec.encode(Mutator(maker).changed(tree), compression=False)
        except _codec.EncodeFailure:
            return b""
    if data.ConsumeIntInRange(0, 7) == 0:
        body = data.ConsumeBytes(200)
        return b"L\1\0\0" + bytes([len(body) & 127] * 2 + [0] * 5) + body[:127]
    try:
        return _codec.encode(Maker(data).value(), compression=False)
    except _codec.EncodeFailure:
        return b""


# --- what must hold --------------------------------------------------------------------------------

_HARMLESS = {"array.__new__", "object.__getattr__", "sys._getframe", "builtins.id", "gc.get_objects", "code.__new__",
             "marshal.loads", "cpython.PyInterpreterState_New"}  # fmt: skip
_watching = False
_events: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event in _HARMLESS or event.startswith(("object.", "tracemalloc")):
        return
    if event == "compile" and str(arguments[0]).lstrip("b'").startswith("lambda _cls, "):
        return  # collections.namedtuple makes its __new__ of fields' names that it has checked
    if event == "exec" and arguments[0].co_filename in ("<string>", "<named tuple>"):
        return
    if event == "open" and str(arguments[0]).startswith(tuple(zoneinfo.TZPATH)):
        return
    _events.append(f"{event} {arguments!r}"[:300])


sys.addaudithook(_audit)


class Canary:
    """Finds that a module is looked for which nobody may have imported."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "canary":
            _events.append("canary was imported")


sys.meta_path.insert(0, Canary())  # type: ignore[arg-type]


class Broken(AssertionError):
    """Something that must hold does not."""


@contextlib.contextmanager
def watched(imports: bool = True) -> Iterator[None]:
    """Nothing is opened, started or imported inside, and little memory and time is taken.

    imports: whether those of other modules than the canary count.
    """
    global _watching
    _events.clear()
    before = set(sys.modules)
    tracemalloc.start()
    faulthandler.dump_traceback_later(_HANG_S, exit=True)
    start = time.process_time()
    _watching = True
    try:
        yield
    finally:
        _watching = False
        taken = time.process_time() - start
        faulthandler.cancel_dump_traceback_later()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    new = sorted(set(sys.modules) - before)
    if imports and new:
        raise Broken(f"imported: {new}")
    if done := [event for event in _events if imports or "canary" in event]:
        raise Broken(f"done: {done}")
    if peak > _PEAK_BYTES:
        raise Broken(f"{peak:,} bytes were taken")
    if taken > _CPU_S:
        raise Broken(f"it took {taken:.1f} s")


def warm() -> None:
    """Have all imported and cached that reading honest data needs."""
    import array
    import concurrent.futures
    import fractions
    import json
    import pathlib
    import uuid
    import warnings

    warnings.simplefilter("ignore")
    times = pd.date_range("2020", periods=3, tz="UTC")
    honest: list[Any] = [
        uuid.uuid4(), array.array("d"), pathlib.PurePosixPath("a"), fractions.Fraction(1, 3), zoneinfo.ZoneInfo("Europe/Berlin"),
        ValueError("x"), json.JSONDecodeError("x", "y", 1), concurrent.futures.CancelledError(),
        pd.Series(times), pd.DataFrame({"a": [1], "b": ["x"]}), pd.interval_range(0, 2), pd.Categorical(["a"]), pd.Series([1.5], index=["a"], name="n"), pd.Index([1, 5]), pd.CategoricalDtype(["a"]),
        pd.MultiIndex.from_product([[1], ["a"]]), pd.period_range("2020", periods=2, freq="M"),
        pd.array([1, None]), pd.array([1.5, None], dtype="Float64"), pd.array([True, None]), pd.bdate_range("2020", periods=3),
        [pd.DataFrame({"a": [i]}) for i in range(5)], Color.RED, Row(1), np.zeros(3, [("a", "i4")]), pd.NaT,
        pd.Series(["a", None] * 99, dtype="string"), pd.Timestamp("2020", tz="UTC"), pd.Series([np.nan, "x"], dtype=object),
        pd.Timedelta(1, "s"), pd.Interval(0, 1), pd.Period("2020", "M"), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
        np.datetime64("2020"), np.arange(3), np.array([1, "a"], object), np.float32(1), np.dtype("f8"), pd.RangeIndex(3),
        collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], 2), functools.partial(int, base=2),
        collections.defaultdict(list, {1: [2]}), dict, range(3), slice(1), 1j, next(pd.DataFrame({"a": [1]}).itertuples()),
        pd.DataFrame(np.zeros((2, 20))), pd.date_range("2020", periods=3, freq=pd.DateOffset(months=1)),
        pd.Series([1]).set_flags(allows_duplicate_labels=False), Point(1, "a"),
    ]  # fmt: skip
    for value in honest:
        _codec.decode(_codec.encode(value))
        if type(value) is not list:
            TREES.append(tree_of(value))
    frames = honest[[type(value) for value in honest].index(list)]
    whole = pd.concat(frames)
    column = ("np", tree_of(whole["a"].to_numpy()))
    starts = ("n", [0] * 5, [1] * 5, [1] * 5)
    TREES.append(Ext(parts.FRAMES, ([column], tree_of(whole.columns), starts, [1] * 5)))
    TREES.append(
        Ext(parts.FRAMES, ([column], tree_of(whole.columns), tree_of(whole.index), [0, 2, 1, 1, 1]))
    )
    categories = ("cat", tree_of(np.zeros(5, "i1")), tree_of(pd.Index(["x", "y"])), False)
    pieces = [("a", 2), (None, 0), (("b", 1), 3)]
    TREES.append(Ext(parts.FRAMES, (categories, tree_of(pd.Index([1, 5, 2, 3, 4])), pieces)))
    TREES.append(Ext(parts.FRAMES, (column, starts, [("a", 1)] * 5)))
    for tree in TREES:
        _codec.decode(_codec.encode(tree))
