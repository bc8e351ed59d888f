"""A second decoder of the wire format in pure Python, written from docs/wire-format.md alone.

It shares no code with the package. It is slow and does not validate: it is for frames that are
supposed to be correct. numpy and pandas extensions are returned as `Ext` with a decoded payload;
for frames and Series of a list, each `Ext` has its index before the shared payload.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import struct
import zlib
from typing import Any


@dataclasses.dataclass
class Ext:
    """An extension that stands for a value of numpy or pandas."""

    kind: int
    payload: Any


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, n: int) -> bytes:
        part = self.data[self.at : self.at + n]
        if len(part) != n:
            raise ValueError("truncated")
        self.at += n
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def zigzag(self) -> int:
        n = self.varint()
        return n >> 1 if n & 1 == 0 else -(n >> 1) - 1

    def at_end(self) -> bool:
        return self.at == len(self.data)


def decode_text(text: str) -> Any:
    if not text.startswith("lm1:"):
        raise ValueError("no lm1: in front")
    return decode(base64.b64decode(text[4:], validate=True))


def decode(frame: bytes) -> Any:
    """Return the value of a sealed or raw frame."""
    source = _Bytes(frame)
    magic, version, flags, zero = source.take(4)
    if (magic, version, flags & ~7, zero) != (0x4C, 1, 0, 0):
        raise ValueError("another format or version")
    structure_raw, structure_stored = source.varint(), source.varint()
    packed_raw, packed_stored = source.varint(), source.varint()
    words, planes_stored, blobs = source.varint(), source.varint(), source.varint()

    def section(raw: int, stored: int, deflated: bool) -> bytes:
        data = source.take(stored)
        if deflated:
            data = zlib.decompress(data, -15)
        if len(data) != raw:
            raise ValueError("a section of another length")
        return data

    structure = section(structure_raw, structure_stored, bool(flags & 1))
    packed = section(packed_raw, packed_stored, bool(flags & 4))
    if flags & 2:
        planes = section(2 * words, planes_stored, True)
        rest = source.take(6 * words)
        numbers = b"".join(
            rest[6 * i : 6 * i + 6] + planes[i : i + 1] + planes[words + i : words + i + 1]
            for i in range(words)
        )
    else:
        numbers = source.take(8 * words)
    reader = _Reader(packed, numbers, source.take(8 * blobs))
    if not source.at_end():
        raise ValueError("something behind the frame")
    inner = _Bytes(structure)
    value = reader.value(inner)
    if not inner.at_end():
        raise ValueError("something behind the value")
    return value


class _Reader:
    def __init__(self, packed: bytes, words: bytes, blobs: bytes) -> None:
        self.packed = packed
        self.words = words
        self.blobs = blobs

    # --- msgpack ---

    def value(self, source: _Bytes) -> Any:
        code = source.byte()
        if code < 0x80:
            return code
        if code < 0x90:
            return self.map(source, code & 15)
        if code < 0xA0:
            return [self.value(source) for _ in range(code & 15)]
        if code < 0xC0:
            return source.take(code & 31).decode()
        if code >= 0xE0:
            return code - 256
        simple = {0xC0: None, 0xC2: False, 0xC3: True}
        if code in simple:
            return simple[code]
        formats = {
            0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
            0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
        }  # fmt: skip
        if code in formats:
            form = formats[code]
            return struct.unpack(form, source.take(struct.calcsize(form)))[0]
        if 0xD4 <= code <= 0xD8:
            return self.ext(source.byte(), source, 1 << (code - 0xD4))
        width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4,
                 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}[code]  # fmt: skip
        n = int.from_bytes(source.take(width), "big")
        if code <= 0xC6:
            return source.take(n)
        if code <= 0xC9:
            return self.ext(source.byte(), source, n)
        if code <= 0xDB:
            return source.take(n).decode()
        if code <= 0xDD:
            return [self.value(source) for _ in range(n)]
        return self.map(source, n)

    def map(self, source: _Bytes, n: int) -> dict[Any, Any]:
        made = {}
        for _ in range(n):
            key = self.value(source)
            made[key] = self.value(source)
        if len(made) != n:
            raise ValueError("a key twice")
        return made

    def ext(self, kind: int, outer: _Bytes, n: int) -> Any:
        data = outer.take(n)
        source = _Bytes(data)
        if kind == 1:
            count = source.varint()
            made: Any = self.column(source, count)
        elif kind == 13:
            size = source.byte()
            made = self.buffer(source, source.varint(), size)
        elif kind == 2:
            return int.from_bytes(data, "little", signed=True)
        elif kind == 7:
            return data.decode("utf-8", "surrogatepass")
        elif kind == 8:
            return bytearray(data)
        elif kind == 127:
            return Ext(127, data)
        else:
            made = self.known(kind, self.value(source))
        if not source.at_end():
            raise ValueError("something behind an extension's value")
        return made

    def known(self, kind: int, parts: list[Any]) -> Any:
        if kind == 3:
            return tuple(parts)
        if kind == 9:
            return frozenset(parts[1:]) if parts[0] else set(parts[1:])
        if kind == 6:
            return decimal.Decimal(parts[0])
        if kind == 4:
            return self.time(*parts)
        if kind == 10 and parts[0] == "complex":
            return complex(*parts[1:])
        return Ext(kind, parts)

    def time(self, kind: int, *parts: Any) -> Any:
        if kind == 0:
            return dt.date(*parts)
        if kind == 1:
            *clock, fold, zone = parts
            return dt.time(*clock, zone, fold=fold)
        if kind == 2:
            *clock, fold, zone = parts
            return dt.datetime(*clock, zone, fold=fold)
        if kind == 3:
            return dt.timedelta(*parts)
        if kind == 4:
            return dt.timezone(*parts) if parts[1] is not None else dt.timezone(parts[0])
        return Ext(4, [kind, *parts])

    # --- columns ---

    def column(self, source: _Bytes, n: int) -> list[Any]:
        kind = source.byte()
        read = getattr(self, f"column_{kind}")
        cells: list[Any] = read(source, n)
        if len(cells) != n:
            raise ValueError("a column of another length")
        return cells

    def lengths(self, source: _Bytes, n: int) -> list[int]:
        width = source.byte()
        if width == 0:
            return [source.varint()] * n
        data = source.take(n * width)
        return [int.from_bytes(data[width * i : width * (i + 1)], "little") for i in range(n)]

    def bits(self, source: _Bytes, n: int) -> list[bool]:
        data = source.take((n + 7) // 8)
        return [bool(data[i // 8] >> i % 8 & 1) for i in range(n)]

    def integers(self, source: _Bytes, n: int) -> list[tuple[int, bool]]:
        """Return the numbers, and for each whether all of its bits are set."""
        width, minimum, offset = source.byte(), source.zigzag(), source.varint()
        made = []
        for i in range(n):
            at = offset + i * width
            above = int.from_bytes(self.packed[at : at + width], "little")
            number = (minimum + above) % 2**64
            made.append(
                (number - 2**64 if number >= 2**63 else number, above == 2 ** (8 * width) - 1)
            )
        return made

    def column_0(self, source: _Bytes, n: int) -> list[Any]:
        return [self.value(source) for _ in range(n)]

    def column_1(self, source: _Bytes, n: int) -> list[Any]:
        element, offset = source.byte(), source.varint()
        cells = list(struct.unpack_from(f"<{n}d", self.words, 8 * offset))
        return cells if element == 0 else [Ext(12, ["<f8", struct.pack("<d", x)]) for x in cells]

    def column_2(self, source: _Bytes, n: int) -> list[Any]:
        element = source.byte()
        numbers = [number for number, _ in self.integers(source, n)]
        if element == 1:
            return [Ext(12, ["<i8", struct.pack("<q", number)]) for number in numbers]
        if element == 2:
            return [dt.date.fromordinal(number) for number in numbers]
        if element == 3:
            return [dt.datetime(1, 1, 1) + dt.timedelta(microseconds=us) for us in numbers]
        return numbers

    def column_3(self, source: _Bytes, n: int) -> list[Any]:
        element = source.byte()
        cells = [source.take(length) for length in self.lengths(source, n)]
        if element == 2:
            return cells
        texts = [cell.decode("utf-8" if element == 1 else "ascii") for cell in cells]
        return [decimal.Decimal(text) for text in texts] if element == 3 else texts

    def column_4(self, source: _Bytes, n: int) -> list[Any]:
        return [self.value(source)] * n

    def column_5(self, source: _Bytes, n: int) -> list[Any]:
        lengths = self.lengths(source, n)
        items = iter(self.column(source, sum(lengths)))
        return [[next(items) for _ in range(length)] for length in lengths]

    def column_6(self, source: _Bytes, n: int) -> list[Any]:
        columns = {}
        for _ in range(source.varint()):
            key = self.value(source)
            columns[key] = self.column(source, n)
        return [{key: cells[i] for key, cells in columns.items()} for i in range(n)]

    def column_7(self, source: _Bytes, n: int) -> list[Any]:
        return self.bits(source, n)

    def column_8(self, source: _Bytes, n: int) -> list[Any]:
        present = self.bits(source, n)
        cells = iter(self.column(source, sum(present)))
        return [next(cells) if there else None for there in present]

    def column_9(self, source: _Bytes, n: int) -> list[Any]:
        element, exponent = source.byte(), source.byte()
        nan, ten = bool(exponent & 0x80), float(10 ** (exponent & 0x7F))
        cells = [
            struct.unpack("<d", bytes.fromhex("000000000000f87f"))[0] if ones and nan else m / ten
            for m, ones in self.integers(source, n)
        ]
        return cells if element == 0 else [Ext(12, ["<f8", struct.pack("<d", x)]) for x in cells]

    def column_10(self, source: _Bytes, n: int) -> list[Any]:
        width = source.byte()
        values = self.column(source, source.varint())
        data = source.take(n * width)
        return [
            values[int.from_bytes(data[width * i : width * (i + 1)], "little")] for i in range(n)
        ]

    def column_11(self, source: _Bytes, n: int) -> list[Any]:
        columns = [self.column(source, n) for _ in range(source.varint())]
        return [tuple(cells[i] for cells in columns) for i in range(n)]

    def column_12(self, source: _Bytes, n: int) -> list[Any]:
        first = source.varint()
        return self.column(source, first) + self.column(source, n - first)

    def column_14(self, source: _Bytes, n: int) -> list[Any]:
        whole = self.value(source)
        return [Ext(whole.kind, [place, *whole.payload]) for place in range(n)]

    def buffer(self, source: _Bytes, n: int, size: int) -> bytearray:
        kind = source.byte()
        if kind == 13:
            place, offset = source.byte(), source.varint()
            data, unit = {0: (self.words, 8), 1: (self.blobs, 8), 2: (self.packed, 1)}[place]
            return bytearray(data[offset * unit : offset * unit + n * size])
        cells = getattr(self, f"column_{kind}")(source, n)
        if kind == 2:
            return bytearray(b"".join((c % 2**64).to_bytes(8, "little")[:size] for c in cells))
        return bytearray(struct.pack(f"<{n}d", *cells))
