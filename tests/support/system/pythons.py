"""Other Pythons on this machine, with a worker built for each."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import h11
import setuptools

from places import ROOT, SUPPORT

_CACHE = ROOT / ".cache" / "pythons"
_PLACES = (
    ".pyenv/versions/3.{minor}*/bin/python3.{minor}",
    ".local/share/uv/python/cpython-3.{minor}*/bin/python3.{minor}",
    ".asdf/installs/python/3.{minor}*/bin/python3.{minor}",
    ".local/share/mise/installs/python/3.{minor}*/bin/python3.{minor}",
)


def _candidates(minor: int) -> Iterator[Path]:
    for place in _PLACES:
        yield from sorted(Path.home().glob(place.format(minor=minor)))
    found = shutil.which(f"python3.{minor}")
    if found:
        yield Path(found)


def _has_headers(path: Path, minor: int) -> bool:
    prefixes = (path.parents[1], path.resolve().parents[1])
    return any((p / f"include/python3.{minor}/Python.h").exists() for p in prefixes)


def other_pythons() -> list[tuple[str, Path]]:
    """Return version and path of each CPython of another minor version whose headers are installed."""
    found = []
    for minor in (12, 13, 14, 11, 10):
        if (3, minor) == sys.version_info[:2]:
            continue
        for path in _candidates(minor):
            if _has_headers(path, minor):
                found.append((f"3.{minor}", path))
                break
    return found


def _digest(python: Path) -> str:
    digest = hashlib.sha256(str(python.resolve()).encode())
    files = [ROOT / "setup.py", *sorted((ROOT / "csrc").rglob("*.[ch]"))]
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def worker_for(python: Path) -> dict[str, str]:
    """Return the environment in which that Python has the worker and the local Lambda.

    Its codec is built once for each state of the sources, without optimization. Other dependencies
    are pure Python, and are taken from this Python's packages.
    """
    place = _CACHE / python.name / _digest(python)
    if not (place / "done").exists():
        shutil.rmtree(place.parent, ignore_errors=True)
        place.mkdir(parents=True)
        tools = place / "tools"
        tools.mkdir()
        packages = Path(setuptools.__file__).parents[1]
        for name in ("setuptools", "_distutils_hack", "pkg_resources"):
            if (packages / name).exists():
                (tools / name).symlink_to(packages / name)
        done = subprocess.run(
            [python, "setup.py", "-q", "build", "--build-base", place / "build",
             "--build-lib", place / "lib"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tools), "LAMBDAMAP_ONLY": "codec", "CFLAGS": "-O0"},
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for module in (cloudpickle, h11):
            folder = Path(module.__file__).parent
            (place / "lib" / folder.name).symlink_to(folder)
        (place / "done").touch()
    shutil.copytree(
        ROOT / "pylambdamap" / "lambdamap",
        place / "lib" / "lambdamap",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
        dirs_exist_ok=True,
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [place / "lib", *SUPPORT]))}
