"""The backend that runs chunks in this process or in a `concurrent.futures.Executor`.

Items and results are encoded as for Lambda, and the worker's own code runs them, so that whatever
would fail on Lambda fails here as well.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections import deque
from concurrent.futures import BrokenExecutor, Executor, Future
from time import monotonic
from typing import Any

from lambdamap.backends.records import Records
from lambdamap.shipping import envelope

__all__ = ["InProcessCompletion", "InProcessMap", "run_event", "width_of"]


def width_of(executor: Executor | None) -> int:
    """Return the number of chunks that an executor runs at once; 1 for this process."""
    if executor is None:
        return 1
    workers = getattr(executor, "_max_workers", None)  # the standard library's, loky's, MPI's
    if isinstance(workers, int) and workers > 0:
        return workers
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)  # Dask's
    with contextlib.suppress(Exception):
        if callable(threads):
            return max(1, int(sum(threads().values())))
    return os.cpu_count() or 1


def run_event(event: dict[str, Any], interruptible: bool = False) -> dict[str, Any]:
    """Run a request in the worker and return the reply; the executor calls this.

    interruptible: a KeyboardInterrupt in f is the user's Ctrl-C, not an error of f.
    """
    from lambdamap.worker.call import run_request

    return run_request(event, None, trusted=True, interruptible=interruptible)


class InProcessCompletion:
    """One finished chunk: the attributes of `lambdamap._net.Completion` that engine and log use."""

    __slots__ = (
        "attempts", "body", "bytes_received", "bytes_sent", "done", "ended", "error", "failure",
        "first_item", "frame", "message", "n_items", "output", "queued", "ran", "request",
        "request_id", "seconds", "sent", "split", "stale_code", "status", "stops_map", "worker_us",
    )  # fmt: skip

    worst_ran = "NOT"  # there is no earlier attempt

    def __init__(self, first_item: int, n_items: int, request: bytes) -> None:
        self.first_item = first_item
        self.n_items = n_items
        self.request = request
        self.attempts, self.status = 1, 200
        self.failure, self.ran, self.message = "", "RAN", ""
        self.stops_map = self.split = False
        self.request_id = self.stale_code = None
        self.frame: Any = None
        self.body: bytes | None = None
        self.error: bytes | None = None
        self.output: bytes | None = None
        self.done, self.worker_us, self.seconds = 0, 0, 0.0
        self.queued = self.sent = self.ended = monotonic()  # for records
        self.bytes_sent, self.bytes_received = len(request), 0

    def fill(self, reply: object, head: dict[str, Any]) -> None:
        """Set the attributes from the worker's reply to a request with this head; fail if it is malformed."""
        try:
            said = envelope.read_reply(
                reply, head["map"], self.first_item, self.n_items, head.get("codec", "native")
            )
        except envelope.Malformed as wrong:
            self.fail("protocol", "RAN", str(wrong))
            return
        self.done, self.worker_us = said.done, said.us
        self.seconds = self.worker_us / 1e6
        self.error = None if said.error is None else json.dumps(said.error).encode()
        self.output = None if said.out is None else json.dumps(said.out).encode()
        self.frame = said.r
        self.bytes_received = len(self.frame or "")

    def fail(self, failure: str, ran: str, message: str) -> None:
        self.failure, self.ran, self.message = failure, ran, message

    def request_frame(self) -> bytes:
        return self.request


class InProcessMap:
    """The methods of `lambdamap._net.Map` on an executor; None: chunks run when they are submitted."""

    def __init__(
        self, executor: Executor | None, head: dict[str, Any], timeout_s: float | None = None
    ) -> None:
        self._executor = executor
        self._head = head
        self._deadline = None if timeout_s is None else monotonic() + timeout_s
        self._done: deque[InProcessCompletion] = deque()
        self._changed = threading.Condition()
        self._running: dict[Future[dict[str, Any]], InProcessCompletion] = {}
        self._cancelled = False
        self._pipe: tuple[int, int] | None = None  # created when an event loop needs it
        self._counts = dict.fromkeys(
            (
                "requests",
                "retries",
                "throttles",
                "bytes_sent",
                "bytes_received",
                "connections",
                "streams",
            ),
            0,
        )
        self._opened = monotonic()
        self._records = Records()
        self.outstanding = 0
        self.wants_credentials = False

    @property
    def stats(self) -> dict[str, int]:
        return {**self._counts, "in_flight": self.outstanding}

    @property
    def bill(self) -> None:
        return None

    @property
    def latency(self) -> None:
        return None

    def notes(self) -> list[dict[str, Any]]:
        return []

    def record(self, limit: int, /) -> None:
        self._records.start(limit)

    def records(self) -> tuple[bytes, int]:
        return self._records.copy()

    def submit(self, frame: bytes, first_item: int, n_items: int, /) -> bool:
        self.outstanding += 1
        try:
            self._start(InProcessCompletion(first_item, n_items, frame))
        except BaseException:
            self.outstanding -= 1
            raise
        return True

    def _start(self, completion: InProcessCompletion) -> None:
        frame = completion.request
        if self._cancelled or self._is_late():
            self._finish(completion, *self._why_not())
            return
        payload: Any
        if frame[:1] == b"{":
            size, payload = len(frame), json.loads(frame)
        else:
            payload = f"lm1:{base64.b64encode(frame).decode()}"  # a raw frame is one without flags
            size = len(payload)
        event = {
            "lambdamap": {
                **self._head,
                "chunk": completion.first_item,
                "items": completion.n_items,
                "attempt": 1,
            },
            "p": payload,
        }
        self._counts["requests"] += 1
        self._counts["bytes_sent"] += size
        if self._executor is None:
            # Signals arrive in the main thread only: elsewhere f itself raised the KeyboardInterrupt.
            signals = threading.current_thread() is threading.main_thread()
            completion.fill(run_event(event, interruptible=signals), self._head)
            self._finish(completion)
            return
        try:
            future: Future[dict[str, Any]] = self._executor.submit(run_event, event)
        except BrokenExecutor as error:
            self._finish(completion, "worker_crashed", "NOT", f"{type(error).__name__}: {error}")
            return
        except RuntimeError as error:
            completion.stops_map = True
            self._finish(completion, "config", "NOT", f"the executor does not accept work: {error}")
            return
        with self._changed:
            self._running[future] = completion
        future.add_done_callback(self._on_done)

    def _on_done(self, future: Future[dict[str, Any]]) -> None:
        with self._changed:
            completion = self._running.pop(future, None)
            self._changed.notify_all()
        if completion is None:  # completed by `_give_up`
            return
        if future.cancelled():
            self._finish(completion, *self._why_not())
        elif (error := future.exception()) is not None:
            text = f"{type(error).__name__}: {error}"
            self._finish(completion, "worker_crashed", "MAYBE", text)
        else:
            completion.fill(future.result(), self._head)
            self._finish(completion)

    def _why_not(self) -> tuple[str, str, str]:
        if self._is_late() and not self._cancelled:
            return "deadline", "NOT", "deadline exceeded before the chunk was started"
        return "cancelled", "NOT", "the map was cancelled"

    def _is_late(self) -> bool:
        return self._deadline is not None and monotonic() >= self._deadline

    def _finish(self, completion: InProcessCompletion, *failure: str) -> None:
        if failure:
            completion.fail(*failure)
        completion.ended = monotonic()
        with self._changed:
            self._counts["bytes_received"] += completion.bytes_received
            self._done.append(completion)
            if self._pipe is not None and len(self._done) == 1:
                os.write(self._pipe[1], b"1")
            self._changed.notify_all()

    def _give_up(self, failure: str, message: str) -> None:
        """Cancel waiting chunks and complete running ones as failed; their results will be ignored."""
        with self._changed:
            running = list(self._running.items())
        for future, completion in running:
            if not future.cancel():
                with self._changed:
                    if self._running.pop(future, None) is None:
                        continue
                self._finish(completion, failure, "MAYBE", message)

    def take(self) -> InProcessCompletion | None:
        if self._running and self._is_late():
            self._give_up("deadline", "deadline exceeded while waiting for a result")
        if not self._done:  # only this thread takes from it
            return None
        with self._changed:
            self.outstanding -= 1
            completion = self._done.popleft()
            if self._pipe is not None and not self._done:
                os.read(self._pipe[0], 1)
        self._records.add(
            completion.first_item,
            completion.n_items,
            completion.queued - self._opened,
            completion.sent - self._opened,
            completion.ended - self._opened,
            bool(completion.failure or completion.error),
        )
        return completion

    def wait(self, timeout_s: float, /) -> bool:
        if self._deadline is not None:
            timeout_s = min(timeout_s, max(0.0, self._deadline - monotonic()))
        with self._changed:
            if self._changed.wait_for(lambda: len(self._done) > 0, timeout_s):
                return True
        return self._is_late()

    def fileno(self) -> int:
        """Return a descriptor that is readable while completions wait."""
        with self._changed:
            if self._pipe is None:
                self._pipe = os.pipe()
                if self._done:
                    os.write(self._pipe[1], b"1")
            return self._pipe[0]

    def cancel(self) -> None:
        self._cancelled = True
        self._give_up("cancelled", "the map was cancelled")

    def quiesce(self, timeout_s: float, /) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)

    def __del__(self) -> None:
        if self._pipe is not None:
            for descriptor in self._pipe:
                os.close(descriptor)
