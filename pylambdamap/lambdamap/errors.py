"""What can go wrong, and whether the function ran.

Every `LambdaMapError` says of the items in ``indices`` what is known: ``ran`` is ``"NOT"`` (the
function cannot have run for them), ``"MAYBE"`` (the request left, no reply came) or ``"RAN"``.
All of them pickle.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = [
    "AccessDeniedError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DeadlineError",
    "DecodeError",
    "EncodeError",
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


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller's code that is nearest to this library."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def trim(error: BaseException) -> None:
    """Forget the outer frames of its traceback that are this library's: they say nothing to the
    caller. Those of the caller's own code inside, such as an input's, stay."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    error.__traceback__ = trace


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "lambdamap"
