"""The simulator of tests/sim, built; and the extension modules that are made of it."""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from places import ROOT

__all__ = ["FOLDER", "extension", "load", "make"]

FOLDER = ROOT / "tests" / "sim"


def make(*goal: str, compiler: str = "cc", sanitizer: str = "none") -> Path:
    """Build the simulator, or another goal, by one test at a time; return the folder of the build."""
    (FOLDER / "build").mkdir(exist_ok=True)
    options = [f"CC={compiler}", f"SAN={sanitizer}", *goal]
    with (FOLDER / "build" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-C", FOLDER, *options], check=True, timeout=600)
    return FOLDER / "build" / f"{sanitizer}-{compiler}"


def extension() -> Path:
    """Build the file that has `_net` on a simulated network, and `_simnet`, for this Python.

    The environment's SAN may name a sanitizer."""
    sanitizer = os.environ.get("SAN", "none")
    folder = make("python", f"PYTHON={sys.executable}", sanitizer=sanitizer)
    return folder / sys.implementation.cache_tag / "simnet.so"


def load(path: Path, name: str) -> ModuleType:
    """Load one of the file's modules; `sys.modules` stays as it is."""
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
