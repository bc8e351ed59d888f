"""What the application computes: one number for each id of a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
from options import BadRequestError, Options

from lambdamap import my_map


def calculate_result(df: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Group the table by its id column and calculate one feature for each group.

    Parameters
    ----------
    df : DataFrame
        At least the two columns that `options` names.
    options : Options
        What the caller asked for in the query string.

    Returns
    -------
    DataFrame
        Columns ``id`` and ``result``, one row for each id, in the order of the ids.

    Raises
    ------
    BadRequestError
        The table has not the columns that the options name, or no numbers in the second one.
    """
    check_columns(df, options)
    started = time.perf_counter()
    grouped = df.groupby(options.id_column)[options.value_column]
    rows = my_map(
        feature_calculation,
        as_dicts(grouped),
        chunksize=options.chunksize,
        compression=options.compression,
        invoke_lambda=options.invoke_lambda,
    )
    print(f"Calculation needed {time.perf_counter() - started:.3f} seconds.")
    return pd.DataFrame(rows, columns=["id", "result"])


def check_columns(df: pd.DataFrame, options: Options) -> None:
    """Raise BadRequestError unless the table can be grouped as the options say."""
    for option in ("id_column", "value_column"):
        column = getattr(options, option)
        if column not in df.columns:
            found = ", ".join(repr(name) for name in df.columns[:20])
            raise BadRequestError(f"the table has no column {column!r} ({option}); it has {found}")
    values = df[options.value_column]
    if len(values) and not pd.api.types.is_numeric_dtype(values):
        raise BadRequestError(f"the column {options.value_column!r} holds more than numbers")


def as_dicts(grouped: Any) -> Iterator[dict[str, Any]]:
    """Turn each group into plain data, which travels to a worker in any state of upgrade."""
    for series_id, series in grouped:
        yield {"id": series_id, "values": series.tolist(), "name": series.name}


def feature_calculation(chunk: dict[str, Any]) -> dict[str, Any]:
    """Calculate the feature of one group. This is the function that runs on Lambda."""
    timeseries = pd.Series(chunk["values"], name=chunk["name"])
    return {"id": chunk["id"], "result": timeseries.sum()}
