"""What can be known about an exception's class without running its code: base, fields, name."""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

from lambdamap import errors
from lambdamap.shipping import lookup
from lambdamap.shipping.lookup import is_class, type_dict, type_module, type_mro, type_qualname

__all__ = [
    "ARGS",
    "CAUSE",
    "CHAIN",
    "CONTEXT",
    "GROUP",
    "NAME",
    "NODES",
    "SCALARS",
    "SHOWN",
    "SUPPRESS",
    "TEXT",
    "UNPACKED_BYTES",
    "Find",
    "Inexact",
    "bare",
    "fields_of",
    "find_class",
    "is_exception",
    "is_group",
    "lineage_of",
    "why_it_stays_remote",
    "why_not_data",
]

Find = Callable[[str, str], type]  # returns a class by module and qualname, or raises

CHAIN = 16  # maximum length of __cause__ and __context__ chains
NODES = 10_000  # maximum in one list
TEXT = 1000  # maximum characters of str() of an exception in the chain, and of a note
NAME = 4096  # maximum characters of a class's module or qualname
SHOWN = 100_000  # maximum of exceptions shown for one, counted as often as they are contained
UNPACKED_BYTES = 64 << 20  # limit for all parts of a raised exception together
SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_DICT_AND_WEAKREF = 16  # bytes that a class statement without __slots__ may add to an instance

_BUILTINS = frozenset(
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)
_BUILTIN_NAMES = {kind.__name__: kind for kind in _BUILTINS}
_BUILTIN_IDS = frozenset(map(id, _BUILTINS))  # a metaclass may define equality
GROUP: Any = vars(builtins).get("BaseExceptionGroup", ())  # does not exist in Python 3.10
# They control the interpreter or the calling code, and would affect the caller of a map.
_STEERING = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, KeyboardInterrupt)
_CANCELLED = (
    ("asyncio.exceptions", "CancelledError"),
    ("concurrent.futures._base", "CancelledError"),
)

_type_base: Callable[[type], type] = type.__dict__["__base__"].__get__
_type_size: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
_type_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
ARGS: Any = BaseException.__dict__["args"]
CAUSE: Any = BaseException.__dict__["__cause__"]
CONTEXT: Any = BaseException.__dict__["__context__"]
SUPPRESS: Any = BaseException.__dict__["__suppress_context__"]


class Inexact(Exception):
    """An exception cannot be rebuilt exactly; the text says why."""


def is_exception(kind: object) -> TypeGuard[type[BaseException]]:
    return is_class(kind) and issubclass(kind, BaseException)


def _is_built_in(kind: type) -> bool:
    return id(kind) in _BUILTIN_IDS


def is_group(kind: type) -> bool:
    return issubclass(kind, GROUP)


# --- the class ------------------------------------------------------------------------------------


def why_not_data(kind: type) -> str | None:
    """Return why only the class itself can read and set some state; None: there is no such state."""
    for part in type_mro(kind):
        if _is_built_in(part) or part is object:
            continue
        own = type_dict(part)
        grown = _type_size(part) - _type_size(_type_base(part))
        if (
            not _type_flags(part) & _HEAP_TYPE
            or type(own.get("__new__")) is types.BuiltinFunctionType
            or (grown > _DICT_AND_WEAKREF and "__slots__" not in own)
        ):
            return (
                f"{type_qualname(part)} is implemented in C and its state cannot be read as data: "
                "pass allow_pickle=True to use its pickle"
            )
    return None


def fields_of(kind: type) -> Iterator[tuple[str, Any, bool]]:
    """Yield name and descriptor of what an instance holds outside its ``__dict__``, and whether the
    descriptor belongs to a built-in class: None in such a field means that nothing was set."""
    seen = set()
    for part in type_mro(kind):
        if part is BaseException or part is object:
            continue
        known = _is_built_in(part)
        if not known and "__slots__" not in type_dict(part):
            continue
        for name, descriptor in type_dict(part).items():
            if type(descriptor) is not types.MemberDescriptorType and not (
                known and type(descriptor) is types.GetSetDescriptorType
            ):
                continue
            if name in seen or (known and name.startswith("__")) or part is GROUP:
                continue
            seen.add(name)
            yield name, descriptor, known


def bare(kind: type, message: str = "", members: Sequence[BaseException] = ()) -> Any:
    """Return an instance on which no code of its class has run."""
    base = kind
    while not _is_built_in(base):
        base = _type_base(base)
    new: Callable[..., Any] = base.__new__
    try:
        made = new(kind, message, list(members)) if is_group(kind) else new(kind)
    except (TypeError, ValueError) as error:
        raise Inexact(str(error)) from None
    if type(made) is not kind:
        raise Inexact(f"{type_qualname(base)} returned a {type(made).__qualname__}")
    return made


def _tracker(table: str) -> Any:
    """Return cloudpickle's table of the classes sent by value, which no module holds."""
    return getattr(sys.modules.get("cloudpickle.cloudpickle"), table, None) or {}


def _entry(kind: type) -> tuple[str, str, str]:
    """Return how the other side finds a class: module, qualname, and its id if it was sent by value.
    The module is "" if the name leads to another class or to none."""
    module, qualname = type_module(kind), type_qualname(kind)
    if type(module) is not str or type(qualname) is not str:
        return "", "", ""
    try:
        ident = _tracker("_DYNAMIC_CLASS_TRACKER_BY_CLASS").get(kind) or ""
    except Exception:  # the metaclass is not hashable
        ident = ""
    if ident or lookup.is_main(module) or lookup.reference_to(kind) is not None:
        return module, qualname, str(ident)
    return "", qualname, ""


def lineage_of(kind: type) -> list[tuple[str, str, str]]:
    """Return entries of the class and its bases, up to the first built-in one."""
    entries = []
    for part in type_mro(kind):
        if issubclass(part, BaseException):
            entries.append(_entry(part))
            if _is_built_in(part):
                break
    return entries


def _last(qualname: str) -> str:
    return qualname.rpartition(".")[2]


def find_class(entry: Any, find: Find) -> type:
    """Return the class of an entry; raise if there is none, or it is not an exception."""
    module, qualname, ident = entry
    if ident:
        found = _tracker("_DYNAMIC_CLASS_TRACKER_BY_ID").get(ident)
        # cloudpickle recreates it without the part of its qualname before the last dot.
        if is_exception(found) and _last(type_qualname(found)) == _last(qualname):
            return found
    if module == "builtins":
        known = _BUILTIN_NAMES.get(qualname)
        if known is None:
            raise LookupError(f"unknown built-in exception {qualname}")
        return known
    if not module:
        raise LookupError(f"the class {qualname} has no import path")
    named = find(module, qualname)
    if not is_exception(named):
        raise LookupError(f"{module}:{qualname} is not an exception here")
    return named


def why_it_stays_remote(kind: type) -> str | None:
    """Return why a map never raises an exception of that class unchanged; None: it does."""
    if issubclass(kind, errors.LambdaMapError):
        return "it comes from a map that the function started"
    if issubclass(kind, _STEERING) or any(
        (type_module(part), type_qualname(part)) in _CANCELLED for part in type_mro(kind)
    ):
        return "it would affect the caller's own control flow"
    return None
