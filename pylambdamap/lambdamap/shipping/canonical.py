"""Digests of values and functions that are the same in every process.

Neither a frame nor a pickle is: sets are in the order of their members' hashes, which differ between
processes, and a pickle shows which of its strings are one object. Most values are encoded as for
sending. What the codec has no form for is pickled without a memo: sets sorted by the pickles of their
members, classes and functions by name or, as cloudpickle sends them, by what they consist of. A value
that contains itself, or whose parts recur so often that this would not end, is pickled with a memo, and
what cannot be pickled so either is compared as it is sent: better a change that is none than one missed.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeVar

from lambdamap import _codec
from lambdamap.shipping import lookup, pickling

__all__ = ["SIZE", "of_function", "of_value", "taking"]

SIZE: Final = (
    8  # bytes of a value's digest: enough to notice a change, not one that was made to be missed
)
_FUNCTION_SIZE = 16
_MOST: Final = 500_000  # objects pickled in one attempt, of those whose number can be exponential
_OF_CLASSES = frozenset(  # differ without a change of the class, or follow from the rest
    (
        "__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__",
        "__annotate__", "__annotate_func__", "__annotations_cache__", "__slotnames__",
        "__abstractmethods__", "_abc_impl",
    )
)  # fmt: skip


def of_value(value: Any) -> bytes:
    """Return the digest of a value: `SIZE` bytes, equal for values that are sent alike."""
    digester = taking(iter((value,)))
    next(digester)
    return digester.take(1)


def taking(items: Iterator[Any]) -> _codec.Digester:
    """Return an iterator over items that takes their digests."""
    return _codec.Digester(items, _of_pickle)


def _of_pickle(value: Any) -> bytes:
    return blake2b(_pickled(value), digest_size=SIZE).digest()


def of_function(function: Callable[..., Any], modules: Sequence[types.ModuleType] = ()) -> bytes:
    """Return the digest of a function sent by value: of its code, constants and captured values.

    modules: what they define is sent by value, too.
    """
    return blake2b(_pickled(function, frozenset(modules)), digest_size=_FUNCTION_SIZE).digest()


def _pickled(value: Any, modules: frozenset[types.ModuleType] = frozenset()) -> bytes:
    """Return a canonical pickle; what is sent for a value that has none; its type if it cannot be sent."""
    for fast in (True, False):  # a value that contains itself needs the memo
        with contextlib.suppress(Exception):
            return _Pickler.run(value, _Attempt(fast, {module.__name__ for module in modules}))
    with contextlib.suppress(Exception), pickling.by_value(list(modules)):
        return pickling.dumps(value)
    return repr(type(value)).encode()


class _TooMany(Exception):
    """An attempt would take too long."""


class _Attempt:
    """What the picklers of a value and of its parts share."""

    def __init__(self, fast: bool, by_value: set[str]) -> None:
        self.fast = fast
        self.by_value = by_value
        # Functions and classes by id, each with its number; they may recur.
        self.seen: dict[int, tuple[int, Any]] = {}
        self.sets: list[int] = []  # by id, those whose members are being pickled
        self.left = _MOST


class _Pickler(pickle.Pickler):
    """Pickles a value or a part of it in one attempt."""

    def __init__(self, file: io.BytesIO, attempt: _Attempt) -> None:
        super().__init__(file, protocol=5)
        self.fast = attempt.fast
        self._attempt = attempt

    @classmethod
    def run(cls, value: Any, attempt: _Attempt) -> bytes:
        with io.BytesIO() as file:
            cls(file, attempt).dump(value)
            return file.getvalue()

    def _part(self, value: Any) -> bytes:
        return self.run(value, self._attempt)

    def persistent_id(self, obj: Any) -> Any:
        """Return what to pickle instead of an object; None: the object itself."""
        kind = type(obj)
        attempt = self._attempt
        if attempt.fast or len(attempt.sets) > 1:  # otherwise the memo prevents repetition
            attempt.left -= 1
            if attempt.left < 0:
                raise _TooMany
        if kind is set or kind is frozenset:
            return kind.__name__, self._members(obj)
        if kind is types.CodeType:
            return _code(obj)
        if kind is types.ModuleType:
            return "module", obj.__name__
        if kind is types.FunctionType or lookup.is_class(obj):
            return self._by_name_or_parts(obj)
        if kind is property:
            return "property", obj.fget, obj.fset, obj.fdel
        if kind in (staticmethod, classmethod):
            return kind.__name__, obj.__func__
        if kind is functools.cached_property:
            return "cached_property", obj.func
        if kind is _Cached:
            return "lru_cache", obj.__wrapped__
        if kind in (types.MemberDescriptorType, types.GetSetDescriptorType):
            return kind.__name__, obj.__name__
        if (parts := _PARTS.get(kind)) is not None:
            return kind.__name__, parts(obj)
        if issubclass(kind, (set, frozenset)) and kind.__reduce__ in _SET_REDUCE:
            made, _, state = obj.__reduce__()
            return made, self._members(obj), state
        return None

    def _members(self, obj: Any) -> Any:
        """Return what stands for the members of a set."""
        sets = self._attempt.sets
        if id(obj) in sets:  # among its own members
            if self.fast:
                raise ValueError("a set that contains itself")
            return len(sets) - sets.index(id(obj))
        sets.append(id(obj))
        try:
            return sorted(map(self._part, obj))
        finally:
            sets.pop()

    def _by_name_or_parts(self, obj: Any) -> Any:
        module, qualname = obj.__module__, obj.__qualname__
        if (
            module not in self._attempt.by_value
            and lookup.why_not_found(obj, module, qualname) is None
        ):
            return "name", module, qualname
        seen = self._attempt.seen
        if id(obj) in seen:
            return "seen", seen[id(obj)][0]
        seen[id(obj)] = (len(seen), obj)
        parts = _class_parts(obj) if lookup.is_class(obj) else _function_parts(obj)
        return "parts", qualname, [(name, self._of_part(part)) for name, part in parts.items()]

    def _of_part(self, part: Any) -> bytes:
        """Return the pickle of what a function refers to; for what has none, the name of its type."""
        try:
            return self._part(part)
        except _TooMany:
            raise
        except Exception:
            return repr(type(part)).encode()


_Cached = type(functools.lru_cache(len))
_SET_REDUCE: Final = (set.__reduce__, frozenset.__reduce__)


def _cell_parts(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not assigned yet
        return ()


_DICTS: Final[tuple[dict[Any, Any], ...]] = ({}, collections.OrderedDict())
_VIEWS: Final = [view for d in _DICTS for view in (d.keys(), d.values(), d.items())]

# What pickle refuses and cloudpickle sends.
_PARTS: Final[dict[type, Callable[[Any], Any]]] = {
    types.MappingProxyType: dict,
    types.CellType: _cell_parts,
    **dict.fromkeys(map(type, _VIEWS), list),
    TypeVar: lambda var: (
        var.__name__, var.__bound__, var.__constraints__, var.__covariant__, var.__contravariant__,
    ),
}  # fmt: skip


def _code(code: types.CodeType) -> tuple[Any, ...]:
    return (
        "code", code.co_name, code.co_code, code.co_consts, code.co_names, code.co_varnames,
        code.co_freevars, code.co_cellvars, code.co_flags, code.co_argcount,
        code.co_posonlyargcount, code.co_kwonlyargcount, sys.version_info[:2],
    )  # fmt: skip


def _function_parts(function: types.FunctionType) -> dict[str, Any]:
    names: set[str] = set()
    codes = [function.__code__]
    while codes:  # functions defined inside it use globals as well
        inner = codes.pop()
        names.update(inner.co_names)
        codes.extend(const for const in inner.co_consts if isinstance(const, types.CodeType))
    scope = function.__globals__
    parts: dict[str, Any] = {f"global {n}": scope[n] for n in sorted(names) if n in scope}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # not assigned yet
            parts[f"cell {name}"] = cell.cell_contents
    parts["code"] = function.__code__
    parts["defaults"] = function.__defaults__
    parts["kwdefaults"] = function.__kwdefaults__
    parts.update({f"attribute {name}": value for name, value in sorted(vars(function).items())})
    return parts


def _class_parts(kind: type) -> dict[str, Any]:
    parts = {f"base {i}": base for i, base in enumerate(kind.__bases__)}
    own = lookup.type_dict(kind)
    parts.update({name: own[name] for name in own if name not in _OF_CLASSES})
    return parts
