"""Encode a callable: by its import path, or by value."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lambdamap import _codec
from lambdamap.errors import EncodeError, warn
from lambdamap.shipping import lookup, pickling

__all__ = ["Shipment", "modules_sent", "path_of", "ship"]

WARN_BYTES = 256 << 10
MAX_BYTES = 1 << 20
_WORTH_NAMING = 4096  # bytes


class Shipment(NamedTuple):
    """How a callable is sent.

    Attributes
    ----------
    path : str
        ``module:qualname``, for the worker's permissions and for messages.
    pickle : bytes or None
        The callable itself; None: the worker finds it by its path.
    args, kwargs : tuple, dict
        What a partial that is sent by path adds to each call.
    source : str or None
        File that defines it, so that stale code on the worker is noticed.
    """

    path: str
    pickle: bytes | None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012  # never changed
    source: str | None = None

    @property
    def by_value(self) -> bool:
        return self.pickle is not None

    @property
    def spec(self) -> dict[str, Any]:
        """Return what precedes the items of each chunk."""
        if self.pickle:
            return {"f": self.pickle}
        return {k: v for k, v in (("args", self.args), ("kwargs", self.kwargs)) if v}

    @property
    def reference(self) -> str | bytes:
        """Return the function as data, for chunks of several functions; without `args` and `kwargs`."""
        return self.path if self.pickle is None else self.pickle

    @property
    def digest(self) -> tuple[str, bool, bytes]:
        """Return a key that is equal for shipments that can replace each other."""
        what = _encoded(self.spec)
        return self.path, self.by_value, hashlib.sha256(what).digest()

    @staticmethod
    def of_many(shipments: Sequence[Shipment]) -> Shipment:
        """Return a shipment for several functions, each of which is sent with its arguments."""
        return Shipment("", b"" if any(made.by_value for made in shipments) else None)


def _name(function: Any) -> tuple[str, str]:
    return getattr(function, "__module__", None) or "", getattr(function, "__qualname__", "") or ""


def _why_no_path(function: Any, may_be_ours: bool = False) -> str | None:
    """Return why the callable cannot be found by its name; None: it can."""
    module, qualname = _name(function)
    if not isinstance(module, str) or not isinstance(qualname, str) or not module or not qualname:
        return f"it is an instance of {type(function).__name__}, which has no import path"
    if lookup.is_ours(module) and not may_be_ours:
        return "it belongs to lambdamap, whose functions callers may not name"
    return lookup.why_not_found(function, module, qualname)


def _what_it_would_return(function: Any) -> str | None:
    """Return why its results could not be sent back, as far as its code flags tell; None: they can."""
    code = getattr(function, "__code__", None)
    flags = code.co_flags if isinstance(code, types.CodeType) else 0
    name = getattr(function, "__qualname__", "the function")
    if flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE):
        return (
            f"{name} is a coroutine function, which the worker does not run: pass a function that "
            "calls asyncio.run() with it"
        )
    if flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return (
            f"{name} is a generator function, and generators cannot be sent back: return a list "
            "instead of yielding"
        )
    return None


def _in_modules(function: Any, modules: Sequence[Any]) -> bool:
    names = [m if isinstance(m, str) else getattr(m, "__name__", "") for m in modules]
    module = _name(function)[0]
    return any(module == name or module.startswith(name + ".") for name in names)


def _parts(function: Any) -> list[Any]:
    """Return the callable and, for a partial, what it calls."""
    parts = [function]
    while isinstance(parts[-1], functools.partial):
        parts.append(parts[-1].func)
    return parts


def _is_bare_partial(function: Any) -> bool:
    """Return whether a partial is only a callable and its arguments, each in its position."""
    holes = getattr(functools, "Placeholder", None)  # since Python 3.14
    return (
        type(function) is functools.partial
        and not vars(function)
        and not isinstance(function.func, functools.partial)  # with attributes, or of a subclass
        and (holes is None or all(arg is not holes for arg in function.args))
    )


def ship(function: Callable[..., Any], by_value: bool | Sequence[Any] | None = None) -> Shipment:
    """Decide how a callable is sent.

    Parameters
    ----------
    function
        A function, class, partial of one, or with `by_value` any callable that can be pickled.
    by_value
        None: by import path if it has one, otherwise by value; True, False: always, never; a list of
        modules: by value if it is defined in one of them.

    Raises
    ------
    EncodeError
        It cannot be sent, or takes more than 1 MB by value; or it is a generator or coroutine
        function, whose results could not be sent back. The message says which.
    """
    if not callable(function):
        raise EncodeError(
            f"the function must be callable, got an instance of {type(function).__name__}"
        )
    inner = _parts(function)[-1]
    if (problem := _what_it_would_return(inner)) is not None:
        raise EncodeError(problem)
    why = _why_no_path(inner)
    if why is None and inner is not function and not _is_bare_partial(function):
        why = "it is a partial with attributes or placeholders, or of a subclass"
    value = why is not None if by_value is None or by_value is False else True
    if isinstance(by_value, (list, tuple)):
        value = why is not None or _in_modules(inner, by_value)
    module, qualname = _name(inner)
    path = (
        f"{module}:{qualname}"
        if module and qualname
        else f"{type(inner).__module__}:{type(inner).__qualname__}"
    )
    if not value:
        if inner is function:
            return Shipment(path, None, source=_source(module))
        made = Shipment(path, None, function.args, function.keywords, _source(module))  # type: ignore[attr-defined]
        _check_size(path, _size_of(made.spec), function)
        return made
    if by_value is False:
        raise EncodeError(
            f"{path} cannot be shipped by import path: {why}. Move it to the top level of a module "
            "that the worker has, or leave out by_value"
        )
    return Shipment(path, _pickle(function, path, by_value))


def path_of(function: Callable[..., Any]) -> str:
    """Return ``module:qualname`` of a callable that can be imported, lambdamap's own included.

    Raises
    ------
    EncodeError
        It cannot be imported by that name.
    """
    path = "{}:{}".format(*_name(function))
    if (why := _why_no_path(function, may_be_ours=True)) is not None:
        raise EncodeError(f"{path} cannot be shipped by import path: {why}")
    return path


def _encoded(spec: dict[str, Any]) -> bytes:
    """Return the arguments as a ChunkPacker sends them."""
    try:
        return _codec.encode(spec, allow_pickle=True, compression=False)
    except _codec.Entangled as failure:
        from lambdamap.shipping import kinds

        return kinds.whole(spec, failure).data


def _size_of(spec: dict[str, Any]) -> int:
    """Return the bytes of its arguments; 0 if they cannot be sent, which is reported later."""
    try:
        return len(_encoded(spec))
    except _codec.EncodeFailure:
        return 0


def _source(module: str) -> str | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    return path if isinstance(path, str) and path.endswith(".py") else None


def modules_sent(function: Any, by_value: Any) -> list[types.ModuleType]:
    """Return the modules whose contents are sent by value."""
    if by_value is True:
        module = sys.modules.get(_name(_parts(function)[-1])[0])
        return [] if module is None else [module]
    if not isinstance(by_value, (list, tuple)):
        return []
    found = []
    for given in by_value:
        module = sys.modules.get(given) if isinstance(given, str) else given
        if not isinstance(module, types.ModuleType):
            raise EncodeError(f"by_value lists {given!r}, which is not an imported module")
        found.append(module)
    return found


def _pickle(function: Any, path: str, by_value: Any) -> bytes:
    with pickling.by_value(modules_sent(function, by_value)):
        try:
            blob = pickling.dumps(function)
        except Exception as error:
            remedy = "create them inside the function"
            if isinstance(by_value, (list, tuple)):
                remedy += (
                    ". Code that uses module.name of a module in by_value sends the whole module: "
                )
                remedy += "import the name instead"
            raise EncodeError(
                f"{path} cannot be shipped by value ({type(error).__name__}: {error}). Files, "
                f"locks, connections and generators cannot be sent: {remedy}"
            ) from error.with_traceback(None)
        _check_size(path, len(blob), function)
    return blob


def _check_size(path: str, size: int, function: Any) -> None:
    """Warn about a large function, which every chunk contains, or refuse it."""
    if size <= WARN_BYTES:
        return
    remedy = "pass large data as items, or store it where the worker can read it"
    if size > MAX_BYTES:
        raise EncodeError(
            f"{path} takes {size} bytes, more than 1 MB{_largest(function)}: {remedy}"
        )
    warn(
        f"{path} takes {size} bytes and is sent with every chunk{_largest(function)}: {remedy}",
        UserWarning,
    )


def _largest(function: Any) -> str:
    """Return the three largest captured values with their sizes, as text."""
    sizes = {}
    for name, value in _captured(function).items():
        try:
            sizes[name] = len(pickling.dumps(value))
        except Exception:
            continue
    named = sorted(sizes.items(), key=lambda pair: -pair[1])[:3]
    text = ", ".join(f"{name} ({size} bytes)" for name, size in named if size > _WORTH_NAMING)
    return f", mostly {text}" if text else ""


def _captured(function: Any) -> dict[str, Any]:
    """Return what is sent with a callable, by the names that its author knows."""
    found: dict[str, Any] = {}
    for part in _parts(function):
        if isinstance(part, functools.partial):
            found.update({f"argument {n} of the partial": v for n, v in enumerate(part.args)})
            found.update({f"{k}= of the partial": v for k, v in part.keywords.items()})
        found.update(getattr(part, "__dict__", None) or {})
        found.update(_captured_by_code(part))
        found.update({f"self.{k}": v for k, v in _own_state(part).items()})
    return found


def _own_state(function: Any) -> dict[str, Any]:
    """Return the attributes of the object that a bound method belongs to."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, (type, types.ModuleType)):
        return {}
    return dict(getattr(owner, "__dict__", {}))


def _captured_by_code(function: Any) -> dict[str, Any]:
    """Return globals, closure variables and defaults."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        return {}
    names: set[str] = set()
    codes = [code]
    while codes:  # functions defined inside it use globals as well
        inner = codes.pop()
        names.update(inner.co_names)
        codes.extend(const for const in inner.co_consts if isinstance(const, types.CodeType))
    namespace = getattr(function, "__globals__", {})
    found = {name: namespace[name] for name in names if name in namespace}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # not assigned yet
            found[name] = cell.cell_contents
    defaults = function.__defaults__ or ()
    arguments = code.co_varnames[: code.co_argcount]
    found.update(zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True))
    found.update(function.__kwdefaults__ or {})
    return found
