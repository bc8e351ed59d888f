"""A Lambda on this machine: the Invoke API in front of warm sandbox processes.

It keeps the rules that a caller meets on AWS: one invocation at a time in a sandbox, request and
reply limits, the function's timeout, crashes, function errors, the log's tail, 429 when asked for,
and signatures. Bodies are handed through as bytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import re
import secrets
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote

from lambdamap.local.http import Connection, Request
from lambdamap.local.processes import Lifeline, Sandbox
from lambdamap.local.signature import BadSignatureError, check

__all__ = ["Invocation", "LocalLambda", "shared"]

MAX_REQUEST_BYTES = 6_291_456
MAX_REPLY_BYTES = 6_291_556
_ACCOUNT = "000000000000"
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_RUNTIME = re.compile(r"/([\w-]{20,})/2018-06-01/runtime/(.*)")
_INVOCATION = re.compile(r"invocation/([0-9a-f-]{36})/(response|error)")
_START_ATTEMPTS = 3

Kind = Literal["builtin", "awslambdaric"]
T = TypeVar("T")


class Invocation:
    """One request for the function, from its arrival to its answer."""

    __slots__ = ("answered", "body", "id", "request", "wants_log")

    def __init__(self, request: Request | None, body: bytes, wants_log: bool) -> None:
        self.id = str(uuid.uuid4())
        self.request = request  # None: an Event, whose caller has its answer already
        self.body = body
        self.wants_log = wants_log
        self.answered = False


def _message(text: str) -> bytes:
    return json.dumps({"Type": "User", "message": text}).encode()


class LocalLambda:
    """A Lambda on this machine.

    Parameters
    ----------
    sandboxes : int, optional
        Processes that serve invocations, one at a time each; default: the cores of this machine.
        More requests wait.
    kind : {"builtin", "awslambdaric"}
        What runs the handler: our own loop, or AWS's runtime client (an extra package, Linux only).
    handler : str
        Dotted path of the handler; default: lambdamap's worker.
    function_name : str, optional
        The one name that exists; None: any name invokes the handler.
    timeout_s : float
        The function's timeout, from hand-over to a sandbox; then its process is killed.
    memory_mb : int
        What the context says; not enforced.
    concurrency_limit : int, optional
        Requests beyond so many, running or waiting, are answered 429; None: they wait.
    auth : bool
        Refuse requests that are not signed with `access_key` and `secret_key`.
    port : int
        Port on 127.0.0.1; 0: any free one.
    environment : mapping, optional
        Further variables for the sandboxes.

    Examples
    --------
    >>> with LocalLambda(sandboxes=1) as function:  # doctest: +SKIP
    ...     print(function.endpoint_url)
    """

    def __init__(
        self,
        *,
        sandboxes: int | None = None,
        kind: Kind = "builtin",
        handler: str = "lambdamap.worker.entry.handler",
        function_name: str | None = None,
        timeout_s: float = 900.0,
        memory_mb: int = 1769,
        concurrency_limit: int | None = None,
        auth: bool = True,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if kind not in ("builtin", "awslambdaric"):
            raise ValueError(f"kind must be 'builtin' or 'awslambdaric', not {kind!r}")
        if sandboxes is not None and sandboxes < 1:
            raise ValueError(f"sandboxes must be at least 1, not {sandboxes}")
        self.sandboxes = sandboxes or _cores()
        self.kind = kind
        self.handler = handler
        self.function_name = function_name
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.concurrency_limit = concurrency_limit
        self.auth = auth
        self.access_key = "AKLOCAL" + secrets.token_hex(6).upper()
        self.secret_key = secrets.token_urlsafe(30)
        self.stats = dict.fromkeys(
            (
                "invocations",
                "cold_starts",
                "timeouts",
                "crashes",
                "throttles",
                "bytes_in",
                "bytes_out",
            ),
            0,
        )
        self._port = port
        self._environment = dict(environment or {})
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._lifeline: Lifeline | None = None
        self._by_token: dict[str, Sandbox] = {}
        self._connections: set[Connection] = set()
        self._queue: deque[Invocation] = deque()
        self._throttled_until = 0.0
        self._failed_starts = 0
        self._stopping = False

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> LocalLambda:
        """Listen, and start the sandboxes; returns when requests are accepted.

        Raises
        ------
        OSError
            The port is taken.
        ModuleNotFoundError
            kind is "awslambdaric" and that package is not installed.
        """
        if self._thread is not None:
            return self
        if self.kind == "awslambdaric":
            import importlib.util

            if importlib.util.find_spec("awslambdaric") is None:
                raise ModuleNotFoundError(
                    "local='awslambdaric' needs AWS's runtime client: pip install awslambdaric"
                )
        self._stopping = False
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="lambdamap-local", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self._thread = None
            raise
        return self

    def stop(self) -> None:
        """End the sandboxes and the server. Idempotent."""
        thread, loop = self._thread, self._loop
        self._thread = None
        if thread is None or loop is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(self._shut_down)
        thread.join(10)

    def __enter__(self) -> LocalLambda:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._port

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _run(self, started: Future[None]) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        try:
            loop.run_until_complete(self._listen())
        except BaseException as error:
            loop.close()
            started.set_exception(error)
            return
        started.set_result(None)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._serve, MAX_REQUEST_BYTES * 2, self._connections),
            "127.0.0.1",
            self._port,
            backlog=1024,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._lifeline = Lifeline()
        self._environment_now = self._sandbox_environment()
        for _ in range(self.sandboxes):
            self._start_sandbox()

    def _shut_down(self) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for sandbox in list(self._by_token.values()):
            sandbox.kill()
            sandbox.process.wait()
            sandbox.close()
        self._by_token.clear()
        if self._lifeline is not None:
            self._lifeline.close()
        for connection in list(self._connections):
            connection.drop()
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, loop.stop)  # behind the ends of the connections

    # --- for tests, demos and the caller ---------------------------------------------------------

    def _on_loop(self, function: Callable[[], T]) -> T:
        """Run a function on the loop's thread and return what it returns."""

        async def call() -> T:
            return function()

        loop = self._loop
        if loop is None or self._thread is None:
            raise RuntimeError("this LocalLambda is not running: call start()")
        coroutine: Coroutine[Any, Any, T] = call()
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    def kill_sandbox(self) -> int | None:
        """SIGKILL a sandbox that is at work; its process id, or None when none is."""

        def kill() -> int | None:
            for sandbox in self._by_token.values():
                if sandbox.busy:
                    sandbox.kill()
                    return sandbox.process.pid
            return None

        return self._on_loop(kill)

    def throttle(self, seconds: float) -> None:
        """Answer every invocation with 429 for so long."""
        self._throttled_until = time.monotonic() + seconds

    def refresh_code(self) -> int:
        """Replace the sandboxes that have loaded source files which have changed since.

        An idle one is replaced at once, one at work after its invocation. Returns how many.
        """

        def look() -> int:
            count = 0
            for sandbox in list(self._by_token.values()):
                if not sandbox.stale and sandbox.is_outdated():
                    sandbox.stale = True
                    count += 1
                    if not sandbox.busy:
                        self._retire(sandbox)
            return count

        return self._on_loop(look)

    def pids(self) -> list[int]:
        """Process ids of the sandboxes."""
        return self._on_loop(lambda: [s.process.pid for s in self._by_token.values()])

    # --- sandboxes -----------------------------------------------------------------------------

    def _sandbox_environment(self) -> dict[str, str]:
        paths = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
        name = self.function_name or "local"
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python%d.%d" % sys.version_info[:2],
            "LAMBDA_TASK_ROOT": os.getcwd(),
            "_HANDLER": self.handler,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "LAMBDAMAP_PATH": os.pathsep.join(paths),
            "LAMBDAMAP_ALLOW": "*",
            "LAMBDAMAP_BY_VALUE": "1",
        }
        own = dict(os.environ)
        own.setdefault("AWS_REGION", "us-east-1")
        own.setdefault("AWS_DEFAULT_REGION", own["AWS_REGION"])
        return {**own, **variables, **self._environment}

    def _start_sandbox(self) -> None:
        assert self._lifeline is not None
        sandbox = Sandbox(
            self.kind,
            self.handler,
            f"127.0.0.1:{self._port}",
            self._environment_now,
            self._lifeline,
            self._sandbox_ended,
        )
        self._by_token[sandbox.token] = sandbox
        self.stats["cold_starts"] += 1

    def _retire(self, sandbox: Sandbox) -> None:
        """Replace a sandbox that has no invocation."""
        self._by_token.pop(sandbox.token, None)
        sandbox.parked = None
        sandbox.kill()
        sandbox.process.wait()
        sandbox.close()
        self._start_sandbox()

    def _sandbox_ended(self, sandbox: Sandbox) -> None:
        if self._by_token.pop(sandbox.token, None) is None or self._stopping:
            return
        invocation, sandbox.invocation = sandbox.invocation, None
        if invocation is not None:
            self.stats["crashes"] += 1
        elif not sandbox.ready:
            # It cannot start. Whoever waits learns why instead of waiting for ever.
            self._failed_starts += 1
            if self._queue:
                invocation = self._queue.popleft()
        if invocation is not None:
            self._function_error(sandbox, invocation, "Runtime.ExitError", sandbox.end_of())
        if sandbox.ready or self._failed_starts <= _START_ATTEMPTS * self.sandboxes or self._queue:
            self._start_sandbox()

    def _timed_out(self, sandbox: Sandbox) -> None:
        invocation, sandbox.invocation = sandbox.invocation, None
        if invocation is None:
            return
        self.stats["timeouts"] += 1
        self._function_error(
            sandbox,
            invocation,
            "Sandbox.Timedout",
            f"Task timed out after {self.timeout_s:.2f} seconds",
        )
        self._retire(sandbox)

    def _pump(self) -> None:
        """Hand waiting invocations to waiting sandboxes."""
        for sandbox in list(self._by_token.values()):
            if not self._queue:
                return
            if sandbox.parked is not None:
                self._hand_over(sandbox, self._queue.popleft())

    def _hand_over(self, sandbox: Sandbox, invocation: Invocation) -> None:
        assert sandbox.parked is not None and self._loop is not None
        request, sandbox.parked = sandbox.parked, None
        sandbox.invocation = invocation
        sandbox.log.clear()
        sandbox.timer = self._loop.call_later(self.timeout_s, self._timed_out, sandbox)
        self.stats["invocations"] += 1
        name = self.function_name or "local"
        request.reply(
            200,
            invocation.body,
            [
                ("Lambda-Runtime-Aws-Request-Id", invocation.id),
                ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + self.timeout_s) * 1000))),
                (
                    "Lambda-Runtime-Invoked-Function-Arn",
                    f"arn:aws:lambda:us-east-1:{_ACCOUNT}:function:{name}",
                ),
            ],
        )
        invocation.body = b""

    # --- requests ------------------------------------------------------------------------------

    def _serve(self, request: Request) -> None:
        path = unquote(request.target.partition("?")[0])
        invoke = _INVOKE.fullmatch(path)
        if invoke is not None:
            self._invoke(request, invoke[1])
            return
        runtime = _RUNTIME.fullmatch(path)
        sandbox = self._by_token.get(runtime[1]) if runtime is not None else None
        if runtime is None or sandbox is None:
            request.reply(404, _message("no such operation"))
            return
        self._runtime_api(sandbox, request, runtime[2])

    def _runtime_api(self, sandbox: Sandbox, request: Request, operation: str) -> None:
        if operation == "invocation/next":
            sandbox.ready = True
            self._failed_starts = 0
            if sandbox.stale:
                self._retire(sandbox)
                return
            sandbox.parked = request
            request.on_gone = functools.partial(self._unpark, sandbox)
            self._pump()
        elif operation == "lambdamap/sources":
            with contextlib.suppress(ValueError, TypeError):
                sandbox.sources = {k: (v[0], v[1]) for k, v in json.loads(request.body).items()}
            request.reply(202)
        elif operation == "init/error":
            request.reply(202)
            if self._queue:
                self._answer(sandbox, self._queue.popleft(), request.body, "Unhandled")
        elif (found := _INVOCATION.fullmatch(operation)) is not None:
            invocation = sandbox.invocation
            request.reply(202)
            if invocation is None or invocation.id != found[1]:
                return
            sandbox.invocation = None
            if sandbox.timer is not None:
                sandbox.timer.cancel()
            if found[2] == "error":
                self._answer(sandbox, invocation, request.body, "Unhandled")
            elif len(request.body) > MAX_REPLY_BYTES:
                self._function_error(
                    sandbox,
                    invocation,
                    "Function.ResponseSizeTooLarge",
                    "Response payload size exceeded maximum allowed payload size "
                    f"({MAX_REPLY_BYTES} bytes).",
                )
            else:
                self._answer(sandbox, invocation, request.body)
        else:
            request.reply(404)

    def _unpark(self, sandbox: Sandbox) -> None:
        sandbox.parked = None

    def _function_error(
        self, sandbox: Sandbox, invocation: Invocation, kind: str, text: str
    ) -> None:
        body = {"errorType": kind, "errorMessage": f"RequestId: {invocation.id} Error: {text}"}
        self._answer(sandbox, invocation, json.dumps(body).encode(), "Unhandled")

    def _answer(
        self, sandbox: Sandbox, invocation: Invocation, body: bytes, error: str | None = None
    ) -> None:
        if invocation.answered or invocation.request is None:
            return
        invocation.answered = True
        headers = [("x-amzn-RequestId", invocation.id), ("X-Amz-Executed-Version", "$LATEST")]
        if error is not None:
            headers.append(("X-Amz-Function-Error", error))
        if invocation.wants_log:
            sandbox._read_log()
            tail = base64.b64encode(bytes(sandbox.log)).decode()
            headers.append(("X-Amz-Log-Result", tail))
        self.stats["bytes_out"] += len(body)
        invocation.request.reply(200, body, headers)

    def _invoke(self, request: Request, name: str) -> None:
        def refuse(status: int, kind: str, body: bytes) -> None:
            request.reply(status, body, [("x-amzn-ErrorType", kind), ("x-amzn-RequestId", id_)])

        id_ = str(uuid.uuid4())
        headers = request.headers
        if request.method != "POST":
            refuse(405, "MethodNotAllowedException", _message("use POST"))
            return
        if "origin" in headers:
            refuse(403, "AccessDeniedException", _message("browsers may not invoke this"))
            return
        if self.auth:
            try:
                check(
                    request.method,
                    request.target,
                    headers,
                    request.body,
                    access_key=self.access_key,
                    secret_key=self.secret_key,
                )
            except BadSignatureError as error:
                refuse(403, error.args[0], _message(error.args[1]))
                return
        if len(request.body) > MAX_REQUEST_BYTES:
            refuse(
                413,
                "RequestTooLargeException",
                _message(f"Request must be smaller than {MAX_REQUEST_BYTES} bytes"),
            )
            return
        if (problem := self._name_problem(request, name)) is not None:
            refuse(*problem)
            return
        self.stats["bytes_in"] += len(request.body)
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        if kind == "DryRun":
            request.reply(204, b"", [("x-amzn-RequestId", id_)])
            return
        if kind not in ("RequestResponse", "Event"):
            text = f"unknown invocation type {kind!r}"
            refuse(400, "InvalidParameterValueException", _message(text))
            return
        if self._is_throttled():
            self.stats["throttles"] += 1
            reason = {
                "Reason": "ConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": "Rate Exceeded.",
            }
            refuse(429, "TooManyRequestsException", json.dumps(reason).encode())
            return
        wants_log = headers.get("x-amz-log-type") == "Tail"
        is_event = kind == "Event"
        invocation = Invocation(None if is_event else request, request.body, wants_log)
        request.body = b""
        if is_event:
            request.reply(202, b"", [("x-amzn-RequestId", invocation.id)])
        else:
            request.on_gone = functools.partial(self._caller_gone, invocation)
        self._queue.append(invocation)
        self._pump()

    def _name_problem(self, request: Request, name: str) -> tuple[int, str, bytes] | None:
        query = parse_qs(request.target.partition("?")[2])
        arn = re.fullmatch(r"(?:arn:[^:]*:lambda:[^:]*:)?(?:\d{12}:function:)?(.*)", name)
        plain, _, qualifier = (arn[1] if arn else name).partition(":")
        qualifier = query.get("Qualifier", [qualifier])[0]
        if self.function_name is not None and plain != self.function_name:
            text = f"Function not found: arn:aws:lambda:us-east-1:{_ACCOUNT}:function:{name}"
            return 404, "ResourceNotFoundException", _message(text)
        if qualifier not in ("", "$LATEST"):
            text = f"Function not found: {plain}:{qualifier}: a local function has only $LATEST"
            return 404, "ResourceNotFoundException", _message(text)
        return None

    def _is_throttled(self) -> bool:
        if time.monotonic() < self._throttled_until:
            return True
        if self.concurrency_limit is None:
            return False
        running = sum(sandbox.busy for sandbox in self._by_token.values())
        return running + len(self._queue) >= self.concurrency_limit

    def _caller_gone(self, invocation: Invocation) -> None:
        """Nobody waits: what has not started does not start."""
        invocation.answered = True
        with contextlib.suppress(ValueError):
            self._queue.remove(invocation)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- the process's own -------------------------------------------------------------------------

_shared: dict[Kind, LocalLambda] = {}
_shared_lock = threading.Lock()


def shared(kind: Kind = "builtin") -> LocalLambda:
    """The one LocalLambda of this process, started at its first use and stopped with it."""
    import atexit

    with _shared_lock:
        running = _shared.get(kind)
        if running is None:
            running = LocalLambda(kind=kind)
            running.start()
            atexit.register(running.stop)
            _shared[kind] = running
        return running


def _forget() -> None:
    """In the child of a fork: the parent's is not ours."""
    global _shared_lock
    _shared.clear()
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
