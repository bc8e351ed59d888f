"""A plain handler that maps over its own function, on a local Lambda that allows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import handlers
import lambdamap
import tasks
from lambdamap.local import LocalLambda


@contextmanager
def running(kind: Any, handler: str, timeout_s: float = 60) -> Iterator[LocalLambda]:
    with (
        LocalLambda(
            kind=kind,
            handler=handler,
            function_name="mine",
            sandboxes=2,
            timeout_s=timeout_s,
            self_invocation=True,
        ) as function,
        lambdamap.configure(
            function="mine",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        yield function


def test_a_wrapped_handler(sandbox_kind: Any) -> None:
    with running(sandbox_kind, "handlers.go") as function:
        [answer] = lambdamap.invoke_map(None, [{"items": list(range(6))}])
        assert answer == [0, 1, 4, 9, 16, 25]
        assert function.stats["invocations"] == 1 + 3
        assert lambdamap.my_map(tasks.square, range(3)) == [0, 1, 4]  # a caller's own


@pytest.mark.usefixtures("late_kills")
def test_a_map_in_a_handler_ends_before_lambda_kills_it(sandbox_kind: Any) -> None:
    with running(sandbox_kind, "handlers.slow", timeout_s=5) as function:
        assert next(lambdamap.invoke_map(None, [{"naps": [0]}])) == {"finished": 1}
        [answer] = lambdamap.invoke_map(None, [{"naps": [0, 60, 60]}])
        assert answer["finished"] == 1
        assert "raise" in answer["says"]
        assert function.stats["timeouts"] <= 1  # of the nap that nobody waits for any more


@pytest.mark.usefixtures("late_kills")
def test_a_map_in_f_ends_before_lambda_kills_it(sandbox_kind: Any) -> None:
    with (
        running(sandbox_kind, "handlers.go", timeout_s=5),
        pytest.raises(lambdamap.RemoteError) as caught,
    ):
        lambdamap.my_map(handlers.nested_naps, [[0, 60]], depth=1)
    assert caught.value.remote_type == "lambdamap.errors.DeadlineError"


def test_one_that_forgot_is_told_the_line(sandbox_kind: Any) -> None:
    with running(sandbox_kind, "handlers.forgetful") as function:
        [answer] = lambdamap.invoke_map(None, [{"items": [1]}])
        assert "`forgetful = lambdamap.worker.wrap(forgetful)`" in answer["refused"]
        assert function.stats["invocations"] == 1  # it did not call what would not understand


def test_without_it_a_map_in_a_sandbox_stays_there(sandbox_kind: Any) -> None:
    """A sandbox of a plain local Lambda only looks like Lambda: its name is in no account."""
    with (
        LocalLambda(kind=sandbox_kind, handler="handlers.go", sandboxes=1) as function,
        lambdamap.configure(
            function="any",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        [answer] = lambdamap.invoke_map(None, [{"items": [3]}])
        assert answer == [9]
        assert function.stats["invocations"] == 1


def test_it_takes_two_sandboxes() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        LocalLambda(sandboxes=1, self_invocation=True)
