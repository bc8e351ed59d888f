"""How much memory a sandbox takes, with what it has started. Linux only: elsewhere nothing is known."""

from __future__ import annotations

import os
import time

__all__ = ["Memory"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CALM = 10  # times as long as an exact look took, until the next one


class Memory:
    """The memory of one sandbox's processes.

    A cgroup would be exact, but only root may make one, and not in a container. So the resident
    pages are counted: cheaply while their sum over all processes is within the limit, and beyond
    it exactly, with pages that several processes share counted once.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._family = {pid}
        self._next_exact = 0.0

    def exceeds(self, limit: int, with_children: bool = True) -> bool:
        """Whether the processes take more than `limit` bytes now. with_children: look for new ones,
        which takes longer."""
        if with_children:
            self._look_for_children()
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
        self._next_exact = now + _CALM * (now - started)
        return exact > limit

    def exceeded(self, limit: int) -> bool:
        """Whether the sandbox's own process has ever taken more."""
        return _field(f"/proc/{self._pid}/status", "VmHWM:") > limit

    def _look_for_children(self) -> None:
        """Children of what is known. Those whose parents have ended since are known already."""
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
    """Its process group; that of a number that another process has by now is another."""
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
    """A line's number of kB, as bytes; -1 where there is none."""
    for line in _read(path).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return -1
