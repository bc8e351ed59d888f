"""A forward proxy on loopback that supports CONNECT only."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import threading
from types import TracebackType

__all__ = ["Proxy"]


class Proxy:
    """Tunnels every CONNECT to one port of this machine, whatever host it names.

    Parameters
    ----------
    port
        Where tunnels end.
    status
        Reply with this status instead of tunnelling, unless it is 200.
    user
        ``name:password`` that clients must send; otherwise the reply is 407.
    """

    def __init__(self, port: int, status: int = 200, user: str | None = None) -> None:
        self.connects: list[str] = []  # authorities requested
        self.heads: list[str] = []
        self._to = port
        self._status = status
        self._user = user
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def url(self) -> str:
        user = f"{self._user}@" if self._user else ""
        return f"http://{user}127.0.0.1:{self.port}"

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="proxy", daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._start(self._try_to_serve, client)

    def _try_to_serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has disconnected
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := client.recv(65536)):
                return
            head += more
        text = head.decode("latin-1")
        self.heads.append(text)
        self.connects.append(text.split(" ")[1])
        status = self._status
        if self._user is not None:
            wanted = base64.b64encode(self._user.encode()).decode()
            status = 200 if f"Proxy-Authorization: Basic {wanted}\r\n" in text else 407
        if status != 200:
            client.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        self._sockets.append(server)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._pump(client, server)

    def _pump(self, *ends: socket.socket) -> None:
        other = {ends[0]: ends[1], ends[1]: ends[0]}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
            for end in ends:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    if not (data := end.recv(65536)):
                        return
                    other[end].sendall(data)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(10)  # no more clients will connect
        for thread in self._threads:
            while thread.is_alive():  # one may be on its way to the server
                for sock in list(self._sockets):
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
                thread.join(0.1)
        for sock in (self._listener, *self._sockets):
            sock.close()
