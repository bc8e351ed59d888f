"""tsfresh's features of real flights, by aircraft and day, as its own distributor gives them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import lambdamap
import tasks
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


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The chunks that maps in this process are made of."""
    from lambdamap.backends.inprocess import InProcessMap

    sent: list[bytes] = []
    submit = InProcessMap.submit

    def spy(self: InProcessMap, frame: bytes, first: int, count: int, /) -> bool:
        sent.append(frame)
        return submit(self, frame, first, count)

    monkeypatch.setattr(InProcessMap, "submit", spy)
    return sent


def test_settings_stand_once_in_a_chunk_and_travel_without_pickle(frames: list[bytes]) -> None:
    from tsfresh.feature_extraction import EfficientFCParameters

    from lambdamap.integrations.tsfresh import LambdaDistributor

    distributor = LambdaDistributor(backend="inline", allow_pickle=False)
    found = features(5, EfficientFCParameters(), distributor, chunksize=3)
    assert found.shape[0] == 5
    assert len(frames) == 2
    for name in (b"_do_extraction_on_chunk", b"fft_aggregated", b"quantile"):
        assert [frame.count(name) for frame in frames] == [frames[0].count(name)] * 2
    assert frames[0].count(b"fft_aggregated") == 1


def test_settings_are_encoded_once_a_map(frames: list[bytes]) -> None:
    """So what becomes of them while it runs is of no account."""
    from lambdamap.integrations.tsfresh import LambdaDistributor

    settings = ["this", "and that"]

    def items() -> Iterator[int]:
        for i in range(6):
            if i == 3:
                settings.clear()
            yield i

    found = LambdaDistributor(backend="inline").map_reduce(
        tasks.settings_of, items(), {"settings": settings}, chunk_size=2, data_length=6
    )
    assert found == [["this", "and that"]] * 6
    assert len(frames) == 3 and not settings


def test_what_is_refused() -> None:
    from lambdamap.integrations.tsfresh import LambdaDistributor

    with pytest.raises(lambdamap.ConfigError, match="unknown option"):
        LambdaDistributor(chunk_size=3)
    with pytest.raises(lambdamap.ConfigError, match="on_error"):
        LambdaDistributor(on_error="return")
    with pytest.raises(ValueError, match="must be iterable"):
        LambdaDistributor().map_reduce(abs, 3)  # type: ignore[arg-type]
