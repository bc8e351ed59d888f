"""pandas: scalars, indexes, series and frames. A column brings all of its cells."""

from __future__ import annotations

import sys
from typing import Any, Final

from lambdamap._codec import DecodeFailure, EncodeFailure
from lambdamap.shipping.kinds import parts as p
from lambdamap.shipping.kinds.numpy import NUMBERS
from lambdamap.shipping.kinds.pandas.offsets import frequency_of, is_text, reduce_frequency
from lambdamap.shipping.kinds.parts import (
    ANY,
    DICT,
    FLAG,
    INT,
    LIST,
    OBJECT,
    SLOT,
    SMALL,
    TEXT,
    TUPLE,
    Kind,
    Reader,
)

__all__ = ["COLUMNS", "KINDS", "column_of", "frame_of", "pack_values", "range_of", "reduce"]

_MANY_TEXTS: Final = 64  # from here on, few different ones are looked for
_SHORT_LEVEL: Final = 64  # of a MultiIndex: travels as it is
_OBJECT_BYTES: Final = 3000  # of a series, an index, or what a frame has for a column
_UNIQUE_BYTES: Final = 64  # of a category or level: it stands in a hash table, too
_STEP_BYTES: Final = 1000  # of a step of a frequency that is found by Python's code
_UNITS: Final = ("s", "ms", "us", "ns")
_CLOSED: Final = ("left", "right", "both", "neither")
_MASKED: Final = {
    f"{name}{bits}": (f"{name.lower()}{bits}", array)
    for name, all_bits, array in (
        ("Int", (8, 16, 32, 64), "IntegerArray"),
        ("UInt", (8, 16, 32, 64), "IntegerArray"),
        ("Float", (32, 64), "FloatingArray"),
    )
    for bits in all_bits
} | {"boolean": ("bool", "BooleanArray")}


# --- there ----------------------------------------------------------------------------------------


def _is_cell_type(dtype: Any) -> bool:
    """Whether pandas has columns of that dtype of numpy's."""
    numpy = sys.modules["numpy"]
    return dtype.kind in (*NUMBERS, "O") or (
        dtype.kind in "mM" and numpy.datetime_data(dtype)[0] in _UNITS and dtype.isnative
    )


def pack_values(pandas: Any, values: Any) -> tuple[Any, ...] | None:
    """A column's array in parts that travel; None: there is no kind for it."""
    numpy = sys.modules["numpy"]
    dtype = values.dtype
    if isinstance(values, numpy.ndarray):
        if not _is_cell_type(dtype):
            return None
        return _pack_objects(pandas, values) if dtype.kind == "O" else ("np", values)
    if isinstance(dtype, pandas.CategoricalDtype):
        return ("cat", values.codes, dtype.categories, dtype.ordered)
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return ("tz", values.tz_convert("UTC").tz_localize(None).to_numpy(), dtype.tz)
    if isinstance(dtype, pandas.IntervalDtype):
        return ("interval", values.left, values.right, values.closed)
    if isinstance(dtype, pandas.PeriodDtype):
        return ("period", values.asi8, values.freqstr)
    if isinstance(dtype, pandas.StringDtype):
        if len(values) >= _MANY_TEXTS:
            codes, unique = pandas.factorize(values)
            if len(unique) <= len(values) // 4:
                return ("take", pack_values(pandas, unique), codes)
        texts = values.to_numpy(object, na_value=None).tolist()
        return ("str", dtype.storage, getattr(dtype, "na_value", pandas.NA) is pandas.NA, texts)
    if dtype.kind in "mM" and hasattr(values, "to_numpy"):
        return ("np", values.to_numpy())
    if str(dtype) in _MASKED and hasattr(values, "_data") and hasattr(values, "_mask"):
        return ("mask", str(dtype), values._data, values._mask)
    if type(values).__name__ == "NumpyExtensionArray":
        plain = values.to_numpy()
        return ("np", plain) if _is_cell_type(plain.dtype) else None
    return None


def _pack_objects(pandas: Any, values: Any) -> tuple[Any, ...]:
    """Objects where a NaN stands for what is missing go as None, which columns of texts know."""
    missing = pandas.isna(values)
    gone = values[missing]
    if len(gone) == 0 or not all(type(item) is float for item in gone):
        return ("np", values)
    filled = values.copy()
    filled[missing] = None
    return ("nan", filled)


def _used_level(level: Any, codes: Any) -> tuple[Any, Any]:
    """A level and the places in it. Of one that is longer than the index what is used: a group of a
    long frame has the levels of all of it."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if len(level) <= max(_SHORT_LEVEL, len(codes)) or type(level) is pandas.RangeIndex:
        return level, codes
    used, places = numpy.unique(codes, return_inverse=True)
    missing = int(len(used) > 0 and used[0] == -1)
    return level.take(used[missing:]), places - missing


def _reduce_index(pandas: Any, index: Any) -> tuple[int, Any] | None:
    if type(index) is pandas.RangeIndex:
        return p.PANDAS, ("range", index.start, index.stop, index.step, index.name)
    if type(index) is pandas.MultiIndex:
        pairs = list(map(_used_level, index.levels, index.codes))
        levels, codes = [list(part) for part in zip(*pairs, strict=True)]
        return p.PANDAS, ("multi", levels, codes, list(index.names))
    kinds = (
        pandas.Index, pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.CategoricalIndex,
        pandas.IntervalIndex, pandas.PeriodIndex,
    )  # fmt: skip
    if type(index) not in kinds:
        return None
    packed = pack_values(pandas, index.array)
    if packed is None:
        return None
    # A period has its frequency in its dtype.
    offset = None if packed[0] == "period" else getattr(index, "freq", None)
    frequency = None if offset is None else reduce_frequency(pandas, offset)
    if offset is not None and (frequency is None or not _is_accepted(index, offset, frequency)):
        raise EncodeFailure(  # its pickle would not tell all, either
            f"a frequency {offset!r} that is not its arguments alone cannot be sent: set the index's freq "
            "to None"
        )
    return p.PANDAS, ("index", packed, index.name, frequency)


def _is_accepted(index: Any, offset: Any, form: Any) -> bool:
    """Whether pandas takes the frequency that it has given, which it does not do for all of them."""
    if type(form) is str:
        return True
    # A new index: one frequency may belong to several.
    zone = getattr(index, "tz", None)
    plain = index if zone is None else index.tz_convert("UTC").tz_localize(None)
    bare = type(index)(plain.to_numpy(copy=True))
    if zone is not None:
        bare = bare.tz_localize("UTC").tz_convert(zone)
    try:
        type(index)(bare, freq=offset)
    except ValueError:
        return False
    return True


def reduce(value: Any, kind: type) -> tuple[int, Any] | None:
    pandas = sys.modules["pandas"]
    if value is pandas.NaT:
        return p.PANDAS, ("NaT",)
    if value is pandas.NA:
        return p.PANDAS, ("NA",)
    if kind is pandas.Timestamp:
        return p.PANDAS, ("timestamp", value.to_datetime64(), value.tz)
    if kind is pandas.Timedelta:
        return p.PANDAS, ("timedelta", value.to_timedelta64())
    if kind is pandas.Interval:
        return p.PANDAS, ("interval", value.left, value.right, value.closed)
    if kind is pandas.Period:
        return p.PANDAS, ("period", value.ordinal, value.freqstr)
    if isinstance(value, pandas.Index):
        return _reduce_index(pandas, value)
    if kind in (pandas.Series, pandas.DataFrame) and not value.flags.allows_duplicate_labels:
        return p.PANDAS, ("unique", value.set_flags(allows_duplicate_labels=True))
    if kind is pandas.Series:
        packed = pack_values(pandas, value.array)
        return packed and (
            p.PANDAS, ("series", packed, value.index, value.name, dict(value.attrs)),
        )  # fmt: skip
    if kind is pandas.DataFrame:
        from lambdamap.shipping.kinds.pandas import lists

        columns = lists.columns_of(value)
        if columns is None:
            return None
        return p.PANDAS, ("frame", columns, value.columns, value.index, dict(value.attrs))
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        packed = pack_values(pandas, value)
        return packed and (p.PANDAS, ("array", packed))
    if kind is pandas.CategoricalDtype:
        return p.PANDAS, ("catdtype", value.categories, value.ordered)
    return None


# --- and back: columns ----------------------------------------------------------------------------


def _numbers(read: Reader, values: Any, kinds: str) -> Any:
    """One dimension of numpy's, of one of these kinds."""
    numpy = read.names.module("numpy")
    if type(values) is not numpy.ndarray or values.ndim != 1 or values.dtype.kind not in kinds:
        raise DecodeFailure("it holds a pandas column of other cells than its kind has")
    if values.dtype.kind in "mM" and not _is_cell_type(values.dtype):
        raise DecodeFailure("it holds a pandas column of times in a unit that pandas does not have")
    return values


def _index(read: Reader, value: Any) -> Any:
    if not isinstance(value, read.names.module("pandas").Index):
        raise DecodeFailure(f"it holds a {type(value).__name__} where a pandas index belongs")
    return value


def column_of(read: Reader, parts: Any) -> Any:
    """The array of a column."""
    if type(parts) is not tuple or not parts:
        raise DecodeFailure("it holds a pandas column that is not one")
    return p.build(COLUMNS, parts[0], parts[1:], *read)


def _plain(read: Reader, values: Any) -> Any:
    return _numbers(read, values, "biufcmMO")


def _with_nan(read: Reader, values: Any) -> Any:
    values = _numbers(read, values, "O")
    values[read.names.module("pandas").isna(values)] = float("nan")
    return values


def _taken(read: Reader, column: tuple[Any, ...], places: Any) -> Any:
    """Texts by their place. Where they are not Python's own, each one is copied."""
    numpy = read.names.module("numpy")
    if not column or column[0] != "str":
        raise DecodeFailure("it takes out of a column that is not one of texts")
    values = column_of(read, column)
    places = _numbers(read, places, "i")
    texts = column[3]
    if len(places) and not (places.min() >= -1 and places.max() < len(texts)):
        raise DecodeFailure("it takes a text of a place that is not there")
    lengths = numpy.fromiter(
        (0 if text is None else len(text) for text in texts), float, len(texts)
    )
    read.charge(2 * SLOT * len(places) + 4 * int(numpy.append(lengths, 0.0)[places].sum()))
    return values.take(places, allow_fill=True)


def _categories(read: Reader, codes: Any, categories: Any, ordered: bool) -> Any:
    pandas = read.names.module("pandas")
    codes = _numbers(read, codes, "i")
    return pandas.Categorical.from_codes(codes, dtype=_category_type(read, categories, ordered))


def _category_type(read: Reader, categories: Any, ordered: bool | None) -> Any:
    if categories is not None:
        if type(_index(read, categories)) is read.names.module("pandas").MultiIndex:
            raise DecodeFailure("it holds categories of more than one level")
        _all_different(read, categories)
    return read.names.module("pandas").CategoricalDtype(categories, ordered=ordered)


def _with_zone(read: Reader, values: Any, zone: Any) -> Any:
    import datetime

    values = _numbers(read, values, "M")
    if not isinstance(zone, datetime.tzinfo):
        raise DecodeFailure("it holds times with a time zone that is not one")
    pandas = read.names.module("pandas")
    return pandas.DatetimeIndex(values).tz_localize("UTC").tz_convert(zone).array


def _intervals(read: Reader, left: Any, right: Any, closed: str) -> Any:
    pandas = read.names.module("pandas")
    left, right = _index(read, left), _index(read, right)
    kinds = (pandas.DatetimeIndex, pandas.TimedeltaIndex)
    for ends in (left, right):
        if type(ends) not in kinds and (
            type(ends) is not pandas.Index or ends.dtype.kind not in "iuf"
        ):
            raise DecodeFailure("it holds intervals between what has no order")
    if closed not in _CLOSED or len(left) != len(right):
        raise DecodeFailure("it holds intervals that are closed on no side, or have one end only")
    read.charge(4 * SLOT * len(left))
    return pandas.arrays.IntervalArray.from_arrays(left, right, closed)


def _period_text(text: str) -> str:
    if not is_text(text):
        raise DecodeFailure(f"it holds a frequency that pandas does not have: {text[:80]}")
    return text


def _periods(read: Reader, ordinals: Any, frequency: str) -> Any:
    pandas = read.names.module("pandas")
    ordinals = _numbers(read, ordinals, "i")
    return pandas.PeriodIndex.from_ordinals(ordinals, freq=_period_text(frequency)).array


def _texts(read: Reader, storage: str, is_na: bool, texts: list[Any]) -> Any:
    pandas = read.names.module("pandas")
    if storage not in ("python", "pyarrow"):
        raise DecodeFailure(
            f"it holds texts in a storage that pandas does not have: {storage[:80]}"
        )
    if storage == "pyarrow":
        read.names.module("pyarrow")  # pandas would import it
    size = 4 * SLOT * len(texts)
    for text in texts:
        if type(text) is str:
            size += 4 * len(text)
        elif text is not None:
            raise DecodeFailure("it holds a column of texts with something else in it")
    read.charge(size)
    if is_na:
        dtype = pandas.StringDtype(storage)
    else:
        dtype = pandas.StringDtype(storage, na_value=float("nan"))
    return pandas.array(texts, dtype=dtype)


def _masked(read: Reader, name: str, data: Any, mask: Any) -> Any:
    pandas = read.names.module("pandas")
    if name not in _MASKED:
        raise DecodeFailure(f"it holds a pandas column of unknown dtype {name[:80]}")
    dtype, array = _MASKED[name]
    data, mask = _numbers(read, data, "biuf"), _numbers(read, mask, "b")
    if data.dtype != dtype or len(data) != len(mask):
        raise DecodeFailure("it holds a column whose mask is not its own")
    return getattr(pandas.arrays, array)(data, mask)


def _cells(values: Any) -> int:
    """Bytes of what may be copied of it."""
    return int(getattr(values, "nbytes", 0))


COLUMNS: dict[Any, Kind] = {
    "np": Kind((ANY,), SMALL, _plain, reads=True),
    "nan": Kind((ANY,), lambda values: OBJECT + _cells(values), _with_nan, reads=True),
    "take": Kind((TUPLE, ANY), SMALL, _taken, reads=True),
    "cat": Kind(
        (ANY, ANY, p.optional(FLAG)),
        lambda codes, _, __: OBJECT + _cells(codes), _categories, reads=True,
    ),
    "tz": Kind((ANY, ANY), lambda values, _: OBJECT + 2 * _cells(values), _with_zone, reads=True),
    "interval": Kind((ANY, ANY, TEXT), lambda *_: _OBJECT_BYTES, _intervals, reads=True),
    "period": Kind((ANY, TEXT), lambda values, _: OBJECT + _cells(values), _periods, reads=True),
    "str": Kind((TEXT, FLAG, LIST), SMALL, _texts, reads=True),
    "mask": Kind((TEXT, ANY, ANY), SMALL, _masked, reads=True),
}  # fmt: skip


# --- and back: what is different ------------------------------------------------------------------


def _all_different(read: Reader, index: Any) -> None:
    """Charge for what pandas needs to see that no two are the same, and see it before pandas does.

    Its hash tables have no secret: chosen keys make them slow, where sorting does not mind.
    """
    pandas, numpy = read.names.module("pandas"), read.names.module("numpy")
    read.charge(_UNIQUE_BYTES * len(index))
    if type(index) is pandas.RangeIndex:
        return
    values: Any = None if type(index) is pandas.MultiIndex else index.array
    if type(index) is pandas.MultiIndex:
        same = _has_same_row(numpy, index.codes)
    elif type(index) is pandas.IntervalIndex:
        same = _has_same_row(numpy, [numpy.asarray(side) for side in (index.left, index.right)])
    elif type(index) is pandas.CategoricalIndex:
        same = _has_same(numpy, values.codes)
    elif hasattr(values, "asi8"):
        same = _has_same(numpy, values.asi8)
    elif hasattr(values, "_mask"):
        same = _has_same(numpy, values._data[~values._mask]) or values._mask.sum() > 1
    elif index.dtype.kind in NUMBERS:
        same = _has_same(numpy, index.to_numpy())
    else:
        cells = values.to_numpy(object).tolist()
        read.charge.keys(cells)
        same = len(dict.fromkeys(cells)) != len(cells)
    if same:
        raise DecodeFailure("it holds a level or categories with the same value twice")
    if type(getattr(index, "_cache", None)) is dict:
        index._cache["is_unique"] = True


def _has_same_row(numpy: Any, columns: Any) -> bool:
    order = numpy.lexsort(list(columns))
    rows = [column[order] for column in columns]
    return bool(numpy.logical_and.reduce([row[1:] == row[:-1] for row in rows]).any())


def _has_same(numpy: Any, values: Any) -> bool:
    values = numpy.sort(values)
    return bool((values[1:] == values[:-1]).any())


# --- and back: values -----------------------------------------------------------------------------


def _nat(read: Reader) -> Any:
    return read.names.module("pandas").NaT


def _na(read: Reader) -> Any:
    return read.names.module("pandas").NA


def _timestamp(read: Reader, value: Any, zone: Any) -> Any:
    import datetime

    pandas = read.names.module("pandas")
    if type(value) is not read.names.module("numpy").datetime64:
        raise DecodeFailure("it holds a timestamp that is not one")
    if zone is not None and not isinstance(zone, datetime.tzinfo):
        raise DecodeFailure("it holds a timestamp with a time zone that is not one")
    stamp = pandas.Timestamp(value)
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)


def _timedelta(read: Reader, value: Any) -> Any:
    if type(value) is not read.names.module("numpy").timedelta64:
        raise DecodeFailure("it holds a pandas timedelta that is not one")
    return read.names.module("pandas").Timedelta(value)


def _interval(read: Reader, left: Any, right: Any, closed: str) -> Any:
    pandas, numpy = read.names.module("pandas"), read.names.module("numpy")
    kinds = (int, float, numpy.integer, numpy.floating, pandas.Timestamp, pandas.Timedelta)
    if not isinstance(left, kinds) or not isinstance(right, kinds) or closed not in _CLOSED:
        raise DecodeFailure("it holds an interval that is not one")
    return pandas.Interval(left, right, closed)


def _period(read: Reader, ordinal: int, frequency: str) -> Any:
    pandas = read.names.module("pandas")
    return pandas.Period(ordinal=ordinal, freq=_period_text(frequency))


def range_of(read: Reader, start: int, stop: int, step: int, name: Any) -> Any:
    if any(type(n) is not int or abs(n) >= 2**63 for n in (start, stop, step)):
        raise DecodeFailure("it holds a pandas range that is longer than can be")
    return read.names.module("pandas").RangeIndex(start, stop, step, name=name)


def _one_level(read: Reader, packed: tuple[Any, ...], name: Any, frequency: Any) -> Any:
    pandas = read.names.module("pandas")
    values = column_of(read, packed)
    index = pandas.Index(values, name=name, dtype=_kept(read, values))
    if frequency is None:
        return index
    offset = frequency_of(read, frequency)
    if not isinstance(offset, pandas.tseries.offsets.Tick):
        read.charge(_STEP_BYTES * len(index))  # pandas looks at each step
    return type(index)(index, freq=offset)


def _levels(read: Reader, levels: list[Any], codes: list[Any], names: list[Any]) -> Any:
    pandas = read.names.module("pandas")
    if not len(levels) == len(codes) == len(names):
        raise DecodeFailure("it holds a pandas index with more levels than codes or names")
    for level, places in zip(levels, codes, strict=True):
        if type(level) is pandas.MultiIndex:
            raise DecodeFailure("it holds a level of more than one level")
        read.charge(_OBJECT_BYTES + 2 * SLOT * len(_numbers(read, places, "i")))
        _all_different(read, _index(read, level))
    return pandas.MultiIndex(levels=levels, codes=codes, names=names)


def _kept(read: Reader, values: Any) -> type | None:
    """The dtype to ask for: pandas makes texts of a plain array of objects unless told not to."""
    plain = type(values) is read.names.module("numpy").ndarray
    return object if plain and values.dtype.kind == "O" else None


def _series(
    read: Reader, packed: tuple[Any, ...], index: Any, name: Any, attributes: dict[Any, Any]
) -> Any:
    values = column_of(read, packed)
    if len(values) != len(_index(read, index)):
        raise DecodeFailure("it holds a pandas series that is not as long as its index")
    pandas = read.names.module("pandas")
    made = pandas.Series(values, index=index, name=name, dtype=_kept(read, values), copy=False)
    made.attrs.update(attributes)
    return made


def _block(read: Reader, n: int, rows: int, parts: tuple[Any, ...]) -> tuple[Any, Any]:
    """The places of some columns, of n, and their values, a row for each."""
    numpy = read.names.module("numpy")
    _, places, values = parts
    places = _numbers(read, places, "i")
    if type(values) is not numpy.ndarray or values.dtype.kind not in NUMBERS:
        raise DecodeFailure("it holds a block of columns of something that is not numbers")
    if values.shape != (len(places), rows):
        raise DecodeFailure("it holds a block of more columns than places, or of other rows")
    if len(places) and not (places.min() >= 0 and places.max() < n):
        raise DecodeFailure("it holds a block with a column of a place that is not there")
    read.charge(values.nbytes + 4 * SLOT * len(places))
    return places, values


def frame_of(
    read: Reader, columns: list[Any], labels: Any, index: Any, attributes: dict[Any, Any]
) -> Any:
    pandas, numpy = read.names.module("pandas"), read.names.module("numpy")
    n, rows = len(_index(read, labels)), len(_index(read, index))
    free = numpy.ones(n, bool)
    frames = []
    singles = []
    for parts in columns:
        if type(parts) is tuple and len(parts) == 3 and parts[0] == "block":
            places, values = _block(read, n, rows, parts)
            if not free[places].all() or _has_same(numpy, places):
                raise DecodeFailure("it holds a frame with two columns in one place")
            free[places] = False
            frames.append(pandas.DataFrame(values.T, index=index, columns=places, copy=False))
        else:
            singles.append(parts)
    if len(singles) != int(free.sum()):
        raise DecodeFailure("it holds a pandas frame with more columns than labels, or fewer")
    read.charge(_OBJECT_BYTES * (len(singles) + len(frames)))
    series = {}
    for place, parts in zip(free.nonzero()[0].tolist(), singles, strict=True):
        values = column_of(read, parts)
        if len(values) != rows:
            raise DecodeFailure("it holds a pandas frame with a column that is not as long as it")
        series[place] = pandas.Series(values, index=index, dtype=_kept(read, values), copy=False)
    if series or not frames:
        frames.append(pandas.DataFrame(series, index=index))
    made = frames[0] if len(frames) == 1 else pandas.concat(frames, axis=1)
    if len(frames) > 1 or not (made.columns == numpy.arange(n)).all():
        made = made.take(numpy.argsort(numpy.asarray(made.columns)), axis=1)
    made.columns = labels
    if made.index is not index:
        made.index = index
    made.attrs.update(attributes)
    return made


def _unique(read: Reader, value: Any) -> Any:
    """A series or frame that does not allow the same label twice."""
    pandas = read.names.module("pandas")
    if type(value) not in (pandas.Series, pandas.DataFrame):
        raise DecodeFailure("it holds the flag of a series or frame, and neither of them")
    for labels in value.axes:
        _all_different(read, labels)
    value.flags.allows_duplicate_labels = False
    return value


def _extension_array(read: Reader, packed: tuple[Any, ...]) -> Any:
    values = column_of(read, packed)
    if type(values) is read.names.module("numpy").ndarray:
        arrays = read.names.module("pandas").arrays
        if values.dtype.kind == "M":
            return arrays.DatetimeArray._from_sequence(values, dtype=values.dtype)
        if values.dtype.kind == "m":
            return arrays.TimedeltaArray._from_sequence(values, dtype=values.dtype)
        return arrays.NumpyExtensionArray(values)
    return values


KINDS: dict[Any, Kind] = {
    "NaT": Kind((), SMALL, _nat, reads=True),
    "NA": Kind((), SMALL, _na, reads=True),
    "timestamp": Kind((ANY, ANY), SMALL, _timestamp, reads=True),
    "timedelta": Kind((ANY,), SMALL, _timedelta, reads=True),
    "interval": Kind((ANY, ANY, TEXT), SMALL, _interval, reads=True),
    "period": Kind((INT, TEXT), SMALL, _period, reads=True),
    "range": Kind((INT, INT, INT, ANY), lambda *_: 4 * OBJECT, range_of, reads=True),
    "index": Kind(
        (TUPLE, ANY, (str, tuple, type(None))), lambda *_: _OBJECT_BYTES, _one_level, reads=True
    ),
    "multi": Kind((LIST, LIST, LIST), lambda *_: _OBJECT_BYTES, _levels, reads=True),
    "series": Kind((TUPLE, ANY, ANY, DICT), lambda *_: _OBJECT_BYTES, _series, reads=True),
    "frame": Kind((LIST, ANY, ANY, DICT), lambda *_: _OBJECT_BYTES, frame_of, reads=True),
    "array": Kind((TUPLE,), SMALL, _extension_array, reads=True),
    "unique": Kind((ANY,), SMALL, _unique, reads=True),
    "catdtype": Kind(
        (ANY, p.optional(FLAG)), SMALL, _category_type, reads=True
    ),
}  # fmt: skip
