"""Output of f that no reply contains yet, in memory that a sandbox shares with the server.

It survives a crash and closed descriptors. It is a ring buffer: the count of all bytes written, as
eight bytes in native order, then the last `SIZE` bytes.
"""

from __future__ import annotations

import os
import struct

__all__ = ["SIZE", "Unsent", "read"]

SIZE = 65536
_COUNT = struct.Struct("=Q")


def read(fd: int) -> bytes:
    """Return the output in a file that a sandbox has taken over; b"" if none has."""
    data = os.pread(fd, _COUNT.size + SIZE, 0)
    if len(data) < _COUNT.size + SIZE:
        return b""
    (count,) = _COUNT.unpack_from(data)
    ring = data[_COUNT.size :]
    at = count % SIZE
    return ring[:count] if count <= SIZE else ring[at:] + ring[:at]


class Unsent:
    """The writing side, in the sandbox.

    Parameters
    ----------
    fd
        A file, which is truncated and mapped; the descriptor may be closed afterwards.
    """

    def __init__(self, fd: int) -> None:
        import mmap

        os.ftruncate(fd, 0)
        os.ftruncate(fd, _COUNT.size + SIZE)
        self._memory = mmap.mmap(fd, _COUNT.size + SIZE)
        self._count = 0
        self._index = -1
        self._at_line_start = True

    def keep(self, index: int, text: str) -> None:
        """Add text printed by the item of this index, in the form that the caller is shown."""
        if index != self._index and not self._at_line_start:
            self._write(b"\n")
            self._at_line_start = True
        self._index = index
        lines = text[-SIZE:].splitlines(keepends=True)
        for line in lines:
            prefix = f"[{index}] " if self._at_line_start else ""
            self._write((prefix + line).encode("utf-8", "replace"))
            self._at_line_start = line.endswith(("\n", "\r"))

    def _write(self, data: bytes) -> None:
        data = data[-SIZE:]
        at = self._count % SIZE
        first, rest = data[: SIZE - at], data[SIZE - at :]
        start = _COUNT.size
        self._memory[start + at : start + at + len(first)] = first
        self._memory[start : start + len(rest)] = rest
        self._count += len(data)
        _COUNT.pack_into(self._memory, 0, self._count)

    def forget(self) -> None:
        """Drop the output: a reply contains it now."""
        if self._count:
            self._count = 0
            self._at_line_start = True
            _COUNT.pack_into(self._memory, 0, 0)
