"""An HTTP/1.1 server connection on asyncio and h11: whole requests in, whole replies out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11

__all__ = ["Connection", "Request"]

_SLOW_S = 60.0  # a request must be complete this long after its first byte


class Request:
    """One complete request and the way to answer it."""

    __slots__ = ("body", "connection", "headers", "method", "on_gone", "target")

    def __init__(
        self, connection: Connection, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.on_gone: Callable[[], None] | None = None  # the peer hung up before the answer

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: list[tuple[str, str]] | None = None,
        *,
        close: bool = False,
    ) -> None:
        """Answer; does nothing when the peer has gone."""
        self.connection.answer(status, headers or [], body, close)


class Connection(asyncio.Protocol):
    """Serves one request after the other; pipelined ones wait their turn."""

    def __init__(
        self, serve: Callable[[Request], None], max_body_bytes: int, open_: set[Connection]
    ) -> None:
        self._serve = serve
        self._open = open_  # shared by all connections of a server, so that it can end them
        self._max_body_bytes = max_body_bytes
        self._http = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._head: h11.Request | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._current: Request | None = None
        self._hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)
        self._relax()
        request, self._current = self._current, None
        if request is not None and request.on_gone is not None:
            request.on_gone()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        if self._hurry is None and self._current is None:
            self._hurry = asyncio.get_running_loop().call_later(_SLOW_S, self.drop)
        self._read()

    def eof_received(self) -> bool:
        return False  # close: nobody who half-closes waits for an answer here

    def _relax(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _read(self) -> None:
        while self._current is None and self._transport is not None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)
                return
            if isinstance(event, h11.Request):
                self._head, self._parts, self._size = event, [], 0
                length = next((v for k, v in event.headers if k == b"content-length"), b"0")
                if int(length) > self._max_body_bytes:
                    self._too_large()
                    return
            elif isinstance(event, h11.Data):
                self._size += len(event.data)
                if self._size > self._max_body_bytes:
                    self._too_large()
                    return
                self._parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._relax()
                self._current = self._request(b"".join(self._parts))
                self._parts = []
                self._serve(self._current)
            elif event is h11.PAUSED or event is h11.NEED_DATA:
                return
            else:
                self.drop()
                return

    def _request(self, body: bytes) -> Request:
        assert self._head is not None
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in self._head.headers}
        method = self._head.method.decode("ascii")
        return Request(self, method, self._head.target.decode("latin-1"), headers, body)

    def _too_large(self) -> None:
        self._current = self._request(b"")
        self._current.reply(
            413,
            b'{"Type":"User","message":"Request must be smaller than %d bytes for the '
            b'InvokeFunction operation"}' % self._max_body_bytes,
            [("x-amzn-ErrorType", "RequestTooLargeException")],
            close=True,
        )

    def _refuse(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.answer(status, [], b'{"message":"Bad Request"}', True)
        else:
            self.drop()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, close: bool) -> None:
        self._current = None
        if self._transport is None:
            return
        head = h11.Response(
            status_code=status,
            headers=[
                *headers,
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                *([("Connection", "close")] if close else []),
            ],
        )
        sent = self._http.send(head) or b""
        if status == 204:
            body = b""
        self._http.send(h11.Data(data=body))
        self._http.send(h11.EndOfMessage())
        self._transport.write(sent + body if len(body) < 65536 else sent)
        if len(body) >= 65536:
            self._transport.write(body)
        if self._http.our_state is h11.MUST_CLOSE or close:
            self._transport.close()
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._read()
