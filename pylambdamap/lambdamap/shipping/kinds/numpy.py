"""numpy: arrays, scalars and dtypes. The size of an array must match its shape."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from lambdamap._codec import DecodeFailure
from lambdamap.shipping import lookup
from lambdamap.shipping.kinds import parts as p
from lambdamap.shipping.kinds.parts import (
    ANY,
    BYTES,
    LIST,
    OBJECT,
    SLOT,
    SMALL,
    TEXT,
    TUPLE,
    Kind,
    Reader,
)

__all__ = ["ARRAYS", "NUMBERS", "SCALARS", "reduce", "why_none"]

NUMBERS: Final = "biufc"  # dtype.kind of numbers

# A dtype without fields: numpy's text, with two additions. `q` is C's long long if that is not the same
# type as int64; a long double states the bits of its fraction.
_SIMPLE: Final = re.compile(
    r"[<>|](?:b1|[iufc]\d{1,2}|[SUV]\d{1,10}|[mM]8(?:\[\d{0,9}(?:[YMWDhms]|ms|us|ns|ps|fs|as)\])?|[qQ])|O"
)
_LONG: Final = re.compile(r"([<>](?:f(?:12|16)|c(?:24|32))):(\d{2,3})")
_RECORDS: Final = "recarray"
_FIELD_BYTES: Final = 1250  # bytes of a field of a dtype, with its dtype and names, on Python 3.13
_DTYPE_BYTES: Final = 500
_MAX_DIMS: Final = 64


# --- encoding -------------------------------------------------------------------------------------


class _Unsupported(Exception):
    """A dtype that has no description."""


@functools.lru_cache(256)
def _of_text(numpy: Any, text: str) -> Any:
    """Return the dtype without fields that a text describes; None: the text is not valid here."""
    if _SIMPLE.fullmatch(text):
        return numpy.dtype(text)
    long = _LONG.fullmatch(text)
    return numpy.dtype(long[1]) if long and int(long[2]) == _fraction_bits(numpy) else None


def _fraction_bits(numpy: Any) -> int:
    """Return the bits of a long double's fraction: x87's and IEEE's formats have the same name."""
    return int(numpy.finfo(numpy.longdouble).nmant)


def _text_of(dtype: Any) -> str:
    """Return the text of a dtype without fields, from which exactly the same dtype is made."""
    if dtype.kind == "O":
        return "O"
    text: str = dtype.str
    if dtype.isbuiltin == 1 and dtype.char in "?bhilBHILefdFD":
        return text
    numpy = sys.modules["numpy"]
    if dtype.char in "qQ" and numpy.dtype(text).char != dtype.char:
        text = text[0] + dtype.char
    elif dtype.char in "gG":
        text += f":{_fraction_bits(numpy)}"
    again = _of_text(numpy, text)
    if again is None or (again.num, again.type) != (dtype.num, dtype.type):  # from another library
        raise _Unsupported
    return text


def _fields(dtype: Any) -> Any:
    """Return the description of a dtype with fields."""
    if not dtype.names and dtype.itemsize == 0:
        return []
    found = [dtype.fields[name] for name in dtype.names]
    formats = [_descr(field) for field, *_ in found]
    offsets = [int(offset) for _, offset, *_ in found]
    titles = [title[0] if title else None for _, _, *title in found]
    if not all(title is None or type(title) is str for title in titles):
        raise _Unsupported
    ends = [offset + field.itemsize for field, offset, *_ in found]
    if (
        not dtype.isalignedstruct
        and dtype.names
        and offsets == [0, *ends[:-1]]
        and ends[-1] == dtype.itemsize
        and all(dtype.names)
    ):
        return [
            (name if title is None else (title, name), descr)
            for name, title, descr in zip(dtype.names, titles, formats, strict=True)
        ]
    names = list(dtype.names)
    return ("fields", names, formats, offsets, titles, dtype.itemsize, dtype.isalignedstruct)


def _descr(dtype: Any) -> Any:
    """Describe a dtype so that exactly the same one can be made: numpy's `==` ignores some differences.

    Raises
    ------
    _Unsupported
        There is no such description.
    """
    if dtype.metadata is None:
        return _bare(dtype)
    return ("metadata", _bare(dtype), dict(dtype.metadata))


def _bare(dtype: Any) -> Any:
    numpy = sys.modules["numpy"]
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("subarray", _descr(base), tuple(shape))
    if dtype.names is None:
        return _text_of(dtype)
    if dtype.type is numpy.record:
        return ("record", _fields(dtype))
    if dtype.type is not numpy.void:
        raise _Unsupported
    return _fields(dtype)


def _reduce_array(value: Any, *kind: str) -> tuple[int, Any] | None:
    dtype = value.dtype
    if dtype.hasobject and dtype.kind != "O":
        return None
    is_turned = value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous
    order = "F" if is_turned else "C"
    items: Any
    if dtype.kind == "O":
        items = (value.T if is_turned else value).reshape(-1).tolist()
    else:
        items = _items_of(value, order)
    return p.ARRAY, (_descr(dtype), tuple(value.shape), order, items, *kind)


def _items_of(value: Any, order: str) -> p.Buffer:
    """Return the items of an array: its own memory if they are in order there."""
    numpy = sys.modules["numpy"]
    dtype = value.dtype
    items = value.T if order == "F" else value
    if not items.flags.c_contiguous or not items.flags.aligned:
        # Zeros, because numpy's own copy leaves uninitialized memory between the fields.
        packed = numpy.zeros(items.shape, dtype)
        packed[...] = items
        items = packed
    flat = items.reshape(-1)
    if dtype.itemsize == 0 or flat.size == 0:
        return p.Buffer(b"", 0, 1)
    if dtype.isnative and dtype.itemsize in (1, 2, 4, 8):
        if dtype.kind in "iumMb":
            kind = "u" if dtype.kind in "ub" else "i"
            return p.Buffer(flat.view(f"{kind}{dtype.itemsize}"), 1 + (kind == "u"), dtype.itemsize)
        if dtype.kind == "f" and dtype.itemsize == 8:
            return p.Buffer(flat, 3, 8)
    return p.Buffer(flat.view("u1"), 0, 1)


def _reduce(value: Any, kind: type) -> tuple[int, Any] | None:
    numpy = sys.modules["numpy"]
    if kind is numpy.ndarray:
        return _reduce_array(value)
    if isinstance(value, numpy.generic):
        dtype = value.dtype
        if dtype.type is not kind or dtype.hasobject:
            return None
        return p.NUMPY, (_descr(dtype), value.tobytes()[: dtype.itemsize])
    if isinstance(value, numpy.dtype):
        return p.NUMPY, (_descr(value),)
    if kind is numpy.recarray and value.dtype.type is numpy.record and not lookup.own_dict(value):
        return _reduce_array(value.view(numpy.ndarray), _RECORDS)
    return None


def reduce(value: Any, kind: type) -> tuple[int, Any] | None:
    try:
        return _reduce(value, kind)
    except _Unsupported:
        return None


def why_none(value: Any, kind: type) -> str | None:
    """Return why `reduce` has no kind for a value of numpy, and what to send; None: not of numpy."""
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ndarray) and kind is not numpy.ndarray:
        return "needs pickle: pass numpy.asarray() of it"
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        return (
            f"of dtype {value.dtype} needs pickle: pass numbers, strings, bytes, dates, or an array of "
            "dtype object"
        )
    return None


# --- decoding -------------------------------------------------------------------------------------


def _built(read: Reader, descr: Any) -> Any:
    """Return the dtype of a description."""
    numpy = read.names.module("numpy")
    if type(descr) is str:
        if (made := _of_text(numpy, descr)) is not None:
            return made
        if _LONG.fullmatch(descr):
            raise DecodeFailure("long double of another platform")
    elif type(descr) is list:
        read.charge(_FIELD_BYTES * len(descr))
        return numpy.dtype([_field(read, field) for field in descr])
    elif type(descr) is tuple and descr and type(descr[0]) is str and descr[0] in _BUILDERS:
        read.charge(_DTYPE_BYTES)
        return _BUILDERS[descr[0]](read, *descr[1:])
    shown = descr[:80] if type(descr) is str else f"a {type(descr).__name__}"
    raise DecodeFailure(f"invalid dtype: {shown}")


def _field(read: Reader, field: Any) -> tuple[Any, Any]:
    if type(field) is not tuple or len(field) != 2:
        raise DecodeFailure("invalid field of a dtype")
    name, descr = field
    names = name if type(name) is tuple and len(name) == 2 else (name,)
    if not all(type(part) is str and part for part in names):
        raise DecodeFailure("dtype field without a name")
    return name, _built(read, descr)


def _subarray(read: Reader, descr: Any, shape: Any) -> Any:
    return read.names.module("numpy").dtype((_built(read, descr), _checked_shape(shape)))


def _record(read: Reader, descr: Any) -> Any:
    numpy = read.names.module("numpy")
    made = _built(read, descr)
    if made.names is None or made.type is not numpy.void:
        raise DecodeFailure("record dtype without fields")
    return numpy.dtype((numpy.record, made))


def _with_metadata(read: Reader, descr: Any, metadata: Any) -> Any:
    if type(metadata) is not dict:
        raise DecodeFailure("dtype metadata is not a dict")
    # numpy keeps a copy.
    read.charge(2 * OBJECT + p.PAIR * len(metadata))
    return read.names.module("numpy").dtype(_built(read, descr), metadata=metadata)


def _placed(
    read: Reader, names: Any, formats: Any, offsets: Any, titles: Any, itemsize: Any, aligned: Any
) -> Any:
    """Return a dtype whose fields are at explicit offsets."""
    lists = (names, formats, offsets, titles)
    if not all(type(part) is list and len(part) == len(names) for part in lists):
        raise DecodeFailure("a dtype's names, formats, offsets and titles differ in number")
    if type(itemsize) is not int or type(aligned) is not bool:
        raise DecodeFailure("invalid size or alignment of a dtype")
    read.charge(_FIELD_BYTES * len(names))
    if not (
        all(type(name) is str for name in names)
        and all(type(offset) is int for offset in offsets)
        and all(title is None or type(title) is str for title in titles)
    ):
        raise DecodeFailure("invalid field of a dtype")
    made = [_built(read, descr) for descr in formats]
    parts = {"names": names, "formats": made, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        parts["titles"] = titles
    return read.names.module("numpy").dtype(parts, align=aligned)


_BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    "subarray": _subarray, "record": _record, "metadata": _with_metadata, "fields": _placed,
}  # fmt: skip


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > _MAX_DIMS:
        raise DecodeFailure("invalid array shape")
    for n in shape:
        if type(n) is not int or not 0 <= n < 2**63:
            raise DecodeFailure("invalid length in an array shape")
    return shape


def _dtype_of(read: Reader, descr: Any) -> Any:
    """Return the dtype of items that were sent as bytes."""
    dtype = _built(read, descr)
    if dtype.hasobject:
        raise DecodeFailure("bytes with a dtype of objects")
    return dtype


def _empty(read: Reader, dtype: Any, shape: tuple[int, ...], order: str = "C") -> Any:
    """Return an array without bytes."""
    # numpy allocates for texts of length 0, and the bytes of one item for no items.
    read.charge(SLOT * math.prod(shape) + dtype.itemsize)
    return read.names.module("numpy").zeros(shape, dtype, order)


def _array(read: Reader, descr: Any, shape: Any, order: str, data: Any) -> Any:
    if order not in ("C", "F"):
        raise DecodeFailure("invalid array order")
    if type(data) is list:
        return _objects(read, descr, shape, order, data)
    dtype = _dtype_of(read, descr)
    if math.prod(_checked_shape(shape)) * dtype.itemsize != len(data):
        raise DecodeFailure("array size does not match its shape")
    if not data:
        return _empty(read, dtype, shape, order)
    if type(data) is bytes:
        data = bytearray(data)  # writable
    return read.names.module("numpy").frombuffer(data, dtype).reshape(shape, order=order)


def _objects(read: Reader, descr: Any, shape: Any, order: str, items: list[Any]) -> Any:
    dtype = _built(read, descr)
    if dtype.kind != "O" or math.prod(_checked_shape(shape)) != len(items):
        raise DecodeFailure("number of objects does not match the shape of the array")
    # Not numpy.array(), which would look into items that are lists.
    made = read.names.module("numpy").fromiter(items, dtype, len(items))
    return made.reshape(shape, order=order) if len(shape) != 1 else made


def _recarray(read: Reader, descr: Any, shape: Any, order: str, data: Any, kind: str) -> Any:
    numpy = read.names.module("numpy")
    made = _array(read, descr, shape, order, data)
    if kind != _RECORDS or made.dtype.type is not numpy.record:
        raise DecodeFailure(f"unknown kind of array {kind[:80]!r}")
    return made.view(numpy.recarray)


def _scalar(read: Reader, descr: Any, data: bytes | bytearray) -> Any:
    numpy = read.names.module("numpy")
    dtype = _dtype_of(read, descr)
    if len(data) != dtype.itemsize:
        raise DecodeFailure("numpy scalar size does not match its dtype")
    # An array drops trailing zeros of a text, which a scalar keeps.
    if dtype.type is numpy.bytes_:
        return numpy.bytes_(data)
    if dtype.type is numpy.str_:
        utf32 = "utf-32-be" if dtype.str[0] == ">" else "utf-32-le"
        return numpy.str_(bytes(data).decode(utf32, "surrogatepass"))
    if not data:
        return _empty(read, dtype, ())[()]
    # A copy, because a structured scalar would keep a view of the read-only bytes.
    return numpy.frombuffer(bytearray(data), dtype)[0]


# By the number of parts.
ARRAYS: dict[Any, Kind] = {
    4: Kind(
        (ANY, TUPLE, TEXT, (*BYTES, *LIST)),
        lambda _, __, ___, data: (
            2 * OBJECT + len(data) * (SLOT if type(data) is list else type(data) is bytes)
        ), _array, reads=True,
    ),
    5: Kind(
        (ANY, TUPLE, TEXT, BYTES, TEXT),
        lambda _, __, ___, data, ____: 3 * OBJECT + len(data) * (type(data) is bytes),
        _recarray, reads=True,
    ),
}  # fmt: skip
SCALARS: dict[Any, Kind] = {
    1: Kind((ANY,), SMALL, _built, reads=True),
    2: Kind((ANY, BYTES), lambda _, data: 3 * OBJECT + 5 * len(data), _scalar, reads=True),
}
