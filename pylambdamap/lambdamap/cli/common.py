"""A map's options as options of the commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click

from lambdamap import options as _options
from lambdamap.errors import ConfigError
from lambdamap.options import DECLARED

__all__ = ["FLAGS", "in_options", "map_option", "map_options", "resolved"]

F = TypeVar("F", bound=Callable[..., Any])

# The options of a map that commands accept. Defaults come from LAMBDAMAP_* in the environment, as for
# every map.
FLAGS = tuple(name for name, option in DECLARED.items() if option.flag)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _reader(name: str) -> Callable[[str], object]:
    """Return the function that reads an option's text, in the same form as in the environment."""

    def text(given: str) -> object:
        try:
            return _options.read(name, given, _flag(name))
        except ConfigError as error:
            raise click.UsageError(str(error)) from error

    return text


def map_option(name: str, **different: Any) -> Callable[[F], F]:
    """Return a decorator that adds one option of a map to a command.

    Parameters
    ----------
    name
        The option.
    **different
        Arguments of `click.option` that override the option's declaration.
    """
    option = DECLARED[name]
    flag, kind = _flag(name), option.kind
    how: dict[str, Any] = {"default": None, "help": option.summary + "."}
    if not kind.metavar:
        flag += "/--no-" + flag.removeprefix("--")
    elif kind.choices:
        how["type"] = click.Choice(kind.choices)
    else:
        how |= {"type": _reader(name), "metavar": kind.metavar}
    return click.option(flag, **{**how, **different})


def map_options(*names: str, without: Collection[str] = ()) -> Callable[[F], F]:
    """Return a decorator that adds these options of a map to a command, or all but some.

    Parameters
    ----------
    *names
        The options. Without any: all in `FLAGS`.
    without
        Options to leave out.
    """

    def decorate(command: F) -> F:
        for name in reversed(names or FLAGS):
            if name not in without:
                command = map_option(name)(command)
        return command

    return decorate


# How messages spell options for Python: "region=", "backend='local'", "idempotent=True".
_KEYWORD = re.compile(rf"\b({'|'.join(FLAGS)})=(?:'([\w-]+)'|True\b|(?=[\s,.;:)]|$))")


def in_options(text: str) -> str:
    """Return a message with the options that it names spelled as on the command line."""
    return _KEYWORD.sub(lambda found: " ".join(filter(None, (_flag(found[1]), found[2]))), text)


def resolved(given: Mapping[str, Any]) -> _options.Options:
    """Return the options of a map, from those given on the command line; None: not given.

    Raises
    ------
    click.UsageError
        An option is invalid; it has the ConfigError's text, and the exit status is 2.
    """
    try:
        return _options.resolve(**{name: v for name, v in given.items() if v is not None})
    except ConfigError as error:
        raise click.UsageError(in_options(str(error))) from error
