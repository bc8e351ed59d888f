"""Names of callables and classes, ``module:qualname``, and who may resolve them.

A name is resolved through the ``vars()`` of its module and of the classes on the way: never through
another module, and never by attribute access, so that no code runs. Every callable and every class
that a frame names is resolved by one of three readers:

`DATA`
    For a reply that may hold data only: classes of modules that are loaded, and the few callables
    that can only make a value.
`TRUSTED`
    For a reply that may hold pickles as well, and so may run code anyway.
`lambdamap.worker.allow.Permissions`
    For a request, within what the worker's owner allows.
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
    "is_harmless",
    "is_main",
    "is_ours",
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

# Called with data, these make a value and do nothing else.
_HARMLESS_BUILTINS: Final = frozenset(
    (
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list",
        "set", "str", "tuple",
    )
)  # fmt: skip
_HARMLESS_OTHERS: Final = frozenset(
    (
        "collections:Counter", "collections:OrderedDict", "collections:defaultdict",
        "collections:deque", "datetime:date", "datetime:datetime", "datetime:time",
        "datetime:timedelta", "decimal:Decimal", "fractions:Fraction", "uuid:UUID",
    )
)  # fmt: skip


class Names(Protocol):
    """Resolves the names in a frame. Each method raises if there is nothing to return."""

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        """Return the callable of that name."""

    def type(self, module: str, qualname: str) -> type:
        """Return the class of that name, whose data is rebuilt; it is not called."""

    def module(self, name: str) -> types.ModuleType:
        """Return numpy or pandas."""


# --- resolving a name ------------------------------------------------------------------------------

type_dict: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
type_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
type_qualname: Callable[[type], Any] = type.__dict__["__qualname__"].__get__
type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
type_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_CYTHON = ("cython_function_or_method", "fused_cython_function")


def is_class(value: object) -> TypeGuard[type]:
    """Like ``isinstance(value, type)``, but ignores what the object claims about its own class."""
    return issubclass(type(value), type)


def class_attribute(kind: type, name: str) -> Any:
    """Return what a class or one of its bases defines under a name, unbound; None: nothing."""
    for base in type_mro(kind):
        if name in (namespace := type_dict(base)):
            return namespace[name]
    return None


def own_dict(value: object) -> Mapping[str, Any]:
    """Return an object's own ``__dict__``, bypassing what its class may define; or an empty one."""
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
    """Return what ``module:qualname`` names; static and class methods are bound.

    Raises
    ------
    LookupError
        There is no such name.
    LeadsAway
        The name leads through something other than classes.
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
    """Return what a loaded module holds under a name; None: nothing."""
    holder = sys.modules.get(module)
    if holder is None:
        return None
    try:
        return find(holder, qualname)
    except LookupError:
        return None


def home_of(value: Any) -> tuple[str, str] | None:
    """Return module and qualname under which a callable says it was defined; None: it does not say.

    ``functools.wraps`` and ``functools.lru_cache`` copy them to what they return. Instances, numpy's
    ufuncs and closures are not defined under any name.
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
    """Return whether a module belongs to lambdamap, whose functions cannot be named."""
    return module.partition(".")[0] == "lambdamap"


def is_harmless(found: object, module: str, qualname: str) -> bool:
    """Return whether calling it can do nothing except make a value."""
    if module == "builtins":
        return qualname in _HARMLESS_BUILTINS
    if f"{module}:{qualname}" in _HARMLESS_OTHERS:
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
    """Return whether it is the name of the program's script, which multiprocessing's spawned children
    load as ``__mp_main__``."""
    return module == "__main__" or module == "__mp_main__"


def name_of(value: Any) -> tuple[str, str] | None:
    """Return the name by which the other side finds this very object; None: there is none.

    Names of ``__main__`` and of lambdamap's own modules cannot be resolved on the other side.
    """
    try:
        module, qualname = value.__module__, value.__qualname__
    except Exception:  # an attribute may be of any type, or raise
        return None
    if type(module) is not str or type(qualname) is not str or not module or not qualname:
        return None
    if is_ours(module) or why_not_found(value, module, qualname) is not None:
        return None
    return module, qualname


def why_not_found(value: Any, module: str, qualname: str) -> str | None:
    """Return why that name does not lead to the object; None: it does."""
    if is_main(module):
        return "it is defined in __main__, which the worker does not have"
    if "<lambda>" in qualname:
        return "it is a lambda"
    if "<locals>" in qualname:
        return "it is defined inside another function"
    if sys.modules.get(module) is None:
        return f"its module {module} is not imported"
    found = _loaded(module, qualname)
    # A class's method is a new object at each access.
    if found is value or (isinstance(value, types.MethodType) and found == value):
        return None
    if isinstance(value, types.MethodType):
        return f"it is a method of an instance of {type(value.__self__).__name__}"
    return f"{module}.{qualname} is a different object: it was replaced or decorated"


def reference_to(kind: type) -> tuple[str, str] | None:
    """Return module and qualname of a class of data; None: they do not lead to it on the other side."""
    module, qualname = type_module(kind), type_qualname(kind)
    if type(module) is not str or is_main(module):
        return None
    return (module, qualname) if _loaded(module, qualname) is kind else None


# --- replies ---------------------------------------------------------------------------------------


def loaded_class(module: str, qualname: str) -> type | None:
    """Return a class of a loaded module; None: there is none of that name."""
    found = _loaded(module, qualname)
    return found if is_class(found) else None


class _Data:
    """See the module's docstring."""

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        found: Callable[..., Any] | None = _loaded(module, qualname)
        if found is not None and is_harmless(found, module, qualname):
            return found
        raise DecodeFailure(
            f"the function or class {module}:{qualname} could run code: pass "
            "allow_pickle=True if you trust the sender"
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
    """See the module's docstring."""

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
