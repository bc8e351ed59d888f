"""pandas' frequencies: as text if that is enough to rebuild them, otherwise as class and arguments."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds.pandas.alike import is_same_offset
from lambdamap.shipping.kinds.parts import Reader

__all__ = ["frequency_of", "is_text", "reduce_frequency"]

_TEXT: Final = re.compile(r"-?\d{0,9}[A-Za-z]{1,10}(?:-[A-Z0-9]{1,4}){0,3}")
_CLASSES: Final = frozenset(
    (
        "BusinessDay", "BusinessHour", "BusinessMonthBegin", "BusinessMonthEnd", "BQuarterBegin",
        "BQuarterEnd", "BYearBegin", "BYearEnd", "CustomBusinessDay", "CustomBusinessHour",
        "CustomBusinessMonthBegin", "CustomBusinessMonthEnd", "DateOffset", "Day", "Easter", "FY5253",
        "FY5253Quarter", "LastWeekOfMonth", "MonthBegin", "MonthEnd", "QuarterBegin", "QuarterEnd",
        "SemiMonthBegin", "SemiMonthEnd", "Week", "WeekOfMonth", "YearBegin", "YearEnd",
    )
)  # fmt: skip
_ARGUMENTS: Final = frozenset(
    (
        "weekmask", "holidays", "offset", "start", "end", "weekday", "week", "method", "month",
        "startingMonth", "day_of_month", "variation", "qtr_with_extra_week", "years", "months", "weeks",
        "days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds", "year",
        "day", "hour", "minute", "second", "microsecond", "nanosecond",
    )
)  # fmt: skip
_HOLIDAY_BYTES: Final = 200


def is_text(text: object) -> bool:
    """Return whether it may be the text of a frequency."""
    return type(text) is str and _TEXT.fullmatch(text) is not None


def reduce_frequency(pandas: Any, offset: Any) -> str | tuple[Any, ...] | None:
    """Return what describes an offset completely; None: nothing does."""
    try:
        text: str = offset.freqstr
        if is_text(text) and is_same_offset(pandas.tseries.frequencies.to_offset(text), offset):
            return text
        arguments = {name: value for name, value in offset.kwds.items() if name != "calendar"}
        if "holidays" in arguments:
            arguments["holidays"] = list(map(str, arguments["holidays"]))
        form = (type(offset).__name__, offset.n, offset.normalize, arguments)
        return form if is_same_offset(_built(pandas, *form), offset) else None
    except (AttributeError, TypeError, ValueError, DecodeFailure):
        return None


def _is_argument(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(type(item) in (str, datetime.time) for item in value)
    return type(value) in (int, float, str, datetime.timedelta)


def _built(pandas: Any, name: Any, n: Any, normalize: Any, arguments: Any) -> Any:
    if name not in _CLASSES or type(n) is not int or type(normalize) is not bool:
        raise DecodeFailure("unknown frequency")
    if type(arguments) is not dict or not all(
        key in _ARGUMENTS and _is_argument(value) for key, value in arguments.items()
    ):
        raise DecodeFailure(f"invalid arguments of the frequency {name}")
    return getattr(pandas.tseries.offsets, name)(n=n, normalize=normalize, **arguments)


def frequency_of(read: Reader, form: Any) -> Any:
    """Return the offset that `reduce_frequency` described."""
    pandas = read.names.module("pandas")
    if is_text(form):
        return pandas.tseries.frequencies.to_offset(form)
    if type(form) is not tuple or len(form) != 4:
        raise DecodeFailure("unknown frequency")
    if type(form[3]) is dict:
        sizes = (len(v) for v in form[3].values() if type(v) in (list, tuple))
        read.charge(_HOLIDAY_BYTES * (10 + sum(sizes)))
    return _built(pandas, *form)
