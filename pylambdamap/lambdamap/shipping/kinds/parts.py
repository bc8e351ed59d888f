"""What the kinds share: how one stands in a table, and how it is read.

A kind says what its parts must be, exactly, and at most how many bytes its value takes beside them:
the parts have been counted when they were made. Nothing is built before that is charged.
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
    """`_codec.Budget`: what the whole value may still take."""

    def __call__(self, size: int, /) -> None: ...
    def keys(self, keys: list[Any], /) -> None:
        """Refuse keys of which a dict would be slow."""


class Reader(NamedTuple):
    """What a builder may ask for."""

    names: Names
    charge: Charge


class Kind:
    """How one kind of value is read.

    Parameters
    ----------
    fields
        The exact types of each part. None: the builder looks at them itself.
    bound
        Of the parts: the bytes that the value takes beside them at most. `SMALL`: an object.
    build
        The value of the parts. With `reads` a `Reader` comes first.
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
        self.seen: set[tuple[type, ...]] = set()  # types of parts that were right; a few


_SEEN: Final = 32
SMALL: Final = None  # OBJECT bytes are enough, which the codec charges for each value


def _shown(tag: Any) -> str:
    """A tag in a message, whatever it is: the text of a value may take more than the value."""
    if type(tag) is int and tag.bit_length() <= 64:
        return str(tag)
    return repr(tag[:80]) if type(tag) is str else f"of type {type(tag).__name__}"


def build(
    kinds: Mapping[Any, Kind], tag: Any, parts: tuple[Any, ...], names: Names, charge: Charge
) -> Any:
    """The value of a tag's parts.

    Raises
    ------
    DecodeFailure
        There is no such kind, the parts are not its own, or it would take too much. What else a
        builder raises means the same.
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
    if kind.reads:  # tuple's __new__ takes a tenth of a named tuple's own
        return kind.build(tuple.__new__(Reader, (names, charge)), *parts)
    return kind.build(*parts)


class Whole:
    """One pickle of a value whose parts cannot travel one by one."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Buffer:
    """An array's items, in this machine's byte order; a bytearray of them when they come back."""

    __slots__ = ("buffer", "items", "size")

    def __init__(self, buffer: Any, items: int, size: int) -> None:
        self.buffer = buffer
        self.items = items  # 0 bytes, 1 integers with a sign, 2 without, 3 doubles
        self.size = size
