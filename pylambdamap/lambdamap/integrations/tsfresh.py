"""Computes tsfresh's features on Lambda.

>>> from lambdamap.integrations.tsfresh import LambdaDistributor
>>> from tsfresh import extract_features
>>> extract_features(df, column_id="id", distributor=LambdaDistributor())  # doctest: +SKIP
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

from tsfresh.utilities.distribution import IterableDistributorBaseClass

from lambdamap import options as _options
from lambdamap.calls.api import map as _map
from lambdamap.errors import ConfigError

__all__ = ["LambdaDistributor"]


class LambdaDistributor(IterableDistributorBaseClass):  # type: ignore[misc]  # untyped
    """A tsfresh distributor that runs on Lambda functions.

    The settings are sent as constant arguments of tsfresh's function, and each time series as typed
    columns.

    Parameters
    ----------
    **options
        As for `lambdamap.map`. tsfresh's own ``chunksize`` takes precedence over this one.

    Raises
    ------
    ConfigError
        Unknown option, or invalid value.

    Examples
    --------
    >>> from lambdamap.integrations.tsfresh import LambdaDistributor
    >>> distributor = LambdaDistributor(backend="local")
    """

    def __init__(self, **options: Any) -> None:
        resolved = _options.resolve(**options)
        if resolved.on_error != "raise":
            raise ConfigError(
                "LambdaDistributor does not support on_error='return': leave it out, since tsfresh "
                "needs the features of every series"
            )
        self._options = options

    def map_reduce(
        self,
        map_function: Callable[..., Iterable[Any]],
        data: Iterable[Any],
        function_kwargs: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
        data_length: int | None = None,
    ) -> list[Any]:
        """Apply a function that returns a list to each item, and concatenate the lists.

        Parameters
        ----------
        map_function
            tsfresh's function; called with an item and `function_kwargs`.
        data
            The time series.
        function_kwargs
            Keyword arguments, the same for each item.
        chunk_size
            Items per invocation; None: the option ``chunksize``, which is "auto" by default.
        data_length
            Number of items, if `data` has no ``len``.

        Returns
        -------
        list

        Raises
        ------
        ValueError
            `data` is not iterable.
        Exception
            As for `lambdamap.map`.
        """
        if not isinstance(data, Iterable):
            raise ValueError(f"data must be iterable, got {type(data).__name__}")
        constant = {name: _as_dict(value) for name, value in (function_kwargs or {}).items()}
        function = functools.partial(map_function, **constant)
        options = dict(self._options)
        if chunk_size:
            options["chunksize"] = chunk_size
        if data_length is not None and not isinstance(data, Sized):
            data = _Sized(data, data_length)
        with _map(function, data, **options) as results:
            return list(itertools.chain.from_iterable(results))


class _Sized:
    """An iterable with a length."""

    def __init__(self, data: Iterable[Any], length: int) -> None:
        self._data = data
        self._length = length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __len__(self) -> int:
        return self._length


def _as_dict(settings: Any) -> Any:
    """Convert tsfresh's settings, which have a class of their own, to dicts that need no pickle.

    Settings with functions as keys are left alone: they have their own way to be pickled.
    """
    if not isinstance(settings, Mapping):
        return settings
    if not all(isinstance(key, str) for key in settings):
        return settings
    return {key: _as_dict(value) for key, value in settings.items()}
