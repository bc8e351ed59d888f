"""Sandbox processes: started, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdamap.local.http import Request
    from lambdamap.local.server import Invocation

__all__ = ["Lifeline", "Sandbox"]

_LOG_BYTES = 4096  # what X-Amz-Log-Result holds
_LOOK_S = 0.05  # at a process that cannot be watched through a descriptor


class Lifeline:
    """A pipe whose end tells every sandbox that the caller has gone, however it went."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()
        os.register_at_fork(after_in_child=self.close)

    def close(self) -> None:
        for fd in (self.read_fd, self._write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.read_fd = self._write_fd = -1


class Sandbox:
    """One process and what the server knows of it. Belongs to the server's loop."""

    def __init__(
        self,
        kind: str,
        handler: str,
        api: str,
        environment: dict[str, str],
        lifeline: Lifeline,
        on_exit: Callable[[Sandbox], None],
    ) -> None:
        self.token = secrets.token_urlsafe(18)
        self.started = time.monotonic()
        self.ready = False  # has asked for an invocation at least once
        self.stale = False  # has loaded a source file that has changed since
        self.parked: Request | None = None  # its open call for the next invocation
        self.invocation: Invocation | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.sources: dict[str, tuple[int, int]] = {}
        self.log = bytearray()
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._gone = False
        self._pid_fd = -1
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lambdamap.local.sandbox", kind, handler],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **environment,
                "AWS_LAMBDA_RUNTIME_API": f"{api}/{self.token}",
                "LAMBDAMAP_LIFELINE": str(lifeline.read_fd),
            },
            pass_fds=(lifeline.read_fd,),
            start_new_session=True,  # Ctrl-C at the terminal is the caller's alone
        )
        assert self.process.stdout is not None
        self._out = self.process.stdout.fileno()
        os.set_blocking(self._out, False)
        self._loop.add_reader(self._out, self._read_log)
        try:
            self._pid_fd = os.pidfd_open(self.process.pid)
            self._loop.add_reader(self._pid_fd, self._ended)
        except (AttributeError, OSError):
            self._loop.call_later(_LOOK_S, self._look)

    @property
    def busy(self) -> bool:
        return self.invocation is not None

    def _read_log(self) -> None:
        try:
            data = os.read(self._out, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._out)
            return
        self.log += data
        del self.log[:-_LOG_BYTES]

    def _look(self) -> None:
        if self.process.poll() is None:
            self._loop.call_later(_LOOK_S, self._look)
        else:
            self._ended()

    def _ended(self) -> None:
        if self._gone:
            return
        self._gone = True
        self.process.wait()
        self._read_log()
        self.close()
        self._on_exit(self)

    def end_of(self) -> str:
        """How the process ended, in the words that Lambda uses."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"Runtime exited with error: signal: {signal.Signals(-code).name[3:].lower()}"
        if code:
            return f"Runtime exited with error: exit status {code}"
        return "Runtime exited without providing a reason"

    def kill(self) -> None:
        """SIGKILL to it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the descriptors."""
        self._gone = True
        if self.timer is not None:
            self.timer.cancel()
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(self._out)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._pid_fd >= 0:
            self._loop.remove_reader(self._pid_fd)
            os.close(self._pid_fd)
            self._pid_fd = -1

    def is_outdated(self) -> bool:
        """Whether a source file that it has loaded is another by now."""
        for path, (mtime_ns, size) in self.sources.items():
            try:
                facts = os.stat(path)
            except OSError:
                continue
            if (facts.st_mtime_ns, facts.st_size) != (mtime_ns, size):
                return True
        return False
