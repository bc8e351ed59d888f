"""The memory of a sandbox and its child processes. On Linux only: elsewhere it counts as 0."""

from __future__ import annotations

import os
import time

__all__ = ["Memory"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_EXACT_SHARE = 10  # exact measurements take at most a tenth of the time


class Memory:
    """The memory of one sandbox's processes.

    A cgroup would be exact, but only root may create one, and not in a container. So resident pages
    are counted: cheaply while the sum over all processes is within the limit, and above it exactly,
    with pages shared by several processes counted once.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._family = {pid}
        self._next_exact = 0.0

    def exceeds(self, limit: int, with_children: bool = True) -> bool:
        """Return whether the processes use more than `limit` bytes now.

        with_children: look for new child processes, which takes longer.
        """
        if with_children:
            self._find_children()
        resident = sum(_resident(pid) for pid in self._family)
        if resident <= limit:
            return False
        if len(self._family) == 1:
            return True
        started = time.monotonic()
        if started < self._next_exact:
            return False
        exact = sum(_proportional(pid) for pid in self._family)
        now = time.monotonic()
        self._next_exact = now + _EXACT_SHARE * (now - started)
        return exact > limit

    def exceeded(self, limit: int) -> bool:
        """Return whether the sandbox's own process has ever used more than `limit` bytes."""
        return self.peak() > limit

    def peak(self) -> int:
        """Return the most bytes that the sandbox's own process has used so far; -1: unknown."""
        return _field(f"/proc/{self._pid}/status", "VmHWM:")

    def _find_children(self) -> None:
        """Add the children of known processes. Orphans are known from before their parents ended."""
        alive: set[int] = set()
        waiting = [pid for pid in self._family if pid == self._pid or _group(pid) == self._pid]
        while waiting:
            pid = waiting.pop()
            if pid not in alive:
                alive.add(pid)
                waiting += _children(pid)
        self._family = alive | {self._pid}


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _group(pid: int) -> int:
    """Return its process group, or -1; a reused process id is in another group."""
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _proportional(pid: int) -> int:
    exact = _field(f"/proc/{pid}/smaps_rollup", "Pss:")
    return exact if exact >= 0 else _resident(pid)


def _field(path: str, name: str) -> int:
    """Return the kB of a line as bytes, or -1 if there is no such line."""
    for line in _read(path).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return -1
