"""A private network, in which packets can be dropped and names resolved as a test specifies.

Tests marked ``own_network`` run in a second pytest inside a new network and mount namespace, all of
a session's in one: `run_inside`, called by tests/faults/conftest.py. Inside, `Names` answers DNS
queries and `drop` discards packets. This needs root and a kernel that allows it; otherwise the
tests are skipped with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Names", "blackhole", "drop", "inside", "run_inside", "why_not"]

_INSIDE = "TESTS_OWN_NETWORK"
_NAMESERVER = "127.0.0.53"


def inside() -> bool:
    return _INSIDE in os.environ


@functools.cache
def why_not() -> str | None:
    """Return why a private network is not possible here."""
    if os.geteuid() != 0:
        return "a network namespace of its own needs root"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", "ip link set lo up && nft add table inet t"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if tried.returncode == 0 else f"the kernel refuses: {tried.stderr.strip()}"


def run_inside(items: Sequence[pytest.Item]) -> dict[str, str]:
    """Run these tests in one private network; return failures by test name."""
    with tempfile.TemporaryDirectory() as folder:
        resolver = Path(folder) / "resolv.conf"
        resolver.write_text(f"nameserver {_NAMESERVER}\noptions timeout:5 attempts:2\n")
        report = Path(folder) / "report.xml"
        set_up = f"ip link set lo up && mount --bind {resolver} /etc/resolv.conf && exec"
        done = subprocess.run(
            [
                "unshare", "--net", "--mount", "sh", "-c", f'{set_up} "$@"', "sh", sys.executable,
                "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-m", "soak or not soak",
                *(item.nodeid for item in items),
            ],
            capture_output=True, text=True, check=False, env={**os.environ, _INSIDE: "1"},
        )  # fmt: skip
        if not report.exists():
            return dict.fromkeys((item.name for item in items), done.stdout + done.stderr)
        ends: dict[str, str] = {}
        for case in ET.parse(report).getroot().iter("testcase"):
            bad = [part.text or "" for part in case if part.tag in ("failure", "error", "skipped")]
            name = case.get("name", "")  # a failing tear-down is a test case of its own
            ends[name] = "\n".join(filter(None, [ends.get(name, ""), *bad]))
        return {
            item.name: ends.get(item.name, f"did not run:\n{done.stdout}{done.stderr}")
            for item in items
        }


# --- inside -------------------------------------------------------------------------------------


def _nft(*commands: str) -> None:
    subprocess.run(["nft", "; ".join(commands)], check=True)


@contextlib.contextmanager
def drop(port: int) -> Iterator[None]:
    """Drop every packet to and from this TCP port from now on."""
    _nft(
        "add table inet faults",
        "add chain inet faults in { type filter hook input priority 0 ; }",
        f"add rule inet faults in tcp dport {port} drop",
        f"add rule inet faults in tcp sport {port} drop",
    )
    try:
        yield
    finally:
        _nft("delete table inet faults")


@contextlib.contextmanager
def blackhole() -> Iterator[int]:
    """Return a port whose SYNs are never answered."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    with drop(port):
        yield port


@dataclass
class Names:
    """A DNS server that resolves every name to 127.0.0.1.

    It does so after `delay_s` or when `answers` is set, and returns the `codes` first (2 SERVFAIL,
    3 NXDOMAIN, 0 an answer). It counts the queries for A records.
    """

    delay_s: float = 0.0
    codes: list[int] = field(default_factory=list)
    then: int = 0
    asked: list[str] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Names:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((_NAMESERVER, 53))
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                question, peer = self._socket.recvfrom(512)
            except OSError:
                return
            if not question:
                return
            answer = self._answer(question)
            if self.delay_s:
                threading.Thread(
                    target=self._later, args=(answer, peer), name="names", daemon=True
                ).start()
            else:
                self._later(answer, peer)

    def _later(self, answer: bytes, peer: tuple[str, int]) -> None:
        self.answers.wait(self.delay_s)
        with contextlib.suppress(OSError):
            self._socket.sendto(answer, peer)

    def _answer(self, question: bytes) -> bytes:
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        is_a = kind == 1
        code = self.then
        if is_a:
            self.asked.append(".".join(labels))
            code = self.codes.pop(0) if self.codes else self.then
        elif self.codes:
            code = self.codes[0]  # AAAA is sent the same way as its A
        body = question[12 : at + 5]
        found = code == 0 and is_a
        head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, int(found), 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + bytes([127, 0, 0, 1])
        return head + body + (record if found else b"")
