"""What a shared library needs from the system that loads it, according to its dynamic section.

The format is described in "Executable and Linkable Format (ELF)", parts 1 and 2, and in "Symbol
Versioning" of the Linux Standard Base. Only 64-bit little-endian files, as Lambda's processors use.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NamedTuple

__all__ = ["Needs", "needs_of"]

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_GLIBC = re.compile(r"GLIBC_2\.(\d+)(\.\d+)?")
_RELATIVE = {"GLIBC_ABI_DT_RELR": 36}  # a feature of the loader, since that version


class Needs(NamedTuple):
    """The requirements of one library."""

    libraries: list[str]  # such as "libc.so.6", in load order
    glibc_minor: int  # N of the newest symbol version GLIBC_2.N; 0: none


def needs_of(library: Path) -> Needs:
    """Return the requirements of a library.

    Raises
    ------
    ValueError
        The file is not a 64-bit little-endian ELF file, or is damaged.
    """
    data = library.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{library.name} is not a 64-bit ELF file")
    try:
        return _read(data)
    except (struct.error, ValueError, KeyError, StopIteration) as error:
        raise ValueError(f"{library.name} is damaged") from error


def _read(data: bytes) -> Needs:
    table, size, count = (
        struct.unpack_from("<Q", data, 0x20)[0],
        *struct.unpack_from("<HH", data, 0x36),
    )
    loaded: list[tuple[int, int, int]] = []  # address, size, place in the file
    dynamic = None
    for at in range(table, table + size * count, size):
        kind, _, place, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == _PT_LOAD:
            loaded.append((address, length, place))
        elif kind == _PT_DYNAMIC:
            dynamic = (place, length)
    if dynamic is None:
        return Needs([], 0)

    def place_of(address: int) -> int:
        return next(p + address - a for a, length, p in loaded if a <= address < a + length)

    entries = list(struct.iter_unpack("<QQ", data[dynamic[0] : sum(dynamic)]))
    tags = dict(reversed(entries))
    strings = place_of(tags[_DT_STRTAB])

    def text(offset: int) -> str:
        start = strings + offset
        return data[start : data.index(b"\0", start)].decode("ascii", "replace")

    libraries = [text(value) for tag, value in entries if tag == _DT_NEEDED]
    newest = 0
    if _DT_VERNEED in tags:
        at = place_of(tags[_DT_VERNEED])
        for _ in range(tags[_DT_VERNEEDNUM]):
            _, versions, _, first, following = struct.unpack_from("<HHIII", data, at)
            one = at + first
            for _ in range(versions):
                _, _, _, name, after = struct.unpack_from("<IHHII", data, one)
                version = text(name)
                found = _GLIBC.fullmatch(version)
                newest = max(newest, int(found[1]) if found else _RELATIVE.get(version, 0))
                one += after
            if not following:
                break
            at += following
    return Needs(libraries, newest)
