"""Which callables a caller may name: the permissions on the worker's side.

``LAMBDAMAP_ALLOW`` contains patterns for ``module:qualname``, shell style, separated by commas or
spaces; ``LAMBDAMAP_BY_VALUE`` is ``1`` or ``0``. By default the callables of the deployed project
may be named, and nothing is accepted by value. The local Lambda sets both to allow everything: it
runs its own caller's code.
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
    """A name is not allowed; the message contains the remedy."""


class NotFound(Refused):
    """A name is allowed, but does not exist.

    Attributes
    ----------
    trace : str
        Traceback of the failed import; empty if the module lacks the attribute.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def by_value_allowed(trusted: bool = False) -> bool:
    """Return whether pickled functions are accepted.

    trusted: the caller and the worker are one process, or one user.
    """
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
    """Return what a caller may run here, for people to read."""
    patterns = _patterns()
    if trusted:
        named = "everything by name"
    elif mistake := malformed(os.environ.get("LAMBDAMAP_ALLOW", "")):
        named = f"nothing by name (LAMBDAMAP_ALLOW contains {mistake})"
    elif patterns is not None:
        allowed = " ".join(patterns)
        named = (
            f"by name what LAMBDAMAP_ALLOW matches ({allowed})" if patterns else "nothing by name"
        )
    elif project.is_stripped():
        named = "nothing by name (LAMBDAMAP_ALLOW is not set, and package metadata is not deployed)"
    else:
        named = "by name the functions of the deployed project (LAMBDAMAP_ALLOW is not set)"
    return f"{named}; {'any code' if by_value_allowed(trusted) else 'nothing'} by value"


class Permissions:
    """Resolves the names in a request that this worker's owner allows; a `lookup.Names`.

    Parameters
    ----------
    trusted
        The caller and the worker are one process, or one user: everything is allowed but
        lambdamap's own modules.
    """

    def __init__(self, trusted: bool = False) -> None:
        self._patterns = _patterns()
        self._all = trusted or any(p in _EVERYTHING for p in self._patterns or ())
        self._mistake = "" if trusted else malformed(os.environ.get("LAMBDAMAP_ALLOW", ""))

    def check(self, module: str, qualname: str) -> None:
        """Check the name of a callable, before anything is imported.

        Raises
        ------
        Refused
            It is not the path of a callable, or is not allowed.
        """
        parts = [*module.split("."), *qualname.split(".")]
        if not all(part.isidentifier() for part in parts) or any(
            part.startswith("__") for part in qualname.split(".")
        ):
            raise Refused(f"{module}:{qualname} is not the path of a function in a module")
        if lookup.is_ours(module):
            raise Refused(_is_ours(f"{module}:{qualname}"))
        if self._mistake:
            raise Refused(f"LAMBDAMAP_ALLOW on the worker contains {self._mistake}")
        if self._all:
            return
        name = f"{module}:{qualname}"
        if self._patterns is not None:
            if not self._fits(name):
                raise Refused(
                    f"LAMBDAMAP_ALLOW on the worker does not allow {name}: add it to the variable "
                    "there (lambdamap deploy --allow does)"
                )
        elif module == "__main__":
            raise Refused(
                f"{name} is in the worker's main program, not in a module of yours: move it into "
                f"one, or set LAMBDAMAP_ALLOW={name} on the worker"
            )
        elif (owner := project.owner_of(module)) is not None:
            raise Refused(_not_the_projects(name, owner))
        elif project.is_stripped():
            raise Refused(
                f"{name} is not allowed: LAMBDAMAP_ALLOW is not set, and without package metadata "
                "(.dist-info folders) the worker cannot tell the project's modules from installed "
                f'packages: set LAMBDAMAP_ALLOW="{_all_of(module)}" on it'
            )

    def callable(self, module: str, qualname: str) -> Callable[..., Any]:
        """Return a callable found among the items and arguments.

        It only makes a value, as `list` in a ``defaultdict(list)``, or `function` allows it.
        """
        try:
            return lookup.DATA.callable(module, qualname)
        except _codec.DecodeFailure:
            return self.function(module, qualname)

    def function(self, module: str, qualname: str) -> Callable[..., Any]:
        """Import a module and return the callable of that name.

        Raises
        ------
        Refused
            It is not allowed.
        NotFound
            The module cannot be imported, or does not have it.
        """
        self.check(module, qualname)
        found: Callable[..., Any] = _find(module, qualname)
        if not callable(found):
            raise Refused(f"{module}:{qualname} is not callable")
        self._check_home(found, module, qualname)
        return found

    def _check_home(self, found: Any, module: str, qualname: str) -> None:
        """Check the place where a callable is defined.

        A name that a module has only imported, such as ``shop:read_pickle``, must be allowed in the
        place where it is defined as well, or be listed without wildcards.
        """
        name = f"{module}:{qualname}"
        home = lookup.home_of(found)
        if home is not None and lookup.is_ours(home[0]):
            raise Refused(_is_ours(name))
        if self._all or home == (module, qualname) or name in (self._patterns or ()):
            return
        listed = f"list {name} itself in LAMBDAMAP_ALLOW on the worker, without * or ?"
        if home is None:
            raise Refused(
                f"{name} is a {type(found).__name__} object or a closure, which is not defined under "
                f"that name: {listed}"
            )
        elsewhere = ":".join(home)
        if self._patterns is not None:
            if not self._fits(elsewhere):
                raise Refused(
                    f"{name} is defined as {elsewhere}, which LAMBDAMAP_ALLOW on the worker does not "
                    f"allow: {listed}, or allow {elsewhere} as well"
                )
        elif (owner := project.owner_of(home[0])) is not None:
            raise Refused(f"{name} is defined as {elsewhere}. " + _not_the_projects(name, owner))

    def type(self, module: str, qualname: str) -> type:
        """Return the class of that name, for data. A module that is not loaded must be allowed.

        Raises
        ------
        Refused
            The module is not loaded, and not allowed.
        NotFound
            There is no such class.
        """
        if module not in sys.modules:
            try:
                self.check(module, qualname)
            except Refused as error:
                raise Refused(
                    f"the items contain data of the class {module}:{qualname}, whose module the "
                    f"worker has not loaded and may not import: {error}"
                ) from None
        found = _find(module, qualname)
        if not lookup.is_class(found):
            raise NotFound(f"{module}:{qualname} on the worker is not a class")
        return found

    def module(self, name: str) -> types.ModuleType:
        """Return numpy or pandas."""
        return importlib.import_module(name)

    def _fits(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns or ())


def _find(module: str, qualname: str) -> Any:
    try:
        loaded = importlib.import_module(module)
    except BaseException as error:  # SystemExit in a module must not end the worker
        raise NotFound(
            f"cannot import {module} on the worker ({type(error).__name__}: {error}): "
            f"deploy it with the worker, or send it by value with by_value=[{module}]",
            traceback.format_exc(),
        ) from error
    try:
        return lookup.find(loaded, qualname)
    except lookup.LeadsAway:
        raise Refused(
            f"{module}:{qualname} leads through an object that is not a class: name a function "
            f"defined in {module}, or a method of a class in it"
        ) from None
    except LookupError:
        raise NotFound(
            f"{module} on the worker has no {qualname}: deploy the caller's version of it"
        ) from None


def _is_ours(name: str) -> str:
    return f"{name} belongs to lambdamap itself, whose functions no caller may name"


def _not_the_projects(name: str, owner: str) -> str:
    module = name.partition(":")[0]
    if owner == "the standard library":
        return (
            f"{name} is in the standard library: wrap it in a function of your own, or set "
            f"LAMBDAMAP_ALLOW={name} on the worker"
        )
    return (
        f"{name} belongs to {owner}; by default only functions of the deployed project are allowed: "
        f'set LAMBDAMAP_ALLOW="{_all_of(module)}" on the worker'
    )


def _all_of(module: str) -> str:
    top = module.partition(".")[0]
    return f"{top}:* {top}.*:*"
