"""pandas through the codec, on the pandas of each environment."""

from __future__ import annotations

import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lambdamap import _codec
from same import same

pytestmark = pytest.mark.pandas

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
VALUES: list[Any] = [
    pd.Timestamp("2020-01-01 01:02:03.123456789"), pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert(BERLIN),
    pd.Timestamp("2020", tz="UTC"), pd.Timedelta("1 days 2 ns"), pd.NaT, pd.NA,
    pd.Series([1, 2, 3]), pd.Series([1.5, None], name="x", index=["a", "b"]),
    pd.Series(["a", None, "b"]), pd.Series([1, None], dtype="Int64"),
    pd.Series([True, None], dtype="boolean"), pd.Series(["a", "b", "a"], dtype="category"),
    pd.Series(pd.date_range("2020", periods=3, tz="UTC")), pd.Series([], dtype=float),
    pd.Series([1, "a", None], dtype=object), pd.Series([1.5, None], dtype="Float64"),
    pd.Series(["a", None], dtype="string"), pd.Series([1], index=pd.Index([7], name="i"), name=("a", 1)),
    pd.DataFrame(
        {
            "a": [1, 2], "b": [1.5, 2.5], "c": ["x", "y"], "d": pd.to_datetime(["2020", "2021"]),
            "e": pd.Categorical(["u", "v"]), "f": [None, 3], "g": [True, False],
        }
    ),
    pd.DataFrame(), pd.DataFrame(index=[1, 2]), pd.DataFrame({"a": [1, 2]}).set_index("a"),
    pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame({("a", 1): [1], ("a", 2): [2]}),
    pd.Index([1, 2]), pd.Index(["a", "b"]), pd.RangeIndex(5, name="r"),
    pd.date_range("2020", periods=3, freq="D"), pd.DatetimeIndex(["2020", "2021"], tz=BERLIN),
    pd.timedelta_range("1s", periods=3, freq="s"),
    pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["i", "s"]),
    pd.CategoricalIndex(["a", "b"]), pd.Index([1, "a"], dtype=object), pd.Index([1.5, 2]),
    pd.Categorical(["a", "b", None], ordered=True), pd.array([1, None]),
    pd.Interval(0, 1.5, closed="both"), pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021")),
    pd.interval_range(0, 3, name="i", closed="left"), pd.Series(pd.cut([1, 5, np.nan], [0, 2, 9])),
    pd.arrays.IntervalArray.from_tuples([(0, 1), None]),
    pd.Period("2020-03", "M"), pd.Period("2020Q1", "Q-NOV"),
    pd.PeriodIndex(["2020-03-01", pd.NaT], freq="2D", name="p"),
    pd.Series(pd.period_range("2020", periods=2, freq="h")),
]  # fmt: skip


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{type(v).__name__}-{str(v)[:20]!r}")
def test_round_trip(value: Any, compression: bool) -> None:
    sealed = _codec.encode(value, compression=compression)
    assert same(value, _codec.decode(sealed))
    text = _codec.encode_text([value] * 3, compression=compression)
    assert all(same(value, again) for again in _codec.decode_text(text))
