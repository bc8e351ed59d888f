"""What the local Lambda says of what it cannot do: the one place that holds its own wording.

Its replies to callers are AWS's words: tests/integration/test_local_fidelity.py.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import pytest

from lambdamap.local import LocalLambda


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "other"}, "kind must be 'builtin' or 'awslambdaric', got 'other'"),
        ({"sandboxes": 0}, "sandboxes must be at least 1, got 0"),
        ({"sandboxes": 1, "self_invocation": True}, "sandboxes must be at least 2, got 1"),
        ({"timeout_s": 0.0}, "timeout_s must be above 0, got 0.0"),
        ({"memory_mb": 0}, "memory_mb must be above 0, got 0"),
    ],
)
def test_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LocalLambda(**arguments)


def test_the_runtime_client_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        LocalLambda(kind="awslambdaric").start()
    assert str(caught.value) == (
        "local='awslambdaric' needs AWS's runtime client: pip install awslambdaric"
    )


@pytest.mark.parametrize("call", [LocalLambda.pids, LocalLambda.ready, LocalLambda.kill_sandbox])
def test_it_is_not_running(call: Callable[[LocalLambda], object]) -> None:
    with pytest.raises(RuntimeError) as caught:
        call(LocalLambda())
    assert str(caught.value) == "this LocalLambda is not running: call start()"


def test_a_port_in_use() -> None:
    with LocalLambda(sandboxes=1) as running:
        message = f"cannot listen on 127.0.0.1:{running.port}: Address already in use"
        with pytest.raises(OSError, match=message):
            LocalLambda(sandboxes=1, port=running.port).start()
