"""Checks of the parts of a pandas value, made before pandas sees them."""

from __future__ import annotations

import sys
from typing import Any, Final

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds.numpy import NUMBERS
from lambdamap.shipping.kinds.parts import Reader

__all__ = [
    "PANDAS_OBJECT", "all_different", "has_same", "index_of", "is_column_dtype", "kept", "numbers_of",
]  # fmt: skip

PANDAS_OBJECT: Final = (
    3000  # bytes of a Series, an index, or the bookkeeping of a column in a frame
)
_UNITS: Final = ("s", "ms", "us", "ns")
_UNIQUE_BYTES: Final = (
    64  # bytes of a category or a value of a level, including its entry in a hash table
)


def is_column_dtype(dtype: Any) -> bool:
    """Return whether pandas has columns of that numpy dtype."""
    numpy = sys.modules["numpy"]
    return dtype.kind in (*NUMBERS, "O") or (
        dtype.kind in "mM" and numpy.datetime_data(dtype)[0] in _UNITS and dtype.isnative
    )


def numbers_of(read: Reader, values: Any, kinds: str) -> Any:
    """Return the array, which must be one-dimensional and of one of these kinds of dtype."""
    numpy = read.names.module("numpy")
    if type(values) is not numpy.ndarray or values.ndim != 1 or values.dtype.kind not in kinds:
        raise DecodeFailure("invalid values in a pandas column")
    if values.dtype.kind in "mM" and not is_column_dtype(values.dtype):
        raise DecodeFailure("unsupported time unit in a pandas column")
    return values


def index_of(read: Reader, value: Any) -> Any:
    if not isinstance(value, read.names.module("pandas").Index):
        raise DecodeFailure(f"expected a pandas index, got a {type(value).__name__}")
    return value


def kept(read: Reader, values: Any) -> type | None:
    """Return the dtype to ask for: by default, pandas turns an array of objects into strings."""
    is_numpy = type(values) is read.names.module("numpy").ndarray
    return object if is_numpy and values.dtype.kind == "O" else None


def all_different(read: Reader, index: Any) -> None:
    """Check that all values differ, and charge for what pandas needs to check that again.

    The hash tables of pandas use no secret: chosen keys make them slow, whereas sorting stays fast.
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
        same = has_same(numpy, values.codes)
    elif hasattr(values, "asi8"):
        same = has_same(numpy, values.asi8)
    elif hasattr(values, "_mask"):
        same = has_same(numpy, values._data[~values._mask]) or values._mask.sum() > 1
    elif index.dtype.kind in NUMBERS:
        same = has_same(numpy, index.to_numpy())
    else:
        cells = values.to_numpy(object).tolist()
        read.charge.keys(cells)
        same = len(dict.fromkeys(cells)) != len(cells)
    if same:
        raise DecodeFailure("duplicate value in a level, in categories or in labels")
    if type(getattr(index, "_cache", None)) is dict:
        index._cache["is_unique"] = True


def _has_same_row(numpy: Any, columns: Any) -> bool:
    order = numpy.lexsort(list(columns))
    rows = [column[order] for column in columns]
    return bool(numpy.logical_and.reduce([row[1:] == row[:-1] for row in rows]).any())


def has_same(numpy: Any, values: Any) -> bool:
    values = numpy.sort(values)
    return bool((values[1:] == values[:-1]).any())
