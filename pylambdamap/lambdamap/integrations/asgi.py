"""ASGI (FastAPI, Starlette, Quart, Django): a middleware for the maps of a request.

>>> from lambdamap.integrations.asgi import LambdaMapMiddleware
>>> async def application(scope, receive, send): ...
>>> application = LambdaMapMiddleware(application, request_timeout=10, chunksize=100)

With Starlette and FastAPI it is ``app.add_middleware(LambdaMapMiddleware, chunksize=100)``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from lambdamap import ambient
from lambdamap import options as _options
from lambdamap.integrations.request import RequestScope, check_timeout

__all__ = ["LambdaMapMiddleware"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_UNSET: Any = object()
_scope: ContextVar[RequestScope | None] = ContextVar("lambdamap_request", default=None)


class LambdaMapMiddleware:
    """Binds maps to the HTTP request in which they are called: options, deadline and cancellation.

    The maps of a request are cancelled when the client disconnects, or when the application has
    finished the request. `CancelledError` is raised where the application waits for one.

    Parameters
    ----------
    app
        The ASGI application.
    request_timeout : float or None
        Seconds from the start of a request after which its maps raise `DeadlineError`, with finished
        results in ``partial``. Default: ``LAMBDAMAP_REQUEST_TIMEOUT`` of the environment, or 25
        seconds, or behind API Gateway 28 seconds from the arrival of its event. None: no limit but
        the Lambda function's own.
    **options
        Options of `lambdamap.Options` for maps in requests. Arguments of a call and ``with
        lambdamap.configure(...)`` take precedence.

    Raises
    ------
    ConfigError
        Unknown option, or invalid value.
    """

    def __init__(
        self, app: Application, *, request_timeout: float | None = _UNSET, **options: Any
    ) -> None:
        _options.check_names(options)
        _options.Options(**options)
        self._app = app
        self._options = options
        self._timeout = (
            None if request_timeout is _UNSET else check_timeout("request_timeout", request_timeout)
        )
        ambient.register(_scope.get)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = RequestScope(self._get_options, scope, self._timeout, "request_timeout")
        line = _Line(receive, send, request)
        token = _scope.set(request)
        try:
            await self._app(scope, line.receive, line.send)
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            # Ours, for a map whose client has disconnected, or the server's, for the whole request.
            if not line.is_gone or _is_cancelled():
                raise
        finally:
            _scope.reset(token)
            line.close()
            request.close()

    def _get_options(self) -> Mapping[str, Any]:
        return self._options


def _is_cancelled() -> bool:
    """Return whether the current task was cancelled; always False in Python 3.10."""
    task = asyncio.current_task()
    return task is not None and bool(getattr(task, "cancelling", int)())


class _Line:
    """Reads the client's messages one ahead of the application, to notice when it disconnects."""

    def __init__(self, receive: Receive, send: Send, request: RequestScope) -> None:
        self.is_gone = False
        self._is_answered = False
        self._receive = receive
        self._send = send
        self._request = request
        self._messages: asyncio.Queue[Message | Exception] = asyncio.Queue(1)
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while not self.is_gone:
            try:
                message: Message | Exception = await self._receive()
            except Exception as error:
                message = error
            if isinstance(message, Exception) or message["type"] == "http.disconnect":
                self.is_gone = True
                if not self._is_answered:  # servers send a disconnect after the response as well
                    self._request.close("its client has disconnected")
            await self._messages.put(message)

    async def receive(self) -> Message:
        """Return the next message of the server; after the last, http.disconnect."""
        if self.is_gone and self._messages.empty() and self._reader.done():
            return {"type": "http.disconnect"}
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._is_answered = True

    def close(self) -> None:
        self._reader.cancel()
