"""Digests of values and functions that are the same in every process.

Neither a frame nor a pickle is: sets are in the order of their members' hashes, which differ between
processes, and a pickle shows which of its strings are one object. Most values are encoded as for
sending. What the codec has no form for is pickled without a memo: sets sorted by the digests of their
members, classes and functions by name or, as cloudpickle sends them, by what they consist of.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

from lambdamap import _codec
from lambdamap.shipping import lookup

__all__ = ["SIZE", "of_function", "of_value", "taking"]

SIZE: Final = (
    8  # bytes of a value's digest: enough to notice a change, not one that was made to be missed
)
_FUNCTION_SIZE = 16
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
    """Return a canonical pickle; the name of the type for a value that has none."""
    for fast in (True, False):  # a value that contains itself needs the memo
        with contextlib.suppress(Exception):
            return _Pickler.run(value, {module.__name__ for module in modules}, {}, fast)
    return repr(type(value)).encode()


class _Pickler(pickle.Pickler):
    """One attempt. seen: functions and classes by id, each with its number; they may recur."""

    def __init__(
        self, file: io.BytesIO, by_value: set[str], seen: dict[int, tuple[int, Any]], fast: bool
    ) -> None:
        super().__init__(file, protocol=5)
        self.fast = fast
        self._by_value = by_value
        self._seen = seen

    @classmethod
    def run(
        cls, value: Any, by_value: set[str], seen: dict[int, tuple[int, Any]], fast: bool
    ) -> bytes:
        with io.BytesIO() as file:
            cls(file, by_value, seen, fast).dump(value)
            return file.getvalue()

    def _part(self, value: Any) -> bytes:
        return self.run(value, self._by_value, self._seen, self.fast)

    def persistent_id(self, obj: Any) -> Any:
        """Return what to pickle instead of an object; None: the object itself."""
        kind = type(obj)
        if kind is set or kind is frozenset:
            return kind.__name__, sorted(map(self._part, obj))
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
        return None

    def _by_name_or_parts(self, obj: Any) -> Any:
        module, qualname = obj.__module__, obj.__qualname__
        if module not in self._by_value and lookup.why_not_found(obj, module, qualname) is None:
            return "name", module, qualname
        if id(obj) in self._seen:
            return "seen", self._seen[id(obj)][0]
        self._seen[id(obj)] = (len(self._seen), obj)
        parts = _class_parts(obj) if lookup.is_class(obj) else _function_parts(obj)
        return "parts", qualname, [(name, self._of_part(part)) for name, part in parts.items()]

    def _of_part(self, part: Any) -> bytes:
        """Return the pickle of what a function refers to; for what has none, the name of its type."""
        try:
            return self._part(part)
        except Exception:
            return repr(type(part)).encode()


_Cached = type(functools.lru_cache(len))


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
