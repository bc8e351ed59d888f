"""A Lambda on this machine: the Invoke API in front of warm sandbox processes.

It keeps the rules that a caller meets on AWS: one invocation at a time in a sandbox, request and
reply limits, the function's timeout, crashes, function errors, the log's tail, 429 when asked for,
and signatures. Bodies are handed through as bytes. Everything runs on one thread with an event loop
of its own, so that it works beside a caller's running loop.
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

_MEMORY_MB = 1769  # of a function that has one core on Lambda
# How many threads numerical libraries start. Most follow the first where their own is not set.
_FOLLOWED = "OMP_NUM_THREADS"
_FOLLOWING = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_UNFOLLOWING = ("VECLIB_MAXIMUM_THREADS",)
_CALL_S = 30.0  # for the loop to do what another thread asks of it

Kind = Literal["builtin", "awslambdaric"]
T = TypeVar("T")


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
    memory_mb : int, optional
        What an invocation may take with all that it starts; beyond it ends as on Lambda, with
        Runtime.OutOfMemory (on Linux). None: no limit.
    concurrency_limit : int, optional
        Requests beyond so many, running or waiting, are answered 429; None: they wait.
    auth : bool
        Refuse requests that are not signed with `access_key` and `secret_key`.
    port : int
        Port on 127.0.0.1; 0: any free one.
    environment : mapping, optional
        Further variables for the sandboxes.
    self_invocation : bool
        Give the sandboxes this endpoint and the key pair, as AWS gives its own to a function: a map
        in the handler then runs on this same function. It takes two sandboxes at least.
    stop_abandoned : bool
        End a sandbox whose caller has hung up. AWS lets it run to its end; on one's own machine the
        cores are wanted for what comes next, so the process's own local Lambda does this.
    log : callable, optional
        Is called with what sandboxes print (bytes), on the server's thread.

    Attributes
    ----------
    access_key, secret_key : str
        The key pair that requests are signed with; made when the object is.
    stats : dict
        Counts since the start: invocations, cold_starts, timeouts, crashes, throttles, bytes_in and
        bytes_out (bodies).

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
            raise ValueError(f"kind must be 'builtin' or 'awslambdaric', not {kind!r}")
        least = 2 if self_invocation else 1
        if sandboxes is not None and sandboxes < least:
            raise ValueError(f"sandboxes must be at least {least}, not {sandboxes}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        if memory_mb is not None and not memory_mb > 0:
            raise ValueError(f"memory_mb must be above 0, not {memory_mb}")
        self.sandboxes = sandboxes or max(least, _cores())
        self.kind = kind
        self.handler = handler
        self.function_name = function_name
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.concurrency_limit = concurrency_limit
        self.stop_abandoned = stop_abandoned
        self.auth = auth
        # As hard to guess as the secret: it is all that a head can show when it lacks the body's hash.
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
        self._listeners: list[Listener] = []  # of callers; of sandboxes
        self._lifeline: Lifeline | None = None
        self._pool: Pool | None = None
        self._front: Front | None = None
        self._failure: BaseException | None = None

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
        """End the sandboxes and the server. Idempotent."""
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
        loop = asyncio.SelectorEventLoop()  # whatever the caller's policy makes, uvloop's included
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
            # A port of their own: whatever callers and strangers do, sandboxes can connect.
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
            "AWS_SESSION_TOKEN": "",  # the caller's belongs to other keys
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
            # It runs its own caller's code, unless the caller wants to see what a worker refuses.
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

    def _let_go(self) -> None:
        """In the child of a fork: close what would keep the parent's callers and sandboxes waiting
        if the parent died. Descriptors are replaced, not closed: their owners are still there."""
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
        """Run a function on the loop's thread and return what it returns."""

        async def call() -> T:
            assert self._pool is not None
            return function(self._pool)

        if self._loop is None or not self.running:
            raise RuntimeError("this LocalLambda is not running: call start()")
        coroutine: Coroutine[Any, Any, T] = call()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)

    def kill_sandbox(self) -> int | None:
        """SIGKILL a sandbox that is at work; its process id, or None when none is."""
        return self._on_loop(Pool.kill_busy)

    def throttle(self, seconds: float) -> None:
        """Answer every invocation with 429 for so long."""
        if self._front is not None:
            self._front.throttled_until = time.monotonic() + seconds

    def refresh_code(self) -> int:
        """Replace the sandboxes that have loaded source files which have changed since, or that
        were started when the caller had another sys.path or working directory.

        An idle one is replaced at once, one at work after its invocation. Returns how many.
        """
        return self._on_loop(Pool.refresh)

    def ready(self) -> int:
        """How many sandboxes have loaded the handler."""
        return self._on_loop(Pool.ready)

    def start_failure(self) -> str | None:
        """Why the last sandbox that was started could not load the handler, or None if one could."""
        return self._on_loop(lambda pool: pool.start_failure)

    def pids(self) -> list[int]:
        """Process ids of the sandboxes."""
        return self._on_loop(Pool.pids)


def _thread_counts(known: Collection[str]) -> list[str]:
    """The variables that say how many threads numerical libraries start in a process, of those
    that nobody has set."""
    if _FOLLOWED in known:
        return [name for name in _UNFOLLOWING if name not in known]
    return [name for name in (_FOLLOWED, *_FOLLOWING, *_UNFOLLOWING) if name not in known]


def _show(data: bytes) -> None:
    """Print what sandboxes have printed."""
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
    """The one LocalLambda of this process, started at its first use and stopped with it; one more for
    each other limit of memory. What its sandboxes print is printed."""
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
    """In the child of a fork: the parent's are not ours."""
    global _shared_lock
    for function in list(_alive):
        function._let_go()
    _alive.clear()
    _shared.clear()
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
