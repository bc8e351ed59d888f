"""Frames and Series of a list are what they were, however many share a chunk: in all that pandas can show of them."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdamap import _codec

pytestmark = pytest.mark.pandas

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
ZONES = [
    None,
    dt.timezone.utc,
    zoneinfo.ZoneInfo("UTC"),
    BERLIN,
    dt.timezone(dt.timedelta(hours=1), "X"),
]
UNITS = ["s", "ms", "us", "ns"]
CATEGORIES: list[Any] = [
    ["a", "b"], ["b", "a"], ["a", "b", "c"], [1, 2], [2, 1], [1.0, 2.0], [0.0, 5.0], pd.RangeIndex(2),
    pd.Index(["a", "b"], name="n"), pd.Index(["a", "b"], name="m"), pd.date_range("2020", periods=2, tz="UTC"),
]  # fmt: skip
LABELS: list[Any] = [
    ["a", "b"], [1, 2], [True, 2], [1.0, 2], [0.0, "b"], [-0.0, "b"], [("a", 1), ("a", 2)], [("a", 1), ("a", True)],
    ["a", "a"], [None, "b"], [np.nan, "b"], [np.float64(1), "b"],
]  # fmt: skip
NAMES: list[Any] = [None, "n", 1, True, 1.0, 0.0, -0.0, ("n", 1), ("n", True)]


def one_of(*choices: Any) -> Any:
    return st.sampled_from(choices)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Any:
    kind = draw(
        one_of(
            "int",
            "float",
            "bool",
            "text",
            "object",
            "category",
            "time",
            "span",
            "Int64",
            "string",
            "period",
            "i4",
            ">i4",
        )
    )
    if kind == "category":
        categories = pd.Index(draw(st.sampled_from(CATEGORIES)))
        codes = [draw(st.integers(-1, len(categories) - 1)) for _ in range(rows)]
        return pd.Categorical.from_codes(codes, categories=categories, ordered=draw(st.booleans()))  # type: ignore[arg-type]
    if kind == "time":
        times = pd.DatetimeIndex([draw(st.integers(0, 9))] * rows).as_unit(draw(one_of(*UNITS)))
        return times.tz_localize(draw(one_of(*ZONES))).array
    if kind == "span":
        return pd.to_timedelta(range(rows), unit="s").as_unit(draw(one_of(*UNITS))).array
    if kind == "period":
        return pd.period_range("2020", periods=rows, freq=draw(one_of("D", "M", "2D"))).array
    if kind == "Int64":
        return pd.array(
            [draw(one_of(1, None)) for _ in range(rows)], dtype=draw(one_of("Int64", "Int8"))
        )
    if kind == "string":
        texts = [draw(one_of("x", None)) for _ in range(rows)]
        return pd.array(texts, dtype=draw(one_of("string", "str")))
    if kind == "object":
        return np.array([draw(one_of("x", None, np.nan, "y")) for _ in range(rows)], object)
    if kind == "text":
        return [draw(one_of("x", "y")) for _ in range(rows)]
    dtype = {"int": "i8", "float": "f8", "bool": "?"}.get(kind, kind)
    return np.array([draw(st.integers(0, 3)) for _ in range(rows)], dtype)


@st.composite
def indexes(draw: st.DrawFn, rows: int) -> pd.Index:
    kind = draw(one_of("range", "range", "column", "column", "multi", "freq", "interval"))
    name = draw(st.sampled_from(NAMES))
    if kind == "range":
        start, step = draw(st.integers(0, 2)), draw(st.integers(1, 2))
        return pd.RangeIndex(start, start + rows * step, step, name=name)
    if kind == "multi":
        levels = [draw(st.sampled_from(CATEGORIES)), pd.Index([1, 2, 3])]
        codes = [[draw(st.integers(-1, 1)) for _ in range(rows)] for _ in levels]
        return pd.MultiIndex(levels=levels, codes=codes, names=[name, draw(st.sampled_from(NAMES))])
    if kind == "freq":
        freq = draw(one_of("D", "2h", "B", pd.DateOffset(months=1), pd.offsets.Week()))
        zone = draw(one_of(None, dt.timezone.utc, BERLIN))
        return pd.date_range("2020-01-06", periods=rows, freq=freq, tz=zone, name=name)
    if kind == "interval":
        return pd.interval_range(0, rows, name=name) if rows else pd.RangeIndex(0)
    values = draw(columns(rows))
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype("i4")  # pandas has no table of such labels
    return pd.Index(values, name=name)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 3))
    made = pd.DataFrame({n: draw(columns(rows)) for n in range(2)})
    is_native = all(getattr(dtype, "isnative", True) for dtype in made.dtypes)
    if draw(st.integers(0, 5)) == 0 and is_native:
        wide = pd.DataFrame(np.full((rows, 20), 1.5))
        made = pd.concat([wide, made, wide.astype("i4")], axis=1)
    else:
        labels, name = draw(st.sampled_from(LABELS)), draw(st.sampled_from(NAMES))
        if isinstance(labels[0], tuple):
            made.columns = pd.MultiIndex.from_tuples(labels, names=[name, None])
        else:
            made.columns = pd.Index(labels, name=name)
    made.index = draw(indexes(rows))
    if draw(st.integers(0, 7)) == 0:
        made.attrs["a"] = 1
    if draw(st.integers(0, 7)) == 0 and made.index.is_unique and made.columns.is_unique:
        made.flags.allows_duplicate_labels = False
    return made


@st.composite
def series(draw: st.DrawFn) -> pd.Series[Any]:
    frame = draw(frames())
    made = frame.iloc[:, draw(st.integers(0, frame.shape[1] - 1))]
    made.name = draw(
        st.sampled_from(
            [*NAMES, pd.Timestamp("2020"), pd.Timestamp("2020", tz=BERLIN), dt.date.min]
        )
    )
    return made


def shown(index: Any) -> Any:
    """All that can be seen of an index or column, types included."""
    if isinstance(index, pd.MultiIndex):
        return [shown(index.get_level_values(level)) for level in range(index.nlevels)]
    dtype = index.dtype
    said = [type(index).__name__, str(dtype), repr(index.tolist())]
    if isinstance(dtype, pd.CategoricalDtype):
        said += [shown(dtype.categories), dtype.ordered, list(getattr(index, "codes", ()))]
    if isinstance(dtype, pd.DatetimeTZDtype):
        said += [dtype.unit, repr(dtype.tz)]
    if isinstance(index, pd.Index):
        said += [repr(index.name), repr(getattr(index, "freq", None))]
    return said


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert shown(one.index) == shown(other.index)
    assert one.attrs == other.attrs
    assert one.flags.allows_duplicate_labels == other.flags.allows_duplicate_labels
    if isinstance(one, pd.Series):
        assert shown(one.array) == shown(other.array)
        assert repr(one.name) == repr(other.name)
        pd.testing.assert_series_equal(one, other, check_freq=True)
        return
    assert shown(one.columns) == shown(other.columns)
    for place in range(one.shape[1]):
        assert shown(one.iloc[:, place].array) == shown(other.iloc[:, place].array)
    pd.testing.assert_frame_equal(one, other, check_freq=True, check_column_type=True)


def check(values: list[Any], size: int, again: bool) -> None:
    values = values + values if again else values  # the same shape more often than by chance
    packer = _codec.ChunkPacker(None)
    iterator, found = iter(values), []
    while not packer.exhausted:
        if packer.fill(iterator, size, 1 << 30):
            found += _codec.decode(packer.take())[1]
    found_in_list = _codec.decode(_codec.encode(values))
    for one, other, third in zip(values, found, found_in_list, strict=True):
        assert_same(one, other)
        assert_same(one, third)


@settings(max_examples=200, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=6), st.integers(1, 6), st.booleans())
def test_frames_of_a_chunk(values: list[pd.DataFrame], size: int, again: bool) -> None:
    check(values, size, again)


@settings(max_examples=200, deadline=None)
@given(st.lists(series(), min_size=1, max_size=6), st.integers(1, 6), st.booleans())
def test_series_of_a_chunk(values: list[pd.Series[Any]], size: int, again: bool) -> None:
    check(values, size, again)


@settings(max_examples=50, deadline=None)
@given(st.lists(frames() | series(), min_size=1, max_size=6), st.integers(1, 6))
def test_frames_and_series_of_a_chunk(values: list[Any], size: int) -> None:
    check(values, size, True)
