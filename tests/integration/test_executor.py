"""LambdaExecutor, sentence by sentence of the standard library's documentation of executors and
futures, on the local Lambda; where a call has to stay under way, on a server that holds it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import scripted
import tasks
from driver import executor_on, notes, until
from lambdamap.calls.lane import Calls, Lane
from scripted import Connection, Request, Server, Step, hold, once, run

HANG_S = 30


class TestBothKinds:
    def test_calls(self, sandbox_kind: str) -> None:
        with lambdamap.LambdaExecutor(backend="local", local=sandbox_kind) as executor:
            calls = [executor.submit(tasks.square, i) for i in range(30)]
            assert [call.result() for call in calls] == [i * i for i in range(30)]
            assert executor.submit(tasks.add, 3, y=4).result() == 7
            assert executor.submit_batch([]).result() == []
            factor = 3
            assert executor.submit(lambda x: x * factor, 5).result() == 15
            factor = 4
            assert executor.submit(lambda x: x * factor, 5).result() == 20
            error = executor.submit(tasks.fail_at_seven, 7).exception()
            assert isinstance(error, ValueError)
            shown = "\n".join(notes(error))
            assert "in fail_at_seven" in shown and "calls.py" not in shown
            with pytest.raises(lambdamap.WorkerCrashedError):
                executor.submit(tasks.die, 3).result()
            assert list(executor.map(tasks.add, range(50), range(50))) == list(range(0, 100, 2))


class TestSubmit:
    """Schedules the callable as fn(*args, **kwargs) and returns a Future."""

    def test_returns_a_future_at_once(self, serve_beside: Any, gate: threading.Event) -> None:
        with executor_on(serve_beside(then=once(gate, run()))) as executor:
            future = executor.submit(tasks.add, 1, y=2)
            assert isinstance(future, futures.Future)
            assert not future.done()
            gate.set()
            assert future.result(HANG_S) == 3

    def test_arguments_are_taken_as_they_are_at_the_call(
        self, serve_beside: Any, gate: threading.Event
    ) -> None:
        with executor_on(serve_beside(then=once(gate, run()))) as executor:
            items = [1, 2]
            future = executor.submit(tasks.identity, items)
            items.append(3)
            gate.set()
            assert future.result(HANG_S) == [1, 2]

    def test_partials_are_told_apart(self) -> None:
        from functools import partial

        with lambdamap.LambdaExecutor(backend="inline") as executor:
            calls = [executor.submit(partial(tasks.add, i), 100) for i in range(5)]
            assert [call.result() for call in calls] == [100, 101, 102, 103, 104]

    def test_what_cannot_be_sent_is_the_futures_exception(self) -> None:
        with lambdamap.LambdaExecutor(backend="inline") as executor:
            generator = (x for x in ())
            for call in (
                executor.submit(tasks.identity, generator),
                executor.submit(tasks.identity, x=generator),
                executor.submit(generator.send, None),
                executor.submit(tasks.unsendable, 2),
            ):
                with pytest.raises(lambdamap.EncodeError):
                    call.result(HANG_S)
            assert executor.submit(tasks.unsendable, 1).result() == 1

    def test_configuration_errors_are_raised(self) -> None:
        for changes in (
            {"max_workers": 0},
            {"max_workers": -1},
            {"chunksize": 3},
            {"maxworkers": 3},
        ):
            with pytest.raises(ValueError, match=r"max_workers|chunksize"):
                lambdamap.LambdaExecutor(**changes)  # type: ignore[arg-type]
        with (
            lambdamap.LambdaExecutor(function="f") as executor,
            pytest.raises(lambdamap.ConfigError, match="no AWS region"),
        ):
            executor.submit(tasks.square, 1)

    def test_one_call_is_one_invocation_and_max_workers_at_once(
        self, serve_beside: Any, gate: threading.Event
    ) -> None:
        server = serve_beside(then=once(gate, run()))
        with executor_on(server, max_workers=3) as executor:
            calls = [executor.submit(tasks.square, i) for i in range(10)]
            server.wait_for(3)
            time.sleep(0.05)
            assert server.complete == 3
            assert [call.running() for call in calls] == [True] * 3 + [False] * 7
            gate.set()
            assert [call.result(HANG_S) for call in calls] == [i * i for i in range(10)]
        assert server.complete == 10

    def test_from_many_threads(self) -> None:
        with lambdamap.LambdaExecutor(backend="inline") as executor:

            def some(start: int) -> int:
                calls = [executor.submit(tasks.square, i) for i in range(start, start + 50)]
                return sum(call.result() for call in calls)

            with futures.ThreadPoolExecutor(8) as threads:
                assert sum(threads.map(some, range(0, 400, 50))) == sum(i * i for i in range(400))

    def test_a_function_that_is_not_there_again_and_again(self, serve_beside: Any) -> None:
        from scripted import aws_error

        missing = aws_error(404, "ResourceNotFoundException", "Function not found")
        with executor_on(serve_beside(then=missing)) as executor:
            for _ in range(3):
                with pytest.raises(lambdamap.FunctionNotFoundError):
                    executor.submit(tasks.square, 1).result(HANG_S)


class TestMap:
    def test_the_iterables_are_collected_immediately(self) -> None:
        taken = []

        def items() -> Iterator[int]:
            for i in range(20):
                taken.append(i)
                yield i

        with lambdamap.LambdaExecutor(backend="inline") as executor:
            results = executor.map(tasks.square, items())
            assert taken == list(range(20))
            assert list(results) == [i * i for i in range(20)]

    def test_unless_a_buffersize_is_specified(self) -> None:
        taken = []

        def endless() -> Iterator[int]:
            while True:
                taken.append(len(taken))
                yield taken[-1]

        with lambdamap.LambdaExecutor(backend="inline") as executor:
            results = executor.map(tasks.square, endless(), buffersize=4)
            for given in range(40):
                assert next(results) == given * given
                assert len(taken) - given <= 4
            del results
            for wrong in (0, -1):
                with pytest.raises(ValueError, match="buffersize"):
                    executor.map(tasks.square, [1], buffersize=wrong)
            with pytest.raises(TypeError, match="buffersize"):
                executor.map(tasks.square, [1], buffersize="3")  # type: ignore[arg-type]

    def test_runs_though_nobody_takes(self, tmp_path: Any) -> None:
        path = str(tmp_path / "runs")
        with lambdamap.LambdaExecutor(backend="local") as executor:
            results = executor.map(tasks.record, [(path, i) for i in range(40)], chunksize=2)
        with open(path) as file:
            assert sorted(map(int, file)) == list(range(40))
        assert list(results) == list(range(40))

    def test_timeout_error_from_next(self, serve_beside: Any) -> None:
        for wait in (0.2, 1):
            with executor_on(serve_beside(then=hold())) as executor:
                started = time.monotonic()
                results = executor.map(tasks.square, [1, 2], timeout=wait)
                with pytest.raises(futures.TimeoutError):
                    next(results)
                assert time.monotonic() - started >= wait
                executor.abort()
            with executor_on(serve_beside(then=hold())) as executor:
                results = executor.map(tasks.square, [1, 2], timeout=wait, buffersize=1)
                with pytest.raises(futures.TimeoutError):
                    next(results)

    def test_exception_when_its_value_is_retrieved(self) -> None:
        with lambdamap.LambdaExecutor(backend="inline") as executor:
            for chunksize in (1, 3, "auto"):
                results = executor.map(tasks.fail_at_seven, range(20), chunksize=chunksize)
                assert [next(results) for _ in range(7)] == list(range(7))
                with pytest.raises(ValueError, match="seven is out"):
                    next(results)
                assert list(results) == []

    def test_an_index_error_is_an_error(self) -> None:
        with (
            lambdamap.LambdaExecutor(backend="inline") as executor,
            pytest.raises(IndexError),
        ):
            list(executor.map(tasks.first_of, [[1], []]))

    def test_closing_cancels_the_rest(self, serve_beside: Any) -> None:
        def only_first(connection: Connection, request: Request) -> None:
            (run() if request.envelope["chunk"] == 0 else hold())(connection, request)

        with executor_on(serve_beside(then=only_first)) as executor:
            results = executor.map(tasks.square, range(8), chunksize=1)
            assert next(results) == 0
            results.close()  # type: ignore[attr-defined]
            # leaving the block would wait for what is held

    def test_several_iterables_end_with_the_shortest(self) -> None:
        with lambdamap.LambdaExecutor(backend="inline") as executor:
            assert list(executor.map(tasks.add, [1, 2, 3], [10, 20])) == [11, 22]
            assert list(executor.map(tasks.square, [])) == []
            assert list(executor.map(tasks.square)) == []
            assert list(executor.map(tasks.square, buffersize=2)) == []


class TestShutdown:
    def test_submit_and_map_raise_afterwards(self) -> None:
        executor = lambdamap.LambdaExecutor(backend="inline")
        lazy = executor.map(tasks.square, iter(range(100)), buffersize=1)
        executor.shutdown()
        executor.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            executor.submit(tasks.square, 1)
        with pytest.raises(RuntimeError, match="shutdown"):
            executor.map(tasks.square, [1])
        with pytest.raises(RuntimeError, match="shutdown"):
            list(lazy)

    def test_waits_for_pending_futures(self) -> None:
        executor = lambdamap.LambdaExecutor(backend="local")
        calls = [executor.submit(tasks.sleep, 0.1) for _ in range(4)]
        executor.shutdown(wait=True)
        assert all(call.done() for call in calls)
        assert [call.result() for call in calls] == [0.1] * 4

    def test_returns_at_once_without_wait(self, serve_beside: Any, gate: threading.Event) -> None:
        executor = executor_on(serve_beside(then=once(gate, run())), max_workers=1)
        calls = [executor.submit(tasks.square, i) for i in range(3)]
        executor.shutdown(wait=False)
        assert not any(call.done() for call in calls)
        gate.set()
        assert [call.result(HANG_S) for call in calls] == [0, 1, 4]

    def test_while_map_reads_its_input(self, tmp_path: Path) -> None:
        executor = lambdamap.LambdaExecutor(backend="inline")
        assert executor.submit(tasks.square, 2).result(HANG_S) == 4

        def items() -> Iterator[Path]:
            yield tmp_path / "touched"
            executor.shutdown()

        with pytest.raises(RuntimeError, match="shutdown"):
            executor.map(Path.touch, items())
        assert not (tmp_path / "touched").exists()

    def test_cancel_futures_one_of_which_somebody_else_has_set(
        self, serve_beside: Any, gate: threading.Event
    ) -> None:
        executor = executor_on(serve_beside(then=once(gate, run())), max_workers=1)
        first, second, third = (executor.submit(tasks.square, i) for i in range(3))
        until(first.running)
        second.set_result(-1)
        executor.shutdown(wait=False, cancel_futures=True)
        assert third.cancelled()
        gate.set()
        assert first.result(HANG_S) == 0

    def test_cancel_futures_and_a_callback_that_exits(
        self, serve_beside: Any, gate: threading.Event
    ) -> None:
        """As in the standard library's executors, the calls behind it are not cancelled then."""
        executor = executor_on(serve_beside(then=once(gate, run())), max_workers=1)
        first, second, third = (executor.submit(tasks.square, i) for i in range(3))
        until(first.running)
        second.add_done_callback(lambda _: sys.exit(3))
        with pytest.raises(SystemExit):
            executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        assert third.result(HANG_S) == 4
        assert futures.wait([second], HANG_S).done == {second}

    @pytest.mark.parametrize("wait", [True, False])
    def test_cancel_futures(self, serve_beside: Any, gate: threading.Event, wait: bool) -> None:
        executor = executor_on(serve_beside(then=once(gate, run())), max_workers=2)
        calls = [executor.submit(tasks.square, i) for i in range(6)]
        until(lambda: calls[1].running())
        calls[-1].add_done_callback(lambda _: gate.set())  # when it has been cancelled
        executor.shutdown(wait=wait, cancel_futures=True)
        assert [call.cancelled() for call in calls] == [False] * 2 + [True] * 4
        if wait:
            assert calls[0].done() and calls[1].done()
        assert [call.result(HANG_S) for call in calls[:2]] == [0, 1]
        assert futures.wait(calls, HANG_S).not_done == set()

    def test_cancel_futures_of_a_map(self, serve_beside: Any, gate: threading.Event) -> None:
        server = serve_beside(then=once(gate, run()))
        executor = executor_on(server, max_workers=1)
        results = executor.map(tasks.square, range(100), chunksize=1)
        server.wait_for(1)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        executor.shutdown()
        taken = []
        with pytest.raises(futures.CancelledError):
            for result in results:
                taken.append(result)
        assert taken == [i * i for i in range(server.complete)]
        assert 0 < server.complete < 100

    def test_the_with_block_waits(self) -> None:
        with lambdamap.LambdaExecutor(backend="local") as executor:
            call = executor.submit(tasks.sleep, 0.2)
        assert call.done()
        with pytest.raises(KeyError), lambdamap.LambdaExecutor(backend="local") as executor:
            call = executor.submit(tasks.sleep, 0.2)
            raise KeyError
        assert call.result(0) == 0.2

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_the_with_block_aborts(self, serve_beside: Any, kind: type[BaseException]) -> None:
        started = time.monotonic()
        server = serve_beside(then=hold())
        with pytest.raises(kind), executor_on(server, max_workers=2) as executor:
            calls = [executor.submit(tasks.square, i) for i in range(5)]
            server.wait_for(2)
            results = executor.map(tasks.square, range(5))
            raise kind
        assert futures.wait(calls, HANG_S).not_done == set()
        assert [call.cancelled() for call in calls] == [False] * 2 + [True] * 3
        with pytest.raises(futures.CancelledError, match="may"):
            calls[0].result()
        with pytest.raises(futures.CancelledError):
            list(results)
        assert time.monotonic() - started < HANG_S

    def test_dropped_without_shutdown(self, serve_beside: Any, gate: threading.Event) -> None:
        executor = executor_on(serve_beside(then=once(gate, run())))
        call = executor.submit(tasks.square, 3)
        before = [t for t in threading.enumerate() if t.name == "lambdamap-executor"]
        gone = weakref.ref(executor)
        del executor
        gc.collect()
        assert gone() is None
        gate.set()
        assert call.result(HANG_S) == 9
        for thread in before:
            thread.join(HANG_S)
            assert not thread.is_alive()


class TestFutures:
    def test_cancel(self, serve_beside: Any, gate: threading.Event) -> None:
        server = serve_beside(then=once(gate, run()))
        with executor_on(server, max_workers=1) as executor:
            running = executor.submit(tasks.square, 1)
            until(running.running)
            waiting = executor.submit(tasks.square, 2)
            assert not running.cancel()
            assert waiting.cancel()
            assert waiting.cancelled() and waiting.done() and not waiting.running()
            with pytest.raises(futures.CancelledError):
                waiting.result()
            gate.set()
            assert running.result(HANG_S) == 1
            assert not running.cancel()
        assert server.complete == 1

    def test_result_and_exception_with_timeout(
        self, serve_beside: Any, gate: threading.Event
    ) -> None:
        with executor_on(serve_beside(then=once(gate, run()))) as executor:
            call = executor.submit(tasks.fail_at_seven, 7)
            with pytest.raises(futures.TimeoutError):
                call.result(0.05)
            with pytest.raises(futures.TimeoutError):
                call.exception(timeout=0.05)
            gate.set()
            with pytest.raises(ValueError, match="seven"):
                call.result(HANG_S)
            assert executor.submit(tasks.square, 2).exception(HANG_S) is None

    def test_callbacks(
        self, serve_beside: Any, gate: threading.Event, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[Any] = []

        def bad(_: object) -> None:
            raise ValueError("in a callback")

        with executor_on(serve_beside(then=once(gate, run()))) as executor:
            call = executor.submit(tasks.square, 3)
            call.add_done_callback(lambda done: seen.append((1, done.result())))
            call.add_done_callback(bad)
            call.add_done_callback(lambda _: seen.append((2, os.getpid())))
            call.add_done_callback(lambda _: seen.append(executor.submit(tasks.square, 4)))
            gate.set()
            until(lambda: len(seen) == 3)
            assert seen[:2] == [(1, 9), (2, os.getpid())]
            assert seen[2].result(HANG_S) == 16
            call.add_done_callback(lambda done: seen.append(done))
            assert seen[-1] is call
        assert "exception calling callback" in caplog.text

    def test_a_callback_that_exits(self, serve_beside: Any, gate: threading.Event) -> None:
        with executor_on(serve_beside(then=once(gate, run()))) as executor:
            executor.submit(tasks.square, 3).add_done_callback(lambda _: sys.exit(3))
            gate.set()
            assert executor.submit(tasks.square, 4).result(HANG_S) == 16

    def test_a_callback_that_exits_of_a_call_that_cannot_start(self, serve_beside: Any) -> None:
        gate = threading.Event()
        missing = scripted.aws_error(404, "ResourceNotFoundException", "Function not found")
        with executor_on(serve_beside(then=once(gate, missing)), max_workers=1) as executor:
            calls = [executor.submit(tasks.square, i) for i in range(3)]
            for call in calls:
                call.add_done_callback(lambda _: sys.exit(3))
            gate.set()
            for call in calls:
                assert isinstance(call.exception(HANG_S), lambdamap.FunctionNotFoundError)
            assert executor._pump._thread is not None
            assert executor._pump._thread.is_alive()

    def test_wait_and_as_completed(self, serve_beside: Any, gate: threading.Event) -> None:
        def slow_first(connection: Connection, request: Request) -> None:
            step: Step = once(gate, run()) if request.envelope["chunk"] == 0 else run()
            step(connection, request)

        with executor_on(serve_beside(then=slow_first)) as executor:
            calls = [executor.submit(tasks.fail_at_seven, i) for i in (1, 2, 7)]
            done, waiting = futures.wait(calls, HANG_S, futures.FIRST_COMPLETED)
            assert done and calls[0] in waiting
            done, waiting = futures.wait(calls, HANG_S, futures.FIRST_EXCEPTION)
            assert calls[2] in done and calls[0] in waiting
            assert futures.wait(calls[1:], HANG_S).not_done == set()
            order = []
            with pytest.raises(futures.TimeoutError):
                for call in futures.as_completed(calls, 0.1):
                    order.append(call)
            assert set(order) == set(calls[1:])
            gate.set()
            assert futures.wait(calls).not_done == set()
            assert set(futures.as_completed(calls)) == set(calls)

    def test_results_and_errors_pickle(self) -> None:
        with lambdamap.LambdaExecutor(backend="inline") as executor:
            error = executor.submit(tasks.fail_with_a_lock, 1).exception()
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, lambdamap.RemoteError) and isinstance(again, ValueError)
        assert again.args == error.args  # type: ignore[union-attr]
        assert vars(again) == vars(error)


class TestReading:
    """A result that cannot be read is its own call's error, a public one, and no other call's."""

    @pytest.mark.parametrize("function", [tasks.unreadable, tasks.leaving])
    def test_a_result_that_cannot_be_read(self, function: Any) -> None:
        with lambdamap.LambdaExecutor(2, backend="local") as executor:

            async def awaited() -> Any:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(executor, function, 3)

            def mapped() -> Any:
                return list(lambdamap.map(function, [3], backend="local"))

            with futures.ThreadPoolExecutor(1) as thread:
                for read in (
                    executor.submit(function, 3).result,
                    executor.submit_batch([(function, (3,), {})] * 2).result,
                    lambda: list(executor.map(function, [3])),
                    lambda: asyncio.run(awaited()),
                    thread.submit(mapped).result,
                ):
                    with pytest.raises(lambdamap.DecodeError, match="chunk") as caught:
                        read()
                    assert (caught.value.ran, list(caught.value.indices)[1:]) == ("RAN", [])
                    assert caught.value.request_id
                    cause = caught.value.__cause__
                    assert isinstance(
                        cause, SystemExit if function is tasks.leaving else ValueError
                    )
                    assert executor.submit(tasks.square, 3).result(HANG_S) == 9

    def test_in_the_main_thread_an_exit_is_an_exit(self) -> None:
        """It may be that of a signal's handler."""
        with pytest.raises(SystemExit):
            list(lambdamap.map(tasks.leaving, [3], backend="local"))

    def test_errors_keep_no_private_ones(self) -> None:
        from lambdamap import _codec

        generator = (x for x in ())
        with lambdamap.LambdaExecutor(2, backend="local") as executor:
            for call in (
                executor.submit(tasks.unreadable, 1),
                executor.submit(tasks.unsendable, 2),
                executor.submit(tasks.identity, generator),
                executor.submit_batch([(tasks.identity, (generator,), {})]),
                executor.submit_batch([(tasks.add, (generator,), {}), (len, ("",), {})]),
            ):
                error: BaseException | None = call.exception(HANG_S)
                assert isinstance(error, lambdamap.LambdaMapError)
                while error is not None:
                    assert not isinstance(error, _codec.CodecError)
                    error = error.__cause__

    @pytest.mark.parametrize("backend", ["inline", "local"])
    def test_a_call_that_is_interrupted_there(self, backend: str) -> None:
        with lambdamap.LambdaExecutor(backend=backend) as executor:
            for function in (tasks.interrupt, tasks.leave, tasks.stop):
                with pytest.raises(lambdamap.RemoteError):
                    executor.submit(function, 1).result(HANG_S)
                if backend == "local":  # inline a map begins in this thread, where it is a Ctrl-C
                    with pytest.raises(lambdamap.RemoteError):
                        list(executor.map(function, [1]))
            assert executor.submit(tasks.square, 3).result(HANG_S) == 9

    def test_what_cannot_be_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Closed:
            def write(self, _: str) -> None:
                raise BrokenPipeError

        with lambdamap.LambdaExecutor(backend="local", logs=True) as executor:
            monkeypatch.setattr(sys, "stdout", Closed())
            call = executor.submit(tasks.say, 1)
            error = call.exception(HANG_S)
            monkeypatch.undo()
            assert isinstance(error, BrokenPipeError)
            assert executor.submit(tasks.square, 3).result(HANG_S) == 9

    def test_credentials_that_exit(self, serve_beside: Any) -> None:
        class Keys:
            access_key, secret_key, token = scripted.ACCESS_KEY, scripted.SECRET_KEY, None
            _expiry_time = None

            def get_frozen_credentials(self) -> Any:
                if threading.current_thread() is not threading.main_thread():
                    sys.exit(3)
                return self

        expired = scripted.aws_error(403, "ExpiredTokenException", "The security token is expired")
        with executor_on(serve_beside(then=expired), credentials=Keys()) as executor:
            for _ in range(2):
                assert isinstance(executor.submit(tasks.square, 1).exception(HANG_S), SystemExit)

    def test_credentials_that_fail_while_another_call_runs(self, serve_beside: Any) -> None:
        """That one may have run, which the error of the credentials does not say."""

        class Keys:
            access_key, secret_key, token = scripted.ACCESS_KEY, scripted.SECRET_KEY, None
            _expiry_time = None

            def get_frozen_credentials(self) -> Any:
                if threading.current_thread() is not threading.main_thread():
                    raise OSError("no metadata service")
                return self

        expired = scripted.aws_error(403, "ExpiredTokenException", "The security token is expired")
        server = serve_beside([hold(), expired])
        with executor_on(server, credentials=Keys()) as executor:
            sent = executor.submit(tasks.square, 1)
            server.wait_for(1)
            refused = executor.submit(tasks.square, 2).exception(HANG_S)
            error = sent.exception(HANG_S)
        assert isinstance(refused, OSError)
        assert isinstance(error, futures.CancelledError)
        assert "may" in str(error)
        assert error.__cause__ is refused


def test_a_retry_is_logged_as_a_maps_is(
    serve_beside: Any, caplog: pytest.LogCaptureFixture
) -> None:
    unwell = scripted.aws_error(500, "ServiceException", "try again")
    with (
        caplog.at_level(logging.WARNING, "lambdamap"),
        executor_on(serve_beside([unwell], run())) as executor,
    ):
        assert executor.submit(tasks.square, 3).result(HANG_S) == 9
    assert [vars(record)["event"] for record in caplog.records] == ["retry"]


def test_a_future_that_somebody_else_has_set_is_not_called(
    serve_beside: Any, gate: threading.Event
) -> None:
    with executor_on(serve_beside(then=once(gate, run())), max_workers=1) as executor:
        first, second, third = (executor.submit(tasks.square, i) for i in range(3))
        until(first.running)
        second.set_result(-1)
        gate.set()
        assert first.result(HANG_S) == 0
        assert third.result(HANG_S) == 4
        assert second.result() == -1


def test_a_call_that_was_interrupted_as_it_was_encoded_is_not_the_next_one() -> None:
    with lambdamap.LambdaExecutor(backend="local") as executor:
        assert executor.submit(tasks.square, 2).result(HANG_S) == 4
        for line in range(1, 20):  # of encode
            before = sys.gettrace()
            try:
                sys.settrace(_interrupt_encoding(line))
                executor.submit(tasks.square, 3)
            except KeyboardInterrupt:
                interrupted = True  # the caller has no future
            else:
                interrupted = False
            finally:
                sys.settrace(before)
            assert executor.submit(tasks.square, 4).result(HANG_S) == 16
            if not interrupted:
                break
        assert not interrupted
        assert line > 3


def _interrupt_encoding(at: int) -> Any:
    """A trace function: a Ctrl-C when the line `at` is about to be run, counted from the call on."""
    lines = 0

    def within(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        if lines == at:
            raise KeyboardInterrupt
        return within

    def found(frame: Any, event: str, _: Any) -> Any:
        return within if frame.f_code is Lane.encode.__code__ else None

    return found


class _CallsAgain:
    """Where it is encoded, the same function is called."""

    def __init__(self, executor: lambdamap.LambdaExecutor) -> None:
        self.executor = executor

    def __reduce__(self) -> Any:
        inner = self.executor.submit(tasks.identity, 5).result(HANG_S)
        return (int, (inner,))


def test_code_of_the_users_that_encodes_an_argument_may_call() -> None:
    with lambdamap.LambdaExecutor(backend="inline") as executor:
        assert executor.submit(tasks.identity, _CallsAgain(executor)).result(HANG_S) == 5


def test_an_executor_may_be_collected_while_its_lock_is_held() -> None:
    """By whatever thread needs memory just then, the one that holds the lock among them."""

    class Owner:
        pass

    def collect() -> None:
        with pump.lock:
            gc.collect()

    owner: Any = Owner()
    owner.itself, owner.executor = owner, lambdamap.LambdaExecutor(backend="inline")
    assert owner.executor.submit(tasks.square, 2).result(HANG_S) == 4
    pump = owner.executor._pump
    del owner
    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive()
    pump.join(HANG_S)
    assert not pump._thread.is_alive()


def test_a_call_is_never_idle_between_waiting_and_started() -> None:
    """A function's calls are forgotten when they are idle and many other functions are called."""
    seen = []

    class Watched(futures.Future[Any]):
        def set_running_or_notify_cancel(self) -> bool:
            seen.append(calls.idle)
            return super().set_running_or_notify_cancel()

    calls = Calls(threading.Lock())
    calls.items.extend((Watched(), b"") for _ in range(2))
    calls.items[0][0].cancel()
    assert calls.room(0, 1) == 1
    assert seen == [False, False]
    assert list(calls.started) == [0]


def test_an_executor_underneath_that_refuses_one_call() -> None:
    class Odd(futures.ThreadPoolExecutor):
        refused = False

        def submit(self, *args: Any, **kwargs: Any) -> futures.Future[Any]:
            if not self.refused:
                self.refused = True
                raise TypeError("not this one")
            return super().submit(*args, **kwargs)

    with Odd(1) as odd, lambdamap.LambdaExecutor(backend=odd) as executor:
        with pytest.raises(TypeError, match="not this one"):
            executor.submit(tasks.square, 2).result(HANG_S)
        assert executor.submit(tasks.square, 3).result(HANG_S) == 9


def test_run_in_executor() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        with lambdamap.LambdaExecutor(backend="local") as executor:
            calls = [loop.run_in_executor(executor, tasks.add, i, 1) for i in range(20)]
            with pytest.raises(ValueError, match="seven"):
                await loop.run_in_executor(executor, tasks.fail_at_seven, 7)
            return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(1, 21))


def test_max_workers_holds_for_all_functions_and_maps_together(
    serve_beside: Callable[..., Server],
) -> None:
    """Calls of different functions and a map are maps of their own underneath; they share the bound."""
    lock, now, most = threading.Lock(), [0], [0]

    def count(connection: Connection, request: Request) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        connection.wait(0.01)
        with lock:
            now[0] -= 1
        run()(connection, request)

    with executor_on(serve_beside(then=count), max_concurrency=2) as executor:
        calls = [executor.submit(tasks.square, i) for i in range(10)]
        calls += [executor.submit(tasks.identity, i) for i in range(10)]
        mapped = executor.map(tasks.add, range(10), chunksize=1)
        assert [call.result(HANG_S) for call in calls] == [i * i for i in range(10)] + [*range(10)]
        assert list(mapped) == [*range(10)]
    assert most[0] == 2
