"""Options: one frozen dataclass, and where its values come from.

An argument of a call wins over ``with lambdamap.configure(...)``, that over what a web framework's
application is configured with, that over a plain ``lambdamap.configure(...)``, and that over
``LAMBDAMAP_*`` in the environment. They are read once, when a map is called.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import difflib
import json
import operator
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from lambdamap import ambient
from lambdamap.errors import ConfigError

__all__ = [
    "Options",
    "check_names",
    "configure",
    "encoded_context",
    "is_region",
    "parse",
    "qualifier_of",
    "resolve",
]

_FUNCTION = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:[a-z]{2,4}(?:-[a-z]+)+-\d{1,2}:)?"
    r"(?:\d{12}:function:|\d{12}:|function:)?"
    r"[A-Za-z0-9_-]{1,140}(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[A-Za-z0-9_-]{1,128}))?"
)
_REGION = re.compile(r"(?!fips-)[a-z]{2,4}(?:-[a-z]+)+-\d{1,2}")
_MAX_FUNCTION = 256
_QUALIFIER = re.compile(r"\$LATEST(?:\.PUBLISHED)?|[A-Za-z0-9_-]{1,128}")
_TENANT = re.compile(r"[a-zA-Z0-9._:/=+\-@](?:[a-zA-Z0-9._:/=+\-@ ]{0,254}[a-zA-Z0-9._:/=+\-@])?")
_MAX_CONTEXT = 3583  # of base64, as the Invoke API has it
_BIG = 1 << 40


@dataclasses.dataclass(frozen=True)
class Options:
    """How and where a map runs.

    Parameters
    ----------
    function : str, optional
        Where: name, ``name:alias``, ``name:version`` or ARN of the Lambda function. None: inside
        Lambda the own function (when its handler is lambdamap's), else a Lambda on this machine.
    qualifier : str, optional
        Alias or version of the function; the same as behind a colon of its name.
    tenant_id : str, optional
        Tenant of a function with tenant isolation; it reads it as ``context.tenant_id``.
    client_context : dict or str, optional
        JSON object, or its text, that the handler reads as ``context.client_context``; at most 3,583
        bytes in base64. CloudTrail may log it.
    region, profile : str, optional
        AWS region and profile; default: the ARN's region, then ``AWS_REGION``,
        ``AWS_DEFAULT_REGION``, then the profile's.
    credentials : mapping, tuple or object, optional
        ``access_key``, ``secret_key`` and ``token``; default: the environment, then botocore.
    endpoint_url : str, optional
        The Invoke API to use instead of AWS's.
    ca_bundle : str, optional
        File of CA certificates; default: ``AWS_CA_BUNDLE``, then the system's.
    backend : {"auto", "aws", "local", "inline"} or concurrent.futures.Executor
        "auto" is AWS when a function is known, else the local Lambda.
    local : {"builtin", "awslambdaric"}
        What runs the handler in the local Lambda's processes.
    memory_mb : int, optional
        What an invocation may take on the local Lambda, as on a Lambda of that size; beyond it, it is
        a `WorkerCrashedError`. Default: no limit.
    chunksize : int or "auto"
        How: items per invocation. "auto" aims at half a second of work.
    max_concurrency : int, optional
        Invocations of this map at once; default: 256 on AWS, twice the sandboxes on the local Lambda.
    buffersize : int, optional
        Items taken from the input and not yet yielded; default: two windows of chunks.
    compression : {"auto", True, False}
        zlib on the structure of the data, and byte planes on its numbers. "auto": not to loopback.
    codec : {"native", "json"}
        "json" sends and gets plain JSON in the same envelope, for a worker in another language: f goes
        by name, items and results are None, bool, int, finite float, str, list and dict of str keys.
        Anything else is refused with its place.
    by_value : None, bool or list of modules
        Ship f's code: None: where it has no import path; True: always; modules: for what is defined
        in them.
    allow_pickle : bool, optional
        Whether arguments and results may be pickled where no other form fits; default: on the local
        Lambda only.
    depth : int
        Levels of maps inside f that may run remotely, 0 to 4; deeper ones run inline. Default: 0.
    max_inflight_bytes : int, optional
        Bytes of all maps of this process between packing and taking; default: 512 MB or a quarter
        of the memory.
    max_result_bytes : int
        Of one chunk, decoded; default: 256 MB.
    timeout : float, optional
        When it fails: seconds from the call to the last result.
    invocation_timeout : float, optional
        Seconds for one attempt; default: 1830, Lambda's longest run and a little.
    connect_timeout : float
        Seconds to go on trying while the endpoint takes no connection, as of a server that starts;
        nothing has run then. Default: 15.
    idempotent : bool
        f may run twice for an item, so lost replies are tried again. Default: False.
    max_attempts : int, optional
        Requests per chunk in all; default: ``AWS_MAX_ATTEMPTS``, else 3. A 429, a 409 and a
        connection that was never made do not count.
    on_error : {"raise", "return"}
        "return" puts an item's exception in its place.
    progress : None, bool or callable
        None: a bar on stderr after a second, on a terminal or in a notebook. A tqdm class, or a
        callable ``(done, total)``.
    logs : bool
        Show what f prints; default: True.

    Raises
    ------
    ConfigError
        A value that cannot be; it is a ValueError.
    """

    function: str | None = None
    qualifier: str | None = None
    tenant_id: str | None = None
    client_context: dict[str, Any] | str | None = dataclasses.field(default=None, repr=False)
    region: str | None = None
    profile: str | None = None
    credentials: Any = dataclasses.field(default=None, repr=False)
    endpoint_url: str | None = None
    ca_bundle: str | None = None
    backend: Any = "auto"
    local: str = "builtin"
    memory_mb: int | None = None
    chunksize: int | str = "auto"
    max_concurrency: int | None = None
    buffersize: int | None = None
    compression: bool | str = "auto"
    codec: str = "native"
    by_value: bool | Sequence[Any] | None = None
    allow_pickle: bool | None = None
    depth: int = 0
    max_inflight_bytes: int | None = None
    max_result_bytes: int = 256 << 20
    timeout: float | None = None
    invocation_timeout: float | None = None
    connect_timeout: float = 15.0
    idempotent: bool = False
    max_attempts: int | None = None
    on_error: str = "raise"
    progress: bool | Callable[..., Any] | None = None
    logs: bool = True

    def __post_init__(self) -> None:
        _check(self)

    def __getstate__(self) -> dict[str, Any]:
        if self.credentials is not None:
            raise TypeError(
                "Options with credentials are not pickled: let the other process find its own"
            )
        return dict(vars(self))


NAMES = tuple(field.name for field in dataclasses.fields(Options))


def _fail(name: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"{name} must be {wanted}, not {value!r}")


def _integer(options: Options, name: str) -> Any:
    """The option's value; an integer of another type, such as numpy's, becomes an int first."""
    value = getattr(options, name)
    if not isinstance(value, (int, str)) and hasattr(value, "__index__"):
        with contextlib.suppress(TypeError):  # an array
            object.__setattr__(options, name, operator.index(value))
    return getattr(options, name)


def _check_int(options: Options, name: str, low: int, high: int, optional: bool) -> None:
    value = _integer(options, name)
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        bounds = f"from {low} to {high}" if high < _BIG else f"of at least {low}"
        raise _fail(name, value, f"a whole number {bounds}")


def _check_seconds(options: Options, name: str, *, optional: bool = True) -> None:
    value, most = getattr(options, name), 1e8 if optional else 1e6
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < most:
        raise _fail(name, value, "a number of seconds above 0" + (", or None" if optional else ""))


def _check_choice(options: Options, name: str, choices: tuple[Any, ...]) -> None:
    value = getattr(options, name)
    if not any(
        value is choice or (value == choice and type(value) is type(choice)) for choice in choices
    ):
        raise _fail(name, value, " or ".join(repr(choice) for choice in choices))


def _check(options: Options) -> None:
    check_function(options.function)
    _check_text(options, "qualifier", _QUALIFIER, "an alias or a version")
    _check_text(
        options, "tenant_id", _TENANT, "1 to 256 of A-Z a-z 0-9 . _ : / = + - @ and inner blanks"
    )
    if options.client_context is not None:
        encoded_context(options.client_context)
    if options.region is not None and not is_region(options.region):
        raise _fail("region", options.region, "a region such as 'eu-central-1'")
    for name in ("profile", "endpoint_url", "ca_bundle"):
        value = getattr(options, name)
        if value is not None and (
            not isinstance(value, str) or not value or not value.isprintable()
        ):
            raise _fail(name, value, "a text")
    if isinstance(options.backend, str):
        _check_choice(options, "backend", ("auto", "aws", "local", "inline"))
    elif hasattr(options.backend, "get_executor"):
        raise _fail("backend", options.backend, "an executor: pass client.get_executor()")
    elif isinstance(options.backend, type) or not hasattr(options.backend, "submit"):
        raise _fail(
            "backend",
            options.backend,
            "'auto', 'aws', 'local', 'inline' or an object that is a concurrent.futures.Executor",
        )
    _check_choice(options, "local", ("builtin", "awslambdaric"))
    _check_int(options, "memory_mb", 1, 1 << 30, True)
    if not isinstance(options.chunksize, str) or options.chunksize != "auto":
        value = _integer(options, "chunksize")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**32:
            raise _fail("chunksize", value, 'a whole number of items, at least 1, or "auto"')
    _check_int(options, "max_concurrency", 1, 100_000, True)
    _check_int(options, "buffersize", 1, _BIG, True)
    _check_choice(options, "compression", ("auto", True, False))
    _check_choice(options, "codec", ("native", "json"))
    if options.by_value is not None and not isinstance(options.by_value, (bool, list, tuple)):
        raise _fail("by_value", options.by_value, "None, True, False or a list of modules")
    _check_choice(options, "allow_pickle", (None, True, False))
    _check_int(options, "depth", 0, 4, False)
    _check_int(options, "max_inflight_bytes", 1, 1 << 50, True)
    _check_int(options, "max_result_bytes", 1, 1 << 50, False)
    _check_seconds(options, "timeout")
    _check_seconds(options, "invocation_timeout")
    _check_seconds(options, "connect_timeout", optional=False)
    _check_choice(options, "idempotent", (True, False))
    _check_int(options, "max_attempts", 1, 100, True)
    _check_choice(options, "on_error", ("raise", "return"))
    if not (
        options.progress is None or isinstance(options.progress, bool) or callable(options.progress)
    ):
        raise _fail("progress", options.progress, "None, True, False, a tqdm class or a callable")
    _check_choice(options, "logs", (True, False))


def _check_text(options: Options, name: str, pattern: re.Pattern[str], wanted: str) -> None:
    value = getattr(options, name)
    if value is not None and (not isinstance(value, str) or pattern.fullmatch(value) is None):
        raise _fail(name, value, wanted)


def encoded_context(context: Any) -> str:
    """A client context as its header has it: base64 of a JSON object.

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
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"client_context is not JSON ({error})") from None
    if not isinstance(context, dict):
        kind = type(context).__name__
        raise ConfigError(f"client_context must be a dict, or a JSON object as text, not {kind}")
    try:
        encoded = base64.b64encode(text.encode()).decode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"client_context is not JSON ({error})") from None
    if len(encoded) > _MAX_CONTEXT:
        raise ConfigError(
            f"client_context has {len(encoded)} bytes in base64; Lambda takes {_MAX_CONTEXT}: send "
            "a reference to it"
        )
    return encoded


def is_region(name: object) -> bool:
    """Whether it looks like the name of an AWS region."""
    return isinstance(name, str) and _REGION.fullmatch(name) is not None


def check_function(name: object) -> None:
    """Raise ConfigError unless it can be a function's name, ARN or None.

    The limits are those of the Invoke API's ``FunctionName``.
    """
    if name is None:
        return
    if not isinstance(name, str):
        raise _fail("function", name, "the name or ARN of a Lambda function")
    if len(name) > _MAX_FUNCTION:
        raise ConfigError(f"function has {len(name)} characters; a name or ARN has at most 256")
    if _FUNCTION.fullmatch(name) is None:
        raise _fail(
            "function",
            name,
            "a name (letters, digits, - and _), name:alias, or a function's ARN",
        )


def qualifier_of(function: str) -> str | None:
    """The alias or version behind a function's name or ARN."""
    found = _FUNCTION.fullmatch(function)
    return None if found is None else found["qualifier"]


# --- where values come from --------------------------------------------------------------------

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_FROM_ENVIRONMENT = set(NAMES) - {"by_value", "credentials"}  # which no text can say
_INTS = {
    "memory_mb",
    "max_concurrency",
    "buffersize",
    "depth",
    "max_inflight_bytes",
    "max_result_bytes",
    "max_attempts",
}
_SECONDS = {"timeout", "invocation_timeout", "connect_timeout"}
_BOOLS = {"allow_pickle", "idempotent", "progress", "logs", "compression"}

# What `configure` has set for good, the last one winning, each with the object that set it: a ``with``
# statement takes it out again before its body. Replaced as a whole, under the lock.
_set: tuple[tuple[weakref.ref[configure], dict[str, Any]], ...] = ()
_lock = threading.Lock()
_local: ContextVar[dict[str, Any] | None] = ContextVar("lambdamap_options", default=None)


def parse(name: str, text: str) -> Any:
    """The value of an option from its text in the environment, or a ConfigError."""
    lowered = text.strip().lower()
    try:
        if name in _INTS or (name == "chunksize" and lowered != "auto"):
            return int(lowered)
        if name in _SECONDS:
            return float(lowered)
    except ValueError:
        raise ConfigError(f"LAMBDAMAP_{name.upper()} must be a number, not {text!r}") from None
    if name in _BOOLS:
        if lowered in _TRUE:
            return True
        if lowered in _FALSE:
            return False
        if name != "compression":
            raise ConfigError(f"LAMBDAMAP_{name.upper()} must be 1 or 0, not {text!r}")
    return text.strip()


def _environment() -> dict[str, Any]:
    found = {}
    for name in _FROM_ENVIRONMENT:
        text = os.environ.get(f"LAMBDAMAP_{name.upper()}")
        if text is not None and text.strip():
            found[name] = parse(name, text)
    return found


def _configured() -> dict[str, Any]:
    """What `configure` has set here: for good, and in the ``with`` statements around."""
    return {**_for_good(), **(_local.get() or {})}


def _for_good() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _, values in _set:
        found.update(values)
    return found


def _forget() -> None:
    """In the child of a fork: whoever held the lock is not there."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)


_ELSEWHERE = {  # as other libraries call it
    "chunk_size": "chunksize",
    "batch_size": "chunksize",
    "max_workers": "max_concurrency",
    "n_jobs": "max_concurrency",
    "processes": "max_concurrency",
    "function_name": "function",
    "region_name": "region",
    "profile_name": "profile",
    "retries": "max_attempts",
    "executor": "backend",
}


def check_names(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for what is no option; the message says what was probably meant."""
    for name in values:
        if name not in NAMES:
            near = [_ELSEWHERE[name]] if name in _ELSEWHERE else []
            near = near or difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(NAMES)}"
            raise ConfigError(f"there is no option {name}{hint}")


def _arguments_of(function: Any) -> Iterable[str]:
    """The names under which a function takes arguments."""
    import inspect

    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # not callable, or built in
        return ()
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def resolve_for(function: object, arguments: Mapping[str, Any]) -> Options:
    """Return the options of a call that maps a function, whose own arguments are none of them.

    Raises
    ------
    ConfigError
        As `resolve`; of a keyword that the function takes it says how to pass it.
    """
    try:
        for name in arguments.keys() - set(NAMES):
            if name in _arguments_of(function):
                called = getattr(function, "__name__", "f")
                raise ConfigError(
                    f"{name} is an argument of {called} and not an option of the map: pass "
                    f"functools.partial({called}, {name}=...) instead of {called}"
                )
        return resolve(**arguments)
    except ConfigError as error:
        raise error.with_traceback(None)  # noqa: B904  # of how it was found, a notebook shows pages


def resolve(**arguments: Any) -> Options:
    """The options of one call.

    Raises
    ------
    ConfigError
        An unknown name or a value that cannot be.
    DeadlineError
        The time for maps of the web request that this is called in is over.
    """
    check_names(arguments)
    values = {
        **_environment(),
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
        At once, for an unknown name or a value that cannot be.

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
