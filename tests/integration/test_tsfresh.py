"""tsfresh's features of real flights, by aircraft and day, as its own distributor gives them."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import pytest

import lambdamap
from lambdamap.cli.flights import read_flights

# Importing tsfresh takes seconds, here and in every sandbox; many on a machine that is loaded.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.timeout(300),
]


@functools.cache
def days(n: int) -> pd.DataFrame:
    """The flights of the first n pairs of aircraft and day, in the order they left."""
    flights = read_flights().dropna(subset=["tailnum"])
    flights["id"] = flights.groupby(["tailnum", "month", "day"]).ngroup()
    flights = flights.sort_values(["id", "sched_dep_time"], kind="stable")
    return flights.loc[flights["id"] < n, ["id", "sched_dep_time", "distance"]]


def features(n: int, settings: Any, distributor: Any, **options: Any) -> pd.DataFrame:
    from tsfresh import extract_features

    return extract_features(
        days(n),
        column_id="id",
        column_sort="sched_dep_time",
        column_value="distance",
        default_fc_parameters=settings,
        distributor=distributor,
        **options,
    )


def compare(n: int, settings: Any, kind: str) -> None:
    from tsfresh.utilities.distribution import MultiprocessingDistributor

    from lambdamap.integrations.tsfresh import LambdaDistributor

    own = MultiprocessingDistributor(2, disable_progressbar=True)
    wanted = features(n, settings, own)
    found = features(n, settings, LambdaDistributor(backend="local", local=kind))
    pd.testing.assert_frame_equal(found, wanted)
    assert len(found) == n


def test_300_series_with_the_minimal_set() -> None:
    from tsfresh.feature_extraction import MinimalFCParameters

    compare(300, MinimalFCParameters(), "builtin")


def test_30_series_with_the_efficient_set() -> None:
    from tsfresh.feature_extraction import EfficientFCParameters

    compare(30, EfficientFCParameters(), "builtin")


@pytest.mark.soak
def test_on_awslambdaric() -> None:
    from tsfresh.feature_extraction import EfficientFCParameters

    compare(30, EfficientFCParameters(), "awslambdaric")


def test_settings_travel_once_a_map_and_without_pickle() -> None:
    from tsfresh.feature_extraction import EfficientFCParameters

    from lambdamap import _codec
    from lambdamap.integrations.tsfresh import LambdaDistributor

    sent: list[bytes] = []

    def spy(function: Any, data: Any, **options: Any) -> Any:
        packer = _codec.ChunkPacker({"f": function, "star": False})  # no pickle
        sent.append(packer.take())
        return lambdamap.map(function, data, **options)

    import lambdamap.integrations.tsfresh as module

    patch = pytest.MonkeyPatch()
    with patch.context() as at:
        at.setattr(module, "_map", spy)
        distributor = LambdaDistributor(backend="inline", allow_pickle=False)
        found = features(3, EfficientFCParameters(), distributor, chunksize=2)
    assert found.shape[0] == 3
    assert len(sent) == 1


def test_what_is_refused() -> None:
    from lambdamap.integrations.tsfresh import LambdaDistributor

    with pytest.raises(lambdamap.ConfigError, match="did you mean chunksize"):
        LambdaDistributor(chunk_size=3)
    with pytest.raises(lambdamap.ConfigError, match="on_error"):
        LambdaDistributor(on_error="return")
    with pytest.raises(ValueError, match="not iterable"):
        LambdaDistributor().map_reduce(abs, 3)  # type: ignore[arg-type]
