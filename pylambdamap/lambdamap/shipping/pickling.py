"""Pickles by value: cloudpickle with its gaps closed.

cloudpickle pickles a function under `functools.lru_cache` by name only, and before Python 3.12
refuses a `functools.cached_property` because of its lock. Since 3.1 it drops file names, which
tracebacks show. It creates a class without its slots, so that instances of the two classes differ in
layout. A memoryview becomes bytes, and a `weakref.proxy` its referent. The members of a weak container
are lost unless something else in the pickle holds them: here the container does.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

from lambdamap._codec import Entangled
from lambdamap.shipping import lookup

__all__ = [
    "by_value",
    "cached",
    "cached_property",
    "dumps",
    "hold_weakly",
    "ident_of",
    "same_class",
]

_WEAK: Final = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_Cached = type(functools.lru_cache(len))


def dumps(value: Any, *, is_part: bool = False) -> bytes:
    """Pickle a value, protocol 5, with classes and functions of `__main__` by value.

    Raises
    ------
    Entangled
        With `is_part`, when other parts of what is sent may hold the same objects: the value contains
        a weak container, which would hold copies.
    """
    # multiprocessing's name for __main__, which cloudpickle does not know.
    script = sys.modules.get("__mp_main__")
    with by_value([script] if script else []), io.BytesIO() as file:
        pickler = _pickler()(file, protocol=5)
        pickler.dump(value)
        if is_part and pickler.has_weak:
            raise Entangled("a weak container and its members can only be sent in one pickle")
        return file.getvalue()


_registry = threading.RLock()  # cloudpickle's list of modules is global to the process


@contextlib.contextmanager
def by_value(modules: Sequence[types.ModuleType]) -> Iterator[None]:
    """While open, cloudpickle pickles these modules' functions and classes by value."""
    if not modules:
        yield
        return
    import cloudpickle

    with _registry:
        before = cloudpickle.list_registry_pickle_by_value()
        added = {m.__name__: m for m in modules if m.__name__ not in before}
        try:
            for module in added.values():
                cloudpickle.register_pickle_by_value(module)
            yield
        finally:
            for module in added.values():
                cloudpickle.unregister_pickle_by_value(module)


@functools.cache
def _pickler() -> Any:
    import pickle

    import cloudpickle

    from lambdamap.shipping.kinds import stdlib

    table = cloudpickle.Pickler.dispatch_table

    def reduce_code(code: types.CodeType) -> tuple[Any, ...]:
        kind, arguments = table[types.CodeType](code)
        return kind, tuple(code.co_filename if a == "<dynamic-code>" else a for a in arguments)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
        dispatch_table: ClassVar = collections.ChainMap({types.CodeType: reduce_code}, table)

        has_weak = False  # a weak container was pickled

        def reducer_override(self, obj: Any) -> Any:
            kind = type(obj)
            if kind in _WEAK:
                self.has_weak = True
                members = list(obj if kind is weakref.WeakSet else obj.items())
                # Filled last, because its members may refer to it.
                return kind, (), members, None, None, hold_weakly
            if kind in stdlib.NEVER:
                raise pickle.PicklingError(
                    f"a {kind.__name__} cannot be sent: {stdlib.NEVER[kind]}"
                )
            if lookup.type_name(kind) in ("LongLongDType", "ULongLongDType"):
                metadata = None if obj.metadata is None else dict(obj.metadata)
                return long_long, (obj.str[0] + obj.char, metadata)
            if kind is memoryview:
                return stdlib.view_of, stdlib.view_parts(obj)
            if type(obj) is _Cached and not (
                lookup.name_of(obj) is not None
                and obj.__module__ not in cloudpickle.list_registry_pickle_by_value()
            ):
                return cached, (obj.__wrapped__, obj.cache_parameters())
            if type(obj) is functools.cached_property:
                return cached_property, (obj.func, obj.attrname)
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and "__slots__" in lookup.type_dict(obj):
                return _with_slots(obj, reduced)
            return reduced

    return Pickler


def _with_slots(kind: type, reduced: Any) -> Any:
    """Return cloudpickle's recipe for a class, with its slots defined when it is created."""
    if type(reduced) is not tuple or len(reduced) < 6 or len(reduced[1]) != 6:
        return reduced  # sent by name, or an enum
    maker, (meta, name, bases, namespace, *rest), (state, slot_state), *others = reduced
    typing = sys.modules.get("typing")
    if (
        typing is not None and typing.NamedTuple in bases
    ):  # since Python 3.12; it defines its own slots
        return reduced
    held = lookup.type_dict(kind)
    # Without the descriptors, which are created from the slots again, private names mangled.
    state = {
        key: value
        for key, value in state.items()
        if key != "__slots__"
        and not (type(value) is types.MemberDescriptorType and held.get(key) is value)
    }
    slots = held["__slots__"]
    if not isinstance(
        slots, (str, tuple, list, dict, set, frozenset)
    ):  # an iterator, which is exhausted
        made = (types.MemberDescriptorType, types.GetSetDescriptorType)
        slots = tuple(name for name, value in held.items() if type(value) in made)
    namespace = {**namespace, "__slots__": slots}
    return (maker, (meta, name, bases, namespace, *rest), (state, slot_state), *others)


def ident_of(kind: type) -> str:
    """Return the id by which cloudpickle knows a class sent by value, on both sides."""
    from cloudpickle import cloudpickle

    ident: str = cloudpickle._get_or_create_tracker_id(kind)
    return ident


# --- unpickling ----------------------------------------------------------------------------------


def same_class(ident: str, kind: type) -> type:
    """Return the class that cloudpickle knows by this id; if there is none, register `kind`."""
    from cloudpickle import cloudpickle

    known: type = cloudpickle._lookup_class_or_track(ident, kind)
    return known


def long_long(text: str, metadata: dict[Any, Any] | None) -> Any:
    """Return C's long long as a numpy dtype, which numpy itself pickles as an int64."""
    import numpy

    make: Any = numpy.dtype
    return make(text) if metadata is None else make(text, metadata=metadata)


def hold_weakly(container: Any, members: list[Any]) -> None:
    """Fill a weak container and let it keep its members alive, as the sender did."""
    container.update(members)
    container.members_here = members


def cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """Wrap a function in `functools.lru_cache`, with an empty cache."""
    return functools.lru_cache(**parameters)(function)


def cached_property(
    function: Callable[[Any], Any], name: str | None
) -> functools.cached_property[Any]:
    """Make a `functools.cached_property` for a class that was sent by value."""
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made
