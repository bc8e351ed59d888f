"""groupby_apply against pandas' own apply: the same frame, whatever is grouped by what."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import lambdamap

pytestmark = pytest.mark.pandas

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3

# --- what is grouped ----------------------------------------------------------------------------

COLUMNS: dict[str, list[Any]] = {
    "letter": ["a", "b", "a", None],
    "number": [2, 1, 2, 7],
    "float": [0.5, float("nan"), 0.5, -1.0],
    "day": pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-02", None]).tolist(),
    "flag": [True, False, True, True],
}
DTYPES = {
    "letter": ["object", "str", "category", "string"],
    "number": ["int64", "int8", "Int64", "category"],
    "float": ["float64", "float32", "Float64"],
    "day": ["datetime64[ns]", "category"],
    "flag": ["bool", "boolean", "category"],
}


@st.composite
def columns(draw: st.DrawFn, rows: int, kind: str | None = None) -> pd.Series:
    kind = kind or draw(st.sampled_from(sorted(COLUMNS)))
    picks = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    dtype = draw(st.sampled_from(DTYPES[kind]))
    if kind == "letter" and dtype == "str" and not PANDAS_3:
        dtype = "object"
    values = [COLUMNS[kind][i] for i in picks]
    if dtype == "category":
        there = [value for value in dict.fromkeys(values) if not pd.isna(value)]
        categories = pd.Index([*there, "no such"], dtype=object)  # one of them is never there
        return pd.Series(pd.Categorical(values, categories))
    return pd.Series(values, dtype=object).astype(dtype)


@st.composite
def indexes(draw: st.DrawFn, rows: int) -> pd.Index:
    kind = draw(st.sampled_from(["range", "letters", "days", "two levels", "repeated"]))
    if kind == "range":
        return pd.RangeIndex(rows, name=draw(st.sampled_from([None, "row"])))
    if kind == "letters":
        return pd.Index([f"r{i}" for i in range(rows)])
    if kind == "days":
        return pd.date_range("2021-03-01", periods=rows, freq="D", name="when")
    if kind == "repeated":
        return pd.Index([i // 2 for i in range(rows)])
    return pd.MultiIndex.from_arrays([range(rows), list("xyz" * rows)[:rows]], names=["i", None])


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 12))
    data = {
        "k": draw(columns(rows)),
        "l": draw(columns(rows)),
        "x": draw(columns(rows, "number")),
        "name": draw(columns(rows)),
    }
    frame = pd.DataFrame({name: column.to_numpy() if column.dtype == object else column.array
                          for name, column in data.items()})  # fmt: skip
    frame.index = draw(indexes(rows))
    return frame


@st.composite
def groupings(draw: st.DrawFn) -> Callable[[pd.DataFrame], Any]:
    """How a frame is grouped: by what, with which options, and which columns are selected."""
    by = draw(st.sampled_from(["k", ["k"], ["k", "l"], "outer", "function", "level", "day"]))
    options: dict[str, Any] = {
        "as_index": draw(st.booleans()),
        "sort": draw(st.booleans()),
        "dropna": draw(st.booleans()),
        "observed": draw(st.booleans()),
        "group_keys": draw(st.booleans()),
    }
    selected = draw(st.sampled_from([None, None, "x", ["x"], ["x", "name"]]))
    series = draw(st.booleans())

    def group(frame: pd.DataFrame) -> Any:
        where: Any = by
        if by == "outer":
            where = pd.Series(range(len(frame)), index=frame.index).to_numpy() % 3
        elif by == "function":
            where = lambda label: str(label)[-1]  # noqa: E731
        elif by == "day":
            frame = frame.assign(t=pd.Timestamp("2020-01-01"))
            frame["t"] += pd.to_timedelta(np.arange(len(frame)) * 36, unit="h")
            where = pd.Grouper(key="t", freq="D")
        if series and by in ("outer", "function", "level"):
            options["as_index"] = True  # another is an error for a series
            if by == "level":
                return frame["x"].groupby(level=0, **options)
            return frame["x"].groupby(where, **options)
        if by == "level":
            grouped = frame.groupby(level=0, **options)
        else:
            grouped = frame.groupby(where, **options)
        return grouped if selected is None else grouped[selected]

    return group


# --- what is applied ----------------------------------------------------------------------------


def scalar(group: Any) -> int:
    return len(group)


def key(group: Any) -> Any:
    return group.name


def text(group: Any) -> str:
    return repr((group.name, group.shape))


def row(group: Any) -> pd.Series:
    return pd.Series({"n": len(group), "first": str(group.iloc[:1].to_numpy().tolist())})


def named_row(group: Any) -> pd.Series:
    return pd.Series([1.5, float(len(group))], index=["u", "v"], name="stats")


def rows_of_other_lengths(group: Any) -> pd.Series:
    return pd.Series(range(len(group)), dtype="int64")


def same(group: Any) -> Any:
    return group


def changed(group: Any) -> Any:
    group = group.copy()
    if group.ndim == 2:
        group["new"] = len(group)
        return group
    return group.iloc[::-1]


def head(group: Any) -> Any:
    return group.head(1)


def small_frame(group: Any) -> pd.DataFrame:
    return pd.DataFrame({"size": [len(group)] * 2}, index=["p", "q"])


def sometimes_none(group: Any) -> Any:
    return None if len(group) % 2 else group


def none_first(group: Any) -> Any:
    return None if len(group) < 2 else row(group)


def never(group: Any) -> None:
    return None


def array(group: Any) -> np.ndarray[Any, Any]:
    return np.arange(len(group))


def mapping(group: Any) -> dict[str, int]:
    return {"n": len(group)}


FUNCTIONS = [
    scalar, key, text, row, named_row, rows_of_other_lengths, same, changed, head, small_frame,
    sometimes_none, none_first, never, array, mapping,
]  # fmt: skip


# --- the comparison -----------------------------------------------------------------------------


def of_pandas(grouped: Any, function: Callable[[Any], Any]) -> Any:
    """What pandas gives, or the type of the exception that it raises."""
    try:
        if grouped.ndim == 2 and not PANDAS_3:
            return grouped.apply(function, include_groups=False)
        return grouped.apply(function)
    except Exception as error:
        return type(error)


def of_lambdamap(grouped: Any, function: Callable[[Any], Any], **options: Any) -> Any:
    try:
        return lambdamap.groupby_apply(
            function, grouped, backend="inline", allow_pickle=False, **options
        )
    except Exception as error:
        return type(error)


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected), (found, expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_freq=True)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(found, expected, check_freq=True)
    else:
        assert found is expected


@given(frames(), groupings(), st.sampled_from(FUNCTIONS), st.sampled_from([1, 3, "auto"]))
def test_the_same_as_apply(
    frame: pd.DataFrame,
    group: Callable[[pd.DataFrame], Any],
    function: Callable[[Any], Any],
    chunksize: int | str,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' own, of both sides
        try:
            grouped = group(frame)
            grouped.ngroups  # noqa: B018  # some groupings fail only when they are looked at
        except Exception as error:
            event(f"no grouping: {type(error).__name__}")
            return
        expected = of_pandas(group(frame), function)
        found = of_lambdamap(grouped, function, chunksize=chunksize)
        event(expected.__name__ if isinstance(expected, type) else type(expected).__name__)
        assert_same(found, expected)
