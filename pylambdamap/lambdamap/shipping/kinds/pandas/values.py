"""Scalars, indexes, Series and frames, each on its own."""

from __future__ import annotations

import sys
from typing import Any, Final

from lambdamap._codec import DecodeFailure, EncodeFailure
from lambdamap.shipping.kinds import parts as p
from lambdamap.shipping.kinds.pandas.checks import (
    PANDAS_OBJECT,
    all_different,
    index_of,
    kept,
    numbers_of,
)
from lambdamap.shipping.kinds.pandas.columns import (
    CLOSED,
    category_type,
    column_of,
    pack_values,
    period_text,
)
from lambdamap.shipping.kinds.pandas.frames import columns_of, frame_of
from lambdamap.shipping.kinds.pandas.offsets import frequency_of, reduce_frequency
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

__all__ = ["KINDS", "one_series", "range_of", "reduce"]

_SHORT_LEVEL: Final = 64  # a level of a MultiIndex up to this length is sent as it is
_STEP_BYTES: Final = 1000  # bytes charged for a step of a frequency that is computed in Python


def _used_level(level: Any, codes: Any) -> tuple[Any, Any]:
    """Return a level and the codes into it. A level longer than the index is reduced to the values used:
    a group of a long frame has the levels of the whole frame."""
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
    # A period has its frequency in the dtype.
    offset = None if packed[0] == "period" else getattr(index, "freq", None)
    frequency = None if offset is None else reduce_frequency(pandas, offset)
    if offset is not None and (frequency is None or not _is_accepted(index, offset, frequency)):
        raise EncodeFailure(  # its pickle would be incomplete as well
            f"the frequency {offset!r} has state beside its arguments and cannot be sent: set the index's freq "
            "to None"
        )
    return p.PANDAS, ("index", packed, index.name, frequency)


def _is_accepted(index: Any, offset: Any, form: Any) -> bool:
    """Return whether pandas accepts the frequency for a new index; it rejects some of its own."""
    if type(form) is str:
        return True
    # A new index without a frequency, so that pandas checks this one against the values.
    zone = getattr(index, "tz", None)
    naive = index if zone is None else index.tz_convert("UTC").tz_localize(None)
    bare = type(index)(naive.to_numpy(copy=True))
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
        columns = columns_of(value)
        if columns is None:
            return None
        return p.PANDAS, ("frame", columns, value.columns, value.index, dict(value.attrs))
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        packed = pack_values(pandas, value)
        return packed and (p.PANDAS, ("array", packed))
    if kind is pandas.CategoricalDtype:
        return p.PANDAS, ("catdtype", value.categories, value.ordered)
    return None


# --- decoding -------------------------------------------------------------------------------------


def _nat(read: Reader) -> Any:
    return read.names.module("pandas").NaT


def _na(read: Reader) -> Any:
    return read.names.module("pandas").NA


def _timestamp(read: Reader, value: Any, zone: Any) -> Any:
    import datetime

    pandas = read.names.module("pandas")
    if type(value) is not read.names.module("numpy").datetime64:
        raise DecodeFailure("invalid timestamp")
    if zone is not None and not isinstance(zone, datetime.tzinfo):
        raise DecodeFailure("invalid time zone of a timestamp")
    stamp = pandas.Timestamp(value)
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)


def _timedelta(read: Reader, value: Any) -> Any:
    if type(value) is not read.names.module("numpy").timedelta64:
        raise DecodeFailure("invalid pandas timedelta")
    return read.names.module("pandas").Timedelta(value)


def _interval(read: Reader, left: Any, right: Any, closed: str) -> Any:
    pandas, numpy = read.names.module("pandas"), read.names.module("numpy")
    kinds = (int, float, numpy.integer, numpy.floating, pandas.Timestamp, pandas.Timedelta)
    if not isinstance(left, kinds) or not isinstance(right, kinds) or closed not in CLOSED:
        raise DecodeFailure("invalid interval")
    return pandas.Interval(left, right, closed)


def _period(read: Reader, ordinal: int, frequency: str) -> Any:
    pandas = read.names.module("pandas")
    return pandas.Period(ordinal=ordinal, freq=period_text(frequency))


def range_of(read: Reader, start: int, stop: int, step: int, name: Any) -> Any:
    if any(type(n) is not int or abs(n) >= 2**63 for n in (start, stop, step)):
        raise DecodeFailure("bound of a pandas range out of range")
    return read.names.module("pandas").RangeIndex(start, stop, step, name=name)


def _one_level(read: Reader, packed: tuple[Any, ...], name: Any, frequency: Any) -> Any:
    pandas = read.names.module("pandas")
    values = column_of(read, packed)
    index = pandas.Index(values, name=name, dtype=kept(read, values))
    if frequency is None:
        return index
    offset = frequency_of(read, frequency)
    if not isinstance(offset, pandas.tseries.offsets.Tick):
        read.charge(_STEP_BYTES * len(index))  # pandas computes each step
    return type(index)(index, freq=offset)


def _levels(read: Reader, levels: list[Any], codes: list[Any], names: list[Any]) -> Any:
    pandas = read.names.module("pandas")
    if not len(levels) == len(codes) == len(names):
        raise DecodeFailure("levels, codes and names of a MultiIndex differ in number")
    for level, places in zip(levels, codes, strict=True):
        if type(level) is pandas.MultiIndex:
            raise DecodeFailure("a level of a MultiIndex is a MultiIndex")
        read.charge(PANDAS_OBJECT + 2 * SLOT * len(numbers_of(read, places, "i")))
        all_different(read, index_of(read, level))
    return pandas.MultiIndex(levels=levels, codes=codes, names=names)


def one_series(
    read: Reader, packed: tuple[Any, ...], index: Any, name: Any, attributes: dict[Any, Any]
) -> Any:
    values = column_of(read, packed)
    if len(values) != len(index_of(read, index)):
        raise DecodeFailure("length of a pandas Series does not match its index")
    pandas = read.names.module("pandas")
    made = pandas.Series(values, index=index, name=name, dtype=kept(read, values), copy=False)
    made.attrs.update(attributes)
    return made


def _unique(read: Reader, value: Any) -> Any:
    """Return a Series or frame that does not allow duplicate labels."""
    pandas = read.names.module("pandas")
    if type(value) not in (pandas.Series, pandas.DataFrame):
        raise DecodeFailure("flags without a Series or frame")
    for labels in value.axes:
        all_different(read, labels)
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
        (TUPLE, ANY, (str, tuple, type(None))), lambda *_: PANDAS_OBJECT, _one_level, reads=True
    ),
    "multi": Kind((LIST, LIST, LIST), lambda *_: PANDAS_OBJECT, _levels, reads=True),
    "series": Kind((TUPLE, ANY, ANY, DICT), lambda *_: PANDAS_OBJECT, one_series, reads=True),
    "frame": Kind((LIST, ANY, ANY, DICT), lambda *_: PANDAS_OBJECT, frame_of, reads=True),
    "array": Kind((TUPLE,), SMALL, _extension_array, reads=True),
    "unique": Kind((ANY,), SMALL, _unique, reads=True),
    "catdtype": Kind(
        (ANY, p.optional(FLAG)), SMALL, category_type, reads=True
    ),
}  # fmt: skip
