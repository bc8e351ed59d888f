"""The pytest fixture ``local_lambda``, a local Lambda for one test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lambdamap.local.server import LocalLambda


@pytest.fixture
def local_lambda() -> Iterator[LocalLambda]:
    """Provide a running `lambdamap.local.LocalLambda` with one sandbox per core for this test's maps.

    Code under test that calls ``lambdamap.map`` or `my_map` needs no options. Any function name
    invokes lambdamap's worker.
    """
    from lambdamap import options
    from lambdamap.local.server import LocalLambda

    with (
        LocalLambda() as function,
        options.configure(
            backend="aws",
            function="local",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        yield function
