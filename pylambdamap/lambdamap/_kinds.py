"""As what rare types travel: the part of the wire format that is not worth C.

The native codec asks `reduce` for every value that it does not know, and `restore` for every
extension that `reduce` has named. docs/wire-format.md lists the payloads. A payload is made of
values that the codec knows, or that come back here.

Restoring imports nothing but the standard library's own types: numpy, pandas and named classes must
be loaded already, or come through the worker's ``resolve``.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

from lambdamap._codec import DecodeFailure, EncodeFailure
from lambdamap._names import is_main

__all__ = [
    "Resolve",
    "frame_shape",
    "frame_snapshot",
    "frames_reduce",
    "loaded",
    "pack_values",
    "reduce",
    "restore",
    "restore_frame",
]  # fmt: skip

_TUPLE, _TIME, _ARRAY, _DECIMAL, _NAMED, _PANDAS, _NUMPY, _BUFFER, _FRAMES, _PICKLE = (
    3, 4, 5, 6, 10, 11, 12, 13, 14, 127,
)  # fmt: skip
_MANY_TEXTS = 64  # from here on, few different ones are looked for
_VALUE = 0  # not an extension: the payload is another value that stands for this one

Resolve = Callable[[str, str], Any]


class _Buffer:
    """An array's items, in this machine's byte order; a bytearray of them when they come back."""

    __slots__ = ("buffer", "items", "size")

    def __init__(self, buffer: Any, items: int, size: int) -> None:
        self.buffer = buffer
        self.items = items  # 0 bytes, 1 integers with a sign, 2 without, 3 doubles
        self.size = size


# --- names ----------------------------------------------------------------------------------------


def loaded(name: str, resolve: Resolve | None) -> Any:
    module = sys.modules.get(name)
    if module is None:
        if resolve is None:
            raise DecodeFailure(
                f"it holds data of {name}, which is not imported here: import it first"
            )
        module = importlib.import_module(name)
    return module


def _find(module: str, qualname: str, resolve: Resolve | None) -> Any:
    if resolve is not None:
        return resolve(module, qualname)
    found: Any = sys.modules.get(module)
    if found is None:
        raise DecodeFailure(
            f"it names {module}:{qualname}, and {module} is not imported here: import it first"
        )
    for part in qualname.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise DecodeFailure(f"it names {module}:{qualname}, which is not callable")
    return found


def has_name(value: Any) -> bool:
    """Whether sys.modules leads to this very object, outside of ``__main__``."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or is_main(module):
        return False
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    # A class's method is made anew each time that it is looked up.
    return found is value or (isinstance(value, types.MethodType) and found == value)


# --- the standard library -------------------------------------------------------------------------


def _reduce_datetime(value: datetime.datetime) -> tuple[int, Any]:
    return _TIME, (
        2, value.year, value.month, value.day, value.hour, value.minute, value.second,
        value.microsecond, value.fold, value.tzinfo,
    )  # fmt: skip


def _reduce_time(value: datetime.time) -> tuple[int, Any]:
    return _TIME, (
        1,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
        value.tzinfo,
    )


def _reduce_timezone(value: datetime.timezone) -> tuple[int, Any]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return _TIME, (4, offset, name[0] if name else None)


def _reduce_zoneinfo(value: Any) -> tuple[int, Any]:
    if value.key is None:
        raise EncodeFailure("a ZoneInfo that was read from a file has no key to travel by")
    return _TIME, (5, value.key)


def _restore_time(kind: Any, *parts: Any) -> Any:
    if kind == 0:
        return datetime.date(*parts)
    if kind == 1:
        hour, minute, second, microsecond, fold, zone = parts
        return datetime.time(hour, minute, second, microsecond, zone, fold=fold)
    if kind == 2:
        year, month, day, hour, minute, second, microsecond, fold, zone = parts
        return datetime.datetime(
            year, month, day, hour, minute, second, microsecond, zone, fold=fold
        )
    if kind == 3:
        return datetime.timedelta(*parts)
    if kind == 4:
        offset, name = parts
        return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)
    if kind == 5:
        import zoneinfo

        return zoneinfo.ZoneInfo(*parts)
    raise DecodeFailure(f"it holds a time of unknown kind {kind!r}")


def _named(tag: str, *parts: Any) -> tuple[int, Any]:
    return _NAMED, (tag, *parts)


def _reduce_defaultdict(value: Any) -> tuple[int, Any]:
    return _named("defaultdict", value.default_factory, dict(value))


def _is_plain_class(kind: type) -> bool:
    """Whether instances are rebuilt from their parts as pickle would: no say of their own."""
    own = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__")
    return all(getattr(kind, name, None) is getattr(object, name, None) for name in own)


def _reduce_by_shape(value: Any) -> tuple[int, Any] | None:
    """Enums, named tuples and dataclasses: what a class statement makes."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return _named("enum", kind, value.name) if value.name in kind.__members__ else None
    if isinstance(value, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        if "__dict__" in dir(value) and vars(value):
            return None
        return _named("namedtuple", kind, tuple(value))
    if dataclasses.is_dataclass(value) and _is_plain_class(kind):
        names = [field.name for field in dataclasses.fields(value)]
        if isinstance(value, (dict, list, set, str, int, float, bytes)):
            return None
        if hasattr(value, "__dict__") and set(vars(value)) - set(names):
            return None
        if all(hasattr(value, name) for name in names):
            return _named("dataclass", kind, {name: getattr(value, name) for name in names})
    return None


def _reduce_exception(value: BaseException) -> tuple[int, Any] | None:
    from lambdamap import _exceptions

    nodes = _exceptions.reduce(value)
    return None if nodes is None else _named("exception", *nodes)


def _reduce_name(value: Any) -> tuple[int, Any] | None:
    if (
        isinstance(value, functools.partial)
        and type(value) is functools.partial
        and not vars(value)
    ):
        return _named("partial", value.func, value.args, dict(value.keywords))
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)) and has_name(value):
        return _named("name", value.__module__, value.__qualname__)
    if callable(value) and not isinstance(value, type) and has_name(value):
        return _named(
            "name", value.__module__, value.__qualname__
        )  # numpy.ufunc, decorated functions
    return None


_NAMED_BUILDERS: dict[str, Callable[..., Any]] = {
    "complex": complex,
    "range": range,
    "slice": slice,
    "odict": lambda pairs: collections.OrderedDict(pairs),
    "counter": lambda counts: collections.Counter(counts),
    "deque": lambda items, maxlen: collections.deque(items, maxlen),
}


def _restore_named(resolve: Resolve | None, tag: Any, *parts: Any) -> Any:
    if tag == "name":
        return _find(parts[0], parts[1], resolve)
    if tag in _NAMED_BUILDERS:
        return _NAMED_BUILDERS[tag](*parts)
    if tag == "uuid":
        import uuid

        return uuid.UUID(bytes=parts[0])
    if tag == "path":
        import pathlib

        if parts[0] not in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
            raise DecodeFailure(f"it holds a path of unknown kind {parts[0]!r}")
        return getattr(pathlib, parts[0])(parts[1])
    if tag == "fraction":
        import fractions

        return fractions.Fraction(*parts)
    if tag == "array":
        import array

        return array.array(parts[0], bytes(parts[1]))
    if tag == "partial":
        return functools.partial(parts[0], *parts[1], **parts[2])
    if tag == "defaultdict":
        factory, items = parts
        if factory is not None and not callable(factory):
            raise DecodeFailure("it holds a defaultdict whose factory is not callable")
        return collections.defaultdict(factory, items)
    if tag == "exception":
        from lambdamap import _exceptions

        return _exceptions.restore(lambda m, q: _find(m, q, resolve), parts)
    if tag in ("enum", "namedtuple", "dataclass"):
        return _restore_shape(tag, *parts)
    raise DecodeFailure(f"it holds a named value of unknown kind {tag!r}")


def _restore_shape(tag: str, kind: Any, content: Any) -> Any:
    if not isinstance(kind, type):
        raise DecodeFailure(f"it holds a {tag} of something that is no class")
    if tag == "enum" and issubclass(kind, enum.Enum):
        return kind[content]
    if tag == "namedtuple" and issubclass(kind, tuple) and len(content) == len(kind._fields):  # type: ignore[attr-defined]
        return tuple.__new__(kind, content)
    if tag == "dataclass" and dataclasses.is_dataclass(kind):
        made = object.__new__(kind)
        names = {field.name for field in dataclasses.fields(kind)}
        if set(content) != names:
            raise DecodeFailure(f"the fields of {kind.__qualname__} differ between the two sides")
        for name, value in content.items():
            object.__setattr__(made, name, value)
        return made
    raise DecodeFailure(f"{kind.__module__}:{kind.__qualname__} is no {tag} here")


# --- numpy ----------------------------------------------------------------------------------------


def _descr(dtype: Any) -> Any:
    return sys.modules["numpy"].lib.format.dtype_to_descr(dtype)


def _dtype(numpy: Any, descr: Any) -> Any:
    return numpy.lib.format.descr_to_dtype(descr)


def _reduce_array(value: Any) -> tuple[int, Any]:
    if value.dtype.hasobject:
        if value.dtype.kind != "O":
            raise EncodeFailure("a structured array that holds objects: pass allow_pickle=True")
        return _ARRAY, ("O", tuple(value.shape), value.ravel().tolist())
    flags = value.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    return _ARRAY, (_descr(value.dtype), tuple(value.shape), order, _items_of(value, order))


def _items_of(value: Any, order: str) -> _Buffer:
    """The items of an array, its own memory where they lie there in order."""
    numpy = sys.modules["numpy"]
    dtype = value.dtype
    flat = (value.T if order == "F" else value).reshape(-1)
    if not flat.flags.c_contiguous or not flat.flags.aligned:
        flat = numpy.array(flat, order="C")
    if dtype.itemsize == 0 or flat.size == 0:
        return _Buffer(b"", 0, 1)
    if dtype.isnative and dtype.itemsize in (1, 2, 4, 8):
        if dtype.kind in "iumMb":
            kind = "u" if dtype.kind in "ub" else "i"
            return _Buffer(flat.view(f"{kind}{dtype.itemsize}"), 1 + (kind == "u"), dtype.itemsize)
        if dtype.kind == "f" and dtype.itemsize == 8:
            return _Buffer(flat, 3, 8)
    return _Buffer(flat.view("u1"), 0, 1)


def _restore_array(resolve: Resolve | None, descr: Any, shape: Any, *rest: Any) -> Any:
    numpy = loaded("numpy", resolve)
    if descr == "O":
        flat = numpy.empty(len(rest[0]), object)
        flat[:] = rest[0]
        return flat.reshape(shape)
    order, data = rest
    dtype = _dtype(numpy, descr)
    if dtype.hasobject:
        raise DecodeFailure("an array says that its bytes are objects")
    if not data:
        return numpy.empty(shape, dtype)
    return numpy.frombuffer(data, dtype).reshape(shape, order=order)


def _reduce_scalar(value: Any) -> tuple[int, Any]:
    if value.dtype.hasobject:
        raise EncodeFailure("a numpy scalar that holds objects: pass allow_pickle=True")
    return _NUMPY, (_descr(value.dtype), value.tobytes())


def _restore_scalar(resolve: Resolve | None, descr: Any, data: Any) -> Any:
    numpy = loaded("numpy", resolve)
    dtype = _dtype(numpy, descr)
    if dtype.hasobject:
        raise DecodeFailure("a numpy scalar says that its bytes are objects")
    if dtype.itemsize == 0:
        return dtype.type()
    if len(data) != dtype.itemsize:
        raise DecodeFailure("a numpy scalar of another size than its type")
    # A copy: a structured scalar would keep the read-only bytes.
    return numpy.frombuffer(bytearray(data), dtype)[0]


def _reduce_numpy(value: Any, kind: type) -> tuple[int, Any] | None:
    numpy = sys.modules["numpy"]
    if kind is numpy.ndarray:
        return _reduce_array(value)
    if isinstance(value, numpy.generic) and kind.__module__ == "numpy":
        return _reduce_scalar(value)
    if isinstance(value, numpy.dtype):
        if value.hasobject and value.kind != "O":
            return None
        return _NUMPY, (_descr(value) if value.kind != "O" else "O",)
    return None


# --- pandas ---------------------------------------------------------------------------------------


def pack_values(pandas: Any, values: Any) -> tuple[Any, ...] | None:
    """A column's array in parts that travel; None: there is no kind for it."""
    numpy = sys.modules["numpy"]
    dtype = values.dtype
    if isinstance(values, numpy.ndarray):
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
    if (
        hasattr(values, "_data")
        and hasattr(values, "_mask")
        and isinstance(values._mask, numpy.ndarray)
    ):
        return ("mask", str(dtype), values._data, values._mask)
    if type(values).__name__ == "NumpyExtensionArray":
        return ("np", values.to_numpy())
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


def _unpack_values(pandas: Any, parts: Any) -> Any:
    tag, *rest = parts
    if tag == "np":
        return rest[0]
    if tag == "nan":
        rest[0][pandas.isna(rest[0])] = float("nan")
        return rest[0]
    if tag == "take":
        return _unpack_values(pandas, rest[0]).take(rest[1], allow_fill=True)
    if tag == "cat":
        codes, categories, ordered = rest
        return pandas.Categorical.from_codes(
            codes, dtype=pandas.CategoricalDtype(categories, ordered=ordered)
        )
    if tag == "tz":
        return pandas.DatetimeIndex(rest[0]).tz_localize("UTC").tz_convert(rest[1]).array
    if tag == "interval":
        return pandas.arrays.IntervalArray.from_arrays(*rest)
    if tag == "period":
        return pandas.PeriodIndex.from_ordinals(rest[0], freq=rest[1]).array
    if tag == "str":
        storage, is_na, texts = rest
        if is_na:
            dtype = pandas.StringDtype(storage)
        else:
            dtype = pandas.StringDtype(storage, na_value=float("nan"))
        return pandas.array(texts, dtype=dtype)
    if tag == "mask":
        name, data, mask = rest
        made = pandas.array(_zeros(len(data), name, pandas), dtype=name)
        made._data[:], made._mask[:] = data, mask
        return made
    raise DecodeFailure(f"it holds a pandas column of unknown kind {tag!r}")


def _zeros(n: int, name: str, pandas: Any) -> Any:
    """Something that `pandas.array` makes a masked array of that dtype of, without a missing item."""
    numpy = sys.modules["numpy"]
    return numpy.zeros(
        n, bool if name == "boolean" else pandas.api.types.pandas_dtype(name).numpy_dtype
    )


def _reduce_index(pandas: Any, index: Any) -> tuple[int, Any] | None:
    if type(index) is pandas.RangeIndex:
        return _PANDAS, ("range", index.start, index.stop, index.step, index.name)
    if type(index) is pandas.MultiIndex:
        return _PANDAS, ("multi", list(index.levels), list(index.codes), list(index.names))
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
    frequency = None if packed[0] == "period" else getattr(index, "freq", None)
    text = None if frequency is None else frequency.freqstr
    return _PANDAS, ("index", packed, index.name, text)


def _restore_index(pandas: Any, packed: Any, name: Any, frequency: Any) -> Any:
    values = _unpack_values(pandas, packed)
    if isinstance(values, sys.modules["numpy"].ndarray) and values.dtype.kind == "O":
        index = pandas.Index(values, dtype=object, name=name)
    else:
        index = pandas.Index(values, name=name)
    if frequency is not None:
        index = type(index)(index, freq=frequency)
    return index


def _reduce_pandas(value: Any, kind: type) -> tuple[int, Any] | None:
    pandas = sys.modules["pandas"]
    if value is pandas.NaT:
        return _PANDAS, ("NaT",)
    if value is pandas.NA:
        return _PANDAS, ("NA",)
    if kind is pandas.Timestamp:
        return _PANDAS, ("timestamp", value.to_datetime64(), value.tz)
    if kind is pandas.Timedelta:
        return _PANDAS, ("timedelta", value.to_timedelta64())
    if kind is pandas.Interval:
        return _PANDAS, ("interval", value.left, value.right, value.closed)
    if kind is pandas.Period:
        return _PANDAS, ("period", value.ordinal, value.freqstr)
    if isinstance(value, pandas.Index):
        return _reduce_index(pandas, value)
    if kind is pandas.Series:
        packed = pack_values(pandas, value.array)
        return packed and (_PANDAS, ("series", packed, value.index, value.name, dict(value.attrs)))
    if kind is pandas.DataFrame:
        columns = [pack_values(pandas, value.iloc[:, i].array) for i in range(value.shape[1])]
        if None in columns:
            return None
        return _PANDAS, ("frame", columns, value.columns, value.index, dict(value.attrs))
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        packed = pack_values(pandas, value)
        return packed and (_PANDAS, ("array", packed))
    if kind is pandas.CategoricalDtype:
        return _PANDAS, ("catdtype", value.categories, value.ordered)
    return None


def _restore_pandas(resolve: Resolve | None, tag: Any, *parts: Any) -> Any:
    pandas = loaded("pandas", resolve)
    if tag == "NaT":
        return pandas.NaT
    if tag == "NA":
        return pandas.NA
    if tag == "timestamp":
        stamp = pandas.Timestamp(parts[0])
        return stamp if parts[1] is None else stamp.tz_localize("UTC").tz_convert(parts[1])
    if tag == "timedelta":
        return pandas.Timedelta(parts[0])
    if tag == "interval":
        return pandas.Interval(*parts)
    if tag == "period":
        return pandas.Period(ordinal=parts[0], freq=parts[1])
    if tag == "range":
        start, stop, step, name = parts
        return pandas.RangeIndex(start, stop, step, name=name)
    if tag == "multi":
        levels, codes, names = parts
        return pandas.MultiIndex(levels=levels, codes=codes, names=names)
    if tag == "index":
        return _restore_index(pandas, *parts)
    if tag == "series":
        packed, index, name, attributes = parts
        values = _unpack_values(pandas, packed)
        made = pandas.Series(values, index=index, name=name, dtype=_kept(values), copy=False)
        made.attrs.update(attributes)
        return made
    if tag == "frame":
        return restore_frame(pandas, *parts)
    if tag == "array":
        values = _unpack_values(pandas, parts[0])
        if isinstance(values, sys.modules["numpy"].ndarray):
            return pandas.array(values)
        return values
    if tag == "catdtype":
        return pandas.CategoricalDtype(*parts)
    raise DecodeFailure(f"it holds pandas data of unknown kind {tag!r}")


def _kept(values: Any) -> type | None:
    """The dtype to ask for: pandas makes texts of a plain array of objects unless told not to."""
    plain = isinstance(values, sys.modules["numpy"].ndarray)
    return object if plain and values.dtype.kind == "O" else None


def restore_frame(
    pandas: Any, packed: Any, columns: Any, index: Any, attributes: dict[Any, Any]
) -> Any:
    series = {}
    for position, parts in enumerate(packed):
        values = _unpack_values(pandas, parts)
        series[position] = pandas.Series(values, index=index, dtype=_kept(values), copy=False)
    made = pandas.DataFrame(series, index=index)
    made.columns = columns
    made.attrs.update(attributes)
    return made


# --- the two entries ------------------------------------------------------------------------------


def _reduce_late(value: Any, kind: type) -> tuple[int, Any] | None:
    """Types of modules that are looked up by name, so that nothing is imported for them."""
    if kind.__module__ == "decimal" and kind.__name__ == "Decimal":
        return _DECIMAL, (str(value),)
    if kind.__module__ == "uuid" and kind.__name__ == "UUID":
        return _named("uuid", value.bytes)
    if kind.__module__ == "fractions" and kind.__name__ == "Fraction":
        return _named("fraction", value.numerator, value.denominator)
    if (
        kind.__module__ in ("zoneinfo", "zoneinfo._zoneinfo", "_zoneinfo")
        and kind.__name__ == "ZoneInfo"
    ):
        return _reduce_zoneinfo(value)
    if kind.__module__.partition(".")[0] == "pathlib" and kind.__name__ in (
        "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath",
    ):  # fmt: skip
        return _named("path", kind.__name__, str(value))
    if kind.__module__ == "array":
        return _named("array", value.typecode, value.tobytes())
    return None


_EXACT: dict[type, Callable[[Any], tuple[int, Any]]] = {
    _Buffer: lambda v: (_BUFFER, (v.buffer, v.items, v.size)),
    datetime.datetime: _reduce_datetime,
    datetime.date: lambda v: (_TIME, (0, v.year, v.month, v.day)),
    datetime.time: _reduce_time,
    datetime.timedelta: lambda v: (_TIME, (3, v.days, v.seconds, v.microseconds)),
    datetime.timezone: _reduce_timezone,
    complex: lambda v: _named("complex", v.real, v.imag),
    range: lambda v: _named("range", v.start, v.stop, v.step),
    slice: lambda v: _named("slice", v.start, v.stop, v.step),
    collections.OrderedDict: lambda v: _named("odict", list(v.items())),
    collections.Counter: lambda v: _named("counter", dict(v)),
    collections.defaultdict: _reduce_defaultdict,
    collections.deque: lambda v: _named("deque", list(v), v.maxlen),
}

_NEVER = {  # not even pickled
    types.GeneratorType: "make it a list",
    types.CoroutineType: "await it, or call asyncio.run() with it, and take what it gives",
    types.AsyncGeneratorType: "make it a list",
}


def reduce(value: Any, allow_pickle: bool) -> tuple[int, Any]:
    """The extension and payload for a value that the native codec does not know.

    Raises
    ------
    EncodeFailure
        There is none, and pickling is not allowed or fails.
    """
    kind = type(value)
    exact = _EXACT.get(kind)
    if exact is not None:
        return exact(value)
    found = None
    if "numpy" in sys.modules:
        found = _reduce_numpy(value, kind)
    if found is None and "pandas" in sys.modules:
        found = _reduce_pandas(value, kind)
    if found is None:
        found = _reduce_late(value, kind)
    if found is None and issubclass(kind, BaseException):
        found = _reduce_exception(value)
    elif found is None:
        found = _reduce_by_shape(value)
    if found is None:
        found = _reduce_name(value)
    if found is not None:
        return found
    if kind in _NEVER:
        raise EncodeFailure(f"a {kind.__name__} cannot be sent: {_NEVER[kind]}")
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not allow_pickle:
        raise EncodeFailure(
            f"{name} has no form of its own on the wire: pass plain data, numpy or pandas, or "
            "allow_pickle=True to pickle it"
        )
    try:
        from lambdamap import _pickles

        return _PICKLE, _pickles.dumps(value)
    except Exception as error:
        raise EncodeFailure(
            f"{name} cannot be pickled ({type(error).__name__}: {error})"
        ) from error


def frame_shape(frame: Any) -> Any:
    """The native codec's way to `_frames`, which is imported with the first frame."""
    from lambdamap import _frames

    return _frames.shape(frame)


def frame_snapshot(shape: Any, frame: Any, copy: bool) -> Any:
    from lambdamap import _frames

    return _frames.snapshot(shape, frame, copy)


def frames_reduce(shape: Any, snapshots: list[Any]) -> tuple[Any, ...]:
    from lambdamap import _frames

    return _frames.reduce(shape, snapshots)


def restore(ext: int, payload: Any, resolve: Resolve | None) -> Any:
    """The value of an extension that `reduce` made."""
    if ext == _TIME:
        return _restore_time(*payload)
    if ext == _NAMED:
        return _restore_named(resolve, *payload)
    if ext == _ARRAY:
        return _restore_array(resolve, *payload)
    if ext == _NUMPY:
        if len(payload) == 1:
            numpy = loaded("numpy", resolve)
            return numpy.dtype(object) if payload[0] == "O" else _dtype(numpy, payload[0])
        return _restore_scalar(resolve, *payload)
    if ext == _PANDAS:
        return _restore_pandas(resolve, *payload)
    if ext == _FRAMES:
        from lambdamap import _frames

        return _frames.restore(resolve, payload)
    if ext == _DECIMAL:
        import decimal

        (text,) = payload
        return decimal.Decimal(text)
    if ext == _PICKLE:
        import pickle

        return pickle.loads(payload)
    raise DecodeFailure(f"it holds extension type {ext}, which this side does not know")
