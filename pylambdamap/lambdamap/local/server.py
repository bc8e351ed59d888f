"""The local Lambda: the Invoke API in front of warm sandbox processes.

It behaves as AWS does for a caller: one invocation at a time per sandbox, limits for requests and
replies, the function's timeout, crashes, function errors, the tail of the log, throttling on demand,
and signatures. Bodies are passed on as bytes. All of it runs on one thread with its own event loop,
so that it works beside a running loop of the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Literal, TypeVar

from lambdamap.local.front import ACCOUNT, Front
from lambdamap.local.listener import Complaints, Listener
from lambdamap.local.pool import Pool
from lambdamap.local.processes import Lifeline, Settings
from lambdamap.local.signature import Verifier

__all__ = ["LocalLambda", "shared"]

_MEMORY_MB = 1769  # gives a function one core on Lambda
# How many threads numerical libraries start. Most of them fall back to the first variable.
_FOLLOWED = "OMP_NUM_THREADS"
_FOLLOWING = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_UNFOLLOWING = ("VECLIB_MAXIMUM_THREADS",)
_CALL_S = 30.0  # timeout for calls into the loop from other threads

Kind = Literal["builtin", "awslambdaric"]
T = TypeVar("T")


class LocalLambda:
    """A Lambda function that runs on this machine, behind the Invoke API.

    Parameters
    ----------
    sandboxes : int, optional
        Processes that each serve one invocation at a time; further requests wait. Default: the
        number of cores.
    kind : {"builtin", "awslambdaric"}
        What runs the handler: lambdamap's own loop, or AWS's runtime client (an extra package, for
        Linux only).
    handler : str
        Dotted path of the handler; default: lambdamap's worker.
    function_name : str, optional
        The only function name that exists. Default: any name invokes the handler.
    timeout_s : float
        Timeout in seconds of an invocation, whose sandbox is then killed.
    memory_mb : int, optional
        Memory limit in MB of an invocation and the processes that it starts. Above it the
        invocation fails as on Lambda, with Runtime.OutOfMemory (on Linux). None: no limit.
    concurrency_limit : int, optional
        Answer 429 to requests above this number, running or waiting. Default: they wait.
    auth : bool
        Refuse requests that are not signed with `access_key` and `secret_key`.
    port : int
        Port on 127.0.0.1; 0: any free port.
    environment : mapping, optional
        Additional environment variables for the sandboxes.
    self_invocation : bool
        Give the sandboxes this endpoint and the key pair, as AWS does for a function: a map in the
        handler then runs on this function. Needs at least two sandboxes.
    stop_abandoned : bool
        End a sandbox whose caller has disconnected. AWS lets it run on; the local Lambda of a
        process ends it, because the next map needs the cores.
    log : callable, optional
        Called with the output of the sandboxes (bytes), on the server's thread.

    Attributes
    ----------
    access_key, secret_key : str
        The key pair for signing requests, new for each object.
    stats : dict
        Counts since the start: invocations, cold_starts, timeouts, crashes, throttles, bytes_in and
        bytes_out (of bodies).

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
        memory_mb: int | None = _MEMORY_MB,
        concurrency_limit: int | None = None,
        auth: bool = True,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        self_invocation: bool = False,
        stop_abandoned: bool = False,
        log: Callable[[bytes], object] | None = None,
    ) -> None:
        if kind not in ("builtin", "awslambdaric"):
            raise ValueError(f"kind must be 'builtin' or 'awslambdaric', got {kind!r}")
        least = 2 if self_invocation else 1
        if sandboxes is not None and sandboxes < least:
            raise ValueError(f"sandboxes must be at least {least}, got {sandboxes}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, got {timeout_s}")
        if memory_mb is not None and not memory_mb > 0:
            raise ValueError(f"memory_mb must be above 0, got {memory_mb}")
        self.sandboxes = sandboxes or max(least, _cores())
        self.kind = kind
        self.handler = handler
        self.function_name = function_name
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.concurrency_limit = concurrency_limit
        self.stop_abandoned = stop_abandoned
        self.auth = auth
        # As hard to guess as the secret: the only proof in headers without the hash of the body.
        self.access_key = "AKLOCAL" + secrets.token_hex(16).upper()
        self.secret_key = secrets.token_urlsafe(30)
        names = "invocations cold_starts timeouts crashes throttles bytes_in bytes_out"
        self.stats: dict[str, int] = dict.fromkeys(names.split(), 0)
        self._port = port
        self._environment = dict(environment or {})
        self._self_invocation = self_invocation
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listeners: list[Listener] = []  # for callers; for sandboxes
        self._lifeline: Lifeline | None = None
        self._pool: Pool | None = None
        self._front: Front | None = None
        self._failure: BaseException | None = None

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> LocalLambda:
        """Listen and start the sandboxes. Returns when requests are accepted.

        Raises
        ------
        OSError
            The port is in use.
        ModuleNotFoundError
            `kind` is "awslambdaric", and that package is not installed.
        """
        if self.running:
            return self
        if self.kind == "awslambdaric":
            import importlib.util

            if importlib.util.find_spec("awslambdaric") is None:
                raise ModuleNotFoundError(
                    "local='awslambdaric' needs AWS's runtime client: pip install awslambdaric"
                )
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
        _alive.add(self)
        return self

    def stop(self) -> None:
        """Stop the sandboxes and the server. Idempotent."""
        thread, loop = self._thread, self._loop
        self._thread = None
        _alive.discard(self)
        if thread is None or loop is None or not thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(self._shut_down)
        thread.join(_CALL_S)

    def __enter__(self) -> LocalLambda:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether requests are accepted."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def port(self) -> int:
        return self._port

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _run(self, started: Future[None]) -> None:
        loop = asyncio.SelectorEventLoop()  # regardless of the caller's event loop policy
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
            for listener in self._listeners:
                loop.run_until_complete(listener.close())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _listen(self) -> None:
        complaints = Complaints()
        asyncio.get_running_loop().set_exception_handler(complaints.of_loop)
        try:
            callers = Listener(self._port, complaints, share=8)
            self._listeners = [callers]
            # A separate port: callers and strangers cannot keep sandboxes from connecting.
            sandboxes = Listener(0, complaints, share=32)
            self._listeners.append(sandboxes)
            self._port = callers.port
            self._serve(callers, sandboxes)
        except BaseException:
            for listener in self._listeners:
                await listener.close()
            raise

    def _serve(self, callers: Listener, sandboxes: Listener) -> None:
        self._lifeline = Lifeline()
        name = self.function_name or "local"
        settings = Settings(
            sandboxes=self.sandboxes,
            kind=self.kind,
            handler=self.handler,
            timeout_s=self.timeout_s,
            arn=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}",
            api=f"127.0.0.1:{sandboxes.port}",
            stop_abandoned=self.stop_abandoned,
            memory_mb=self.memory_mb,
            variables=functools.partial(self._variables, name),
            log=self._log,
        )
        self._pool = Pool(settings, self._lifeline, self.stats)
        verifier = Verifier(self.access_key, self.secret_key) if self.auth else None
        self._front = Front(self._pool, verifier, self.function_name, self.concurrency_limit)
        sandboxes.start(self._front.judge_sandbox)
        callers.start(self._front.judge_caller)
        self._pool.start()

    def _variables(self, name: str) -> dict[str, str]:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        own = {
            "AWS_ENDPOINT_URL_LAMBDA": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": "",  # not the caller's, which belongs to other keys
        }
        threads = str(max(1, _cores() // self.sandboxes))
        return {
            **dict.fromkeys(_thread_counts({*os.environ, *self._environment}), threads),
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb or _MEMORY_MB),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python%d.%d" % sys.version_info[:2],
            "_HANDLER": self.handler,
            # It runs its caller's code: everything is allowed, unless the caller sets a limit.
            "LAMBDAMAP_ALLOW": os.environ.get("LAMBDAMAP_ALLOW", "*"),
            "LAMBDAMAP_BY_VALUE": os.environ.get("LAMBDAMAP_BY_VALUE", "1"),
            **(own if self._self_invocation else {}),
            **self._environment,
        }

    def _shut_down(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            listener.stop()
        if self._pool is not None:
            self._pool.stop()
        if self._lifeline is not None:
            self._lifeline.close()
        loop.stop()

    def _detach(self) -> None:
        """In the child of a fork, give up the parent's sockets and lifeline.

        Otherwise its callers and sandboxes would not notice its end. Descriptors are replaced, not
        closed, because their owner objects still exist.
        """
        self._thread = None
        fds = [fd for listener in self._listeners for fd in listener.filenos()]
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.dup2(nothing, fd, inheritable=False)
        os.close(nothing)
        if self._lifeline is not None:
            self._lifeline.close()

    # --- for tests, demos and the caller ---------------------------------------------------------

    def _on_loop(self, function: Callable[[Pool], T]) -> T:
        """Call a function on the loop's thread and return its result."""

        async def call() -> T:
            assert self._pool is not None
            return function(self._pool)

        if self._loop is None or not self.running:
            raise RuntimeError("this LocalLambda is not running: call start()")
        coroutine: Coroutine[Any, Any, T] = call()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)

    def kill_sandbox(self) -> int | None:
        """Kill a sandbox that is running an invocation; return its process id, or None."""
        return self._on_loop(Pool.kill_busy)

    def throttle(self, seconds: float) -> None:
        """Answer every invocation with 429 for this time."""
        if self._front is not None:
            self._front.throttled_until = time.monotonic() + seconds

    def refresh_code(self) -> int:
        """Replace sandboxes that run outdated code, and return how many.

        These are sandboxes whose source files have changed since they were loaded, or which were
        started with another environment, sys.path or working directory of the caller. An idle
        sandbox is replaced at once, a busy one after its invocation.
        """
        return self._on_loop(Pool.refresh)

    def ready(self) -> int:
        """Return how many sandboxes have loaded the handler."""
        return self._on_loop(Pool.ready)

    def start_failure(self) -> str | None:
        """Return why the last start of a sandbox failed, or None if one has succeeded since."""
        return self._on_loop(lambda pool: pool.start_failure)

    def pids(self) -> list[int]:
        """Return the process ids of the sandboxes."""
        return self._on_loop(Pool.pids)


def _thread_counts(known: Collection[str]) -> list[str]:
    """Return the unset environment variables that limit the threads of numerical libraries."""
    if _FOLLOWED in known:
        return [name for name in _UNFOLLOWING if name not in known]
    return [name for name in (_FOLLOWED, *_FOLLOWING, *_UNFOLLOWING) if name not in known]


def _show(data: bytes) -> None:
    """Print the output of sandboxes."""
    with contextlib.suppress(Exception):  # the stream may be closed, or gone
        sys.stdout.write(data.decode("utf-8", "replace"))
        sys.stdout.flush()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- the process's own -------------------------------------------------------------------------

_alive: weakref.WeakSet[LocalLambda] = weakref.WeakSet()
_shared: dict[tuple[Kind, int | None], LocalLambda] = {}
_shared_lock = threading.Lock()


def shared(kind: Kind = "builtin", memory_mb: int | None = None) -> LocalLambda:
    """Return the LocalLambda of this process, of this kind and memory limit.

    It is started at its first use and stopped with the process. The output of its sandboxes is
    printed.
    """
    import atexit

    with _shared_lock:
        running = _shared.get((kind, memory_mb))
        if running is None or not running.running:
            running = LocalLambda(kind=kind, stop_abandoned=True, memory_mb=memory_mb, log=_show)
            running.start()
            atexit.register(running.stop)
            _shared[kind, memory_mb] = running
        return running


def _forget() -> None:
    """In the child of a fork, forget the parent's."""
    global _shared_lock
    for function in list(_alive):
        function._detach()
    _alive.clear()
    _shared.clear()
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
