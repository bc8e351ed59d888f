"""The standard library's data types."""

from __future__ import annotations

import collections
import datetime
import math
import re
import types
import weakref
from collections.abc import Callable
from typing import Any, Final

from lambdamap._codec import (
    TIME_DATE,
    TIME_DATETIME,
    TIME_TIME,
    TIME_TIMEDELTA,
    TIME_TIMEZONE,
    TIME_ZONEINFO,
    DecodeFailure,
    EncodeFailure,
)
from lambdamap.shipping.kinds import parts as p
from lambdamap.shipping.kinds.parts import (
    ANY,
    BYTES,
    DICT,
    INT,
    LIST,
    OBJECT,
    PAIR,
    SLOT,
    SMALL,
    TEXT,
    TUPLE,
    Kind,
)

__all__ = [
    "DECIMALS",
    "EXACT",
    "KINDS",
    "NEVER",
    "TIMES",
    "named",
    "reduce_late",
    "view_of",
    "view_parts",
]

_PATHS: Final = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
# A key of the time zone database. ZoneInfo opens a file of that name.
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}")
_CHECKED_BITS: Final = 4096  # up to this size, checking that a fraction is in lowest terms is fast


# What to do instead of sending one. These are not pickled, either, although cloudpickle would replace
# some by their referents.
NEVER: Final[dict[type, str]] = {
    types.GeneratorType: "convert it to a list",
    types.CoroutineType: "await it, or pass the result of asyncio.run()",
    types.AsyncGeneratorType: "convert it to a list",
    weakref.ReferenceType: "send the object it refers to",
    weakref.ProxyType: "send the object it refers to",
    weakref.CallableProxyType: "send the object it refers to",
    weakref.finalize: "send the object it refers to",
}


def named(tag: str, *parts: Any) -> tuple[int, Any]:
    return p.NAMED, (tag, *parts)


# --- encoding -------------------------------------------------------------------------------------


def _reduce_datetime(value: datetime.datetime) -> tuple[int, Any]:
    return p.TIME, (
        TIME_DATETIME, value.year, value.month, value.day, value.hour, value.minute, value.second,
        value.microsecond, value.fold, value.tzinfo,
    )  # fmt: skip


def _reduce_time(value: datetime.time) -> tuple[int, Any]:
    return p.TIME, (
        TIME_TIME, value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo,
    )  # fmt: skip


def _reduce_timezone(value: Any) -> tuple[int, Any]:
    offset, *name = value.__getinitargs__()
    return p.TIME, (TIME_TIMEZONE, offset, name[0] if name else None)


def _reduce_zoneinfo(value: Any) -> tuple[int, Any] | None:
    if value.key is None:
        raise EncodeFailure(
            "a ZoneInfo that was read from a file has no key and cannot be sent: use ZoneInfo(key)"
        )
    return (p.TIME, (TIME_ZONEINFO, value.key)) if _ZONE.fullmatch(value.key) else None


def view_parts(view: memoryview) -> tuple[Any, ...]:
    """Return the arguments of `view_of` for an equal view: format, shape, and bytes or bytearray.

    Raises
    ------
    EncodeFailure
        The view was released, or has a format that memoryview.cast() does not know.
    """
    try:
        data = view.tobytes()
        found = view.format, view.shape or (), data if view.readonly else bytearray(data)
        again = view_of(*found)
        if (again.format, again.shape) == (view.format, view.shape):
            return found
    except (ValueError, TypeError, NotImplementedError):
        pass
    raise EncodeFailure(
        "a memoryview that was released or has another format than memoryview.cast() knows cannot be sent: "
        "send its bytes"
    )


def view_of(format_: str, shape: tuple[int, ...], data: bytes | bytearray) -> memoryview:
    if format_ == "B" and len(shape) == 1:
        return memoryview(data)
    is_empty = shape == (0,)  # which cast() rejects
    cast: Callable[..., memoryview] = memoryview(type(data)(8) if is_empty else data).cast
    return cast(format_)[:0] if is_empty else cast(format_, shape)


def _reduce_uuid(value: Any) -> tuple[int, Any]:
    safe = value.is_safe.value
    return named("uuid", value.bytes) if safe is None else named("uuid", value.bytes, safe)


def _reduce_odict(value: Any) -> tuple[int, Any] | None:
    # With attributes of its own it has no kind.
    return None if vars(value) else named("odict", list(value.items()))


def _reduce_counter(value: Any) -> tuple[int, Any]:
    if vars(value):  # which its pickle omits
        raise EncodeFailure("a Counter with attributes cannot be sent: use a class of your own")
    return named("counter", dict(value))


EXACT: dict[type, Callable[[Any], tuple[int, Any] | None]] = {
    datetime.datetime: _reduce_datetime,
    datetime.date: lambda v: (p.TIME, (TIME_DATE, v.year, v.month, v.day)),
    datetime.time: _reduce_time,
    datetime.timedelta: lambda v: (p.TIME, (TIME_TIMEDELTA, v.days, v.seconds, v.microseconds)),
    datetime.timezone: _reduce_timezone,
    complex: lambda v: named("complex", v.real, v.imag),
    range: lambda v: named("range", v.start, v.stop, v.step),
    slice: lambda v: named("slice", v.start, v.stop, v.step),
    collections.OrderedDict: _reduce_odict,
    collections.Counter: _reduce_counter,
    collections.deque: lambda v: named("deque", list(v), v.maxlen),
    memoryview: lambda v: named("memoryview", *view_parts(v)),
    p.Whole: lambda v: (p.PICKLE, v.data),
}


def reduce_late(value: Any, kind: type) -> tuple[int, Any] | None:
    """Encode types of modules that are recognized by name, so that they are not imported."""
    module, name = kind.__module__, kind.__name__
    if type(module) is not str:  # a class may set it to anything
        return None
    if module == "decimal" and name == "Decimal":
        return p.DECIMAL, (str(value),)
    if module == "uuid" and name == "UUID":
        return _reduce_uuid(value)
    if module == "fractions" and name == "Fraction":
        return named("fraction", value.numerator, value.denominator)
    if module in ("zoneinfo", "zoneinfo._zoneinfo", "_zoneinfo") and name == "ZoneInfo":
        return _reduce_zoneinfo(value)
    if module.partition(".")[0] == "pathlib" and name in _PATHS:
        return named("path", name, str(value))
    if module == "array":
        return named("array", value.typecode, value.tobytes())
    return None


# --- decoding -------------------------------------------------------------------------------------


def _time(hour: Any, minute: Any, second: Any, us: Any, fold: Any, zone: Any) -> datetime.time:
    return datetime.time(hour, minute, second, us, zone, fold=fold)


def _datetime(
    year: Any,
    month: Any,
    day: Any,
    hour: Any,
    minute: Any,
    second: Any,
    us: Any,
    fold: Any,
    zone: Any,
) -> datetime.datetime:
    return datetime.datetime(year, month, day, hour, minute, second, us, zone, fold=fold)


def _timezone(offset: Any, name: Any) -> datetime.timezone:
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _zone(key: str) -> Any:
    if not _ZONE.fullmatch(key):
        raise DecodeFailure(f"invalid time zone name {key[:80]!r}")
    import zoneinfo

    return zoneinfo.ZoneInfo(key)


# datetime checks the types itself, and makes nothing larger than its arguments.
TIMES: dict[Any, Kind] = {
    TIME_DATE: Kind(None, SMALL, datetime.date),
    TIME_TIME: Kind(None, SMALL, _time),
    TIME_DATETIME: Kind(None, SMALL, _datetime),
    TIME_TIMEDELTA: Kind(None, SMALL, datetime.timedelta),
    TIME_TIMEZONE: Kind(None, SMALL, _timezone),
    # Cached by key; there are a few hundred keys.
    TIME_ZONEINFO: Kind((TEXT,), SMALL, _zone),
}


def _decimal(text: str) -> Any:
    import decimal

    return decimal.Decimal(text)


DECIMALS: dict[Any, Kind] = {1: Kind((TEXT,), lambda text: OBJECT + len(text), _decimal)}


def _complex(real: Any, imaginary: Any) -> complex:
    if not type(real) is type(imaginary) is float:
        raise DecodeFailure("invalid complex number")
    return complex(real, imaginary)


def _uuid(data: Any, safe: Any = None) -> Any:
    import uuid

    if type(data) is not bytes or type(safe) not in (int, type(None)):
        raise DecodeFailure("invalid UUID")
    return uuid.UUID(bytes=data, is_safe=uuid.SafeUUID(safe))


def _path(name: str, text: str) -> Any:
    import pathlib

    if name not in _PATHS:
        raise DecodeFailure(f"unknown kind of path {name[:80]!r}")
    return getattr(pathlib, name)(text)


def _fraction(numerator: int, denominator: int) -> Any:
    """Return the fraction, which must be in lowest terms: finding the gcd of long numbers takes time."""
    import fractions

    if denominator < 1:
        raise DecodeFailure("invalid denominator of a fraction")
    is_short = max(numerator.bit_length(), denominator.bit_length()) <= _CHECKED_BITS
    if is_short and math.gcd(numerator, denominator) != 1:
        raise DecodeFailure("fraction is not in lowest terms")
    kind: Any = fractions.Fraction
    if hasattr(kind, "_from_coprime_ints"):  # since Python 3.12
        return kind._from_coprime_ints(numerator, denominator)
    return kind(numerator, denominator, _normalize=False)


def _array(typecode: str, data: bytes) -> Any:
    import array

    return array.array(typecode, bytes(data))


def _ordered(read: p.Reader, pairs: list[Any]) -> Any:
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise DecodeFailure("an OrderedDict holds an item that is not a pair")
    read.charge.keys([key for key, _ in pairs])
    return collections.OrderedDict(pairs)


def _view(format_: str, shape: tuple[Any, ...], data: bytes | bytearray) -> memoryview:
    if any(type(n) is not int for n in shape):
        raise DecodeFailure("invalid memoryview shape")
    made = view_of(format_, shape, data)
    if made.format != format_ or made.shape != shape or made.nbytes != len(data):
        raise DecodeFailure("memoryview size does not match its format and shape")
    return made


def _deque(items: list[Any], most: int | None) -> Any:
    return collections.deque(items, most)


KINDS: dict[Any, Kind] = {
    "complex": Kind(None, SMALL, _complex),
    "uuid": Kind(None, SMALL, _uuid),
    "range": Kind((INT,) * 3, SMALL, range),
    "slice": Kind((ANY,) * 3, SMALL, slice),
    "odict": Kind((LIST,), lambda pairs: 4 * OBJECT + 3 * PAIR * len(pairs), _ordered, reads=True),
    "counter": Kind((DICT,), lambda counts: 4 * OBJECT + PAIR * len(counts), collections.Counter),
    "deque": Kind(
        (LIST, p.optional(INT)), lambda items, _: 8 * OBJECT + 2 * SLOT * len(items), _deque
    ),
    "memoryview": Kind(
        (TEXT, TUPLE, BYTES), lambda _, shape, __: 3 * OBJECT + 3 * SLOT * len(shape), _view
    ),
    # Up to one part of the path for every two characters.
    "path": Kind((TEXT, TEXT), lambda _, text: 8 * OBJECT + 40 * len(text), _path),
    "fraction": Kind((INT, INT), SMALL, _fraction),
    "array": Kind((TEXT, BYTES), lambda _, data: 2 * OBJECT + 2 * len(data), _array),
}
