"""The package's types, as a user's checker sees them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import lambdamap
from lambdamap import _codec, _net


def test_a_users_file_checks() -> None:
    example = Path(__file__).with_name("example.py")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(example)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_everything_public_is_explained() -> None:
    for name in lambdamap.__all__:
        if not name.startswith("__"):
            assert inspect.getdoc(getattr(lambdamap, name)), name
    for module in (_codec, _net):
        for name in dir(module):
            if not name.startswith("_") and callable(getattr(module, name)):
                assert inspect.getdoc(getattr(module, name)), name
    assert "Parameters" in (inspect.getdoc(lambdamap.map) or "")
