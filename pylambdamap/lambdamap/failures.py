"""From a chunk that failed to the exception that says so."""

from __future__ import annotations

import builtins
import itertools
import linecache
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lambdamap import _codec, envelope, errors

if TYPE_CHECKING:
    from lambdamap._net import Completion
    from lambdamap.backends.inprocess import PlainCompletion

__all__ = ["note", "of_chunk", "of_reply", "runs_on", "say_cancelled", "unreadable"]

_CLASSES: dict[str, type[errors.LambdaMapError]] = {
    "config": errors.ConfigError,
    "access_denied": errors.AccessDeniedError,
    "function_not_found": errors.FunctionNotFoundError,
    "service": errors.ServiceError,
    "throttled": errors.ThrottledError,
    "connect": errors.ConnectError,
    "connection_lost": errors.ConnectionLostError,
    "deadline": errors.DeadlineError,
    "remote": errors.RemoteError,
    "worker_init": errors.WorkerInitError,
    "worker_timeout": errors.WorkerTimeoutError,
    "worker_crashed": errors.WorkerCrashedError,
    "too_large": errors.PayloadTooLargeError,
    "protocol": errors.ProtocolError,
}

_MENDS = {
    "access_denied": "check the keys, and that their policy allows lambda:InvokeFunction on it",
    "function_not_found": "check the function's name, the region and the account",
    "throttled": "raise the function's reserved concurrency, or lower max_concurrency",
    "connect": "check the network, the endpoint and the proxy settings",
    "connection_lost": "set idempotent=True if it may run twice",
    "deadline": "raise timeout or invocation_timeout (in a Flask request LAMBDAMAP_REQUEST_TIMEOUT), or "
    "use a smaller chunksize",
    "worker_timeout": "raise the function's timeout, or use a smaller chunksize",
    "worker_crashed": "it exited, was killed or ran out of memory; see the function's log",
    "too_large": "use a smaller chunksize, or pass a reference to where the data is",
}

_MEND_IF_IDEMPOTENT = {"connection_lost": "it was tried again; raise max_attempts for more"}

_RAN_TEXT = {"NOT": "f did not run", "MAYBE": "f may have run", "RAN": "f has run"}
# Exceptions that steer the interpreter must not come out of a map as themselves.
_NEVER = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, KeyboardInterrupt)


def _items(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"item {indices[0]}"
    return f"items {indices[0]} to {indices[-1]}" if indices else "no items"


def of_chunk(completion: Completion | PlainCompletion, idempotent: bool = False) -> Exception:
    """The exception of a chunk whose invocation failed. idempotent: as the option says."""
    indices = range(completion.first_item, completion.first_item + completion.n_items)
    ran = cast(errors.Ran, completion.ran)
    text = completion.message
    if completion.failure == "memory":
        return MemoryError(text)
    if completion.failure == "system":
        return RuntimeError(text)
    if completion.failure == "cancelled":
        from concurrent.futures import CancelledError

        return CancelledError(f"{_items(indices)}: cancelled, {_RAN_TEXT[ran]}")
    kind = _CLASSES[completion.failure]
    mends = {**_MENDS, **_MEND_IF_IDEMPOTENT} if idempotent else _MENDS
    mend = mends.get(completion.failure)
    message = f"{_items(indices)}: {text} [{_RAN_TEXT[ran]}" + (f"; {mend}]" if mend else "]")
    error = kind(
        message,
        indices=indices,
        attempts=completion.attempts,
        request_id=completion.request_id,
        ran=ran,
    )
    if isinstance(error, errors.RemoteError) and completion.error is not None:
        error.remote_type, error.remote_traceback = _raised(completion.error)
    return error


def _raised(body: bytes) -> tuple[str, str]:
    """Type and traceback of Lambda's own description of an exception; "" where it has none."""
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
    described: envelope.ErrorObject, completion: Completion | PlainCompletion
) -> Exception:
    """The exception for an error that the worker describes.

    f's own exception comes back as the same type when that type is loaded here, is an Exception and
    can be rebuilt from plain data; else, and always as its ``__cause__``, as RemoteError.
    """
    first, count = completion.first_item, completion.n_items
    indices: Sequence[int] = range(first, first + count)
    not_run: Sequence[int] = ()
    at = described["index"]  # None: it is of the whole chunk
    if at is not None:
        indices, not_run = (first + at,), indices[at + 1 :]
    kind, message = described["kind"], described["message"]
    about: dict[str, Any] = {
        "indices": indices,
        "attempts": completion.attempts,
        "request_id": completion.request_id,
        "ran": described["ran"],
        "not_run": not_run,
    }
    if kind in ("init", "refused", "protocol"):
        return errors.WorkerInitError(message, **about)
    if kind == "decode":
        return errors.WorkerInitError(f"the worker: {message}", **about)
    if kind == "deadline":
        said = f"[{_RAN_TEXT[described['ran']]}; {_MENDS[kind]}]"
        return errors.DeadlineError(f"{_items(indices)}: {message} {said}", **about)
    if kind == "size":
        return errors.PayloadTooLargeError(f"{_items(indices)}: {message}", **about)
    if kind == "encode":
        return errors.EncodeError(
            f"{_items(indices)}: f's result cannot be sent back: {message}", **about
        )
    name = described["type"]
    if described["module"]:
        name = f"{described['module']}.{name}"
    shown = described["type"] if described["module"] == "builtins" else name
    remote = errors.RemoteError(f"{_items(indices)}: {shown}: {message}", **about)
    remote.remote_type = name
    remote.remote_traceback = _with_source(described["traceback"])
    own = _rebuild(described) if kind == "function" else None
    error: Exception = remote if own is None else own
    note(error, f"{_items(indices)}; remote traceback:\n{remote.remote_traceback.rstrip()}")
    if own is not None:
        own.__cause__ = remote
    elif kind == "function" and (known := _class_of(described)) is not None:
        name = known.__qualname__
        why = f"{name}(*error.args) does not make the same one here: let its __init__ take what it "
        why += "gives to super().__init__()"
        if described["args"] is None:
            why = "its args are too large, or no plain data"
        note(error, f"It is a RemoteError and no {name} because {why}")
    return error


def unreadable(
    wrong: envelope.Malformed | _codec.DecodeFailure, completion: Completion | PlainCompletion
) -> errors.LambdaMapError:
    """The exception of a reply that is not what the wire format says, or holds results that this
    side does not read. Whatever it claims, f has run."""
    first = completion.first_item
    decoding = isinstance(wrong, _codec.DecodeFailure)
    kind = errors.DecodeError if decoding else errors.ProtocolError
    what = "results of" if decoding else "reply to"
    return kind(
        f"the {what} chunk {first} cannot be read: {wrong}",
        indices=range(first, first + completion.n_items),
        attempts=completion.attempts,
        request_id=completion.request_id,
        ran="RAN",
    )


def note(error: BaseException, text: str) -> None:
    """`BaseException.add_note`, also before Python 3.11, where only the attribute is left."""
    if sys.version_info >= (3, 11):
        error.add_note(text)
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), text]  # type: ignore[attr-defined]


_FRAME = re.compile(r'  File "(.+)", line (\d+), in .+')


def _with_source(text: str) -> str:
    """A traceback from elsewhere, with the lines that only this process has: those of notebook cells
    and of ``__main__``."""
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


def runs_on(completion: Completion | PlainCompletion) -> bool:
    """Whether the invocation had started when it was cancelled: on Lambda it goes on to its end."""
    return completion.failure == "cancelled" and completion.ran != "NOT"


def say_cancelled(error: BaseException, what: str, left: Mapping[str, int]) -> None:
    """Tell on a Ctrl-C how many invocations run on nevertheless, and where; those of "" do not."""
    parts = []
    for where, count in left.items():
        if where and count:
            runs = f"{count} invocations that had started run" if count > 1 else "1 invocation runs"
            parts.append(f"{runs} to the end {where}")
    text = f"lambdamap: {what}; {', '.join(parts) or 'nothing of it runs any more'}"
    note(error, text)
    if sys.version_info < (3, 11):  # which shows no notes
        print(text, file=sys.stderr)


def _class_of(described: Mapping[str, Any]) -> type[Exception] | None:
    """The exception's class where it is loaded here and may come out of a map."""
    module = str(described.get("module"))
    found: Any = builtins if module == "builtins" else sys.modules.get(module)
    for part in str(described.get("type")).split("."):
        found = getattr(found, part, None)
    if (
        not isinstance(found, type)
        or not issubclass(found, Exception)
        or issubclass(found, _NEVER)
        or issubclass(found, errors.LambdaMapError)
    ):
        return None
    return found


def _rebuild(described: Mapping[str, Any]) -> Exception | None:
    found = _class_of(described)
    encoded = described.get("args")
    if found is None or not isinstance(encoded, str):
        return None
    try:
        args = _codec.decode_text(encoded)
        error = found(*args)
    except Exception:
        return None
    return error if type(error) is found and error.args == args else None
