"""One request in, one reply out: the worker inside the function.

`run_request` never raises and always returns a JSON object, so that nothing between the function
and its caller can mistake an error for a result, or change it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from lambdamap import _codec
from lambdamap._version import __version__
from lambdamap.shipping import envelope
from lambdamap.shipping.envelope import MARKER, PYTHON
from lambdamap.worker import allow, deadline, describe
from lambdamap.worker.chunk import Chunk, Context
from lambdamap.worker.describe import Failure
from lambdamap.worker.load import check, load
from lambdamap.worker.source import stale_code

__all__ = ["depth_left", "run_request", "run_task"]

# Inside f: how many more levels of nested maps may run remotely. None outside a worker.
depth_left: ContextVar[int | None] = ContextVar("lambdamap_depth_left", default=None)


def _reply(echo: Mapping[str, Any], done: int | None = None, us: int = 0) -> dict[str, Any]:
    """Return a reply that consists of its head. done: items that have run; None: refused."""
    head: dict[str, Any] = {
        "protocol": _codec.PROTOCOL,
        "version": __version__,
        "python": PYTHON,
        **echo,
    }
    if done is not None:
        head |= {"done": done, "us": us}
    return {MARKER: head}


def _refused(echo: Mapping[str, Any], failure: Failure) -> dict[str, Any]:
    """Return the reply to a request that failed as a whole."""
    return {**_reply(echo), "error": describe.of_request(failure)}


def run_task(task: Callable[[], object]) -> dict[str, Any]:
    """Call a function and return a reply with its JSON result as ``r``, or with its ``error``."""
    try:
        result = task()
    except BaseException as error:
        return {**_reply({"chunk": 0}, 0), "error": describe.of_item(error, 0)}
    return {**_reply({"chunk": 0}, 1), "r": result}


def run_request(
    event: dict[str, Any],
    context: Context | None = None,
    *,
    trusted: bool = False,
    interruptible: bool = False,
) -> dict[str, Any]:
    """Run the items of one request.

    Parameters
    ----------
    event
        A request, for which `lambdamap.shipping.envelope.is_request` is true.
    context
        Lambda's context object. The chunk stops between items before its time runs out.
    trusted
        Allow the caller everything: it is this process, or has started it.
    interruptible
        Raise KeyboardInterrupt: the items run on the caller's own thread, and it is the user's
        Ctrl-C. Otherwise it is an error of f like any other.

    Returns
    -------
    dict
        The reply, with results or errors. It can be converted to JSON.
    """
    echo = envelope.echo(event)
    started = False
    try:
        request = envelope.read_request(event)
        chunk = Chunk(request, context, interruptible)  # its deadline counts from here
        check(request, trusted)
        function, items = load(event, request, trusted)
        token = depth_left.set(request.depth)
        started = True
        try:
            with deadline.until(context, chunk.ends):  # limits the maps that f calls
                chunk.run(function, items)
        finally:
            depth_left.reset(token)
        if items and not chunk.results and chunk.error is None:
            raise describe.too_late()
        reply = _reply(echo, len(chunk.results), chunk.microseconds)
        reply["r"] = chunk.encode()  # cannot fail: each result and error was encoded once already
        stale = None if interruptible else stale_code(request)  # in the caller it cannot be stale
        if stale is not None:
            reply[MARKER]["code"] = stale
        if chunk.error is not None:
            reply["error"] = chunk.error
        output = chunk.output.joined()
        if output:
            reply["out"] = output
        return reply
    except envelope.Malformed as wrong:
        reply = _refused(echo, Failure("protocol", str(wrong)))
        reply[MARKER]["allow"] = allow.described(trusted)  # for `lambdamap doctor`
        return reply
    except Failure as failure:
        return _refused(echo, failure)
    except BaseException as error:
        if interruptible and isinstance(error, KeyboardInterrupt):
            raise
        text = f"the worker failed: {type(error).__name__}: {error}"
        trace = traceback.format_exc()
        if started:
            return _refused(echo, Failure("encode", text, "RAN", trace))
        return _refused(echo, Failure("init", text, "NOT", trace))
