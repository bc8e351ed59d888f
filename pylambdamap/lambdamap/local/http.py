"""An HTTP/1.1 server connection on asyncio: complete requests in, complete replies out.

h11 parses headers and chunked bodies, and refuses what is malformed or ambiguous; bodies of a known
length bypass it. Headers, bodies, buffered bytes and the time for a request to arrive are limited.

Headers are judged before any of the body is kept. The judge tells who the sender is, and which
budgets the body counts against; the body is read once they have room for all of it.
"""

from __future__ import annotations

import asyncio
import http
import json
import random
import re
import socket
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import h11

if TYPE_CHECKING:
    from lambdamap.local.budget import Budget, Grant

__all__ = ["Admission", "Connection", "Owner", "RefusedError", "Request"]

# For request ids; the random module's own state is the user's, who may have seeded it.
_ids = random.Random()
_HEADER_BYTES = 32768
_STRANGER_S = 5.0  # for a new connection to send the headers of a request that is admitted
_UNPROVEN_BODY_S = 20.0  # for a body that is needed to check the signature
_SLOW_S = 60.0  # for a body, or the next headers, from a sender that has proven to know the secret
_AHEAD_BYTES = 65536  # read of later requests while one is served
_DRAIN_BYTES = 1 << 28  # of a body that is too large, before the connection is closed
_LINGER_S = 2.0  # for the peer to read the last reply
_DISCARD_BYTES = 1 << 23  # that it may send meanwhile: a body refused because of its headers

# The exact headers that our own sandboxes send; all others go to h11.
_SANDBOX_HEADERS = re.compile(
    rb"(GET|POST) (/[\w/.-]{1,200}) HTTP/1\.1\r\nHost: [\w.:-]{1,80}\r\n"
    rb"(?:Content-Length: (\d{1,9})\r\n)?\r\n"
)
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class RefusedError(Exception):
    """A request is answered with an error.

    Parameters
    ----------
    status
        HTTP status.
    kind
        AWS's error type, or "".
    body
        JSON.
    """

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        super().__init__(status, kind)
        self.status = status
        self.kind = kind
        self.body = body

    def headers(self, request_id: str) -> list[tuple[str, str]]:
        found = [("x-amzn-RequestId", request_id)]
        return [("x-amzn-ErrorType", self.kind), *found] if self.kind else found


class Admission(NamedTuple):
    """What the headers of a request have shown."""

    serve: Callable[[Request], None]  # called when the body is complete
    proven: bool  # the sender knows the secret
    max_body_bytes: int
    budgets: tuple[Budget, ...]  # in which the body needs room, in this order


class Owner(Protocol):
    """The part of a listener that its connections use."""

    scratch: bytearray  # receives bytes, until the connection has read them

    @property
    def is_crowded(self) -> bool: ...

    def proved(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def failed(self, text: str, error: BaseException) -> None: ...


class Request:
    """One request, with methods to answer it."""

    __slots__ = (
        "_close", "_connection", "_id", "body", "headers", "is_chunked", "method", "on_gone", "room",
        "target", "too_large",
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
        self._id = ""
        self.method = method
        self.target = target
        self.headers = headers  # names in lower case
        self.is_chunked = False  # the length is not known in advance
        self.body = b""
        self.too_large = False  # the body exceeded the limit and is not kept
        self.room: list[Grant] = []  # for the body; what `serve` leaves is returned
        self.on_gone: Callable[[], None] | None = None  # the peer disconnected before the reply

    @property
    def id(self) -> str:
        """The request id, for the caller."""
        if not self._id:
            # uuid4() makes a system call each time; an id need not be unpredictable.
            self._id = str(uuid.UUID(int=_ids.getrandbits(128), version=4))
        return self._id

    def reply(
        self, status: int, body: bytes = b"", headers: list[tuple[str, str]] | None = None
    ) -> None:
        """Send the reply; does nothing if the peer has disconnected, or after another reply."""
        self._connection.answer(self, status, headers, body, self._close)

    def refuse(self, refused: RefusedError) -> None:
        """Reply with an error; a connection that is not proven is closed after it."""
        close = self._close or not self._connection.is_proven
        self._connection.answer(self, refused.status, refused.headers(self.id), refused.body, close)

    def prove(self) -> None:
        """Record that the sender knows the secret."""
        self._connection.prove()

    def return_room(self) -> None:
        for grant in self.room:
            grant.release()
        self.room = []


class Connection(asyncio.BufferedProtocol):
    """Serves one request after the other; pipelined requests wait.

    Parameters
    ----------
    judge
        Called with a request that has headers and no body yet; raises `RefusedError` to refuse it.
    owner
        The listener.
    sock
        The transport's socket, for `read_now`.
    """

    def __init__(
        self,
        judge: Callable[[Request], Admission],
        owner: Owner,
        sock: socket.socket | None = None,
    ) -> None:
        self._judge = judge
        self._owner = owner
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self.is_proven = False  # a request on it had a valid signature
        self.idle_since = float("inf")  # loop time; infinity for a stranger, or while in use
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()  # bytes of incomplete requests
        self._searched = 0  # bytes of _buffer without the end of the headers
        self._reading: Request | None = None  # its headers are complete, its body is not
        self._admission: Admission | None = None  # of _reading
        self._wanted: list[Budget] = []  # to be asked for room for the body
        self._flowing = False  # there is room for all of the body
        self._parts: list[bytes] = []
        self._left = 0  # bytes of the body still to arrive
        self._size = 0  # of a chunked body so far
        self._chunks: h11.Connection | None = None  # parses a chunked body
        self._current: Request | None = None  # waits for its reply
        self._discarded = 0  # bytes that arrived after the last reply
        self._held = b""  # a reply that is sent together with the next one
        self._timed = False  # the timer for the rest of the body is set
        self._paused = self._ending = self._busy = self._dropped = False
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._dropped:
            transport.abort()
            return
        self._set_timer(_STRANGER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._sock = None
        self._owner.closed(self)
        self._stop_timer()
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.return_room()
        request, self._current = self._current, None
        if request is not None and request.on_gone is not None:
            request.on_gone()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._owner.scratch

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(memoryview(self._owner.scratch)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._discarded += len(data)
            if self._discarded > _DISCARD_BYTES:
                self.drop()
            return
        self.idle_since = float("inf")
        if self._flowing and self._left and len(data) <= self._left:
            self._body(data)
        else:
            self._buffer += data
        if self._current is None:
            self._read()
        elif len(self._buffer) > _AHEAD_BYTES:
            self._pause()

    def eof_received(self) -> bool:
        return False  # close: no client here half-closes and waits for a reply

    def drop(self) -> None:
        """Close at once."""
        self._dropped = True
        self._owner.closed(self)
        if self._transport is not None:
            self._transport.abort()

    def read_now(self) -> None:
        """Read what has arrived, without waiting for the loop's next iteration."""
        if self._sock is None or self._transport is None or self._paused or self._ending:
            return
        try:
            data = self._sock.recv(_AHEAD_BYTES)
        except OSError:
            return
        if data:
            self.data_received(data)

    def prove(self) -> None:
        """Record that the peer knows the secret."""
        if not self.is_proven:
            self.is_proven = True
            self._owner.proved(self)

    @property
    def is_over(self) -> bool:
        """Whether the last reply was sent, and only the peer's close is awaited."""
        transport = self._transport
        return self._ending and (transport is None or transport.get_write_buffer_size() == 0)

    def fileno(self) -> int:
        """The socket's descriptor, or -1."""
        return -1 if self._sock is None else self._sock.fileno()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # --- requests -------------------------------------------------------------------------------

    def _read(self) -> None:
        """Serve complete requests, and set the timer for an incomplete one."""
        if self._busy:
            return  # called by a reply from within `_read_all`, which goes on
        self._busy = True
        try:
            self._read_all()
        finally:
            self._busy = False
        begun = self._buffer and self._reading is None and self._current is None
        if begun and self._timer is None and not self._ending:
            self._set_timer(_SLOW_S)

    def _read_all(self) -> None:
        while self._current is None and not self._ending and self._transport is not None:
            if self._reading is None and not self._read_headers():
                break
            if self._reading is not None and not (self._has_room() and self._read_body()):
                self._expect_more()
                break
            request, self._reading = self._reading, None
            if request is not None:
                self._stop_timer()
                self._flowing = self._timed = False
                request.body = b"".join(self._parts)
                self._parts = []
                self._current = request
                self._serve(request)

    def _serve(self, request: Request) -> None:
        """Serve a request; any exception becomes a reply."""
        assert self._admission is not None
        try:
            self._admission.serve(request)
        except RefusedError as refused:
            request.refuse(refused)
        except Exception as error:
            self._owner.failed(f"{type(error).__name__} in a request", error)
            # Not ServiceException, which means that nothing has run.
            request.refuse(_failure("InternalFailure"))
        finally:
            request.return_room()

    def _read_headers(self) -> bool:
        """Return whether headers are complete and admitted; their request is in _reading then."""
        if not self._buffer:
            return False
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > _HEADER_BYTES:
            self._searched = len(self._buffer)
            if self._searched > _HEADER_BYTES:
                self._refuse(None, _refusal(431))
            return False
        headers = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        self._searched = 0
        found = _SANDBOX_HEADERS.fullmatch(headers)
        if found is not None:
            self._reading = Request(self, found[1].decode(), found[2].decode(), {})
            self._left = int(found[3] or 0)
        else:
            self._parse(headers)
        return self._reading is not None and self._admit(self._reading)

    def _admit(self, request: Request) -> bool:
        """Have the headers judged. A refusal is sent, and closes the connection without the body."""
        try:
            admission = self._judge(request)
        except RefusedError as refused:
            self._refuse(request, refused)
            return False
        except Exception as error:
            self._owner.failed(f"{type(error).__name__} while checking a request", error)
            self._refuse(request, _failure("ServiceException"))
            return False
        self._admission = admission
        if admission.proven:
            self.prove()
        size = self._left
        if self._chunks is not None:
            size = admission.max_body_bytes
        elif size > admission.max_body_bytes:
            request.too_large = True
            if size > _DRAIN_BYTES:
                self._refuse(request, _refusal(413))
                return False
        self._wanted = [] if request.too_large or size == 0 else list(admission.budgets)
        self._needed = size
        return True

    def _has_room(self) -> bool:
        """Return whether the body may be read; until then it stays in the kernel, without a timer."""
        if self._flowing:
            return True
        request, admission = self._reading, self._admission
        assert request is not None and admission is not None
        while not request.room or request.room[-1].given:
            if self._wanted:
                request.room.append(self._wanted.pop(0).ask(self._needed, self._read))
                continue
            self._flowing = True
            self._resume()
            return True
        return False

    def _expect_more(self) -> None:
        """Wait for room, or for more of the body of an admitted request."""
        request, admission = self._reading, self._admission
        if request is None or admission is None:
            return  # refused meanwhile
        if not self._flowing:
            self._stop_timer()
            self._pause()
        elif not self._timed:
            self._timed = True
            self._set_timer(_SLOW_S if admission.proven else _UNPROVEN_BODY_S)
            if request.headers.get("expect", "").lower() == "100-continue" and not self._parts:
                assert self._transport is not None
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _parse(self, lines: bytes) -> None:
        """Parse the request line and the headers."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * _HEADER_BYTES)
        try:
            parser.receive_data(lines)
            event = parser.next_event()
            if not isinstance(event, h11.Request):
                raise h11.RemoteProtocolError("not a request")
            headers: dict[str, str] = {}
            for raw_name, raw_value in event.headers:
                name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]},{value}" if name in headers else value
            length = headers.get("content-length", "0")
            chunked = "transfer-encoding" in headers
            if len(length) > 15 or (chunked and "content-length" in headers):
                raise h11.RemoteProtocolError("ambiguous length")
        except h11.RemoteProtocolError as error:
            self._refuse(None, _refusal(error.error_status_hint))
            return
        close = event.http_version != b"1.1" or "close" in headers.get("connection", "").lower()
        target = event.target.decode("ascii", "replace")
        self._reading = Request(self, event.method.decode("ascii"), target, headers, close)
        self._reading.is_chunked = chunked
        self._left = int(length)
        self._size = 0
        self._chunks = parser if chunked else None

    def _read_body(self) -> bool:
        """Move bytes of the body out of the buffer, and return whether it is complete."""
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
                    for grant in self._reading.room:
                        grant.shrink(self._size)
                    return True
                if not isinstance(event, h11.Data):
                    return False
                self._size += len(event.data)
                assert self._admission is not None
                if self._size > _DRAIN_BYTES:
                    self._refuse(None, _refusal(413))
                    return False
                if self._size > self._admission.max_body_bytes:
                    self._reading.too_large = True
                    self._reading.return_room()
                    self._parts = []
                else:
                    self._parts.append(bytes(event.data))
        except h11.RemoteProtocolError as error:
            self._refuse(None, _refusal(error.error_status_hint))
            return False

    def _refuse(self, request: Request | None, refused: RefusedError) -> None:
        """Answer a request that is not admitted or malformed, and end the connection."""
        if self._reading is not None:
            self._reading.return_room()
        self._reading, self._chunks, self._left = None, None, 0
        self._flowing = self._timed = False
        self._current = request = request or Request(self, "", "", {})
        self.answer(request, refused.status, refused.headers(request.id), refused.body, True)

    # --- replies --------------------------------------------------------------------------------

    def answer(
        self,
        request: Request,
        status: int,
        headers: list[tuple[str, str]] | None,
        body: bytes,
        close: bool,
    ) -> None:
        """Send the reply to the current request, and go on to the next one."""
        if self._current is not request or self._transport is None:
            return
        self._current = None
        close = close or self._owner.is_crowded
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
        if headers:
            lines += [f"{name}: {value}" for name, value in headers]
        if status != 204:
            lines.append(f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        if close:
            lines.append("Connection: close")
        start = self._held + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._held = b""
        if status == 204:
            body = b""
        if status == 202 and self._buffer and not close:
            self._held = (
                start + body
            )  # the next request is here already: one write for both replies
        elif len(body) < 65536:
            self._transport.write(start + body)
        else:
            self._transport.write(start)
            self._transport.write(body)
        if close:
            self._end()
            return
        self._resume()
        if self._buffer and not self._busy:
            # Not from here: the code that sends this reply may not be done.
            self._loop.call_soon(self._read)
        elif self.is_proven:
            self.idle_since = self._loop.time()

    def _end(self) -> None:
        """Let the peer read the reply, then close.

        What it still sends is discarded: closing with unread bytes would reset the connection, and
        the peer might lose the reply.
        """
        assert self._transport is not None
        self._ending = True
        self._buffer.clear()
        self._parts = []
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._set_timer(_LINGER_S)

    def _set_timer(self, seconds: float) -> None:
        """Drop the connection after this time, unless the timer is stopped or set again."""
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self.drop)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal(status: int) -> RefusedError:
    """Return the reply to a malformed request."""
    text = _REASONS.get(status, "Bad Request")
    return RefusedError(status, "", json.dumps({"message": text}).encode())


def _failure(kind: str) -> RefusedError:
    """Return the reply after an exception in this package."""
    text = "Internal error of the local Lambda; see its log."
    return RefusedError(500, kind, json.dumps({"Type": "Service", "message": text}).encode())
