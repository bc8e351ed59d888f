"""Sandbox processes: their start, output and end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lambdamap.local import unsent
from lambdamap.local.memory import Memory

if TYPE_CHECKING:
    from lambdamap.local.http import Request
    from lambdamap.local.invocation import Invocation

__all__ = ["LOG_BYTES", "Lifeline", "Sandbox", "Settings", "Surroundings"]

LOG_BYTES = 4096  # limit for X-Amz-Log-Result
_LOG_READS = 64  # of 64 KB each, so that much output does not block the loop
_POLL_S = 0.05  # interval where a process cannot be watched through a descriptor


def _unnamed_file() -> int:
    """Return a descriptor of an empty file without a name, for a child to inherit."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return os.memfd_create("lambdamap-sandbox")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Lifeline:
    """A pipe that is closed when the caller ends in any way, which ends the sandboxes."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()

    def close(self) -> None:
        """Close both ends. Idempotent; also for the child of a fork."""
        for fd in (self.read_fd, self._write_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self.read_fd = self._write_fd = -1


# Changes with each test and is of no use to f: not a reason to replace a sandbox.
_IGNORED = ("PYTEST_CURRENT_TEST",)


class Surroundings:
    """What a sandbox inherits from its caller: import path, directory, environment, arguments."""

    def __init__(self) -> None:
        self.directory = _directory()
        self.path = _import_path(self.directory)
        self.environment = dict(os.environ)
        self.arguments = _arguments()

    def differ(self, other: Surroundings) -> bool:
        """Return whether a process with the other surroundings must be replaced."""
        ignored = {name: self.environment.get(name) for name in _IGNORED}
        same = {**self.environment, **ignored} == {**other.environment, **ignored}
        return not same or (self.directory, self.path, self.arguments) != (
            other.directory,
            other.path,
            other.arguments,
        )


def _arguments() -> list[str]:
    # sys.argv is missing in an embedded interpreter, and may be any object.
    found = getattr(sys, "argv", [])
    return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"  # the directory was removed


def _import_path(directory: str) -> list[str]:
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    return [os.path.join(directory, entry) if entry else directory for entry in entries]


class Settings(NamedTuple):
    """The constant settings of a server."""

    sandboxes: int
    kind: str
    handler: str
    timeout_s: float
    arn: str
    api: str
    stop_abandoned: bool
    memory_mb: int | None  # None: no limit
    variables: Callable[[], dict[str, str]]
    log: Callable[[bytes], object] | None


class Sandbox:
    """One process, as the server sees it. For the server's event loop.

    Parameters
    ----------
    settings, surroundings, variables
        What it runs, what it inherits, and the environment variables on top.
    lifeline
        Ends the process when the caller ends.
    on_exit
        Called when the process has ended.

    Raises
    ------
    OSError
        The process cannot be started.
    """

    def __init__(
        self,
        settings: Settings,
        surroundings: Surroundings,
        variables: dict[str, str],
        lifeline: Lifeline,
        on_exit: Callable[[Sandbox], None],
    ) -> None:
        self.token = secrets.token_urlsafe(18)
        self.ready = False  # has asked for an invocation at least once
        self.stale = False  # to be replaced before its next invocation
        self.parked: Request | None = None  # its open request for the next invocation
        self.invocation: Invocation | None = None
        self.init_error: bytes | None = None  # its report that it cannot start, as JSON
        self.timer: asyncio.TimerHandle | None = None
        self.sources: dict[str, tuple[int, int]] = {}  # file -> modification time in ns, size
        self.log = bytearray()  # the end of its output
        self.started = asyncio.get_running_loop().time()
        self.init_s = 0.0  # from then until it asked for its first invocation
        self.is_new = True  # it has had none
        self.is_logged = True  # pass output on to the server's log
        self.out_of_memory = False
        self._on_exit = on_exit
        self._on_log = settings.log
        self._memory_mb = settings.memory_mb
        self._loop = asyncio.get_running_loop()
        self._gone = False
        self._pid_fd = -1
        # What the process needs and f must not see.
        own = {
            "arguments": surroundings.arguments,
            "lifeline": lifeline.read_fd,
            "path": surroundings.path,
            "as_on_aws": "AWS_ENDPOINT_URL_LAMBDA" in variables,  # it can invoke its own function
            "restore": {
                name: surroundings.environment.get(name)
                for name in ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED")
            },
        }
        # Not in the environment, whose size is limited. Once started, the process keeps its unsent
        # output in this file, which survives a crash.
        self._notes = _unnamed_file()
        with contextlib.ExitStack() as failed:
            failed.callback(os.close, self._notes)
            os.write(self._notes, json.dumps(own).encode())
            self.process = self._start(settings, surroundings, variables, lifeline)
            failed.pop_all()
        self.memory = Memory(self.process.pid)
        assert self.process.stdout is not None
        self._out = self.process.stdout.fileno()
        os.set_blocking(self._out, False)
        self._loop.add_reader(self._out, self.read_log)
        try:
            self._pid_fd = os.pidfd_open(self.process.pid)
            self._loop.add_reader(self._pid_fd, self._ended)
        except (AttributeError, OSError):
            self._loop.call_later(_POLL_S, self._poll)

    def _start(
        self,
        settings: Settings,
        surroundings: Surroundings,
        variables: dict[str, str],
        lifeline: Lifeline,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "lambdamap.local.sandbox", settings.kind, settings.handler],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=surroundings.directory,
            env={
                **surroundings.environment,
                **variables,
                "AWS_LAMBDA_RUNTIME_API": f"{settings.api}/{self.token}",
                "LAMBDA_TASK_ROOT": surroundings.directory,
                "PYTHONPATH": os.pathsep.join(surroundings.path),
                "PYTHONSAFEPATH": "1",
                "PYTHONUNBUFFERED": "1",
                "LAMBDAMAP_SANDBOX": str(self._notes),
            },
            pass_fds=(lifeline.read_fd, self._notes),
            start_new_session=True,  # Ctrl-C at the terminal must not reach it
        )

    @property
    def busy(self) -> bool:
        return self.invocation is not None

    def read_log(self) -> None:
        """Read the output of the process, and keep the end of it."""
        for _ in range(_LOG_READS):
            if self._out < 0:
                return
            try:
                data = os.read(self._out, 65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._out)
                self._out = -1
                return
            self._keep(data)

    def read_unsent(self) -> None:
        """Read the output that no reply contains, of a process that has ended or will."""
        self.read_log()
        if self._notes >= 0 and self.ready:
            self._keep(unsent.read(self._notes))
            os.close(self._notes)
            self._notes = -1

    def _keep(self, data: bytes) -> None:
        self.log += data
        del self.log[:-LOG_BYTES]
        if data and self.is_logged and self._on_log is not None:
            self._on_log(data)

    def _poll(self) -> None:
        if self._gone:
            return
        if self.process.poll() is None:
            self._loop.call_later(_POLL_S, self._poll)
        else:
            self._ended()

    def _ended(self) -> None:
        if self._gone:
            return
        self.kill()  # processes that it has left running
        self.process.wait()
        self.read_unsent()
        self.close()
        self._on_exit(self)

    def end_of(self) -> str:
        """Return how the process ended, in Lambda's wording."""
        status = self.process.returncode
        if self.out_of_memory:
            return (
                f"Runtime exited with error: signal: killed, for using more than {self._memory_mb} "
                "MB: raise memory_mb (lambdamap serve --memory)"
            )
        if status is not None and status < 0:
            names = {number.value: number.name for number in signal.Signals}
            name = names.get(-status, f"SIG{-status}")[3:].lower()
            return f"Runtime exited with error: signal: {'killed' if -status == 9 else name}"
        if status:
            return f"Runtime exited with error: exit status {status}"
        return "Runtime exited without providing a reason"

    def kill(self) -> None:
        """Send SIGKILL to the process and to those that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close(self) -> None:
        """Close the descriptors. Idempotent."""
        self._gone = True
        self.stop_timer()
        if self._out >= 0:
            self._loop.remove_reader(self._out)
            self._out = -1
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._notes >= 0:
            os.close(self._notes)
            self._notes = -1
        if self._pid_fd >= 0:
            self._loop.remove_reader(self._pid_fd)
            os.close(self._pid_fd)
            self._pid_fd = -1

    def is_outdated(self) -> bool:
        """Return whether a source file has changed since the process loaded it."""
        for path, (mtime_ns, size) in self.sources.items():
            try:
                facts = os.stat(path)
            except OSError:
                continue
            if (facts.st_mtime_ns, facts.st_size) != (mtime_ns, size):
                return True
        return False
