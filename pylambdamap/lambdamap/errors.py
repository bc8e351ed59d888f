"""What can go wrong, and whether the function ran.

Every `LambdaMapError` says of the items in ``indices`` what is known: ``ran`` is ``"NOT"`` (the
function cannot have run for them), ``"MAYBE"`` (the request left, no reply came) or ``"RAN"``.
All of them pickle.
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
        Positions in the input of the items that this error speaks of; a range where possible.
    attempts : int
        Requests that were made for them, those answered by 429 not counted.
    request_id : str or None
        AWS's id of the last request.
    ran : {"NOT", "MAYBE", "RAN"}
        Whether the function ran for the items in `indices`.
    partial : dict of int to object
        Results of the items that had finished, by position.
    not_run : sequence of int
        Items of the same chunk that were never started.
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
    ) -> None:
        super().__init__(message)
        self.indices = indices
        self.attempts = attempts
        self.request_id = request_id
        self.ran: Ran = ran
        self.partial: dict[int, Any] = dict(partial or {})
        self.not_run = not_run

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
    """An option, name, region or credential that cannot work; nothing was sent."""


class AccessDeniedError(ConfigError):
    """AWS refused the caller: wrong keys, or a policy without ``lambda:InvokeFunction``."""


class FunctionNotFoundError(ConfigError):
    """There is no such function in this account and region."""


class ServiceError(LambdaMapError):
    """Lambda itself, or something in front of it, answered with an error."""


class ThrottledError(ServiceError):
    """Nothing but 429 for as long as lambdamap waits, 60 s."""


class TransportError(LambdaMapError, ConnectionError):
    """The network."""


class ConnectError(TransportError):
    """No connection could be made, so nothing was sent."""


class ConnectionLostError(TransportError):
    """The connection broke after part of the request had left: the function may have run."""


class DeadlineError(LambdaMapError, TimeoutError):
    """The time given by ``timeout`` or ``invocation_timeout`` was over."""


class WorkerError(LambdaMapError):
    """The function, in the place where it runs."""


class RemoteError(WorkerError):
    """f raised an exception that cannot be rebuilt here.

    Where a base class of that exception is known here, it is an instance of that class, too, so that
    an ``except`` for it works.

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
    """The worker could not or would not begin: import, permission, version. Nothing ran."""


class WorkerTimeoutError(WorkerError):
    """The function's own timeout ended it."""


class WorkerCrashedError(WorkerError):
    """The function's process ended: exit, signal, out of memory."""


class PayloadTooLargeError(LambdaMapError):
    """One item above the 6,291,456 bytes of a request, or one result that fits into no reply."""


class ProtocolError(LambdaMapError):
    """A reply that is broken, or not lambdamap's."""


class EncodeError(LambdaMapError, TypeError):
    """An item or a function that cannot be sent."""


class DecodeError(LambdaMapError, ValueError):
    """Data that cannot be read, or not without a permission that was not given."""


class StaleCodeWarning(UserWarning):
    """The function on AWS runs another version of f's source file than the caller has."""


# --- what is known of any exception that a map raised -----------------------------------------------


@dataclasses.dataclass(slots=True)
class Failure:
    """What is known of an exception that came out of a map; see `failure`.

    Attributes
    ----------
    indices : sequence of int
        Positions in the input of the items that it speaks of.
    ran : {"NOT", "MAYBE", "RAN"}
        Whether the function ran for them.
    not_run : sequence of int
        Items of the same chunk that were never started.
    partial : dict of int to object
        Results that were finished and not yet given, by position.
    attempts : int
        Requests that were made for the chunk, those answered by 429 not counted.
    request_id : str or None
        AWS's id of the last request.
    remote_traceback : str
        Where f raised, as text; empty when it did not.
    remote_type : str
        ``module.QualName`` of what f raised; empty when it did not.
    """

    indices: Sequence[int] = ()
    ran: Ran = "NOT"
    not_run: Sequence[int] = ()
    partial: dict[int, Any] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    request_id: str | None = None
    remote_traceback: str = ""
    remote_type: str = ""


# Whatever the exception's class says of attributes.
_traceback: Any = BaseException.__dict__["__traceback__"]
_context: Any = BaseException.__dict__["__context__"]
own_dict: Callable[[BaseException], dict[str, Any]] = BaseException.__dict__["__dict__"].__get__


class _Note(str):
    """A note of an exception that was raised by a map, with what is known of it.

    It lives and dies with the exception. There is no other place that every exception has: some
    take no weak reference, some no attribute, and an attribute would be one that f has not set.
    """

    __slots__ = ("context", "failure")

    failure: Failure
    context: BaseException | None  # f's: raising here in an except block sets another one

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
    """The note of the last map that raised it."""
    notes: Any = own_dict(error).get("__notes__")
    for given in reversed(notes) if type(notes) is list else ():
        if type(given) is _Note:
            return given
    return None


def failure(error: BaseException) -> Failure | None:
    """Return what is known of an exception that came out of a map.

    Parameters
    ----------
    error
        f's own exception, a `LambdaMapError`, a KeyboardInterrupt or another exception that ended
        the map. Of one that came through several maps: what the last one knows.

    Returns
    -------
    Failure or None
        None: no map has raised it.

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
    if issubclass(type(error), LambdaMapError):
        own = own_dict(error)
        names = (field.name for field in dataclasses.fields(Failure))
        return Failure(**{name: own[name] for name in names if name in own})
    given = _note_on(error)
    return None if given is None else given.failure


def note(error: BaseException, text: str) -> None:
    """Add a note as `BaseException.add_note` does, whatever the exception's class says of attributes
    and before Python 3.11, too, where only the attribute is left."""
    own = own_dict(error)
    notes = own.get("__notes__")
    if type(notes) is list:
        own["__notes__"] = [*notes, text]
    else:
        own["__notes__"] = [text] if notes is None else [notes, text]


def attach(error: BaseException, known: Failure, text: str) -> None:
    """Add a note to an exception that is not lambdamap's, and to that what `failure` will say."""
    given = _note_of(text, known)
    given.context = _context.__get__(error)
    note(error, given)


# True whether there are any: a caller of the engine may add some later.
_KEPT = "lambdamap: what had finished is in lambdamap.failure(error).partial"


def keep(error: BaseException, results: Mapping[int, Any]) -> None:
    """Add results that had finished to what is known of an exception."""
    known: Any = error if issubclass(type(error), LambdaMapError) else failure(error)
    if known is None:
        known = Failure()
        attach(error, known, _KEPT)
    known.partial = dict(sorted({**results, **known.partial}.items()))


# --- warnings and tracebacks ------------------------------------------------------------------------


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller's code that is nearest to this library."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def trim(error: BaseException) -> None:
    """Make an error of a map fit to leave it.

    The outer frames of its traceback that are this library's say nothing to the caller, and go.
    Those of the caller's own code inside, such as an input's, stay. Its context is what it was in f.
    """
    trace = _traceback.__get__(error)
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    _traceback.__set__(error, trace)
    given = _note_on(error)
    if given is not None and given.context is not None:
        _put_before(_context.__get__(error), error, given.context)


def _put_before(first: BaseException | None, error: BaseException, own: BaseException) -> None:
    """The error's context is its own one again, and what was handled here is what came before that."""
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
