"""pandas through the codec, on the pandas of each environment."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lambdamap import _codec
from lambdamap.shipping.kinds.pandas import frames as one_frame
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


@pytest.mark.parametrize("dtype", ["string", "str", "object"])
def test_few_different_texts(dtype: str) -> None:
    texts = pd.Series(["red", None, "green", "ü"] * 50, dtype=dtype)
    for value in (texts, texts.to_frame("a"), texts[texts.notna()], pd.Index(texts)):
        assert same(value, _codec.decode(_codec.encode(value)))


# --- frequencies, flags and levels -----------------------------------------------------------------

OFFSETS: list[Any] = [
    pd.offsets.CustomBusinessDay(holidays=["2024-12-25", "2024-12-26"]), pd.DateOffset(months=1),
    pd.DateOffset(months=1, hour=3), pd.DateOffset(n=3), pd.offsets.BusinessHour(start="10:00", end="15:30"),
    pd.offsets.CustomBusinessDay(weekmask="Mon Tue Sun"), pd.offsets.Week(), pd.offsets.Week(weekday=2),
    pd.offsets.Easter(), pd.offsets.CBMonthEnd(holidays=["2024-12-31"]), pd.offsets.Hour(3), pd.offsets.Day(2),
    pd.offsets.FY5253(weekday=1, startingMonth=3, variation="last"), pd.offsets.SemiMonthEnd(day_of_month=10),
    pd.offsets.CustomBusinessHour(start=["09:00", "13:00"], end=["12:00", "17:00"], weekmask="Mon Tue"),
    pd.offsets.WeekOfMonth(week=1, weekday=2), pd.offsets.QuarterEnd(startingMonth=2),
    pd.tseries.frequencies.to_offset("C"), pd.tseries.frequencies.to_offset("bh"),
]  # fmt: skip


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
def test_frequencies_stay_what_they_are(offset: Any) -> None:
    dates = pd.date_range("2024-12-20", periods=4, freq=offset)
    levels = pd.MultiIndex(levels=[dates, ["a"]], codes=[range(len(dates)), [0] * len(dates)])
    again = _codec.decode(_codec.encode([dates, levels, pd.Series(1.0, index=dates)]))
    assert dates.freq is not None  # it is still there
    for one in (again[0], again[1].levels[0], again[2].index):
        assert type(one.freq) is type(offset)
        assert one.freq == dates.freq
        assert [date + one.freq for date in one] == [date + dates.freq for date in dates]


def test_a_frequency_that_has_no_form_is_refused() -> None:
    """pandas' own pickle loses what days of the week the calendar has."""
    own = np.busdaycalendar(weekmask="Mon Tue", holidays=["2024-12-24"])
    hours = pd.offsets.BusinessDay(offset=dt.timedelta(hours=1))
    for offset in (pd.offsets.CustomBusinessDay(calendar=own), hours):
        dates = pd.date_range("2024-12-20", periods=4, freq=offset)
        for value in (dates, pd.Series(1, index=dates)):
            for allow_pickle in (False, True):
                with pytest.raises(_codec.EncodeFailure, match="freq"):
                    _codec.encode(value, allow_pickle=allow_pickle)


def test_flags_travel() -> None:
    for value in (pd.Series([1, 2]), pd.DataFrame({"a": [1]})):
        again = _codec.decode(_codec.encode(value.set_flags(allows_duplicate_labels=False)))
        assert not again.flags.allows_duplicate_labels
        assert same(value, again.set_flags(allows_duplicate_labels=True))
        assert _codec.decode(_codec.encode(value)).flags.allows_duplicate_labels


def test_arrays_of_a_series_keep_their_kind() -> None:
    for values in (
        [1, 2],
        [0.5],
        [True],
        ["a"],
        pd.to_datetime(["2020"]),
        pd.to_timedelta([1], "s"),
    ):
        array = pd.Series(values).array
        assert type(_codec.decode(_codec.encode(array))) is type(array)


def test_a_group_has_the_levels_that_it_uses() -> None:
    rows = 30_000
    levels = [np.arange(rows) // 100, pd.date_range("2020", periods=rows, freq="min")]
    index = pd.MultiIndex.from_arrays(levels, names=["a", "b"])
    frame = pd.DataFrame({"v": np.arange(rows) / 7}, index=index)
    frame["kind"] = pd.Categorical(["x"] * rows, categories=[*"xyz", *map(str, range(5000))])
    groups = [group for _, group in frame.groupby(level=0)][:8]
    for value in (groups[0], groups):
        encoded = _codec.encode(value, compression=False)
        assert same(value, _codec.decode(encoded))
        assert len(encoded) < 25_000 + 7000 * len(groups) * (value is groups) // 2 + 30_000


def test_the_rows_of_a_frame_are_named_tuples() -> None:
    frame = pd.DataFrame({"price": [1.5, 2.5], "class": [1, 2]})
    rows = list(frame.itertuples())
    again = _codec.decode(_codec.encode(rows))
    assert again == rows
    assert [row._fields for row in again] == [row._fields for row in rows]
    assert type(again[0]) is type(again[1])
    assert _codec.decode(_codec.encode(again)) == rows


def test_wide_frames_of_numbers_are_arrays() -> None:
    generator = np.random.default_rng(5)
    wide = pd.DataFrame(generator.random((2, 40)))
    mixed = pd.concat(
        [wide, pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}), wide.astype("i4")], axis=1
    )
    shuffled = mixed.iloc[:, generator.permutation(mixed.shape[1])]
    for value in (
        wide,
        mixed,
        shuffled,
        wide.iloc[:0],
        [wide] * 5,
        [mixed, shuffled] * 3,
        [shuffled] * 4,
    ):
        assert same(value, _codec.decode(_codec.encode(value)))


# --- frames that travel together ------------------------------------------------------------------


def table(rows: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    made = pd.DataFrame(
        {
            "key": generator.integers(0, 7, rows),
            "delay": generator.integers(-20, 300, rows).astype(float),
            "ratio": generator.random(rows),
            "name": [f"N{n % 11}" for n in range(rows)],
            "late": generator.random(rows) < 0.5,
            "time": pd.Timestamp("2020") + pd.to_timedelta(generator.integers(0, 10**6, rows), "s"),
            "zone": pd.date_range("2020", periods=rows, freq="h", tz=BERLIN),
            "kind": pd.Categorical([("a", "b")[n % 2] for n in range(rows)]),
            "maybe": pd.array([n if n % 3 else None for n in range(rows)], dtype="Int64"),
            "text": [f"t{n}" if n % 5 else None for n in range(rows)],
        }
    )
    made.loc[::4, "delay"] = np.nan
    return made


def groups(frame: pd.DataFrame) -> list[pd.DataFrame]:
    return [group for _, group in frame.groupby("key")]


@pytest.mark.parametrize(
    "frames",
    [
        groups(table()),
        [table(5) for _ in range(6)],
        [group.reset_index(drop=True) for group in groups(table())],
        [group.set_index("time") for group in groups(table())],
        [group.set_index("name") for group in groups(table())],
        [group.iloc[:0] for group in groups(table())],
        [pd.DataFrame({"a": [float(n)], "b": [n]}) for n in range(9)],
        [pd.DataFrame({"a": ["x", np.nan, "y"]}, dtype=object) for n in range(9)],
        [pd.DataFrame({"a": ["x", None, np.nan]}, dtype=object) for n in range(9)],
        [pd.DataFrame({"a": [1]}), *groups(table()), pd.DataFrame({"b": [2.5]})],
        [table(), None, table(), table(2), None],
        [pd.DataFrame({("a", 1): [1], ("b", 2): [2.5]}) for _ in range(5)],
        [pd.DataFrame([[1, 2]], columns=["a", "a"]) for _ in range(5)],
        [pd.DataFrame(index=[1, 2]) for _ in range(5)],
        [pd.DataFrame() for _ in range(5)],
    ],
    ids=lambda frames: f"{len(frames)}-{type(frames[0].index).__name__}-{frames[0].shape[1]}",
)
def test_frames_of_a_list(frames: list[Any]) -> None:
    for value in (frames, [(i, frame) for i, frame in enumerate(frames)]):
        for compression in (True, False):
            assert same(value, _codec.decode(_codec.encode(value, compression=compression)))
    packer = _codec.ChunkPacker({})
    assert packer.fill(iter(frames), 1000, 1 << 30) == len(frames)
    assert same(frames, _codec.decode(packer.take())[1])


CATEGORIES = pd.CategoricalDtype([f"category {n}" for n in range(1000)])


def categorical(rows: int = 2000) -> pd.Series[Any]:
    codes = np.random.default_rng(4).integers(-1, 1000, rows)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=CATEGORIES), name="c")


def pieces(series: pd.Series[Any]) -> list[pd.Series[Any]]:
    return [group for _, group in series.groupby(np.arange(len(series)) % 100)]


@pytest.mark.parametrize(
    "series",
    [
        pieces(categorical()),
        [piece.reset_index(drop=True) for piece in pieces(categorical())],
        [piece.rename(n) for n, piece in enumerate(pieces(categorical()))],
        [group[name] for name in table().columns for group in groups(table())],
        [row for _, row in table()[["delay", "ratio"]].iterrows()],
        [row for _, row in table().set_index("time")[["delay", "ratio"]].iterrows()],
        [row for _, row in table().iterrows()],
        [pd.Series([1.5, n], name=name) for n, name in enumerate([None, 1, True, 1.0, "a", ("a", 1), ("a", True)])],
        [pd.Series([1.5, n], name=name) for n, name in enumerate(["a", "b", np.int64(1), dt.date.min, "c"])],
        [pd.Series([n], pd.MultiIndex.from_tuples([(n, "a")])) for n in range(5)],
        [pd.Series(["x", None, np.nan], dtype=object)] * 5,
        [*pieces(categorical()), pd.Series([1.5]), pd.DataFrame({"c": categorical()})],
        [pd.DataFrame({"c": categorical()}), *pieces(categorical())],
        [pieces(categorical())[0], None, pieces(categorical())[1], None],
        [piece.iloc[:0] for piece in pieces(categorical())],
    ],
    ids=lambda series: f"{len(series)}-{type(series[0].index).__name__}",
)  # fmt: skip
def test_series_of_a_list(series: list[Any]) -> None:
    for value in (
        series,
        [(i, one) for i, one in enumerate(series)],
        [{"a": one} for one in series],
    ):
        for compression in (True, False):
            again = _codec.decode(_codec.encode(value, compression=compression))
            assert same(value, again)


def test_categories_of_series_travel_once() -> None:
    for series in (
        pieces(categorical()),
        [one.rename(str(n)) for n, one in enumerate(pieces(categorical()))],
    ):
        for value in (
            series,
            [(n, one) for n, one in enumerate(series)],
            [[one] for one in series],
        ):
            assert len(_codec.encode(value, compression=False)) < 40_000
            packer = _codec.ChunkPacker(None)
            packer.fill(iter(value), 1000, 1 << 30)
            assert len(packer.take()) < 40_000


def test_series_of_categories_in_another_order_keep_theirs() -> None:
    """Equal is not the same: neither for categories, nor for what is said of them."""
    kinds = [
        pd.CategoricalDtype([1, 2]), pd.CategoricalDtype([2, 1]), pd.CategoricalDtype([1, 2], ordered=True),
        pd.CategoricalDtype([1.0, 2.0]), pd.CategoricalDtype([1, 2, 3]), pd.CategoricalDtype(pd.RangeIndex(1, 3)),
        pd.CategoricalDtype(pd.Index([1, 2], name="n")), pd.CategoricalDtype(pd.Index([True, 2], dtype=object)),
    ]  # fmt: skip
    for first in kinds:
        for second in kinds:
            series = [
                pd.Series([1, 2], dtype=kind) for kind in (first, second, first, second, first)
            ]
            again = _codec.decode(_codec.encode(series))
            for one, other in zip(series, again, strict=True):
                assert same(one, other)
                assert one.dtype.ordered is other.dtype.ordered
                assert one.cat.codes.tolist() == other.cat.codes.tolist()
                assert type(one.cat.categories) is type(other.cat.categories)
                assert repr(one.cat.categories) == repr(other.cat.categories)


def test_series_that_came_together_can_be_changed() -> None:
    """Without one seeing another's change."""
    for series in (pieces(categorical(300)), [pd.Series([1.5, n], [n, n + 1]) for n in range(9)]):
        again = _codec.decode(_codec.encode(series))
        again[0].iloc[:] = series[1].iloc[0]
        again[1].index = ["a"] * len(again[1])
        again[2].name = "other"
        again[3].attrs["a"] = 1
        again[4].loc[10**6] = series[0].iloc[0]
        assert same(again[5:], series[5:])
        assert same(
            again[0],
            pd.Series(
                [series[1].iloc[0]] * len(series[0]),
                series[0].index,
                series[0].dtype,
                series[0].name,
            ),
        )


@pytest.mark.parametrize("item", [pd.Series([], dtype=float), pd.DataFrame({"a": [1.5]}).iloc[:0]])
def test_a_full_chunk_of_the_smallest_can_be_read(item: Any) -> None:
    """A tenth of a chunk, and of what a reader allows by default."""
    packer = _codec.ChunkPacker(None)
    taken = packer.fill(iter([item] * 9000), 9000, 460_000)
    assert taken < 9000
    assert len(_codec.decode(packer.take(), max_output_bytes=(256 << 20) // 10)[1]) == taken


@pytest.mark.parametrize("dtype", ["string", "str", "object"])
@pytest.mark.parametrize("form", [pd.Series.to_frame, pd.Series])
def test_long_texts_fill_a_chunk(dtype: str, form: Any) -> None:
    """Texts are counted by their length: a chunk does not take a hundred times what it may."""
    items = [form(pd.Series(["x" * 10_000 + str(n)] * 50, dtype=dtype)) for n in range(20)]
    packer = _codec.ChunkPacker(None)
    taken = packer.fill(iter(items), 100, 1 << 20)
    assert taken == 2 and packer.chunk_bytes > 1_000_000


def test_same_shaped_frames_share_their_columns() -> None:
    frames = groups(table(60))
    together = len(_codec.encode(frames, compression=False))
    alone = sum(len(_codec.encode(frame, compression=False)) for frame in frames)
    assert together < 0.7 * alone


@pytest.mark.parametrize(
    "gone", ["_mgr", "_mgr.blocks", "values", "mgr_locs", "mgr_locs.as_array"], ids=str
)
def test_frames_travel_alone_where_pandas_private_names_are_gone(
    monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    class Without:
        """An object of which one name, perhaps of a part of it, is gone."""

        def __init__(self, whole: Any, name: str) -> None:
            self._whole, (self._name, _, self._rest) = whole, name.partition(".")

        def __getattr__(self, name: str) -> Any:
            if name != self._name:
                return getattr(self._whole, name)
            if not self._rest:
                raise AttributeError(name)
            return Without(getattr(self._whole, name), self._rest)

    look = one_frame.blocks_of

    def look_in_vain(frame: Any) -> Any:
        if gone.startswith("_mgr"):
            return look(Without(frame, gone))
        return [Without(block, gone) for block in look(frame)]

    frames = groups(table())
    together = len(_codec.encode(frames, compression=False))
    monkeypatch.setattr(one_frame, "blocks_of", look_in_vain)
    encoded = _codec.encode(frames, compression=False)
    assert len(encoded) > together
    assert same(frames, _codec.decode(encoded))


def test_frames_that_came_together_can_be_changed() -> None:
    """Without a warning, which would be an error here, and without one seeing another's change."""
    frames = groups(table())
    mine = _codec.decode(_codec.encode(frames))
    for number, frame in enumerate(mine):
        frame["new"] = number
        frame.loc[frame.index[0], "ratio"] = -1.0
        frame.iloc[0, frame.columns.get_loc("delay")] = 5.0
        frame["ratio"] *= 2
        frame.loc[:, "name"] = "x"
        del frame["late"]
        frame["maybe"] = frame["maybe"].fillna(0)
    fresh = _codec.decode(_codec.encode(frames))
    for number, (frame, before) in enumerate(zip(mine, fresh, strict=True)):
        expected = before.copy()
        expected["new"] = number
        expected.loc[expected.index[0], "ratio"] = -1.0
        expected.iloc[0, expected.columns.get_loc("delay")] = 5.0
        expected["ratio"] *= 2
        expected.loc[:, "name"] = "x"
        expected["maybe"] = expected["maybe"].fillna(0)
        del expected["late"]
        pd.testing.assert_frame_equal(frame, expected)
    changed = _codec.decode(_codec.encode(frames))
    changed[0].iloc[:, changed[0].columns.get_loc("ratio")] = 9.0
    assert same(changed[1:], fresh[1:])


def test_a_frame_is_taken_as_it_is_when_it_comes() -> None:
    """A generator may use one frame again and again."""

    def frames() -> Any:
        frame = pd.DataFrame({"a": [0.0, 1.0], "b": ["x", "y"]})
        for number in range(6):
            frame.iloc[0, 0] = float(number)
            yield frame

    packer = _codec.ChunkPacker({})
    packer.fill(frames(), 100, 1 << 20)
    found = _codec.decode(packer.take())[1]
    assert [frame.iloc[0, 0] for frame in found] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
