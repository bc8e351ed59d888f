"""tsfresh's minimal features of every aircraft's every day, on its own processes and on Lambda."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

from lambdamap.cli.flights import read_flights

__all__ = ["rows"]


def _extract(frame: Any, distributor: Any) -> tuple[Any, float]:
    from tsfresh import extract_features
    from tsfresh.feature_extraction import MinimalFCParameters

    started = time.perf_counter()
    found = extract_features(
        frame,
        column_id="id",
        column_sort="sched_dep_time",
        column_value="distance",
        default_fc_parameters=MinimalFCParameters(),
        distributor=distributor,
    )
    return found, time.perf_counter() - started


def rows(quick: bool) -> list[tuple[str, ...]]:
    """Seconds of each, in the same run; the frames must be equal."""
    warnings.simplefilter("ignore")
    import pandas as pd
    from tsfresh.utilities.distribution import MultiprocessingDistributor

    from lambdamap.integrations.tsfresh import LambdaDistributor

    flights = read_flights().dropna(subset=["tailnum"])
    flights["id"] = flights.groupby(["tailnum", "month", "day"]).ngroup()
    flights = flights.sort_values(["id", "sched_dep_time"], kind="stable")
    frame = flights[["id", "sched_dep_time", "distance"]]
    if quick:
        frame = frame[frame["id"] < 500]
    some = frame[frame["id"] < 50]
    _extract(some, LambdaDistributor(backend="local"))  # the sandboxes have imported tsfresh
    own = MultiprocessingDistributor(len(os.sched_getaffinity(0)), disable_progressbar=True)
    wanted, own_s = _extract(frame, own)
    found, lambda_s = _extract(frame, LambdaDistributor(backend="local"))
    pd.testing.assert_frame_equal(found, wanted)
    return [
        (f"{len(found):,} series", f"{own_s:.0f} s", f"{lambda_s:.0f} s", f"{own_s / lambda_s:.2f}")
    ]
