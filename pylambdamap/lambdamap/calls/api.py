"""The map family."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from lambdamap import options as _options
from lambdamap.calls.results import Results
from lambdamap.flight.open import open_engine, open_payload_engine

__all__ = ["invoke_map", "map", "map_unordered", "starmap"]

R = TypeVar("R")


def refuse_frame(data: object) -> None:
    """Raise TypeError for a DataFrame, which would iterate over its column names."""
    kind = type(data)
    if kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] in ("pandas", "polars"):
        raise TypeError(
            "data is a DataFrame, which iterates over its column names: pass df.groupby(column) to "
            "map over groups, or df.itertuples() to map over rows"
        )


def total_of(iterables: tuple[object, ...], strict: bool) -> int | None:
    """Return the number of results; None if not every length is known."""
    lengths = [len(data) for data in iterables if isinstance(data, Sized)]
    if len(lengths) < len(iterables):
        return None
    return max(lengths) if strict else min(lengths)


def _strictly(iterables: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    """Yield tuples of one item of each; raise ValueError, worded as by ``map``, if lengths differ."""
    try:
        yield from zip(*iterables, strict=True)
    except ValueError as error:
        text = str(error)
        if not text.startswith("zip() argument"):
            raise
        raise ValueError("map" + text.removeprefix("zip")) from None


def together(iterables: tuple[Iterable[Any], ...], strict: bool) -> Iterator[Any]:
    """Return an iterator over the items of one iterable, or over tuples of one item of each."""
    if len(iterables) == 1:
        return iter(iterables[0])
    return _strictly(iterables) if strict else zip(*iterables, strict=False)


def check_arguments(name: str, function: object, iterables: tuple[object, ...]) -> None:
    """Check the arguments before anything is opened."""
    if not iterables:
        raise TypeError(f"{name}() needs a function and at least one iterable")
    for data in (function, *iterables):
        refuse_frame(data)


def _open(
    name: str,
    function: Callable[..., R],
    iterables: tuple[Iterable[Any], ...],
    strict: bool,
    options: dict[str, Any],
    ordered: bool,
) -> Results[R]:
    __tracebackhide__ = True  # hides this frame in IPython and pytest
    check_arguments(name, function, iterables)
    resolved = _options.resolve_for(function, options)
    engine = open_engine(
        function,
        together(iterables, strict),
        resolved,
        total=total_of(iterables, strict),
        calls="star" if len(iterables) > 1 else "item",
        ordered=ordered,
    )
    return Results(engine)


def map(  # noqa: A001  # named after the builtin on purpose
    function: Callable[..., R], /, *iterables: Iterable[Any], strict: bool = False, **options: Any
) -> Results[R]:
    """Apply a function to every item in parallel, on AWS Lambda or a local Lambda.

    The first window of chunks has been submitted when this returns, so configuration errors are
    raised here. Results are yielded in input order; f may run for items whose results are never
    taken.

    Parameters
    ----------
    function
        The callable to run remotely. A function or class of a module that the worker can import is
        sent by its import path; a lambda, closure or function of ``__main__`` by its code.
    *iterables
        As for the builtin: the function gets one item of each. They are read while the map runs.
    strict
        Raise ValueError if the iterables differ in length.
    **options
        See `lambdamap.Options`.

    Returns
    -------
    Results
        Iterator of the results in input order, with ``close()`` and ``stats``.

    Raises
    ------
    ConfigError
        At once: an unknown option, no region, no credentials.
    EncodeError
        The function cannot be sent (raised at once) or an item cannot (raised at its position).
    TypeError
        An argument is a DataFrame or not iterable.
    Exception
        At the item's position, f's own exception; or a `LambdaMapError` that says which items are
        concerned, what happened and whether f ran. With ``on_error="return"`` these are results, and
        `lambdamap.failure` tells more about each; only a failure that concerns all items is raised.

    Examples
    --------
    >>> import lambdamap
    >>> list(lambdamap.map(pow, [2, 3], [3, 2], backend="inline"))
    [8, 9]
    """
    return _open("map", function, iterables, strict, options, ordered=True)


def map_unordered(
    function: Callable[..., R], /, *iterables: Iterable[Any], strict: bool = False, **options: Any
) -> Results[R]:
    """Apply a function as `map` does, and yield results in the order of completion.

    A slow item does not delay the others. An error is raised when it arrives, after the results of
    its chunk that finished before it. Let the function return something that identifies the item.

    Parameters
    ----------
    function, *iterables, strict, **options
        As for `map`.

    Returns
    -------
    Results
        Iterator of the results in the order of completion.

    Raises
    ------
    Exception
        As `map`.

    Examples
    --------
    >>> import lambdamap
    >>> sorted(lambdamap.map_unordered(abs, [-1, 2, -3], backend="inline"))
    [1, 2, 3]
    """
    return _open("map_unordered", function, iterables, strict, options, ordered=False)


def starmap(
    function: Callable[..., R], iterable: Iterable[Iterable[Any]], /, **options: Any
) -> Results[R]:
    """Apply a function as `map` does; each item is a sequence of its arguments.

    Parameters
    ----------
    function, **options
        As for `map`.
    iterable
        Iterable of iterables of positional arguments.

    Returns
    -------
    Results
        Iterator of the results in input order.

    Raises
    ------
    Exception
        As `map`; TypeError at the item's position if an item is not iterable.

    Examples
    --------
    >>> import lambdamap
    >>> list(lambdamap.starmap(pow, [(2, 3), (3, 2)], backend="inline"))
    [8, 9]
    """
    check_arguments("starmap", function, (iterable,))
    resolved = _options.resolve_for(function, options)
    groups = (tuple(group) for group in iterable)
    total = len(iterable) if isinstance(iterable, Sized) else None
    return Results(open_engine(function, groups, resolved, total=total, calls="star"))


def invoke_map(
    function: str | None,
    payloads: Iterable[Any],
    /,
    *,
    raw: bool = False,
    durable_execution_name: str | Callable[[int, Any], str] | None = None,
    **options: Any,
) -> Results[Any]:
    """Invoke a Lambda function, written in any language, once per payload, many at once.

    Parameters
    ----------
    function : str or None
        Name, ``name:alias`` or ARN. None: the configured function.
    payloads
        JSON-serializable values, or bytes, which are sent unchanged.
    raw
        Return replies as bytes instead of decoding them as JSON.
    durable_execution_name : str or callable, optional
        For a durable function, the name of each payload's execution: a string in which ``{index}``
        is replaced by the payload's position, or a callable that takes position and payload. Names
        have 1 to 64 characters of ``A-Z a-z 0-9 - _``. Lambda runs each name once: sending the same
        payload again returns the reply of the existing execution, so ``idempotent=True`` is safe;
        another payload under that name raises ConfigError with ``ran == "NOT"``.
    **options
        See `lambdamap.Options`; ``chunksize`` does not apply. With ``on_error="return"`` the error
        of a payload is returned in place of its reply, unless every invocation would fail.

    Returns
    -------
    Results
        Iterator of the replies in the payloads' order.

    Raises
    ------
    ConfigError
        At once: an unknown option, no function, region or credentials.
    EncodeError
        A payload is not JSON-serializable; raised at its position.
    RemoteError
        The function raised.
    LambdaMapError
        Any other failure; ``ran`` says whether the function ran.

    Examples
    --------
    >>> replies = lambdamap.invoke_map("resize", [{"id": 1}, {"id": 2}])  # doctest: +SKIP
    """
    _options.check_place("invoke_map", options)
    refuse_frame(payloads)
    if function is not None:
        options["function"] = function
    resolved = dataclasses.replace(_options.resolve(**options), chunksize=1)
    total = len(payloads) if isinstance(payloads, Sized) else None
    return Results(
        open_payload_engine(
            iter(payloads), resolved, total=total, raw=raw,
            durable_execution_name=durable_execution_name,
        )
    )  # fmt: skip
