"""The columns of a frame: one by one, and many short ones of numbers as a block."""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import Any

from lambdamap._codec import DecodeFailure
from lambdamap.shipping.kinds.numpy import NUMBERS
from lambdamap.shipping.kinds.pandas.checks import (
    PANDAS_OBJECT,
    has_same,
    index_of,
    kept,
    numbers_of,
)
from lambdamap.shipping.kinds.pandas.columns import column_of, pack_values
from lambdamap.shipping.kinds.parts import SLOT, Reader

__all__ = ["blocks_of", "columns_of", "frame_of", "pack_blocks", "rows_of"]

# A block of at least so many columns of numbers, with fewer rows than that, is sent as one array. Others
# take fewer bytes column by column.
_WIDE_COLUMNS = 8
_WIDE_ROWS = 256
# Private to pandas, which has no public access to all columns of a dtype: one by one they take 15 times as
# long, 229 instead of 15 us for a frame of 19 columns (pandas 3.1). If a private name used here is
# missing, frames are sent one by one.
blocks_of = attrgetter("_mgr.blocks")


def rows_of(values: Any) -> Any:
    """Return a block's columns: it is a two-dimensional array, or one column."""
    return values if values.ndim == 2 else [values]


def pack_blocks(n: int, blocks: list[tuple[Any, Any]]) -> list[Any] | None:
    """Return the columns of a frame with n columns, given as blocks of positions (intp) and values."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    single: list[Any] = [None] * n
    packed: list[Any] = []
    # pandas 2 cannot reorder columns if one is not in native byte order.
    may_block = all(getattr(values.dtype, "isnative", True) for _, values in blocks)
    for places, values in blocks:
        rows = rows_of(values)
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
            single[place] = pack_values(pandas, rows[row])
            if single[place] is None:
                return None
    return packed + [column for column in single if column is not None]


def columns_of(frame: Any) -> list[Any] | None:
    """Return the columns of one frame; None: there is no kind for some."""
    pandas = sys.modules["pandas"]
    try:
        blocks = [(block.mgr_locs.as_array, block.values) for block in blocks_of(frame)]
    except AttributeError:
        arrays = (frame.iloc[:, place].array for place in range(frame.shape[1]))
        columns = [pack_values(pandas, array) for array in arrays]
        return None if None in columns else columns
    return pack_blocks(frame.shape[1], blocks)


# --- decoding -------------------------------------------------------------------------------------


def _block(read: Reader, n: int, rows: int, parts: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the positions of some of n columns, and their values, a row for each."""
    numpy = read.names.module("numpy")
    _, places, values = parts
    places = numbers_of(read, places, "i")
    if type(values) is not numpy.ndarray or values.dtype.kind not in NUMBERS:
        raise DecodeFailure("block of columns that are not numbers")
    if values.shape != (len(places), rows):
        raise DecodeFailure("shape of a block does not match the frame")
    if len(places) and not (places.min() >= 0 and places.max() < n):
        raise DecodeFailure("column index out of range in a block")
    read.charge(values.nbytes + 4 * SLOT * len(places))
    return places, values


def frame_of(
    read: Reader, columns: list[Any], labels: Any, index: Any, attributes: dict[Any, Any]
) -> Any:
    pandas, numpy = read.names.module("pandas"), read.names.module("numpy")
    n, rows = len(index_of(read, labels)), len(index_of(read, index))
    free = numpy.ones(n, bool)
    frames = []
    singles = []
    for parts in columns:
        if type(parts) is tuple and len(parts) == 3 and parts[0] == "block":
            places, values = _block(read, n, rows, parts)
            if not free[places].all() or has_same(numpy, places):
                raise DecodeFailure("two columns at one position of a frame")
            free[places] = False
            frames.append(pandas.DataFrame(values.T, index=index, columns=places, copy=False))
        else:
            singles.append(parts)
    if len(singles) != int(free.sum()):
        raise DecodeFailure("number of columns does not match the labels of a frame")
    read.charge(PANDAS_OBJECT * (len(singles) + len(frames)))
    series = {}
    for place, parts in zip(free.nonzero()[0].tolist(), singles, strict=True):
        values = column_of(read, parts)
        if len(values) != rows:
            raise DecodeFailure("length of a column does not match the frame")
        series[place] = pandas.Series(values, index=index, dtype=kept(read, values), copy=False)
    if series or not frames:
        frames.append(pandas.DataFrame(series, index=index))
    made = frames[0] if len(frames) == 1 else pandas.concat(frames, axis=1)
    if len(frames) > 1 or not (made.columns == numpy.arange(n)).all():
        made = made.take(numpy.argsort(numpy.asarray(made.columns)), axis=1)
    made.columns = labels
    if made.index is not index:
        made.index = index
    made.attrs.update(attributes)
    return made
