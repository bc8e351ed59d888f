"""An HTTP/1.1 server connection on asyncio: whole requests in, whole replies out.

h11 reads the heads (and chunked bodies), so what is malformed or ambiguous is refused; bodies of a
known length go around it. Heads, bodies, buffered bytes and the time that a request may take to
arrive are bounded.
"""

from __future__ import annotations

import asyncio
import http
import re
from collections.abc import Callable

import h11

__all__ = ["Connection", "Request"]

_HEAD_BYTES = 32768
_SLOW_S = 60.0  # a request must be complete this long after its first bytes
_AHEAD_BYTES = 65536  # read of further requests while one is served
_DRAIN_BYTES = 1 << 28  # of a body that is too large, before the connection is cut
_LINGER_S = 2.0  # for the peer to read the last reply

# The head that our own sandboxes write, word by word.
_PLAIN = re.compile(
    rb"(GET|POST) (/[\w/.-]{1,200}) HTTP/1\.1\r\nHost: [\w.:-]{1,80}\r\n"
    rb"(?:Content-Length: (\d{1,9})\r\n)?\r\n"
)
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class Request:
    """One complete request and the way to answer it."""

    __slots__ = (
        "_close", "_connection", "body", "headers", "method", "on_gone", "target", "too_large",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: str,
        headers: dict[str, str],
        close: bool = False,
    ) -> None:
        self._connection = connection
        self._close = close
        self.method = method
        self.target = target
        self.headers = headers  # names in lower case
        self.body = b""
        self.too_large = False  # the body was above the limit and is not kept
        self.on_gone: Callable[[], None] | None = None  # the peer hung up before the answer

    def reply(
        self, status: int, body: bytes = b"", headers: list[tuple[str, str]] | None = None
    ) -> None:
        """Answer; does nothing when the peer has gone, or for a second answer."""
        self._connection.answer(self, status, headers, body, self._close)


class Connection(asyncio.Protocol):
    """Serves one request after the other; pipelined ones wait their turn."""

    def __init__(
        self,
        serve: Callable[[Request], None],
        max_body_bytes: int,
        open_: set[Connection],
        max_open: int,
    ) -> None:
        self._serve = serve
        self._max_body_bytes = max_body_bytes
        self._open = open_  # all connections of the server, so that it can end them
        self._max_open = max_open
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()  # bytes of requests that are not complete
        self._looked = 0  # of _buffer, for the end of a head
        self._reading: Request | None = None  # its head is complete, its body is not
        self._parts: list[bytes] = []
        self._left = 0  # bytes of the body still to come
        self._size = 0  # of a chunked body so far
        self._chunks: h11.Connection | None = None  # reads a chunked body
        self._current: Request | None = None  # waits for its answer
        self._held = b""  # an answer that goes out with the next one
        self._paused = self._ending = self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)
        if len(self._open) > self._max_open:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)
        self._stop_timer()
        request, self._current = self._current, None
        if request is not None and request.on_gone is not None:
            request.on_gone()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        if self._left and len(data) <= self._left:
            self._body(data)
        else:
            self._buffer += data
        if self._current is None:
            self._read()
        elif len(self._buffer) > _AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False  # close: nobody who half-closes waits for an answer here

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def fileno(self) -> int:
        """The socket's descriptor, or -1."""
        if self._transport is None:
            return -1
        sock = self._transport.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    # --- requests -------------------------------------------------------------------------------

    def _read(self) -> None:
        """Serve what is complete; set the clock for what is not."""
        if self._busy:
            return  # answered from within: the loop below goes on
        self._busy = True
        try:
            self._read_all()
        finally:
            self._busy = False
        waiting = self._buffer or self._reading is not None
        if waiting and self._current is None and self._timer is None and not self._ending:
            self._timer = self._loop.call_later(_SLOW_S, self.drop)

    def _read_all(self) -> None:
        while self._current is None and not self._ending and self._transport is not None:
            if self._reading is None and not self._read_head():
                break
            if self._reading is not None and not self._read_body():
                break
            request, self._reading = self._reading, None
            if request is not None:
                self._stop_timer()
                request.body = b"".join(self._parts)
                self._parts = []
                self._current = request
                self._serve(request)

    def _read_head(self) -> bool:
        """Whether a head is complete; it is in _reading then, unless it was refused."""
        if not self._buffer:
            return False
        end = self._buffer.find(b"\r\n\r\n", max(0, self._looked - 3))
        if end < 0 or end > _HEAD_BYTES:
            self._looked = len(self._buffer)
            if self._looked > _HEAD_BYTES:
                self._refuse(431)
            return False
        head = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        self._looked = 0
        plain = _PLAIN.fullmatch(head)
        if plain is not None:
            self._reading = Request(self, plain[1].decode(), plain[2].decode(), {})
            self._left = int(plain[3] or 0)
        else:
            self._parse(head)
        if self._reading is None:
            return False
        if self._left > self._max_body_bytes:
            self._reading.too_large = True
            if self._left > _DRAIN_BYTES:
                self._refuse(413)
                return False
        return True

    def _parse(self, head: bytes) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * _HEAD_BYTES)
        try:
            parser.receive_data(head)
            event = parser.next_event()
            if not isinstance(event, h11.Request):
                raise h11.RemoteProtocolError("no request")
            headers: dict[str, str] = {}
            for raw_name, raw_value in event.headers:
                name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]},{value}" if name in headers else value
            length = headers.get("content-length", "0")
            chunked = "transfer-encoding" in headers
            if len(length) > 15 or (chunked and "content-length" in headers):
                raise h11.RemoteProtocolError("ambiguous length")
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
            return
        close = event.http_version != b"1.1" or "close" in headers.get("connection", "").lower()
        target = event.target.decode("ascii", "replace")
        self._reading = Request(self, event.method.decode("ascii"), target, headers, close)
        self._left = int(length)
        self._size = 0
        self._chunks = parser if chunked else None
        if headers.get("expect", "").lower() == "100-continue" and not self._buffer:
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_body(self) -> bool:
        """Move bytes of the body out of the buffer; whether it is complete."""
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        if self._left and self._buffer:
            data = bytes(self._buffer[: self._left])
            del self._buffer[: len(data)]
            self._body(data)
        return self._left == 0

    def _body(self, data: bytes) -> None:
        assert self._reading is not None
        self._left -= len(data)
        if not self._reading.too_large:
            self._parts.append(data)

    def _read_chunks(self, parser: h11.Connection) -> bool:
        assert self._reading is not None
        data = bytes(self._buffer)
        self._buffer.clear()
        try:
            if data:
                parser.receive_data(data)
            while True:
                event = parser.next_event()
                if isinstance(event, h11.EndOfMessage):
                    self._buffer += parser.trailing_data[0]
                    self._chunks = None
                    return True
                if not isinstance(event, h11.Data):
                    return False
                self._size += len(event.data)
                if self._size > _DRAIN_BYTES:
                    self._refuse(413)
                    return False
                if self._size > self._max_body_bytes:
                    self._reading.too_large = True
                    self._parts = []
                else:
                    self._parts.append(bytes(event.data))
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
            return False

    def _refuse(self, status: int) -> None:
        """Answer what is no request of ours, and end the connection."""
        text = _REASONS.get(status, "Bad Request")
        self._reading, self._chunks, self._left = None, None, 0
        self._current = request = Request(self, "", "", {}, close=True)
        request.reply(status, b'{"message":"%s"}' % text.encode())

    # --- replies --------------------------------------------------------------------------------

    def answer(
        self,
        request: Request,
        status: int,
        headers: list[tuple[str, str]] | None,
        body: bytes,
        close: bool,
    ) -> None:
        """Write the reply of the request that is being served, and go on to the next one."""
        if self._current is not request or self._transport is None:
            return
        self._current = None
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
        if headers:
            lines += [f"{name}: {value}" for name, value in headers]
        if status != 204:
            lines.append(f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        if close:
            lines.append("Connection: close")
        head = self._held + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._held = b""
        if status == 204:
            body = b""
        if status == 202 and self._buffer and not close:
            self._held = head + body  # the peer has asked for more already: both go out as one
        elif len(body) < 65536:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        if close:
            self._end()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._buffer and not self._busy:
            # Not from here: whoever answers may be in the middle of something.
            self._loop.call_soon(self._read)

    def _end(self) -> None:
        """Let the peer read the reply, then close. What it still sends is thrown away: closing with
        unread bytes would reset the connection under the reply."""
        assert self._transport is not None
        self._ending = True
        self._buffer.clear()
        self._parts = []
        self._stop_timer()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer = self._loop.call_later(_LINGER_S, self.drop)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
