"""Scripts in their own processes, with every Python that the modules were built for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from places import ROOT, search_path

__all__ = ["INTERPRETERS", "NOTHING_LEFT", "Finished", "run_script", "script_environment"]

PACKAGE = ROOT / "pylambdamap"
HANG_S = 120

Finished = subprocess.CompletedProcess[str]

# The end of a script: the dispatcher no longer holds anything.
NOTHING_LEFT = """
from lambdamap import _net
def left():  # an I/O thread lets go of a map a moment after its caller
    state = _net.debug_state()
    return state["maps"], state["in_flight"], state["used_bytes"]
ends = time.monotonic() + 20
while any(left()) and time.monotonic() < ends:
    time.sleep(0.01)
assert not any(left()), left()
"""

_HEAD = """
import json, os, signal, sys, threading, time
import lambdamap, tasks
from lambdamap import _net
options = json.loads(os.environ["TEST_OPTIONS"])
"""


def _interpreters() -> dict[str, str]:
    """Return executables by version: this one, and those with a current build by ./dev."""
    found = {"%d.%d" % sys.version_info[:2]: sys.executable}
    sources = max(path.stat().st_mtime for path in ROOT.glob("csrc/**/*.[ch]"))
    for folder in sorted((ROOT / ".cache" / "python").glob("3.*")):
        tag = folder.name.replace(".", "")
        built = list((PACKAGE / "lambdamap").glob(f"_net.cpython-{tag}-*.so"))
        python = folder / "venv" / "bin" / "python"
        if python.exists() and built and built[0].stat().st_mtime >= sources:
            found.setdefault(folder.name, str(python))
    return found


INTERPRETERS = _interpreters()


def script_environment(options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the environment of a script: `tasks` and lambdamap importable, `options` as JSON."""
    given = dict(options or {})
    if isinstance(keys := given.get("credentials"), tuple):
        given["credentials"] = dict(zip(("access_key", "secret_key", "token"), keys, strict=False))
    return {
        **os.environ,
        "PYTHONPATH": search_path(PACKAGE),
        "TEST_OPTIONS": json.dumps(given),
    }


def run_script(
    script: str,
    options: Mapping[str, Any] | None = None,
    *,
    python: str = sys.executable,
    environment: dict[str, str] | None = None,
    before: str = "",
    flags: tuple[str, ...] = ("-X", "dev", "-W", "error"),
) -> Finished:
    """Run a script in which `options` are those given, for example of a server in this process.

    `before` is inserted before it.
    """
    text = _HEAD + textwrap.dedent(before) + "\n" + textwrap.dedent(script)
    return subprocess.run(
        [python, *flags, "-c", text],
        env={**script_environment(options), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
