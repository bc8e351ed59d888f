"""Environment variables: ``LAMBDAMAP_`` and an option's name in upper case, and some that are not options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from lambdamap._checks import Kind
from lambdamap.errors import warn

__all__ = ["VARIABLES", "name_in", "values", "variable_of"]

_PREFIX = "LAMBDAMAP_"
# Variables that are not options, each with its reader.
VARIABLES: Final = {
    "LAMBDAMAP_ALLOW": "worker",
    "LAMBDAMAP_BY_VALUE": "worker",
    "LAMBDAMAP_REQUEST_TIMEOUT": "Flask and ASGI",
    "LAMBDAMAP_SANDBOX": "processes of the local Lambda",
    "LAMBDAMAP_ONLY": "setup.py",
    "LAMBDAMAP_SANITIZE": "setup.py",
    "LAMBDAMAP_STATIC": "setup.py",
    "LAMBDAMAP_WERROR": "setup.py",
    "LAMBDAMAP_FRESH": "./dev",
    "LAMBDAMAP_VENV": "./dev",
    "LAMBDAMAP_SEED": "tests",
}
_warned: set[str] = set()  # one warning for each unknown variable in a process


def variable_of(name: str) -> str:
    """Return the name of an option's variable."""
    return _PREFIX + name.upper()


def name_in(variable: str) -> str | None:
    """Return the name of the option whose variable this would be; None without the prefix."""
    return variable.removeprefix(_PREFIX).lower() if variable.startswith(_PREFIX) else None


def values(
    kinds: Mapping[str, Kind], meant: Callable[[str, Iterable[str]], str | None]
) -> dict[str, object]:
    """Return the options that the environment sets, and warn of unknown variables.

    Unknown ones are not an error: another release, or another program, may use them.

    Parameters
    ----------
    kinds
        The kind of every option, by name.
    meant
        Returns the option, or one of some other names, that a wrong name probably stands for.

    Raises
    ------
    ConfigError
        A variable's text is not a value of its option.
    """
    found = {}
    for variable in os.environ:
        name = name_in(variable)
        if name is None or variable in VARIABLES:
            continue
        kind = kinds.get(name) if variable == variable_of(name) else None
        if kind is not None and kind.parse is not None:
            text = os.environ.get(variable, "")
            if text.strip():
                found[name] = kind.read(variable, text)
        elif variable not in _warned:
            _warned.add(variable)
            if kind is not None:
                text = f"{variable} is ignored: {name} cannot be set in the environment"
            else:
                near = meant(name, filter(None, map(name_in, VARIABLES)))
                hint = f"; did you mean {variable_of(near)}?" if near else ""
                text = f"unknown environment variable {variable} is ignored{hint}"
            warn(text, UserWarning)
    return found
