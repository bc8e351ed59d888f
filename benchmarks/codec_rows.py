"""The codec against the serialisers that a Python programmer can install, interleaved."""

from __future__ import annotations

import base64
import json
import pickle
import random
import time
import zlib
from collections.abc import Callable
from statistics import median
from typing import Any

from lambdamap import _codec

Row = tuple[str, str, str, str]


def seed_chunk(n: int, digits: int | None = None) -> list[dict[str, Any]]:
    """n series of 100 floats, as the application that this library starts from sends them."""
    draw = random.Random(1).random
    values = [[draw() for _ in range(100)] for _ in range(n)]
    if digits is not None:
        values = [[round(value, digits) for value in row] for row in values]
    return [{"id": i, "values": row, "name": "value"} for i, row in enumerate(values)]


def mixed_rows(n: int) -> list[dict[str, Any]]:
    draw = random.Random(2)
    return [
        {
            "id": i, "name": f"user{i}", "score": draw.random(), "active": i % 3 == 0, "city": "Köln",
            "tags": ["a", "b", str(i % 7)], "address": {"street": f"Street {i}", "zip": 10000 + i},
            "parent": None, "visits": draw.randrange(1000),
        }
        for i in range(n)
    ]  # fmt: skip


def csv_rows(n: int) -> list[dict[str, str]]:
    draw = random.Random(3)
    names = ["id", "date", "name", "city", "amount", "code", "status", "comment"]
    return [{key: f"{key[:2]}{draw.randrange(10**6)}" for key in names} for _ in range(n)]


def _seed_encode(value: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def _seed_decode(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))


def best(function: Callable[[], Any], seconds: float) -> float:
    """Seconds per call: the best of several rounds."""
    started, times, count = time.perf_counter(), [], 1
    while not times or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        for _ in range(count):
            function()
        took = time.perf_counter() - before
        times.append(took / count)
        if took < seconds / 40:
            count *= 2
    return min(times)


def compare(
    value: Any,
    ours: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    theirs: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    seconds: float,
) -> tuple[float, float, float]:
    """Ratios encode, decode (theirs / ours) and wire (ours / theirs), medians of five rounds."""
    encode, decode, wire = [], [], 0.0
    mine, other = ours[0](value), theirs[0](value)
    for _ in range(5):
        encode.append(
            best(lambda: theirs[0](value), seconds) / best(lambda: ours[0](value), seconds)
        )
        decode.append(
            best(lambda: theirs[1](other), seconds) / best(lambda: ours[1](mine), seconds)
        )
    wire = len(mine) / len(other)
    return median(encode), median(decode), wire


def rows(seconds: float) -> list[Row]:
    """Workload, rival, goal, measured."""
    import msgspec
    import numpy as np
    import ormsgpack

    def text(compression: bool) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        return lambda v: _codec.encode_text(v, compression=compression), _codec.decode_text

    plain = (lambda v: _codec.encode(v, compression=False), _codec.decode)
    packer = (msgspec.msgpack.encode, msgspec.msgpack.decode)
    seed = (_seed_encode, _seed_decode)
    numpy_chunk = [
        {**row, "values": [np.float64(value) for value in row["values"]]} for row in seed_chunk(100)
    ]
    orm = (
        lambda v: ormsgpack.packb(v, option=ormsgpack.OPT_SERIALIZE_NUMPY),
        ormsgpack.unpackb,
    )
    pickled = (
        lambda v: base64.b64encode(pickle.dumps(v, 5)),
        lambda t: pickle.loads(base64.b64decode(t)),
    )
    cases: list[tuple[str, str, str, Any, Any, Any]] = [
        ("100 x 100 floats, compression", "json + zlib 6 + base64", "200x / 20x / 0.75",
         seed_chunk(100), text(True), seed),
        ("100 x 100 floats, no compression", "json + zlib 6 + base64", "600x / 35x / 0.88",
         seed_chunk(100), text(False), seed),
        ("the same, 12 digits, compression", "json + zlib 6 + base64", "300x / 20x / 0.73",
         seed_chunk(100, 12), text(True), seed),
        ("100 x 100 floats, serialiser", "msgspec.msgpack", "1.8x / 1.8x",
         seed_chunk(100), plain, packer),
        ("2,000 mixed dicts, serialiser", "msgspec.msgpack", "1.8x / 2.2x",
         mixed_rows(2000), plain, packer),
        ("2,000 dicts of strings, serialiser", "msgspec.msgpack", "1.7x / 2x",
         csv_rows(2000), plain, packer),
        ("100 x 100 numpy.float64", "ormsgpack with numpy", "6x",
         numpy_chunk, plain, orm),
        ("ndarray of 100,000 float64", "pickle 5 + base64", "15x / 20x",
         np.random.default_rng(1).random(100_000), text(False), pickled),
    ]  # fmt: skip
    found = []
    for name, rival, goal, value, ours, theirs in cases:
        encode, decode, wire = compare(value, ours, theirs, seconds)
        found.append((name, rival, goal, f"{encode:.1f}x / {decode:.1f}x / {wire:.2f}"))
    return found
