"""tsfresh's features on Lambda: ``extract_features(df, column_id=..., distributor=LambdaDistributor())``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any

from tsfresh.utilities.distribution import IterableDistributorBaseClass

from lambdamap import options as _options
from lambdamap.calls.api import map as _map
from lambdamap.errors import ConfigError

__all__ = ["LambdaDistributor"]


class LambdaDistributor(IterableDistributorBaseClass):  # type: ignore[misc]  # untyped
    """A distributor of tsfresh whose time series are worked on by Lambda functions.

    The settings and tsfresh's own function travel once a map, as constant arguments; each series as
    typed columns.

    Parameters
    ----------
    **options
        As for `lambdamap.map`. ``chunksize`` is what tsfresh's ``chunksize`` says when that is
        given, else "auto".

    Raises
    ------
    ConfigError
        An unknown option or a value that cannot be.

    Examples
    --------
    >>> from lambdamap.integrations.tsfresh import LambdaDistributor
    >>> distributor = LambdaDistributor(backend="local")
    """

    def __init__(self, **options: Any) -> None:
        resolved = _options.resolve(**options)
        if resolved.on_error != "raise":
            raise ConfigError("LambdaDistributor takes on_error='raise' only: every series counts")
        self._options = options

    def map_reduce(
        self,
        map_function: Callable[..., Iterable[Any]],
        data: Iterable[Any],
        function_kwargs: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
        data_length: int | None = None,
    ) -> list[Any]:
        """Apply a function that gives a list to every item, and put the lists together.

        Parameters
        ----------
        map_function
            tsfresh's; it gets an item and `function_kwargs`.
        data
            Time series, or whatever the function takes.
        function_kwargs
            The same for every item.
        chunk_size
            Items per invocation; None: the option, which is "auto" by default.
        data_length
            Their number, where `data` has no ``len``.

        Returns
        -------
        list

        Raises
        ------
        ValueError
            `data` is not iterable.
        Exception
            As `lambdamap.map`.
        """
        if not isinstance(data, Iterable):
            raise ValueError("the data cannot be handled by this distributor: it is not iterable")
        constant = {name: _plain(value) for name, value in (function_kwargs or {}).items()}
        function = functools.partial(map_function, **constant)
        options = dict(self._options)
        if chunk_size:
            options["chunksize"] = chunk_size
        if data_length is not None and not isinstance(data, Sized):
            data = _Known(data, data_length)
        with _map(function, data, **options) as results:
            return list(itertools.chain.from_iterable(results))


class _Known:
    """An iterable whose length is known."""

    def __init__(self, data: Iterable[Any], length: int) -> None:
        self._data = data
        self._length = length

    def __iter__(self) -> Any:
        return iter(self._data)

    def __len__(self) -> int:
        return self._length


def _plain(settings: Any) -> Any:
    """tsfresh's settings are dicts in a class of their own; as plain ones they need no pickle.
    Those with functions as keys pickle by tsfresh's own rules."""
    if not isinstance(settings, Mapping):
        return settings
    if not all(isinstance(key, str) for key in settings):
        return settings
    return {key: _plain(value) for key, value in settings.items()}
