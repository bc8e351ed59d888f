"""Golden frames, tests/golden/v1.txt, which every later release must decode.

Each line has a name, the value as a Python expression, and a raw and a sealed frame in hex. Run as
a program, this adds lines for vectors that are missing from the file; once a release has written
such frames, lines are never changed or removed.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

FILE = Path(__file__).parents[2] / "golden" / "v1.txt"

_ROWS = "[{'id': i, 'name': f'n{i}', 'x': i / 4 + 1e-9 * i * i, 'on': i in (0, 3, 9), 'tags': ['a', str(i)]} for i in range(%d)]"
VECTORS = {
    "none": "None",
    "scalars": "[True, False, None, 0, -1, 127, 128, -33, 65536, 2**63, -2**63, 1.5, float('inf')]",
    "big-ints": "[2**64, -2**64, 10**40]",
    "texts": "['', 'a', 'ü' * 20, '\\U0001f600', '\\ud800']",
    "bytes": "[b'', b'ab', bytearray(b'xyz')]",
    "containers": "[(), (1, (2,)), {}, {'a': {1: [2]}}, {1, 2}, frozenset(['x'])]",
    "times": "[D(2020, 1, 2), DT(2020, 1, 2, 3, 4, 5, 6), TD(-1, 5), DT(2020, 1, 1, tzinfo=UTC), T(1, 2)]",
    "decimals-and-complex": "[Decimal('1.10'), Decimal('NaN'), 1 + 2j]",
    "floats": "[i / 7 for i in range(100)]",
    "float-decimals": "[i / 100 for i in range(-50, 50)]",
    "floats-with-nan": "[1.25, float('nan')] * 10",
    "same-float": "[1 / 3] * 9",
    "negative-zeros": "[-0.0, 0.0, 1.0, 2.0]",
    "ints": "list(range(-5, 300))",
    "wide-ints": "[2**62, -2**62] * 8",
    "ints-then-big": "[1] * 12 + [2**70] + [1] * 3",
    "bools": "[True, False, True] * 7",
    "nones": "[None] * 20",
    "holes": "[1.5, None, 2.5, None, None] * 4",
    "strings": "[f'text {i * i}' for i in range(40)]",
    "few-strings": "['red', 'green', 'blue', 'red'] * 10",
    "wide-strings": "['Köln', 'Łódź', 'x'] * 9",
    "byte-strings": "[bytes([i, i]) for i in range(15)]",
    "dates": "[D(2020, 2, 27) + TD(i) for i in range(15)]",
    "datetimes": "[DT(1999, 12, 31, 23, 59, 59, 999999) + TD(0, i * 1000) for i in range(15)]",
    "decimal-column": "[Decimal(i) / 8 for i in range(15)]",
    "lists": "[[j * 0.5 for j in range(i % 4)] for i in range(15)]",
    "tuples": "[(i, f't{i}') for i in range(15)]",
    "rows": _ROWS % 30,
    "many-rows": _ROWS % 300,
    "rows-of-two-shapes": f"({_ROWS % 6}) + [{{'other': 1}}] + ({_ROWS % 2})",
    "frames-of-a-list": "[pd.DataFrame({7: [i / 4, 2.5], 3: [i, -i], 4: [i > 1, True]}, index=[i, i + 9]) for i in range(5)]",
    "series-of-a-list": "[pd.Series(pd.Categorical.from_codes([2, -1, i % 3], pd.Index([30, 10, 20]), ordered=True), index=[i, 9, 5], name=f's{i}') for i in range(5)]",
    "series-of-ranges": "[pd.Series([i / 4] * i, pd.RangeIndex(i, 2 * i), float, ('a', i)) for i in range(5)]",
    "nested-rows": "[{'a': {'b': i, 'c': [None, {'d': i}]}} for i in range(8)]",
}
NAMESPACE: dict[str, Any] = {
    "D": dt.date, "DT": dt.datetime, "TD": dt.timedelta, "T": dt.time, "UTC": dt.timezone.utc,
    "Decimal": decimal.Decimal, "pd": pd,
}  # fmt: skip


class Vector(NamedTuple):
    name: str
    expression: str
    raw: bytes
    sealed: bytes

    def value(self) -> Any:
        return eval(self.expression, dict(NAMESPACE))


def vectors() -> Iterator[Vector]:
    for line in FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, expression, raw, sealed = line.split("\t")
            yield Vector(name, expression, bytes.fromhex(raw), bytes.fromhex(sealed))


def _add() -> None:
    from lambdamap import _codec

    there = {vector.name for vector in vectors()} if FILE.exists() else set()
    with FILE.open("a") as file:
        if not there:
            file.write("# Frames of wire version 1: name, value, raw frame, sealed frame.\n")
        for name, expression in VECTORS.items():
            if name not in there:
                value = eval(expression, dict(NAMESPACE))
                raw = _codec.encode(value, compression=False).hex()
                file.write(f"{name}\t{expression}\t{raw}\t{_codec.encode(value).hex()}\n")


if __name__ == "__main__":
    _add()
