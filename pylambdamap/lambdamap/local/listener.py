"""The listening socket, and a limit for its connections.

A connection is a stranger's until a request on it has a valid signature. Strangers get a few slots;
when these are taken, the oldest connection gives way to the next. So a stranger can exhaust neither
the memory nor the descriptors of the process, nor keep others out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from lambdamap.local.http import Admission, Connection, Request

__all__ = ["Complaints", "Listener"]

_MAX_OPEN = 4096
_MAX_STRANGERS = 256
_BACKLOG = 4096  # the kernel may reduce it
_AT_ONCE = 16  # connections accepted in one iteration of the loop
_READ_BYTES = 65536  # received at once
_GRACE_S = 0.25  # for the first request of a new connection, before it gives way to another
_PAUSE_S = 0.05  # between two attempts when there is no room
_IDLE_S = 5.0  # without a request, after which a proven connection may give way
_COMPLAINT_S = 60.0  # between two log records

_log = logging.getLogger("lambdamap")


class Complaints:
    """Logs at most one warning a minute, with the number of those suppressed."""

    def __init__(self) -> None:
        self._next = 0.0
        self._suppressed = 0

    def say(self, text: str, error: BaseException | None = None) -> None:
        """Log a warning, with the traceback of an error."""
        now = time.monotonic()
        if now < self._next:
            self._suppressed += 1
            return
        more = f" ({self._suppressed} similar warnings suppressed)" if self._suppressed else ""
        self._next, self._suppressed = now + _COMPLAINT_S, 0
        _log.warning("local Lambda: %s%s", text, more, exc_info=error)

    def of_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle exceptions for asyncio (`loop.set_exception_handler`)."""
        self.say(str(context.get("message")), context.get("exception"))


class Limits:
    """How many connections may be open, derived from the process's limit of descriptors."""

    def __init__(self, share: int) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft == resource.RLIM_INFINITY:
            soft = 1 << 20
        self.open = max(16, min(_MAX_OPEN, soft // 2))
        self.strangers = max(8, min(_MAX_STRANGERS, soft // share))
        self.descriptor = soft - soft // 8  # from this number on, the process has few left


class Listener:
    """Accepts connections on a port of 127.0.0.1. For the event loop that it is created in.

    Parameters
    ----------
    port
        0 for any free port.
    complaints
        For what cannot be reported to a client.
    share
        Strangers get one in so many of the descriptors that this process may have.

    Raises
    ------
    OSError
        The port is in use.
    """

    def __init__(self, port: int, complaints: Complaints, share: int) -> None:
        self._sock = socket.socket()
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sock.bind(("127.0.0.1", port))
        except OSError as error:
            self._sock.close()
            reason = f"cannot listen on 127.0.0.1:{port}: {error.strerror}"
            raise OSError(error.errno, reason) from None
        self.scratch = bytearray(_READ_BYTES)
        self.port: int = self._sock.getsockname()[1]
        self._judge: Callable[[Request], Admission] | None = None
        self._complaints = complaints
        self._loop = asyncio.get_running_loop()
        self._share = share
        self._limits = Limits(share)
        self._open: dict[Connection, None] = {}
        self._strangers: dict[Connection, float] = {}  # with loop times of arrival, oldest first
        self._starting: set[asyncio.Task[None]] = set()
        self._accepting = self._stopped = False
        self._is_short = False  # of descriptors

    def start(self, judge: Callable[[Request], Admission]) -> None:
        """Accept connections; `judge` is called with the headers of each request."""
        self._judge = judge
        self._sock.listen(_BACKLOG)
        self._resume()

    def stop(self) -> None:
        """Accept no more connections."""
        self._stopped = True
        self._pause()

    async def close(self) -> None:
        """Close the socket and every connection."""
        self.stop()
        if self._starting:  # asyncio would leave them to the garbage collector
            await asyncio.wait(self._starting, timeout=10)
        self._sock.close()
        for connection in list(self._open):
            connection.drop()
        await asyncio.sleep(0)  # for the transports to close

    def filenos(self) -> list[int]:
        """Return the descriptors of the socket and of all connections."""
        return [self._sock.fileno(), *(connection.fileno() for connection in list(self._open))]

    # --- what connections say -----------------------------------------------------------------

    @property
    def is_crowded(self) -> bool:
        """Whether connections should be closed after their current request."""
        return len(self._open) - len(self._strangers) > self._limits.open * 3 // 4

    def proved(self, connection: Connection) -> None:
        """Note that a request on a connection had a valid signature."""
        self._strangers.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """Note that a connection is closed, or will be in this iteration of the loop. Idempotent."""
        self._open.pop(connection, None)
        self._strangers.pop(connection, None)

    def failed(self, text: str, error: BaseException) -> None:
        """Log an exception in this package."""
        self._complaints.say(text, error)

    # --- accepting ----------------------------------------------------------------------------

    def _resume(self) -> None:
        if not self._accepting and not self._stopped:
            self._accepting = True
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def _wait(self) -> None:
        self._pause()
        self._loop.call_later(_PAUSE_S, self._resume)

    def _accept(self) -> None:
        assert self._judge is not None
        self._limits = Limits(self._share)
        for _ in range(_AT_ONCE):
            if not self._has_room():
                self._wait()
                return
            try:
                peer, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._drop_strangers(0, 0.0)
                self._complaints.say(f"cannot accept connections: {error}")
                self._wait()
                return
            peer.setblocking(False)
            connection = Connection(self._judge, self, peer)
            self._open[connection] = None
            self._strangers[connection] = self._loop.time()
            # The kernel uses the lowest free number.
            self._is_short = peer.fileno() >= self._limits.descriptor
            if self._is_short:
                self._drop_strangers(_AT_ONCE, _GRACE_S)
            task = self._loop.create_task(self._start(connection, peer))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, connection: Connection, peer: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, peer)
        except OSError as error:
            self.closed(connection)
            peer.close()
            self._complaints.say(f"cannot serve a connection: {error}")

    def _has_room(self) -> bool:
        """Return whether another connection may be opened, after dropping one if necessary."""
        most = min(self._limits.strangers, _AT_ONCE) if self._is_short else self._limits.strangers
        if len(self._strangers) >= most:
            return self._drop_ended(self._strangers) or self._drop_oldest_stranger()
        if len(self._open) < self._limits.open:
            return True
        return self._drop_ended(self._open) or self._drop_oldest_stranger() or self._drop_idle()

    def _drop_ended(self, connections: Iterable[Connection]) -> bool:
        for connection in connections:
            if connection.is_over:
                connection.drop()
                return True
        return False

    def _drop_oldest_stranger(self) -> bool:
        for connection, came in self._strangers.items():
            if self._loop.time() - came < _GRACE_S:
                return False
            connection.read_now()  # the loop may be late: its request may have arrived
            if connection in self._strangers:
                connection.drop()
            return True
        return False

    def _drop_strangers(self, kept: int, grace_s: float) -> None:
        """Drop the strangers but for the newest `kept`, and those younger than `grace_s`."""
        latest = self._loop.time() - grace_s
        for connection, came in list(self._strangers.items())[: -kept or None]:
            if came > latest:
                return
            connection.read_now()
            if connection in self._strangers:
                connection.drop()

    def _drop_idle(self) -> bool:
        ends = self._loop.time() - _IDLE_S
        for connection in self._open:
            if connection.idle_since < ends:
                connection.read_now()
                if connection.idle_since < ends:
                    connection.drop()
                return True
        return False
