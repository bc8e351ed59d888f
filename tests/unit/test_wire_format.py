"""The format on the wire: frames of earlier builds, and a second reader that knows only the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import golden
import reference_decoder
from lambdamap import _codec
from reference_decoder import Ext
from same import same

ROOT = Path(__file__).parents[2]
VECTORS = list(golden.vectors())
PAGE = ROOT / "docs" / "wire-format.md"
NUMBERS = ROOT / "csrc" / "core" / "wire" / "kinds.h"
CODEC = ROOT / "csrc" / "python" / "codec"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_golden_frames(vector: golden.Vector) -> None:
    value = vector.value()
    for frame in (vector.raw, vector.sealed):
        assert same(_codec.decode(frame), value)
        assert same(put_together(reference_decoder.decode(frame)), value)
    assert same(put_together(reference_decoder.decode(_codec.encode(value))), value)
    assert same(put_together(reference_decoder.decode_text(_codec.encode_text(value))), value)


def test_every_vector_has_a_frame_and_they_cover_every_kind_of_column() -> None:
    assert {vector.name for vector in VECTORS} == set(golden.VECTORS)
    read: set[int] = set()

    class Watched(reference_decoder._Reader):
        def column(self, source: Any, n: int) -> list[Any]:
            read.add(source.data[source.at])
            return super().column(source, n)

    for vector in VECTORS:
        view = reference_decoder._Bytes(vector.raw)
        view.take(4)
        structure, _, packed, _, words, _, blobs = (view.varint() for _ in range(7))
        inner = reference_decoder._Bytes(view.take(structure))
        Watched(view.take(packed), view.take(8 * words), view.take(8 * blobs)).value(inner)
    assert read == {*range(13), 14}  # the other one holds arrays


def put_together(value: Any) -> Any:
    """The second reader's parts of what is numpy's or pandas', as the page says."""
    if isinstance(value, list):
        return [put_together(item) for item in value]
    if not isinstance(value, Ext):
        return value
    if value.kind == 14:
        return one_of_many(*value.payload)
    if value.kind == 11:
        tag, *content = value.payload
        assert tag == "index" and content[2] is None
        return pd.Index(column_of(content[0]), name=content[1])
    if value.kind == 12:
        dtype = dtype_of(value.payload[0])
        return np.frombuffer(value.payload[1], dtype)[0] if len(value.payload) == 2 else dtype
    descr, shape, order, data, *kind = value.payload
    if isinstance(data, list):
        return np.array(data, dtype_of(descr)).reshape(shape, order=order)
    made = np.frombuffer(data, dtype_of(descr)).reshape(shape, order=order)
    return made.view(np.recarray) if kind == ["recarray"] else made


def column_of(parts: Any) -> Any:
    """The page's columns `np` and `cat`."""
    tag, *content = map(put_together, parts)
    return content[0] if tag == "np" else pd.Categorical.from_codes(*content)


def one_of_many(place: int, *payload: Any) -> Any:
    """One of the frames or Series of a list, by its place."""
    *columns, index, pieces = payload
    counts = [piece[1] if isinstance(piece, tuple) else piece for piece in pieces]
    start = sum(counts[:place])
    rows = slice(start, start + counts[place])
    if isinstance(index, tuple):
        name, *bounds = index
        own = pd.RangeIndex(*(bound[place] for bound in bounds), name=name)
    else:
        own = put_together(index)[rows]
    if len(payload) == 3:
        return pd.Series(column_of(columns[0])[rows], own, name=pieces[place][0])
    values = [column_of(parts)[rows] for parts in columns[0]]
    frame = pd.DataFrame(dict(enumerate(values)), index=own)
    frame.columns = put_together(columns[1])
    return frame


def dtype_of(descr: Any) -> Any:
    """A dtype by the page's table."""
    if isinstance(descr, str):
        return np.dtype(descr.partition(":")[0])
    if isinstance(descr, list):
        return np.dtype([(name, dtype_of(field)) for name, field in descr])
    kind, *parts = descr
    if kind == "subarray":
        return np.dtype((dtype_of(parts[0]), parts[1]))
    if kind == "record":
        return np.dtype((np.record, dtype_of(parts[0])))
    if kind == "metadata":
        return np.dtype(dtype_of(parts[0]), metadata=parts[1])
    assert kind == "fields"
    found = dict(zip(["names", "formats", "offsets", "titles", "itemsize"], parts, strict=False))
    found["formats"] = [dtype_of(field) for field in parts[1]]
    return np.dtype(found, align=parts[5])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(50.0) / 7, np.arange(50) / 4, np.arange(2000.0).reshape(50, 40),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.arange(300), np.arange(300, dtype="u1"),
        np.arange(-9, 300, dtype="i2"), np.arange(600, dtype="u4") * 7_000_000,
        np.array([2**64 - 1, 0], "u8"), np.arange(5, dtype=">i4"), np.arange(5, dtype="f4"),
        np.array([True, False, True]), np.array(["2020", "NaT"], "M8[D]"), np.array(["a", "bc"]),
        np.array([1.5, np.nan, 2.5]), np.zeros((0, 3)), np.array(5), np.arange(5) + 1j,
        np.arange(1000)[::3], np.random.default_rng(1).random(1000), np.arange(3, dtype="longlong"),
        np.arange(6, dtype=">i8").astype(">q"), np.ones(3, "longdouble"), np.array([[1, None]], object),
        np.array([[1, 2], [3, 4]], object, order="F"), np.zeros(2, [("a", "i4"), ("b", "U2", (3,))]),
        np.ones(2, np.dtype([("a", "i1"), (("T", "b"), "f8")], align=True)),
        np.ones(3, np.dtype({"names": ["a", "b"], "formats": ["i2", "i4"], "offsets": [2, 0]})),
        np.rec.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")]),
        np.arange(3, dtype=np.dtype("i4", metadata={"unit": "m"})),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)  # fmt: skip
def test_arrays(array: Any) -> None:
    for compression in (True, False):
        frame = _codec.encode(array, compression=compression)
        assert same(_codec.decode(frame), array)
        assert same(put_together(reference_decoder.decode(frame)), array)


def test_numpy_scalars_in_lists() -> None:
    for value in ([np.float64(i / 3) for i in range(20)], [np.int64(i) for i in range(-20, 20)]):
        frame = _codec.encode(value)
        assert same(_codec.decode(frame), value)
        assert same(put_together(reference_decoder.decode(frame)), value)


def test_the_example_of_the_page() -> None:
    text = PAGE.read_text().split("## Example")[1]
    shown, lines = re.findall(r"`(\[.*?\])` as a raw frame:\n\n```text\n(.*?)```", text, re.DOTALL)[
        0
    ]
    dump = "".join(
        match.group(1)
        for line in lines.splitlines()
        if (
            match := re.match(
                r" *((?:[0-9a-f]{2} {1,2})+|(?:[0-9a-f]{2} )*[0-9a-f]{2}$)", line + " " * 3
            )
        )
    )
    frame = bytes.fromhex(dump)
    assert same(_codec.decode(frame), eval(shown))
    assert frame == _codec.encode(eval(shown), compression=False)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((1, 9), "version 9"),
        ((2, 0x40), "0x4000"),
        ((3, 1), "0x0001"),
    ],
)
def test_what_is_newer_is_refused_by_name(change: tuple[int, int], text: str) -> None:
    frame = bytearray(_codec.encode([1.5] * 10))
    frame[change[0]] = change[1]
    with pytest.raises(_codec.DecodeFailure, match=text):
        _codec.decode(bytes(frame))


def head(structure: bytes) -> bytes:
    n = len(structure)
    return bytes([0x4C, 1, 0, 0, n, n, 0, 0, 0, 0, 0]) + structure


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("structure", "text"),
    [
        (b"\xd4\x63\x00", "99"),
        (b"\xc7\x02\x01\x05\x63", "unknown"),
        (b"\xc7\x04\x01\x05\x01\x63\x00", "unknown"),
        (b"\xc7\x04\x0a\x92\xa1x\x01", "'x'"),
    ],
)
def test_newer_values_are_refused_by_name(structure: bytes, text: str, sealed: bool) -> None:
    frame = head(structure)
    if sealed:  # the other of the two readers: nothing is compressed, but text is always checked
        import base64

        with pytest.raises(_codec.DecodeFailure, match=text):
            _codec.decode_text("lm1:" + base64.b64encode(frame).decode())
    else:
        with pytest.raises(_codec.DecodeFailure, match=text):
            _codec.decode(frame)


def numbers(prefix: str) -> dict[str, int]:
    """The enumerators of kinds.h that begin so, all of which the extension has, too."""
    found = re.findall(rf"^  LM_{prefix}_(\w+) = (\d+)", NUMBERS.read_text(), re.M)
    declared = {name: int(number) for name, number in found}
    exported = {
        name.removeprefix(f"{prefix}_"): number
        for name, number in vars(_codec).items()
        if name.startswith(f"{prefix}_")
    }
    assert declared == exported and len(declared) > 5
    return declared


def table(header: str) -> list[list[str]]:
    """The rows of a table of the page, each a list of cells."""
    _, _, rest = PAGE.read_text().partition(f"\n{header}\n")
    lines = rest.splitlines()[1:]
    rows = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_lists_the_extension_types() -> None:
    rows = table("| type | payload | stands for |")
    assert sorted(int(row[0]) for row in rows) == sorted(numbers("EXT").values())


def test_the_page_lists_the_kinds_of_column() -> None:
    rows = table("| kind | then | cells |")
    assert {row[0] for row in rows} == {
        f"{n} {name.lower()}" for name, n in numbers("COLUMN").items()
    }
    assert f"Kinds {len(rows)} to 255 are unassigned." in PAGE.read_text()


def test_the_page_lists_the_kinds_of_time() -> None:
    rows = table("| type | payload | stands for |")
    [row] = [row for row in rows if row[0] == str(_codec.EXT_DATETIME)]
    listed = {name.upper(): int(n) for n, name in re.findall(r"(\d+) (\w+)", row[2])}
    assert listed == numbers("TIME")


def test_each_direction_has_a_kind_of_column_in_the_file_that_the_table_says() -> None:
    """As the first comment of the file's header says as well."""
    rows = re.findall(r"^  LM_COLUMN_(\w+) = \d+,? +/\* (\w+): ", NUMBERS.read_text(), re.M)
    assert {kind for kind, _ in rows} == numbers("COLUMN").keys()
    for file in {file for _, file in rows}:
        mine = {kind for kind, other in rows if other == file}
        for way in ("encode", "decode"):
            comment = (CODEC / way / f"{file}.h").read_text().partition("*/")[0]
            assert set(re.findall(r"\b[A-Z]+\b", comment)) & numbers("COLUMN").keys() == mine
