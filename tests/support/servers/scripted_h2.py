"""`scripted.Server` over HTTP/2: the same steps, and steps that only HTTP/2 has.

A step gets a `Stream` in place of a connection. What it sends is a reply as HTTP/1.1 text, which is
translated into HEADERS and DATA, so the steps of `scripted` serve both versions. `close` and `reset`
end the whole connection. Frames are PyPI h2's.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

import scripted
from scripted import Connection, Greeting, Request, Step

__all__ = ["H2Connection", "H2Server", "Stream", "frames", "goaway", "reset_stream", "settings"]

_HANG_S = 30.0


class H2Connection(Connection):
    """One accepted connection; it is written to, and closed, under its lock."""

    thread: threading.Thread
    end: Callable[[], None]
    opens_windows = True  # of each stream, as wide as they go
    max_streams: int | None = None  # SETTINGS_MAX_CONCURRENT_STREAMS of this server

    def __init__(self, server: scripted.Server, sock: socket.socket, number: int) -> None:
        super().__init__(server, sock, number)
        self.lock = threading.RLock()

    def begin(self) -> None:
        self.window = threading.Condition(self.lock)
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config=config)
        self.streams: dict[int, Stream] = {}
        self.pings = 0
        self.resets: list[tuple[int, int]] = []  # by the client: stream, error code
        with self.lock:
            if self.max_streams is not None:
                self.h2.local_settings = h2.settings.Settings(
                    client=False,
                    initial_values={
                        h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.max_streams
                    },
                )
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(1 << 30)
            self.flush()

    def close(self) -> None:
        self._end(super().close)

    def reset(self) -> None:
        self._end(super().reset)

    def _end(self, end: Callable[[], None]) -> None:
        """In the thread that serves: a socket that another thread reads is not closed by `close`."""
        if threading.current_thread() is getattr(self, "thread", threading.current_thread()):
            end()
            return
        self.end = end
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RD)
        self.thread.join(_HANG_S)

    def flush(self) -> bool:
        with self.lock:
            data = self.h2.data_to_send()
            return not data or self.send(data)

    def serve(self) -> None:
        """Until the peer or a step ends it."""
        self.end = super().close
        self.thread = threading.current_thread()
        self.begin()
        while self.open and not self.server.stopping.is_set():
            try:
                data = self.sock.recv(65536)
            except OSError:
                break
            if not data:
                break
            self.received += len(data)
            if self.forgotten:
                self.swallowed += len(data)
                continue
            with self.lock:
                for event in self.h2.receive_data(data):
                    self._heed(event)
                self.flush()

    def _heed(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.streams[event.stream_id] = Stream(self, event.stream_id, dict(event.headers))
            if self.opens_windows:
                room = self.h2.remote_flow_control_window(event.stream_id)
                self.h2.increment_flow_control_window((1 << 30) - room, event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            self.h2.increment_flow_control_window(max(1, event.flow_controlled_length))
        elif isinstance(event, h2.events.StreamEnded):
            self.server._start(self.streams[event.stream_id].serve)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append((event.stream_id, int(event.error_code)))
            if event.stream_id in self.streams:
                self.streams[event.stream_id].gone = True
            self.window.notify_all()
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.window.notify_all()


class Stream:
    """One request: what a step sees as its connection."""

    def __init__(self, connection: H2Connection, number: int, headers: dict[str, str]) -> None:
        self.connection = connection
        self.server = connection.server
        self.number = number
        self.headers = headers
        self.body = b""
        self.text = b""  # of the reply's head, until that is complete
        self.left: int | None = None  # of the reply's body; None before the head
        self.gone = False

    @property
    def open(self) -> bool:
        return self.connection.open and not self.gone

    def serve(self) -> None:
        server, headers = self.server, self.headers
        plain = {name: value for name, value in headers.items() if not name.startswith(":")}
        plain["host"] = headers[":authority"]
        assert headers[":scheme"] == ("http" if server.tls is None else "https")
        request = server._count(
            self.connection, headers[":method"], headers[":path"], plain, self.body
        )
        try:
            server._step(self, request)
        except BaseException as error:
            if not server.stopping.is_set():
                server.failures.append(error)

    def send(self, data: bytes) -> bool:
        """A piece of a reply in HTTP/1.1. False when the peer is gone."""
        try:
            if self.left is None:
                self.text += data
                while b"\r\n\r\n" in self.text and self.left is None:
                    head, _, self.text = self.text.partition(b"\r\n\r\n")
                    self._send_head(head.decode("latin-1"))
                data, self.text = (self.text, b"") if self.left is not None else (b"", self.text)
            return self._send_body(data)
        except (h2.exceptions.ProtocolError, OSError):
            return False

    def _send_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        status = first.split(" ")[1]
        pairs = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        fields = [(name.lower(), value) for name, value in pairs if name.lower() != "connection"]
        with self.connection.lock:
            self.connection.h2.send_headers(self.number, [(":status", status), *fields])
            self.connection.flush()
        if not status.startswith("1"):
            self.left = int(dict(fields).get("content-length", "0"))
            if self.left == 0:
                self._end()

    def _send_body(self, data: bytes) -> bool:
        connection = self.connection
        while data and self.left:
            with connection.lock:
                room = 0
                while not room:
                    if not self.open or self.server.stopping.is_set():
                        return False
                    room = connection.h2.local_flow_control_window(self.number)
                    if not room:
                        connection.window.wait(0.1)
                piece = data[: min(room, connection.h2.max_outbound_frame_size, self.left)]
                connection.h2.send_data(self.number, piece)
                connection.flush()
            data = data[len(piece) :]
            self.left -= len(piece)
            if self.left == 0:
                self._end()
        return self.open

    def _end(self) -> None:
        with self.connection.lock:
            self.connection.h2.end_stream(self.number)
            self.connection.flush()

    def wait(self, seconds: float) -> bool:
        return self.connection.wait(seconds)

    def read_to_end(self) -> None:
        while self.open and not self.server.stopping.wait(0.01):
            pass

    def end_sending(self) -> None:
        self.connection.end_sending()

    def close(self) -> None:
        self.connection.close()

    def reset(self) -> None:
        self.connection.reset()


class H2Server(scripted.Server):
    """A scripted server that offers HTTP/2 alone, over TLS with ALPN."""

    def __init__(
        self, *args: Any, tls: ssl.SSLContext, max_streams: int | None = None, **named: Any
    ) -> None:
        tls.set_alpn_protocols(["h2"])
        self.max_streams = max_streams
        super().__init__(*args, tls=tls, **named)

    def _connection(self, sock: socket.socket, number: int) -> Connection:
        connection = H2Connection(self, sock, number)
        connection.max_streams = self.max_streams
        return connection

    def _serve(self, connection: Connection, greeting: Greeting | None) -> None:
        assert isinstance(connection, H2Connection)
        connection.end = connection.close
        try:
            if greeting is not None:
                greeting(connection)
            if connection.open and connection.start_tls():
                connection.serve()
        except h2.exceptions.ProtocolError as error:
            self.failures.append(error)
        except BaseException as error:
            if not self.stopping.is_set():
                self.failures.append(error)
        finally:
            # A descriptor that another thread still writes to could be the next connection's.
            with connection.lock:
                connection.end()


# --- steps that only HTTP/2 has -------------------------------------------------------------------


def reset_stream(code: h2.errors.ErrorCodes, *, head: bool = False) -> Step:
    """RST_STREAM; with `head` after the HEADERS of a 200."""

    def step(connection: Any, request: Request) -> None:
        if head:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        with connection.connection.lock:
            connection.connection.h2.reset_stream(connection.number, code)
            connection.connection.flush()

    return step


def goaway(
    last: int | None = None,
    code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.NO_ERROR,
    *,
    close: bool = False,
) -> Step:
    """GOAWAY with the id of the last stream that is processed (None: this one)."""

    def step(connection: Any, request: Request) -> None:
        lower = connection.connection
        with lower.lock:
            frame = _frame("GoAwayFrame", 0)
            frame.last_stream_id = connection.number if last is None else last
            frame.error_code = int(code)
            lower.send(frame.serialize())
        if close:
            connection.close()

    return step


def frames(*pieces: bytes) -> Step:
    """Send these bytes as they are."""

    def step(connection: Any, request: Request) -> None:
        for piece in pieces:
            with connection.connection.lock:
                if not connection.connection.send(piece):
                    return

    return step


def settings(**values: int) -> Step:
    """SETTINGS with these values, by name in lower case."""

    def step(connection: Any, request: Request) -> None:
        codes = {h2.settings.SettingCodes[name.upper()]: value for name, value in values.items()}
        with connection.connection.lock:
            connection.connection.h2.update_settings(codes)
            connection.connection.flush()

    return step


def _frame(kind: str, stream: int) -> Any:
    import hyperframe.frame

    return getattr(hyperframe.frame, kind)(stream)
