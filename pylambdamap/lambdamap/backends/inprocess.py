"""Chunks that run in this process or in a `concurrent.futures.Executor`, through the worker's code.

Data goes through the same encoding as on its way to Lambda, so what would fail there fails here.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from concurrent.futures import Executor, Future
from typing import Any

from lambdamap import _codec

__all__ = ["InProcessMap", "PlainCompletion", "run_event"]


def run_event(event: dict[str, Any], interruptible: bool = False) -> dict[str, Any]:
    """What the executor calls: the worker, trusting its own caller.

    interruptible: Ctrl-C in f is the caller's, not an error of f's.
    """
    from lambdamap.worker.call import run_request

    return run_request(event, None, trusted=True, interruptible=interruptible)


class PlainCompletion:
    """The attributes of `lambdamap._net.Completion`, out of a reply."""

    __slots__ = (
        "attempts", "body", "bytes_received", "bytes_sent", "done", "error", "executed_version",
        "failure", "first_item", "frame", "message", "n_items", "ok", "output", "ran", "request",
        "request_id", "split", "stale_code", "status", "stops_map", "throttles", "worker_us",
    )  # fmt: skip

    def __init__(self, first_item: int, n_items: int, request: bytes) -> None:
        self.first_item = first_item
        self.n_items = n_items
        self.request = request
        self.attempts, self.throttles, self.status = 1, 0, 200
        self.failure, self.ran, self.message = "", "RAN", ""
        self.stops_map = self.split = False
        self.request_id = self.executed_version = self.stale_code = None
        self.frame: Any = None
        self.body: bytes | None = None
        self.error: bytes | None = None
        self.output: bytes | None = None
        self.done, self.worker_us = 0, 0
        self.bytes_sent, self.bytes_received = len(request), 0
        self.ok = False

    def fill(self, reply: dict[str, Any]) -> None:
        head = reply["lambdamap"]
        self.done = head.get("done", 0)
        self.worker_us = head.get("us", 0)
        self.error = json.dumps(reply["error"]).encode() if "error" in reply else None
        self.output = json.dumps(reply["out"]).encode() if "out" in reply else None
        self.frame = reply.get("r")
        self.bytes_received = len(self.frame or "")
        self.ok = self.error is None and self.done == self.n_items

    def fail(self, failure: str, ran: str, message: str) -> None:
        self.failure, self.ran, self.message = failure, ran, message

    def request_frame(self) -> bytes:
        return self.request


class InProcessMap:
    """`lambdamap._net.Map`'s methods on an executor; None runs each chunk when it is submitted."""

    def __init__(self, executor: Executor | None, head: dict[str, Any]) -> None:
        self._executor = executor
        self._head = head
        self._done: deque[PlainCompletion] = deque()
        self._changed = threading.Condition()
        self._running: dict[Future[dict[str, Any]], PlainCompletion] = {}
        self._cancelled = False
        self._counts = dict.fromkeys(
            ("requests", "retries", "throttles", "bytes_sent", "bytes_received", "connections"), 0
        )
        self.outstanding = 0

    @property
    def stats(self) -> dict[str, int]:
        return {**self._counts, "in_flight": self.outstanding}

    def submit(self, frame: bytes, first_item: int, n_items: int, /) -> bool:
        completion = PlainCompletion(first_item, n_items, frame)
        self.outstanding += 1
        if self._cancelled:
            completion.fail("cancelled", "NOT", "the map has been cancelled")
            self._finish(completion)
            return True
        value = _codec.decode(frame, allow_pickle=True)
        text = _codec.encode_text(value, allow_pickle=True, compression=False)
        event = {
            "lambdamap": {**self._head, "chunk": first_item, "items": n_items, "attempt": 1},
            "p": text,
        }
        self._counts["requests"] += 1
        self._counts["bytes_sent"] += len(text)
        if self._executor is None:
            completion.fill(run_event(event, interruptible=True))
            self._finish(completion)
            return True
        future: Future[dict[str, Any]] = self._executor.submit(run_event, event)
        with self._changed:
            self._running[future] = completion
        future.add_done_callback(self._on_done)
        return True

    def _on_done(self, future: Future[dict[str, Any]]) -> None:
        with self._changed:
            completion = self._running.pop(future)
        if future.cancelled():
            completion.fail("cancelled", "NOT", "the map has been cancelled")
        elif (error := future.exception()) is not None:
            completion.fail("worker_crashed", "MAYBE", f"{type(error).__name__}: {error}")
        else:
            completion.fill(future.result())
        self._finish(completion)

    def _finish(self, completion: PlainCompletion) -> None:
        with self._changed:
            self._counts["bytes_received"] += completion.bytes_received
            self._done.append(completion)
            self._changed.notify_all()

    def take(self) -> PlainCompletion | None:
        with self._changed:
            if not self._done:
                return None
            self.outstanding -= 1
            return self._done.popleft()

    def wait(self, timeout_s: float, /) -> bool:
        with self._changed:
            return bool(self._done) or self._changed.wait_for(lambda: bool(self._done), timeout_s)

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            running = list(self._running)
        for future in running:
            future.cancel()

    def quiesce(self, timeout_s: float, /) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)
