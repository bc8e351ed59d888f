"""numpy: arrays, scalars and dtypes. An array's bytes are there, as many as its shape says."""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

from lambdamap._codec import DecodeFailure, EncodeFailure
from lambdamap._kinds import parts as p
from lambdamap._kinds.parts import ANY, BYTES, LIST, OBJECT, SLOT, SMALL, TEXT, TUPLE, Kind, Reader

__all__ = ["ARRAYS", "NUMBERS", "SCALARS", "dtype_of", "reduce"]

NUMBERS: Final = "biufc"  # kinds of dtypes

# What numpy says of a dtype without fields, and what this side takes for one.
_PLAIN: Final = re.compile(
    r"[<>|](?:b1|[iufc]\d{1,2}|[SUV]\d{1,10}|[mM]8(?:\[\d{0,9}(?:[YMWDhms]|ms|us|ns|ps|fs|as)\])?)"
)
_FIELD_BYTES: Final = 1000  # what a field of a dtype takes, with its dtype and names
_MAX_DIMS: Final = 64


# --- there ----------------------------------------------------------------------------------------


def _descr(dtype: Any) -> Any:
    return sys.modules["numpy"].lib.format.dtype_to_descr(dtype)


def _reduce_array(value: Any) -> tuple[int, Any]:
    if value.dtype.hasobject:
        if value.dtype.kind != "O":
            raise EncodeFailure("a structured array that holds objects: pass allow_pickle=True")
        return p.ARRAY, ("O", tuple(value.shape), value.ravel().tolist())
    flags = value.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    return p.ARRAY, (_descr(value.dtype), tuple(value.shape), order, _items_of(value, order))


def _items_of(value: Any, order: str) -> p.Buffer:
    """The items of an array, its own memory where they lie there in order."""
    numpy = sys.modules["numpy"]
    dtype = value.dtype
    flat = (value.T if order == "F" else value).reshape(-1)
    if not flat.flags.c_contiguous or not flat.flags.aligned:
        flat = numpy.array(flat, order="C")
    if dtype.itemsize == 0 or flat.size == 0:
        return p.Buffer(b"", 0, 1)
    if dtype.isnative and dtype.itemsize in (1, 2, 4, 8):
        if dtype.kind in "iumMb":
            kind = "u" if dtype.kind in "ub" else "i"
            return p.Buffer(flat.view(f"{kind}{dtype.itemsize}"), 1 + (kind == "u"), dtype.itemsize)
        if dtype.kind == "f" and dtype.itemsize == 8:
            return p.Buffer(flat, 3, 8)
    return p.Buffer(flat.view("u1"), 0, 1)


def reduce(value: Any, kind: type) -> tuple[int, Any] | None:
    numpy = sys.modules["numpy"]
    if kind is numpy.ndarray:
        return _reduce_array(value)
    if isinstance(value, numpy.generic) and kind.__module__ == "numpy":
        if value.dtype.hasobject:
            raise EncodeFailure("a numpy scalar that holds objects: pass allow_pickle=True")
        return p.NUMPY, (_descr(value.dtype), value.tobytes()[: value.dtype.itemsize])
    if isinstance(value, numpy.dtype):
        if value.hasobject and value.kind != "O":
            return None
        return p.NUMPY, (_descr(value) if value.kind != "O" else "O",)
    return None


# --- and back -------------------------------------------------------------------------------------


def _checked(read: Reader, descr: Any) -> Any:
    """A description as numpy writes it: a text, a list of fields, or one of these and a shape."""
    if type(descr) is str and _PLAIN.fullmatch(descr):
        return descr
    if type(descr) is list:
        read.charge(_FIELD_BYTES * len(descr))
        return [_checked_field(read, field) for field in descr]
    if type(descr) is tuple and len(descr) == 2:
        return _checked(read, descr[0]), _checked_shape(descr[1])
    raise DecodeFailure(f"it holds a dtype that numpy has no such form for: {str(descr)[:80]}")


def _checked_field(read: Reader, field: Any) -> tuple[Any, ...]:
    if type(field) is not tuple or not 2 <= len(field) <= 3:
        raise DecodeFailure("a dtype with a field that is not one")
    name, descr, *shape = field
    names = name if type(name) is tuple and len(name) == 2 else (name,)
    if not all(type(part) is str for part in names):
        raise DecodeFailure("a dtype with a field that has no name")
    return (name, _checked(read, descr), *map(_checked_shape, shape))


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > _MAX_DIMS:
        raise DecodeFailure("it holds a shape that is not one")
    for n in shape:
        if type(n) is not int or not 0 <= n < 2**63:
            raise DecodeFailure("it holds a shape with a length that cannot be")
    return shape


def dtype_of(read: Reader, descr: Any) -> Any:
    numpy = read.names.module("numpy")
    dtype = numpy.lib.format.descr_to_dtype(_checked(read, descr))
    if dtype.hasobject:
        raise DecodeFailure("an array says that its bytes are objects")
    return dtype


def _empty(read: Reader, dtype: Any, shape: tuple[int, ...]) -> Any:
    """An array of no bytes."""
    # numpy makes a place of a text of no length, and takes one item's bytes for no items.
    read.charge(SLOT * math.prod(shape) + dtype.itemsize)
    return read.names.module("numpy").zeros(shape, dtype)


def _array(read: Reader, descr: Any, shape: Any, order: str, data: bytes | bytearray) -> Any:
    dtype = dtype_of(read, descr)
    if math.prod(_checked_shape(shape)) * dtype.itemsize != len(data):
        raise DecodeFailure("an array whose bytes are not as many as its shape says")
    if order not in ("C", "F"):
        raise DecodeFailure("an array whose items have no order")
    if not data:
        return _empty(read, dtype, shape)
    if type(data) is bytes:
        data = bytearray(data)  # which may be written to
    return read.names.module("numpy").frombuffer(data, dtype).reshape(shape, order=order)


def _objects(read: Reader, descr: Any, shape: Any, items: list[Any]) -> Any:
    if descr != "O" or math.prod(_checked_shape(shape)) != len(items):
        raise DecodeFailure("an array whose objects are not as many as its shape says")
    # One by one: numpy would look into items that are lists.
    return read.names.module("numpy").fromiter(items, object, len(items)).reshape(shape)


def _scalar(read: Reader, descr: Any, data: bytes | bytearray) -> Any:
    dtype = dtype_of(read, descr)
    if len(data) != dtype.itemsize:
        raise DecodeFailure("a numpy scalar of another size than its type")
    if not data:
        return _empty(read, dtype, ())[()]
    # A copy: a structured scalar would keep the read-only bytes.
    return read.names.module("numpy").frombuffer(bytearray(data), dtype)[0]


def _dtype(read: Reader, descr: Any) -> Any:
    return read.names.module("numpy").dtype(object) if descr == "O" else dtype_of(read, descr)


# By the number of parts.
ARRAYS: dict[Any, Kind] = {
    3: Kind(
        (TEXT, TUPLE, LIST),
        lambda _, __, items: 2 * OBJECT + SLOT * len(items), _objects, reads=True,
    ),
    4: Kind(
        (ANY, TUPLE, TEXT, BYTES),
        lambda _, __, ___, data: 2 * OBJECT + len(data) * (type(data) is bytes), _array, reads=True,
    ),
}  # fmt: skip
SCALARS: dict[Any, Kind] = {
    1: Kind((ANY,), SMALL, _dtype, reads=True),
    2: Kind((ANY, BYTES), lambda _, data: 3 * OBJECT + 3 * len(data), _scalar, reads=True),
}
