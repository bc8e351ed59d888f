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
import traceback
from typing import Any

__all__ = ["NotFound", "Refused", "by_value_allowed", "check_name", "resolve"]


# How an executor's calls are made. What they call has a name of its own, which is checked.
_CALLS = "lambdamap.worker.calls"


class Refused(Exception):
    """The name may not be called; the text names the mend."""


class NotFound(Refused):
    """The name may be called, but is not there.

    Attributes
    ----------
    trace : str
        Traceback of the import that failed; empty when the module has no such attribute.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def by_value_allowed(trusted: bool = False) -> bool:
    """Whether functions may arrive pickled. trusted: caller and worker are one process or person."""
    return trusted or os.environ.get("LAMBDAMAP_BY_VALUE", "0") == "1"


def _patterns() -> list[str] | None:
    text = os.environ.get("LAMBDAMAP_ALLOW")
    return None if text is None else text.replace(",", " ").split()


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


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
        if _is_standard(module):
            raise Refused(
                f"{name} is in the standard library: wrap it in a function of your own, or set "
                f"LAMBDAMAP_ALLOW={name} on the worker"
            )
        if module == "__main__":
            raise Refused(
                f"{name} is in the program that started the worker, not in a module of yours: move "
                f"it into one, or set LAMBDAMAP_ALLOW={name} on the worker"
            )
    elif not _fits(name, patterns):
        raise Refused(
            f"LAMBDAMAP_ALLOW on the worker does not allow {name}: add it to that variable there"
        )


def _check_origin(found: Any, module: str, qualname: str) -> None:
    """Refuse what a module merely imports from the standard library, such as ``mine:os.system``.

    A pattern that spells the name out, or that fits the place where it is defined, allows it.
    """
    name = f"{module}:{qualname}"
    if not callable(found):
        raise Refused(f"{name} is not callable")
    defined = getattr(found, "__module__", None) or type(found).__module__
    if not _is_standard(str(defined)):
        return
    patterns = _patterns()
    if patterns is not None:
        origin = f"{defined}:{getattr(found, '__qualname__', qualname)}"
        if name in patterns or _fits(origin, patterns):
            return
    raise Refused(
        f"{name} is defined in {defined}, not in a module of yours: set LAMBDAMAP_ALLOW={name} on "
        "the worker to allow it"
    )


def resolve(module: str, qualname: str, trusted: bool = False) -> Any:
    """The callable or type of that name; its module is imported.

    Raises
    ------
    Refused
        It may not be called.
    NotFound
        Its module cannot be imported, or does not hold it.
    """
    own = module == _CALLS
    if not own:
        check_name(module, qualname, trusted)
    try:
        found: Any = importlib.import_module(module)
    except BaseException as error:  # a module that ends the process must not end the worker
        raise NotFound(
            f"cannot import {module} on the worker ({type(error).__name__}: {error}): "
            f"deploy it with the worker, or ship it by value with by_value=[{module}]",
            traceback.format_exc(),
        ) from error
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotFound(
                f"{module} on the worker has no {qualname}: is its code older than the caller's?"
            ) from None
    if not (trusted or own):
        _check_origin(found, module, qualname)
    return found
