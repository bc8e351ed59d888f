"""Nested data of every plain type round-trips; changed bytes are refused or read, never worse."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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


@given(values, st.booleans())
def test_round_trip(value: Any, compression: bool) -> None:
    again = _codec.decode(_codec.encode(value, compression=compression))
    assert same(value, again)
    assert same(value, _codec.decode_text(_codec.encode_text(value)))


@given(st.lists(values, max_size=20), st.integers(1, 5), st.integers(40, 2000))
def test_chunks_hold_every_item_once_and_in_order(
    items: list[Any], max_items: int, max_bytes: int
) -> None:
    packer = _codec.ChunkPacker({"f": len})
    iterator = iter(items)
    found: list[Any] = []
    while not packer.exhausted:
        if packer.fill(iterator, max_items, max_bytes):
            assert packer.chunk_items <= max_items
            spec, chunk = _codec.decode(packer.take())
            assert spec == {"f": len}
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
