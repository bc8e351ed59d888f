"""The handlers that a Lambda function names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lambdamap.shipping.envelope import MARKER, is_request
from lambdamap.worker import deadline
from lambdamap.worker.call import run_request, run_task

__all__ = ["Reply", "handler", "wrap", "zappa_message", "zappa_task"]

_PRINTED = 200


class Reply(dict[str, Any]):
    """A reply that prints short: zappa writes every task's whole result to the log."""

    def __str__(self) -> str:
        head = self.get(MARKER, {})
        text = f"<lambdamap reply, chunk {head.get('chunk')}, {head.get('done')} items done"
        if "error" in self:
            text += f", {self['error'].get('type')} at {self['error'].get('index')}"
        return text[: _PRINTED - 1] + ">"

    __repr__ = __str__


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The handler of a function that does nothing but lambdamap's work.

    Set it as ``lambdamap.worker.entry.handler``. Any event that is not lambdamap's is answered with
    an error that says so, never with an exception.
    """
    if is_request(event):
        return run_request(event, context)
    return {
        "errorType": "NotALambdamapRequest",
        "errorMessage": "this function runs lambdamap.worker: call it through lambdamap.map or "
        "my_map; to serve other events too, wrap your handler with lambdamap.worker.wrap",
    }


def zappa_task(event: Any, context: Any) -> dict[str, Any]:
    """What zappa's handler runs for an event whose ``command`` names this function.

    It takes exactly two arguments and raises nothing: zappa calls a task again with fewer arguments
    after a TypeError, and a project's exception handler may turn an error into a null.
    """
    return Reply(handler(event, context))


def zappa_message(event: Any, context: Any) -> dict[str, Any]:
    """What zappa's handler runs for the message of `lambdamap.send_to_other_lambda`.

    It is zappa's own task message, and zappa does it. The reply holds what came of it: zappa would
    take a TypeError for a wrong number of arguments, and write the whole result to the log.
    """

    def task() -> Any:
        from zappa.asynchronous import run_message

        return run_message(event)

    return Reply(run_task(task))


def wrap(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A handler that does lambdamap's work and passes every other event on.

    A map that the handler calls goes to the function itself, unless it names another, and raises
    `DeadlineError` before the function's time is over.

    Parameters
    ----------
    handler
        The function's own handler, called with ``(event, context)``.

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

    wrapped.__lambdamap__ = True  # type: ignore[attr-defined]  # a mark for self-invocation
    return wrapped
