"""What a user's type checker sees; checked by mypy, never run."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from typing_extensions import assert_type

import lambdamap
from lambdamap import (
    AsyncResults,
    ConfigError,
    GroupResults,
    LambdaMapError,
    Options,
    Results,
    Stats,
    model,
    my_map,
)


def f(x: int) -> int:
    return x


results = lambdamap.map(f, [1, 2], chunksize="auto", timeout=3.0)
assert_type(results, Results[int])
assert_type(next(results), int)
assert_type(lambdamap.map_unordered(str, [1, 2]), Results[str])
assert_type(lambdamap.amap(f, [1, 2]), AsyncResults[int])
assert_type(my_map(f, [1, 2], 5), list[Any])
assert_type(results.stats, Stats)
assert_type(lambdamap.estimate(f, [1, 2], memory=[1769]), lambdamap.Estimate)
assert_type(model.simulate(10, model.Caller(chunksize=1)).seconds, float)
assert_type(lambdamap.last_stats(), Stats | None)
assert_type(results.timeline(), lambdamap.Timeline)
assert_type(lambdamap.invoke_map("function", [{"a": 1}], raw=True), Results[Any])


def combined(grouped: Any) -> Any:
    found = lambdamap.groupby_apply(len, grouped, on_error="return", retries=2)
    assert_type(found, GroupResults)
    return found.combined


with lambdamap.configure(backend="local"):
    pass

try:
    my_map(f, [])
except LambdaMapError as error:
    assert_type(error.partial, dict[int, Any])
    print(error.ran == "MAYBE", error.indices, error.attempts)


async def main() -> None:
    async with lambdamap.amap_unordered(f, [1, 2]) as unordered:
        assert_type([x async for x in unordered], list[int])


with lambdamap.LambdaExecutor(8, "function", region="eu-central-1") as executor:
    assert_type(executor.submit(f, 1), Future[int])
    assert_type(list(executor.map(f, [1, 2], timeout=3, buffersize=2)), list[int])

options = Options(chunksize=5)
assert issubclass(ConfigError, ValueError)
