"""Maps for asyncio: the engine of `lambdamap.map`, stepped by an event loop.

The loop watches the map's file descriptor; no thread is used.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from lambdamap import errors
from lambdamap import options as _options
from lambdamap.calls.api import check_arguments, together, total_of
from lambdamap.calls.results import Handle
from lambdamap.flight.engine import Engine
from lambdamap.flight.feed import Feed
from lambdamap.flight.open import open_engine

__all__ = ["AsyncResults", "amap", "amap_unordered"]

R = TypeVar("R")

_NOTHING: Any = object()


class _Waiter:
    """Wakes the task that waits for the map."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class _Feeder:
    """Reads an async iterable into the engine's `Feed`, as far ahead as the engine has room."""

    def __init__(self, source: AsyncIterable[Any], feed: Feed, engine: Engine, waiter: _Waiter):
        self._source = source
        self._feed = feed
        self._engine = engine
        self._waiter = waiter
        self._room = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(self._run())

    async def _run(self) -> None:
        feed, engine, room = self._feed, self._engine, self._room
        try:
            items = aiter(self._source)
            while True:
                while engine.input_room() <= 0:
                    room.clear()
                    self._waiter.wake()
                    await room.wait()
                feed.items.append(await anext(items))
        except StopAsyncIteration:
            pass
        except BaseException as error:
            feed.error = error
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                raise
        finally:
            feed.ended = True
            self._waiter.wake()

    def go_on(self) -> None:
        """Resume reading if the engine has room; called after each step."""
        if self._engine.input_room() > 0:
            self._room.set()


class AsyncResults(Handle[R]):
    """What `amap` and `amap_unordered` return: an async iterator of results.

    It is closed by `aclose`, by leaving an ``async with`` block, when it ends, when the task that
    waits for it is cancelled, and by the garbage collector. Closing cancels unfinished chunks and
    closes their connections; on Lambda, invocations that have started run to completion. Only one
    task may wait for it at a time.
    """

    _NAME = "lambdamap.amap"
    _REMEDY = "use it in an async with statement, or await its aclose()"

    def __init__(
        self, engine: Engine, source: AsyncIterable[Any] | None = None, feed: Feed | None = None
    ) -> None:
        super().__init__(engine)
        self._source = source
        self._feed = feed
        self._feeder: _Feeder | None = None
        self._waiter = _Waiter()
        self._chunk: list[R] = []  # results to return next, in reverse order
        self._task: weakref.ref[asyncio.Task[Any]] | None = None
        self._busy = False
        with contextlib.suppress(RuntimeError):  # no running loop: the first wait starts it
            self._start_feeder()

    def _start_feeder(self) -> None:
        if self._source is not None and self._feeder is None and self._feed is not None:
            asyncio.get_running_loop()
            self._feeder = _Feeder(self._source, self._feed, self._engine, self._waiter)

    def __aiter__(self) -> AsyncResults[R]:
        return self

    async def __anext__(self) -> R:
        if self._busy:
            raise RuntimeError("another task is already waiting for this map")
        if self._chunk:
            return self._chunk.pop()
        if self._engine.closed:
            raise StopAsyncIteration
        self._busy = True
        try:
            return await self._more()
        except BaseException:
            self._close()
            raise
        finally:
            self._busy = False

    async def _more(self) -> R:
        self._start_feeder()
        self._watch_task()
        try:
            while (chunk := self._engine.step()) is None:
                if self._feeder is not None:
                    self._feeder.go_on()
                await self._wait()
                if self._engine.closed:
                    raise asyncio.CancelledError("the map was closed")
        except concurrent.futures.CancelledError as error:
            raise asyncio.CancelledError(*error.args) from error
        except Exception as error:
            errors.trim(error)
            raise
        if not chunk:
            raise StopAsyncIteration
        self._chunk = self._engine.hand_out(chunk)
        return self._chunk.pop()

    async def _wait(self) -> None:
        """Wait until the map's descriptor is readable, an item was read, or the bar must be redrawn."""
        loop = asyncio.get_running_loop()
        engine, waiter = self._engine, self._waiter
        waiter.future = loop.create_future()
        fd = engine.fileno() if engine.outstanding else -1
        after_s = engine.look_after_s()
        timer = None if after_s is None else loop.call_later(after_s, waiter.wake)
        if fd >= 0:
            loop.add_reader(fd, waiter.wake)
        try:
            await waiter.future
        finally:
            waiter.future = None
            if fd >= 0:
                loop.remove_reader(fd)
            if timer is not None:
                timer.cancel()
        engine.progress.add(0)

    def _watch_task(self) -> None:
        """Close the map also if the task is cancelled while it waits for something else."""
        task = asyncio.current_task()
        if task is not None and (self._task is None or self._task() is not task):
            self._task = weakref.ref(task)
            task.add_done_callback(functools.partial(_close_if_cancelled, weakref.ref(self)))

    def _close(self) -> None:
        self._engine.close(patience_s=0)
        self._chunk = []
        self._waiter.wake()
        feeder = self._feeder
        if feeder is not None and not feeder.task.done() and not feeder.loop.is_closed():
            feeder.loop.call_soon_threadsafe(feeder.task.cancel)

    async def aclose(self) -> None:
        """Cancel unfinished chunks. Idempotent; a task that waits for a result is cancelled."""
        self._close()
        if self._feeder is not None and self._feeder.task is not asyncio.current_task():
            await asyncio.wait([self._feeder.task])

    async def __aenter__(self) -> AsyncResults[R]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _abandon(self) -> None:
        self._close()


def _close_if_cancelled(results: weakref.ref[AsyncResults[Any]], task: asyncio.Task[Any]) -> None:
    if task.cancelled() and (found := results()) is not None:
        found._close()


# --- opening ------------------------------------------------------------------------------------


async def _together(
    iterables: tuple[AsyncIterable[Any] | Iterable[Any], ...], strict: bool
) -> AsyncIterator[tuple[Any, ...]]:
    """Yield tuples of one item from each input, read in order, until the shortest ends."""
    readers = [_reader(data) for data in iterables]
    while True:
        group = []
        for number, read in enumerate(readers):
            item = await read()
            if item is _NOTHING:
                if strict:
                    await _check_ends(readers, number)
                return
            group.append(item)
        yield tuple(group)


async def _check_ends(readers: list[Callable[[], Any]], number: int) -> None:
    """Raise ValueError unless the inputs after input `number`, which has ended, have ended as well."""
    if number:
        others = "argument 1" if number == 1 else f"arguments 1-{number}"
        raise ValueError(f"map() argument {number + 1} is shorter than {others}")
    for later in range(1, len(readers)):
        if await readers[later]() is not _NOTHING:
            others = "argument 1" if later == 1 else f"arguments 1-{later}"
            raise ValueError(f"map() argument {later + 1} is longer than {others}")


def _reader(data: AsyncIterable[Any] | Iterable[Any]) -> Callable[[], Any]:
    """Return a coroutine function that returns the next item, or _NOTHING at the end."""
    if isinstance(data, AsyncIterable):
        items = aiter(data)

        async def read_async() -> Any:
            try:
                return await anext(items)
            except StopAsyncIteration:
                return _NOTHING

        return read_async
    iterator = iter(data)

    async def read() -> Any:
        return next(iterator, _NOTHING)

    return read


def _open(
    name: str,
    function: Callable[..., R],
    iterables: tuple[AsyncIterable[Any] | Iterable[Any], ...],
    strict: bool,
    options: dict[str, Any],
    ordered: bool,
) -> AsyncResults[R]:
    __tracebackhide__ = True
    check_arguments(name, function, iterables)
    resolved = _options.resolve_for(function, options)
    star = len(iterables) > 1
    calls = "star" if star else "item"
    synchronous = [data for data in iterables if not isinstance(data, AsyncIterable)]
    if len(synchronous) == len(iterables):
        items = together(tuple(synchronous), strict)
        total = total_of(iterables, strict)
        engine = open_engine(function, items, resolved, total=total, calls=calls, ordered=ordered)
        return AsyncResults(engine)
    for data in synchronous:
        iter(data)  # a TypeError now, not at the first item
    source: Any = _together(iterables, strict) if star else iterables[0]
    feed = Feed()
    engine = open_engine(function, feed, resolved, total=None, calls=calls, ordered=ordered)
    return AsyncResults(engine, source, feed)


def amap(
    function: Callable[..., R],
    /,
    *iterables: AsyncIterable[Any] | Iterable[Any],
    strict: bool = False,
    **options: Any,
) -> AsyncResults[R]:
    """Apply a function as `lambdamap.map` does, for asyncio.

    The event loop is blocked only while synchronous iterables are read and while items are packed
    and results unpacked. The first window of chunks has been submitted when this returns, unless an
    input is an async iterable, which a task reads ahead.

    Parameters
    ----------
    function, strict, **options
        As for `lambdamap.map`. The function is not a coroutine function: it runs remotely.
    *iterables
        Iterables, async iterables, or a mix of both.

    Returns
    -------
    AsyncResults
        Async iterator of the results in input order. ``async with`` closes it and its connections
        when the block is left.

    Raises
    ------
    ConfigError
        At once: an unknown option, no region, no credentials.
    TypeError
        At once: an argument is a DataFrame or not iterable.
    RuntimeError
        Another task is already waiting for a result.
    asyncio.CancelledError
        The map was closed by another task while this one waited.
    Exception
        At the item's position, as for `lambdamap.map`.

    Examples
    --------
    >>> import asyncio, lambdamap
    >>> async def main():
    ...     return [x async for x in lambdamap.amap(abs, [-1, 2, -3], backend="inline")]
    >>> asyncio.run(main())
    [1, 2, 3]
    """
    return _open("amap", function, iterables, strict, options, ordered=True)


def amap_unordered(
    function: Callable[..., R],
    /,
    *iterables: AsyncIterable[Any] | Iterable[Any],
    strict: bool = False,
    **options: Any,
) -> AsyncResults[R]:
    """Apply a function as `amap` does, and yield results in the order of completion.

    Parameters
    ----------
    function, *iterables, strict, **options
        As for `amap`.

    Returns
    -------
    AsyncResults
        Async iterator of the results in the order of completion.

    Raises
    ------
    Exception
        As `amap`; an error is raised when it arrives.

    Examples
    --------
    >>> import asyncio, lambdamap
    >>> async def main():
    ...     return {x async for x in lambdamap.amap_unordered(abs, [-1, 2], backend="inline")}
    >>> asyncio.run(main())
    {1, 2}
    """
    return _open("amap_unordered", function, iterables, strict, options, ordered=False)
