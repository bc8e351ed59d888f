"""joblib's tasks on Lambda: ``import lambdamap.integrations.joblib`` registers the backend.

>>> import joblib
>>> import lambdamap.integrations.joblib
>>> with joblib.parallel_config(backend="lambdamap", n_jobs=2):
...     joblib.Parallel()(joblib.delayed(abs)(x) for x in [-1, 2, -3])
[1, 2, 3]
"""

from __future__ import annotations

import sys
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
from lambdamap.flight.launch import invocations_at_once

__all__ = ["LambdaBackend", "register"]


_CALLBACKS_S = 10.0


class LambdaBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # untyped
    """What `joblib.Parallel` uses for ``backend="lambdamap"``.

    A batch of tasks is one invocation; joblib makes its batches such that each takes 0.2 to 2 s.

    Parameters
    ----------
    nesting_level
        joblib's own.
    **arguments
        Options, as for `lambdamap.LambdaExecutor`. They are given to `joblib.parallel_config`.

    Raises
    ------
    ConfigError
        An unknown option or a value that cannot be.
    """

    supports_retrieve_callback = True  # with it timeout= and return_as="generator"
    supports_inner_max_num_threads = False
    supports_sharedmem = False
    uses_threads = False
    default_n_jobs = -1

    def __init__(self, nesting_level: int | None = None, **arguments: Any) -> None:
        if arguments.pop("inner_max_num_threads", None) is not None:
            raise ConfigError(
                "inner_max_num_threads has no meaning on Lambda: set OMP_NUM_THREADS there"
            )
        super().__init__(nesting_level=nesting_level)
        options.resolve(**arguments)
        self._options = arguments
        self._executor: LambdaExecutor | None = None
        self._aborting = False
        self.parallel: Any = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches run at once: -1 is as many as the function's window has."""
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
        """At the start of a `joblib.Parallel`."""
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
        """Start a batch, whose `items` are triples of a function and its arguments."""
        if self._executor is None:
            raise RuntimeError("this Parallel has ended: its generator was closed or dropped")
        if self._aborting:
            future: futures.Future[Any] = futures.Future()
            future.cancel()
            return future
        future = self._executor.submit_batch(func.items)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: futures.Future[Any]) -> Any:
        """The results of a batch, or the exception of the first of its tasks that failed."""
        return out.result()

    def terminate(self) -> None:
        """At the end of a `joblib.Parallel`."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """After an error or a timeout: close the connections of what is under way."""
        if self._executor is not None:
            self._aborting = True
            self._executor.abort(_CALLBACKS_S)  # joblib's callbacks have ended then
            self._aborting = False
            self._executor.say_what_runs(sys.exc_info()[1])  # joblib calls this as it handles it
            self._executor = None
        if ensure_ready and self.parallel is not None:
            # joblib (to 1.6, with every backend) begins its next call with batches left of this one.
            left = getattr(self.parallel, "_ready_batches", None)
            if left is not None:
                left.queue.clear()
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)


def register() -> None:
    """Make ``backend="lambdamap"`` known to joblib. Importing this module does it."""
    joblib.register_parallel_backend("lambdamap", LambdaBackend)


register()
