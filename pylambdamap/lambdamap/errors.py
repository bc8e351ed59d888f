"""Exceptions, and whether the function ran.

The ``ran`` of a `LambdaMapError` holds for the items in ``indices``: ``"NOT"`` (the function cannot
have run for them), ``"MAYBE"`` (the request was sent and no reply came) or ``"RAN"``. All exceptions
can be pickled.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

__all__ = [
    "AccessDeniedError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DeadlineError",
    "DecodeError",
    "EncodeError",
    "Failure",
    "FunctionNotFoundError",
    "InterruptedJobError",
    "LambdaMapError",
    "PayloadTooLargeError",
    "ProtocolError",
    "Ran",
    "RemoteError",
    "ServiceError",
    "StaleCodeWarning",
    "ThrottledError",
    "TransportError",
    "WorkerCrashedError",
    "WorkerError",
    "WorkerInitError",
    "WorkerTimeoutError",
    "failure",
]

Ran = Literal["NOT", "MAYBE", "RAN"]


class LambdaMapError(Exception):
    """Base of all errors of lambdamap.

    Attributes
    ----------
    indices : sequence of int
        Input positions of the items concerned; a range where possible.
    attempts : int
        Number of requests made for them, without those answered by 429.
    request_id : str or None
        AWS request id of the last attempt.
    ran : {"NOT", "MAYBE", "RAN"}
        Whether the function ran for the items in `indices`.
    partial : dict of int to object
        Results of the finished items, by input position.
    not_run : sequence of int
        Input positions of the chunk's items that were not started.
    output : str
        What the item printed, if the error is that of one item whose reply has come.
    """

    def __init__(
        self,
        message: str = "",
        *,
        indices: Sequence[int] = (),
        attempts: int = 0,
        request_id: str | None = None,
        ran: Ran = "NOT",
        partial: Mapping[int, Any] | None = None,
        not_run: Sequence[int] = (),
        output: str = "",
    ) -> None:
        super().__init__(message)
        self.indices = indices
        self.attempts = attempts
        self.request_id = request_id
        self.ran: Ran = ran
        self.partial: dict[int, Any] = dict(partial or {})
        self.not_run = not_run
        self.output = output

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[LambdaMapError], args: tuple[Any, ...], state: dict[str, Any]
) -> LambdaMapError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(LambdaMapError, ValueError):
    """Invalid option, name, region or credentials. Nothing was sent."""


class AccessDeniedError(ConfigError):
    """AWS denied access: invalid keys, or a policy without ``lambda:InvokeFunction``."""


class FunctionNotFoundError(ConfigError):
    """The function does not exist in this account and region."""


class ServiceError(LambdaMapError):
    """Lambda, or a proxy in front of it, replied with an error."""


class ThrottledError(ServiceError):
    """The function was throttled (429) for 60 s or until the deadline."""


class TransportError(LambdaMapError, ConnectionError):
    """Network error."""


class ConnectError(TransportError):
    """No connection could be established. Nothing was sent."""


class ConnectionLostError(TransportError):
    """The connection broke after part of the request was sent. The function may have run."""


class InterruptedJobError(LambdaMapError):
    """An earlier map with the same journal ended before the reply came. The function may have run."""


class DeadlineError(LambdaMapError, TimeoutError):
    """The deadline set by ``timeout`` or ``invocation_timeout`` was exceeded."""


class WorkerError(LambdaMapError):
    """Error in the worker, the process in which the function runs."""


class RemoteError(WorkerError):
    """f raised an exception that cannot be rebuilt here.

    It is also an instance of the nearest base class of that exception that exists here, so an
    ``except`` clause for that class catches it.

    Attributes
    ----------
    remote_type : str
        ``module.QualName`` of the exception.
    remote_traceback : str
        Its traceback, as text.
    """

    remote_type: str = ""
    remote_traceback: str = ""


class WorkerInitError(WorkerError):
    """The worker did not start: import error, missing permission or version mismatch. Nothing ran."""


class WorkerTimeoutError(WorkerError):
    """The Lambda function's timeout ended the invocation."""


class WorkerCrashedError(WorkerError):
    """The worker process ended: exit, signal or out of memory."""


class PayloadTooLargeError(LambdaMapError):
    """An item exceeds the 6,291,456 bytes of a request, or a result does not fit into a reply."""


class ProtocolError(LambdaMapError):
    """The reply is malformed or not from lambdamap."""


class EncodeError(LambdaMapError, TypeError):
    """An item or function cannot be sent."""


class DecodeError(LambdaMapError, ValueError):
    """The data is malformed, or decoding it needs a permission that was not given."""


class StaleCodeWarning(UserWarning):
    """The deployed version of f's source file differs from the caller's."""


# --- failures: what is known about any exception that a map raised -----------------------------------------------


@dataclasses.dataclass(slots=True)
class Failure:
    """What is known about an exception raised by a map; see `failure`.

    Attributes
    ----------
    indices : sequence of int
        Input positions of the items concerned.
    ran : {"NOT", "MAYBE", "RAN"}
        Whether the function ran for them.
    not_run : sequence of int
        Input positions of the chunk's items that were not started.
    partial : dict of int to object
        Finished results that were not yet returned, by input position.
    attempts : int
        Number of requests made for the chunk, without those answered by 429.
    request_id : str or None
        AWS request id of the last attempt.
    remote_traceback : str
        Traceback of f's exception as text; empty if f did not raise.
    remote_type : str
        ``module.QualName`` of f's exception; empty if f did not raise.
    output : str
        What f printed for the item; empty if nothing, or if no reply came.
    """

    indices: Sequence[int] = ()
    ran: Ran = "NOT"
    not_run: Sequence[int] = ()
    partial: dict[int, Any] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    request_id: str | None = None
    remote_traceback: str = ""
    remote_type: str = ""
    output: str = ""


# Accessed on the base class: a subclass may override attribute access.
_traceback: Any = BaseException.__dict__["__traceback__"]
_context: Any = BaseException.__dict__["__context__"]
own_dict: Callable[[BaseException], dict[str, Any]] = BaseException.__dict__["__dict__"].__get__


class _Note(str):
    """A note on an exception raised by a map, with its `Failure`.

    The note lives as long as the exception. No other place works for every exception: some classes
    allow no weak references and some no attributes, and f has not set such an attribute.
    """

    __slots__ = ("context", "failure")

    failure: Failure
    context: BaseException | None  # as f set it; raising in an except block here replaces it

    def __reduce__(self) -> Any:
        import pickle

        for known in (self.failure, dataclasses.replace(self.failure, partial={})):
            try:
                pickle.dumps(known)
            except Exception:  # a result that does not pickle
                continue
            return _note_of, (str.__str__(self), known)
        return str, (str.__str__(self),)


def _note_of(text: str, known: Failure) -> _Note:
    made = _Note(text)
    made.failure = known
    made.context = None
    return made


def _note_on(error: BaseException) -> _Note | None:
    """Return the note of the last map that raised it."""
    notes: Any = own_dict(error).get("__notes__")
    for given in reversed(notes) if type(notes) is list else ():
        if type(given) is _Note:
            return given
    return None


def failure(error: BaseException) -> Failure | None:
    """Return what is known about an exception raised by a map.

    Parameters
    ----------
    error
        f's own exception, a `LambdaMapError`, a KeyboardInterrupt or another exception that ended
        the map. If it passed through several maps, the last one counts.

    Returns
    -------
    Failure or None
        None if no map raised it.

    Raises
    ------
    TypeError
        It is not an exception: a result, for example.

    Examples
    --------
    >>> import lambdamap
    >>> try:
    ...     lambdamap.my_map(int, ["1", "2", "x"], 1, backend="inline")
    ... except ValueError as error:
    ...     known = lambdamap.failure(error)
    >>> known.indices, known.ran, known.partial
    ((2,), 'RAN', {0: 1, 1: 2})
    """
    if not issubclass(type(error), BaseException):
        raise TypeError(f"failure() takes an exception, not {type(error).__name__}")
    if issubclass(type(error), LambdaMapError):
        own = own_dict(error)
        names = (field.name for field in dataclasses.fields(Failure))
        return Failure(**{name: own[name] for name in names if name in own})
    given = _note_on(error)
    return None if given is None else given.failure


def note(error: BaseException, text: str) -> None:
    """Add a note as `BaseException.add_note` does.

    Works for classes that override attribute access, and before Python 3.11, where it sets
    ``__notes__`` only."""
    own = own_dict(error)
    notes = own.get("__notes__")
    if type(notes) is list:
        own["__notes__"] = [*notes, text]
    else:
        own["__notes__"] = [text] if notes is None else [notes, text]


def attach(error: BaseException, known: Failure, text: str) -> None:
    """Add a note to an exception that is not lambdamap's, with what `failure` will return."""
    given = _note_of(text, known)
    given.context = _context.__get__(error)
    note(error, given)


# Said even if there are none yet: a caller of the engine may add some later.
_KEPT = "lambdamap: finished results are in lambdamap.failure(error).partial"


def keep(error: BaseException, results: Mapping[int, Any]) -> None:
    """Add finished results to what is known about an exception."""
    known: Any = error if issubclass(type(error), LambdaMapError) else failure(error)
    if known is None:
        known = Failure()
        attach(error, known, _KEPT)
    known.partial = dict(sorted({**results, **known.partial}.items()))


# --- warnings and tracebacks ------------------------------------------------------------------------


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller's code that called this library."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def trim(error: BaseException) -> None:
    """Remove this library's outer frames from the traceback of a map's exception.

    Inner frames of the caller's code, such as the input iterator's, stay. The exception's context
    is restored to what it was in f.
    """
    trace = _traceback.__get__(error)
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    _traceback.__set__(error, trace)
    given = _note_on(error)
    if given is not None and given.context is not None:
        _put_before(_context.__get__(error), error, given.context)


def _put_before(first: BaseException | None, error: BaseException, own: BaseException) -> None:
    """Restore the error's own context, and append what was being handled here to that chain."""
    if first is own:
        return
    _context.__set__(error, own)
    seen = {id(error)}
    last = own
    while id(last) not in seen:
        seen.add(id(last))
        before = _context.__get__(last)
        if before is None:
            _context.__set__(last, first)
            return
        last = before


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "lambdamap"
