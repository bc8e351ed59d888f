"""Names of callables and classes, ``module:qualname``, and who may follow them.

A name is followed through the ``vars()`` of its module and of the classes on the way: never through
another module, and never by an attribute look-up, so that no code runs for it. Every callable and
every class that a frame names is found here, by one of three readers:

`DATA`
    A reply that may hold data only. Classes of modules that are loaded; of callables only the few
    that can do nothing but make a value.
`TRUSTED`
    A reply that may hold pickles, too, and so may run code anyway.
`lambdamap.worker.allow.Permissions`
    A request, within what the worker's owner allows.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeGuard

from lambdamap._codec import DecodeFailure

__all__ = [
    "DATA",
    "TRUSTED",
    "LeadsAway",
    "Names",
    "class_attribute",
    "find",
    "home_of",
    "is_class",
    "is_main",
    "is_ours",
    "is_plain",
    "loaded_class",
    "name_of",
    "own_dict",
    "reference_to",
    "type_dict",
    "type_module",
    "type_mro",
    "type_name",
    "type_qualname",
    "why_not_found",
]

# What these make of plain data is a value, and nothing else happens.
PLAIN_CALLABLES: Final = frozenset(
    (
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list",
        "set", "str", "tuple",
    )
)  # fmt: skip
_PLAIN_OTHERS: Final = frozenset(
    (
        "collections:Counter", "collections:OrderedDict", "collections:defaultdict",
        "collections:deque", "datetime:date", "datetime:datetime", "datetime:time",
        "datetime:timedelta", "decimal:Decimal", "fractions:Fraction", "uuid:UUID",
    )
)  # fmt: skip


class Names(Protocol):
    """Who follows the names in a frame. Each method raises rather than return anything else."""

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        """The callable of that name."""

    def type(self, module: str, qualname: str) -> type:
        """The class of that name, to rebuild data of; it is not called."""

    def module(self, name: str) -> types.ModuleType:
        """numpy or pandas."""


# --- following a name ------------------------------------------------------------------------------

type_dict: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
type_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
type_qualname: Callable[[type], Any] = type.__dict__["__qualname__"].__get__
type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
type_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_CYTHON = ("cython_function_or_method", "fused_cython_function")


def is_class(value: object) -> TypeGuard[type]:
    """As `isinstance` with `type`, but nothing that the object says of itself counts."""
    return issubclass(type(value), type)


def class_attribute(kind: type, name: str) -> Any:
    """What a class or its bases hold under a name, as it stands there; None: nothing."""
    for base in type_mro(kind):
        if name in (namespace := type_dict(base)):
            return namespace[name]
    return None


def own_dict(value: object) -> Mapping[str, Any]:
    """An object's own ``__dict__``, read past everything that its class may define; or empty."""
    for kind in type_mro(type(value)):
        found = type_dict(kind).get("__dict__")
        if found is not None:
            if type(found) in (types.GetSetDescriptorType, types.MemberDescriptorType):
                own = found.__get__(value)
                return own if type(own) is dict else {}
            return {}
    return {}


class LeadsAway(LookupError):
    """A name that leads through something that is not a class, such as another module."""


def find(module: types.ModuleType, qualname: str) -> Any:
    """What ``module:qualname`` names; static and class methods are bound.

    Raises
    ------
    LookupError
        There is no such name.
    LeadsAway
        The way to it is not through classes alone.
    """
    holder: Any = None
    found: Any = module
    namespace: Mapping[str, Any] = own_dict(module)
    for part in qualname.split("."):
        if part not in namespace:
            raise LookupError(f"no {qualname}") if namespace else LeadsAway(f"no way to {qualname}")
        holder, found = found, namespace[part]
        namespace = type_dict(found) if is_class(found) else {}
    if issubclass(type(found), staticmethod):
        return found.__func__
    if issubclass(type(found), classmethod):
        return types.MethodType(found.__func__, holder)
    return found


def _loaded(module: str, qualname: str) -> Any:
    """What a module that is loaded holds under a name; None: nothing."""
    holder = sys.modules.get(module)
    if holder is None:
        return None
    try:
        return find(holder, qualname)
    except LookupError:
        return None


def home_of(value: Any) -> tuple[str, str] | None:
    """Module and qualname under which a callable says that it was defined; None: it says nothing.

    ``functools.wraps`` and ``functools.lru_cache`` give theirs to what they make. Instances, numpy's
    ufuncs and closures are defined nowhere that a name leads to.
    """
    if issubclass(type(value), types.MethodType):
        value = value.__func__ if is_class(value.__self__) else None
    module: Any = None
    qualname: Any = None
    kind = type(value)
    if is_class(value):
        module, qualname = type_module(value), type_qualname(value)
    elif kind in (types.FunctionType, types.BuiltinFunctionType) or type_name(kind) in _CYTHON:
        module, qualname = value.__module__, value.__qualname__
    else:
        own = own_dict(value)
        if "__wrapped__" in own:
            module, qualname = own.get("__module__"), own.get("__qualname__")
    if type(module) is not str or type(qualname) is not str or "<locals>" in qualname:
        return None
    return module, qualname


def is_ours(module: str) -> bool:
    """Whether a module is of lambdamap, whose functions nobody may name."""
    return module.partition(".")[0] == "lambdamap"


def is_plain(found: object, module: str, qualname: str) -> bool:
    """Whether a callable can do nothing but make a value."""
    if module == "builtins":
        return qualname in PLAIN_CALLABLES
    if f"{module}:{qualname}" in _PLAIN_OTHERS:
        return True
    numpy = sys.modules.get("numpy")
    generic = None if numpy is None else own_dict(numpy).get("generic")
    return (
        module == "numpy"
        and is_class(generic)
        and is_class(found)
        and type.__subclasscheck__(generic, found)
        and type_module(found) == "numpy"
        and "object" not in qualname
    )


# --- from an object to its name ---------------------------------------------------------------------


def is_main(module: object) -> bool:
    """Whether it is the name of the program's script, which multiprocessing's spawned children load
    as ``__mp_main__``."""
    return module == "__main__" or module == "__mp_main__"


def name_of(value: Any) -> tuple[str, str] | None:
    """The name by which somebody else finds this very object; None: there is none.

    The names of ``__main__`` and of lambdamap's own modules lead nowhere on the other side.
    """
    try:
        module, qualname = value.__module__, value.__qualname__
    except Exception:  # an attribute may be anything here
        return None
    if type(module) is not str or type(qualname) is not str or not module or not qualname:
        return None
    if is_ours(module) or why_not_found(value, module, qualname) is not None:
        return None
    return module, qualname


def why_not_found(value: Any, module: str, qualname: str) -> str | None:
    """Why that name does not lead to the object; None when it does."""
    if is_main(module):
        return "it is defined in __main__, which the worker does not have"
    if "<lambda>" in qualname:
        return "it is a lambda"
    if "<locals>" in qualname:
        return "it is defined inside another function"
    if sys.modules.get(module) is None:
        return f"its module {module} is not imported"
    found = _loaded(module, qualname)
    # A class's method is made anew each time that it is looked up.
    if found is value or (isinstance(value, types.MethodType) and found == value):
        return None
    if isinstance(value, types.MethodType):
        return f"it is a method of an instance of {type(value.__self__).__name__}"
    return f"{module}.{qualname} is a different object: it was replaced or decorated"


def reference_to(kind: type) -> tuple[str, str] | None:
    """Module and qualname of a class of data, if that leads to it on the other side, too."""
    module, qualname = type_module(kind), type_qualname(kind)
    if type(module) is not str or is_main(module):
        return None
    return (module, qualname) if _loaded(module, qualname) is kind else None


# --- replies ---------------------------------------------------------------------------------------


def loaded_class(module: str, qualname: str) -> type | None:
    """A class of a module that is loaded; None: there is none of that name."""
    found = _loaded(module, qualname)
    return found if is_class(found) else None


class _Data:
    """See the module's head."""

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        found: Callable[..., Any] | None = _loaded(module, qualname)
        if found is not None and is_plain(found, module, qualname):
            return found
        raise DecodeFailure(
            f"the function or class {module}:{qualname} could run code: pass "
            "allow_pickle=True if you trust the other side"
        )

    def type(self, module: str, qualname: str) -> type:
        found = loaded_class(module, qualname)
        if found is None:
            raise DecodeFailure(
                f"data of the class {module}:{qualname}, which is not imported here: import "
                f"{module} first"
            )
        return found

    def module(self, name: str) -> types.ModuleType:
        found = sys.modules.get(name)
        if found is None:
            raise DecodeFailure(f"data of {name}, which is not imported here: import it first")
        return found


class _Trusted(_Data):
    """See the module's head."""

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = find(importlib.import_module(module), qualname)
        except (ImportError, LookupError) as error:
            raise DecodeFailure(f"{module}:{qualname} is not found here ({error})") from error
        if not callable(found):
            raise DecodeFailure(f"{module}:{qualname} is not callable")
        return found

    def type(self, module: str, qualname: str) -> type:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
        return super().type(module, qualname)

    def module(self, name: str) -> types.ModuleType:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        return super().module(name)


DATA: Final = _Data()
TRUSTED: Final = _Trusted()
