"""Iterators of results: what they hold on to, what ends them, and what stays with the exception."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options, until
from scripted import Connection, Request, Server, Step, hold, once, run

HANG_S = 30


def of_amap(function: Any, items: Any, name: str = "amap", **options: Any) -> Iterator[Any]:
    """`amap` as a plain iterator; nothing here refers to a result that was given."""
    loop = asyncio.new_event_loop()
    results = getattr(lambdamap, name)(function, items, **options)
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(results))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(results.aclose())
        loop.close()


def of_executor(function: Any, items: Any, **options: Any) -> Iterator[Any]:
    mapping = {name: options.pop(name) for name in ("chunksize", "buffersize") if name in options}
    with lambdamap.LambdaExecutor(**options) as executor:
        yield from executor.map(function, items, **mapping)


def of_futures(function: Any, items: Any, **options: Any) -> Iterator[Any]:
    options.pop("chunksize")
    with lambdamap.LambdaExecutor(**options) as executor:
        calls = [executor.submit(function, item) for item in items]
        while calls:
            yield calls.pop(0).result(HANG_S)


ITERATORS: dict[str, Callable[..., Iterable[Any]]] = {
    "map": lambdamap.map,
    "map_unordered": lambdamap.map_unordered,
    "amap": of_amap,
    "amap_unordered": lambda *args, **options: of_amap(*args, name="amap_unordered", **options),
    "executor.map": of_executor,
    "executor.map with a buffer": lambda *args, **options: of_executor(
        *args, buffersize=3, **options
    ),
    "futures": of_futures,
}


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("name", ITERATORS)
def test_a_result_that_was_given_is_held_by_nobody_else(name: str, chunksize: int) -> None:
    """The standard library's contract (its issue 14406)."""
    results = iter(ITERATORS[name](tasks.sack, range(12), chunksize=chunksize, backend="local"))
    gc.disable()  # not even for a while
    try:
        for _ in range(12):
            held = weakref.ref(next(results))
            # A future's thread may be on its way out of set_result.
            until(lambda held=held: held() is None)
    finally:
        gc.enable()
    assert list(results) == []


def known(error: BaseException) -> lambdamap.Failure:
    found = lambdamap.failure(error)
    assert found is not None
    return found


def sacks() -> int:
    return sum(type(thing) is tasks.Sack for thing in gc.get_objects())


def all_but(held: int, answer: Step) -> Step:
    """Answer all chunks at once but the one with this first item."""

    def step(connection: Connection, request: Request) -> None:
        (answer if request.envelope["chunk"] == held else run())(connection, request)

    return step


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def options_for(server: Server, **changes: Any) -> dict[str, Any]:
    """For an executor."""
    found = api_options(server, allow_pickle=True, **changes)
    return {name: found[name] for name in found.keys() - {"chunksize", "progress"}}


@pytest.mark.parametrize("read", [0, 1])
def test_results_of_a_dropped_iterator_go_while_others_are_under_way(
    gate: threading.Event, read: int
) -> None:
    assert sacks() == 0
    with Server(then=all_but(9, once(gate, run()))) as server:
        executor = lambdamap.LambdaExecutor(**options_for(server))
        results = executor.map(tasks.sack, range(10), chunksize=1)
        until(lambda: sacks() == 9)
        for _ in range(read):
            next(results)
        del results
        until(lambda: sacks() == 0)
        assert not gate.is_set()
        gate.set()
        executor.shutdown()
        assert sacks() == 0
        assert server.complete == 10


def test_an_error_does_not_keep_its_future_alive() -> None:
    """No cycle through the traceback, which would wait for the garbage collector."""
    with lambdamap.LambdaExecutor(2, backend="local") as executor:
        for function in (
            tasks.fail_at_seven,
            tasks.unreadable,
            tasks.failing,
            tasks.leaving,
            tasks.die,
        ):
            call = executor.submit(function, 7)
            futures.wait([call], HANG_S)
            gc.disable()
            try:
                gone = weakref.ref(call)
                del call
                until(lambda gone=gone: gone() is None)
            finally:
                gc.enable()


# --- LambdaExecutor.map that nobody reads -----------------------------------------------------------


def numbers(path: Any) -> list[int]:
    return sorted(int(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("chunksize", [1, 7, "auto"])
def test_every_item_runs_of_a_map_that_is_dropped_unread(tmp_path: Any, chunksize: Any) -> None:
    path = tmp_path / "runs"
    with lambdamap.LambdaExecutor(2, backend="local") as executor:
        executor.map(tasks.record, [(str(path), i) for i in range(60)], chunksize=chunksize)
    assert numbers(path) == list(range(60))
    executor = lambdamap.LambdaExecutor(2, backend="local")
    executor.map(tasks.record, [(str(path), i) for i in range(60, 80)], chunksize=chunksize)
    executor.shutdown(wait=False)
    until(lambda: numbers(path) == list(range(80)))


def record_or_fail(item: tuple[str, int]) -> int:
    number = tasks.record(item)
    if number == 0:
        raise ValueError("the first")
    if number == 7:
        return tasks.unsendable(number)  # type: ignore[no-any-return]
    if number == 14:
        tasks.die(3)
    return number


@pytest.mark.parametrize("chunksize", [1, 7])
def test_every_item_runs_though_others_fail(tmp_path: Any, chunksize: int) -> None:
    path = tmp_path / "runs"
    with lambdamap.LambdaExecutor(2, backend="local") as executor:
        executor.map(record_or_fail, [(str(path), i) for i in range(40)], chunksize=chunksize)
    ended = range(15, 21) if chunksize == 7 else ()  # with the worker that died
    assert numbers(path) == [i for i in range(40) if i not in ended]


def test_an_error_is_raised_in_its_place_and_cancels_the_rest() -> None:
    with (
        Server(then=all_but(9, hold())) as server,
        lambdamap.LambdaExecutor(**options_for(server)) as executor,
    ):
        results = executor.map(tasks.fail_at_seven, [0, 1, 7, 3, 7, 5, 6, 4, 8, 9], chunksize=1)
        server.wait_for(10)
        assert [next(results), next(results)] == [0, 1]
        inbox = results.gi_frame.f_locals["inbox"]  # type: ignore[attr-defined]
        until(lambda: len(inbox._results) == 7)
        with pytest.raises(ValueError, match="seven") as caught:
            next(results)
        found = known(caught.value)
        assert (found.indices, found.ran, list(found.not_run)) == ((2,), "RAN", [])
        assert found.partial == {3: 3, 5: 5, 6: 6, 7: 4, 8: 8}
        assert list(results) == []
        # leaving the block would wait for what is held


def test_errors_in_the_place_of_results_say_that_the_others_have_run() -> None:
    found = list(
        lambdamap.map(
            tasks.fail_at_seven, [6, 7, 8, 9], chunksize=4, on_error="return", backend="inline"
        )
    )
    assert found[2:] == [8, 9]
    assert (known(found[1]).indices, list(known(found[1]).not_run)) == ((1,), [])


# --- what ends a map ---------------------------------------------------------------------------------


class Stop(Exception):
    pass


@contextlib.contextmanager
def handler(kind: type[BaseException]) -> Iterator[None]:
    """SIGUSR1 raises one of this kind, each time a new one: an exception keeps what it went through."""

    def handle(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def press(signal_: signal.Signals) -> None:
    """To the main thread, which may be waiting."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal_)


ENDINGS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGUSR1, SystemExit), (signal.SIGUSR1, Stop)]


@pytest.mark.parametrize(("signal_", "kind"), ENDINGS)
def test_an_interrupted_list_has_all_that_was_finished(
    signal_: signal.Signals, kind: type[BaseException]
) -> None:
    """While it waits for the last one."""
    done = threading.Event()

    def show(count: int, _: object) -> None:
        if count == 7:
            done.set()

    def later() -> None:
        assert done.wait(HANG_S)
        press(signal_)

    thread = threading.Thread(target=later)
    with Server(then=all_but(7, hold())) as server, handler(kind):
        thread.start()
        with pytest.raises(kind) as caught:
            lambdamap.my_map(tasks.square, range(8), 1, **interruptible(server, show))
    thread.join()
    assert known(caught.value).partial == {i: i * i for i in range(7)}


def interruptible(server: Server, show: Any) -> dict[str, Any]:
    return {n: v for n, v in api_options(server, progress=show).items() if n != "chunksize"}


@pytest.mark.parametrize("at", range(1, 8))
@pytest.mark.parametrize(("signal_", "kind"), ENDINGS)
def test_interrupted_as_a_result_comes(
    signal_: signal.Signals, kind: type[BaseException], at: int
) -> None:
    def show(count: int, _: object) -> None:
        if count == at:
            signal.raise_signal(signal_)

    with Server(then=all_but(7, hold())) as server, handler(kind):
        with pytest.raises(kind) as caught:
            lambdamap.my_map(tasks.square, range(8), 1, **interruptible(server, show))
        partial = known(caught.value).partial
        assert len(partial) >= at
        assert partial.items() <= {i: i * i for i in range(7)}.items()
        with pytest.raises(kind) as caught:
            for taken, _ in enumerate(
                lambdamap.map(tasks.square, range(8), **api_options(server, progress=show)), 1
            ):
                assert taken < at
        rest = known(caught.value).partial
        assert rest.items() <= {i: i * i for i in range(7)}.items()


def test_an_interrupted_lazy_map_has_what_was_not_given() -> None:
    """Also of the chunk that is being given, and of an unordered map by position."""
    for mapping in (lambdamap.map, lambdamap.map_unordered):
        with Server(then=all_but(8, hold())) as server:
            options = api_options(server, chunksize=4, buffersize=100)
            results: Any = mapping(tasks.square, range(12), **options)
            server.wait_for(3)
            given = [next(results), next(results)]
            engine = results._engine
            while engine._port.outstanding > 1 or len(engine._ready) + bool(engine._giving) < 2:
                engine._receive()
                engine.wait()
            error = KeyboardInterrupt()
            engine.end(error)
            assert known(error).partial == {i: i * i for i in range(8) if i * i not in given}


def test_an_inputs_exception_has_all_that_was_finished() -> None:
    class Broken(asyncio.IncompleteReadError):
        """Has a `partial` of its own."""

    for error in (LookupError("no more"), Broken(b"some", 9), SystemExit(3)):

        def items(error: BaseException = error) -> Iterator[int]:
            yield from range(9)
            raise error

        with pytest.raises(type(error)) as caught:
            lambdamap.my_map(tasks.square, items(), 2, backend="inline")
        assert caught.value is error
        # Raised at once, a SystemExit finds the ninth in a chunk that has not been sent.
        done = 8 if type(error) is SystemExit else 9
        assert known(caught.value).partial == {i: i * i for i in range(done)}
        if isinstance(error, Broken):
            assert error.partial == b"some"


def test_a_callback_that_raises_loses_nothing() -> None:
    def show(done: int, _: object) -> None:
        if done >= 6:
            raise Stop

    with pytest.raises(Stop) as caught:
        lambdamap.my_map(tasks.square, range(10), 2, backend="inline", progress=show)
    assert known(caught.value).partial == {i: i * i for i in range(6)}


def test_what_cannot_be_printed_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)

        def say_at_length(x: int) -> int:
            print("x" * 100_000 if x == 4 else "")
            return x

        with pytest.raises(OSError, match="No space") as caught:
            lambdamap.my_map(say_at_length, range(5), 1, backend="inline")
        monkeypatch.undo()
        assert known(caught.value).partial == {i: i for i in range(5)}
        with contextlib.suppress(OSError):
            full.close()
