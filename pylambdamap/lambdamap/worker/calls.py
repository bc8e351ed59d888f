"""How an item becomes a call of f.

Items must have exactly the form given in docs/wire-format.md. Their classes are not consulted:
neither ``__iter__`` nor ``keys`` of an item is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from lambdamap._process import end_copies

__all__ = ["caller", "calls_of"]


def caller(calls: str, function: Callable[..., Any] | None) -> Callable[[Any], Any]:
    """Return the callable for one item.

    Parameters
    ----------
    calls
        One of `lambdamap.shipping.envelope.CALLS`, from the request.
    function
        f; None for "each", whose items are lists of calls with their functions.
    """
    if function is None:
        return _each
    if calls == "item":
        return function
    made = _KINDS[calls]
    return lambda item: made(function, item)


def _arguments(args: Any) -> Sequence[Any]:
    """Return positional arguments as a list or a tuple; named tuples are read as tuples."""
    kind = type(args)
    if kind is tuple or kind is list:
        given: Sequence[Any] = args
        return given
    if issubclass(kind, tuple):
        return list(tuple.__iter__(args))
    raise TypeError(f"the arguments of a call must be a tuple or a list, not {kind.__name__}")


def _parts(call: object, n: int) -> tuple[Any, ...]:
    """Return the n parts of a call; the last two are its arguments and keyword arguments."""
    if type(call) is not tuple or len(call) != n:
        raise TypeError(f"a call must be a tuple of {n} parts, not {_shown(call)}")
    *before, args, kwargs = call
    if type(kwargs) is not dict:
        raise TypeError(f"the keyword arguments of a call must be a dict, not {_shown(kwargs)}")
    return (*before, _arguments(args), kwargs)


def _shown(value: object) -> str:
    return f"of {len(value)}" if type(value) is tuple else type(value).__name__


def calls_of(item: object, n: int) -> list[tuple[Any, ...]]:
    """Return the calls of an item of "batch" (n = 2 parts each) or "each" (n = 3).

    Raises
    ------
    TypeError
        The item is not a list of such calls.
    """
    if type(item) is not list:
        raise TypeError(f"the calls of an item must be a list, not {_shown(item)}")
    return [_parts(call, n) for call in item]


def _star(function: Callable[..., Any], item: object) -> Any:
    """Call f with the item as its positional arguments."""
    return function(*_arguments(item))


def _call(function: Callable[..., Any], item: object) -> Any:
    """Call f with the item, a pair of arguments and keyword arguments."""
    args, kwargs = _parts(item, 2)
    return function(*args, **kwargs)


def _batch(function: Callable[..., Any], item: object) -> list[Any]:
    """Call f once for each such pair of the item."""
    calls = calls_of(item, 2)
    with _threads_inside():
        return [_once(function, args, kwargs) for args, kwargs in calls]


def _each(calls: list[tuple[Any, ...]]) -> list[Any]:
    """Make calls given as triples of function, arguments and keyword arguments."""
    with _threads_inside():
        return [_once(*call) for call in calls]


def _once(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Make one of several calls. A process that f has forked ends after it."""
    pid = os.getpid()
    result = function(*args, **kwargs)
    end_copies(pid)
    return result


def _group(function: Callable[..., Any], item: object) -> Any:
    """Call f with the group of the item, a pair of a pandas groupby's key and group."""
    if type(item) is not tuple or len(item) != 2:
        raise TypeError(f"an item must be a pair of key and group, not {_shown(item)}")
    key, group = item
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(group, (pandas.DataFrame, pandas.Series)):
        raise TypeError(f"a group must be a DataFrame or a Series, not {_shown(group)}")
    object.__setattr__(
        group, "name", key
    )  # as pandas' apply does; an ordinary assignment would set a column
    return function(group)


_KINDS: Final = {"star": _star, "call": _call, "batch": _batch, "group": _group}


def _threads_inside() -> contextlib.AbstractContextManager[Any]:
    """Let joblib.Parallel inside a task use threads, as with joblib's other backends."""
    try:
        from joblib import parallel_config
        from joblib._parallel_backends import ThreadingBackend
    except ImportError:
        return contextlib.nullcontext()
    inside: contextlib.AbstractContextManager[Any] = parallel_config(
        backend=ThreadingBackend(nesting_level=1), n_jobs=None
    )
    return inside
