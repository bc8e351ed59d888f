"""What the standard library's documentation promises of executors and futures, each promise a test,
kept by its own ThreadPoolExecutor and by LambdaExecutor on both kinds of sandbox."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from driver import Endless, until

HANG_S = 60
OWN = "standard library"
KINDS = [OWN, "builtin", "awslambdaric"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class Gate:
    """A file that calls wait for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = str(folder / "gate")
        self._folder = folder

    def open(self) -> None:
        Path(self.path).touch()

    def wait_for(self, count: int) -> None:
        """Until so many calls are under way."""
        until(lambda: len(list(self._folder.glob("gate.*.begun"))) >= count, HANG_S)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.open()


@pytest.fixture
def executor(kind: str) -> Iterator[futures.Executor]:
    """Of two workers."""
    made: futures.Executor = futures.ThreadPoolExecutor(2)
    if kind != OWN:
        made = lambdamap.LambdaExecutor(2, backend="local", local=kind)
    yield made
    made.shutdown()


@pytest.fixture
def held(
    executor: futures.Executor, gate: Gate
) -> tuple[list[futures.Future[Any]], list[futures.Future[Any]]]:
    """Two calls that are under way and two that wait for their turn."""
    calls = [executor.submit(tasks.mark_and_wait, gate.path, i) for i in range(4)]
    gate.wait_for(2)
    return calls[:2], calls[2:]


# --- Executor.submit ----------------------------------------------------------------------------


def test_submit_calls_with_all_arguments_and_gives_a_future(executor: futures.Executor) -> None:
    future = executor.submit(tasks.add, 3, y=4)
    assert isinstance(future, futures.Future)
    assert future.result(HANG_S) == 7


def test_a_call_that_cannot_be_made_is_the_futures_exception(executor: futures.Executor) -> None:
    assert isinstance(executor.submit(tasks.square).exception(HANG_S), TypeError)


def test_max_workers_must_be_positive(kind: str) -> None:
    make: Any = futures.ThreadPoolExecutor if kind == OWN else lambdamap.LambdaExecutor
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="max_workers"):
            make(wrong)
        with pytest.raises(ValueError, match="max_workers"):
            make(max_workers=wrong)


# --- Executor.map -------------------------------------------------------------------------------


def test_map_makes_several_calls_at_once(executor: futures.Executor, tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert list(executor.map(tasks.meet, [one, two], [two, one], chunksize=1)) == [one, two]


def test_map_reads_its_input_at_once_and_is_as_long_as_the_shortest(
    executor: futures.Executor,
) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    results = executor.map(tasks.add, numbers(), range(5))
    assert len(taken) >= 5
    assert list(results) == [0, 2, 4, 6, 8]
    assert list(executor.map(tasks.square, [])) == []


@pytest.mark.parametrize("kind", KINDS if sys.version_info >= (3, 14) else KINDS[1:])
def test_map_with_a_buffer_reads_as_results_are_taken(executor: futures.Executor) -> None:
    numbers = Endless()
    map_: Any = executor.map  # a standard library before 3.14 has no buffersize
    results = map_(tasks.square, numbers, buffersize=3)
    for given in range(12):
        assert numbers.taken - given <= 3
        assert next(results) == given * given
    results.close()


@pytest.mark.parametrize("timeout", [1, 0.3])
def test_maps_timeout_counts_from_the_call_of_map(
    executor: futures.Executor, gate: Gate, timeout: float
) -> None:
    started = time.monotonic()
    results = executor.map(tasks.mark_and_wait, [gate.path], timeout=timeout)
    time.sleep(timeout / 2)
    with pytest.raises(futures.TimeoutError):
        next(results)
    assert time.monotonic() - started >= timeout


def test_map_without_a_timeout_waits(executor: futures.Executor, gate: Gate) -> None:
    for timeout in ({}, {"timeout": None}):
        results = executor.map(tasks.mark_and_wait, [gate.path], [5], **timeout)
        threading.Timer(0.1, gate.open).start()
        assert list(results) == [5]


@pytest.mark.parametrize("chunksize", [1, 4, 100])
def test_maps_exception_comes_in_its_place(executor: futures.Executor, chunksize: int) -> None:
    results = executor.map(tasks.fail_at_seven, range(20), chunksize=chunksize)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="seven"):
        next(results)
    assert list(results) == []


# --- Executor.shutdown --------------------------------------------------------------------------


def test_no_calls_after_shutdown(executor: futures.Executor) -> None:
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(tasks.square, 3)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.map(tasks.square, [3])


def test_shutdown_waits_for_calls_and_lets_go_of_threads(kind: str) -> None:
    before = set(threading.enumerate())
    executor: futures.Executor = futures.ThreadPoolExecutor(2)
    if kind != OWN:
        executor = lambdamap.LambdaExecutor(2, backend="local", local=kind)
        executor.submit(tasks.square, 1).result(HANG_S)  # the local Lambda keeps a thread
    names = {"lambdamap-executor"} if kind != OWN else {"ThreadPoolExecutor"}
    calls = [executor.submit(tasks.sleep, 0.05) for _ in range(4)]
    executor.shutdown(wait=True)
    assert all(call.done() for call in calls)
    after = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in after if name.partition("-")[0] in names or name in names]


def test_shutdown_without_wait_returns_and_calls_go_on(
    executor: futures.Executor, gate: Gate, held: Any
) -> None:
    executor.shutdown(wait=False)
    running, waiting = held
    assert not any(call.done() for call in running + waiting)
    gate.open()
    assert [call.result(HANG_S) for call in running + waiting] == [0, 1, 2, 3]


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_that_cancels_what_has_not_started(
    executor: futures.Executor, gate: Gate, held: Any, wait: bool
) -> None:
    running, waiting = held
    waiting[-1].add_done_callback(lambda _: gate.open())  # when it has been cancelled
    executor.shutdown(wait=wait, cancel_futures=True)
    assert all(call.cancelled() for call in waiting)
    if wait:
        assert all(call.done() for call in running)
    assert [call.result(HANG_S) for call in running] == [0, 1]


def test_the_with_statement_waits(kind: str) -> None:
    made: futures.Executor = futures.ThreadPoolExecutor(2)
    if kind != OWN:
        made = lambdamap.LambdaExecutor(2, backend="local", local=kind)
    with made as executor:
        assert executor is made
        calls = [executor.submit(tasks.sleep, 0.05) for _ in range(3)]
    assert all(call.done() for call in calls)


# --- Future -------------------------------------------------------------------------------------


def test_states_and_cancel(gate: Gate, held: Any) -> None:
    running, waiting = held
    first, last = running[0], waiting[-1]
    assert (first.running(), first.done(), first.cancelled()) == (True, False, False)
    assert (last.running(), last.done(), last.cancelled()) == (False, False, False)
    assert not first.cancel()
    assert last.cancel()
    assert last.cancel()  # again
    assert (last.running(), last.done(), last.cancelled()) == (False, True, True)
    gate.open()
    assert first.result(HANG_S) == 0
    assert (first.running(), first.done(), first.cancelled()) == (False, True, False)
    assert not first.cancel()


def test_who_waits_for_a_call_that_is_cancelled_is_told(held: Any) -> None:
    _, waiting = held
    told = []

    def ask(method: Callable[[], Any]) -> None:
        try:
            method()
        except futures.CancelledError:
            told.append(method.__name__)

    threads = [
        threading.Thread(target=ask, args=(m,)) for m in (waiting[1].result, waiting[1].exception)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert waiting[1].cancel()
    for thread in threads:
        thread.join(HANG_S)
    for method in (waiting[1].result, waiting[1].exception):
        ask(method)
    assert sorted(told) == ["exception", "exception", "result", "result"]


def test_timeouts_of_result_and_exception(gate: Gate, held: Any) -> None:
    running, _ = held
    for method in (running[0].result, running[0].exception):
        for timeout in (0, 0.05):
            with pytest.raises(futures.TimeoutError):
                method(timeout)
            with pytest.raises(futures.TimeoutError):
                method(timeout=timeout)
    threading.Timer(0.1, gate.open).start()
    assert running[0].result() == 0
    assert running[0].exception(timeout=None) is None


def test_a_calls_exception_is_raised_and_given(executor: futures.Executor) -> None:
    call = executor.submit(tasks.fail_at_seven, 7)
    error = call.exception(HANG_S)
    assert type(error) is ValueError and error.args == ("seven is out", 7)
    with pytest.raises(ValueError, match="seven") as caught:
        call.result(HANG_S)
    assert caught.value is error


def test_callbacks_in_order_in_this_process_with_the_future(
    gate: Gate, held: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running, _ = held
    seen: list[Any] = []

    def broken(future: futures.Future[Any]) -> None:
        seen.append(("broken", future))
        raise ValueError("of a callback")

    running[0].add_done_callback(lambda future: seen.append((os.getpid(), future)))
    running[0].add_done_callback(broken)
    running[0].add_done_callback(lambda future: seen.append(("last", future)))
    with caplog.at_level(logging.ERROR):
        gate.open()
        until(lambda: len(seen) == 3, HANG_S)
    assert seen == [(what, running[0]) for what in (os.getpid(), "broken", "last")]
    assert "of a callback" in caplog.text
    running[0].add_done_callback(lambda future: seen.append(future))  # now
    assert seen[-1] is running[0]


def test_callbacks_of_what_is_cancelled(held: Any) -> None:
    _, waiting = held
    seen: list[Any] = []
    waiting[1].add_done_callback(seen.append)
    assert not seen
    assert waiting[1].cancel()
    assert seen == [waiting[1]]
    waiting[1].add_done_callback(seen.append)
    assert seen == [waiting[1]] * 2


# --- wait and as_completed ----------------------------------------------------------------------


def test_wait(executor: futures.Executor, gate: Gate) -> None:
    early = executor.submit(tasks.square, 3)
    early.result(HANG_S)
    held = [executor.submit(tasks.mark_and_wait, gate.path, i) for i in range(4)]
    gate.wait_for(2)
    calls = [*held, held[0]]  # one of them twice
    found = futures.wait(calls, timeout=0.05)
    assert (found.done, found.not_done) == (set(), set(calls))
    found = futures.wait([*calls, early], HANG_S, futures.FIRST_COMPLETED)
    assert (found.done, found.not_done) == ({early}, set(calls))
    assert held[3].cancel()
    gate.open()
    failing = executor.submit(tasks.fail_at_seven, 7)
    other = Gate(Path(gate.path).parent / "other")
    slow = executor.submit(tasks.mark_and_wait, other.path)
    try:
        found = futures.wait([early, failing, slow], HANG_S, futures.FIRST_EXCEPTION)
        assert found.not_done == {slow}
    finally:
        other.open()
    found = futures.wait([*calls, slow], HANG_S, return_when=futures.ALL_COMPLETED)
    assert (found.done, found.not_done) == ({*calls, slow}, set())
    assert held[3].cancelled()
    found = futures.wait([early, slow], HANG_S, futures.FIRST_EXCEPTION)  # there is none
    assert found.done == {early, slow}


def test_as_completed(executor: futures.Executor, gate: Gate) -> None:
    early = executor.submit(tasks.square, 3)
    early.result(HANG_S)
    held = [executor.submit(tasks.mark_and_wait, gate.path, i) for i in range(4)]
    gate.wait_for(2)
    found = []
    started = time.monotonic()
    with pytest.raises(futures.TimeoutError):
        for call in futures.as_completed([held[0], early, early, held[1]], 0.2):
            found.append(call)
    assert found == [early]  # what is done already comes first, and once
    assert time.monotonic() - started >= 0.2
    assert held[3].cancel()
    gate.open()
    assert set(futures.as_completed(held, HANG_S)) == set(held)
    assert held[3].cancelled()
