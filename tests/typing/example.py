"""What a user's type checker sees; checked by mypy, never run."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

import lambdamap
from lambdamap import ConfigError, LambdaMapError, Options, Results, my_map


def f(x: int) -> int:
    return x


results = lambdamap.map(f, [1, 2], chunksize="auto", timeout=3.0)
assert_type(results, Results)
assert_type(my_map(f, [1, 2], 5), list[Any])
assert_type(results.stats, dict[str, Any])
assert_type(lambdamap.invoke_map("function", [{"a": 1}], raw=True), Results)

with lambdamap.configure(backend="local"):
    pass

try:
    my_map(f, [])
except LambdaMapError as error:
    assert_type(error.partial, dict[int, Any])
    print(error.ran == "MAYBE", error.indices, error.attempts)

options = Options(chunksize=5)
assert issubclass(ConfigError, ValueError)
