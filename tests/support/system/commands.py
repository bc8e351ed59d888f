"""The command line as users run it: in its own process, with pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lambdamap
from places import search_path

HANG_S = 60


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, with lambdamap and the tests' modules on the path."""
    package = Path(lambdamap.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": search_path(package), **more}


def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start a command; its three streams are pipes."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "lambdamap", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def run(*arguments: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with start(*arguments, **more) as process:
        try:
            out, err = process.communicate(text, HANG_S)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
