"""Pickles by value: cloudpickle's, without its gaps.

cloudpickle takes a function under `functools.lru_cache` by its name alone, and before Python 3.12
refuses a `functools.cached_property` for its lock. From 3.1 on it forgets the names of files, which
tracebacks show. It makes a class without its slots, so that objects of the two classes have different
layouts. A memoryview becomes bytes, and a `weakref.proxy` what it stands for. The members of a weak
container die on the way, unless something else in the pickle holds them: here the container does.
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
    """The pickle of a value, protocol 5; classes and functions of `__main__` are in it.

    Raises
    ------
    Entangled
        With `is_part`, where other parts of what is sent may hold the same objects: in the value is a
        weak container, which would hold copies of its own.
    """
    # multiprocessing's name of __main__, which cloudpickle does not know.
    script = sys.modules.get("__mp_main__")
    with by_value([script] if script else []), io.BytesIO() as file:
        pickler = _pickler()(file, protocol=5)
        pickler.dump(value)
        if is_part and pickler.has_weak:
            raise Entangled("a weak container and its members can only be sent in one pickle")
        return file.getvalue()


_registry = threading.RLock()  # cloudpickle's list of modules is the process's


@contextlib.contextmanager
def by_value(modules: Sequence[types.ModuleType]) -> Iterator[None]:
    """While it is open, cloudpickle takes these modules' functions and classes by value."""
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

        has_weak = False  # has met a weak container

        def reducer_override(self, obj: Any) -> Any:
            kind = type(obj)
            if kind in _WEAK:
                self.has_weak = True
                members = list(obj if kind is weakref.WeakSet else obj.items())
                # Filled last: its members may refer to it.
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
    """cloudpickle's recipe for a class, with its slots where the class is made, not set later."""
    if type(reduced) is not tuple or len(reduced) < 6 or len(reduced[1]) != 6:
        return reduced  # by its name, or an enum
    maker, (meta, name, bases, namespace, *rest), (state, slot_state), *others = reduced
    typing = sys.modules.get("typing")
    if typing is not None and typing.NamedTuple in bases:  # from Python 3.12 on; it has its own
        return reduced
    held = lookup.type_dict(kind)
    # What the slots are made into again, under the names that private ones get.
    state = {
        key: value
        for key, value in state.items()
        if key != "__slots__"
        and not (type(value) is types.MemberDescriptorType and held.get(key) is value)
    }
    slots = held["__slots__"]
    if not isinstance(slots, (str, tuple, list, dict, set, frozenset)):  # an iterator, used up
        made = (types.MemberDescriptorType, types.GetSetDescriptorType)
        slots = tuple(name for name, value in held.items() if type(value) in made)
    namespace = {**namespace, "__slots__": slots}
    return (maker, (meta, name, bases, namespace, *rest), (state, slot_state), *others)


def ident_of(kind: type) -> str:
    """The id by which cloudpickle knows a class that travels by value, on each side."""
    from cloudpickle import cloudpickle

    ident: str = cloudpickle._get_or_create_tracker_id(kind)
    return ident


# --- on the other side ---------------------------------------------------------------------------


def same_class(ident: str, kind: type) -> type:
    """The class that cloudpickle knows by this id here; from now on `kind`, if it knows none."""
    from cloudpickle import cloudpickle

    known: type = cloudpickle._lookup_class_or_track(ident, kind)
    return known


def long_long(text: str, metadata: dict[Any, Any] | None) -> Any:
    """C's long long as a dtype of numpy's, whose own pickle is that of an int64."""
    import numpy

    make: Any = numpy.dtype
    return make(text) if metadata is None else make(text, metadata=metadata)


def hold_weakly(container: Any, members: list[Any]) -> None:
    """Fill a weak container, which keeps its members alive: on the other side it was the sender."""
    container.update(members)
    container.members_here = members


def cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """A function under `functools.lru_cache`, with a cache of its own."""
    return functools.lru_cache(**parameters)(function)


def cached_property(
    function: Callable[[Any], Any], name: str | None
) -> functools.cached_property[Any]:
    """A `functools.cached_property` of a class that has come by value."""
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made
