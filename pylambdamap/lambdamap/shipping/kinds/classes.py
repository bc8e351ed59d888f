"""Callables, which are sent by name, and data of the user's classes.

Data of an enum, a named tuple or a dataclass is rebuilt from its parts without running any code of
its class: no `__new__`, `__init__`, `__post_init__`, property or metaclass. A class for which that is
not certain has no kind here.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import types
import weakref
from collections.abc import Mapping
from typing import Any, Final

from lambdamap._codec import DecodeFailure, EncodeFailure
from lambdamap.shipping import lookup
from lambdamap.shipping.kinds import parts as p
from lambdamap.shipping.kinds.parts import (
    DICT,
    OBJECT,
    PAIR,
    SLOT,
    SMALL,
    TEXT,
    TUPLE,
    Kind,
    Reader,
)
from lambdamap.shipping.kinds.stdlib import named
from lambdamap.shipping.lookup import class_attribute, type_dict, type_mro

__all__ = ["KINDS", "reduce_callable", "reduce_data", "reduce_exception"]

_NODE_BYTES: Final = 2000  # bytes of an exception in addition to what it holds
# Bytes charged for a named tuple class made here. More than its memory: creating one takes 0.3 ms.
_ROW_CLASS_BYTES: Final = 64 << 10
_ROW_FIELD_BYTES: Final = 2000
_FIELD: Final = vars(dataclasses)[
    "_FIELD"
]  # marks fields, as for dataclasses.fields(), which would run code of the class
# Hooks by which a class may define how its instances are copied.
_OWN_SAY: Final = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__")


# --- callables ------------------------------------------------------------------------------------


def _reference(value: Any, callables: bool) -> tuple[str, str] | None:
    """Return the name of a callable. Without `callables` only harmless ones may be named."""
    name = lookup.name_of(value)
    if name is not None and not callables and not lookup.is_harmless(value, *name):
        kind = "class" if isinstance(value, type) else "function"
        raise EncodeFailure(
            f"{name[0]}:{name[1]} is a {kind}, and the caller accepts only data, unless it passes "
            "allow_pickle=True"
        )
    return name


def _is_simple(value: Any) -> bool:
    return type(value) is functools.partial and not vars(value)


def _reduce_partial(value: Any, callables: bool) -> tuple[Any, ...] | None:
    name = _reference(value.func, callables) if callable(value.func) else None
    return None if name is None else (*name, value.args, dict(value.keywords))


def reduce_callable(value: Any, kind: type, callables: bool) -> tuple[int, Any] | None:
    """Encode a callable, or a defaultdict, which holds one."""
    if kind is collections.defaultdict:
        factory = value.default_factory
        if factory is None:
            return named("defaultdict", None, dict(value))
        if _is_simple(factory):
            found = _reduce_partial(factory, callables)
        else:
            found = _reference(factory, callables)
        return None if found is None else named("defaultdict", found, dict(value))
    if _is_simple(value):
        found = _reduce_partial(value, callables)
        return None if found is None else named("partial", *found)
    if callable(value):
        name = _reference(value, callables)
        return None if name is None else named("name", *name)
    return None


def _callable(read: Reader, module: str, qualname: str) -> Any:
    return read.names.callable(module, qualname)


def _partial(
    read: Reader, module: str, qualname: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return functools.partial(read.names.callable(module, qualname), *args, **kwargs)


def _defaultdict(read: Reader, factory: tuple[Any, ...] | None, items: dict[Any, Any]) -> Any:
    if factory is None:
        return collections.defaultdict(None, items)
    tag = "name" if len(factory) == 2 else "partial"
    return collections.defaultdict(p.build(KINDS, tag, factory, *read), items)


# --- data -----------------------------------------------------------------------------------------


def _has_own_say(kind: type) -> bool:
    return class_attribute(kind, "__del__") is not None or any(
        getattr(kind, name, None) is not getattr(object, name, None) for name in _OWN_SAY
    )


def _tuple_fields(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a named tuple class; None: it is not one."""
    fields = class_attribute(kind, "_fields")
    is_one = tuple in type_mro(kind) and type(fields) is tuple
    return fields if is_one and class_attribute(kind, "__del__") is None else None


# Attributes that Python adds to a class when it is inspected.
_LATE: Final = ("__slotnames__", "__annotations__", "__annotations_cache__")


@functools.cache
def _sample() -> type:
    return collections.namedtuple("_sample", "field")


def _is_bare(kind: type, fields: tuple[str, ...]) -> bool:
    """Return whether a class is exactly what ``collections.namedtuple`` makes of a name and fields."""
    sample, held, name = type_dict(_sample()), type_dict(kind), lookup.type_name(kind)
    if type(kind) is not type or type_mro(kind) != (kind, tuple, object):
        return False
    comma = "," if len(fields) == 1 else ""
    if (
        lookup.type_qualname(kind) != name
        or held.get("__doc__") != f"{name}({', '.join(fields)}{comma})"
    ):
        return False
    for key, value in held.items():
        if key in fields:
            if type(value) is not type(sample["field"]):
                return False
        elif key not in sample:
            if key not in _LATE or value:
                return False
        elif key == "__new__":
            if _globals_of(value).get("__name__") != f"namedtuple_{name}":
                return False
        elif _code_of(sample[key]) != _code_of(
            value
        ):  # equal, not identical: a class sent by value has copies
            return False
    return (
        sample.keys() - {"field"} <= held.keys()
        and set(fields) <= held.keys()
        and held["__match_args__"] == fields
        and not held["_field_defaults"]
        and held["__slots__"] == ()
    )


def _function(value: Any) -> Any:
    return value.__func__ if type(value) in (classmethod, staticmethod) else value


def _code_of(value: Any) -> Any:
    value = _function(value)
    return value.__code__ if type(value) is types.FunctionType else None


def _globals_of(value: Any) -> Mapping[str, Any]:
    value = _function(value)
    return value.__globals__ if type(value) is types.FunctionType else {}


def _reduce_tuple(value: Any, kind: type, fields: tuple[str, ...]) -> tuple[int, Any] | None:
    content = tuple(tuple.__iter__(value))  # the class may override __iter__
    if len(fields) != len(content) or lookup.own_dict(value) or _has_own_say(kind):
        return None
    if (reference := lookup.reference_to(kind)) is not None:
        return named("namedtuple", *reference, content)
    if not _is_bare(kind, fields):
        return None
    from lambdamap.shipping import pickling

    made = (lookup.type_name(kind), fields, pickling.ident_of(kind))
    return named("namedtuple", None, made, content)


class _Layout:
    """Where instances of a dataclass hold their fields: in slots, and in a dict of their own."""

    __slots__ = ("dict", "in_dict", "slots")

    def __init__(self, slots: dict[str, Any], in_dict: list[str], own: Any) -> None:
        self.slots = slots  # field to descriptor
        self.in_dict = in_dict
        self.dict = own  # the descriptor of the instances' __dict__, or None


def _layout(kind: type) -> _Layout | None:
    """Return the layout; None: it is not a dataclass whose instances are only their fields."""
    fields = class_attribute(kind, "__dataclass_fields__")
    if type(fields) is not dict or class_attribute(kind, "__del__") is not None:
        return None
    names = [name for name, f in fields.items() if f._field_type is _FIELD]
    slots: dict[str, Any] = {}
    in_dict = []
    for name in names:
        found = class_attribute(kind, name)
        if type(found) is types.MemberDescriptorType:
            slots[name] = found
        elif any(class_attribute(type(found), set_) for set_ in ("__set__", "__delete__")):
            return None
        else:
            in_dict.append(name)
    own = class_attribute(kind, "__dict__")
    if own is not None and type(own) is not types.GetSetDescriptorType:
        return None
    return None if in_dict and own is None else _Layout(slots, in_dict, own)


def _other_slots(kind: type, slots: dict[str, Any]) -> list[Any]:
    return [
        found
        for base in type_mro(kind)
        if "__slots__" in type_dict(base)
        for name, found in type_dict(base).items()
        if type(found) is types.MemberDescriptorType and slots.get(name) is not found
    ]


def _is_set(slot: Any, value: Any) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


def _reduce_dataclass(value: Any, kind: type) -> dict[str, Any] | None:
    layout = _layout(kind)
    if layout is None or _has_own_say(kind):
        return None
    own = {} if layout.dict is None else layout.dict.__get__(value)
    if own.keys() != set(layout.in_dict):
        return None
    if any(_is_set(slot, value) for slot in _other_slots(kind, layout.slots)):
        return None
    try:
        object.__new__(kind)  # fails for an abstract class, or one that extends a built-in
        held = {name: slot.__get__(value) for name, slot in layout.slots.items()}
    except (AttributeError, TypeError):
        return None
    return {name: held[name] if name in held else own[name] for name in (*held, *own)}


def reduce_data(value: Any, kind: type) -> tuple[int, Any] | None:
    """Encode an enum member, a named tuple or an instance of a dataclass."""
    found: tuple[str, Any] | None = None
    mro = type_mro(kind)
    if enum.Enum in mro:
        name = lookup.own_dict(value).get("_name_")
        members = type_dict(kind).get("_member_map_")
        if type(members) is dict and type(name) is str and members.get(name) is value:
            found = "enum", name
    elif (fields := _tuple_fields(kind)) is not None:
        return _reduce_tuple(value, kind, fields)
    elif class_attribute(kind, "__dataclass_fields__") is not None:
        data = _reduce_dataclass(value, kind)
        found = None if data is None else ("dataclass", data)
    if found is None:
        return None
    reference = lookup.reference_to(kind)
    return None if reference is None else named(found[0], *reference, found[1])


def reduce_exception(value: BaseException) -> tuple[int, Any] | None:
    from lambdamap.shipping import exceptions

    nodes = exceptions.reduce(value)
    return None if nodes is None else named("exception", *nodes)


def _exception(read: Reader, *nodes: Any) -> BaseException:
    from lambdamap.shipping import exceptions

    return exceptions.restore(read.names.type, nodes)


def _enum(read: Reader, module: str, qualname: str, member: str) -> Any:
    kind = read.names.type(module, qualname)
    members = type_dict(kind).get("_member_map_")
    if enum.Enum not in type_mro(kind) or type(members) is not dict:
        raise DecodeFailure(f"{module}:{qualname} is not an enum here")
    if member not in members:
        raise DecodeFailure(f"{module}:{qualname} has no member {member[:80]!r} here")
    return members[member]


# The classes made here: alive as long as an instance is.
_made: Final[weakref.WeakValueDictionary[Any, type]] = weakref.WeakValueDictionary()


def _bare(read: Reader, name: Any, fields: Any, ident: Any) -> type:
    """Return the named tuple class that is known only by name, fields and cloudpickle's id."""
    if not type(name) is type(ident) is str or type(fields) is not tuple:
        raise DecodeFailure("invalid description of a named tuple's class")
    if any(type(field) is not str for field in fields):
        raise DecodeFailure("invalid field name of a named tuple")
    key = name, fields, ident
    if (found := _made.get(key)) is not None:
        return found
    read.charge(_ROW_CLASS_BYTES + _ROW_FIELD_BYTES * len(fields))
    from lambdamap.shipping import pickling

    # namedtuple() checks the names, which become code. `rename` as in pandas: `_1` for an invalid name.
    make: Any = collections.namedtuple  # mypy expects literal fields
    made: type = make(name, fields, rename=True, module="builtins")
    if _tuple_fields(made) != fields:
        raise DecodeFailure(f"invalid field names of the named tuple {name[:80]}")
    known = pickling.same_class(ident, made)
    if known is not made and _is_bare(known, fields) and lookup.type_name(known) == name:
        made = known
    return _made.setdefault(key, made)


def _namedtuple(read: Reader, module: str | None, qualname: Any, content: tuple[Any, ...]) -> Any:
    if module is None and type(qualname) is tuple and len(qualname) == 3:
        kind = _bare(read, *qualname)
    elif module is not None and type(qualname) is str:
        kind = read.names.type(module, qualname)
    else:
        raise DecodeFailure("invalid description of a named tuple's class")
    fields = _tuple_fields(kind)
    if fields is None or len(fields) != len(content):
        name = lookup.type_name(kind)
        raise DecodeFailure(f"{name} is not a named tuple of {len(content)} fields here")
    return tuple.__new__(kind, content)


def _dataclass(read: Reader, module: str, qualname: str, content: dict[str, Any]) -> Any:
    kind = read.names.type(module, qualname)
    layout = _layout(kind)
    if layout is None:
        raise DecodeFailure(
            f"{module}:{qualname} is not a dataclass here, or has more state than its fields"
        )
    if content.keys() != {*layout.slots, *layout.in_dict}:
        raise DecodeFailure(f"the fields of {module}:{qualname} differ between caller and worker")
    made: Any = object.__new__(kind)
    for name, slot in layout.slots.items():
        slot.__set__(made, content[name])
    if layout.in_dict:
        own = layout.dict.__get__(made)
        for name, value in content.items():
            if name not in layout.slots:
                own[name] = value
    return made


def _bound_of_partial(_: str, __: str, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> int:
    return 2 * OBJECT + SLOT * len(args) + PAIR * len(kwargs)


KINDS: dict[Any, Kind] = {
    "name": Kind((TEXT, TEXT), SMALL, _callable, reads=True),
    "partial": Kind((TEXT, TEXT, TUPLE, DICT), _bound_of_partial, _partial, reads=True),
    "defaultdict": Kind(
        (p.optional(TUPLE), DICT),
        lambda _, items: 2 * OBJECT + PAIR * len(items), _defaultdict, reads=True,
    ),
    "exception": Kind(None, lambda *nodes: _NODE_BYTES * len(nodes), _exception, reads=True),
    "enum": Kind((TEXT, TEXT, TEXT), SMALL, _enum, reads=True),
    "namedtuple": Kind(
        (p.optional(TEXT), (*TEXT, *TUPLE), TUPLE),
        lambda _, __, content: OBJECT + SLOT * len(content), _namedtuple, reads=True,
    ),
    "dataclass": Kind(
        (TEXT, TEXT, DICT),
        lambda _, __, content: 2 * OBJECT + PAIR * len(content), _dataclass, reads=True,
    ),
}  # fmt: skip
