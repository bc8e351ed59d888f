"""How long a map may take in the invocation of a Lambda function that calls it."""

from __future__ import annotations

import sys
import types

import pytest

import lambdamap
from lambdamap import ambient, backends, options
from lambdamap.worker import deadline, wrap


class Context:
    def __init__(self, left_ms: int) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ambient, deadline):
        monkeypatch.setattr(module, "monotonic", lambda: 1000.0)


@pytest.mark.parametrize(
    ("left_ms", "seconds"), [(60_000, 57.0), (3_000, 2.5), (900_000, 855.0), (700, 0.2)]
)
def test_a_reserve_is_kept_for_the_answer(left_ms: int, seconds: float) -> None:
    found = []
    handler = wrap(lambda event, context: found.append(options.resolve().timeout))
    handler({}, Context(left_ms))
    assert found == [pytest.approx(seconds)]
    assert options.resolve().timeout is None


def test_where_another_thread_still_loads_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an executor's does at its first call in this process."""
    for name in ("lambdamap.worker.deadline", "lambdamap.worker.call"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    assert options.resolve().timeout is None
    assert backends.remote_depth(options.resolve(depth=3)) == 3


def test_a_timeout_that_is_shorter_stays() -> None:
    with deadline.until(Context(60_000)):
        assert options.resolve(timeout=5).timeout == 5
        assert options.resolve(timeout=500).timeout == 57


def test_the_caller_of_the_invocation_may_want_it_sooner() -> None:
    with deadline.until(Context(60_000), 1010.0):
        assert options.resolve().timeout == 10
    with deadline.until(None, 1010.0):
        assert options.resolve().timeout == 10


def test_nothing_is_left() -> None:
    with (
        deadline.until(Context(400)),
        pytest.raises(
            lambdamap.DeadlineError, match="raise the Lambda function's timeout"
        ) as caught,
    ):
        lambdamap.map(abs, [1])
    assert caught.value.ran == "NOT"


@pytest.mark.parametrize("context", [None, object(), {}])
def test_what_is_no_context(context: object) -> None:
    with deadline.until(context):
        assert options.resolve().timeout is None
