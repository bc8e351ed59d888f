"""Same-shaped frames of a list: they travel as one, of whose rows each has its own.

The native codec asks `shape` for a first frame, `snapshot` for it and each one after it, and `reduce`
when the list is complete; `restore` is the way back. Frames travel together only where all that pandas
can show of them is the same but their cells and the values of their index; others travel alone, and so
does a frame whose blocks cannot be read.
"""

from __future__ import annotations

import sys
from typing import Any

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds.pandas import frames
from lambdamap.shipping.kinds.pandas.alike import is_same_dtype, is_same_index, is_same_label
from lambdamap.shipping.kinds.pandas.columns import pack_values
from lambdamap.shipping.kinds.pandas.values import range_of
from lambdamap.shipping.kinds.parts import Reader

__all__ = ["reduce", "restore", "shape", "snapshot"]


class _Shape:
    """What frames have in common that travel together."""

    __slots__ = ("blocks", "columns", "index")

    def __init__(self, columns: Any, blocks: list[tuple[Any, bytes, Any]], index: _Index) -> None:
        self.columns = columns
        self.blocks = blocks  # dtype, the columns' places (intp), and the object that says them
        self.index = index


class _Index:
    """What the indexes of frames have in common that travel together: all but their values."""

    __slots__ = ("dtype", "kind", "levels", "name", "names")

    def __init__(self, index: Any) -> None:
        self.kind = type(index)
        self.names = list(index.names)
        self.name = self.names[0]
        self.levels = list(index.levels) if hasattr(index, "levels") else None
        self.dtype = None if self.levels else index.dtype

    def fits(self, index: Any) -> bool:
        if type(index) is not self.kind:
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
        """Of one frame, and their size in bytes."""
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
        pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
        if self.kind is pandas.RangeIndex:
            return (self.names[0], *map(list, zip(*values, strict=True)))
        if self.levels is not None:
            codes = [_join(list(parts)) for parts in zip(*values, strict=True)]
            return pandas.MultiIndex(
                levels=self.levels, codes=codes, names=self.names, verify_integrity=False
            )
        joined = _join(values)
        kept = object if joined.dtype.kind == "O" and isinstance(joined, numpy.ndarray) else None
        return pandas.Index(joined, dtype=kept, name=self.names[0])


def _may_share(index: Any) -> bool:
    """Whether an index is its values alone, and they can all travel."""
    pandas = sys.modules["pandas"]
    if type(index) is pandas.MultiIndex or type(index) is pandas.RangeIndex:
        return True
    kinds = (pandas.Index, pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.CategoricalIndex)
    if type(index) not in kinds or getattr(index, "freq", None) is not None:
        return False
    return index.dtype.kind != "O" or _is_text(index.array)


def shape(frame: Any) -> _Shape | None:
    """What the frames after this one must have in common with it; None: it travels alone."""
    pandas = sys.modules["pandas"]
    index = frame.index
    if type(frame) is not pandas.DataFrame or frame.attrs or not _may_share(index):
        return None
    try:
        found = frames.blocks_of(frame)
        blocks = [(b.values.dtype, b.mgr_locs.as_array.tobytes(), b.mgr_locs) for b in found]
        known = [pack_values(pandas, frames.rows_of(b.values)[0]) for b in found]
    except (AttributeError, IndexError, TypeError):
        return None
    if not blocks or None in known or not frame.flags.allows_duplicate_labels:
        return None
    if type(index) is not pandas.MultiIndex and pack_values(pandas, index.array) is None:
        return None
    return _Shape(frame.columns, blocks, _Index(index))


def _is_text(values: Any) -> bool:
    """Whether objects are texts and what stands for missing ones: those can all travel."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if not isinstance(values.dtype, numpy.dtype):
        return True
    return pandas.api.types.infer_dtype(numpy.asarray(values).ravel(), skipna=True) in (
        "string",
        "empty",
    )


def snapshot(shape: _Shape, frame: Any, copy: bool) -> tuple[tuple[Any, ...], int] | None:
    """The frame's data, or a copy of it, and its size in bytes; None: it has another shape."""
    index, columns = frame.index, frame.columns
    if frame.attrs or not frame.flags.allows_duplicate_labels or not shape.index.fits(index):
        return None
    if columns is not shape.columns and not is_same_index(columns, shape.columns):
        return None
    blocks = frames.blocks_of(frame)
    if len(blocks) != len(shape.blocks):
        return None
    values = []
    rows = len(index)
    size = 64
    for block, (dtype, places, same_places) in zip(blocks, shape.blocks, strict=True):
        value = block.values
        if value.dtype is not dtype and not is_same_dtype(value.dtype, dtype):
            return None
        own_places = block.mgr_locs
        if own_places is not same_places and own_places.as_array.tobytes() != places:
            return None
        if dtype.kind == "O":
            if not _is_text(value):
                return None
            size += 24 * rows * len(places) // 8
        else:
            size += rows * len(places)
        values.append(value.copy() if copy else value)
    own, own_size = shape.index.values(index, copy)
    return (rows, own, values), size + own_size


def _join(parts: list[Any]) -> Any:
    numpy = sys.modules["numpy"]
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], numpy.ndarray):
        # numpy alone would give the machine's own byte order.
        return numpy.concatenate(parts, axis=parts[0].ndim - 1, dtype=parts[0].dtype)
    if parts[0].ndim == 2:
        return type(parts[0])._concat_same_type(parts, axis=1)
    return type(parts[0])._concat_same_type(parts)


def reduce(shape: _Shape, snapshots: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The payload for all of them: columns, column labels, index and the rows of each."""
    numpy = sys.modules["numpy"]
    blocks = [
        (
            numpy.frombuffer(places, numpy.intp),
            _join([values[number] for _, _, values in snapshots]),
        )
        for number, (_, places, _) in enumerate(shape.blocks)
    ]
    columns = frames.pack_blocks(len(shape.columns), blocks)
    index = shape.index.joined([own for _, own, _ in snapshots])
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
    whole = frames.frame_of(read, columns, labels, whole_index, {})
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
            frame.index = range_of(read, start, stop, step, name)
    return made
