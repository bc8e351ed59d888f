"""One map in flight: chunks out, results in, in the input's order.

The engine is the loop between an iterator and a `Port` (the native `_net.Map`, or its stand-in for
work in this process). It packs at most two windows of chunks beyond the one whose results are next,
sends the first as soon as it is packed, and yields results as their turn comes.
"""

from __future__ import annotations

import json
import sys
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from lambdamap import _codec, errors, failures
from lambdamap._version import __version__
from lambdamap.backends import remote_depth
from lambdamap.progress import Progress

if TYPE_CHECKING:
    from lambdamap._net import Completion
    from lambdamap.backends.inprocess import PlainCompletion
    from lambdamap.functions import Shipment
    from lambdamap.options import Options

__all__ = ["Engine", "Packer", "Port", "Results", "open_engine", "open_plain_engine"]

_WINDOWS_AHEAD = 2
_SLICE_S = 1.0  # how often a waiting caller looks at its progress bar
_DEFAULT_INVOCATION_S = 930.0  # Lambda's 900 s and 30 s for the way
_MAX_REPLY_BYTES = 6_291_556 + 65_536
_PYTHON = "%d.%d" % sys.version_info[:2]
_ZAPPA_TASK = "lambdamap.worker.entry.zappa_task"


class Port(Protocol):
    """What the engine needs of a map in flight."""

    def submit(self, frame: bytes, first_item: int, n_items: int, /) -> bool: ...
    def take(self) -> Any: ...
    def wait(self, timeout_s: float, /) -> bool: ...
    def cancel(self) -> None: ...
    def quiesce(self, timeout_s: float, /) -> bool: ...
    @property
    def outstanding(self) -> int: ...
    @property
    def stats(self) -> dict[str, int]: ...


class Packer(Protocol):
    """What turns items into the bytes of a chunk."""

    def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int: ...
    def take(self) -> bytes: ...
    @property
    def exhausted(self) -> bool: ...
    @property
    def items_packed(self) -> int: ...


class _Raised:
    """Stands in a chunk's results where an exception is to be raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Engine:
    """Drives one map; `results` is a generator of its results."""

    def __init__(
        self,
        port: Port,
        packer: Packer,
        iterator: Iterator[Any],
        options: Options,
        *,
        total: int | None,
        window: Callable[[], int],
        unpack: Callable[[Completion | PlainCompletion], tuple[list[Any], dict[int, Any]]],
        repack: Callable[[list[Any]], bytes] | None,
    ) -> None:
        cores = window()
        self._port = port
        self._packer = packer
        self._iterator = iterator
        self._options = options
        self._total = total
        self._window = window
        self._unpack = unpack
        self._repack = repack
        fixed = 0 if options.chunksize == "auto" else int(options.chunksize)
        self._chunker = _codec.Chunker(fixed, cores)
        self._ready: dict[
            int, list[Any]
        ] = {}  # first item -> results, of chunks whose turn will come
        self._head = 0  # the next item to yield
        self._ends = False  # no more input is packed: an error or the end
        self._input_error: BaseException | None = None
        self._held: tuple[bytes, int, int] | None = None  # refused by the byte budget
        self._deadline = monotonic() + options.timeout if options.timeout is not None else None
        self._stale_said = False
        self._closed = False
        self.progress = Progress(options.progress, total)
        self.worker_us = 0
        self.chunks = 0

    # --- sending --------------------------------------------------------------------------------

    def _may_pack(self) -> bool:
        limit = self._options.buffersize
        if limit is not None:
            return self._packer.items_packed - self._head < limit
        return self._port.outstanding + len(self._ready) < _WINDOWS_AHEAD * self._window()

    def fill(self) -> None:
        """Pack and submit chunks while there is room."""
        if self._held is not None:
            if not self._port.submit(*self._held):
                return
            self._held = None
            self.chunks += 1
        while not self._ends and self._may_pack():
            left = -1 if self._total is None else self._total - self._packer.items_packed
            ends_us = -1
            if self._deadline is not None:
                ends_us = max(0, int((self._deadline - monotonic()) * 1e6))
            wanted = self._chunker.next(self._window(), left, ends_us)
            if wanted == 0:
                return
            if (limit := self._options.buffersize) is not None:
                wanted = min(wanted, max(1, limit - (self._packer.items_packed - self._head)))
            first = self._packer.items_packed
            try:
                count = self._packer.fill(self._iterator, wanted, self._chunker.max_bytes)
            except _codec.EncodeFailure as failure:
                self._stop_input(_encode_error(failure, self._packer.items_packed))
                count = self._packer.items_packed - first
            except Exception as error:
                self._stop_input(error)
                count = self._packer.items_packed - first
            if self._packer.exhausted:
                self._ends = True
            if count == 0:
                return
            chunk = (self._packer.take(), first, count)
            if not self._port.submit(*chunk):
                self._held = chunk
                return
            self.chunks += 1

    def _stop_input(self, error: Exception) -> None:
        """The input is over; its error is raised at its place, behind the items before it."""
        self._ends = True
        self._input_error = error

    def _resubmit(self, items: list[Any], first: int) -> None:
        assert self._repack is not None
        frame = self._repack(items)
        while not self._port.submit(frame, first, len(items)):
            self._take_one()

    # --- receiving ------------------------------------------------------------------------------

    def _take_one(self) -> None:
        """Wait for a completion and put its results in their place."""
        completion = self._port.take()
        while completion is None:
            self._port.wait(_SLICE_S)
            self.progress.add(0)
            completion = self._port.take()
        self._place(completion)

    def _place(self, completion: Completion | PlainCompletion) -> None:
        first, count = completion.first_item, completion.n_items
        if completion.output is not None and self._options.logs:
            _show_output(completion.output, first)
        if completion.stale_code is not None and not self._stale_said:
            self._stale_said = True
            _warn_stale(completion.stale_code)
        if completion.failure:
            self._place_failure(completion)
            return
        done = completion.done
        self.worker_us += completion.worker_us
        if done:
            self._chunker.observe(done, completion.worker_us, self._window())
        try:
            results, guarded = self._unpack(completion) if done else ([], {})
        except _codec.DecodeFailure as failure:
            text = f"the results of chunk {first} cannot be read: {failure}"
            self._stop_at(first, _unreadable(errors.DecodeError, text, completion), [])
            return
        if len(results) != done:
            text = f"the reply holds {len(results)} results of {done} items"
            self._stop_at(first, _unreadable(errors.ProtocolError, text, completion), [])
            return
        for index, described in guarded.items():
            results[index] = failures.of_reply(described, completion)
        self.progress.add(done)
        if completion.error is not None:
            described = json.loads(completion.error)
            error = failures.of_reply(described, completion)
            if described.get("ran") == "NOT":
                raise self._with_partial(error)
            self._stop_at(first, error, results)
            return
        if done < count:
            self._ready[first] = results
            items = _items_of(completion)
            self._resubmit(items[done:], first + done)
            return
        self._ready[first] = results

    def _place_failure(self, completion: Completion | PlainCompletion) -> None:
        first, count = completion.first_item, completion.n_items
        if completion.split and self._repack is not None and count > 1:
            items = _items_of(completion)
            half = count // 2
            self._resubmit(items[:half], first)
            self._resubmit(items[half:], first + half)
            return
        error = failures.of_chunk(completion)
        if completion.stops_map or completion.failure == "throttled":
            raise self._with_partial(error)
        self._stop_at(first, error, [])

    def _stop_at(self, first: int, error: BaseException, results: list[Any]) -> None:
        """The error is raised when its turn comes; nothing new is packed."""
        self._ready[first] = [*results, _Raised(error)]
        self._ends = True

    def _with_partial(self, error: BaseException) -> BaseException:
        """Keep what is finished and not yet yielded on the error (and its cause)."""
        partial = {}
        for first, results in self._ready.items():
            for offset, result in enumerate(results):
                if not isinstance(result, _Raised):
                    partial[first + offset] = result
        for holder in (error, error.__cause__):
            if isinstance(holder, errors.LambdaMapError):
                holder.partial = {**partial, **holder.partial}
        return error

    def results(self) -> Generator[Any, None, None]:
        """The results in order. Whatever ends it, nothing of the map goes on behind it."""
        try:
            while True:
                self.fill()
                chunk = self._ready.pop(self._head, None)
                if chunk is not None:
                    if chunk and isinstance(chunk[-1], _Raised):
                        raised = chunk.pop()
                        self._head += len(chunk)
                        yield from chunk
                        raise self._with_partial(raised.error)
                    self._head += len(chunk)
                    yield from chunk
                    continue
                if self._port.outstanding == 0 and self._held is None and self._ends:
                    if self._input_error is not None:
                        raise self._with_partial(self._input_error)
                    return
                if self._port.outstanding or self._held is not None:
                    self._take_one()
        except BaseException as error:
            self.close()
            if isinstance(error, GeneratorExit):
                raise
            # The frames of this file say nothing to the caller.
            if isinstance(error, Exception):
                error.__traceback__ = None
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what is not finished. Idempotent; waits a moment for the native threads."""
        if self._closed:
            return
        self._closed = True
        self._ends = True
        if self._port.outstanding:
            self._port.cancel()
            self._port.quiesce(0.2)
        self.progress.close()

    @property
    def outstanding(self) -> int:
        return self._port.outstanding

    @property
    def stats(self) -> dict[str, Any]:
        return {
            "chunks": self.chunks,
            "items": self._packer.items_packed,
            "worker_seconds": self.worker_us / 1e6,
            **self._port.stats,
        }


# --- small parts --------------------------------------------------------------------------------


def _encode_error(error: _codec.EncodeFailure, index: int) -> errors.EncodeError:
    message, path = (*error.args, "")[:2]
    return errors.EncodeError(
        f"item {index}{path} cannot be sent: {message}", indices=(index,), ran="NOT"
    )


def _unreadable(
    kind: type[errors.LambdaMapError], text: str, completion: Completion | PlainCompletion
) -> errors.LambdaMapError:
    first = completion.first_item
    return kind(
        text,
        indices=range(first, first + completion.n_items),
        attempts=completion.attempts,
        request_id=completion.request_id,
        ran="RAN",
    )


def _items_of(completion: Completion | PlainCompletion) -> list[Any]:
    """The items of a request that was packed here, to be packed again."""
    items: list[Any] = _codec.decode(completion.request_frame(), allow_pickle=True)[1]
    return items


def _show_output(raw: bytes, first: int) -> None:
    for index, text in json.loads(raw):
        for line in text.splitlines():
            print(f"[{first + index}] {line}")


def _warn_stale(raw: str) -> None:
    found = json.loads(raw)
    warnings.warn(
        f"the worker runs another version of {found.get('module')} than this process: deploy it, "
        "or results come from the old code",
        errors.StaleCodeWarning,
        stacklevel=3,
    )


class Results:
    """What `lambdamap.map` returns: an iterator of results in the input's order.

    It can be closed, by `close`, by leaving a ``with`` block or by the garbage collector; what has
    not finished by then is cancelled. On Lambda an invocation that has started runs to its end.
    """

    __slots__ = ("__weakref__", "_engine", "_next", "_results", "_started")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._results = engine.results()
        self._next = self._results.__next__
        self._started = False

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        return self._next()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what has not finished. Idempotent."""
        self._results.close()
        self._engine.close()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and engine.outstanding and not engine._closed:
            warnings.warn(
                "a map was dropped before its end; what had not finished is cancelled. Close it, or "
                "use it in a with statement",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            engine.close()

    @property
    def stats(self) -> dict[str, Any]:
        """Counts so far: chunks, items, requests, retries, throttles, bytes, worker seconds."""
        return self._engine.stats

    def __repr__(self) -> str:
        stats = self.stats
        return (
            f"<lambdamap.map: {stats['items']} items in {stats['chunks']} chunks, "
            f"{stats['requests']} requests>"
        )


# --- opening ------------------------------------------------------------------------------------


def _milliseconds(seconds: float | None) -> int:
    return -1 if seconds is None else max(1, int(seconds * 1000))


def _default_budget() -> int:
    """min(512 MB, a quarter of the memory that this process may use)."""
    import os

    most = 512 << 20
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return most
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                memory = min(memory, int(file.read()))
        except (OSError, ValueError):
            continue
    lambda_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if lambda_mb.isdigit():
        memory = min(memory, int(lambda_mb) << 20)
    return min(most, memory // 4)


def _route(options: Options) -> tuple[str, Any]:
    """Backend's name and its route; None for work in this process."""
    from lambdamap import backends

    name = backends.choose(options)
    if name in ("inline", "executor"):
        return name, None
    if name == "local":
        from lambdamap.backends import local

        return name, local.route(options)
    from lambdamap.backends import aws

    function = options.function or backends.own_function()
    assert function is not None
    return name, aws.route(options, function)


def _open_native(
    route: Any, options: Options, head: bytes | None, map_id: str
) -> tuple[Port, Callable[[], int]]:
    from lambdamap import _net
    from lambdamap.backends.aws import is_local_url
    from lambdamap.backends.route import open_target

    _net.set_budget(options.max_inflight_bytes or _default_budget())
    target = open_target(route, options)
    compression = options.compression
    port = _net.open_map(
        target,
        head=head,
        map_id=map_id,
        compression=not is_local_url(route.url) if compression == "auto" else bool(compression),
        idempotent=options.idempotent,
        ordered=True,
        invocation_timeout_ms=_milliseconds(options.invocation_timeout or _DEFAULT_INVOCATION_S),
        timeout_ms=_milliseconds(options.timeout),
        max_result_bytes=options.max_result_bytes,
        max_reply_bytes=_MAX_REPLY_BYTES,
    )
    return port, lambda: target.window


def _head(
    shipment: Shipment, options: Options, map_id: str, compression: bool, allow_pickle: bool
) -> dict[str, Any]:
    code = None
    if shipment.source is not None:
        from lambdamap.worker.call import source_digest

        code = source_digest(shipment.source)
    return {
        "protocol": _codec.PROTOCOL,
        "version": __version__,
        "python": _PYTHON,
        "by_value": int(shipment.by_value),
        "map": map_id,
        "depth": max(0, remote_depth(options)),
        "on_error": options.on_error,
        "compression": int(compression),
        "allow_pickle": int(allow_pickle),
        "function": shipment.path,
        "code": code,
    }


def open_engine(
    function: Callable[..., Any],
    iterator: Iterator[Any],
    options: Options,
    *,
    total: int | None,
    star: bool,
) -> Engine:
    """An engine that calls f on items; its first window is on its way when this returns."""
    from lambdamap.functions import ship

    shipment = ship(function, options.by_value)
    name, route = _route(options)
    trusted = route is None or route.trusted
    allow_pickle = trusted if options.allow_pickle is None else options.allow_pickle
    map_id = uuid.uuid4().hex
    compression = options.compression is True or (
        options.compression == "auto" and route is not None and not route.trusted
    )
    spec = {"f": shipment.function, "star": star}
    try:
        packer = _codec.ChunkPacker(spec, allow_pickle=allow_pickle)
    except _codec.EncodeFailure as error:
        raise errors.EncodeError(f"{shipment.path} cannot be sent: {error.args[0]}") from error
    head = _head(shipment, options, map_id, compression, allow_pickle)
    if route is None:
        from lambdamap.backends.inprocess import InProcessMap

        executor = None if name == "inline" else options.backend
        port: Port = InProcessMap(executor, head)
        width = options.max_concurrency or getattr(executor, "_max_workers", None) or 1
        window: Callable[[], int] = lambda: width  # noqa: E731
    else:
        text = json.dumps({"command": _ZAPPA_TASK, "lambdamap": head}, separators=(",", ":"))
        port, window = _open_native(route, options, text[:-2].encode(), map_id)

    def unpack(completion: Completion | PlainCompletion) -> tuple[list[Any], dict[int, Any]]:
        frame: Any = completion.frame
        decode: Any = _codec.decode_text if isinstance(frame, str) else _codec.decode
        results, guarded = decode(
            frame, allow_pickle=allow_pickle, max_output_bytes=options.max_result_bytes
        )
        return results, guarded

    def repack(items: list[Any]) -> bytes:
        again = _codec.ChunkPacker(spec, allow_pickle=True)
        again.fill(iter(items), len(items), 1 << 40)
        return again.take()

    engine = Engine(
        port,
        packer,
        iterator,
        options,
        total=total,
        window=window,
        unpack=unpack,
        repack=repack,
    )
    try:
        engine.fill()
    except BaseException:
        engine.close()
        raise
    return engine


class _PayloadPacker:
    """One payload per chunk, as JSON or as the bytes that were given."""

    def __init__(self) -> None:
        self.exhausted = False
        self.items_packed = 0
        self._payload = b""

    def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int:
        del max_items, max_bytes
        try:
            payload = next(iterator)
        except StopIteration:
            self.exhausted = True
            return 0
        if isinstance(payload, (bytes, bytearray, memoryview)):
            self._payload = bytes(payload)
        else:
            try:
                self._payload = json.dumps(payload, allow_nan=False).encode()
            except (TypeError, ValueError) as error:
                raise errors.EncodeError(
                    f"payload {self.items_packed} is no JSON ({error}): pass JSON-able data or bytes",
                    indices=(self.items_packed,),
                ) from error
        self.items_packed += 1
        return 1

    def take(self) -> bytes:
        return self._payload


def open_plain_engine(
    iterator: Iterator[Any], options: Options, *, total: int | None, raw: bool
) -> Engine:
    """An engine that sends payloads to any Lambda function."""
    name, route = _route(options)
    if route is None:
        raise errors.ConfigError(f"invoke_map needs a Lambda function, not backend={name!r}")
    port, window = _open_native(route, options, None, uuid.uuid4().hex)

    def unpack(completion: Completion | PlainCompletion) -> tuple[list[Any], dict[int, Any]]:
        body = completion.body or b""
        if raw:
            return [body], {}
        try:
            return [json.loads(body) if body else None], {}
        except ValueError as error:
            raise _codec.DecodeFailure(f"the reply is no JSON ({error}): use raw=True") from None

    engine = Engine(
        port, _PayloadPacker(), iterator, options, total=total, window=window, unpack=unpack,
        repack=None,
    )  # fmt: skip
    try:
        engine.fill()
    except BaseException:
        engine.close()
        raise
    return engine
