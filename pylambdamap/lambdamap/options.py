"""Options: each one declared once, and where their values come from.

An argument of a call wins over ``with lambdamap.configure(...)``, that over the configuration of a
web application, that over a plain ``lambdamap.configure(...)``, and that over ``LAMBDAMAP_*`` in the
environment. They are read once, when a map is called.

A field of `Options` is all that an option needs besides the code that acts on it: the check, the
docstring, the environment variable, the command line's flag and the table in docs/options.md follow
from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from lambdamap import _variables, ambient
from lambdamap._checks import (
    BACKEND,
    BY_VALUE,
    CLIENT_CONTEXT,
    CREDENTIALS,
    FUNCTION,
    MAX_CONTEXT,
    PROGRESS,
    QUALIFIER,
    REGION,
    SWITCH,
    TENANT,
    Option,
    choice,
    integer,
    option,
    or_auto,
    printable,
    seconds,
)
from lambdamap.errors import ConfigError

__all__ = [
    "DECLARED",
    "Options",
    "check_names",
    "check_place",
    "configure",
    "read",
    "refused",
    "resolve",
    "resolve_for",
]

# Headings of docs/options.md, each with a table of its options.
WHERE, HOW, FAILS = "Where", "How", "When it fails, and what is shown"


@dataclasses.dataclass(frozen=True)
class Options:
    """How and where a map runs.

    Every function of the map family takes these as keyword arguments.

    Raises
    ------
    ConfigError
        A value is invalid. It is also a ValueError.
    """

    function: str | None = option(
        None, WHERE, FUNCTION,
        "Lambda function: name, ``name:alias``, ``name:version`` or ARN. None: inside Lambda the "
        "function itself (if its handler is lambdamap's), elsewhere a Lambda on this machine",
        flag=True, known_as=("function_name",),
    )  # fmt: skip
    qualifier: str | None = option(
        None, WHERE, QUALIFIER,
        "Alias or version to invoke, boto3's ``Qualifier``. The same as after a colon in "
        "``function``",
    )  # fmt: skip
    tenant_id: str | None = option(
        None, WHERE, TENANT,
        "Tenant of a function with tenant isolation. The function reads it as ``context.tenant_id``",
    )  # fmt: skip
    client_context: dict[str, Any] | str | None = option(
        None, WHERE, CLIENT_CONTEXT,
        "JSON object, as a dict or text, that the handler reads as ``context.client_context``. At "
        f"most {MAX_CONTEXT:,} bytes in base64; CloudTrail may log it",
        secret=True,
    )  # fmt: skip
    region: str | None = option(
        None, WHERE, REGION,
        "AWS region. None: the ARN's, then ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's",
        flag=True, known_as=("region_name",),
    )  # fmt: skip
    profile: str | None = option(
        None, WHERE, printable("NAME"),
        "AWS profile, read by boto3",
        flag=True, known_as=("profile_name",),
    )  # fmt: skip
    credentials: Any = option(
        None, WHERE, CREDENTIALS,
        "AWS credentials. A mapping or tuple of access key, secret key and token, or what "
        "``boto3.Session().get_credentials()`` returns; None: the environment's, then boto3's",
        secret=True,
    )  # fmt: skip
    endpoint_url: str | None = option(
        None, WHERE, printable("URL"),
        "Invoke API to use instead of AWS's. None: ``AWS_ENDPOINT_URL_LAMBDA``, then "
        "``AWS_ENDPOINT_URL``, then the region's",
        flag=True,
    )  # fmt: skip
    ca_bundle: str | None = option(
        None, WHERE, printable("FILE"),
        "File of CA certificates. None: ``AWS_CA_BUNDLE``, then the system's",
        flag=True,
    )  # fmt: skip
    backend: Any = option(
        "auto", WHERE, BACKEND,
        'Where the function runs. "aws": on AWS; "local": on a Lambda on this machine; "inline": in '
        'this process; an executor: in its workers; "auto": on AWS if a function is known, else local',
        flag=True, known_as=("executor",),
    )  # fmt: skip
    local: str = option(
        "builtin", WHERE, choice("builtin", "awslambdaric"),
        "What runs the handler in the sandboxes of a Lambda on this machine. \"builtin\": "
        "lambdamap's own loop; \"awslambdaric\": AWS's runtime client",
        flag=True,
    )  # fmt: skip
    memory_mb: int | None = option(
        None, WHERE, integer(1, 1 << 30, open_ended=True),
        "Memory limit of an invocation on the local Lambda, in MB. Processes that it starts count "
        "(Linux), and exceeding it raises `WorkerCrashedError`, as on a Lambda of that size. None: no "
        "limit",
    )  # fmt: skip

    chunksize: int | str = option(
        "auto", HOW, or_auto(integer(1, (1 << 32) - 1, open_ended=True)),
        'Items per invocation. "auto" starts with single items and grows to half a second of work',
        flag=True, known_as=("chunk_size", "batch_size"),
        refused={
            "LambdaExecutor": "pass it to map()",
            "invoke_map": "each payload is an invocation of its own",
        },
    )  # fmt: skip
    max_concurrency: int | None = option(
        None, HOW, integer(1, 100_000),
        "Invocations of this map in flight at once. None: 256 on AWS, two per sandbox on the local "
        "Lambda",
        flag=True, known_as=("max_workers", "n_jobs", "processes"),
    )  # fmt: skip
    buffersize: int | None = option(
        None, HOW, integer(1, 1 << 40, open_ended=True),
        "Items read from the input whose results have not been taken yet. None: two windows of "
        "chunks",
        flag=True,
        refused={"LambdaExecutor": "pass it to map()"},
    )  # fmt: skip
    compression: bool | str = option(
        "auto", HOW, or_auto(SWITCH),
        'Whether to compress payloads: zlib on their structure, byte planes on numbers. "auto": not '
        "over loopback",
    )  # fmt: skip
    codec: str = option(
        "native", HOW, choice("native", "json"),
        'Encoding of items and results. "json": plain JSON in the same envelope, for a worker in '
        "another language; the function travels by name, and anything but None, bool, int, finite "
        "float, str, list and dict with str keys is refused with its place",
        refused={"LambdaExecutor": "JSON cannot express keyword arguments and tuples"},
    )  # fmt: skip
    by_value: bool | Sequence[Any] | None = option(
        None, HOW, BY_VALUE,
        "Ship the function's code instead of its import path. True: always; modules: what is defined "
        "in them; False: never; None: where there is no import path",
        flag=True,
    )  # fmt: skip
    allow_pickle: bool | None = option(
        None, HOW, SWITCH,
        "Pickle what has no other encoding, and read pickled results. None: on the local Lambda only",
    )  # fmt: skip
    depth: int = option(
        0, HOW, integer(0, 4),
        "Levels of maps inside the function that may run remotely, at most 4. Deeper ones run inline",
    )  # fmt: skip
    max_inflight_bytes: int | None = option(
        None, HOW, integer(1, 1 << 50, open_ended=True),
        "Limit of the bytes that all maps of this process hold. They count from packing until the "
        "results are taken. None: 512 MB or a quarter of the memory, whichever is less",
    )  # fmt: skip
    max_result_bytes: int = option(
        256 << 20, HOW, integer(1, 1 << 50, open_ended=True),
        "Bytes of one chunk's results, decoded",
    )  # fmt: skip

    timeout: float | None = option(
        None, FAILS, seconds(100_000_000),
        "Seconds from the call to the last result. None: no limit",
        flag=True,
        refused={"LambdaExecutor": "use result(timeout), map(timeout=) or invocation_timeout"},
    )  # fmt: skip
    invocation_timeout: float | None = option(
        None, FAILS, seconds(100_000_000),
        "Seconds for one attempt. None: 1830, Lambda's longest run and 30 for the network",
        flag=True,
    )  # fmt: skip
    connect_timeout: float = option(
        15.0, FAILS, seconds(1_000_000),
        "Seconds to keep trying while the endpoint accepts no connection. It may be starting, and "
        "nothing has run",
    )  # fmt: skip
    idempotent: bool = option(
        False, FAILS, SWITCH,
        "The function may run twice for an item. Chunks whose reply is lost are tried again",
        flag=True,
    )  # fmt: skip
    max_attempts: int | None = option(
        None, FAILS, integer(1, 100),
        "Requests per chunk in all. A 429, a 409 and a connection that was never made do not count. "
        "None: ``AWS_MAX_ATTEMPTS``, else 3",
        flag=True, known_as=("retries",),
    )  # fmt: skip
    on_error: str = option(
        "raise", FAILS, choice("raise", "return"),
        'What to do when an item fails. "raise": end the map with the exception; "return": put the '
        "exception in the result's place and go on",
        flag=True,
        refused={"LambdaExecutor": "each future holds its own exception"},
    )  # fmt: skip
    progress: bool | Callable[..., Any] | None = option(
        None, FAILS, PROGRESS,
        "Show a progress bar on stderr. A tqdm class or a callable ``(done, total)``: use that; None: "
        "a bar after a second, on a terminal or in a notebook",
        flag=True,
        refused={"LambdaExecutor": "use as_completed() with a bar of your own"},
    )  # fmt: skip
    logs: bool = option(
        True, FAILS, SWITCH,
        "Show what the function prints, with the item's index before each line",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, declared in DECLARED.items():
            value = getattr(self, name)
            if value is None and declared.optional:
                continue
            checked = declared.kind.checked(name, value)
            if checked is not value:
                object.__setattr__(self, name, checked)

    def __getstate__(self) -> dict[str, Any]:
        if self.credentials is not None:
            raise TypeError(
                "cannot pickle Options with credentials: let the other process find its own"
            )
        return dict(vars(self))


DECLARED: Final[dict[str, Option]] = {
    field.name: field.metadata["option"] for field in dataclasses.fields(Options)
}


def _docstring() -> str:
    """The docstring of Options, with its parameters."""
    import textwrap

    lines = ["Parameters", "----------"]
    for field in dataclasses.fields(Options):
        declared = DECLARED[field.name]
        default = "optional" if field.default is None else f"default {field.default!r}"
        lines.append(f"{field.name} : {declared.kind.type}, {default}")
        lines += textwrap.wrap(
            declared.doc + ".", 100, initial_indent="    ", subsequent_indent="    "
        )
    before, heading, after = inspect.cleandoc(Options.__doc__ or "").partition("Raises\n")
    return before + "\n".join([*lines, "", heading]) + after


Options.__doc__ = _docstring()


# --- names ----------------------------------------------------------------------------------------


def _meant(name: str, others: Iterable[str] = ()) -> str | None:
    """What a wrong name probably stands for: an option, or one of some other names."""
    import difflib

    for known, declared in DECLARED.items():
        if name in declared.known_as:
            return known
    return next(iter(difflib.get_close_matches(name, [*DECLARED, *others], n=1)), None)


def check_names(values: Iterable[str]) -> None:
    """Raise ConfigError for a name that is not an option's; it says what was probably meant."""
    for name in values:
        if name not in DECLARED:
            near = _meant(name)
            hint = f"did you mean {near!r}?" if near else f"options are: {', '.join(DECLARED)}"
            raise ConfigError(f"unknown option {name!r}; {hint}")


def refused(place: str) -> dict[str, str]:
    """Return the options that a call does not take, each with what to do instead."""
    return {
        name: declared.refused[place]
        for name, declared in DECLARED.items()
        if place in declared.refused
    }


def check_place(place: str, given: Iterable[str], others: Mapping[str, str] | None = None) -> None:
    """Raise ConfigError for what a call does not take: options, and `others` that it has besides."""
    reasons = {**refused(place), **(others or {})}
    for name in given:
        if name in reasons:
            raise ConfigError(f"{place} does not accept {name!r}: {reasons[name]}")


# --- where values come from -----------------------------------------------------------------------

# What `configure` has set for good, the last one winning, each with the object that set it: a ``with``
# statement takes it out again before its body. Replaced as a whole, under the lock.
_set: tuple[tuple[weakref.ref[configure], dict[str, Any]], ...] = ()
_lock = threading.Lock()
_local: ContextVar[dict[str, Any] | None] = ContextVar("lambdamap_options", default=None)
_kinds: Final = {name: declared.kind for name, declared in DECLARED.items()}


def read(name: str, text: str, place: str | None = None) -> Any:
    """Return an option's value from its text.

    Parameters
    ----------
    name, text
        The option and the text.
    place
        Where the text is from, for messages; None: a variable such as ``LAMBDAMAP_CHUNKSIZE``.

    Raises
    ------
    ConfigError
        The text is not a value of the option.
    """
    return _kinds[name].read(place or _variables.variable_of(name), text)


def _configured() -> dict[str, Any]:
    """What `configure` has set here: for good, and in the ``with`` statements around."""
    return {**_for_good(), **(_local.get() or {})}


def _for_good() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _, values in _set:
        found.update(values)
    return found


def _forget() -> None:
    """Replace the lock in the child of a fork, where its holder does not exist."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _arguments_of(function: object) -> Iterable[str]:
    """The names under which a function takes arguments."""
    if not callable(function):
        return ()
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built in
        return ()
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def resolve_for(function: object, arguments: Mapping[str, Any]) -> Options:
    """Return the options of a call that maps a function.

    Raises
    ------
    ConfigError
        As `resolve`. For an argument of the function it says how to pass it.
    """
    try:
        for name in arguments.keys() - DECLARED.keys():
            if name in _arguments_of(function):
                called = getattr(function, "__name__", "f")
                raise ConfigError(
                    f"{name!r} is an argument of {called}, not an option of the map: pass "
                    f"functools.partial({called}, {name}=...) instead of {called}"
                )
        return resolve(**arguments)
    except ConfigError as error:
        raise error.with_traceback(None)  # noqa: B904  # of how it was found, a notebook shows pages


def resolve(**arguments: Any) -> Options:
    """Return the options of one call.

    Raises
    ------
    ConfigError
        An unknown name or an invalid value.
    DeadlineError
        The web request or invocation that this is called in has no time left.
    """
    check_names(arguments)
    values = {
        **_variables.values(_kinds, _meant),
        **_for_good(),
        **ambient.options(),
        **(_local.get() or {}),
        **arguments,
    }
    resolved = Options(**values)
    timeout = ambient.limit(resolved.timeout)
    if timeout == resolved.timeout:
        return resolved
    return dataclasses.replace(resolved, timeout=timeout)


class configure(contextlib.AbstractContextManager["configure"]):  # noqa: N801  # used as a function
    """Set options for every map from now on, or, in a ``with`` statement, for its body.

    Parameters
    ----------
    **values
        Any of `Options`.

    Raises
    ------
    ConfigError
        At once, for an unknown name or an invalid value.

    Examples
    --------
    >>> import lambdamap
    >>> with lambdamap.configure(backend="inline", chunksize=10):
    ...     list(lambdamap.map(abs, [-1, 2]))
    [1, 2]
    """

    def __init__(self, **values: Any) -> None:
        global _set
        check_names(values)
        Options(**{**_configured(), **values})
        self._values = values
        self._reset: Any = None
        with _lock:
            before = list(_set)
            # Those whose objects are gone stay for good: two of them in a row become one.
            if len(before) > 1 and before[-1][0]() is None and before[-2][0]() is None:
                _, last = before.pop()
                before[-1] = (before[-1][0], {**before[-1][1], **last})
            _set = (*before, (weakref.ref(self), values))

    def __enter__(self) -> configure:
        global _set
        with _lock:
            _set = tuple(known for known in _set if known[0]() is not self)
        self._reset = _local.set({**(_local.get() or {}), **self._values})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _local.reset(self._reset)
