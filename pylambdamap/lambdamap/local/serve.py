"""The body of ``lambdamap serve``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from lambdamap.local.server import Kind, LocalLambda

__all__ = ["serve"]

_LOOK_S = 1.0  # between two checks of the source files
_START_LOOK_S = 0.02  # between two checks whether the handler is loaded


def serve(
    *,
    port: int = 9001,
    sandboxes: int | None = None,
    kind: Kind = "builtin",
    handler: str = "lambdamap.worker.entry.handler",
    function_name: str | None = None,
    timeout_s: float = 900.0,
    memory_mb: int = 1769,
    concurrency_limit: int | None = None,
    auth: bool = True,
    self_invocation: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Run a local Lambda until SIGINT or SIGTERM, and print how to reach it.

    The handler may be in the working directory, as in a function's task root. Its output goes to
    stderr. Source files that change are reloaded within a second.

    Parameters
    ----------
    port, sandboxes, kind, handler, function_name, timeout_s, memory_mb, concurrency_limit, auth, self_invocation
        As for `lambdamap.local.LocalLambda`.
    say
        Called with each line to print.

    Raises
    ------
    ImportError
        The handler cannot be loaded.
    OSError
        The port is in use.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with LocalLambda(
        port=port,
        sandboxes=sandboxes,
        kind=kind,
        handler=handler,
        function_name=function_name,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        concurrency_limit=concurrency_limit,
        auth=auth,
        self_invocation=self_invocation,
        log=_to_stderr,
    ) as function:
        while not function.ready() and not over.wait(_START_LOOK_S):
            failure = function.start_failure()
            if failure is not None:
                raise ImportError(
                    f"the function cannot start: {failure}: check --handler, which is searched in the "
                    "working directory first"
                )
        if over.is_set():
            return
        say(f"# local Lambda with {function.sandboxes} sandboxes ({kind}); press Ctrl-C to stop")
        region = "AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"  # boto3 reads the second
        say(f"export AWS_ENDPOINT_URL_LAMBDA={function.endpoint_url} {region}")
        say(
            f"export AWS_ACCESS_KEY_ID={function.access_key} "
            f"AWS_SECRET_ACCESS_KEY={function.secret_key}"
        )
        while not over.wait(_LOOK_S):
            function.refresh_code()


def _to_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()
