"""The sandboxes of a local Lambda and the invocations that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from typing import TYPE_CHECKING

from lambdamap.local.processes import LOG_BYTES, Lifeline, Sandbox, Settings, Surroundings

if TYPE_CHECKING:
    from lambdamap.local.http import Request
    from lambdamap.local.invocation import Invocation

__all__ = ["Pool"]

_START_ATTEMPTS = 3  # in a row, while no invocation waits
_INIT_S = 60.0  # for a sandbox to ask for its first invocation
_REAP_S = 5.0  # for a killed process to end
_MEMORY_S = 0.05  # between two measurements
_BRIEF_S = 0.01  # invocations below this are not measured: they cannot have used much


class Pool:
    """Keeps the sandboxes alive, and gives each one invocation at a time, in order of arrival.

    For the server's event loop.
    """

    def __init__(self, settings: Settings, lifeline: Lifeline, stats: dict[str, int]) -> None:
        self.settings = settings
        self.stats = stats
        self.by_token: dict[str, Sandbox] = {}
        self._lifeline = lifeline
        self._surroundings = Surroundings()
        self._variables = settings.variables()
        self._limit = None if settings.memory_mb is None else settings.memory_mb << 20  # bytes
        self._watch: asyncio.TimerHandle | None = None
        self._measurements = 0
        self._idle: list[Sandbox] = []  # parked, in the order of their last invocations
        self._queue: deque[Invocation] = deque()
        self._dying: set[Sandbox] = set()  # killed, not yet reaped
        self._failed_starts = 0  # in a row
        self.start_failure: str | None = None  # why the last start failed, if none succeeded since
        self._stopping = False

    def start(self) -> None:
        for _ in range(self.settings.sandboxes):
            self._start_sandbox()

    def stop(self) -> None:
        """Kill and reap all processes. Blocks until they have ended."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        sandboxes = [*self.by_token.values(), *self._dying]
        for sandbox in sandboxes:
            sandbox.kill()
        for sandbox in sandboxes:
            with contextlib.suppress(Exception):
                sandbox.process.wait(_REAP_S)
            sandbox.close()
        self.by_token.clear()
        self._dying.clear()
        self._queue.clear()

    @property
    def load(self) -> int:
        """Number of invocations that run or wait."""
        return sum(sandbox.busy for sandbox in self.by_token.values()) + len(self._queue)

    # --- invocations ----------------------------------------------------------------------------

    def submit(self, invocation: Invocation) -> None:
        """Run an invocation as soon as a sandbox is free, and answer its request."""
        self._queue.append(invocation)
        self._pump()
        if self._queue and len(self.by_token) < self.settings.sandboxes:
            self._start_sandbox()  # an earlier start has failed

    def withdraw(self, invocation: Invocation) -> None:
        """Cancel an invocation whose caller has disconnected.

        If it is running already, its reply is discarded, or its sandbox is ended, depending on
        `Settings.stop_abandoned`.
        """
        invocation.answered = True
        invocation.take_body()
        with contextlib.suppress(ValueError):
            self._queue.remove(invocation)
        if self.settings.stop_abandoned:
            for sandbox in list(self.by_token.values()):
                if sandbox.invocation is invocation:
                    sandbox.invocation = None
                    self._replace(sandbox)

    def _pump(self) -> None:
        while self._queue and self._idle:
            self._hand_over(self._idle.pop(), self._queue.popleft())

    def _hand_over(self, sandbox: Sandbox, invocation: Invocation) -> None:
        assert sandbox.parked is not None
        request, sandbox.parked = sandbox.parked, None
        request.on_gone = None
        sandbox.invocation = invocation
        invocation.is_first, sandbox.is_new = sandbox.is_new, False
        sandbox.is_logged = invocation.is_shown
        sandbox.log.clear()
        timeout_s = self.settings.timeout_s
        loop = asyncio.get_running_loop()
        invocation.started = loop.time()
        self._watch_memory()
        sandbox.timer = loop.call_later(timeout_s, self._timed_out, sandbox)
        self.stats["invocations"] += 1
        request.reply(
            200,
            invocation.take_body(),
            [
                ("Lambda-Runtime-Aws-Request-Id", invocation.id),
                ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + timeout_s) * 1000))),
                ("Lambda-Runtime-Invoked-Function-Arn", self.settings.arn),
                *invocation.headers,
            ],
        )

    def _answer(
        self, sandbox: Sandbox | None, invocation: Invocation, body: bytes, error: bool
    ) -> None:
        invocation.take_body()
        if invocation.answered or invocation.request is None:
            return
        invocation.answered = True
        headers = [("x-amzn-RequestId", invocation.id), ("X-Amz-Executed-Version", "$LATEST")]
        if error:
            headers.append(("X-Amz-Function-Error", "Unhandled"))
        if invocation.wants_log and sandbox is not None:
            headers.append(("X-Amz-Log-Result", self._log_of(sandbox, invocation)))
        self.stats["bytes_out"] += len(body)
        invocation.request.reply(200, body, headers)

    def _log_of(self, sandbox: Sandbox, invocation: Invocation) -> str:
        import base64

        from lambdamap.local.report import with_lines

        sandbox.read_log()
        seconds = asyncio.get_running_loop().time() - invocation.started
        memory_mb = self._variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        init_s, used = sandbox.init_s if invocation.is_first else 0.0, sandbox.memory.peak()
        log = with_lines(
            bytes(sandbox.log), invocation.id, seconds, init_s, memory_mb, used, LOG_BYTES
        )
        return base64.b64encode(log).decode()

    def _fail(self, sandbox: Sandbox | None, invocation: Invocation, kind: str, text: str) -> None:
        body = {"errorType": kind, "errorMessage": f"RequestId: {invocation.id} Error: {text}"}
        self._answer(sandbox, invocation, json.dumps(body).encode(), True)

    # --- requests of a sandbox ------------------------------------------------------------------

    def next(self, sandbox: Sandbox, request: Request) -> None:
        """Give a sandbox its next invocation, when there is one."""
        if not sandbox.ready:
            sandbox.ready = True
            sandbox.init_s = asyncio.get_running_loop().time() - sandbox.started
        self._failed_starts = 0
        self.start_failure = None
        invocation, sandbox.invocation = sandbox.invocation, None
        sandbox.stop_timer()
        if invocation is not None:
            text = "the runtime asked for the next invocation without replying to this one"
            self._fail(sandbox, invocation, "Runtime.ExitError", text)
        if sandbox.stale:
            self._replace(sandbox)
            return
        sandbox.parked = request
        request.on_gone = lambda: self._unpark(sandbox)
        if sandbox not in self._idle:
            self._idle.append(sandbox)
        self._pump()

    def _unpark(self, sandbox: Sandbox) -> None:
        sandbox.parked = None
        with contextlib.suppress(ValueError):
            self._idle.remove(sandbox)

    def done(self, sandbox: Sandbox, id_: str, body: bytes, error: bool) -> None:
        """Take a sandbox's reply; one to another than its current invocation is ignored."""
        invocation = sandbox.invocation
        if invocation is None or invocation.id != id_:
            return
        brief = asyncio.get_running_loop().time() - invocation.started < _BRIEF_S
        if self._limit is not None and not brief and sandbox.memory.exceeded(self._limit):
            self._out_of_memory(sandbox)  # the limit was exceeded between two measurements
            return
        if self.settings.log is not None:
            sandbox.read_log()  # its output is shown before its results
        sandbox.invocation = None
        sandbox.stop_timer()
        self._answer(sandbox, invocation, body, error)

    def too_large(self, sandbox: Sandbox, id_: str, limit: int) -> None:
        """Fail an invocation whose reply exceeds the limit."""
        if sandbox.invocation is None or sandbox.invocation.id != id_:
            return
        text = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
        invocation, sandbox.invocation = sandbox.invocation, None
        sandbox.stop_timer()
        self._fail(sandbox, invocation, "Function.ResponseSizeTooLarge", text)

    # --- processes ------------------------------------------------------------------------------

    def _start_sandbox(self) -> None:
        if self._stopping:
            return
        self.stats["cold_starts"] += 1
        try:
            sandbox = Sandbox(
                self.settings, self._surroundings, self._variables, self._lifeline, self._ended
            )
        except OSError as error:
            self._not_started(None, f"cannot start a sandbox: {error}")
            return
        self.by_token[sandbox.token] = sandbox
        loop = asyncio.get_running_loop()
        sandbox.timer = loop.call_later(_INIT_S, self._init_timed_out, sandbox)
        self._watch_memory()

    def _init_timed_out(self, sandbox: Sandbox) -> None:
        sandbox.init_error = json.dumps(
            {
                "errorType": "Sandbox.Timedout",
                "errorMessage": f"the handler was not loaded within {_INIT_S:.0f} seconds",
            }
        ).encode()
        sandbox.kill()

    def _not_started(self, sandbox: Sandbox | None, text: str) -> None:
        """Note a failed start, and fail the invocation that has waited longest."""
        self._failed_starts += 1
        no_memory = sandbox is not None and sandbox.out_of_memory
        kind = "Runtime.OutOfMemory" if no_memory else "Runtime.ExitError"
        init_error = None if sandbox is None else sandbox.init_error
        self.start_failure = f"{kind}: {text}" if init_error is None else _shown(init_error)
        if self._queue:
            invocation = self._queue.popleft()
            if init_error is None:
                self._fail(sandbox, invocation, kind, text)
            else:
                self._answer(sandbox, invocation, init_error, True)
        if self._queue or self._failed_starts < _START_ATTEMPTS:
            # Not at once, so that each failed start can fail another waiting invocation.
            asyncio.get_running_loop().call_soon(self._top_up)

    def _top_up(self) -> None:
        if len(self.by_token) < self.settings.sandboxes:
            self._start_sandbox()

    def _remove(self, sandbox: Sandbox) -> bool:
        """Stop using a sandbox; return False if that was done before."""
        if self.by_token.pop(sandbox.token, None) is None:
            return False
        self._unpark(sandbox)
        sandbox.stop_timer()
        return True

    def _replace(self, sandbox: Sandbox) -> None:
        """End a sandbox that has no invocation, and start another."""
        if self._remove(sandbox):
            self._dying.add(sandbox)
            sandbox.kill()
            self._start_sandbox()

    def _ended(self, sandbox: Sandbox) -> None:
        self._dying.discard(sandbox)
        if not self._remove(sandbox):
            return
        if not sandbox.ready:
            self._not_started(sandbox, sandbox.end_of())
            return
        invocation, sandbox.invocation = sandbox.invocation, None
        if invocation is not None:
            self.stats["crashes"] += 1
            self._fail(sandbox, invocation, "Runtime.ExitError", sandbox.end_of())
        self._start_sandbox()

    def _timed_out(self, sandbox: Sandbox) -> None:
        invocation, sandbox.invocation = sandbox.invocation, None
        if invocation is None:
            return
        self.stats["timeouts"] += 1
        sandbox.read_unsent()
        text = f"Task timed out after {self.settings.timeout_s:.2f} seconds"
        self._fail(sandbox, invocation, "Sandbox.Timedout", text)
        self._replace(sandbox)

    # --- memory ---------------------------------------------------------------------------------

    def _watch_memory(self) -> None:
        """Measure memory regularly, while there is a limit and a sandbox is busy."""
        if self._limit is not None and self._watch is None and not self._stopping:
            self._watch = asyncio.get_running_loop().call_later(_MEMORY_S, self._measure_memory)

    def _measure_memory(self) -> None:
        assert self._limit is not None
        self._watch = None
        self._measurements += 1
        working = False
        for sandbox in list(self.by_token.values()):
            if not sandbox.busy and sandbox.ready:
                continue
            working = True
            if sandbox.memory.exceeds(self._limit, with_children=self._measurements % 4 == 0):
                self._out_of_memory(sandbox)
        if working:
            self._watch_memory()

    def _out_of_memory(self, sandbox: Sandbox) -> None:
        """End a sandbox above the memory limit, as Lambda does."""
        sandbox.out_of_memory = True
        invocation, sandbox.invocation = sandbox.invocation, None
        if invocation is None:
            sandbox.kill()  # while it was loading the handler
            return
        self.stats["crashes"] += 1
        sandbox.read_unsent()
        self._fail(sandbox, invocation, "Runtime.OutOfMemory", sandbox.end_of())
        self._replace(sandbox)

    # --- for the caller -------------------------------------------------------------------------

    def kill_busy(self) -> int | None:
        """Kill a busy sandbox and return its process id, or None if there is none."""
        for sandbox in self.by_token.values():
            if sandbox.busy:
                sandbox.kill()
                return sandbox.process.pid
        return None

    def refresh(self) -> int:
        """Replace sandboxes with outdated code or surroundings, and return how many.

        Idle ones are replaced at once, busy ones after their invocation.
        """
        now = Surroundings()
        moved = now.differ(self._surroundings)
        old = [
            sandbox
            for sandbox in self.by_token.values()
            if not sandbox.stale and (moved or sandbox.is_outdated())
        ]
        if old or moved:
            self._surroundings = now
            self._variables = self.settings.variables()
        for sandbox in old:
            sandbox.stale = True
            if not sandbox.busy:
                self._replace(sandbox)
        return len(old)

    def ready(self) -> int:
        return sum(sandbox.ready for sandbox in self.by_token.values())

    def pids(self) -> list[int]:
        return [sandbox.process.pid for sandbox in self.by_token.values()]


def _shown(body: bytes) -> str:
    """Return the type and the message of an error that a sandbox has sent."""
    try:
        error = json.loads(body)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, TypeError, LookupError):
        return body.decode("utf-8", "replace")
