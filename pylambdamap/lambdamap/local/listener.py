"""The listening socket, and the connections that it may have open.

A connection is a stranger's until it has brought a request that is rightly signed. Strangers get a
few slots: when these are taken, the one that came first gives way to the next. So a stranger can
hold neither the memory nor the descriptors of the process, nor keep others out.
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
_BACKLOG = 4096  # the kernel takes its own maximum where that is less
_AT_ONCE = 16  # connections accepted in one turn of the loop
_READ_BYTES = 65536  # received at once
_GRACE_S = 0.25  # for a new connection to bring its first request before it gives way to another
_PAUSE_S = 0.05  # between two tries when there is no room
_IDLE_S = 5.0  # without a request, until a proven connection may give way
_COMPLAINT_S = 60.0

_log = logging.getLogger("lambdamap")


class Complaints:
    """Log records of which at most one is made in a minute, each with the number left out."""

    def __init__(self) -> None:
        self._next = 0.0
        self._left_out = 0

    def say(self, text: str, error: BaseException | None = None) -> None:
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return
        more = f" ({self._left_out} like it were not logged)" if self._left_out else ""
        self._next, self._left_out = now + _COMPLAINT_S, 0
        _log.warning("local Lambda: %s%s", text, more, exc_info=error)

    def of_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio cannot tell anybody else."""
        self.say(str(context.get("message")), context.get("exception"))


class Limits:
    """How many connections may be open, from the descriptors that this process may have."""

    def __init__(self, share: int) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft == resource.RLIM_INFINITY:
            soft = 1 << 20
        self.open = max(16, min(_MAX_OPEN, soft // 2))
        self.strangers = max(8, min(_MAX_STRANGERS, soft // share))
        self.descriptor = soft - soft // 8  # a number from here on: the process has few left


class Listener:
    """Accepts connections on a port of 127.0.0.1. Belongs to the loop that it is made on."""

    def __init__(self, port: int, complaints: Complaints, share: int) -> None:
        """Take the port, 0 for any. Raises OSError when another has it.

        share: strangers get one in so many of the descriptors that this process may have.
        """
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
        self._strangers: dict[Connection, float] = {}  # and when each came, first come first
        self._starting: set[asyncio.Task[None]] = set()
        self._accepting = self._stopped = False
        self._is_pressed = False  # the process has few descriptors left

    def start(self, judge: Callable[[Request], Admission]) -> None:
        """Accept connections, the heads of whose requests `judge` sees."""
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
        """The descriptors of the socket and of all connections."""
        return [self._sock.fileno(), *(connection.fileno() for connection in list(self._open))]

    # --- what connections say -----------------------------------------------------------------

    @property
    def is_crowded(self) -> bool:
        """Whether connections should end after their present request."""
        return len(self._open) - len(self._strangers) > self._limits.open * 3 // 4

    def proved(self, connection: Connection) -> None:
        """It has brought a request that is rightly signed."""
        self._strangers.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """It has no descriptor any more, or will have none at the end of this turn. Idempotent."""
        self._open.pop(connection, None)
        self._strangers.pop(connection, None)

    def failed(self, text: str, error: BaseException) -> None:
        """Our own code raised."""
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
            # The kernel gives the lowest number that is free.
            self._is_pressed = peer.fileno() >= self._limits.descriptor
            if self._is_pressed:
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
        """Whether one more may be open; one that is not needed gives way."""
        most = min(self._limits.strangers, _AT_ONCE) if self._is_pressed else self._limits.strangers
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
            connection.read_now()  # this turn of the loop may be a late one
            if connection in self._strangers:
                connection.drop()
            return True
        return False

    def _drop_strangers(self, kept: int, grace_s: float) -> None:
        """Drop all but the newest, and those that came within the grace."""
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
