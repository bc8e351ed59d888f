"""The parts common to all kinds: how a kind is described, and how it is decoded.

A kind states the exact types of its parts, and an upper bound of the bytes that its value takes in
addition to them, which were charged when they were made. Nothing is built before that is charged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from lambdamap._codec import COST_KIND as OBJECT
from lambdamap._codec import COST_PAIR as PAIR
from lambdamap._codec import COST_SLOT as SLOT
from lambdamap._codec import EXT_BUFFER as BUFFER
from lambdamap._codec import EXT_DATETIME as TIME
from lambdamap._codec import EXT_DECIMAL as DECIMAL
from lambdamap._codec import EXT_FRAMES as FRAMES
from lambdamap._codec import EXT_NAMED as NAMED
from lambdamap._codec import EXT_NDARRAY as ARRAY
from lambdamap._codec import EXT_NUMPY as NUMPY
from lambdamap._codec import EXT_PANDAS as PANDAS
from lambdamap._codec import EXT_PICKLE as PICKLE
from lambdamap._codec import DecodeFailure
from lambdamap.shipping import lookup

__all__ = [
    "ANY", "ARRAY", "BUFFER", "BYTES", "DECIMAL", "DICT", "FLAG", "FRAMES", "INT", "LIST", "NAMED",
    "NUMPY", "OBJECT", "PAIR", "PANDAS", "PICKLE", "SLOT", "SMALL", "TEXT", "TIME", "TUPLE", "Buffer",
    "Charge", "Kind", "Names", "Reader", "Whole", "build", "optional",
]  # fmt: skip

Names = lookup.Names

Types = tuple[type, ...]
ANY: Final[Types] = (object,)
INT: Final[Types] = (int,)
TEXT: Final[Types] = (str,)
FLAG: Final[Types] = (bool,)
LIST: Final[Types] = (list,)
TUPLE: Final[Types] = (tuple,)
DICT: Final[Types] = (dict,)
BYTES: Final[Types] = (bytes, bytearray)


def optional(types: Types) -> Types:
    return (*types, type(None))


class Charge(Protocol):
    """`_codec.Budget`: what the whole value may still take, in bytes."""

    def __call__(self, size: int, /) -> None: ...
    def keys(self, keys: list[Any], /) -> None:
        """Refuse keys that would make a dict slow."""


class Reader(NamedTuple):
    """What a builder may use."""

    names: Names
    charge: Charge


class Kind:
    """How one kind of value is decoded.

    Parameters
    ----------
    fields
        The exact types of each part. None: the builder checks them itself.
    bound
        Called with the parts: the bytes that the value takes in addition to them, at most. `SMALL`:
        one small object.
    build
        Called with the parts, returns the value. With `reads` a `Reader` comes first.
    """

    __slots__ = ("bound", "build", "fields", "is_simple", "reads", "seen")

    def __init__(
        self,
        fields: tuple[Types, ...] | None,
        bound: Callable[..., int] | None,
        build: Callable[..., Any],
        reads: bool = False,
    ) -> None:
        self.fields = fields
        self.bound = bound
        self.build = build
        self.reads = reads
        self.is_simple = fields is None and bound is SMALL and not reads
        self.seen: set[tuple[type, ...]] = (
            set()
        )  # combinations of types that were valid, at most _SEEN


_SEEN: Final = 32
SMALL: Final = None  # OBJECT bytes, which the codec charges for each value, are enough


def _shown(tag: Any) -> str:
    """Return a tag as shown in a message, bounded in length."""
    if type(tag) is int and tag.bit_length() <= 64:
        return str(tag)
    return repr(tag[:80]) if type(tag) is str else f"of type {type(tag).__name__}"


def build(
    kinds: Mapping[Any, Kind], tag: Any, parts: tuple[Any, ...], names: Names, charge: Charge
) -> Any:
    """Return the value of a tag's parts.

    Raises
    ------
    DecodeFailure
        There is no such kind, the parts do not fit it, or it would take too much. Any other exception
        of a builder means the same.
    """
    kind = kinds.get(tag)
    if kind is None:
        raise DecodeFailure(f"unknown kind of value {_shown(tag)}")
    if kind.fields is not None and (given := tuple(map(type, parts))) not in kind.seen:
        if len(given) != len(kind.fields):
            raise DecodeFailure(
                f"kind {_shown(tag)}: expected {len(kind.fields)} parts, got {len(given)}"
            )
        for part, types in zip(given, kind.fields, strict=True):
            if types is not ANY and part not in types:
                raise DecodeFailure(
                    f"kind {_shown(tag)}: a part has the wrong type {part.__name__}"
                )
        if len(kind.seen) < _SEEN:
            kind.seen.add(given)
    if kind.bound is not None:
        charge(kind.bound(*parts))
    if kind.reads:  # ten times as fast as Reader(names, charge)
        return kind.build(tuple.__new__(Reader, (names, charge)), *parts)
    return kind.build(*parts)


class Whole:
    """One pickle of a value whose parts cannot be sent one by one."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Buffer:
    """An array's items, in native byte order; they are decoded into a bytearray."""

    __slots__ = ("buffer", "items", "size")

    def __init__(self, buffer: Any, items: int, size: int) -> None:
        self.buffer = buffer
        self.items = items  # 0 bytes, 1 signed integers, 2 unsigned integers, 3 doubles
        self.size = size
