"""Same-shaped pandas frames as one: the groups of a frame travel as columns that are theirs in turn.

The native codec asks `shape` for a first frame, `snapshot` for it and each one behind it, and `reduce`
when the list is complete; `restore` is the way back. A frame whose blocks cannot be read, or differ
from the first one's, has no shape and travels alone.
"""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import Any

from lambdamap._codec import DecodeFailure
from lambdamap._kinds import tables
from lambdamap._kinds.parts import Reader

__all__ = ["reduce", "restore", "shape", "snapshot"]


# Private to pandas, which has no public way to all columns of a dtype: one by one they take 15 times as
# long, 229 instead of 15 us for a frame of 19 columns (pandas 3.1). Where a name is gone that is used of
# them here, frames travel alone.
_blocks_of = attrgetter("_mgr.blocks")


class _Shape:
    """What frames have in common that travel together."""

    __slots__ = ("blocks", "columns", "index")

    def __init__(self, columns: Any, blocks: list[tuple[Any, bytes, Any]], index: Any) -> None:
        self.columns = columns
        self.blocks = blocks  # dtype, the columns' places (intp), and the object that says them
        self.index = index  # type, dtype, name


def _index_kind(pandas: Any, index: Any) -> tuple[Any, Any, Any] | None:
    kind = type(index)
    plain = kind in (pandas.Index, pandas.DatetimeIndex) and getattr(index, "freq", None) is None
    if kind is pandas.RangeIndex or (plain and index.dtype.kind in "iufM"):
        return kind, index.dtype, index.name
    return None


def shape(frame: Any) -> _Shape | None:
    """What the frames behind this one must have in common with it; None: it travels alone."""
    pandas = sys.modules["pandas"]
    index = _index_kind(pandas, frame.index)
    if index is None or type(frame) is not pandas.DataFrame or frame.attrs:
        return None
    try:
        found = _blocks_of(frame)
        blocks = [(b.values.dtype, b.mgr_locs.as_array.tobytes(), b.mgr_locs) for b in found]
        known = [tables.pack_values(pandas, _rows_of(b.values)[0]) for b in found]
    except (AttributeError, IndexError, TypeError):
        return None
    if not blocks or None in known or not frame.flags.allows_duplicate_labels:
        return None
    return _Shape(frame.columns, blocks, index)


def _is_text(pandas: Any, values: Any) -> bool:
    """Whether objects are texts and what stands for missing ones: those can all travel."""
    if not isinstance(values, sys.modules["numpy"].ndarray):
        return True
    return pandas.api.types.infer_dtype(values.ravel(), skipna=True) in ("string", "empty")


def _rows_of(values: Any) -> Any:
    """A block's columns: it is one array of two dimensions, or one column."""
    return values if values.ndim == 2 else [values]


def snapshot(shape: _Shape, frame: Any, copy: bool) -> tuple[tuple[Any, ...], int] | None:
    """The frame's data, or a copy of it, and its size in bytes; None: it has another shape."""
    pandas = sys.modules["pandas"]
    index, columns = frame.index, frame.columns
    if frame.attrs or _index_kind(pandas, index) != shape.index:
        return None
    if columns is not shape.columns and not columns.identical(shape.columns):
        return None
    blocks = _blocks_of(frame)
    if len(blocks) != len(shape.blocks):
        return None
    values = []
    rows = len(index)
    size = 64
    for block, (dtype, places, same_places) in zip(blocks, shape.blocks, strict=True):
        value = block.values
        if value.dtype is not dtype and value.dtype != dtype:
            return None
        own_places = block.mgr_locs
        if own_places is not same_places and own_places.as_array.tobytes() != places:
            return None
        if dtype.kind == "O":
            if not _is_text(pandas, value):
                return None
            size += 24 * rows * len(places) // 8
        else:
            size += rows * len(places)
        values.append(value.copy() if copy else value)
    if type(index) is pandas.RangeIndex:
        own: Any = (index.start, index.stop, index.step)
    else:
        own = index.to_numpy(copy=copy)
        size += own.nbytes
    return (rows, own, values), size


def _join(parts: list[Any]) -> Any:
    numpy = sys.modules["numpy"]
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], numpy.ndarray):
        return numpy.concatenate(parts, axis=parts[0].ndim - 1)
    if parts[0].ndim == 2:
        return type(parts[0])._concat_same_type(parts, axis=1)
    return type(parts[0])._concat_same_type(parts)


def reduce(shape: _Shape, snapshots: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The payload for all of them: columns, column labels, index and the rows of each."""
    pandas = sys.modules["pandas"]
    numpy = sys.modules["numpy"]
    columns: list[Any] = [None] * len(shape.columns)
    for number, (_, places, _) in enumerate(shape.blocks):
        joined = _rows_of(_join([values[number] for _, _, values in snapshots]))
        for row, place in enumerate(numpy.frombuffer(places, numpy.intp).tolist()):
            columns[place] = tables.pack_values(pandas, joined[row])
    kind, _, name = shape.index
    owns = [own for _, own, _ in snapshots]
    if kind is pandas.RangeIndex:
        index: Any = (name, *map(list, zip(*owns, strict=True)))
    else:
        index = kind(_join(owns), name=name)
    return columns, shape.columns, index, [rows for rows, _, _ in snapshots]


def restore(
    read: Reader, columns: list[Any], labels: Any, index: Any, rows: list[Any]
) -> list[Any]:
    """The frames: slices of one that nobody else holds, no row of it in two of them."""
    pandas = read.names.module("pandas")
    if any(type(n) is not int or n < 0 for n in rows):
        raise DecodeFailure("it holds frames with a number of rows that cannot be")
    total = sum(rows)
    ranges = index if type(index) is tuple else None
    if ranges is not None and (
        len(ranges) != 4
        or any(type(part) is not list or len(part) != len(rows) for part in ranges[1:])
    ):
        raise DecodeFailure("it holds frames of which some have no index")
    whole_index = pandas.RangeIndex(total) if ranges is not None else index
    whole = tables.frame_of(read, columns, labels, whole_index, {})
    if len(whole) != total:
        raise DecodeFailure("it holds frames whose rows are not as many as their columns'")
    made = []
    at = 0
    for n in rows:
        frame = whole.iloc[at : at + n]
        at += n
        if getattr(frame, "_is_copy", None) is not None:
            frame._is_copy = None  # pandas 2 would warn of a change to it
        made.append(frame)
    if ranges is not None:
        name, *bounds = ranges
        for frame, start, stop, step in zip(made, *bounds, strict=True):
            frame.index = tables.range_of(read, start, stop, step, name)
    return made
