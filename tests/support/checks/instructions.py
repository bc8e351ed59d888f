"""Instructions of the dispatcher per invocation, as counted by valgrind.

Times vary between runs and machines, instructions hardly do. `count` runs tests/c/load.c under
callgrind twice, with few and with many invocations of 2 KB over the same connections, and divides
the difference. There is one I/O thread, and a server in this process that replies at once.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Count", "count", "recorded", "suite"]

ROOT = Path(__file__).parents[3]
WIDTH, FEW, MANY = 16, 64, 320
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2048\r\n\r\n"
_REPLY += b'"' + b"x" * 2046 + b'"'
_HANG_S = 120.0


@dataclass(frozen=True)
class Count:
    """Instructions per invocation: all, and those of the project's own code."""

    all: float
    own: float


class _Answer(asyncio.Protocol):
    def __init__(self, transports: set[asyncio.BaseTransport]) -> None:
        self._transports = transports  # of all open connections

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self._transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transports.add(transport)
        self._have = b""

    def data_received(self, data: bytes) -> None:
        self._have += data
        head, found, body = self._have.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if found and length is not None and len(body) == int(length[1]):
            self._have = b""
            self._transport.write(_REPLY)


@contextmanager
def _server(context: ssl.SSLContext | None) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    transports: set[asyncio.BaseTransport] = set()
    server = loop.run_until_complete(
        loop.create_server(lambda: _Answer(transports), "127.0.0.1", 0, ssl=context)
    )
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_HANG_S)
        server.close()
        loop.run_until_complete(_close_all(transports))
        loop.close()


async def _close_all(transports: set[asyncio.BaseTransport]) -> None:
    """Close all connections, so that the garbage collector does not warn about them."""
    ends = asyncio.get_running_loop().time() + _HANG_S
    for transport in list(transports):
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
    while transports and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0.001)


def _read(profile: Path) -> Count:
    """Sum up callgrind's output: the self cost of each function, by object file."""
    names: dict[str, str] = {}
    every = own = 0
    ours = called = False
    for line in profile.read_text().splitlines():
        if match := re.match(r"c?ob=\((\d+)\)(?: (.+))?", line):
            if match[2]:
                names[match[1]] = match[2]
            if line.startswith("ob="):
                ours = names[match[1]].endswith("/build/load/load")
        elif line.startswith("calls="):
            called = True  # the next line is the callee's cost
        elif line[:1] and line[0] in "0123456789+-*":
            if not called:
                cost = int(line.split()[1])
                every += cost
                own += cost if ours else 0
            called = False
    return Count(every, own)


def _run(port: int, ca_file: Path | None, n: int) -> Count:
    where = (
        ["http", "127.0.0.1", str(port)] if ca_file is None else ["https", "localhost", str(port)]
    )
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
        command += ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        command += [
            str(ROOT / "tests/c/build/load/load"),
            *where,
            "f",
            str(ca_file),
            str(n),
            str(WIDTH),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_HANG_S)
        assert done.returncode == 0, done.stderr
        return _read(profile)


def count(context: ssl.SSLContext | None = None, ca_file: Path | None = None) -> Count:
    """Return the instructions per invocation, plain or with a server's TLS context and its CA."""
    subprocess.run(["make", "-s", "-C", str(ROOT / "tests" / "c"), "load"], check=True)
    with _server(context) as port:
        few, many = (_run(port, ca_file, n) for n in (FEW, MANY))
    n = MANY - FEW
    return Count((many.all - few.all) / n, (many.own - few.own) / n)


def suite() -> str:
    """Return Debian's release name and the processor, which the counts depend on."""
    release = platform.freedesktop_os_release()
    name = release.get("VERSION_CODENAME", "unknown")
    # Debian's testing release has the name of the one after the current stable one.
    return f"{'sid' if 'sid' in release.get('PRETTY_NAME', '') else name}, {platform.machine()}"


def recorded(document: str) -> dict[str, list[Count]]:
    """Return the table in docs/benchmarks.md: by suite, plain and over TLS."""
    rows = re.findall(
        r"^\| (\w+, \w+) \| ([\d,]+) / ([\d,]+) \| ([\d,]+) / ([\d,]+) \|$", document, re.M
    )
    found = {}
    for name, *numbers in rows:
        plain_all, plain_own, tls_all, tls_own = (int(n.replace(",", "")) for n in numbers)
        found[name] = [Count(plain_all, plain_own), Count(tls_all, tls_own)]
    return found
