"""Reading runs nothing, imports nothing, and takes no more than was counted: bytes, time, looks at signals."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import pathlib
import re
import resource
import signal
import sys
import threading
import time
import tracemalloc
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import tasks
from extensions import Ext, index, read, refused
from lambdamap import _codec
from lambdamap.shipping import kinds, lookup
from lambdamap.shipping.kinds import parts
from lambdamap.shipping.kinds.pandas import columns
from same import same

TIME, ARRAY, DECIMAL, NAMED, PANDAS, NUMPY, FRAMES = (
    parts.TIME, parts.ARRAY, parts.DECIMAL, parts.NAMED, parts.PANDAS, parts.NUMPY, parts.FRAMES,
)  # fmt: skip

# --- bytes ----------------------------------------------------------------------------------------

N = 3000


class Point(NamedTuple):
    x: int
    y: str


Bare = collections.namedtuple("Bare", "x _1", rename=True)  # type: ignore[misc]
Bare.__module__ = "nowhere"


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Plain:
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class Slotted:
    __slots__ = ("a",)
    a: Any


for _kind in (Point, Color, Plain, Slotted):
    _kind.__module__ = __name__

TIMES_64 = pd.date_range("2020", periods=N, freq="h", tz="Europe/Berlin")
# For each kind that can be read: a value of it, the larger the better.
SAMPLES: dict[tuple[int | str, Any], Any] = {
    (TIME, 0): [dt.date(2020, 1, 1), 1, "x"] * N, (TIME, 1): [dt.time(1), 1, "x"] * N,
    (TIME, 2): [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), 1, "x"] * N,
    (TIME, 3): [dt.timedelta(1, 2, 3), 1, "x"] * N,
    (TIME, 4): [dt.timezone(dt.timedelta(hours=1), "name"), 1, "x"] * N,
    (TIME, 5): zoneinfo.ZoneInfo("Europe/Berlin"),
    (DECIMAL, 1): [decimal.Decimal("1" * 300), 1, "x"] * N,
    (NAMED, "name"): int, (NAMED, "partial"): functools.partial(int, *range(N)),
    (NAMED, "defaultdict"): collections.defaultdict(list, {i: i for i in range(N)}),
    (NAMED, "exception"): [ValueError("x", 1), 1, "x"] * 99,
    (NAMED, "enum"): [Color.RED, 1] * N, (NAMED, "namedtuple"): [Point(1, "a"), Bare(1, 2), 1, "x"] * N,
    (NAMED, "dataclass"): [Plain(1, "x"), Slotted(3), 1] * N, (NAMED, "complex"): [1j, 1, "x"] * N,
    (NAMED, "uuid"): [uuid.UUID(int=i) for i in range(N)], (NAMED, "range"): [range(9), 1, "x"] * N,
    (NAMED, "slice"): [slice(1, 2), 1, "x"] * N,
    (NAMED, "odict"): collections.OrderedDict((i, i) for i in range(N)),
    (NAMED, "counter"): collections.Counter(range(N)), (NAMED, "deque"): collections.deque(range(N)),
    (NAMED, "path"): [pathlib.PurePosixPath("a/" * 300), 1, "x"] * 99,
    (NAMED, "fraction"): fractions.Fraction(2**9999, 3**9999), (NAMED, "array"): array.array("d", range(N)),
    (NAMED, "memoryview"): [memoryview(bytearray(8 * N)).cast("d", (N // 60, 6, 10)), memoryview(b"x"), 1] * 9,
    (ARRAY, 4): [np.array([i + 0.5 for i in range(N)], object), np.arange(N) % 7],
    (ARRAY, 5): np.rec.array([(i, "x") for i in range(N)], dtype=[("a", "i4"), ("b", "U3")]),
    (NUMPY, 1): [
        np.dtype([(f"f{i}", "<i4") for i in range(N)]),
        np.dtype([(f"f{i}", "i1" if i % 2 else "i8") for i in range(N)], align=True),
        np.dtype((np.record, [("a", np.dtype("i4", metadata={str(i): i for i in range(N)}))])),
    ],
    (NUMPY, 2): [np.str_("é" * N), np.bytes_(b"x\0" * N), np.void(b"x" * N)],
    (PANDAS, "NaT"): pd.NaT, (PANDAS, "NA"): pd.NA, (PANDAS, "timestamp"): pd.Timestamp("2020", tz="UTC"),
    (PANDAS, "timedelta"): pd.Timedelta(1, "h"), (PANDAS, "interval"): pd.Interval(0, 1),
    (PANDAS, "period"): pd.Period("2020-03", "M"), (PANDAS, "range"): [pd.RangeIndex(7)] * 99,
    (PANDAS, "index"): pd.date_range("2020", periods=N, freq="h"),
    (PANDAS, "multi"): pd.MultiIndex.from_product([range(60), [f"{i}" for i in range(50)]]),
    (PANDAS, "series"): pd.Series(range(N)), (PANDAS, "frame"): pd.DataFrame({f"{i}": [i] for i in range(200)}),
    (PANDAS, "array"): pd.array([1, None] * N),
    (PANDAS, "unique"): pd.Series(range(N)).set_flags(allows_duplicate_labels=False), (PANDAS, "catdtype"): pd.CategoricalDtype(range(N)),
    (FRAMES, 3): [pd.Series([1.5], [i], name=f"n{i}") for i in range(200)],
    (FRAMES, 4): [pd.DataFrame({"a": [1.5], "b": [i]}) for i in range(200)],
    ("column", "np"): pd.Series(np.arange(N) / 7),
    ("column", "nan"): pd.Series([np.nan, 1] * N, dtype=object),
    ("column", "take"): pd.Series(["text" * 50, "other"] * N), ("column", "cat"): pd.Categorical(range(N)),
    ("column", "tz"): pd.Series(TIMES_64), ("column", "interval"): pd.interval_range(0, N).array,
    ("column", "period"): pd.period_range("2020", periods=N, freq="h").array,
    ("column", "str"): pd.Series([f"text {i}" for i in range(N)], dtype="string"),
    ("column", "mask"): pd.array([1, None] * N, dtype="Int8"),
}  # fmt: skip


def test_every_kind_has_a_sample_and_a_bound() -> None:
    known = {(ext, tag): kind for ext, kinds in kinds.KINDS.items() for tag, kind in kinds.items()}
    del known[parts.PICKLE, 1]  # what it takes nobody knows, and it is read for those who allow it
    known |= {("column", tag): kind for tag, kind in columns.COLUMNS.items()}
    assert known.keys() == SAMPLES.keys()
    for kind in known.values():
        assert kind.bound is parts.SMALL or callable(kind.bound)


@pytest.mark.parametrize("key", SAMPLES, ids=str)
def test_a_value_takes_no_more_than_is_charged(key: tuple[int | str, Any]) -> None:
    """The frame is raw: `lm_mpcheck` has not counted anything of it."""
    frame = _codec.encode(SAMPLES[key], compression=False)
    _codec.decode(frame)  # what is imported and kept for the next time is there now
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        value = _codec.decode(frame)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    if key != (NAMED, "exception"):  # each is equal to itself alone
        assert same(value, SAMPLES[key])
    low, high = 0, 1 << 26
    while low < high:  # the least that is enough
        middle = (low + high) // 2
        try:
            _codec.decode(frame, max_output_bytes=middle)
            high = middle
        except _codec.DecodeFailure:
            low = middle + 1
    assert taken <= low + 2000


LONG = Ext(NAMED, "range", 0, 10**9, 1)
LONG_INDEX = Ext(PANDAS, "range", 0, 10**9, 1, None)
MANY = Ext(PANDAS, "range", 0, 4 * 10**6, 1, None)
NUMBER = Ext(ARRAY, "<i8", (1,), "C", bytes(8))


HOSTILE: dict[str, Ext] = {
    "a deque of a range": Ext(NAMED, "deque", LONG, None),
    "a short deque of a long range": Ext(NAMED, "deque", LONG, 5),
    "a counter of a range": Ext(NAMED, "counter", LONG),
    "an odict of a range": Ext(NAMED, "odict", LONG),
    "a defaultdict of a range": Ext(NAMED, "defaultdict", None, LONG),
    "a view of a range": Ext(NAMED, "memoryview", "B", (10**9,), LONG),
    "a view that is not there": Ext(NAMED, "memoryview", "d", (10**9,), bytes(8)),
    "a view of no length": Ext(NAMED, "memoryview", "B", (10**9,), b""),
    "a view of pointers to nothing": Ext(NAMED, "memoryview", "O", (1,), bytes(8)),
    "a view of a shape of texts": Ext(NAMED, "memoryview", "d", ("1",), bytes(8)),
    "a view of a negative shape": Ext(NAMED, "memoryview", "d", (-1, -1), bytes(8)),
    "an array of so many bytes": Ext(NAMED, "array", "B", 10**9),
    "an array of a range": Ext(NAMED, "array", "B", LONG),
    "a fraction of a text": Ext(NAMED, "fraction", "1e300000000", 1),
    "a fraction below zero": Ext(NAMED, "fraction", 1, -3),
    "a fraction of texts": Ext(NAMED, "fraction", 2, 4),
    "a complex number of a text": Ext(NAMED, "complex", "1" * 1000, 0),
    "a UUID of a range": Ext(NAMED, "uuid", LONG),
    "a UUID of a safety of its own": Ext(NAMED, "uuid", bytes(16), 7),
    "a date of floats": Ext(TIME, 0, 2020.0, 1, 1),
    "a time zone that is a path": Ext(TIME, 5, "../../etc/passwd"),
    "a time zone of a package": Ext(TIME, 5, "os.path/x"),
    "an array that is not there": Ext(ARRAY, "<f8", (10**8,), "C", b""),
    "an array that is partly there": Ext(ARRAY, "<f8", (3,), "C", bytes(16)),
    "an array of a negative length": Ext(ARRAY, "<f8", (-1,), "C", bytes(16)),
    "an array of items of no size": Ext(ARRAY, "|V0", (10**12,), "C", b""),
    "an array of texts of no size": Ext(ARRAY, "<U0", (10**9,), "C", b""),
    "no items of a large size": Ext(ARRAY, "|V2000000000", (0,), "C", b""),
    "an array of objects' bytes": Ext(ARRAY, "|O", (1,), "C", bytes(8)),
    "fields of objects' bytes": Ext(ARRAY, [("a", "|O")], (1,), "C", bytes(8)),
    "bytes of objects": Ext(ARRAY, "O", (1,), "C", bytes(8)),
    "fields of objects": Ext(ARRAY, [("a", "O")], (1,), "C", bytes(8)),
    "a scalar of objects": Ext(NUMPY, [("a", ("metadata", "O", {}))], bytes(8)),
    "items in no order": Ext(ARRAY, "O", (1,), "K", [1]),
    "items of numbers": Ext(ARRAY, "<i8", (1,), "C", [1]),
    "items of fields": Ext(ARRAY, [("a", "O")], (1,), "C", [(1,)]),
    "objects of a range": Ext(ARRAY, "O", (10**9,), "C", LONG),
    "objects that are not there": Ext(ARRAY, "O", (10**9,), "C", [1]),
    "a record array of numbers": Ext(ARRAY, "<i8", (1,), "C", bytes(8), "recarray"),
    "an array of a strange kind": Ext(ARRAY, ("record", [("a", "<i8")]), (1,), "C", bytes(8), "memmap"),
    "a record of numbers": Ext(NUMPY, ("record", "<i8")),
    "a record of a record": Ext(NUMPY, ("record", ("record", [("a", "<i8")]))),
    "a subarray of a huge shape": Ext(NUMPY, ("subarray", "<f8", (2**40,))),
    "a subarray of no shape": Ext(NUMPY, ("subarray", "<f8", 3)),
    "a builder of no name": Ext(NUMPY, ("__class__",)),
    "metadata that is none": Ext(NUMPY, ("metadata", "<f8", [1])),
    "a long double of nobody": Ext(NUMPY, "<f16:99"),
    "a field beyond the end": Ext(NUMPY, ("fields", ["a"], ["<i8"], [4], [None], 8, False)),
    "a field before the beginning": Ext(NUMPY, ("fields", ["a"], ["<i8"], [-4], [None], 8, False)),
    "fields without names": Ext(NUMPY, ("fields", [], ["<i8"] * 9, [0] * 9, [None] * 9, 8, False)),
    "fields of a huge dtype": Ext(ARRAY, ("fields", [], [], [], [], 2**31 - 1, False), (0,), "C", b""),
    "a field that says it is aligned": Ext(NUMPY, ("fields", ["a", "b"], ["<i1", "<i8"], [0, 1], [None] * 2, 16, True)),
    "a dtype that numpy parses": Ext(NUMPY, "f4,f4,(1000000000,)f8"),
    "a dtype of a huge shape": Ext(NUMPY, ("<f8", (2**40,))),
    "a scalar of another size": Ext(NUMPY, "<f8", bytes(4)),
    "a series of one number": Ext(PANDAS, "series", ("np", 5), LONG_INDEX, None, {}),
    "a series longer than its data": Ext(PANDAS, "series", ("np", NUMBER), LONG_INDEX, None, {}),
    "a series of a range": Ext(PANDAS, "series", ("np", LONG), LONG_INDEX, None, {}),
    "a series of an index": Ext(PANDAS, "series", ("np", LONG_INDEX), LONG_INDEX, None, {}),
    "a series of a scalar": Ext(PANDAS, "series", ("np", Ext(ARRAY, "<i8", (), "C", bytes(8))), LONG_INDEX, None, {}),
    "a frame of one number": Ext(PANDAS, "frame", [("np", 5)], index(1), LONG_INDEX, {}),
    "a frame longer than its data": Ext(PANDAS, "frame", [("np", NUMBER)], index(1), LONG_INDEX, {}),
    "an index of a range": Ext(PANDAS, "index", ("np", LONG), None, None),
    "a categorical of ranges": Ext(PANDAS, "array", ("cat", LONG, LONG, False)),
    "many categories": Ext(PANDAS, "array", ("cat", NUMBER, MANY, False)),
    "a dtype of many categories": Ext(PANDAS, "catdtype", MANY, False),
    "the same category twice": Ext(PANDAS, "catdtype", index(1, 1), False),
    "the same text twice": Ext(PANDAS, "catdtype", Ext(PANDAS, "index", ("str", "python", False, ["a", "a"]), None, None), False),
    "many levels": Ext(PANDAS, "multi", [MANY], [NUMBER], [None]),
    "codes of a range": Ext(PANDAS, "multi", [index(1)], [LONG], [None]),
    "times with a zone of a range": Ext(PANDAS, "array", ("tz", LONG, dt.timezone.utc)),
    "times in a zone that is a text": Ext(PANDAS, "array", ("tz", np.zeros(1, "M8[ns]"), "Europe/Berlin")),
    "times in a unit of no series": Ext(PANDAS, "array", ("np", np.zeros(1, "M8[D]"))),
    "periods of a range": Ext(PANDAS, "array", ("period", LONG, "D")),
    "periods of a strange frequency": Ext(PANDAS, "period", 1, "D" * 10**6),
    "masks of ranges": Ext(PANDAS, "array", ("mask", "Int64", LONG, LONG)),
    "a mask of an unknown dtype": Ext(PANDAS, "array", ("mask", "interval[int64]", NUMBER, NUMBER)),
    "texts of a range": Ext(PANDAS, "array", ("str", "python", True, LONG)),
    "texts in a strange storage": Ext(PANDAS, "array", ("str", "somewhere", True, ["a"])),
    "texts that are numbers": Ext(PANDAS, "array", ("str", "python", True, [1])),
    "taken out of a range": Ext(PANDAS, "array", ("take", ("np", LONG), NUMBER)),
    "taken from a place that is not there": Ext(PANDAS, "array", ("take", ("str", "python", True, []), NUMBER)),
    "intervals of ranges": Ext(PANDAS, "array", ("interval", LONG_INDEX, LONG_INDEX, "left")),
    "an interval of tuples": Ext(PANDAS, "interval", (1,), (2,), "left"),
    "a range of a huge number": Ext(PANDAS, "range", 0, 10**400, 1, None),
    "frames of no rows": Ext(FRAMES, [], index(), ("x", [0] * 10**5, [0] * 10**5, [1] * 10**5), [0] * 10**5),
    "frames with rows that are not there": Ext(FRAMES, [("np", NUMBER)], index(1), LONG_INDEX, [10**9]),
    "Series of no rows": Ext(FRAMES, ("np", np.zeros(0)), ("x", [0] * 10**5, [0] * 10**5, [1] * 10**5), [("a", 0)] * 10**5),
    "Series with rows that are not there": Ext(FRAMES, ("np", NUMBER), LONG_INDEX, [("a", 10**9)]),
    "Series of ranges": Ext(FRAMES, ("np", NUMBER), ("x", [0] * 9, [10**9] * 9, [1] * 9), [("a", 1)] + [("a", 0)] * 8),
    "Series with fewer indexes": Ext(FRAMES, ("np", NUMBER), ("x", [0], [1], [1]), [("a", 1), ("a", 0)]),
    "Series without names": Ext(FRAMES, ("np", NUMBER), index(1), [1]),
    "a Series with more than a name": Ext(FRAMES, ("np", NUMBER), index(1), [("a", 1, 2)]),
    "a Series of a name that is a list": Ext(FRAMES, ("np", NUMBER), index(1), [([], 1)]),
    "a Series of fewer than no rows": Ext(FRAMES, ("np", NUMBER), index(1), [("a", -1), ("a", 2)]),
    "Series of many categories": Ext(FRAMES, ("cat", NUMBER, MANY, False), index(1), [("a", 1)]),
    "a row with code for a name": Ext(NAMED, "namedtuple", None, ("A", ("x=print(1)",), ""), (1,)),
    "a row of a class with code": Ext(NAMED, "namedtuple", None, ("A: print(1)", ("x",), ""), (1,)),
    "a row with a field twice": Ext(NAMED, "namedtuple", None, ("A", ("x", "x"), ""), (1, 2)),
    "a row with a private field": Ext(NAMED, "namedtuple", None, ("A", ("_make",), ""), (1,)),
    "a row with a keyword": Ext(NAMED, "namedtuple", None, ("A", ("class",), ""), (1,)),
    "a row with a number for a name": Ext(NAMED, "namedtuple", None, ("A", (1,), ""), (1,)),
    "a row of more than its fields": Ext(NAMED, "namedtuple", None, ("A", ("x",), ""), (1, 2)),
    "a row of no class": Ext(NAMED, "namedtuple", None, "A", (1,)),
    "a row of a described class of a module": Ext(NAMED, "namedtuple", "m", ("A", ("x",), ""), (1,)),
    "a row without an id": Ext(NAMED, "namedtuple", None, ("A", ("x",), None), (1,)),
    "a row of many fields": Ext(NAMED, "namedtuple", None, ("A", tuple(f"f{i}" for i in range(2000)), ""), (1,)),
    "rows of many classes": Ext(NAMED, "odict", [(i, Ext(NAMED, "namedtuple", None, (f"A{i}", ("x",), ""), (1,))) for i in range(99)]),
    "a tag that is unknown": Ext(NAMED, "lambda", 1), "no tag": Ext(NAMED, [], 1),
    "a partial of a partial": Ext(NAMED, "partial", Ext(NAMED, "partial", "builtins", "int", (), {}), "x", (), {}),
    "a named tuple of names that cannot be": Ext(NAMED, "namedtuple", None, ("Row", "a b"), (1,)),
    "a named tuple of a name twice": Ext(NAMED, "namedtuple", None, ("Row", "a", "a"), (1, 2)),
    "a named tuple of code": Ext(NAMED, "namedtuple", None, ("Row", "a=print()"), (1,)),
    "a named tuple without a class": Ext(NAMED, "namedtuple", None, (), ()),
    "a named tuple of other fields": Ext(NAMED, "namedtuple", None, ("Row", "a"), (1, 2)),
    "a frequency of no offset": Ext(PANDAS, "index", ("np", np.zeros(1, "M8[ns]")), None, ("eval", 1, False, {})),
    "a frequency of a range": Ext(PANDAS, "index", ("np", np.zeros(1, "M8[ns]")), None, ("Week", 1, False, {"weekday": LONG})),
    "two columns in one place": Ext(PANDAS, "frame", [("block", np.zeros(2, "i8"), np.zeros((2, 1)))], index(1, 2), index(1), {}),
    "a block of other rows": Ext(PANDAS, "frame", [("block", np.arange(2), np.zeros((2, 1)))], index(1, 2), LONG_INDEX, {}),
    "a flag of nothing": Ext(PANDAS, "unique", LONG),
    "a flag on the same label twice": Ext(PANDAS, "unique", Ext(PANDAS, "series", ("np", np.zeros(2)), index(1, 1), None, {})),
    "a factory that is a value": Ext(NAMED, "defaultdict", Color.RED, {}),
    "a factory of one part": Ext(NAMED, "defaultdict", ("builtins",), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_there_takes_nothing(name: str) -> None:
    """Neither memory nor time."""
    frame = _codec.encode(HOSTILE[name], compression=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(frame, max_output_bytes=1 << 20)
    with pytest.raises(_codec.DecodeFailure):
        _codec.decode(frame, names=lookup.TRUSTED, max_output_bytes=1 << 20)
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KB


# The first case of each text; what numpy, pandas and Python say of the others is theirs.
TEXTS = {
    "a deque of a range": "kind 'deque': a part has the wrong type range",
    "a view of no length": "memoryview size does not match its format and shape",
    "a view of a shape of texts": "invalid memoryview shape",
    "a fraction below zero": "invalid denominator of a fraction",
    "a fraction of texts": "fraction is not in lowest terms",
    "a complex number of a text": "invalid complex number",
    "a UUID of a range": "invalid UUID",
    "a time zone that is a path": "invalid time zone name '../../etc/passwd'",
    "a time zone of a package": "invalid time zone name 'os.path/x'",
    "an array that is not there": "array size does not match its shape",
    "an array of a negative length": "invalid length in an array shape",
    "an array of objects' bytes": "invalid dtype: |O",
    "bytes of objects": "bytes with a dtype of objects",
    "items in no order": "invalid array order",
    "items of numbers": "number of objects does not match the shape of the array",
    "a record array of numbers": "unknown kind of array 'recarray'",
    "an array of a strange kind": "unknown kind of array 'memmap'",
    "a record of numbers": "record dtype without fields",
    "a subarray of no shape": "invalid array shape",
    "a builder of no name": "invalid dtype: a tuple",
    "metadata that is none": "dtype metadata is not a dict",
    "a long double of nobody": "long double of another platform",
    "fields without names": "a dtype's names, formats, offsets and titles differ in number",
    "a dtype that numpy parses": "invalid dtype: f4,f4,(1000000000,)f8",
    "a scalar of another size": "numpy scalar size does not match its dtype",
    "a series of one number": "invalid values in a pandas column",
    "a series longer than its data": "length of a pandas Series does not match its index",
    "a frame longer than its data": "length of a column does not match the frame",
    "the same category twice": "duplicate value in a level, in categories or in labels",
    "times in a zone that is a text": "invalid time zone in a pandas column",
    "times in a unit of no series": "unsupported time unit in a pandas column",
    "a mask of an unknown dtype": "unknown dtype of a pandas column: interval[int64]",
    "texts in a strange storage": "unknown string storage somewhere",
    "texts that are numbers": "a column of strings contains another type",
    "taken out of a range": "indices into a column that does not contain strings",
    "taken from a place that is not there": "text index out of range",
    "intervals of ranges": "invalid interval bounds",
    "an interval of tuples": "invalid interval",
    "a range of a huge number": "bound of a pandas range out of range",
    "Series with fewer indexes": "number of indexes does not match a list of frames or Series",
    "Series without names": "invalid name and number of rows in a list of Series",
    "a Series of fewer than no rows": "invalid number of rows in a list of frames or Series",
    "a row with code for a name": "invalid field names of the named tuple A",
    "a row with a number for a name": "invalid field name of a named tuple",
    "a row of more than its fields": "A is not a named tuple of 2 fields here",
    "a row of no class": "invalid description of a named tuple's class",
    "a tag that is unknown": "unknown kind of value 'lambda'",
    "a frequency of no offset": "unknown frequency",
    "a frequency of a range": "invalid arguments of the frequency Week",
    "two columns in one place": "two columns at one position of a frame",
    "a block of other rows": "shape of a block does not match the frame",
    "a flag of nothing": "flags without a Series or frame",
    "a factory of one part": "kind 'partial': expected 4 parts, got 1",
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_wrong_is_said(name: str) -> None:
    assert refused(HOSTILE[name]) == TEXTS[name]


def test_one_text_in_many_cells_is_counted_where_it_is_copied() -> None:
    places = np.zeros(10**5, "i1")
    column = Ext(PANDAS, "array", ("take", ("str", "python", True, ["x" * 10**5]), places))
    assert "268435456" in refused(column)


def test_frequencies_that_take_time_are_counted() -> None:
    days = pd.date_range("2020", periods=2000, freq="B")
    assert same(days, read(days))
    hours = pd.date_range("2020", periods=200_000, freq="h")
    assert same(hours, read(hours))
    many = pd.bdate_range("1700", periods=9000)
    assert "5000000" in refused(many, max_output_bytes=5_000_000)


@pytest.mark.parametrize(
    "odd",
    [
        Ext(NAMED, functools.partial(int, [["x" * 9999] * 999])),
        Ext(NAMED, ValueError([["x" * 9999] * 999])),
        Ext(TIME, functools.partial(int, [["x" * 9999] * 999])),
        Ext(PANDAS, "array", (functools.partial(int, [["x" * 9999] * 999]),)),
        Ext(NUMPY, {"a": ["x" * 9999] * 999}), Ext(ARRAY, {"a": ["x" * 9999] * 999}, (0,), "C", b""),
        Ext(NAMED, 2**99999), Ext(NAMED, "x" * 99999),
    ],
)  # fmt: skip
def test_what_is_refused_is_not_shown_whole(odd: Any) -> None:
    """A list of one text many times takes little; its text does not."""
    tracemalloc.start()
    try:
        assert len(refused(odd, max_output_bytes=1_000_000)) < 300
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


# --- signals, deadlines and other threads ---------------------------------------------------------


class Interrupted(Exception):
    pass


def interrupt(*_: object) -> None:
    raise Interrupted("now")


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


LONG_VALUES: dict[str, Callable[[int], Any]] = {
    "msgpack": lambda n: [[i, "x", None] for i in range(n)] + [None, 1, "a"],
    "texts": lambda n: [f"text {i}" for i in range(4 * n)],
    "floats": lambda n: [i / 7 for i in range(9 * n)],
    "rows": lambda n: [{"a": i, "b": f"{i}"} for i in range(n)],
    "keys": lambda n: {i * 7919: i for i in range(n)},
    "kinds": lambda n: [dt.timedelta(i) if i % 2 else i for i in range(n)],
    "indexes": lambda n: [pd.Index([i]) for i in range(n // 50)],
}


@pytest.mark.parametrize("kind", LONG_VALUES)
def test_reading_heeds_signals_and_the_check(kind: str, alarm: Callable[[float], None]) -> None:
    frame = _codec.encode(LONG_VALUES[kind](200_000), compression=False)
    limit = {"max_output_bytes": 1 << 40}
    start = time.perf_counter()
    _codec.decode(frame, **limit)  # type: ignore[arg-type]
    whole = time.perf_counter() - start

    # The handler's own exception, out of C and out of what builds.
    alarm(whole / 3)
    with pytest.raises(Interrupted):
        while True:
            _codec.decode(frame, **limit)  # type: ignore[arg-type]

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Interrupted("check")

    with pytest.raises(Interrupted, match="check"):
        _codec.decode(frame, check=check, **limit)  # type: ignore[arg-type]
    assert calls == 2
    assert _codec.decode(_codec.encode(1), check=interrupt) == 1


def test_other_threads_go_on_while_a_large_frame_is_read() -> None:
    frame = _codec.encode([f"text {i}" for i in range(2_000_000)], compression=False)
    seen: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        start = time.perf_counter()
        _codec.decode(frame, max_output_bytes=1 << 30)
        end = time.perf_counter()
    finally:
        stop.set()
        thread.join()
    assert sum(start < moment < end for moment in seen) >= 2


# --- names ----------------------------------------------------------------------------------------


PLAIN: list[Any] = [
    collections.defaultdict(list, a=[1]), {"kind": float}, np.float32, decimal.Decimal, dict,
    functools.partial(int, base=2), collections.defaultdict(functools.partial(dict, a=1)), dt.date,
]  # fmt: skip
ARMED: list[Any] = [
    tasks.square, print, len, Plain, functools.partial(tasks.add, 1), dt.timezone,
    collections.defaultdict(tasks.square), pathlib.Path, [1, {"a": (tasks.square,)}],
]  # fmt: skip


def _kind(value: object) -> str:
    """Without addresses, which differ between the processes that run the tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize("value", PLAIN, ids=_kind)
def test_plain_callables_are_data(value: Any) -> None:
    frame = _codec.encode(value, callables=False)
    assert same(value, _codec.decode(frame))


@pytest.mark.parametrize("value", ARMED, ids=_kind)
def test_callables_that_could_do_more_are_refused_on_both_sides(value: Any) -> None:
    with pytest.raises(_codec.EncodeFailure, match="allow_pickle=True"):
        _codec.encode(value, callables=False)
    frame = _codec.encode(value)
    with pytest.raises(_codec.DecodeFailure, match="allow_pickle=True"):
        _codec.decode(frame)
    assert same(value, _codec.decode(frame, allow_pickle=True))


def test_a_callable_is_refused_at_its_place() -> None:
    with pytest.raises(_codec.EncodeFailure) as caught:
        _codec.encode({"a": [1, tasks.square]}, callables=False)
    assert caught.value.args[1] == "['a'][1]"
    assert "tasks:square" in caught.value.args[0]


RAN: list[str] = []


def runs(name: str) -> Callable[..., Any]:
    def run(*_: Any, **__: Any) -> Any:
        RAN.append(name)
        raise RuntimeError(f"{name} ran")

    return run


class Meta(type):
    __call__ = runs("metaclass call")
    __instancecheck__ = runs("instance check")
    __subclasscheck__ = runs("subclass check")
    __getattribute__ = runs("attribute of a class")


class Trap:
    """A descriptor that takes what is set."""

    def __get__(self, *_: Any) -> Any:
        return runs("get")()

    def __set__(self, *_: Any) -> None:
        runs("set")()


def trapped() -> dict[str, Any]:
    """Dataclasses and others that run code of their own where they can."""

    @dataclasses.dataclass
    class Own:
        a: int
        __init__ = runs("init")
        __new__ = runs("new")
        __post_init__ = runs("post init")
        __setattr__ = runs("setattr")
        __getattr__ = runs("getattr")

    fields = Own.__dataclass_fields__  # type: ignore[attr-defined]
    armed = Meta("Armed", (), {"__dataclass_fields__": fields})
    prop = type(
        "Prop", (), {"__dataclass_fields__": fields, "a": property(runs("get"), runs("set"))}
    )
    trap = type("Trapped", (), {"__dataclass_fields__": fields, "a": Trap()})
    dies = type("Dies", (), {"__dataclass_fields__": fields, "__del__": runs("del")})
    own_dict = type(
        "OwnDict", (), {"__dataclass_fields__": fields, "__dict__": property(runs("dict"))}
    )
    built_in = type("BuiltIn", (dict,), {"__dataclass_fields__": fields})
    row = type(
        "Row", (tuple,), {"_fields": ("a",), "__new__": runs("new"), "__init__": runs("init")}
    )
    return {"Own": Own, "Armed": armed, "Prop": prop, "Trapped": trap, "Dies": dies, "OwnDict": own_dict,
            "BuiltIn": built_in, "Row": row}  # fmt: skip


class Missing(enum.Enum):
    RED = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return runs("missing")()


TRAPS = trapped()


class Found(lookup._Data):
    """Finds the classes above."""

    def type(self, module: str, qualname: str) -> type:
        return {**TRAPS, "Missing": Missing}[qualname]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "tag", "content", "is_made"),
    [
        ("Own", "dataclass", {"a": 1}, True), ("Armed", "dataclass", {"a": 1}, True),
        ("Prop", "dataclass", {"a": 1}, False), ("Trapped", "dataclass", {"a": 1}, False),
        ("Dies", "dataclass", {"a": 1}, False), ("OwnDict", "dataclass", {"a": 1}, False),
        ("BuiltIn", "dataclass", {"a": 1}, False), ("Row", "namedtuple", (1,), True),
        ("Row", "namedtuple", (1, 2), False), ("Own", "dataclass", {"b": 1}, False),
        ("Own", "namedtuple", (1,), False), ("Row", "enum", "RED", False),
        ("Missing", "enum", "RED", True), ("Missing", "enum", "BLUE", False),
        ("Missing", "enum", "_missing_", False), ("Missing", "enum", "__class__", False),
    ],
)  # fmt: skip
def test_data_of_a_class_is_made_without_its_code(
    name: str, tag: str, content: Any, is_made: bool
) -> None:
    RAN.clear()
    frame = _codec.encode(Ext(NAMED, tag, "anywhere", name, content), compression=False)
    try:
        value = _codec.decode(frame, names=Found())
    except _codec.DecodeFailure:
        assert not is_made
    else:
        assert is_made
        assert type(value) is Found().type("", name)
    assert RAN == []


@dataclasses.dataclass
class WithProperty:
    a: int

    def __post_init__(self) -> None:
        self.more = 1


@dataclasses.dataclass
class WithFinalizer:
    a: int

    def __del__(self) -> None: ...


class Extended(Plain):
    __slots__ = ("other",)


def test_what_is_more_than_its_fields_has_no_form() -> None:
    extended = Extended(1, 2)
    extended.other = 3
    partly = Plain(1, 2)
    del partly.a
    WithFinalizer.__module__ = WithProperty.__module__ = Extended.__module__ = __name__
    for value in (WithProperty(1), WithFinalizer(1), extended, partly):
        with pytest.raises(_codec.EncodeFailure):
            _codec.encode(value)


def test_reading_imports_nothing() -> None:
    """Not even what a loaded module's own __getattr__ would import."""
    name = "concurrent.futures:ProcessPoolExecutor"
    import concurrent.futures  # noqa: F401

    before = set(sys.modules)
    for tag in ("name", "enum", "namedtuple"):
        content = {"enum": ("A",), "namedtuple": ((1,),)}.get(tag, ())
        refused(Ext(NAMED, tag, *name.split(":"), *content))
    assert set(sys.modules) == before
