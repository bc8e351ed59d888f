"""One request in, one reply out: what runs inside the function.

`run_request` never raises and always answers a JSON object, so that nothing between the function
and its caller can take an error for a result or change one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Protocol

from lambdamap import _codec
from lambdamap._process import end_copy
from lambdamap._version import __version__
from lambdamap.shipping import envelope
from lambdamap.shipping.envelope import MARKER
from lambdamap.worker import allow, deadline
from lambdamap.worker.calls import caller, calls_of
from lambdamap.worker.output import Output, captured, cut

__all__ = [
    "MARKER",
    "Context",
    "depth_left",
    "is_request",
    "run_request",
    "run_task",
    "source_digest",
]

# Inside f: how many more levels of maps may run remotely. None outside of any worker.
depth_left: ContextVar[int | None] = ContextVar("lambdamap_depth_left", default=None)
PYTHON = "%d.%d" % sys.version_info[:2]

_TEXT_BYTES = 16384  # of a message, traceback or exception, as JSON
_NAME_BYTES = 1024  # of an exception's class or module, as JSON
_RESULTS_BYTES = _codec.MAX_RESULTS_TEXT  # as JSON
_BESIDE_ERROR = 24  # of an error among the results: its index, and what stands in its place
_LONGEST_MS = 1 << 40  # of the caller's time: what fits a clock
_RESERVE_MS = 500  # kept back for encoding and sending the reply
_PYTHONS_DIFFER = "the caller runs Python {}, this worker {}, which"
_BLOBS = 32  # functions by value kept loaded


class Context(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int: ...


class _Failure(Exception):
    """An error that is not the item's own; becomes the reply's ``error``."""

    def __init__(self, kind: str, text: str, ran: str = "NOT", trace: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.ran = ran
        self.trace = trace


def is_request(event: object) -> bool:
    """Whether an event is lambdamap's: an object with an object under the marker."""
    return isinstance(event, dict) and isinstance(event.get(MARKER), dict) and "p" in event


# --- the callable -------------------------------------------------------------------------------

_loaded: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()
_loaded_lock = threading.Lock()


def _load_blob(blob: bytes) -> Callable[..., Any]:
    """The function of a pickle, unpickled once in this process."""
    digest = hashlib.sha256(blob).digest()
    with _loaded_lock:
        if digest in _loaded:
            _loaded.move_to_end(digest)
            return _loaded[digest]
    import pickle

    try:
        function: Callable[..., Any] = pickle.loads(blob)
    except BaseException as error:  # its imports may even end the process
        mend = "what it uses must be importable on the worker"
        if isinstance(error, ModuleNotFoundError) and error.name:
            mend = f"deploy {error.name} with the worker, or ship it with by_value=[{error.name}]"
        raise _Failure(
            "init",
            f"cannot load the function that came by value ({type(error).__name__}: {error}): {mend}",
            trace=traceback.format_exc(),
        ) from error
    with _loaded_lock:
        _loaded[digest] = function
        while len(_loaded) > _BLOBS:
            _loaded.popitem(last=False)
    return function


def _check(request: envelope.Request, trusted: bool) -> None:
    """Refuse what this worker cannot run, before anything is decoded."""
    if request.left_ms is not None and request.left_ms <= 0:
        raise _too_late()
    if request.by_value:
        if not allow.by_value_allowed(trusted):
            raise _Failure(
                "refused",
                "this worker takes no functions by value: set LAMBDAMAP_BY_VALUE=1 on it (lambdamap "
                "deploy --by-value does), or move the function into a module that is deployed with it "
                "(--module)",
            )
        if request.python != PYTHON:
            raise _Failure(
                "refused",
                f"{_PYTHONS_DIFFER.format(request.python, PYTHON)} takes no function by value: "
                "use the same Python on both sides, or move the function into a module that is "
                "deployed with the worker",
            )


def _refusal(error: allow.Refused) -> _Failure:
    if isinstance(error, allow.NotFound):
        return _Failure("init", str(error), trace=error.trace)
    return _Failure("refused", str(error))


def _by_path(permissions: allow.Permissions, path: str) -> Callable[..., Any]:
    module, _, qualname = path.partition(":")
    try:
        return permissions.function(module, qualname)
    except allow.Refused as error:
        raise _refusal(error) from error


def _load(
    event: dict[str, Any], request: envelope.Request, trusted: bool
) -> tuple[Callable[[Any], Any], list[Any]]:
    """What to call with each item, and the items. A function that goes by its name is found, or
    refused, before anything of the payload is decoded."""
    permissions = allow.Permissions(trusted)
    calls = request.calls
    function: Callable[..., Any] | None = None
    if not request.by_value and calls != "each":
        function = _by_path(permissions, request.function)
    spec, items = _decode(event, request, permissions, trusted)
    if function is not None:
        args, kwargs = spec.get("args", ()), spec.get("kwargs", {})
        if type(args) is not tuple or type(kwargs) is not dict:
            raise _Failure("decode", "the request's arguments are not a tuple and a dict")
        if args or kwargs:
            function = functools.partial(function, *args, **kwargs)
    elif calls != "each":
        function = _by_value(spec.get("f"))

    def load(reference: Any) -> Callable[..., Any]:
        if type(reference) is bytes and request.by_value:
            return _load_blob(reference)
        if type(reference) is str:
            return _by_path(permissions, reference)
        text = f"a {type(reference).__name__} is not a path of a function in a module"
        raise _Failure("refused", text)

    if calls == "each":  # all are found, or one is refused, before the first is called
        try:
            groups = [calls_of(item, 3) for item in items]
        except TypeError as error:
            text = f"the request's calls are not a function and its arguments each: {error}"
            raise _Failure("decode", text) from None
        items = [[(load(f), args, kwargs) for f, args, kwargs in group] for group in groups]
    return caller(calls, function), items


def _by_value(blob: object) -> Callable[..., Any]:
    function = _load_blob(blob) if isinstance(blob, bytes) else None
    if not callable(function):
        raise _Failure("decode", "the request holds no callable by value")
    return function


def _decode(
    event: dict[str, Any], request: envelope.Request, permissions: allow.Permissions, trusted: bool
) -> tuple[dict[str, Any], list[Any]]:
    # Whoever may send code may send pickled items: they may hold code, too.
    allow_pickle = allow.by_value_allowed(trusted) and request.python == PYTHON
    try:
        if request.codec == "native":
            spec, items = _codec.decode_text(
                event["p"], allow_pickle=allow_pickle, names=permissions
            )
        else:  # plain JSON
            spec, items = {}, event["p"]["items"]
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, allow.Refused):
            raise _refusal(cause) from error
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            text = f"the items need {cause.name}, which the worker does not have: deploy it there"
            raise _Failure("init", text) from error
        if not allow_pickle and "it holds a pickle" in str(error):
            raise _Failure("refused", _no_pickles(request, trusted)) from error
        raise _Failure(
            "decode", f"cannot read the request: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(spec, dict) or not isinstance(items, list):
        raise _Failure("decode", "the request does not hold a list of items")
    if len(items) != request.items:
        text = f"the request says {request.items} items and holds {len(items)}"
        raise _Failure("decode", text)
    return spec, items


def _no_pickles(request: envelope.Request, trusted: bool) -> str:
    """Why the pickled items of a request are not read, and what to do."""
    if allow.by_value_allowed(trusted):
        pythons = _PYTHONS_DIFFER.format(request.python, PYTHON)
        return (
            f"{pythons} takes no pickled items: send plain data, numpy or pandas, or use the same "
            "Python on both sides"
        )
    return (
        "this worker takes no pickled items: send plain data, numpy or pandas, or set "
        "LAMBDAMAP_BY_VALUE=1 on it, which allows its callers to send code"
    )


def _stale_code(request: envelope.Request) -> dict[str, str] | None:
    """Whether the source of f's module is another here than the caller's."""
    want = request.code
    name = request.function.partition(":")[0]
    module = sys.modules.get(name)
    have = _loaded_digest(module) if want and module is not None else None
    if want is None or have is None or have == want:
        return None
    return {"module": name, "have": have, "want": want}


_first_seen: dict[str, tuple[Any, str | None]] = {}


def _loaded_digest(module: ModuleType) -> str | None:
    """The digest of the source that was loaded: the file of now may be a later version."""
    spec = getattr(module, "__spec__", None)  # a new one when the module is loaded again
    seen = _first_seen.get(module.__name__)
    if seen is None or seen[0] is not spec:
        path = getattr(module, "__file__", None)
        seen = (spec, source_digest(path) if isinstance(path, str) else None)
        _first_seen[module.__name__] = seen
    return seen[1]


_digests: dict[tuple[str, int, int], str] = {}


def source_digest(path: str) -> str | None:
    """SHA-256 of a source file as hex, or None when it is no readable source."""
    if not path.endswith(".py"):
        return None
    try:
        facts = os.stat(path)
        key = (path, facts.st_mtime_ns, facts.st_size)
        if key not in _digests:
            with open(path, "rb") as file:
                _digests[key] = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None
    return _digests[key]


# --- errors -------------------------------------------------------------------------------------


def _is_ours(path: str) -> bool:
    return os.path.dirname(path) == os.path.dirname(__file__)


def _describe(
    error: BaseException, index: int, kind: str = "function", allow_pickle: bool = False
) -> dict[str, Any]:
    """An item's exception as JSON data."""
    exception: str | None = None
    if kind == "function":
        from lambdamap.shipping import exceptions

        exception = exceptions.pack(error, allow_pickle, _TEXT_BYTES)
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException:
        text = f"{type(error).__name__} (its traceback cannot be formatted)\n"
    try:
        message = str(error)
    except BaseException as broken:
        message = f"<str() of the exception raised {type(broken).__name__}>"
    return {
        "kind": kind,
        "type": cut(type(error).__qualname__, _NAME_BYTES),
        "module": cut(str(type(error).__module__), _NAME_BYTES),
        "message": cut(message, _TEXT_BYTES),
        "traceback": cut(text, _TEXT_BYTES, keep_end=True),
        "index": index,
        "exception": exception,
        "ran": "RAN",
    }


# --- one chunk ----------------------------------------------------------------------------------


class _Chunk:
    """The items of one request and what became of them."""

    def __init__(
        self, request: envelope.Request, context: Context | None, interruptible: bool
    ) -> None:
        self.json = request.codec == "json"
        self.compression = bool(request.compression)
        self.python = request.python
        self.allow_pickle = bool(request.allow_pickle)
        self.guarded = request.on_error == "return"
        self.idempotent = bool(request.idempotent)
        self.results: list[Any] = []
        self.errors: dict[int, dict[str, Any]] = {}
        self.error: dict[str, Any] | None = None
        self.output = Output(request.chunk)
        self.microseconds = 0
        self.bytes = 0  # of the reply, that the results take at most
        left = request.left_ms
        self.ends = None if left is None else time.monotonic() + min(left, _LONGEST_MS) / 1000
        self.context = context
        self.interruptible = interruptible

    @property
    def may_pickle(self) -> bool:
        """Whether the reply may hold pickles, which another Python could not read."""
        return self.allow_pickle and self.python == PYTHON

    def is_late(self, reserve_s: float) -> bool:
        """Whether no more than that is left of the caller's time, or of Lambda's."""
        if self.ends is not None and time.monotonic() + reserve_s >= self.ends:
            return True
        if self.context is None:
            return False
        return self.context.get_remaining_time_in_millis() <= reserve_s * 1000

    def must_stop(self, slowest: float, largest: int) -> bool:
        """Whether another item may not end in time, or its result not fit the reply."""
        # Three quarters stay free for a result that is larger than any before it: what has run and
        # does not fit is lost.
        if self.bytes + largest > _RESULTS_BYTES or self.bytes > _RESULTS_BYTES // 4:
            return True
        return self.is_late(max(_RESERVE_MS / 1000, slowest))

    def run(self, function: Callable[[Any], Any], items: list[Any]) -> None:
        """Call f on the items until the end, an error, or a bound. What has run is in results."""
        started = last = time.perf_counter()
        slowest, largest = 0.0, 0
        pid = os.getpid()
        with captured(self.output):
            for index, item in enumerate(items):
                # How long the first takes is unknown: it starts while there is any time.
                if self.must_stop(slowest, largest) if index else self.is_late(0):
                    break
                self.output.index = index
                kind = "function"
                failed: dict[str, Any] | None = None
                try:
                    result = function(item)
                    if os.getpid() != pid:
                        end_copy()
                    kind = "encode"
                    result, size = self.measure(result)
                except BaseException as error:
                    if os.getpid() != pid:
                        end_copy(error)
                    if self.interruptible and isinstance(error, KeyboardInterrupt):
                        raise
                    result, failed = None, _describe(error, index, kind, self.may_pickle)
                else:
                    if self.bytes + size > _RESULTS_BYTES:
                        if self.idempotent and size <= _RESULTS_BYTES:
                            break  # it may run again, as the first of the next request
                        result, failed = None, _too_large(index, size)
                if failed is not None:
                    if not self.guarded:
                        self.error = failed
                        break
                    self.errors[index] = failed
                    size = self.measure(failed)[1] + _BESIDE_ERROR
                self.bytes += size
                self.results.append(result)
                largest = max(largest, size)
                now = time.perf_counter()
                slowest = max(slowest, now - last)
                last = now
        self.microseconds = int((time.perf_counter() - started) * 1e6)

    def measure(self, result: Any) -> tuple[Any, int]:
        """The result as what it travels, and the bytes of the reply that it takes at most.

        Raises what encoding it raises.
        """
        if self.json:
            try:
                _codec.encode_json(result)
            except _codec.EncodeFailure as failure:
                message, path = failure.args
                raise _codec.EncodeFailure(f"the result{path} cannot be sent: {message}") from None
            return result, len(
                json.dumps(result)
            ) + 2  # Lambda's runtime client may escape all of it
        kind = type(result)
        if result is None or kind in (float, bool) or (kind is int and result.bit_length() < 64):
            return result, 20
        allowed = self.may_pickle
        encode = functools.partial(
            _codec.encode, allow_pickle=allowed, compression=False, callables=self.allow_pickle
        )
        try:
            try:
                frame = encode(result)
            except _codec.Entangled as failure:
                if not allowed:
                    raise
                from lambdamap.shipping import kinds

                result = kinds.whole(result, failure)
                frame = encode(result)
        except _codec.EncodeFailure as failure:
            text, path = failure.args
            if allowed != self.allow_pickle:
                pythons = _PYTHONS_DIFFER.format(self.python, PYTHON)
                text += f" ({pythons} therefore pickles no results)"
            raise _codec.EncodeFailure(f"at result{path}: {text}" if path else text) from None
        size = 4 * len(frame) // 3 + 1
        if size > _RESULTS_BYTES and self.compression:  # it may fit as it is sent
            size = 4 * len(encode(result, compression=True)) // 3 + 1
        return result, size

    def encode(self) -> str | dict[str, Any]:
        if self.json:
            return {"results": self.results, "errors": {str(i): e for i, e in self.errors.items()}}
        text = self._encode(self.results)
        if len(text) <= _RESULTS_BYTES:
            return text
        # Together in columns, few wide numbers can make all others wide. One by one they take what
        # was measured.
        return self._encode(dict(enumerate(self.results)))

    def _encode(self, results: list[Any] | dict[int, Any]) -> str:
        return _codec.encode_text(
            [results, self.errors],
            allow_pickle=self.allow_pickle,
            compression=self.compression,
            callables=self.allow_pickle,
        )


def _too_large(index: int, size: int) -> dict[str, Any]:
    mend = "return less, or store it and return where it is"
    beside = ""
    if size <= _RESULTS_BYTES:
        beside = " beside the results before it"
        mend = "use a smaller chunksize, or idempotent=True if it may run twice"
    return {
        "kind": "size",
        "type": "PayloadTooLargeError",
        "module": "lambdamap",
        "message": f"f has run, and its result of {size:,} bytes of text does not fit into a reply "
        f"of Lambda, 6 MB{beside}: {mend}",
        "traceback": "",
        "index": index,
        "exception": None,
        "ran": "RAN",
    }


def _answer(echo: dict[str, Any], done: int | None, microseconds: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "protocol": _codec.PROTOCOL,
        "version": __version__,
        "python": PYTHON,
        **echo,
    }
    if done is not None:
        answer["done"] = done
        answer["us"] = microseconds
    return {MARKER: answer}


def _too_late() -> _Failure:
    return _Failure("deadline", "the worker had no time left to start an item")


def _failed(echo: dict[str, Any], failure: _Failure) -> dict[str, Any]:
    """The reply of a request whose items have not run, or whose results cannot be given."""
    reply = _answer(echo, None)
    reply["error"] = {
        "kind": failure.kind,
        "type": "WorkerInitError",
        "module": "lambdamap",
        "message": cut(str(failure), _TEXT_BYTES),
        "traceback": cut(failure.trace, _TEXT_BYTES, keep_end=True),
        "index": None,
        "exception": None,
        "ran": failure.ran,
    }
    return reply


def run_task(task: Callable[[], Any]) -> dict[str, Any]:
    """The reply of one call, whose result is JSON-able: ``r``, or as of a request ``error``."""
    try:
        result = task()
    except BaseException as error:
        return {**_answer({"chunk": 0}, 0), "error": _describe(error, 0)}
    return {**_answer({"chunk": 0}, 1), "r": result}


def run_request(
    event: dict[str, Any],
    context: Context | None = None,
    *,
    trusted: bool = False,
    interruptible: bool = False,
) -> dict[str, Any]:
    """Run the items of one request and describe what became of them.

    Parameters
    ----------
    event
        A request envelope (`is_request` is true for it).
    context
        Lambda's context object; its remaining time stops the chunk between items.
    trusted
        The caller may name and send anything: it is this process, or has started it.
    interruptible
        The items run on the caller's own thread, where KeyboardInterrupt is the user's Ctrl-C: it
        is raised, and nothing else is. Otherwise it is f's error like any other.

    Returns
    -------
    dict
        The reply envelope, JSON-able. Errors are inside it; nothing is raised.
    """
    echo = envelope.echo(event)
    started = False
    try:
        request = envelope.read_request(event)
        chunk = _Chunk(request, context, interruptible)  # its time is counted from here
        _check(request, trusted)
        function, items = _load(event, request, trusted)
        token = depth_left.set(request.depth)
        started = True
        try:
            with deadline.until(context, chunk.ends):  # for maps that f calls
                chunk.run(function, items)
        finally:
            depth_left.reset(token)
        if items and not chunk.results and chunk.error is None:
            raise _too_late()
        reply = _answer(echo, len(chunk.results), chunk.microseconds)
        reply["r"] = chunk.encode()  # each result and error has been encoded alone already
        stale = None if interruptible else _stale_code(request)  # the caller's own code is not
        if stale is not None:
            reply[MARKER]["code"] = stale
        if chunk.error is not None:
            reply["error"] = chunk.error
        output = chunk.output.joined()
        if output:
            reply["out"] = output
        return reply
    except envelope.Malformed as wrong:
        reply = _failed(echo, _Failure("protocol", str(wrong)))
        reply[MARKER]["allow"] = allow.described(trusted)  # `lambdamap doctor` asks in this way
        return reply
    except _Failure as failure:
        return _failed(echo, failure)
    except BaseException as error:
        if interruptible and isinstance(error, KeyboardInterrupt):
            raise
        text = f"the worker failed: {type(error).__name__}: {error}"
        trace = traceback.format_exc()
        kind, ran = ("encode", "RAN") if started else ("init", "NOT")
        return _failed(echo, _Failure(kind, text, ran, trace))
