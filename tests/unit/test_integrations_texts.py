"""What the adapters for other libraries say of wrong use: the one place that holds their wording."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from flask import Flask

import lambdamap
from lambdamap import ambient
from lambdamap.integrations import request
from lambdamap.integrations.flask import LambdaMap
from lambdamap.integrations.joblib import LambdaBackend
from lambdamap.integrations.tsfresh import LambdaDistributor

FRAME = pd.DataFrame({"k": [1], "x": [2]})


def twice() -> None:
    app = Flask("shop")
    LambdaMap(app)
    LambdaMap(app)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: request.check_timeout("request_timeout", "soon"),
            lambdamap.ConfigError,
            "request_timeout must be a number of seconds above 0, or None, got 'soon'",
        ),
        (
            twice,
            lambdamap.ConfigError,
            "shop already has a LambdaMap: create only one per app",
        ),
        (
            lambda: LambdaBackend(inner_max_num_threads=2),
            lambdamap.ConfigError,
            "inner_max_num_threads is not supported: set OMP_NUM_THREADS on the Lambda function",
        ),
        (
            lambda: LambdaBackend().submit(None),
            RuntimeError,
            "this Parallel has ended: its generator was closed or deleted",
        ),
        (
            lambda: LambdaDistributor(on_error="return"),
            lambdamap.ConfigError,
            "LambdaDistributor does not support on_error='return': leave it out, since tsfresh needs "
            "the features of every series",
        ),
        (
            lambda: LambdaDistributor().map_reduce(len, 5),
            ValueError,
            "data must be iterable, got int",
        ),
        (
            lambda: lambdamap.groupby_apply(5, FRAME.groupby("k")),
            TypeError,
            "the first argument of groupby_apply() must be a function, the second df.groupby(...): 5 "
            "is not callable",
        ),
        (
            lambda: lambdamap.groupby_apply(len, FRAME),
            TypeError,
            "the second argument of groupby_apply() must be df.groupby(...) or series.groupby(...), got "
            "DataFrame",
        ),
        (
            lambda: lambdamap.groupby_apply(len, FRAME.groupby("k"), codec="json"),
            lambdamap.ConfigError,
            "codec='json' does not support groups: use the default codec",
        ),
    ],
)
def test_wrong_use(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_how_a_request_gets_more_time() -> None:
    scope = request.RequestScope(dict, {}, 10.0, "request_timeout")
    limit = scope.deadline()
    assert limit is not None
    assert limit[1] == "raise request_timeout, or call fewer maps per request"

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 3000

    scope = request.RequestScope(dict, {"lambda.context": Context()}, 10.0, "request_timeout")
    limit = scope.deadline()
    assert limit is not None
    assert limit[1] == ambient.FUNCTION_TIMEOUT
