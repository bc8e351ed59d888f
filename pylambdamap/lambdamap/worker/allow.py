"""Which callables a caller may name: the worker's side of trust.

``LAMBDAMAP_ALLOW`` holds patterns of ``module:qualname`` (shell style, separated by commas or
blanks); ``LAMBDAMAP_BY_VALUE`` is ``1`` or ``0``. Unset, callables of the deployed project may be
named, and nothing travels by value. The local Lambda sets both to allow everything: it runs its own
caller's code.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import os
import re
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from lambdamap import _codec
from lambdamap.shipping import lookup
from lambdamap.worker import project

__all__ = ["NotFound", "Permissions", "Refused", "by_value_allowed", "described", "malformed"]

_EVERYTHING = ("*", "*:*")
_PART = r"[\w*?\[\]!-]+"
_DOTTED = rf"{_PART}(?:\.{_PART})*"
_PATTERN = re.compile(rf"{_DOTTED}:{_DOTTED}|(?=.*[*?\[]){_DOTTED}")  # a wildcard may stand for ":"


class Refused(Exception):
    """The name may not be followed; the text names the remedy."""


class NotFound(Refused):
    """The name may be followed, but leads nowhere.

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
    return None if text is None else _split(text)


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


@functools.lru_cache(maxsize=8)  # asked for each request
def malformed(text: str) -> str:
    """Return what is wrong with a value of LAMBDAMAP_ALLOW; empty: nothing."""
    for pattern in _split(text):
        if _PATTERN.fullmatch(pattern) is None:
            return (
                f"{pattern!r}, which matches no function: write module:name, with * and ? if needed"
            )
    return ""


def described(trusted: bool = False) -> str:
    """What a caller may make run here, for people."""
    patterns = _patterns()
    if mistake := malformed(os.environ.get("LAMBDAMAP_ALLOW", "")):
        named = f"nothing by name, as LAMBDAMAP_ALLOW contains {mistake}"
    elif patterns is not None:
        named = (
            f"what LAMBDAMAP_ALLOW names ({' '.join(patterns)})" if patterns else "nothing by name"
        )
    elif project.is_stripped():
        named = (
            "nothing by name, as LAMBDAMAP_ALLOW is not set and the packages' metadata not deployed"
        )
    else:
        named = "functions of the deployed project by name, as LAMBDAMAP_ALLOW is not set"
    if trusted:
        named = "everything by name"
    return f"{named}; {'any code' if by_value_allowed(trusted) else 'nothing'} by value"


class Permissions:
    """The names in a request, followed as far as this worker's owner allows; a `lookup.Names`.

    Parameters
    ----------
    trusted
        Caller and worker are one process or person: everything but lambdamap's own may be named.
    """

    def __init__(self, trusted: bool = False) -> None:
        self._patterns = _patterns()
        self._all = trusted or any(p in _EVERYTHING for p in self._patterns or ())
        self._mistake = "" if trusted else malformed(os.environ.get("LAMBDAMAP_ALLOW", ""))

    def check(self, module: str, qualname: str) -> None:
        """Refuse a callable's name before anything is imported.

        Raises
        ------
        Refused
            It is not a path of a callable, or may not be called.
        """
        parts = [*module.split("."), *qualname.split(".")]
        if not all(part.isidentifier() for part in parts) or any(
            part.startswith("__") for part in qualname.split(".")
        ):
            raise Refused(f"{module}:{qualname} is not a path of a function in a module")
        if lookup.is_ours(module):
            raise Refused(f"{module}:{qualname} is lambdamap's own, which no caller may name")
        if self._mistake:
            raise Refused(f"LAMBDAMAP_ALLOW on the worker contains {self._mistake}")
        if self._all:
            return
        name = f"{module}:{qualname}"
        if self._patterns is not None:
            if not self._fits(name):
                raise Refused(
                    f"LAMBDAMAP_ALLOW on the worker does not allow {name}: add it to that variable "
                    "there (lambdamap deploy --allow does)"
                )
        elif module == "__main__":
            raise Refused(
                f"{name} is in the program that started the worker, not in a module of yours: move "
                f"it into one, or set LAMBDAMAP_ALLOW={name} on the worker"
            )
        elif (owner := project.owner_of(module)) is not None:
            raise Refused(_not_the_projects(name, owner))
        elif project.is_stripped():
            raise Refused(
                f"{name} may not be called: LAMBDAMAP_ALLOW is not set, and the worker cannot tell the "
                "project's modules from installed packages, since the packages' metadata (their "
                f'.dist-info folders) is not deployed: set LAMBDAMAP_ALLOW="{_all_of(module)}" on it'
            )

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        """A callable among the items and arguments: one that only makes a value, as in a
        ``defaultdict(list)``, or one that `function` gives."""
        try:
            return lookup.DATA.callable(module, qualname)
        except _codec.DecodeFailure:
            return self.function(module, qualname)

    def function(self, module: str, qualname: str) -> Callable[..., Any]:
        """The callable of that name; its module is imported.

        Raises
        ------
        Refused
            It may not be called.
        NotFound
            Its module cannot be imported, or does not hold it.
        """
        self.check(module, qualname)
        found: Callable[..., Any] = _find(module, qualname)
        if not callable(found):
            raise Refused(f"{module}:{qualname} is not callable")
        self._check_home(found, module, qualname)
        return found

    def _check_home(self, found: Any, module: str, qualname: str) -> None:
        """Refuse what a module merely holds, such as ``shop:pd.read_pickle``, unless the name of the
        place where it is defined is allowed as well, or this one is spelled out."""
        name = f"{module}:{qualname}"
        home = lookup.home_of(found)
        if home is not None and lookup.is_ours(home[0]):
            raise Refused(f"{name} is lambdamap's own, which no caller may name")
        if self._all or home == (module, qualname) or name in (self._patterns or ()):
            return
        spelled = f"LAMBDAMAP_ALLOW on the worker must name {name} itself, without * or ?"
        if home is None:
            raise Refused(
                f"{name} is a {type(found).__name__} object or a closure, which is not defined under "
                f"that name: {spelled}"
            )
        elsewhere = ":".join(home)
        if self._patterns is not None:
            if not self._fits(elsewhere):
                raise Refused(
                    f"{name} is defined as {elsewhere}, which LAMBDAMAP_ALLOW on the worker does not "
                    f"allow: {spelled}, or allow {elsewhere} as well"
                )
        elif (owner := project.owner_of(home[0])) is not None:
            raise Refused(f"{name} is defined as {elsewhere}. " + _not_the_projects(name, owner))

    def type(self, module: str, qualname: str) -> type:
        """The class of that name, for data. Its module is imported only where it might be called.

        Raises
        ------
        Refused
            Its module is not loaded, and may not be imported.
        NotFound
            There is no such class.
        """
        if module not in sys.modules:
            try:
                self.check(module, qualname)
            except Refused as error:
                raise Refused(
                    f"the items hold data of the class {module}:{qualname}, whose module the worker "
                    f"has not loaded and may not import: {error}"
                ) from None
        found = _find(module, qualname)
        if not lookup.is_class(found):
            raise NotFound(f"{module}:{qualname} on the worker is not a class")
        return found

    def module(self, name: str) -> types.ModuleType:
        """numpy or pandas."""
        return importlib.import_module(name)

    def _fits(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns or ())


def _find(module: str, qualname: str) -> Any:
    try:
        loaded = importlib.import_module(module)
    except BaseException as error:  # a module that ends the process must not end the worker
        raise NotFound(
            f"cannot import {module} on the worker ({type(error).__name__}: {error}): "
            f"deploy it with the worker, or ship it by value with by_value=[{module}]",
            traceback.format_exc(),
        ) from error
    try:
        return lookup.find(loaded, qualname)
    except lookup.LeadsAway:
        raise Refused(
            f"{module}:{qualname} leads through something that is not a class: name what is defined in "
            f"{module}, or a method of a class in it"
        ) from None
    except LookupError:
        raise NotFound(
            f"{module} on the worker has no {qualname}: is its code older than the caller's?"
        ) from None


def _not_the_projects(name: str, owner: str) -> str:
    module = name.partition(":")[0]
    if owner == "the standard library":
        return (
            f"{name} is in the standard library: wrap it in a function of your own, or set "
            f"LAMBDAMAP_ALLOW={name} on the worker"
        )
    return (
        f"{name} belongs to {owner}, and with nothing set only functions of the deployed project may "
        f'be called: set LAMBDAMAP_ALLOW="{_all_of(module)}" on the worker'
    )


def _all_of(module: str) -> str:
    top = module.partition(".")[0]
    return f"{top}:* {top}.*:*"
