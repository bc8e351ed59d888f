"""`groupby_apply`: pandas' ``grouped.apply``, with the function on Lambda.

pandas itself makes the groups and combines their results: its ``apply`` runs twice, once with a
function that sends each group, and once with a function that returns the results in order. No rules
of pandas are repeated here, and none of its private names are used.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from lambdamap import errors
from lambdamap import options as _options
from lambdamap.flight.engine import Raised
from lambdamap.flight.feed import Feed
from lambdamap.flight.open import open_engine

if TYPE_CHECKING:
    import pandas
    from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

    from lambdamap.flight.engine import Engine
    from lambdamap.options import Options

    Grouped = DataFrameGroupBy[Any, Any] | SeriesGroupBy[Any, Any]
    Combined = pandas.DataFrame | pandas.Series[Any]

__all__ = ["GroupResults", "groupby_apply"]

_OLDEST = (2, 2)  # has include_groups
_UNPACKED = 16  # groups that may wait for the packer, each as a DataFrame


class GroupResults:
    """What `groupby_apply` returns with ``on_error="return"``.

    Iterating over it yields, in the order of the groups, what the function returned, or the exception
    in its place.

    Attributes
    ----------
    combined : pandas.DataFrame or pandas.Series
        The results as pandas combines them, with missing values for the groups that failed.
    errors : pandas.Series
        The exceptions of these groups, by the group's key.
    """

    def __init__(self, results: list[Any], combined: Combined, errors: pandas.Series[Any]) -> None:
        self._results = results
        self.combined = combined
        self.errors = errors

    def __iter__(self) -> Iterator[Any]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"<groupby_apply: {len(self)} groups, {len(self.errors)} of them failed>"


@overload
def groupby_apply(
    function: Callable[..., Any],
    grouped: Grouped,
    /,
    *,
    on_error: Literal["return"],
    **options: Any,
) -> GroupResults: ...
@overload
def groupby_apply(
    function: Callable[..., Any], grouped: Grouped, /, **options: Any
) -> Combined: ...
def groupby_apply(
    function: Callable[..., Any], grouped: Grouped, /, **options: Any
) -> Combined | GroupResults:
    """Apply a function to each group on Lambda, and combine the results as pandas does.

    The result is that of ``grouped.apply(function)``. As in pandas 3, the function does not get the
    columns that it is grouped by; ``group.name`` has their values. Groups are sent as typed columns,
    and are read as the map proceeds: besides the results, the byte budget limits what is in memory.

    Parameters
    ----------
    function
        Called with one DataFrame or Series per group. It returns a scalar, a Series, a DataFrame, or
        None to leave the group out.
    grouped
        ``df.groupby(...)`` or ``series.groupby(...)``, with any options and any selection of columns.
    **options
        See `lambdamap.Options`.

    Returns
    -------
    pandas.DataFrame or pandas.Series
        With the index, columns and dtypes of ``grouped.apply``. With ``on_error="return"`` a
        `GroupResults` instead, which has it as ``combined``.

    Raises
    ------
    TypeError
        `grouped` has another type, or `function` is not callable.
    ConfigError
        Unknown option, no region, no credentials, ``codec="json"``, or pandas before 2.2.
    EncodeError
        The function or a group cannot be sent.
    Exception
        f's own exception, with the group's key in a note; or a `LambdaMapError` with the positions of
        the groups, the reason, and whether f ran. Finished results are in the ``partial`` of
        ``lambdamap.failure(error)``.

    Examples
    --------
    >>> import pandas as pd, lambdamap
    >>> df = pd.DataFrame({"carrier": ["AA", "B6", "AA"], "delay": [3.0, 5.0, 4.0]})
    >>> lambdamap.groupby_apply(len, df.groupby("carrier"), backend="inline")
    carrier
    AA    2
    B6    1
    dtype: int64
    """
    _check(function, grouped)
    resolved = _options.resolve_for(function, options)
    if resolved.codec == "json":
        raise errors.ConfigError("codec='json' does not support groups: use the default codec")
    try:
        results = _map(function, grouped, resolved)
    except (Exception, KeyboardInterrupt) as error:
        # Stack frames of pandas and of this file are of no use to the caller.
        BaseException.with_traceback(error, None)
        raise
    if resolved.on_error == "return":
        return _in_places(grouped, list(results))
    made: Combined = _apply(grouped, lambda _: results.popleft())
    return made


def _in_places(grouped: Grouped, results: list[Any]) -> GroupResults:
    """Combine results of which some are `Raised`."""
    import pandas

    missing = _missing(grouped, results) if any(type(r) is Raised for r in results) else None
    left = iter(results)
    failed: list[tuple[Any, BaseException]] = []

    def give(group: Any) -> Any:
        result = next(left)
        if type(result) is not Raised or missing is None:
            return result
        failed.append((group.name, result.error))
        return missing(group)

    combined = _apply(grouped, give)
    keys = pandas.Index([key for key, _ in failed])
    by_key = pandas.Series([error for _, error in failed], index=keys, dtype=object)
    shown = [result.error if type(result) is Raised else result for result in results]
    return GroupResults(shown, combined, by_key)


def _missing(grouped: Grouped, results: list[Any]) -> Callable[[Any], Any]:
    """Return a function that returns what stands for a failed group's result.

    It has the shape of the others: NaN for a scalar; else rows of NaN, labelled as the group's if the
    others are labelled as theirs, or as the others if these all have the same labels, or one row."""
    good = {i: r for i, r in enumerate(results) if type(r) is not Raised and r is not None}
    first: Any = next(iter(good.values()), None)
    if not hasattr(first, "iloc"):
        return lambda group: float("nan")
    numbers = iter(range(len(results)))
    like_groups = True

    def compare(group: Any) -> None:
        nonlocal like_groups
        result = good.get(next(numbers))
        if result is not None:
            like_groups = like_groups and group.index.equals(result.index)

    _apply(grouped, compare)
    rows = first.iloc[:0]
    if like_groups:
        return lambda group: rows.reindex(group.index)
    if all(first.index.equals(result.index) for result in good.values()):
        return lambda group: rows.reindex(first.index)
    return lambda group: rows.reindex(
        [(float("nan"),) * n if (n := first.index.nlevels) > 1 else None]
    )


def _check(function: object, grouped: object) -> None:
    if _version() < _OLDEST:
        raise errors.ConfigError(
            "groupby_apply needs pandas 2.2 or newer: pip install --upgrade pandas"
        )
    from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

    if not callable(function):
        raise TypeError(
            "the first argument of groupby_apply() must be a function, the second df.groupby(...): "
            f"{function!r} is not callable"
        )
    if not isinstance(grouped, (DataFrameGroupBy, SeriesGroupBy)):
        raise TypeError(
            "the second argument of groupby_apply() must be df.groupby(...) or series.groupby(...), "
            f"got {type(grouped).__name__}"
        )


def _version() -> tuple[int, ...]:
    import pandas

    return tuple(int(part) for part in pandas.__version__.split(".")[:2])


class _EnoughError(Exception):
    """Ends pandas' loop over the groups."""


def _apply(grouped: Any, function: Callable[[Any], Any]) -> Any:
    """Call ``grouped.apply`` without the grouping columns, in any version of pandas."""
    if grouped.ndim == 2 and _version() < (3, 0):
        return grouped.apply(function, include_groups=False)
    return grouped.apply(function)


def _map(function: Callable[..., Any], grouped: Grouped, options: Options) -> deque[Any]:
    """Return the results of all groups, in pandas' order."""
    total = grouped.ngroups
    results: deque[Any] = deque()
    feed = Feed()
    engine = open_engine(
        function,
        feed,
        options,
        total=total,
        calls="group",
        marks_errors=options.on_error == "return",
    )
    sent = 0

    def send(group: Any) -> None:
        nonlocal sent
        feed.items.append((group.name, group))
        sent += 1
        if len(feed.items) >= _UNPACKED or engine.input_room() <= 0:
            _make_room(engine, results)
        if sent == total:
            raise _EnoughError  # before pandas combines the results, which are not there yet

    try:
        with contextlib.suppress(_EnoughError):
            _apply(grouped, send)
        feed.ended = True
        results.extend(engine.results())
    except BaseException as error:
        engine.end(error)
        _complete(error, grouped, results)
        raise
    finally:
        engine.close()
    return results


def _make_room(engine: Engine, results: deque[Any]) -> None:
    """Pack the waiting groups, and wait until the map has room for more."""
    while (chunk := engine.step()) is not None or engine.input_room() <= 0:
        if chunk:
            results.extend(chunk)
        elif chunk is None:
            engine.wait()
        else:
            raise _EnoughError


def _complete(error: BaseException, grouped: Grouped, results: deque[Any]) -> None:
    """Add the group's key and the finished results to an error."""
    done = {index: r for index, r in enumerate(results) if type(r) is not Raised}
    errors.keep(error, done)
    known = errors.failure(error)
    if known is not None and len(known.indices) == 1:
        index = known.indices[0]
        errors.note(error, f"item {index} is the group {_key_of(grouped, index)!r}")


def _key_of(grouped: Grouped, index: int) -> Any:
    keys: deque[Any] = deque(maxlen=1)

    def look(group: Any) -> None:
        nonlocal index
        keys.append(group.name)
        index -= 1
        if index < 0:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        _apply(grouped, look)
    return keys[0]
