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
    """A DataFrame iterates over its column names, which nobody means."""
    kind = type(data)
    if kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] in ("pandas", "polars"):
        raise TypeError(
            "data is a DataFrame, which iterates over its column names: pass df.groupby(column) to "
            "map over groups, or df.itertuples() to map over rows"
        )


def total_of(iterables: tuple[object, ...], strict: bool) -> int | None:
    """How many results there will be, where every length is known."""
    lengths = [len(data) for data in iterables if isinstance(data, Sized)]
    if len(lengths) < len(iterables):
        return None
    return max(lengths) if strict else min(lengths)


def _strictly(iterables: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    """Tuples of one item of each; ValueError, in the builtin's words, unless they end together."""
    try:
        yield from zip(*iterables, strict=True)
    except ValueError as error:
        text = str(error)
        if not text.startswith("zip() argument"):
            raise
        raise ValueError("map" + text.removeprefix("zip")) from None


def together(iterables: tuple[Iterable[Any], ...], strict: bool) -> Iterator[Any]:
    """The items: those of one iterable, or tuples of one of each."""
    if len(iterables) == 1:
        return iter(iterables[0])
    return _strictly(iterables) if strict else zip(*iterables, strict=False)


def check_arguments(name: str, function: object, iterables: tuple[object, ...]) -> None:
    """What can be said before anything is opened."""
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
    __tracebackhide__ = True  # IPython and pytest then show who called
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


def map(  # noqa: A001  # the builtin's name is the point
    function: Callable[..., R], /, *iterables: Iterable[Any], strict: bool = False, **options: Any
) -> Results[R]:
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
    return _open("map", function, iterables, strict, options, ordered=True)


def map_unordered(
    function: Callable[..., R], /, *iterables: Iterable[Any], strict: bool = False, **options: Any
) -> Results[R]:
    """As `map`, but results come as they are finished.

    A slow item holds nothing up. An error is raised when it arrives, behind the results of its
    chunk that were finished before it; let the function return what tells the items apart.

    Parameters
    ----------
    function, *iterables, strict, **options
        As for `map`.

    Returns
    -------
    Results
        Iterator of the results in the order of their arrival.

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

    Raises
    ------
    Exception
        As `map`; TypeError, at its place, when an item is no iterable.

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
    """Invoke any Lambda function once per payload, many at once, in any language.

    Parameters
    ----------
    function : str or None
        Name, ``name:alias`` or ARN; None: the configured one.
    payloads
        JSON-able values, or bytes that are sent as they are.
    raw
        Give the replies as bytes instead of reading them as JSON.
    durable_execution_name : str or callable, optional
        For a durable function, the name of each payload's execution: a text in which ``{index}``
        stands for the payload's position, or what is called with position and payload. 1 to 64 of
        ``A-Z a-z 0-9 - _``. Lambda runs a name once: the same payload under it gives the reply of the
        execution that there is, so ``idempotent=True`` is safe; another payload is a ConfigError
        that says NOT.
    **options
        See `lambdamap.Options`; ``chunksize`` has no meaning here. With ``on_error="return"`` the
        error of an invocation stands in the place of its reply, whatever it is, unless it concerns
        them all.

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
