"""Wire representations of less common types, which are not worth C.

The native codec asks `reduce` for every value that it does not know, and `restore` for every
extension that `reduce` has named. A payload is made of values that the codec knows, or that `reduce`
is asked for in turn; docs/wire-format.md lists the payloads.

A new kind goes into the table of its library: `stdlib`, `classes` (callables, and data of the user's
own classes), `numpy`, or `pandas/`. `parts` says what a kind is. `KINDS` is everything that can be
decoded.

Decoding imports the standard library's own types only: numpy, pandas and everything that has a name
come through the reader's `Names`.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from lambdamap._codec import COST_FRAME, DecodeFailure, EncodeFailure, Entangled
from lambdamap.shipping.kinds import classes, parts, stdlib
from lambdamap.shipping.kinds import numpy as numpy_kinds
from lambdamap.shipping.kinds.pandas import values as pandas_kinds
from lambdamap.shipping.kinds.parts import Kind, Reader

if TYPE_CHECKING:
    from lambdamap.shipping.kinds.pandas import lists

__all__ = [
    "KINDS", "frame_shape", "frame_snapshot", "frames_reduce", "from_signal", "reduce", "restore", "whole",
]  # fmt: skip

# --- encoding -------------------------------------------------------------------------------------


def _reduce(value: Any, kind: type, callables: bool) -> tuple[int, Any] | None:
    found = None
    if "numpy" in sys.modules:
        found = numpy_kinds.reduce(value, kind)
    if found is None and "pandas" in sys.modules:
        found = pandas_kinds.reduce(value, kind)
    if found is None:
        found = stdlib.reduce_late(value, kind)
    if found is None and issubclass(kind, BaseException):
        found = classes.reduce_exception(value)
    elif found is None:
        found = classes.reduce_data(value, kind)
    if found is None:
        found = classes.reduce_callable(value, kind, callables)
    return found


def _name(kind: type) -> str:
    """Return the name of a class for messages; `exec` and `type()` make some without a module."""
    module: Any = kind.__module__
    return f"{module}.{kind.__qualname__}" if type(module) is str else kind.__qualname__


def reduce(value: Any, allow_pickle: bool, callables: bool) -> tuple[int, Any]:
    """Return the extension and payload of a value that the native codec does not know.

    Parameters
    ----------
    allow_pickle
        What has no kind is pickled.
    callables
        Any function or class may be named, not only harmless ones: the reader asks its permissions.

    Raises
    ------
    EncodeFailure
        There is no kind for it, and pickling is not allowed or fails.
    """
    kind = type(value)
    if kind is parts.Buffer:
        return parts.BUFFER, (value.buffer, value.items, value.size)
    exact = stdlib.EXACT.get(kind)
    found = _reduce(value, kind, callables) if exact is None else exact(value)
    if found is not None:
        return found
    if kind in stdlib.NEVER:
        raise EncodeFailure(f"a {kind.__name__} cannot be sent: {stdlib.NEVER[kind]}")
    name = _name(kind)
    if not allow_pickle:
        why = numpy_kinds.why_none(value, kind) if "numpy" in sys.modules else None
        why = why or "needs pickle: pass built-in types, numpy or pandas data"
        raise EncodeFailure(f"{name} {why}, or allow_pickle=True")
    try:
        from lambdamap.shipping import pickling

        return parts.PICKLE, pickling.dumps(value, is_part=True)
    except Entangled:
        raise
    except Exception as error:
        raise EncodeFailure(
            f"{name} cannot be pickled ({type(error).__name__}: {error})"
        ) from error


def whole(value: Any, failure: Entangled) -> parts.Whole:
    """Pickle all of a value at once, so that what its parts share stays one object.

    Raises
    ------
    Entangled
        The given failure: the value cannot be pickled either.
    """
    from lambdamap.shipping import pickling

    try:
        return parts.Whole(pickling.dumps(value))
    except Exception as error:
        raise failure from error


def frame_shape(value: Any) -> lists.Shape | None:
    """Call `lists.shape`; `lists` is imported with the first frame or Series."""
    from lambdamap.shipping.kinds.pandas import lists

    return lists.shape(value)


def frame_snapshot(
    shape: lists.Shape, value: Any, copy: bool
) -> tuple[tuple[Any, ...], int] | None:
    return shape.snapshot(value, copy)


def frames_reduce(shape: lists.Shape, snapshots: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    return shape.reduce(snapshots)


# --- decoding -------------------------------------------------------------------------------------


def _frames(read: Reader, *content: Any) -> list[Any]:
    from lambdamap.shipping.kinds.pandas import lists

    return lists.frames_of(read, *content)


def _series(read: Reader, *content: Any) -> list[Any]:
    from lambdamap.shipping.kinds.pandas import lists

    return lists.series_of(read, *content)


def _pickle(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)


_TAGGED = {parts.TIME: stdlib.TIMES, parts.NAMED: stdlib.KINDS | classes.KINDS}
_TAGGED[parts.PANDAS] = pandas_kinds.KINDS
_FRAME_BYTES = COST_FRAME

KINDS: dict[int, dict[Any, Kind]] = {
    **_TAGGED,  # by the first part of the payload
    # By the number of parts.
    parts.DECIMAL: stdlib.DECIMALS,
    parts.ARRAY: numpy_kinds.ARRAYS,
    parts.NUMPY: numpy_kinds.SCALARS,
    parts.FRAMES: {
        4: Kind(
            (parts.LIST, parts.ANY, parts.ANY, parts.LIST),
            lambda _, __, ___, rows: _FRAME_BYTES * len(rows), _frames, reads=True,
        ),
        3: Kind(
            (parts.TUPLE, parts.ANY, parts.LIST),
            lambda _, __, pieces: _FRAME_BYTES * len(pieces), _series, reads=True,
        ),
    },
    # Only if the caller of the codec allows it. Its size is not known.
    parts.PICKLE: {1: Kind(((bytes,),), lambda data: 8 * len(data), _pickle)},
}  # fmt: skip


def restore(ext: int, payload: Any, names: parts.Names, charge: parts.Charge) -> Any:
    """Return the value of an extension that `reduce` has named."""
    if (kinds := _TAGGED.get(ext)) is not None:
        tag, *content = payload
        kind = kinds.get(tag)
        if kind is not None and kind.is_simple:
            return kind.build(*content)
        return parts.build(kinds, tag, tuple(content), names, charge)
    content = (payload,) if ext == parts.PICKLE else payload
    return parts.build(KINDS[ext], len(content), content, names, charge)


def from_signal(error: BaseException) -> bool:
    """Return whether a signal's handler raised the error, while a value was built."""
    handlers = map(signal.getsignal, signal.valid_signals())
    codes = {getattr(h, "__code__", None) or getattr(type(h).__call__, "__code__", None)
             for h in handlers if callable(h)} - {None}  # fmt: skip
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False
