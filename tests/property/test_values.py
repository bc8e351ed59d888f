"""Any nested data of the standard library's and numpy's types comes back as pickle and builtin map give it.

What needs pickle may be refused, and is never changed.
"""

from __future__ import annotations

import array
import collections
import contextlib
import datetime as dt
import enum
import pathlib
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import lambdamap
from lambdamap import _codec
from lambdamap.shipping import lookup
from same import same


class Color(enum.Flag):
    RED = 1
    BLUE = 2


class Text(str):
    pass


class Number(int):
    pass


Color.__module__ = Text.__module__ = Number.__module__ = __name__
Row = collections.namedtuple("Row", "a _1", rename=True)  # type: ignore[misc]
Row.__module__ = "nowhere"

# --- numpy's dtypes -------------------------------------------------------------------------------

texts = st.text(max_size=4)
names = st.text("abcxyz_é ", min_size=1, max_size=4)
plain = st.one_of(
    npst.scalar_dtypes(), npst.unicode_string_dtypes(max_len=4), npst.byte_string_dtypes(max_len=4),
    st.sampled_from(["longlong", "ulonglong", ">q", "longdouble", "clongdouble", "V3", "M8[25s]", "m8[h]", "l", "O", "S0"]),
).map(np.dtype)  # fmt: skip


@st.composite
def structs(draw: st.DrawFn, inner: Any) -> Any:
    """Fields in any place: packed, aligned, overlapping, out of order, with gaps and titles."""
    found = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    formats = [draw(inner) for _ in found]
    how = draw(st.sampled_from(["packed", "aligned", "placed", "part"]))
    if how == "placed":
        assume(not any(dtype.hasobject for dtype in formats))
        offsets = [draw(st.integers(0, 9)) for _ in found]
        size = max(o + f.itemsize for o, f in zip(offsets, formats, strict=True))
        made = np.dtype(
            {"names": found, "formats": formats, "offsets": offsets, "itemsize": size + draw(st.integers(0, 5))}
        )  # fmt: skip
    else:
        titles = [draw(st.none() | st.just(f"title of {name}")) for name in found]
        fields = [
            (name if title is None else (title, name), dtype, draw(npst.array_shapes(max_dims=2, max_side=2)))
            if draw(st.booleans()) and dtype.itemsize
            else (name if title is None else (title, name), dtype)
            for name, title, dtype in zip(found, titles, formats, strict=True)
        ]  # fmt: skip
        made = np.dtype(fields, align=how == "aligned")
        if how == "part":
            made = np.zeros(1, made)[found[: draw(st.integers(1, len(found)))]].dtype
    return np.dtype((np.record, made)) if draw(st.booleans()) else made


@st.composite
def with_metadata(draw: st.DrawFn, inner: Any) -> Any:
    metadata = draw(st.dictionaries(texts, st.integers() | st.just(float), min_size=1, max_size=2))
    return np.dtype(draw(inner), metadata=metadata)


dtypes = st.recursive(
    plain,
    lambda inner: st.one_of(
        structs(inner), with_metadata(inner),
        st.tuples(inner.filter(lambda d: d.itemsize), npst.array_shapes(max_dims=2, max_side=3)).map(np.dtype),
    ),
    max_leaves=5,
)  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Of any dtype and bytes, in C's order, Fortran's or none, or a record array."""
    dtype = draw(dtypes)
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    made = np.zeros(shape, dtype)
    if not made.dtype.hasobject and made.nbytes:
        data = draw(st.binary(min_size=made.nbytes, max_size=made.nbytes))
        if not set("U?g") & set(str(made.dtype.descr) if made.dtype.names is None else "U"):
            made = np.frombuffer(bytearray(data), made.dtype.base).reshape(made.shape)
    elif made.dtype.kind == "O":
        made = np.fromiter((draw(leaves) for _ in range(made.size)), made.dtype, made.size).reshape(made.shape)  # fmt: skip
    how = draw(st.sampled_from(["C", "F", "T", "step", "scalar"]))
    if how == "F":
        made = np.asfortranarray(made)
    elif how == "T":
        made = made.T
    elif how == "step" and made.ndim:
        made = made[::-1][::2]
    elif how == "scalar" and made.size:
        return made.reshape(-1)[0]
    if made.dtype.type is np.record and draw(st.booleans()):
        return made.view(np.recarray)
    return made


# --- the standard library's -----------------------------------------------------------------------

zones = st.sampled_from([None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=1), "X"), zoneinfo.ZoneInfo("Europe/Berlin")])  # fmt: skip
leaves: Any = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), texts, st.binary(max_size=5),
    st.text(st.characters(), max_size=3), st.binary(max_size=5).map(bytearray), st.binary(max_size=5).map(memoryview),
    st.datetimes(timezones=zones), st.dates(), st.times(timezones=zones), st.timedeltas(), st.decimals(),
    st.fractions(), st.uuids(), st.builds(uuid.UUID, int=st.integers(0, 9), is_safe=st.sampled_from(uuid.SafeUUID)),
    st.builds(range, st.integers(), st.integers(), st.integers(1)), st.builds(slice, st.integers(), st.none()),
    st.lists(st.integers(-9, 9), max_size=3).map(lambda v: array.array("q", v)),
    st.sampled_from([Color.RED, Color.BLUE, Color.RED | Color.BLUE, int, len, print, ..., NotImplemented]),
    st.lists(names, max_size=3).map(lambda parts: pathlib.PurePosixPath(*parts)), texts.map(Text), st.integers().map(Number),
    st.integers(2**63 - 2, 2**66), dtypes,
)  # fmt: skip
keys = st.none() | st.booleans() | st.integers() | texts | st.decimals(allow_nan=False)
values = st.recursive(
    st.one_of(leaves, arrays()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.lists(inner, max_size=4).map(tuple), st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(collections.OrderedDict),
        st.dictionaries(keys, inner, max_size=3).map(lambda v: collections.defaultdict(list, v)),
        st.dictionaries(keys, st.integers(), max_size=4).map(collections.Counter),
        st.builds(collections.deque, st.lists(inner, max_size=4), st.none() | st.integers(4, 9)),
        st.sets(keys, max_size=4), st.frozensets(keys, max_size=4), st.builds(Row, inner, inner),
        st.tuples(inner, st.integers(1, 15)).map(lambda v: [v[0]] * v[1]),
    ),
    max_leaves=12,
)  # fmt: skip


# --- and what holds of them -----------------------------------------------------------------------


@given(dtypes)
def test_dtypes(dtype: Any) -> None:
    assert same(dtype, _codec.decode(_codec.encode(dtype)))


@given(arrays(), st.booleans())
def test_arrays(value: Any, compression: bool) -> None:
    for allow_pickle in (False, True):
        with contextlib.suppress(_codec.EncodeFailure):
            frame = _codec.encode(value, compression=compression, allow_pickle=allow_pickle)
            again = _codec.decode(frame, allow_pickle=allow_pickle)
            # A copy lies in C's or Fortran's order.
            assert same(value.copy("K") if isinstance(value, np.ndarray) else value, again)
            continue
        assert not allow_pickle and value.dtype.hasobject


@settings(max_examples=300)
@given(values)
def test_what_is_taken_comes_back_the_same(value: Any) -> None:
    for allow_pickle in (False, True):
        with contextlib.suppress(_codec.EncodeFailure):
            frame = _codec.encode(value, allow_pickle=allow_pickle)
            names_ = lookup.TRUSTED
            assert same(value, _codec.decode(frame, allow_pickle=allow_pickle, names=names_))
            continue
        assert not allow_pickle


@settings(max_examples=40, deadline=None)
@given(st.lists(values, min_size=1, max_size=6), st.integers(1, 3))
def test_as_builtin_map(items: list[Any], chunksize: int) -> None:
    def both(item: Any) -> Any:
        return type(item), [item, {"again": item}]

    with lambdamap.configure(backend="inline", progress=False):
        got = list(lambdamap.map(both, items, chunksize=chunksize, allow_pickle=True))
    assert same(list(map(both, items)), got)


def test_attributes_beside_items_are_not_lost() -> None:
    value: Any = collections.OrderedDict(a=1)
    value.note = "x"
    with pytest.raises(_codec.EncodeFailure):
        _codec.encode(value)
    again = _codec.decode(_codec.encode(value, allow_pickle=True), allow_pickle=True)
    assert same(value, again) and again.note == "x"
    counts: Any = collections.Counter(a=1)
    counts.note = "x"
    with pytest.raises(_codec.EncodeFailure, match="Counter"):
        _codec.encode(counts, allow_pickle=True)
