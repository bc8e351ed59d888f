"""Options: the declaration of each, and where their values come from.

In order of precedence: the argument of a call, ``with lambdamap.configure(...)``, the configuration of
a web application, a plain ``lambdamap.configure(...)``, ``LAMBDAMAP_*`` in the environment. They are
read once, when a map is called.

An option needs a field of `Options` and the code that acts on it. Its check, docstring, environment
variable, command-line flag and row in docs/options.md are derived from the field.
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
    EXCEPTIONS,
    FUNCTION,
    MAX_CONTEXT,
    PATH,
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
WHERE, HOW, FAILS = "Where", "How", "Failures and output"


@dataclasses.dataclass(frozen=True)
class Options:
    """How and where a map runs.

    Every function of the map family takes these as keyword arguments.

    Raises
    ------
    ConfigError
        Invalid value (also a ValueError).
    """

    function: str | None = option(
        None, WHERE, FUNCTION,
        "Lambda function: name, ``name:alias``, ``name:version`` or ARN. None: on Lambda the function "
        "itself (if its handler serves lambdamap), elsewhere a local Lambda",
        flag=True, known_as=("function_name",),
    )  # fmt: skip
    qualifier: str | None = option(
        None, WHERE, QUALIFIER,
        "Alias or version to invoke, like boto3's ``Qualifier``. It can also follow a colon in "
        "``function``",
    )  # fmt: skip
    tenant_id: str | None = option(
        None, WHERE, TENANT,
        "Tenant of a function with tenant isolation. The function reads it as ``context.tenant_id``",
    )  # fmt: skip
    client_context: dict[str, Any] | str | None = option(
        None, WHERE, CLIENT_CONTEXT,
        "JSON object (dict or text) that the handler reads as ``context.client_context``. At most "
        f"{MAX_CONTEXT:,} bytes in base64; CloudTrail may log it",
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
    http_version: str = option(
        "1.1", WHERE, choice("1.1", "2", "auto"),
        'HTTP version to the endpoint. "2": HTTP/2 over TLS, or `ConfigError`; "auto": HTTP/2 if the '
        "endpoint offers it, else 1.1. The local Lambda has 1.1",
    )  # fmt: skip
    backend: Any = option(
        "auto", WHERE, BACKEND,
        'Where the function runs. "aws": on AWS; "local": on a local Lambda; "inline": in this process; '
        'an executor: in its workers; "auto": on AWS if a function is configured, otherwise on a local '
        "Lambda",
        flag=True, known_as=("executor",),
    )  # fmt: skip
    local: str = option(
        "builtin", WHERE, choice("builtin", "awslambdaric"),
        "What runs the handler in the sandboxes of a local Lambda. \"builtin\": lambdamap's own loop; "
        "\"awslambdaric\": AWS's runtime client",
        flag=True,
    )  # fmt: skip
    memory_mb: int | None = option(
        None, WHERE, integer(1, 1 << 30, open_ended=True),
        "Memory limit of an invocation on a local Lambda, in MB. It includes processes that f starts; "
        "exceeding it raises `WorkerCrashedError`, as on AWS (Linux only). None: no limit",
    )  # fmt: skip

    chunksize: int | str = option(
        "auto", HOW, or_auto(integer(1, (1 << 32) - 1, open_ended=True)),
        'Items per invocation. "auto" starts with one item and grows to half a second of work',
        flag=True, known_as=("chunk_size", "batch_size"),
        refused={
            "LambdaExecutor": "pass it to map()",
            "invoke_map": "each payload is an invocation of its own",
        },
    )  # fmt: skip
    max_concurrency: int | None = option(
        None, HOW, integer(1, 100_000),
        "Maximum number of concurrent invocations of a map. None: 256 on AWS, two per sandbox on a "
        "local Lambda",
        flag=True, known_as=("max_workers", "n_jobs", "processes"),
    )  # fmt: skip
    buffersize: int | None = option(
        None, HOW, integer(1, 1 << 40, open_ended=True),
        "Maximum number of items read from the input whose results have not been taken. None: two "
        "windows of chunks",
        flag=True,
        refused={"LambdaExecutor": "pass it to map()"},
    )  # fmt: skip
    compression: bool | str = option(
        "auto", HOW, or_auto(SWITCH),
        'Compress payloads: zlib for their structure, byte planes for numbers. "auto": except over '
        "loopback",
    )  # fmt: skip
    codec: str = option(
        "native", HOW, choice("native", "json"),
        'Encoding of items and results. "json": plain JSON in the same envelope, for a worker in '
        "another language; functions are sent by name, and only None, bool, int, finite float, str, "
        "list and dict with str keys are supported",
        refused={"LambdaExecutor": "JSON cannot express keyword arguments and tuples"},
    )  # fmt: skip
    by_value: bool | Sequence[Any] | None = option(
        None, HOW, BY_VALUE,
        "Send the function's code instead of its import path. True: always; a list of modules: for "
        "functions defined in them; False: never; None: for functions without an import path",
        flag=True,
    )  # fmt: skip
    allow_pickle: bool | None = option(
        None, HOW, SWITCH,
        "Pickle what has no other encoding, and accept pickled results. None: on a local Lambda only",
    )  # fmt: skip
    depth: int = option(
        0, HOW, integer(0, 4),
        "Number of levels of maps inside the function that may run remotely, at most 4. Deeper ones run "
        "inline",
    )  # fmt: skip
    max_inflight_bytes: int | None = option(
        None, HOW, integer(1, 1 << 50, open_ended=True),
        "Limit for the bytes that all maps of this process hold. They count from packing until the "
        "results are taken. None: 512 MB or a quarter of the memory, whichever is less",
    )  # fmt: skip
    max_result_bytes: int = option(
        256 << 20, HOW, integer(1, 1 << 50, open_ended=True),
        "Limit for the bytes of a chunk's results, decoded",
    )  # fmt: skip

    timeout: float | None = option(
        None, FAILS, seconds(100_000_000),
        "Seconds from the call to the last result. None: no limit",
        flag=True,
        refused={"LambdaExecutor": "use result(timeout), map(timeout=) or invocation_timeout"},
    )  # fmt: skip
    invocation_timeout: float | None = option(
        None, FAILS, seconds(100_000_000),
        "Seconds for one attempt. None: 1830, which is Lambda's maximum and 30 for the network",
        flag=True,
    )  # fmt: skip
    connect_timeout: float = option(
        15.0, FAILS, seconds(1_000_000),
        "Seconds to keep trying to connect to the endpoint, which may be starting. Nothing has run yet",
    )  # fmt: skip
    idempotent: bool = option(
        False, FAILS, SWITCH,
        "The function may run twice for an item. Chunks whose reply is lost are retried",
        flag=True,
    )  # fmt: skip
    max_attempts: int | None = option(
        None, FAILS, integer(1, 100),
        "Maximum number of requests per chunk. Not counted: replies with 429 or 409, and failures to "
        "connect. None: ``AWS_MAX_ATTEMPTS``, else 3",
        flag=True,
    )  # fmt: skip
    retries: int = option(
        0, FAILS, integer(0, 100),
        "How often an item is tried again after f has raised. Each time it is sent in an invocation of "
        "its own. Other failures are not tried again",
        flag=True,
    )  # fmt: skip
    retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = option(
        None, FAILS, EXCEPTIONS,
        "Exceptions of f after which ``retries`` applies, as raised here. None: any `Exception`",
    )  # fmt: skip
    retry_delay: float = option(
        0.2, FAILS, seconds(1_000_000),
        "Seconds before an item is tried again. They double with each attempt, up to 60, and vary at "
        "random by half",
        flag=True,
    )  # fmt: skip
    on_error: str = option(
        "raise", FAILS, choice("raise", "return"),
        'What to do when an item fails, for any reason. "raise": end the map with the exception; "return": '
        "return the exception in place of the result and continue, unless the failure concerns all items",
        flag=True,
        refused={"LambdaExecutor": "each future holds its own exception"},
    )  # fmt: skip
    journal: str | os.PathLike[str] | None = option(
        None, FAILS, PATH,
        "File that keeps the results, so that the same call resumes the map after a crash. Items with "
        "a result in it are not run again",
        flag=True,
        refused={"LambdaExecutor": "pass it to map()", "joblib": "use lambdamap.map(), or joblib.Memory"},
    )  # fmt: skip
    journal_strict: bool = option(
        False, FAILS, SWITCH,
        "A function whose source has changed cannot resume its journal. False: it can, with a warning",
        flag=True,
    )  # fmt: skip
    rerun_maybe: bool = option(
        False, FAILS, SWITCH,
        "When resuming, run items again that had begun and have no outcome in the journal. False: only "
        "with ``idempotent``, otherwise they raise `InterruptedJobError`",
        flag=True,
    )  # fmt: skip
    rerun_failed: bool = option(
        False, FAILS, SWITCH,
        "When resuming, run items again that failed. False: only with ``idempotent``, otherwise they "
        "raise their error from the journal",
        flag=True,
    )  # fmt: skip
    progress: bool | Callable[..., Any] | None = option(
        None, FAILS, PROGRESS,
        "Show a progress bar on stderr. A tqdm class, or a callable ``(done, total)``, replaces the "
        "bar; None: show a bar after a second, on a terminal or in a notebook",
        flag=True,
        refused={"LambdaExecutor": "use as_completed() with a bar of your own"},
    )  # fmt: skip
    logs: bool = option(
        True, FAILS, SWITCH,
        "Print what the function prints, each line with the index of its item",
    )  # fmt: skip

    billing: bool | None = option(
        None, FAILS, SWITCH,
        "Read what invocations cost from the REPORT lines of their logs, for `Stats`. True: of all; "
        "False: of none; None: of the first 32 and 1 in 50 of the others, on AWS's endpoints and the "
        "local Lambda",
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
    """Return the docstring of Options with its parameters."""
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
    """Return the option, or one of some other names, that a wrong name probably stands for."""
    import difflib

    for known, declared in DECLARED.items():
        if name in declared.known_as:
            return known
    return next(iter(difflib.get_close_matches(name, [*DECLARED, *others], n=1)), None)


def check_names(values: Iterable[str]) -> None:
    """Raise ConfigError for an unknown option; the message suggests a known one."""
    for name in values:
        if name not in DECLARED:
            near = _meant(name)
            hint = f"did you mean {near!r}?" if near else f"options are: {', '.join(DECLARED)}"
            raise ConfigError(f"unknown option {name!r}; {hint}")


def refused(place: str) -> dict[str, str]:
    """Return the options that a call does not accept, each with what to do instead."""
    return {
        name: declared.refused[place]
        for name, declared in DECLARED.items()
        if place in declared.refused
    }


def check_place(place: str, given: Iterable[str], others: Mapping[str, str] | None = None) -> None:
    """Raise ConfigError for an argument that a call does not accept: an option, or one of `others`."""
    reasons = {**refused(place), **(others or {})}
    for name in given:
        if name in reasons:
            raise ConfigError(f"{place} does not accept {name!r}: {reasons[name]}")


# --- where values come from -----------------------------------------------------------------------

# What `configure` has set for the process, in order, each with the object that set it: a ``with``
# statement removes its own before its body. Replaced as a whole, under the lock.
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
    """Return what `configure` has set here: for the process, and by enclosing ``with`` statements."""
    return {**_of_process(), **(_local.get() or {})}


def _of_process() -> dict[str, Any]:
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
    """Return the names of a function's parameters."""
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
        As for `resolve`. If the name is an argument of the function, the message says how to pass it.
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
        raise error.with_traceback(None)  # noqa: B904  # a notebook would show pages of it


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
        **_of_process(),
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
            # Values whose objects are gone can no longer be removed: merge two of them in a row.
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
