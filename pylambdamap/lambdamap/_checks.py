"""The parts of an option's declaration, above all its kind: valid values, and how text is read.

The patterns and limits are those of AWS's Invoke API.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from lambdamap.errors import ConfigError

__all__ = [
    "BACKEND",
    "BY_VALUE",
    "CLIENT_CONTEXT",
    "CREDENTIALS",
    "EXCEPTIONS",
    "FUNCTION",
    "MAX_CONTEXT",
    "PATH",
    "PROGRESS",
    "QUALIFIER",
    "REGION",
    "SWITCH",
    "TENANT",
    "Kind",
    "Option",
    "choice",
    "encoded_context",
    "integer",
    "is_region",
    "option",
    "or_auto",
    "printable",
    "qualifier_of",
    "seconds",
]

T = TypeVar("T")

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")

_QUALIFIER = r"\$LATEST(?:\.PUBLISHED)?|[A-Za-z0-9_-]{1,128}"
_FUNCTION = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:[a-z]{2,4}(?:-[a-z]+)+-\d{1,2}:)?"
    r"(?:\d{12}:function:|\d{12}:|function:)?"
    rf"[A-Za-z0-9_-]{{1,140}}(?::(?P<qualifier>{_QUALIFIER}))?"
)
_MAX_FUNCTION = 256
_REGION = re.compile(r"(?!fips-)[a-z]{2,4}(?:-[a-z]+)+-\d{1,2}")
_TENANT = re.compile(r"[a-zA-Z0-9._:/=+\-@](?:[a-zA-Z0-9._:/=+\-@ ]{0,254}[a-zA-Z0-9._:/=+\-@])?")
MAX_CONTEXT = 3583  # bytes of base64


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of value.

    Parameters
    ----------
    type
        As a docstring names it.
    wanted
        Completes "NAME must be ...".
    accepts
        Whether a value is of this kind. Never called with None. It may raise a ConfigError with a
        more specific message than `wanted`.
    parse
        Reads the value from text, or raises ValueError. None: text cannot express it.
    written
        Completes "NAME must be ..." where the value is text; empty: as `wanted`.
    metavar
        Placeholder for the value in a command's help; empty: the command has a switch.
    choices
        The accepted texts; empty: there is no fixed list.
    """

    type: str
    wanted: str
    accepts: Callable[[object], bool]
    parse: Callable[[str], object] | None = str
    written: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()

    def checked(self, name: str, value: object) -> object:
        """Return the value, or an int for an integer of another type such as numpy's.

        Raises
        ------
        ConfigError
            It is not of this kind.
        """
        if not isinstance(value, (int, str)) and hasattr(value, "__index__"):
            with contextlib.suppress(TypeError):  # an array
                value = operator.index(value)
        if not self.accepts(value):
            raise must_be(name, self.wanted, value)
        return value

    def read(self, name: str, text: str) -> object:
        """Return the value that a text represents.

        Raises
        ------
        ConfigError
            The text does not represent a value of this kind.
        """
        if self.parse is None:
            raise ConfigError(f"{name} cannot be given as text")
        wanted = self.written or self.wanted
        try:
            value = self.parse(text.strip())
        except ValueError:
            raise must_be(name, wanted, text) from None
        if not self.accepts(value):
            raise must_be(name, wanted, text)
        return value


def must_be(name: str, wanted: str, value: object) -> ConfigError:
    """Return the error for a value of the wrong kind."""
    return ConfigError(f"{name} must be {wanted}, not {value!r}")


def _either(words: Sequence[str]) -> str:
    """Join words as in "a, b or c"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


@dataclasses.dataclass(frozen=True)
class Option:
    """The declaration of an option, except for its field's name, type and default.

    Parameters
    ----------
    group
        Heading of its table in docs/options.md.
    kind
        Its valid values.
    doc
        Its meaning, without a full stop at the end. The first sentence is also a command's help.
    optional
        Whether it may be None.
    flag
        Whether commands accept it.
    refused
        Calls that do not accept it, each with what to do instead.
    known_as
        What other libraries call it.
    """

    group: str
    kind: Kind
    doc: str
    optional: bool
    flag: bool = False
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    known_as: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence of `doc`, without markup."""
        return self.doc.partition(". ")[0].replace("`", "")


def option(
    default: T,
    group: str,
    kind: Kind,
    doc: str,
    *,
    secret: bool = False,
    flag: bool = False,
    refused: Mapping[str, str] | None = None,
    known_as: tuple[str, ...] = (),
) -> T:
    """Return a field of a dataclass that declares an option; `secret` keeps it out of the repr.

    See `Option` for the other parameters.
    """
    declared = Option(group, kind, doc, default is None, flag, refused or {}, known_as)
    return dataclasses.field(default=default, repr=not secret, metadata={"option": declared})


# --- families of kinds ---------------------------------------------------------------------------


def integer(low: int, high: int, *, open_ended: bool = False) -> Kind:
    """Integers from `low` to `high`; `open_ended`: messages do not name `high`."""

    def accepts(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    bounds = f"of at least {low}" if open_ended else f"from {low} to {high:,}"
    return Kind("int", f"an integer {bounds}", accepts, int, metavar="N")


def seconds(most: int) -> Kind:
    """Durations above 0 and below `most` seconds."""

    def accepts(value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < most

    wanted = f"a number of seconds above 0 and below {most:,}"
    return Kind("float", wanted, accepts, float, metavar="SECONDS")


def choice(*choices: str) -> Kind:
    """One of several texts."""
    quoted = [repr(text) for text in choices]
    return Kind(
        "{%s}" % ", ".join(f'"{text}"' for text in choices),
        _either(quoted),
        lambda value: isinstance(value, str) and value in choices,
        metavar="TEXT",
        choices=choices,
    )


def or_auto(kind: Kind) -> Kind:
    """Values of a kind, or "auto"."""

    def or_not(wanted: str) -> str:
        return f"'auto', {wanted}" if " or " in wanted else f"'auto' or {wanted}"

    read = kind.parse or str
    return dataclasses.replace(
        kind,
        type=f'{kind.type} or "auto"',
        wanted=or_not(kind.wanted),
        accepts=lambda value: value == "auto" if isinstance(value, str) else kind.accepts(value),
        parse=lambda text: "auto" if text.lower() == "auto" else read(text),
        written=or_not(kind.written or kind.wanted),
        metavar=f"{kind.metavar or '1|0'}|auto",
    )


def printable(metavar: str) -> Kind:
    """Texts of at least one character, all printable."""

    def accepts(value: object) -> bool:
        return isinstance(value, str) and value != "" and value.isprintable()

    return Kind("str", "a string of printable characters", accepts, metavar=metavar)


def _matching(pattern: str | re.Pattern[str], wanted: str, metavar: str) -> Kind:
    compiled = re.compile(pattern)
    return Kind(
        "str",
        wanted,
        lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None,
        metavar=metavar,
    )


# --- single kinds ---------------------------------------------------------------------------------


def _switch(text: str) -> bool:
    lowered = text.lower()
    if lowered not in (*_TRUE, *_FALSE):
        raise ValueError
    return lowered in _TRUE


def _is_function(value: object) -> bool:
    if isinstance(value, str) and len(value) > _MAX_FUNCTION:
        raise ConfigError(
            f"function has {len(value)} characters, but a name or ARN has at most {_MAX_FUNCTION}"
        )
    return isinstance(value, str) and _FUNCTION.fullmatch(value) is not None


def is_region(name: object) -> bool:
    """Return whether a name looks like that of an AWS region."""
    return isinstance(name, str) and _REGION.fullmatch(name) is not None


def qualifier_of(function: str) -> str | None:
    """Return the alias or version in a function's name or ARN."""
    found = _FUNCTION.fullmatch(function)
    return None if found is None else found["qualifier"]


def encoded_context(context: object) -> str:
    """Return a client context in the form of its header: base64 of a JSON object.

    Raises
    ------
    ConfigError
        It is not a JSON object, or too long.
    """
    try:
        if isinstance(context, str):
            text, context = context, json.loads(context)
        else:
            text = json.dumps(context, allow_nan=False, separators=(",", ":"))
        encoded = base64.b64encode(text.encode()).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"client_context is not JSON ({error})") from None
    if not isinstance(context, dict):
        kind = type(context).__name__
        raise ConfigError(f"client_context must be a dict or the text of a JSON object, not {kind}")
    if len(encoded) > MAX_CONTEXT:
        raise ConfigError(
            f"client_context has {len(encoded):,} bytes in base64, but Lambda accepts {MAX_CONTEXT:,}: "
            "send a reference to the data"
        )
    return encoded


_BACKENDS = choice("auto", "aws", "local", "inline")


def _is_backend(value: object) -> bool:
    if hasattr(value, "get_executor"):
        raise must_be("backend", "an executor (pass client.get_executor())", value)
    if isinstance(value, str):
        return _BACKENDS.accepts(value)
    return hasattr(value, "submit") and not isinstance(value, type)


PATH = Kind(
    "str or path",
    "a path",
    lambda value: isinstance(value, (str, os.PathLike)) and os.fspath(value) not in ("", b""),
    metavar="PATH",
)
SWITCH = Kind("bool", "True or False", lambda value: isinstance(value, bool), _switch, "1 or 0")
FUNCTION = Kind(
    "str",
    "a name (letters, digits, - and _), name:alias, name:version or ARN",
    _is_function,
    metavar="NAME",
)
QUALIFIER = _matching(_QUALIFIER, "an alias or a version", "NAME")
TENANT = _matching(
    _TENANT, "1 to 256 of the characters A-Z a-z 0-9 . _ : / = + - @ and inner spaces", "NAME"
)
REGION = _matching(_REGION, "a region such as 'eu-central-1'", "REGION")
CLIENT_CONTEXT = Kind(
    "dict or str", "a JSON object", lambda value: bool(encoded_context(value)), metavar="JSON"
)
CREDENTIALS = Kind("mapping, tuple or object", "credentials", lambda value: True, None)
BACKEND = dataclasses.replace(
    _BACKENDS,
    type=f"{_BACKENDS.type} or concurrent.futures.Executor",
    wanted=f"{', '.join(map(repr, _BACKENDS.choices))} or an instance of concurrent.futures.Executor",
    accepts=_is_backend,
    written=_BACKENDS.wanted,
)
BY_VALUE = Kind(
    "bool or list of modules",
    "True, False or a list of modules",
    lambda value: isinstance(value, (bool, list, tuple)),
    None,
)
EXCEPTIONS = Kind(
    "exception class or tuple of them",
    "an exception class or a tuple of them",
    lambda value: (
        bool(value)
        and all(
            isinstance(kind, type) and issubclass(kind, BaseException)
            for kind in (value if isinstance(value, tuple) else (value,))
        )
    ),
    None,
)
PROGRESS = Kind(
    "bool or callable",
    "True, False, a tqdm class or a callable",
    lambda value: isinstance(value, bool) or callable(value),
    _switch,
    "1 or 0",
)
