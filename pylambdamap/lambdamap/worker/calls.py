"""How the calls of one invocation are made: what f is called with for an item.

The items are of the form that docs/wire-format.md says, exactly, before a call is made of one. What
iterates over itself or names its own keys, as data of a class may, has no say in it.
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
    """What to call with each item.

    Parameters
    ----------
    calls
        One of `lambdamap.shipping.envelope.CALLS`, as the request says it.
    function
        f; None for "each", of which each item is the list of its calls, with the functions found.
    """
    if function is None:
        return _each
    if calls == "item":
        return function
    made = _KINDS[calls]
    return lambda item: made(function, item)


def _arguments(args: Any) -> Sequence[Any]:
    """Positional arguments: a list, or a tuple, of which a named one is read past its class."""
    kind = type(args)
    if kind is tuple or kind is list:
        given: Sequence[Any] = args
        return given
    if issubclass(kind, tuple):
        return list(tuple.__iter__(args))
    raise TypeError(f"the arguments of a call are a tuple or a list, not a {kind.__name__}")


def _parts(call: object, n: int) -> tuple[Any, ...]:
    """The parts of a call, of which the last two are its arguments and keyword arguments."""
    if type(call) is not tuple or len(call) != n:
        raise TypeError(f"a call is a tuple of {n} parts, not a {type(call).__name__} of others")
    *before, args, kwargs = call
    if type(kwargs) is not dict:
        raise TypeError(
            f"the keyword arguments of a call are a dict, not a {type(kwargs).__name__}"
        )
    return (*before, _arguments(args), kwargs)


def calls_of(item: object, n: int) -> list[tuple[Any, ...]]:
    """The calls of an item of "batch" (of 2 parts each) or "each" (of 3).

    Raises
    ------
    TypeError
        It is not a list of them.
    """
    if type(item) is not list:
        raise TypeError(f"several calls are a list, not a {type(item).__name__}")
    return [_parts(call, n) for call in item]


def _star(function: Callable[..., Any], item: object) -> Any:
    """The item is the sequence of f's arguments."""
    return function(*_arguments(item))


def _call(function: Callable[..., Any], item: object) -> Any:
    """The item is a pair: arguments and keyword arguments."""
    args, kwargs = _parts(item, 2)
    return function(*args, **kwargs)


def _batch(function: Callable[..., Any], item: object) -> list[Any]:
    """The item is a list of such pairs, for one call each."""
    calls = calls_of(item, 2)
    with _threads_inside():
        return [_once(function, args, kwargs) for args, kwargs in calls]


def _each(calls: list[tuple[Any, ...]]) -> list[Any]:
    """Triples: a function, arguments, keyword arguments."""
    with _threads_inside():
        return [_once(*call) for call in calls]


def _once(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One call of several, of which a process that f forks makes no further one."""
    pid = os.getpid()
    result = function(*args, **kwargs)
    end_copies(pid)
    return result


def _group(function: Callable[..., Any], item: object) -> Any:
    """The item is a key of a pandas groupby and its group, which f alone gets."""
    if type(item) is not tuple or len(item) != 2:
        raise TypeError(f"an item is a key and its group, not a {type(item).__name__}")
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
