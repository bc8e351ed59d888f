"""How an executor's calls are made: its maps' function is one of these, around the user's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["apply", "apply_all", "apply_each"]


def apply(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """One call: the item is the pair of its arguments."""
    return function(*args, **kwargs)


def apply_all(function: Callable[..., Any], calls: Sequence[Any], _: Any) -> list[Any]:
    """A batch of one function's calls: the item is the list of their arguments."""
    with _threads_inside():
        return [function(*args, **kwargs) for args, kwargs in calls]


def apply_each(functions: Sequence[Callable[..., Any]], calls: Sequence[Any], _: Any) -> list[Any]:
    """As `apply_all`, with a function for each."""
    with _threads_inside():
        return [f(*args, **kwargs) for f, (args, kwargs) in zip(functions, calls, strict=True)]


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
