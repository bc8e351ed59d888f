"""From a callable to what travels: an import path, or the code itself."""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lambdamap.errors import EncodeError

__all__ = ["Shipment", "ship"]

WARN_BYTES = 256 << 10
MAX_BYTES = 1 << 20


class Shipment(NamedTuple):
    """How a callable travels.

    Attributes
    ----------
    path : str
        ``module:qualname``, for the worker's permissions and for people.
    function : object
        What goes into the request: the callable itself (encoded as its name), or its pickle.
    by_value : bool
    source : str or None
        File that defines it, to notice stale code on the other side.
    """

    path: str
    function: Any
    by_value: bool
    source: str | None


def _name(function: Any) -> tuple[str, str]:
    return getattr(function, "__module__", None) or "", getattr(function, "__qualname__", "") or ""


def _why_no_path(function: Any) -> str | None:
    """Why the callable cannot be found by its name, or None when it can."""
    module, qualname = _name(function)
    if not module or not qualname:
        return f"a {type(function).__name__} object has no import path"
    if module == "__main__":
        return "it is defined in __main__, which the worker does not have"
    if "<lambda>" in qualname:
        return "it is a lambda"
    if "<locals>" in qualname:
        return "it is defined inside another function"
    found: Any = sys.modules.get(module)
    if found is None:
        return f"its module {module} is not imported"
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not function:
        return f"{module}.{qualname} is another object: it was replaced or decorated"
    return None


def _in_modules(function: Any, modules: Sequence[Any]) -> bool:
    names = [m if isinstance(m, str) else getattr(m, "__name__", "") for m in modules]
    module = _name(function)[0]
    return any(module == name or module.startswith(name + ".") for name in names)


def _parts(function: Any) -> list[Any]:
    """The callable and, for a partial, what it calls."""
    parts = [function]
    while isinstance(parts[-1], functools.partial):
        parts.append(parts[-1].func)
    return parts


def ship(function: Callable[..., Any], by_value: bool | Sequence[Any] | None = None) -> Shipment:
    """Decide how a callable travels.

    Parameters
    ----------
    function
        A function, class, partial of one, or with `by_value` any callable that pickles.
    by_value
        None: by its import path where it has one, else by value; True, False: always, never; a list
        of modules: by value what is defined in them.

    Raises
    ------
    EncodeError
        It cannot be shipped; the message says why. Above 1 MB by value.
    """
    if not callable(function):
        raise EncodeError(f"the function must be callable, not a {type(function).__name__}")
    inner = _parts(function)[-1]
    why = _why_no_path(inner)
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
        return Shipment(path, function, False, _source(module))
    if by_value is False:
        raise EncodeError(
            f"{path} cannot be shipped by import path: {why}. Move it to the top level of a module "
            "that the worker has, or leave by_value out"
        )
    return Shipment(path, _pickle(function, path, by_value), True, None)


def _source(module: str) -> str | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    return path if isinstance(path, str) and path.endswith(".py") else None


def _pickle(function: Any, path: str, by_value: Any) -> bytes:
    import cloudpickle

    registered = []
    if isinstance(by_value, (list, tuple)):
        for module in by_value:
            found = sys.modules.get(module) if isinstance(module, str) else module
            if not isinstance(found, types.ModuleType):
                raise EncodeError(f"by_value lists {module!r}, which is no imported module")
            cloudpickle.register_pickle_by_value(found)
            registered.append(found)
    try:
        if by_value is True and _why_no_path(_parts(function)[-1]) is None:
            module = sys.modules[_name(_parts(function)[-1])[0]]
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
        blob: bytes = cloudpickle.dumps(function, protocol=5)
    except EncodeError:
        raise
    except Exception as error:
        raise EncodeError(
            f"{path} cannot be shipped by value ({type(error).__name__}: {error}). Files, locks, "
            "connections and generators do not travel: make them inside the function"
        ) from error
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
    if len(blob) > MAX_BYTES:
        raise EncodeError(
            f"{path} takes {len(blob)} bytes by value, above 1 MB{_largest(function)}: pass large "
            "data as items, or store it where the worker can read it"
        )
    if len(blob) > WARN_BYTES:
        warnings.warn(
            f"{path} takes {len(blob)} bytes by value and travels with every chunk{_largest(function)}",
            stacklevel=5,
        )
    return blob


def _largest(function: Any) -> str:
    """The captured globals and closure variables that take most, with their sizes."""
    import cloudpickle

    inner = _parts(function)[-1]
    code = getattr(inner, "__code__", None)
    if code is None:
        return ""
    captured = {
        name: inner.__globals__[name] for name in code.co_names if name in inner.__globals__
    }
    cells = zip(code.co_freevars, inner.__closure__ or (), strict=False)
    captured.update({name: cell.cell_contents for name, cell in cells})
    sizes = {}
    for name, value in captured.items():
        try:
            sizes[name] = len(cloudpickle.dumps(value, protocol=5))
        except Exception:
            continue
    named = sorted(sizes.items(), key=lambda pair: -pair[1])[:3]
    text = ", ".join(f"{name} ({size} bytes)" for name, size in named if size > 4096)
    return f", most of it in {text}" if text else ""
