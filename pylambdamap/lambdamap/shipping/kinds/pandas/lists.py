"""Frames or Series of a list that are sent as one, each of which has some of its rows.

The native codec asks `shape` for the first one, the shape's `snapshot` for it and each one after it,
and the shape's `reduce` when the list is complete; `frames_of` and `series_of` decode it. What all
have in common is sent once: dtypes with their categories, column labels, names and levels of the
index. Frames are sent together only if everything that pandas can show of them is the same, except
for their values and those of their index; Series may also differ in their names. All others are sent
one by one, and so is a frame whose blocks cannot be read.
"""

from __future__ import annotations

import sys
from typing import Any, Final, Protocol

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds.pandas import frames
from lambdamap.shipping.kinds.pandas.alike import is_same_dtype, is_same_index, is_same_label
from lambdamap.shipping.kinds.pandas.columns import pack_values
from lambdamap.shipping.kinds.pandas.values import one_series, range_of
from lambdamap.shipping.kinds.parts import Reader

__all__ = ["Shape", "frames_of", "series_of", "shape"]

_SAMPLE: Final = 64  # texts whose length is measured
# Bytes counted for a frame or Series in addition to its values. More than it takes on the wire: 4.6 MB of
# the smallest must not decode to more than max_result_bytes.
_BESIDE: Final = 128


class Shape(Protocol):
    """What frames or Series that are sent together have in common."""

    def snapshot(self, value: Any, copy: bool) -> tuple[tuple[Any, ...], int] | None:
        """Return its data, or a copy, and about how many bytes it takes; None: it has another shape."""

    def reduce(self, snapshots: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return the payload for all of them."""


def shape(value: Any) -> Shape | None:
    """Return the shape of a frame or Series; None: it is sent on its own."""
    pandas = sys.modules["pandas"]
    index = value.index
    if value.attrs or not value.flags.allows_duplicate_labels or not _may_share(index):
        return None
    if type(index) is not pandas.MultiIndex and not _has_form(index.array):
        return None
    if type(value) is pandas.Series:
        array = _values_of(value)
        return _Series(array.dtype, _Index(index)) if _has_form(array) else None
    try:
        found = frames.blocks_of(value)
        blocks = [(b.values.dtype, b.mgr_locs.as_array.tobytes(), b.mgr_locs) for b in found]
        known = all(_has_form(frames.rows_of(b.values)[0]) for b in found)
    except (AttributeError, IndexError, TypeError):
        return None
    return _Frames(value.columns, blocks, _Index(index)) if blocks and known else None


# --- encoding -------------------------------------------------------------------------------------


class _Frames:
    __slots__ = ("blocks", "columns", "index")

    def __init__(self, columns: Any, blocks: list[tuple[Any, bytes, Any]], index: _Index) -> None:
        self.columns = columns
        self.blocks = blocks  # dtype, the columns' positions (intp) as bytes, and pandas' object that holds them
        self.index = index

    def snapshot(self, value: Any, copy: bool) -> tuple[tuple[Any, ...], int] | None:
        if type(value) is not sys.modules["pandas"].DataFrame or not self.index.fits(value):
            return None
        columns = value.columns
        if columns is not self.columns and not is_same_index(columns, self.columns):
            return None
        blocks = frames.blocks_of(value)
        if len(blocks) != len(self.blocks):
            return None
        arrays = []
        rows = len(value)
        size = _BESIDE
        for block, (dtype, places, same_places) in zip(blocks, self.blocks, strict=True):
            array = block.values
            own_places = block.mgr_locs
            if not _has_dtype(array, dtype) or (
                own_places is not same_places and own_places.as_array.tobytes() != places
            ):
                return None
            size += _size_of(array, len(places) // 8 * rows)
            arrays.append(array.copy() if copy else array)
        own, own_size = self.index.values(value.index, copy)
        return (rows, own, arrays), size + own_size

    def reduce(self, snapshots: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return columns, column labels, index, and the number of rows of each frame."""
        numpy = sys.modules["numpy"]
        blocks = [
            (
                numpy.frombuffer(places, numpy.intp),
                _join([arrays[number] for _, _, arrays in snapshots]),
            )
            for number, (_, places, _) in enumerate(self.blocks)
        ]
        columns = frames.pack_blocks(len(self.columns), blocks)
        index = self.index.joined([own for _, own, _ in snapshots])
        return columns, self.columns, index, [rows for rows, _, _ in snapshots]


class _Series:
    __slots__ = ("dtype", "index")

    def __init__(self, dtype: Any, index: _Index) -> None:
        self.dtype = dtype
        self.index = index

    def snapshot(self, value: Any, copy: bool) -> tuple[tuple[Any, ...], int] | None:
        if type(value) is not sys.modules["pandas"].Series or not self.index.fits(value):
            return None
        array, name = _values_of(value), value.name
        if not _has_dtype(array, self.dtype) or not _is_simple_name(name):
            return None
        own, own_size = self.index.values(value.index, copy)
        size = _BESIDE + _size_of(array, len(array)) + own_size
        return (name, own, array.copy() if copy else array), size

    def reduce(self, snapshots: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return column, index, and the name and number of rows of each Series."""
        names, owns, arrays = map(list, zip(*snapshots, strict=True))
        column = pack_values(sys.modules["pandas"], _join(arrays))
        return column, self.index.joined(owns), list(zip(names, map(len, arrays), strict=True))


class _Index:
    """What the indexes of such frames or Series have in common: all except their values."""

    __slots__ = ("dtype", "kind", "levels", "name", "names")

    def __init__(self, index: Any) -> None:
        self.kind = type(index)
        self.names = list(index.names)
        self.name = self.names[0]
        self.levels = list(index.levels) if hasattr(index, "levels") else None
        self.dtype = None if self.levels else index.dtype

    def fits(self, value: Any) -> bool:
        """Return whether a frame or Series has such an index, and no attrs or flags."""
        index = value.index
        if type(index) is not self.kind:
            return False
        if value.attrs or not value.flags.allows_duplicate_labels:
            return False
        if self.levels is not None:
            names, levels = index.names, index.levels
            return (
                len(names) == len(self.names)
                and all(map(is_same_label, names, self.names))
                and all(map(is_same_index, levels, self.levels))
            )
        name, dtype = index.name, index.dtype
        return (
            (name is self.name or is_same_label(name, self.name))
            and (dtype is self.dtype or is_same_dtype(dtype, self.dtype))
            and _may_share(index)
        )

    def values(self, index: Any, copy: bool) -> tuple[Any, int]:
        """Return the values of one index, and their size in bytes."""
        pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
        if self.kind is pandas.RangeIndex:
            return (index.start, index.stop, index.step), 0
        if self.levels is not None:
            return tuple(codes.copy() for codes in index.codes), sum(c.nbytes for c in index.codes)
        if isinstance(self.dtype, numpy.dtype):
            own, size = index.to_numpy(), index.nbytes
        else:
            own, size = index.array, 16 * len(index)
        return own.copy() if copy else own, size

    def joined(self, values: list[Any]) -> Any:
        """Return the index of all rows; of RangeIndexes the name, starts, stops and steps."""
        pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
        if self.kind is pandas.RangeIndex:
            return (self.names[0], *map(list, zip(*values, strict=True)))
        if self.levels is not None:
            codes = [_join(list(parts)) for parts in zip(*values, strict=True)]
            return pandas.MultiIndex(
                levels=self.levels, codes=codes, names=self.names, verify_integrity=False
            )
        joined = _join(values)
        dtype = object if joined.dtype.kind == "O" and isinstance(joined, numpy.ndarray) else None
        return pandas.Index(joined, dtype=dtype, name=self.names[0])


def _may_share(index: Any) -> bool:
    """Return whether an index has no state except its values, and all of them can be sent."""
    pandas = sys.modules["pandas"]
    if type(index) is pandas.MultiIndex or type(index) is pandas.RangeIndex:
        return True
    kinds = (pandas.Index, pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.CategoricalIndex)
    if type(index) not in kinds or getattr(index, "freq", None) is not None:
        return False
    return index.dtype.kind != "O" or _is_text(index.array)


def _values_of(series: Any) -> Any:
    """Return a Series' array: numpy's own if pandas has wrapped it."""
    array = series.array
    return array.to_numpy() if type(array).__name__ == "NumpyExtensionArray" else array


def _is_simple_name(name: Any) -> bool:
    """Return whether the name can certainly be sent."""
    kind = type(name)
    if name is None or kind in (str, int, float, bool):
        return True
    if kind is tuple:
        return all(map(_is_simple_name, name))
    return kind is sys.modules["pandas"].Timestamp and name.tz is None


def _has_form(array: Any) -> bool:
    """Return whether there is a kind of column for such an array, which depends on its dtype."""
    few = array if len(array) <= _SAMPLE else array[:0]
    return pack_values(sys.modules["pandas"], few) is not None


def _has_dtype(array: Any, dtype: Any) -> bool:
    """Return whether an array has the dtype, and all its values can be sent."""
    if array.dtype is not dtype and not is_same_dtype(array.dtype, dtype):
        return False
    return dtype.kind != "O" or _is_text(array)


def _is_text(values: Any) -> bool:
    """Return whether objects are texts or missing values, all of which can be sent."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if not isinstance(values.dtype, numpy.dtype):
        return True
    return pandas.api.types.infer_dtype(numpy.asarray(values).ravel(), skipna=True) in (
        "string",
        "empty",
    )


def _size_of(values: Any, n: int) -> int:
    """Return about how many bytes n values take; of texts, a sample is measured."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    dtype = values.dtype
    if dtype.kind != "O":
        return 8 * n
    if isinstance(dtype, pandas.CategoricalDtype):
        return int(values.codes.nbytes)
    if not isinstance(dtype, (numpy.dtype, pandas.StringDtype)):
        return 16 * n
    step = n // _SAMPLE + 1
    if step > 1:
        values = (values.flat if isinstance(values, numpy.ndarray) else values)[::step]
    texts = numpy.asarray(values).ravel().tolist()
    return 8 * n + step * sum(len(text) for text in texts if type(text) is str)


def _join(parts: list[Any]) -> Any:
    numpy = sys.modules["numpy"]
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], numpy.ndarray):
        # Without dtype, the result would be in native byte order.
        return numpy.concatenate(parts, axis=parts[0].ndim - 1, dtype=parts[0].dtype)
    if parts[0].ndim == 2:
        return type(parts[0])._concat_same_type(parts, axis=1)
    return type(parts[0])._concat_same_type(parts)


# --- decoding -------------------------------------------------------------------------------------


def frames_of(
    read: Reader, columns: list[Any], labels: Any, index: Any, rows: list[Any]
) -> list[Any]:
    """Return the frames: slices of one that nobody else holds, which share no rows."""
    whole_index, ranges = _index_of_all(read, index, rows)
    whole = frames.frame_of(read, columns, labels, whole_index, {})
    return _cut(read, whole, rows, ranges)


def series_of(read: Reader, column: tuple[Any, ...], index: Any, pieces: list[Any]) -> list[Any]:
    """Return the Series: slices of one that nobody else holds, which share no rows."""
    if any(type(piece) is not tuple or len(piece) != 2 for piece in pieces):
        raise DecodeFailure("invalid name and number of rows in a list of Series")
    rows = [n for _, n in pieces]
    whole_index, ranges = _index_of_all(read, index, rows)
    made = _cut(read, one_series(read, column, whole_index, None, {}), rows, ranges)
    for series, (name, _) in zip(made, pieces, strict=True):
        series.name = name
    return made


def _index_of_all(read: Reader, index: Any, rows: list[Any]) -> tuple[Any, tuple[Any, ...] | None]:
    """Return the index of all rows, and what `_Index.joined` has made of RangeIndexes."""
    if any(type(n) is not int or n < 0 for n in rows):
        raise DecodeFailure("invalid number of rows in a list of frames or Series")
    if type(index) is not tuple:
        return index, None
    if len(index) != 4 or any(
        type(part) is not list or len(part) != len(rows) for part in index[1:]
    ):
        raise DecodeFailure("number of indexes does not match a list of frames or Series")
    return read.names.module("pandas").RangeIndex(sum(rows)), index


def _cut(read: Reader, whole: Any, rows: list[int], ranges: tuple[Any, ...] | None) -> list[Any]:
    """Return the parts of a frame or Series, which have so many rows each."""
    if len(whole) != sum(rows):
        raise DecodeFailure(
            "number of rows does not match the columns of a list of frames or Series"
        )
    made = []
    at = 0
    for n in rows:
        part = whole.iloc[at : at + n]
        at += n
        if getattr(part, "_is_copy", None) is not None:
            part._is_copy = None  # pandas 2 would warn of a change to it
        made.append(part)
    if ranges is not None:
        name, *bounds = ranges
        for part, start, stop, step in zip(made, *bounds, strict=True):
            part.index = range_of(read, start, stop, step, name)
    return made
