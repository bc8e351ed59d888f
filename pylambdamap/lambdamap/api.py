"""The map family."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sized
from itertools import zip_longest
from typing import Any

from lambdamap import options as _options
from lambdamap.engine import Results, open_engine, open_plain_engine
from lambdamap.errors import ConfigError

__all__ = ["invoke_map", "map", "starmap"]

_MISSING = object()


def refuse_frame(data: object) -> None:
    """A DataFrame iterates over its column names, which nobody means."""
    kind = type(data)
    if kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] in ("pandas", "polars"):
        raise TypeError(
            "data is a DataFrame, which iterates over its column names: pass df.groupby(column) to "
            "map over groups, or df.itertuples() to map over rows"
        )


def _total(iterables: tuple[Iterable[Any], ...], strict: bool) -> int | None:
    lengths = [len(data) if isinstance(data, Sized) else None for data in iterables]
    known = [length for length in lengths if length is not None]
    if not known or (strict and len(known) < len(lengths)):
        return None
    return min(known) if len(known) == len(lengths) else None


def _strictly(iterables: tuple[Iterable[Any], ...]) -> Iterable[tuple[Any, ...]]:
    for group in zip_longest(*iterables, fillvalue=_MISSING):
        for number, item in enumerate(group):
            if item is _MISSING:
                word = "shorter" if number else "longer"
                raise ValueError(f"map() argument {number + 1} is {word} than the others")
        yield group


def map(  # noqa: A001  # the builtin's name is the point
    function: Callable[..., Any], /, *iterables: Iterable[Any], strict: bool = False, **options: Any
) -> Results:
    """Apply a function to every item, many at once, on AWS Lambda or a Lambda on this machine.

    The first window of chunks is on its way when this returns, so errors of configuration are
    raised here. Results come as their turn comes; f may have run for items that are never taken.

    Parameters
    ----------
    function
        What runs remotely: a function or class of a module that the worker has travels as its
        import path; a lambda, closure or function of ``__main__`` as its code.
    *iterables
        As for the builtin: the function gets one item of each. They are read as the map goes on.
    strict
        Raise ValueError when they do not end together.
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
        The function cannot be shipped (at once) or an item cannot be sent (at its place).
    TypeError
        An argument is a DataFrame or not iterable.
    Exception
        At the item's place, f's own exception; or a `LambdaMapError` that says which items, what
        happened and whether f ran.

    Examples
    --------
    >>> import lambdamap
    >>> list(lambdamap.map(pow, [2, 3], [3, 2], backend="inline"))
    [8, 9]
    """
    if not iterables:
        raise TypeError("map() must have at least two arguments.")
    for data in iterables:
        refuse_frame(data)
    resolved = _options.resolve(**options)
    total = _total(iterables, strict)
    if len(iterables) == 1:
        return Results(open_engine(function, iter(iterables[0]), resolved, total=total, star=False))
    groups = _strictly(iterables) if strict else zip(*iterables, strict=False)
    return Results(open_engine(function, iter(groups), resolved, total=total, star=True))


def starmap(
    function: Callable[..., Any], iterable: Iterable[Iterable[Any]], /, **options: Any
) -> Results:
    """As `map`, but each item is a sequence of the function's arguments.

    Parameters
    ----------
    function, **options
        As for `map`.
    iterable
        Of iterables of positional arguments.

    Returns
    -------
    Results
        Iterator of the results in input order.

    Examples
    --------
    >>> import lambdamap
    >>> list(lambdamap.starmap(pow, [(2, 3), (3, 2)], backend="inline"))
    [8, 9]
    """
    refuse_frame(iterable)
    resolved = _options.resolve(**options)
    groups = (tuple(group) for group in iterable)
    total = len(iterable) if isinstance(iterable, Sized) else None
    return Results(open_engine(function, groups, resolved, total=total, star=True))


def invoke_map(
    function: str | None, payloads: Iterable[Any], /, *, raw: bool = False, **options: Any
) -> Results:
    """Invoke any Lambda function once per payload, many at once, in any language.

    Parameters
    ----------
    function : str or None
        Name, ``name:alias`` or ARN; None: the configured one.
    payloads
        JSON-able values, or bytes that are sent as they are.
    raw
        Give the replies as bytes instead of reading them as JSON.
    **options
        See `lambdamap.Options`; ``chunksize`` has no meaning here.

    Returns
    -------
    Results
        Iterator of the replies in the payloads' order.

    Raises
    ------
    ConfigError
        At once: an unknown option, no function, region or credentials.
    EncodeError
        A payload is no JSON, at its place.
    RemoteError
        The function raised.
    LambdaMapError
        Anything else, with what is known of whether the function ran.

    Examples
    --------
    >>> replies = lambdamap.invoke_map("resize", [{"id": 1}, {"id": 2}])  # doctest: +SKIP
    """
    if "chunksize" in options:
        raise ConfigError("invoke_map sends one payload per invocation: leave chunksize out")
    refuse_frame(payloads)
    if function is not None:
        options["function"] = function
    resolved = dataclasses.replace(_options.resolve(**options), chunksize=1)
    total = len(payloads) if isinstance(payloads, Sized) else None
    return Results(open_plain_engine(iter(payloads), resolved, total=total, raw=raw))
