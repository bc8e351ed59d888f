"""Runs joblib's tasks on Lambda; ``import lambdamap.integrations.joblib`` registers the backend.

>>> import joblib
>>> import lambdamap.integrations.joblib
>>> with joblib.parallel_config(backend="lambdamap", n_jobs=2):
...     joblib.Parallel()(joblib.delayed(abs)(x) for x in [-1, 2, -3])
[1, 2, 3]
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import joblib
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from lambdamap import options
from lambdamap.calls.executor import LambdaExecutor
from lambdamap.errors import ConfigError
from lambdamap.flight.open import invocations_at_once
from lambdamap.flight.stats import remember

__all__ = ["LambdaBackend", "register"]


_CALLBACKS_S = 10.0  # for joblib's callbacks to end, after an error


class LambdaBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # untyped
    """The backend of `joblib.Parallel` for ``backend="lambdamap"``.

    A batch of tasks is one invocation; joblib chooses batches that take 0.2 to 2 s. With
    ``on_error="return"`` or ``retries`` each task is an invocation of its own.

    Parameters
    ----------
    nesting_level
        As for any backend of joblib.
    **arguments
        Options, as for `lambdamap.LambdaExecutor`, and ``on_error``; pass them to
        `joblib.parallel_config`.

    Raises
    ------
    ConfigError
        Unknown option, or invalid value.
    """

    supports_retrieve_callback = True  # needed for timeout= and return_as="generator"
    supports_inner_max_num_threads = False
    supports_sharedmem = False
    uses_threads = False
    default_n_jobs = -1

    def __init__(self, nesting_level: int | None = None, **arguments: Any) -> None:
        options.check_place("joblib", arguments)
        if arguments.pop("inner_max_num_threads", None) is not None:
            raise ConfigError(
                "inner_max_num_threads is not supported: set OMP_NUM_THREADS on the Lambda function"
            )
        super().__init__(nesting_level=nesting_level)
        resolved = options.resolve(**arguments)
        self._returns = arguments.pop("on_error", "raise") == "return"
        self._by_task = self._returns or resolved.retries > 0
        self._options = arguments
        self._executor: LambdaExecutor | None = None
        self._aborting = False
        self.parallel: Any = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many batches run at once; n_jobs=-1: as many as the function's window allows."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        at_once = invocations_at_once(options.resolve(**self._options))
        return max(1, at_once + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **_: Any,
    ) -> int:
        """Prepare for a `joblib.Parallel`, and return how many batches run at once."""
        del prefer, require
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self._executor = LambdaExecutor(**{"max_concurrency": n_jobs, **self._options})
        self.parallel = parallel
        return n_jobs

    def submit(
        self, func: Any, callback: Callable[[futures.Future[Any]], Any] | None = None
    ) -> futures.Future[Any]:
        """Submit a batch, whose `items` are triples of function, arguments and keyword arguments."""
        if self._executor is None:
            raise RuntimeError("this Parallel has ended: its generator was closed or deleted")
        if self._aborting:
            future: futures.Future[Any] = futures.Future()
            future.cancel()
            return future
        if self._by_task:
            parts = [self._executor.submit(f, *args, **kwargs) for f, args, kwargs in func.items]
            future = _gather(parts, self._returns)
        else:
            future = self._executor.submit_batch(func.items)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: futures.Future[Any]) -> Any:
        """Return the results of a batch, or raise the exception of the first task that failed."""
        return out.result()

    def terminate(self) -> None:
        """Clean up after a `joblib.Parallel`."""
        if self._executor is not None:
            remember(self._executor.stats)
            self._executor.shutdown(wait=False)
            self._executor = None
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """After an error or a timeout, close the connections of invocations in flight."""
        if self._executor is not None:
            self._aborting = True
            self._executor.abort(_CALLBACKS_S)  # waits for joblib's callbacks
            self._aborting = False
            self._executor.say_what_runs(sys.exc_info()[1])  # joblib is handling the exception
            remember(self._executor.stats)
            self._executor = None
        if ensure_ready and self.parallel is not None:
            # joblib (up to 1.6, with any backend) starts its next call with batches of this one.
            left = getattr(self.parallel, "_ready_batches", None)
            if left is not None:
                left.queue.clear()
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)


def _gather(parts: list[futures.Future[Any]], returns_errors: bool) -> futures.Future[list[Any]]:
    """Return a future of the results of others, with errors in their places, or of the first error."""
    whole: futures.Future[list[Any]] = futures.Future()
    lock = threading.Lock()
    left = len(parts)

    def ended(_: futures.Future[Any]) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        errors = [
            futures.CancelledError() if part.cancelled() else part.exception() for part in parts
        ]
        first = next((error for error in errors if error is not None), None)
        if first is not None and (not returns_errors or isinstance(first, futures.CancelledError)):
            whole.set_exception(first)
        else:
            whole.set_result(
                [
                    part.result() if error is None else error
                    for part, error in zip(parts, errors, strict=True)
                ]
            )

    for part in parts:
        part.add_done_callback(ended)
    return whole


def register() -> None:
    """Register ``backend="lambdamap"`` in joblib, as importing this module does."""
    joblib.register_parallel_backend("lambdamap", LambdaBackend)


register()
