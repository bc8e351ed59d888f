"""Handlers for Lambda functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lambdamap.shipping.envelope import MARKER, is_request
from lambdamap.worker import deadline
from lambdamap.worker.call import run_request, run_task

__all__ = ["Reply", "handler", "wrap", "zappa_message", "zappa_task"]

_SHOWN_CHARS = 200  # of a reply, in a log


class Reply(dict[str, Any]):
    """A reply with a short `repr`: zappa logs the whole result of every task."""

    def __str__(self) -> str:
        head = self.get(MARKER, {})
        text = f"<lambdamap reply, chunk {head.get('chunk')}, {head.get('done')} items done"
        if "error" in self:
            text += f", {self['error'].get('type')} at {self['error'].get('index')}"
        return text[: _SHOWN_CHARS - 1] + ">"

    __repr__ = __str__


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Handle requests of lambdamap, for a function that serves nothing else.

    Configure it as ``lambdamap.worker.entry.handler``. Any other event is answered with an error
    object; no exception is raised.
    """
    if is_request(event):
        return run_request(event, context)
    return {
        "errorType": "NotALambdamapRequest",
        "errorMessage": "not a lambdamap request: call this function through lambdamap.map or "
        "my_map; to serve other events as well, wrap your handler with lambdamap.worker.wrap",
    }


def zappa_task(event: Any, context: Any) -> dict[str, Any]:
    """Handle an event for zappa, whose handler calls the function named by an event's ``command``.

    It takes exactly two arguments and never raises: zappa repeats a call with fewer arguments after
    a TypeError, and a project's exception handler may turn an error into null.
    """
    return Reply(handler(event, context))


def zappa_message(event: Any, context: Any) -> dict[str, Any]:
    """Handle the message of `lambdamap.send_to_other_lambda`, which is a task message of zappa's.

    zappa runs the task. Its result or error is returned in a reply: zappa would mistake a TypeError
    for a wrong number of arguments, and log the whole result.
    """

    def task() -> Any:
        from zappa.asynchronous import run_message

        return run_message(event)

    return Reply(run_task(task))


def wrap(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a handler that serves lambdamap's requests and passes all other events on.

    A map called in the handler runs on the function itself unless it names another one, and raises
    `DeadlineError` before the invocation times out.

    Parameters
    ----------
    handler
        The function's own handler, called with ``(event, context)``.

    Returns
    -------
    callable
        The handler to configure.

    Examples
    --------
    >>> from lambdamap.worker import wrap
    >>> def lambda_handler(event, context):
    ...     return "mine"
    >>> lambda_handler = wrap(lambda_handler)
    >>> lambda_handler({"anything": 1}, None)
    'mine'
    """

    @functools.wraps(handler)
    def wrapped(event: Any, context: Any) -> Any:
        if is_request(event):
            return run_request(event, context)
        with deadline.until(context):
            return handler(event, context)

    vars(wrapped)["__lambdamap__"] = True  # read by `lambdamap.backends.own_function`
    return wrapped
