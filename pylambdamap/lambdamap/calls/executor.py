"""`LambdaExecutor`: the `concurrent.futures.Executor` interface for Lambda."""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from time import monotonic
from typing import Any, TypeVar

from lambdamap import ambient, errors
from lambdamap import options as _options
from lambdamap.calls.api import check_arguments
from lambdamap.calls.lane import Call
from lambdamap.calls.pump import Inbox, Mapped, Pump
from lambdamap.flight.engine import Engine
from lambdamap.flight.open import open_engine
from lambdamap.flight.stats import Stats, remember
from lambdamap.shipping.functions import Shipment, ship

__all__ = ["LambdaExecutor"]

T = TypeVar("T")

_ABORT_S = 0.2  # for the native threads to close connections
_AT_IMPORT = "initialize when the function's module is imported, or at the function's first call"
_OF_OTHER_EXECUTORS = {
    "initargs": _AT_IMPORT,
    "initializer": _AT_IMPORT,
    "max_tasks_per_child": "Lambda decides when to replace a process",
    "mp_context": "no process is started on this machine",
    "thread_name_prefix": "there is one thread, lambdamap-executor",
}


class LambdaExecutor(futures.Executor):
    """`concurrent.futures.Executor` whose calls run on AWS Lambda or a local Lambda.

    Each submitted call is one invocation; `map` splits its input into chunks.

    Parameters
    ----------
    max_workers : int, optional
        Maximum number of concurrent invocations; default: 256 on AWS, twice the number of sandboxes
        on the local Lambda. The same as the option ``max_concurrency``.
    function : str, optional
        Name, ``name:alias`` or ARN of the Lambda function. None: the configured function.
    **options
        See `lambdamap.Options`; not supported: ``buffersize``, ``chunksize``, ``codec``,
        ``journal``, ``on_error``, ``progress`` and ``timeout``. The configuration is read once, here.

    Raises
    ------
    ConfigError
        Unknown option or invalid value (also a ValueError).

    Examples
    --------
    >>> import lambdamap
    >>> with lambdamap.LambdaExecutor(backend="inline") as executor:
    ...     executor.submit(pow, 2, 5).result()
    32
    """

    def __init__(
        self, max_workers: int | None = None, function: str | None = None, **options: Any
    ) -> None:
        _options.check_place("LambdaExecutor", options, _OF_OTHER_EXECUTORS)
        if max_workers is not None:
            if "max_concurrency" in options:
                raise errors.ConfigError(
                    "max_workers and max_concurrency are the same option: pass only one"
                )
            if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
                raise errors.ConfigError(f"max_workers must be greater than 0, not {max_workers!r}")
            options["max_concurrency"] = max_workers
        if function is not None:
            options["function"] = function
        fixed = {"buffersize": None, "on_error": "raise", "progress": False, "timeout": None}
        resolved = _options.resolve(**options, **fixed)
        if resolved.journal is not None:  # configured, not passed
            raise errors.ConfigError(
                "journal is the file of one map: pass it to LambdaExecutor.map(), not to configure()"
            )
        self.options = dataclasses.replace(
            resolved, timeout=None
        )  # it may outlive the request or invocation it is made in
        self._pump = Pump(self.options)
        weakref.finalize(self, Pump.close, self._pump).atexit = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> futures.Future[T]:
        """Schedule ``fn(*args, **kwargs)`` as one invocation.

        Parameters
        ----------
        fn
            As for `lambdamap.map`.
        *args, **kwargs
            Its arguments, encoded before this returns.

        Returns
        -------
        concurrent.futures.Future
            It can be cancelled until its invocation starts. Its exception is f's own or a
            `LambdaMapError`; `EncodeError` if the function or an argument cannot be sent.

        Raises
        ------
        RuntimeError
            After `shutdown`, at interpreter shutdown, or in the child of a fork.
        ConfigError
            No function, region or credentials.
        """
        future: futures.Future[T] = futures.Future()

        def prepare() -> Call:
            return Call(ship(fn, self.options.by_value), "call", (args, kwargs))

        self._pump.submit(future, prepare)
        return future

    def submit_batch(self, calls: Iterable[tuple[Any, Any, Any]]) -> futures.Future[list[Any]]:
        """Schedule several calls as one invocation.

        Parameters
        ----------
        calls
            Triples ``(function, args, kwargs)``.

        Returns
        -------
        concurrent.futures.Future
            Its result is the list of results; its exception that of the first call that fails, after
            which no further calls run.

        Raises
        ------
        RuntimeError, ConfigError
            As for `submit`.
        """
        future: futures.Future[list[Any]] = futures.Future()
        triples = list(calls)
        if not triples:
            self._pump.check()
            future.set_result([])
            return future
        self._pump.submit(future, lambda: self._batch(triples))
        return future

    def _batch(self, triples: list[tuple[Any, Any, Any]]) -> Call:
        """Return one call for functions that are identical once shipped; else each item names its own."""
        by_value = self.options.by_value
        first = triples[0][0]
        shipments = [ship(first, by_value)]
        if any(function is not first for function, _, _ in triples):
            shipments = [ship(function, by_value) for function, _, _ in triples]
        if len(shipments) == 1 or len({shipment.digest for shipment in shipments}) == 1:
            pairs = [(tuple(args), dict(kwargs)) for _, args, kwargs in triples]
            return Call(shipments[0], "batch", pairs)
        item = [
            (made.reference, (*made.args, *args), {**made.kwargs, **kwargs})
            for made, (_, args, kwargs) in zip(shipments, triples, strict=True)
        ]
        return Call(Shipment.of_many(shipments), "each", item)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = "auto",
        buffersize: int | None = None,
        journal: str | os.PathLike[str] | None = None,
    ) -> Iterator[T]:
        """Apply a function to every item as the builtin ``map`` does, in parallel invocations.

        Parameters
        ----------
        fn, *iterables
            The iterables are read at once, and every item runs, even if its result is not taken or
            another item fails; with `buffersize` they are read as results are taken. Without
            iterables there are no results.
        timeout
            Seconds after this call at which ``next()`` raises TimeoutError.
        chunksize : int or "auto"
            Items per invocation. "auto" aims at half a second of work.
        buffersize : int, optional
            Maximum number of items read whose results have not been taken.
        journal : path, optional
            File that keeps the results, so that the same call resumes the map.

        Returns
        -------
        iterator
            The results in input order. An exception of f is raised at its item's position. Closing
            the iterator, or dropping it after the first result, cancels unfinished items; dropping
            it unread does so only with `buffersize`.

        Raises
        ------
        TimeoutError
            From ``next()``.
        RuntimeError
            After `shutdown`.
        ValueError, TypeError
            `chunksize` or `buffersize` is invalid.
        """
        ends = None if timeout is None else monotonic() + timeout
        if iterables:  # without any, the standard library's map yields nothing
            check_arguments("map", fn, iterables)
        if buffersize is not None:
            if isinstance(buffersize, bool) or not isinstance(buffersize, int):
                raise TypeError("buffersize must be an integer or None")
            if buffersize < 1:
                raise errors.ConfigError("buffersize must be None or > 0")
        self._pump.check()
        options = dataclasses.replace(
            self.options,
            chunksize=chunksize,
            buffersize=buffersize,
            journal=journal,
            timeout=ambient.limit(None),
        )
        star = len(iterables) != 1
        calls = "star" if star else "item"
        if buffersize is None:
            items = list(zip(*iterables, strict=False)) if star else list(iterables[0])
            self._pump.check()  # that may have taken long
            every = dataclasses.replace(options, on_error="return")
            engine = open_engine(
                fn,
                iter(items),
                every,
                total=len(items),
                calls=calls,
                bound_id=self._pump.bound_id,
                marks_errors=True,
            )
            inbox = Inbox()
            mapped = Mapped(engine, inbox)
            try:
                self._pump.add_map(mapped)
            except (
                RuntimeError
            ):  # shut down while the iterables were read, or no thread can be started
                engine.close()
                raise
            return _results(self._pump, mapped, inbox, ends)
        read = self._while_open(zip(*iterables, strict=False) if star else iter(iterables[0]))
        engine = open_engine(
            fn, read, options, total=None, calls=calls, bound_id=self._pump.bound_id
        )
        return _lazy_results(engine, ends)

    def _while_open(self, items: Iterator[Any]) -> Iterator[Any]:
        pump = self._pump
        for item in items:
            yield item
            pump.check()

    @property
    def stats(self) -> Stats:
        """Return counts so far, over all calls and maps; see `Stats`."""
        return self._pump.stats

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and free resources when the pending ones have ended.

        Parameters
        ----------
        wait
            Return when every call has ended and the futures' callbacks have been called. False:
            return at once; interpreter shutdown still waits for them.
        cancel_futures
            Cancel calls that have not started.
        """
        self._pump.close(cancel_futures)
        if wait:
            self._pump.join()

    def abort(self, patience_s: float = _ABORT_S) -> None:
        """Cancel calls that have not started, and close the connections of those that have.

        The futures of the latter get a `concurrent.futures.CancelledError`. On Lambda, invocations
        that have started run to completion.

        Parameters
        ----------
        patience_s
            Seconds to wait for the futures' callbacks to be called.
        """
        self._pump.abort()
        self._pump.join(patience_s)

    def say_what_runs(self, error: BaseException | None) -> None:
        """Note on a KeyboardInterrupt, after `abort`, which invocations still run and where."""
        if isinstance(error, KeyboardInterrupt):
            self._pump.say_what_runs(error)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self.abort()
            self.say_what_runs(error)
        else:
            self.shutdown(wait=True)
        return None


def _results(
    pump: Pump, mapped: Mapped, inbox: Inbox, ends: float | None
) -> Generator[Any, None, None]:
    """Yield the results; as in the standard library, dropping it before the first cancels nothing."""
    try:
        while inbox.wait(ends):
            yield inbox.take()
    except GeneratorExit:
        raise
    except BaseException as error:
        inbox.keep(error)
        errors.trim(error)
        raise
    finally:
        if not mapped.over:
            mapped.closed = True
            pump.wake()
        remember(mapped.engine.stats)


def _lazy_results(engine: Engine, ends: float | None) -> Iterator[Any]:
    """Return a started generator of results, so that closing or dropping it always cancels."""

    def generate() -> Generator[Any, None, None]:
        try:
            yield
            yield from engine.results(ends)
        finally:
            engine.close()

    results = generate()
    next(results)
    return results
