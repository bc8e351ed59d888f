"""Whether parts of two pandas objects are identical in everything that pandas can show of them.

Equality is not enough: 1, True and 1.0 are equal labels, and so are categories in another order.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_same_dtype", "is_same_index", "is_same_label", "is_same_offset"]


def is_same_label(one: Any, other: Any) -> bool:
    kind = type(one)
    if one is other:
        return True
    if kind is not type(other):
        return False
    if kind is str or kind is int or kind is bytes:
        return bool(one == other)
    if kind is tuple:
        return len(one) == len(other) and all(map(is_same_label, one, other))
    try:
        return repr(one) == repr(other) and (kind is float or bool(one == other))
    except Exception:  # raised by code of the label
        return False


def is_same_offset(one: Any, other: Any) -> bool:
    """Compare offsets, including the calendar's weekmask and holidays, which ``==`` ignores."""
    if one is other:
        return True
    if type(one) is not type(other) or one != other:
        return False
    first, second = (getattr(offset, "calendar", None) for offset in (one, other))
    if first is None or second is None:
        return first is second
    same = (first.weekmask == second.weekmask).all()
    return bool(same) and list(first.holidays) == list(second.holidays)


def _is_same_zone(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and repr(one) == repr(other))


def is_same_dtype(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if isinstance(one, numpy.dtype):
        return bool(one == other and one.char == other.char and one.metadata == other.metadata)
    if isinstance(one, pandas.CategoricalDtype):
        return one.ordered is other.ordered and (
            one.categories is other.categories or is_same_index(one.categories, other.categories)
        )
    if isinstance(one, pandas.DatetimeTZDtype):
        return one.unit == other.unit and _is_same_zone(one.tz, other.tz)
    if isinstance(one, pandas.IntervalDtype):
        return one.closed == other.closed and is_same_dtype(one.subtype, other.subtype)
    if isinstance(one, pandas.PeriodDtype):
        return is_same_offset(one.freq, other.freq)
    if isinstance(one, pandas.StringDtype):
        same = getattr(one, "na_value", None), getattr(other, "na_value", None)
        return one.storage == other.storage and is_same_label(*same)
    return bool(one == other)


def is_same_index(one: Any, other: Any) -> bool:
    if one is other:
        return True
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if type(one) is not type(other) or len(one) != len(other):
        return False
    if isinstance(one, pandas.MultiIndex):
        return (
            one.nlevels == other.nlevels
            and all(map(is_same_label, one.names, other.names))
            and all(map(is_same_index, one.levels, other.levels))
            and all(map(numpy.array_equal, one.codes, other.codes))
        )
    if not is_same_label(one.name, other.name):
        return False
    if isinstance(one, pandas.RangeIndex):
        return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
    if not is_same_dtype(one.dtype, other.dtype):
        return False
    if not is_same_offset(getattr(one, "freq", None), getattr(other, "freq", None)):
        return False
    if isinstance(one, pandas.IntervalIndex):
        return is_same_index(one.left, other.left) and is_same_index(one.right, other.right)
    if isinstance(one, pandas.CategoricalIndex):
        return bool(numpy.array_equal(one.codes, other.codes))
    if isinstance(one.dtype, numpy.dtype) and one.dtype.kind != "O":
        return bool(one.to_numpy().tobytes() == other.to_numpy().tobytes())
    if one.dtype.kind == "O" and isinstance(one.dtype, numpy.dtype):
        return all(map(is_same_label, one.to_numpy(), other.to_numpy()))
    return bool(one.equals(other))
