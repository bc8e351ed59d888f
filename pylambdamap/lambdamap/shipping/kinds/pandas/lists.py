"""pandas frames: their columns, and same-shaped frames as one, of whose columns each has its rows.

The native codec asks `shape` for a first frame, `snapshot` for it and each one after it, and `reduce`
when the list is complete; `restore` is the way back. Frames travel together only where all that pandas
can show of them is the same but their cells and the values of their index; others travel alone, and so
does a frame whose blocks cannot be read.
"""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import Any

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds.numpy import NUMBERS
from lambdamap.shipping.kinds.pandas import values as alone
from lambdamap.shipping.kinds.pandas.alike import is_same_dtype, is_same_index, is_same_label
from lambdamap.shipping.kinds.parts import Reader

__all__ = ["columns_of", "reduce", "restore", "shape", "snapshot"]

# A block of so many columns of numbers, which have fewer rows than that, travels as one array. Others
# take fewer bytes one by one.
_WIDE_COLUMNS = 8
_WIDE_ROWS = 256

# Private to pandas, which has no public way to all columns of a dtype: one by one they take 15 times as
# long, 229 instead of 15 us for a frame of 19 columns (pandas 3.1). Where a name is gone that is used of
# them here, frames travel alone.
_blocks_of = attrgetter("_mgr.blocks")


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
        found = _blocks_of(frame)
        blocks = [(b.values.dtype, b.mgr_locs.as_array.tobytes(), b.mgr_locs) for b in found]
        known = [alone.pack_values(pandas, _rows_of(b.values)[0]) for b in found]
    except (AttributeError, IndexError, TypeError):
        return None
    if not blocks or None in known or not frame.flags.allows_duplicate_labels:
        return None
    if type(index) is not pandas.MultiIndex and alone.pack_values(pandas, index.array) is None:
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


def _rows_of(values: Any) -> Any:
    """A block's columns: it is one array of two dimensions, or one column."""
    return values if values.ndim == 2 else [values]


def snapshot(shape: _Shape, frame: Any, copy: bool) -> tuple[tuple[Any, ...], int] | None:
    """The frame's data, or a copy of it, and its size in bytes; None: it has another shape."""
    index, columns = frame.index, frame.columns
    if frame.attrs or not frame.flags.allows_duplicate_labels or not shape.index.fits(index):
        return None
    if columns is not shape.columns and not is_same_index(columns, shape.columns):
        return None
    blocks = _blocks_of(frame)
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


def _packed(n: int, blocks: list[tuple[Any, Any]]) -> list[Any] | None:
    """The columns of a frame of n, of which each block has places (intp) and values."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    single: list[Any] = [None] * n
    packed: list[Any] = []
    # pandas 2 puts no columns in order of which one is not in the machine's byte order.
    may_block = all(getattr(values.dtype, "isnative", True) for _, values in blocks)
    for places, values in blocks:
        rows = _rows_of(values)
        if (
            may_block
            and isinstance(values, numpy.ndarray)
            and values.dtype.kind in NUMBERS
            and len(rows) >= _WIDE_COLUMNS
            and values.shape[1] < _WIDE_ROWS
        ):
            packed.append(("block", places, values))
            continue
        for row, place in enumerate(places.tolist()):
            single[place] = alone.pack_values(pandas, rows[row])
            if single[place] is None:
                return None
    return packed + [column for column in single if column is not None]


def columns_of(frame: Any) -> list[Any] | None:
    """The columns of one frame; None: there is no kind for some."""
    pandas = sys.modules["pandas"]
    try:
        blocks = [(block.mgr_locs.as_array, block.values) for block in _blocks_of(frame)]
    except AttributeError:
        arrays = (frame.iloc[:, place].array for place in range(frame.shape[1]))
        columns = [alone.pack_values(pandas, array) for array in arrays]
        return None if None in columns else columns
    return _packed(frame.shape[1], blocks)


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
    columns = _packed(len(shape.columns), blocks)
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
    whole = alone.frame_of(read, columns, labels, whole_index, {})
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
            frame.index = alone.range_of(read, start, stop, step, name)
    return made
