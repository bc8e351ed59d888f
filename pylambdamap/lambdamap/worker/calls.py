"""How the calls of one invocation are made: what f is called with for an item."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from lambdamap._process import end_copies

__all__ = ["caller"]

Load = Callable[[Any], Callable[..., Any]]


def caller(calls: str, function: Callable[..., Any] | None, load: Load) -> Callable[[Any], Any]:
    """What to call with each item.

    Parameters
    ----------
    calls
        One of `lambdamap.envelope.CALLS`, as the request says it.
    function
        f; None for "each".
    load
        Finds a callable of "each" by its path, or loads it from its pickle.
    """
    if function is None:
        return lambda item: _each(item, load)
    if calls == "item":
        return function
    made = _KINDS[calls]
    return lambda item: made(function, item)


def _star(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """The item is the sequence of f's arguments."""
    return function(*args)


def _call(function: Callable[..., Any], item: tuple[Any, Any]) -> Any:
    """The item is a pair: arguments and keyword arguments."""
    args, kwargs = item
    return function(*args, **kwargs)


def _batch(function: Callable[..., Any], item: Sequence[tuple[Any, Any]]) -> list[Any]:
    """The item is a list of such pairs, for one call each."""
    with _threads_inside():
        return [_once(function, args, kwargs) for args, kwargs in item]


def _each(item: Sequence[tuple[Any, Any, Any]], load: Load) -> list[Any]:
    """The item is a list of triples: a function's path or pickle, arguments, keyword arguments."""
    calls = [(load(function), args, kwargs) for function, args, kwargs in item]
    with _threads_inside():
        return [_once(function, args, kwargs) for function, args, kwargs in calls]


def _once(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One call of several, of which a process that f forks makes no further one."""
    pid = os.getpid()
    result = function(*args, **kwargs)
    end_copies(pid)
    return result


def _group(function: Callable[..., Any], item: tuple[Any, Any]) -> Any:
    """The item is a key of a pandas groupby and its group, which f alone gets."""
    key, group = item
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(group, (pandas.DataFrame, pandas.Series)):
        raise TypeError(f"a group is a DataFrame or a Series, not a {type(group).__name__}")
    object.__setattr__(group, "name", key)  # as pandas' apply does: no column is named here
    return function(group)


_KINDS: Final = {"star": _star, "call": _call, "batch": _batch, "group": _group}


def _threads_inside() -> contextlib.AbstractContextManager[Any]:
    """A joblib.Parallel inside a task uses threads, as joblib has it for every backend."""
    try:
        from joblib import parallel_config
        from joblib._parallel_backends import ThreadingBackend
    except ImportError:
        return contextlib.nullcontext()
    inside: contextlib.AbstractContextManager[Any] = parallel_config(
        backend=ThreadingBackend(nesting_level=1), n_jobs=None
    )
    return inside
