"""What the commands share: options of a map as options of a command, and from one to the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from lambdamap import options as _options
from lambdamap.errors import ConfigError

__all__ = ["in_options", "map_options", "resolved", "values_of"]

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = click.FloatRange(min=0, min_open=True)
_ONE_OR_MORE = click.IntRange(min=1)

# The option of a map, and how the command line gives it. Unset ones come from LAMBDAMAP_* in the
# environment, as for every map.
_OPTIONS: dict[str, dict[str, Any]] = {
    "function": {"metavar": "NAME", "help": "Lambda function: name, name:alias or ARN."},
    "region": {"metavar": "REGION", "help": "AWS region."},
    "profile": {"metavar": "NAME", "help": "AWS profile, read by boto3."},
    "endpoint_url": {"metavar": "URL", "help": "Another Invoke API than AWS's."},
    "ca_bundle": {"metavar": "FILE", "help": "CA certificates."},
    "backend": {
        "type": click.Choice(["auto", "aws", "local", "inline"]),
        "help": "Where the function runs; auto: AWS when a Lambda function is known.",
    },
    "local": {
        "type": click.Choice(["builtin", "awslambdaric"]),
        "help": "What runs in the sandboxes of a local Lambda.",
    },
    "chunksize": {"type": _ONE_OR_MORE, "help": "Items per invocation; default: auto."},
    "max_concurrency": {"type": _ONE_OR_MORE, "help": "Invocations at once."},
    "buffersize": {"type": _ONE_OR_MORE, "help": "Lines read and not yet answered."},
    "timeout": {"type": _SECONDS, "metavar": "SECONDS", "help": "For the whole map."},
    "invocation_timeout": {"type": _SECONDS, "metavar": "SECONDS", "help": "For one attempt."},
    "max_attempts": {"type": _ONE_OR_MORE, "help": "Requests per chunk in all."},
    "idempotent": {
        "is_flag": True,
        "default": None,
        "help": "The function may run twice for a line: lost replies are tried again.",
    },
    "by_value": {
        "is_flag": True,
        "default": None,
        "help": "Ship the function's code instead of its import path.",
    },
}


def map_options(*names: str) -> Callable[[F], F]:
    """A decorator that gives a command these options of a map."""

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = click.option("--" + name.replace("_", "-"), **_OPTIONS[name])(command)
        return command

    return decorate


# "region=", "backend='local'", "idempotent=True": as messages name them to who writes Python.
_KEYWORD = re.compile(rf"\b({'|'.join(_OPTIONS)})=(?:'([\w-]+)'|True\b|(?=[\s,.;:)]|$))")


def in_options(text: str) -> str:
    """A message that names options of a map, with those of the command line instead."""
    return _KEYWORD.sub(
        lambda found: " ".join(filter(None, ("--" + found[1].replace("_", "-"), found[2]))), text
    )


def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the command line says something of."""
    return {name: value for name, value in given.items() if value is not None}


def resolved(given: Mapping[str, Any]) -> _options.Options:
    """The options of a map; what cannot be is a usage error.

    Raises
    ------
    click.UsageError
        With the ConfigError's text; the exit status is 2.
    """
    try:
        return _options.resolve(**values_of(given))
    except ConfigError as error:
        raise click.UsageError(in_options(str(error))) from error
