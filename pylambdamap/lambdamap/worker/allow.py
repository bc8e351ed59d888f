"""Which callables a caller may name: the worker's side of trust.

``LAMBDAMAP_ALLOW`` holds patterns of ``module:qualname`` (shell style, separated by commas or
blanks); ``LAMBDAMAP_BY_VALUE`` is ``1`` or ``0``. Unset, functions and classes that are defined in
a module outside the standard library are allowed and nothing travels by value. The local Lambda
sets both to allow everything: it runs its own caller's code.
"""

from __future__ import annotations

import fnmatch
import importlib
import os
import sys
from types import BuiltinFunctionType, FunctionType
from typing import Any

__all__ = ["Refused", "by_value_allowed", "check_name", "resolve"]


class Refused(Exception):
    """The name may not be called, or cannot be found; the text names the mend."""


def by_value_allowed(trusted: bool = False) -> bool:
    """Whether functions may arrive pickled. trusted: caller and worker are one process or person."""
    return trusted or os.environ.get("LAMBDAMAP_BY_VALUE", "0") == "1"


def _patterns() -> list[str] | None:
    text = os.environ.get("LAMBDAMAP_ALLOW")
    return None if text is None else text.replace(",", " ").split()


def check_name(module: str, qualname: str, trusted: bool = False) -> None:
    """Refuse before anything is imported.

    Raises
    ------
    Refused
        The name is no plain path, or no pattern of ``LAMBDAMAP_ALLOW`` fits it.
    """
    parts = [*module.split("."), *qualname.split(".")]
    if not all(part.isidentifier() for part in parts) or any(
        part.startswith("__") for part in qualname.split(".")
    ):
        raise Refused(f"{module}:{qualname} is no path of a function in a module")
    if trusted:
        return
    patterns = _patterns()
    name = f"{module}:{qualname}"
    if patterns is None:
        if module.partition(".")[0] in sys.stdlib_module_names:
            raise Refused(
                f"{name} is in the standard library: wrap it in a function of your own, or set "
                f"LAMBDAMAP_ALLOW={name} on the worker"
            )
    elif not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
        raise Refused(f"LAMBDAMAP_ALLOW on the worker does not allow {name}: add it there")


def resolve(module: str, qualname: str, trusted: bool = False) -> Any:
    """The callable or type of that name.

    Raises
    ------
    Refused
        It may not be called, its module cannot be imported, or it is not there.
    """
    check_name(module, qualname, trusted)
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise Refused(
            f"cannot import {module} on the worker ({type(error).__name__}: {error}): "
            "deploy it with the function, or ship the function by value"
        ) from error
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Refused(
                f"{module} on the worker has no {qualname}: is its code older than the caller's?"
            ) from None
    if not trusted and _patterns() is None:
        if not isinstance(found, (FunctionType, BuiltinFunctionType, type)) and not callable(found):
            raise Refused(f"{module}:{qualname} is not callable")
        defined = getattr(found, "__module__", None)
        if defined is None or defined.partition(".")[0] in sys.stdlib_module_names:
            raise Refused(
                f"{module}:{qualname} is defined in {defined}, not in a module of yours: set "
                f"LAMBDAMAP_ALLOW={module}:{qualname} on the worker to allow it"
            )
    return found
