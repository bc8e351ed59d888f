"""Exceptions for failed chunks."""

from __future__ import annotations

import copy
import itertools
import linecache
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from lambdamap import _codec, errors
from lambdamap.shipping import envelope, exceptions, lookup

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion

__all__ = [
    "INVOCATION",
    "REPLY",
    "concerns_items",
    "ends_map",
    "in_place",
    "invalid_reply",
    "not_sendable",
    "of_chunk",
    "of_reply",
    "read_too_late",
    "runs_on",
    "say_cancelled",
    "stronger",
]

_RAN_TEXT = {"NOT": "f did not run", "MAYBE": "f may have run", "RAN": "f has run"}
_EXCEPTION_CHARS = 65536  # of f's exception in text form; a worker sends at most a quarter of that
_LEAST_BYTES = 4096  # per exception, however many there are; most take half of that


def _items(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"item {indices[0]}"
    return f"items {indices[0]} to {indices[-1]}" if indices else "no items"


class _About(NamedTuple):
    """The items that an error concerns."""

    text: str
    indices: Sequence[int]
    ran: errors.Ran


def _about(completion: Completion, ran: errors.Ran, at: int | None) -> _About:
    """Return what an error of a whole chunk concerns: its items or, with `at`, one of them.

    If f has run for a chunk of several items, whether it has run for this one is unknown."""
    indices = range(completion.first_item, completion.first_item + completion.n_items)
    text = _items(indices)
    if at is None or len(indices) == 1:
        return _About(text, indices, ran)
    at += completion.first_item
    return _About(f"item {at} of {text}", (at,), "NOT" if ran == "NOT" else "MAYBE")


class Kind(NamedTuple):
    """A kind of failure: its exception class and message."""

    error: (
        type[Exception] | None
    )  # None: CancelledError of concurrent.futures, imported when needed
    # Whether f ran, as known from one attempt; an earlier, retried one may have said more.
    ran: tuple[errors.Ran, ...]
    remedy: str = ""  # what the caller can do; shown after the message
    remedy_for_one: str = ""  # instead of it, for a chunk of one item
    remedy_if_idempotent: str = ""
    says: str = "{items}: {message} [{known}]"
    of_items: bool = False  # a refusal that concerns its items, not the function

    def text(self, about: _About, message: str, remedy: str = "") -> str:
        known = f"{_RAN_TEXT[about.ran]}; {remedy}" if remedy else _RAN_TEXT[about.ran]
        return self.says.format(items=about.text, message=message, known=known)


_NOT: tuple[errors.Ran, ...] = ("NOT",)
_RAN: tuple[errors.Ran, ...] = ("RAN",)
_NOT_OR_MAYBE: tuple[errors.Ran, ...] = ("NOT", "MAYBE")
_ANY: tuple[errors.Ran, ...] = ("NOT", "MAYBE", "RAN")

# Of an invocation, by `Completion.failure`: those of `_net.FAILURES`, listed in
# csrc/core/policy/outcome.h. backends/inprocess.py has some of them, too.
INVOCATION: Final[dict[str, Kind]] = {
    "config": Kind(errors.ConfigError, _NOT),
    "access_denied": Kind(
        errors.AccessDeniedError,
        _NOT,
        "check the keys, and that their policy allows lambda:InvokeFunction on it",
    ),
    "function_not_found": Kind(
        errors.FunctionNotFoundError,
        _NOT,
        "check the function's name, the region and the account",
    ),
    "service": Kind(errors.ServiceError, _NOT_OR_MAYBE),
    "throttled": Kind(
        errors.ThrottledError,
        _NOT,
        "raise the function's reserved concurrency, or lower max_concurrency",
    ),
    "connect": Kind(
        errors.ConnectError,
        _NOT,
        "check the network, the endpoint and the proxy settings",
    ),
    "connection_lost": Kind(
        errors.ConnectionLostError,
        ("MAYBE",),
        "set idempotent=True if it may run twice",
        remedy_if_idempotent="it was retried; raise max_attempts for more attempts",
    ),
    "deadline": Kind(
        errors.DeadlineError,
        _ANY,
        "raise timeout or invocation_timeout (in a Flask request LAMBDAMAP_REQUEST_TIMEOUT), or use a "
        "smaller chunksize",
    ),
    "remote": Kind(errors.RemoteError, _RAN),
    "worker_init": Kind(errors.WorkerInitError, _NOT),
    "worker_timeout": Kind(
        errors.WorkerTimeoutError,
        _RAN,
        "raise the function's timeout, or use a smaller chunksize",
    ),
    "worker_crashed": Kind(
        errors.WorkerCrashedError,
        _ANY,  # RAN on Lambda; less is known about an executor's process
        "it exited, was killed or ran out of memory; see the function's log",
    ),
    "too_large": Kind(
        errors.PayloadTooLargeError,
        ("NOT", "RAN"),
        "use a smaller chunksize, or pass a reference to where the data is",
        remedy_for_one="pass a reference to where the data is",
    ),
    "protocol": Kind(errors.ProtocolError, _ANY),
    "cancelled": Kind(None, _ANY, says="{items}: cancelled, {known}"),
    "memory": Kind(MemoryError, _ANY, says="{message}"),
    "system": Kind(RuntimeError, _ANY, says="{message}"),
}

# Errors in a reply, by their field `kind`. Where RAN is the only value, shipping/envelope.py rejects others.
REPLY: Final[dict[str, Kind]] = {
    "function": Kind(errors.RemoteError, _RAN),  # or f's own exception
    "encode": Kind(
        errors.EncodeError, _RAN, says="{items}: f's result cannot be sent back: {message}"
    ),
    "size": Kind(errors.PayloadTooLargeError, _RAN, says="{items}: {message}"),
    "init": Kind(errors.WorkerInitError, _NOT, says="{message}"),
    "refused": Kind(errors.WorkerInitError, _NOT, says="{message}"),
    "protocol": Kind(errors.WorkerInitError, _NOT, says="{message}"),
    "decode": Kind(errors.WorkerInitError, _NOT, says="the worker: {message}", of_items=True),
    "deadline": Kind(
        errors.DeadlineError,
        _NOT,
        INVOCATION["deadline"].remedy,
        of_items=True,
    ),
}
# Of a chunk that was begun by an earlier map with the same journal.
INTERRUPTED: Final = Kind(
    errors.InterruptedJobError,
    ("MAYBE",),
    "set rerun_maybe=True or idempotent=True if it may run twice",
)
_UNKNOWN = REPLY["function"]  # a kind added by a later release


def stronger(one: errors.Ran, other: errors.Ran) -> errors.Ran:
    """Return what two attempts together say about whether f ran."""
    return max(one, other, key=_ANY.index)


def ends_map(completion: Completion) -> bool:
    """Return whether a failed invocation concerns all items of its map, not only its own.

    So do the map's deadline and its cancellation."""
    return completion.stops_map or completion.failure == "throttled"


def concerns_items(kind: str) -> bool:
    """Return whether a worker's refusal of this kind concerns its items, not all of the map's."""
    return REPLY.get(kind, _UNKNOWN).of_items


def of_chunk(
    completion: Completion,
    idempotent: bool = False,
    before: errors.Ran = "NOT",
    at: int | None = None,
) -> Exception:
    """Return the exception for a chunk whose invocation failed.

    idempotent: the option. before: whether f ran in earlier attempts for the chunk's items. at: the
    position of an item in the chunk, for the exception in its place; None: for all of them.
    """
    about = _about(completion, stronger(cast(errors.Ran, completion.ran), before), at)
    name = completion.failure
    kind = INTERRUPTED if name == "interrupted" else INVOCATION[name]
    remedy = (
        (idempotent and kind.remedy_if_idempotent)
        or (completion.n_items == 1 and kind.remedy_for_one)
        or kind.remedy
    )
    text = kind.text(about, completion.message, remedy)
    known: dict[str, Any] = {
        "indices": about.indices,
        "attempts": completion.attempts,
        "request_id": completion.request_id,
        "ran": about.ran,
    }
    made = kind.error or _cancelled()
    if not issubclass(made, errors.LambdaMapError):
        other = made(text)
        if at is not None:
            errors.attach(other, errors.Failure(**known), f"{about.text}: {_RAN_TEXT[about.ran]}")
        return other
    error = made(text, **known)
    if isinstance(error, errors.RemoteError) and completion.error is not None:
        error.remote_type, error.remote_traceback = _raised(completion.error)
    return error


def _cancelled() -> type[Exception]:
    from concurrent.futures import CancelledError

    return CancelledError


def _raised(body: bytes) -> tuple[str, str]:
    """Return type and traceback from Lambda's description of an exception; "" if absent."""
    try:
        found = envelope.load(body)
    except envelope.Malformed:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    name, trace = found.get("errorType"), found.get("stackTrace")
    lines = [line for line in trace if isinstance(line, str)] if isinstance(trace, list) else []
    return name if isinstance(name, str) else "", "".join(lines)


def of_reply(
    described: envelope.ErrorObject,
    completion: Completion,
    allow_pickle: bool = False,
    outputs: Mapping[int, str] | None = None,
    *,
    stopped: bool = True,
    of: int = 1,
    before: errors.Ran = "NOT",
    at: int | None = None,
) -> BaseException:
    """Return the exception for an error described by the worker.

    outputs: what the items printed, by position. stopped: the items after it did not run. of: the number of errors in the reply, which share the
    bytes that exceptions may take. before: whether f ran in earlier attempts for the chunk's items.
    at: as for `of_chunk`.

    An exception of f is rebuilt from data or, with `allow_pickle`, from its pickle; if that is not
    possible, it is a RemoteError that is also the nearest of its base classes found here.
    `errors.failure` returns what else is known about it.
    """
    first, count = completion.first_item, completion.n_items
    ran = stronger(described["ran"], before)
    not_run: Sequence[int] = ()
    index = described["index"]  # None: it concerns the whole chunk
    if index is None:
        whom = _about(completion, ran, at)
    elif at is not None and at > index:
        rest = _about(completion, before, at)
        text = f"the worker stopped at item {first + index}"
        return errors.WorkerError(
            Kind(None, _ANY).text(rest, text), indices=rest.indices, ran=rest.ran
        )
    else:
        whom = _About(f"item {first + index}", (first + index,), ran)
        if stopped and before == "NOT":
            not_run = range(first + index + 1, first + count)
    name, message = described["kind"], described["message"]
    kind = REPLY.get(name, _UNKNOWN)
    about: dict[str, Any] = {
        "indices": whom.indices,
        "attempts": completion.attempts,
        "request_id": completion.request_id,
        "ran": whom.ran,
        "not_run": not_run,
    }
    if index is not None and outputs and index in outputs:
        about["output"] = outputs[index]
    if kind.error is not errors.RemoteError:
        made = cast(type[errors.LambdaMapError], kind.error)
        return made(kind.text(whom, message, kind.remedy), **about)
    module, qualname = described["module"], described["type"]
    about["remote_type"] = f"{module}.{qualname}" if module else qualname
    about["remote_traceback"] = _with_source(described["traceback"])
    text = f"{whom.text}; remote traceback:\n{about['remote_traceback'].rstrip()}"
    error: BaseException | None = None
    if name == "function":
        share = max(_LEAST_BYTES, exceptions.UNPACKED_BYTES // of)
        error = exceptions.unpack(described["exception"], allow_pickle, _EXCEPTION_CHARS, share)
        if error is None:
            error = exceptions.stand_in([(module, qualname, "")], lookup.DATA.type)
    if error is None:
        error = errors.RemoteError()
    if issubclass(type(error), errors.RemoteError):
        shown = qualname if module == "builtins" else about["remote_type"]
        remote = cast(errors.RemoteError, error)
        exceptions.complete(remote, f"{whom.text}: {shown}: {message}", about)
        errors.note(error, text)
    else:
        errors.attach(error, errors.Failure(**about), text)
    return error


def not_sendable(
    what: str, failure: _codec.EncodeFailure, indices: Sequence[int] = ()
) -> errors.EncodeError:
    """Return the exception for a value that cannot be encoded; the message says where."""
    message, path = (*failure.args, "")[:2]
    return errors.EncodeError(f"{what}{path} cannot be sent: {message}", indices=indices, ran="NOT")


def invalid_reply(
    wrong: envelope.Malformed | _codec.DecodeFailure, completion: Completion
) -> errors.LambdaMapError:
    """Return the exception for a reply that violates the wire format or cannot be decoded here.

    Whatever the reply claims, f has run."""
    decoding = isinstance(wrong, _codec.DecodeFailure)
    kind = errors.DecodeError if decoding else errors.ProtocolError
    what = "cannot decode the results of" if decoding else "invalid reply to"
    return kind(f"{what} chunk {completion.first_item}: {wrong}", **_answered(completion))


def read_too_late(completion: Completion) -> errors.DeadlineError:
    """Return the exception for results that were being decoded when the map's deadline passed."""
    return errors.DeadlineError(
        f"deadline exceeded while decoding the results of chunk {completion.first_item}",
        **_answered(completion),
    )


def _answered(completion: Completion) -> dict[str, Any]:
    """Return the attributes of an exception for a chunk with a reply: f has run for its items."""
    return {
        "indices": range(completion.first_item, completion.first_item + completion.n_items),
        "attempts": completion.attempts,
        "request_id": completion.request_id,
        "ran": "RAN",
    }


def in_place(
    error: errors.LambdaMapError,
    completion: Completion,
    at: int | None,
    ran: errors.Ran = "MAYBE",
) -> errors.LambdaMapError:
    """Return the error of a chunk, or a copy for the place of one of its items.

    ran: of an item among several."""
    if at is None or completion.n_items == 1:
        return error
    made = copy.copy(error)
    made.indices, made.ran = (completion.first_item + at,), ran
    made.__cause__ = error.__cause__
    return made


_FRAME = re.compile(r'  File "(.+)", line (\d+), in .+')


def _with_source(text: str) -> str:
    """Return a remote traceback with the source lines that only this process has.

    These are lines of notebook cells and of ``__main__``."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    lines = text.splitlines()
    shown = []
    for line, after in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        shown.append(line)
        frame = _FRAME.fullmatch(line)
        if frame is None or after.startswith("    "):
            continue
        if frame[1] in linecache.cache or frame[1] == main:
            source = linecache.getline(frame[1], int(frame[2])).strip()
            shown.extend([f"    {source}"] if source else [])
    return "\n".join(shown)


def runs_on(completion: Completion) -> bool:
    """Return whether a cancelled invocation had started: on Lambda it runs to completion."""
    return completion.failure == "cancelled" and completion.ran != "NOT"


def say_cancelled(error: BaseException, what: str, left: Mapping[str, int]) -> None:
    """Note on a KeyboardInterrupt how many invocations still run, by where they run; "" is nowhere."""
    parts = []
    for where, count in left.items():
        if where and count:
            runs = f"{count} started invocations run" if count > 1 else "1 started invocation runs"
            parts.append(f"{runs} to completion {where}")
    text = f"lambdamap: {what}; {', '.join(parts) or 'nothing is still running'}"
    if errors.failure(error) is None:
        errors.attach(error, errors.Failure(), text)
    else:
        errors.note(error, text)
    if sys.version_info < (3, 11):  # which does not show notes
        print(text, file=sys.stderr)
