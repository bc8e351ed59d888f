"""Nested data of every plain type round-trips; changed bytes are refused or read, never worse."""

from __future__ import annotations

import contextlib
import datetime as dt
import zlib
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import reference_decoder
from lambdamap import _codec
from same import same

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.binary(max_size=40),
    st.datetimes(timezones=st.none() | st.just(dt.timezone.utc)),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.complex_numbers(),
    st.uuids(),
)
keys = st.one_of(st.text(max_size=8), st.integers(), st.tuples(st.integers(), st.text(max_size=3)))
numbers = st.one_of(
    st.lists(st.floats(), min_size=4, max_size=200),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=12, max_size=200),
    st.lists(st.integers(0, 300), min_size=12, max_size=200),
    st.lists(st.integers(), min_size=12, max_size=20),
)
values = st.recursive(
    scalars | numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=6),
        st.lists(st.fixed_dictionaries({"id": st.integers(), "v": inner}), max_size=6),
        st.sets(st.integers() | st.text(max_size=4), max_size=6),
    ),
    max_leaves=30,
)


# Lists whose items are alike, in all the ways that columns know, and nearly so.
cells = {
    "float": st.floats(), "decimal float": st.integers(-(10**6), 10**6).map(lambda n: n / 100),
    "int": st.integers(-(2**63), 2**63 - 1), "small": st.integers(0, 300), "any int": st.integers(),
    "bool": st.booleans(), "text": st.text(max_size=12), "ascii": st.sampled_from(["a", "bb", ""]),
    "bytes": st.binary(max_size=9), "date": st.dates(), "datetime": st.datetimes(),
    "Decimal": st.decimals(allow_nan=False), "none": st.none(),
    "float64": st.floats().map(np.float64), "int64": st.integers(-(2**63), 2**63 - 1).map(np.int64),
}  # fmt: skip


@st.composite
def even_lists(draw: st.DrawFn, depth: int = 2) -> list[Any]:
    kind = draw(st.sampled_from([*cells, *(["list", "dict", "tuple"] if depth else [])]))
    n = draw(st.integers(0, 40))
    if kind == "list":
        cell: Any = even_lists(depth - 1).map(lambda items: items[:6])
    elif kind in ("dict", "tuple"):
        names = draw(st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True))
        columns = [draw(even_lists(depth - 1)) for _ in names]
        rows = [
            [column[i % len(column)] if column else None for column in columns] for i in range(n)
        ]
        made: list[Any] = [
            dict(zip(names, row, strict=True)) if kind == "dict" else tuple(row) for row in rows
        ]
        cell = st.none()
    else:
        cell = cells[kind]
    if kind not in ("dict", "tuple"):
        made = draw(st.lists(cell, min_size=n, max_size=n))
    for _ in range(draw(st.integers(0, 2))):  # what does not fit
        odd = draw(st.none() | scalars | st.just({}) | st.just([]))
        made.insert(draw(st.integers(0, len(made))), odd)
    return made


@given(even_lists(), st.booleans())
def test_lists_of_one_kind(value: list[Any], compression: bool) -> None:
    frame = _codec.encode(value, compression=compression)
    assert same(value, _codec.decode(frame))
    reference_decoder.decode(frame)
    packer = _codec.ChunkPacker(None)
    packer.fill(iter(value), 1000, 1 << 30)
    assert same(value, _codec.decode(packer.take())[1])


def _doubles(shape: str, n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    draw = np.random.default_rng(seed)
    noise = draw.random(n)
    if shape == "uniform":
        return noise
    if shape == "normal":
        return draw.normal(size=n)
    if shape == "walk":
        return 100 + np.cumsum(draw.normal(size=n))
    if shape == "mostly one":
        return np.where(noise < 0.02, noise, 1 / 3)
    if shape == "some of each":
        return np.where(noise < 0.3, noise, np.where(noise < 0.6, draw.normal(0, 1e6, n), 1 / 7))
    if shape == "repeated":
        return noise[np.arange(n) // 4]
    if shape == "ascending":
        return np.arange(n) / 7
    return draw.integers(0, 2**64, n, np.uint64).view(np.float64)


def _zlib_planes(doubles: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15, 8, zlib.Z_RLE)
    both = doubles.view(np.uint8).reshape(-1, 8)[:, 6:].T.tobytes()
    return len(deflate.compress(both) + deflate.flush())


@given(
    st.sampled_from(["uniform", "normal", "walk", "mostly one", "some of each", "repeated", "ascending", "bits"]),
    st.integers(64, 3000),
    st.integers(0, 2**32),
)  # fmt: skip
def test_doubles_take_no_more_than_with_zlib(shape: str, n: int, seed: int) -> None:
    doubles = _doubles(shape, n, seed)
    value = doubles.tolist()
    frame, plain = _codec.encode(value), _codec.encode(value, compression=False)
    assert same(value, _codec.decode(frame))
    reference_decoder.decode(frame)
    assert len(frame) <= len(plain)
    assume(len(plain) > 8 * n)  # else they travel as a constant
    assert len(frame) <= 16 + 1.01 * (len(plain) - 2 * n + _zlib_planes(doubles))


dtypes = st.one_of(
    npst.integer_dtypes(), npst.unsigned_integer_dtypes(), npst.floating_dtypes(),
    npst.boolean_dtypes(), npst.datetime64_dtypes(), npst.timedelta64_dtypes(),
    npst.complex_number_dtypes(), npst.unicode_string_dtypes(max_len=5), npst.byte_string_dtypes(max_len=5),
)  # fmt: skip


@given(
    npst.arrays(dtypes, npst.array_shapes(max_dims=3, max_side=20)),
    st.booleans(),
    st.integers(1, 3),
)
def test_arrays(array: Any, compression: bool, step: int) -> None:
    for value in (array, array.T, array[::step]):
        assert same(
            value.copy(order="K"), _codec.decode(_codec.encode(value, compression=compression))
        )


@given(values, st.booleans())
def test_round_trip(value: Any, compression: bool) -> None:
    again = _codec.decode(_codec.encode(value, compression=compression))
    assert same(value, again)
    assert same(value, _codec.decode_text(_codec.encode_text(value)))


@settings(max_examples=25)
@given(st.lists(values, max_size=20), st.integers(1, 5), st.integers(40, 2000))
def test_chunks_hold_every_item_once_and_in_order(
    items: list[Any], max_items: int, max_bytes: int
) -> None:
    packer = _codec.ChunkPacker({"f": int})
    iterator = iter(items)
    found: list[Any] = []
    while not packer.exhausted:
        if packer.fill(iterator, max_items, max_bytes):
            assert packer.chunk_items <= max_items
            spec, chunk = _codec.decode(packer.take())
            assert spec == {"f": int}
            found += chunk
    assert same(items, found)


@given(values, st.data())
def test_changed_bytes(value: Any, data: st.DataObject) -> None:
    frame = bytearray(_codec.encode(value, compression=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(_codec.DecodeFailure):
        _codec.decode(bytes(frame), max_output_bytes=10_000_000)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(tail: bytes, with_head: bool) -> None:
    frame = b"L\x01\x00\x00" + tail if with_head else tail
    with contextlib.suppress(_codec.DecodeFailure):
        _codec.decode(frame, max_output_bytes=1_000_000)
