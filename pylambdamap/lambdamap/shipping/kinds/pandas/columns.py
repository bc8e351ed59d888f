"""A column: the array of a Series, an index or a frame's column, as a tuple of parts."""

from __future__ import annotations

import sys
from typing import Any, Final

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds import parts as p
from lambdamap.shipping.kinds.pandas.checks import (
    PANDAS_OBJECT,
    all_different,
    index_of,
    is_column_dtype,
    numbers_of,
)
from lambdamap.shipping.kinds.pandas.offsets import is_text
from lambdamap.shipping.kinds.parts import (
    ANY,
    FLAG,
    LIST,
    OBJECT,
    SLOT,
    SMALL,
    TEXT,
    TUPLE,
    Kind,
    Reader,
)

__all__ = ["CLOSED", "COLUMNS", "category_type", "column_of", "pack_values", "period_text"]

_MANY_TEXTS: Final = 64  # from this length on, repeated texts are looked for
CLOSED: Final = ("left", "right", "both", "neither")
_MASKED: Final = {
    f"{name}{bits}": (f"{name.lower()}{bits}", array)
    for name, all_bits, array in (
        ("Int", (8, 16, 32, 64), "IntegerArray"),
        ("UInt", (8, 16, 32, 64), "IntegerArray"),
        ("Float", (32, 64), "FloatingArray"),
    )
    for bits in all_bits
} | {"boolean": ("bool", "BooleanArray")}


def pack_values(pandas: Any, values: Any) -> tuple[Any, ...] | None:
    """Return the parts of an array; None: there is no kind of column for it."""
    numpy = sys.modules["numpy"]
    dtype = values.dtype
    if isinstance(values, numpy.ndarray):
        if not is_column_dtype(dtype):
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
        array = values.to_numpy()
        return ("np", array) if is_column_dtype(array.dtype) else None
    return None


def _pack_objects(pandas: Any, values: Any) -> tuple[Any, ...]:
    """Replace NaN by None where it means missing: columns of texts know None."""
    missing = pandas.isna(values)
    gone = values[missing]
    if len(gone) == 0 or not all(type(item) is float for item in gone):
        return ("np", values)
    filled = values.copy()
    filled[missing] = None
    return ("nan", filled)


# --- decoding -------------------------------------------------------------------------------------


def column_of(read: Reader, parts: Any) -> Any:
    """Return the array of a column."""
    if type(parts) is not tuple or not parts:
        raise DecodeFailure("invalid pandas column")
    return p.build(COLUMNS, parts[0], parts[1:], *read)


def _values(read: Reader, values: Any) -> Any:
    return numbers_of(read, values, "biufcmMO")


def _with_nan(read: Reader, values: Any) -> Any:
    values = numbers_of(read, values, "O")
    values[read.names.module("pandas").isna(values)] = float("nan")
    return values


def _taken(read: Reader, column: tuple[Any, ...], places: Any) -> Any:
    """Return texts by index. In Arrow's storage each one is copied."""
    numpy = read.names.module("numpy")
    if not column or column[0] != "str":
        raise DecodeFailure("indices into a column that does not contain strings")
    values = column_of(read, column)
    places = numbers_of(read, places, "i")
    texts = column[3]
    if len(places) and not (places.min() >= -1 and places.max() < len(texts)):
        raise DecodeFailure("text index out of range")
    lengths = numpy.fromiter(
        (0 if text is None else len(text) for text in texts), float, len(texts)
    )
    read.charge(2 * SLOT * len(places) + 4 * int(numpy.append(lengths, 0.0)[places].sum()))
    return values.take(places, allow_fill=True)


def _categories(read: Reader, codes: Any, categories: Any, ordered: bool) -> Any:
    pandas = read.names.module("pandas")
    codes = numbers_of(read, codes, "i")
    return pandas.Categorical.from_codes(codes, dtype=category_type(read, categories, ordered))


def category_type(read: Reader, categories: Any, ordered: bool | None) -> Any:
    if categories is not None:
        if type(index_of(read, categories)) is read.names.module("pandas").MultiIndex:
            raise DecodeFailure("categories with more than one level")
        all_different(read, categories)
    return read.names.module("pandas").CategoricalDtype(categories, ordered=ordered)


def _with_zone(read: Reader, values: Any, zone: Any) -> Any:
    import datetime

    values = numbers_of(read, values, "M")
    if not isinstance(zone, datetime.tzinfo):
        raise DecodeFailure("invalid time zone in a pandas column")
    pandas = read.names.module("pandas")
    return pandas.DatetimeIndex(values).tz_localize("UTC").tz_convert(zone).array


def _intervals(read: Reader, left: Any, right: Any, closed: str) -> Any:
    pandas = read.names.module("pandas")
    left, right = index_of(read, left), index_of(read, right)
    kinds = (pandas.DatetimeIndex, pandas.TimedeltaIndex)
    for ends in (left, right):
        if type(ends) not in kinds and (
            type(ends) is not pandas.Index or ends.dtype.kind not in "iuf"
        ):
            raise DecodeFailure("invalid interval bounds")
    if closed not in CLOSED or len(left) != len(right):
        raise DecodeFailure("unknown closed side of intervals, or bounds of different lengths")
    read.charge(4 * SLOT * len(left))
    return pandas.arrays.IntervalArray.from_arrays(left, right, closed)


def period_text(text: str) -> str:
    if not is_text(text):
        raise DecodeFailure(f"unknown frequency {text[:80]}")
    return text


def _periods(read: Reader, ordinals: Any, frequency: str) -> Any:
    pandas = read.names.module("pandas")
    ordinals = numbers_of(read, ordinals, "i")
    return pandas.PeriodIndex.from_ordinals(ordinals, freq=period_text(frequency)).array


def _texts(read: Reader, storage: str, is_na: bool, texts: list[Any]) -> Any:
    pandas = read.names.module("pandas")
    if storage not in ("python", "pyarrow"):
        raise DecodeFailure(f"unknown string storage {storage[:80]}")
    if storage == "pyarrow":
        read.names.module("pyarrow")  # otherwise pandas would import it
    size = 4 * SLOT * len(texts)
    for text in texts:
        if type(text) is str:
            size += 4 * len(text)
        elif text is not None:
            raise DecodeFailure("a column of strings contains another type")
    read.charge(size)
    if is_na:
        dtype = pandas.StringDtype(storage)
    else:
        dtype = pandas.StringDtype(storage, na_value=float("nan"))
    return pandas.array(texts, dtype=dtype)


def _masked(read: Reader, name: str, data: Any, mask: Any) -> Any:
    pandas = read.names.module("pandas")
    if name not in _MASKED:
        raise DecodeFailure(f"unknown dtype of a pandas column: {name[:80]}")
    dtype, array = _MASKED[name]
    data, mask = numbers_of(read, data, "biuf"), numbers_of(read, mask, "b")
    if data.dtype != dtype or len(data) != len(mask):
        raise DecodeFailure("mask and values of a pandas column do not match")
    return getattr(pandas.arrays, array)(data, mask)


def _nbytes(values: Any) -> int:
    """Return the bytes that may be copied."""
    return int(getattr(values, "nbytes", 0))


COLUMNS: dict[Any, Kind] = {
    "np": Kind((ANY,), SMALL, _values, reads=True),
    "nan": Kind((ANY,), lambda values: OBJECT + _nbytes(values), _with_nan, reads=True),
    "take": Kind((TUPLE, ANY), SMALL, _taken, reads=True),
    "cat": Kind(
        (ANY, ANY, p.optional(FLAG)),
        lambda codes, _, __: OBJECT + _nbytes(codes), _categories, reads=True,
    ),
    "tz": Kind((ANY, ANY), lambda values, _: OBJECT + 2 * _nbytes(values), _with_zone, reads=True),
    "interval": Kind((ANY, ANY, TEXT), lambda *_: PANDAS_OBJECT, _intervals, reads=True),
    "period": Kind((ANY, TEXT), lambda values, _: OBJECT + _nbytes(values), _periods, reads=True),
    "str": Kind((TEXT, FLAG, LIST), SMALL, _texts, reads=True),
    "mask": Kind((TEXT, ANY, ANY), SMALL, _masked, reads=True),
}  # fmt: skip
