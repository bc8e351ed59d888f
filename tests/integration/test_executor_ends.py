"""How an executor ends: with its program, at a Ctrl-C, in a fork's child, without its thread, and with the invocation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options, executor_on, notes, until
from lambdamap.worker import deadline
from scripted import Server, hold

HANG_S = 30


def script(body: str) -> subprocess.Popen[str]:
    text = f"import sys; sys.path[:0] = {sys.path!r}\n" + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_program_does_not_exit_before_pending_futures_are_done(tmp_path: Path) -> None:
    process = script(
        """
        import lambdamap, tasks
        executor = lambdamap.LambdaExecutor(1, backend="local")
        for i in range(3):
            executor.submit(tasks.wait_for_file, PATH).add_done_callback(lambda f: print(f.result()))
        results = executor.map(tasks.square, [5])
        executor.shutdown(wait=False)
        print("end of the script")
        open(PATH, "w").close()
        """.replace("PATH", repr(str(tmp_path / "end")))
    )
    out, err = process.communicate(timeout=HANG_S)
    assert out.splitlines() == ["end of the script", "True", "True", "True"], err
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_ends_the_program() -> None:
    import signal

    with Server(then=hold()) as server:
        options = api_options(server)
        del options["chunksize"], options["progress"]
        process = script(
            f"""
            import lambdamap, tasks
            with lambdamap.LambdaExecutor(**{options!r}) as executor:
                calls = [executor.submit(tasks.square, i) for i in range(3)]
                calls[0].result()
            """
        )
        server.wait_for(3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=HANG_S)
    assert "KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_says_what_runs_on(serve_beside: Any) -> None:
    server = serve_beside(then=hold())
    with pytest.raises(KeyboardInterrupt) as caught, executor_on(server, max_workers=2) as executor:
        calls = [executor.submit(tasks.square, i) for i in range(5)]
        server.wait_for(2)
        raise KeyboardInterrupt
    assert futures.wait(calls, HANG_S).not_done == set()
    said = "\n".join(notes(caught.value))
    assert "calls cancelled; 2 started invocations run to completion on" in said
    with pytest.raises(KeyboardInterrupt) as caught, executor_on(server) as executor:
        results = executor.map(tasks.square, range(3), chunksize=1)
        server.wait_for(5)
        raise KeyboardInterrupt
    with pytest.raises(futures.CancelledError):
        next(results)
    said = "\n".join(notes(caught.value))
    assert "3 started invocations run to completion on" in said


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("end", ["shutdown", "cancel", "abort", "drop"])
def test_the_end_of_an_executor_in_a_child_of_fork(end: str) -> None:
    """Another thread of the parent's may have held the lock at the fork; in the child none lets go."""
    executor = lambdamap.LambdaExecutor(backend="inline")
    assert executor.submit(tasks.square, 3).result() == 9
    with executor._pump.lock:
        child = os.fork()
        if child == 0:
            signal.alarm(HANG_S)
            if end == "drop":
                del executor
            elif end == "abort":
                executor.abort()
            else:
                executor.shutdown(cancel_futures=end == "cancel")
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert executor.submit(tasks.square, 4).result() == 16
    executor.shutdown()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_fork() -> None:
    with lambdamap.LambdaExecutor(backend="local") as executor:
        assert executor.submit(tasks.square, 3).result() == 9
        child = os.fork()
        if child == 0:
            try:
                executor.submit(tasks.square, 3)
            except RuntimeError as error:
                os._exit(0 if "fork" in str(error) else 2)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert executor.submit(tasks.square, 4).result() == 16


def test_a_thread_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is refused, and does not run when a later one finds a thread."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with lambdamap.LambdaExecutor(backend="inline") as executor:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="can't start"):
                executor.submit(Path.touch, tmp_path / "touched")
        assert executor.submit(tasks.square, 3).result(HANG_S) == 9
    assert not (tmp_path / "touched").exists()


def test_ctrl_c_while_the_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with (
        pytest.raises(KeyboardInterrupt),
        lambdamap.LambdaExecutor(backend="inline") as executor,
    ):
        executor.submit(tasks.square, 1)


def test_a_thread_that_breaks_leaves_nobody_waiting(
    serve_beside: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lambdamap.calls import pump

    executor = executor_on(serve_beside(then=hold()), max_workers=1)
    calls = [executor.submit(tasks.square, i) for i in range(3)]
    until(calls[0].running)
    results = executor.map(tasks.square, range(5))

    def fail(*_: object) -> None:
        raise OSError("no descriptors")

    monkeypatch.setattr(pump.Pump, "_wait", fail)
    executor._pump.wake()
    for call in calls:
        with pytest.raises(RuntimeError, match="OSError"):
            call.result(HANG_S)
    with pytest.raises(RuntimeError, match="OSError"):
        next(results)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(tasks.square, 1)
    assert "thread failed" in caplog.text


class _Invocation:
    """Lambda's context object, of an invocation that has so many seconds left."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self._ends - time.monotonic()))


def test_one_made_in_an_invocation_serves_the_next() -> None:
    """Such as a global that a handler makes when it is first needed."""
    with deadline.until(_Invocation(2.0)):
        executor = lambdamap.LambdaExecutor(backend="inline")
        assert executor.submit(tasks.square, 2).result(HANG_S) == 4
    time.sleep(2.0)
    with executor:
        assert executor.submit(tasks.square, 3).result(HANG_S) == 9
        assert list(executor.map(tasks.square, [4], buffersize=1)) == [16]


@pytest.mark.parametrize("where", ["lambda", "threads"])
def test_calls_end_with_the_invocation_that_they_are_made_in(
    where: str, serve_beside: Any, gate: threading.Event
) -> None:
    if where == "lambda":
        executor = executor_on(serve_beside(then=hold()))
    else:
        threads = futures.ThreadPoolExecutor(2)
        for _ in range(2):
            threads.submit(gate.wait)
        executor = lambdamap.LambdaExecutor(backend=threads)
    with executor, deadline.until(_Invocation(1.0)):
        called = executor.submit(tasks.square, 2)
        mapped = executor.map(tasks.square, [3])
        for late in (lambda: called.result(HANG_S), lambda: next(mapped)):
            with pytest.raises(lambdamap.DeadlineError):
                late()
