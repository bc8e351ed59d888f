"""CPython's own tests of executors, of `wait` and of `as_completed`, run against LambdaExecutor.

Its classes are taken as they are. What is left out is in `NOT_HERE`, with the reason.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import tempfile
import unittest
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import cpython_suite
import lambdamap
from lambdamap.local import LocalLambda

HANG_S = 60

if cpython_suite.FOLDER is None:
    pytest.skip(cpython_suite.HOW, allow_module_level=True)

_THREADS = "looks at the threads or processes of the standard library's own executors"
_SHARED = "its calls share an object of this process: they run elsewhere"
_SCRIPT = "its script makes an executor of the standard library's; test_executor.py has it for ours"
_BROKEN = "a worker that dies breaks the pool there; here it ends one call, as the others check"

NOT_HERE = {
    # ExecutorShutdownTest
    "test_interpreter_shutdown": _SCRIPT,
    "test_submit_after_interpreter_shutdown": _SCRIPT,
    "test_hang_gh83386": _SCRIPT,
    "test_cancel_futures": "wants one of 50 calls to have begun as soon as all are submitted; "
    "test_executor_contract.py waits for that",
    "test_cancel_futures_wait_false": _SCRIPT,
    "test_threads_terminate": _THREADS,
    "test_context_manager_shutdown": _THREADS,
    "test_del_shutdown": _THREADS,
    "test_shutdown_no_wait": _THREADS,
    "test_thread_names_assigned": _THREADS,
    "test_thread_names_default": _THREADS,
    # ThreadPoolExecutorTest
    "test_map_submits_without_iteration": _SHARED + "; test_iterators.py has it by files",
    "test_default_workers": "the default is the function's concurrency, not the cores of this machine",
    "test_saturation": _SHARED,
    "test_idle_thread_reuse": _THREADS,
    "test_hang_global_shutdown_lock": "an executor does not travel to its own calls",
    "test_executor_map_current_future_cancel": _SHARED,
    # ThreadPoolWaitTests
    "test_pending_calls_race": _SHARED,
    # ExecutorDeadlockTest
    "test_shutdown_deadlock": _BROKEN,
    "test_shutdown_deadlock_pickle": _THREADS,
    "test_crash_big_data": _BROKEN,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": _THREADS,
}
# Not taken at all: FutureTests, of the standard library's Future alone; InitializerMixin and
# ProcessPoolExecutorTest, of initializers and of the processes of ProcessPoolExecutor.

_function: LocalLambda | None = None


@pytest.fixture(scope="module", autouse=True)
def _sandboxes() -> Iterator[None]:
    """As many as the tests have workers."""
    global _function
    with LocalLambda(sandboxes=5, environment={"LAMBDAMAP_ALLOW": "*:*"}) as _function:
        yield


def executor(max_workers: int | None = None, mp_context: object = None) -> Any:
    """What the tests call as an executor's class."""
    del mp_context
    assert _function is not None
    return lambdamap.LambdaExecutor(
        max_workers,
        "test",
        endpoint_url=_function.endpoint_url,
        region="us-east-1",
        credentials=(_function.access_key, _function.secret_key),
        allow_pickle=True,
    )


class OnLambda:
    """What the suite's mixins of one kind of executor each have."""

    worker_count = 5
    executor_type = staticmethod(executor)

    def setUp(self) -> None:
        self.executor = executor(self.worker_count)

    def tearDown(self) -> None:
        self.executor.shutdown()

    def get_context(self) -> None:
        """Of multiprocessing: there is none."""

    def create_event(self) -> SimpleNamespace:
        """One that calls in other processes can wait for, which the suite asks for from 3.13 on."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)  # type: ignore[attr-defined]
        path = f"{folder}/set"

        def wait() -> None:
            import os
            import time

            while not os.path.exists(path):
                time.sleep(0.01)

        return SimpleNamespace(wait=wait, set=Path(path).touch)

    def _check_crash(self, _: object, func: Any, *args: Any, ignore_stderr: bool = False) -> None:
        """The suite's, for exceptions that break a pool: the future ends, and nothing else does."""
        with executor(2) as made:
            error = made.submit(func, *args).exception(HANG_S)
            assert isinstance(error, Exception)
            assert not isinstance(error, futures.BrokenExecutor)
            assert made.submit(pow, 2, 8).result(HANG_S) == 256


def suite_of(name: str) -> ModuleType:
    """A file of the suite; before Python 3.12 it is all one."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module(f"cpython_suite.test_concurrent_futures.{name}")
    return importlib.import_module("cpython_suite.test_concurrent_futures")


def ours(file: str, *names: str) -> type:
    """A test case of the suite's classes of these names."""
    classes = tuple(getattr(suite_of(file), name) for name in names)
    left_out = dict.fromkeys(NOT_HERE)
    return type(f"{names[0]}OnLambda", (OnLambda, *classes, unittest.TestCase), left_out)


TestExecutor = ours("executor", "ExecutorTest")
TestShutdown = ours("test_shutdown", "ExecutorShutdownTest")
TestWait = ours("test_wait", "WaitTests")
TestAsCompleted = ours("test_as_completed", "AsCompletedTests")
TestDeadlock = ours("test_deadlock", "ExecutorDeadlockTest")


def test_what_is_left_out_is_there() -> None:
    """And enough is not."""
    kinds = (TestExecutor, TestShutdown, TestWait, TestAsCompleted, TestDeadlock)
    taken = {name for kind in kinds for name in unittest.TestLoader().getTestCaseNames(kind)}
    assert len(taken) >= 35
    assert not taken & set(NOT_HERE)
    assert {"test_free_reference", "test_map_exception", "test_no_timeout"} <= taken


def test_an_event_reaches_a_call() -> None:
    """That of `OnLambda`, also where this Python's suite does not ask for one."""
    case = TestWait()
    event = case.create_event()
    with executor(1) as made:
        future = made.submit(event.wait)
        assert futures.wait([future], 0.2).not_done == {future}
        event.set()
        assert future.result(HANG_S) is None
    case.doCleanups()
