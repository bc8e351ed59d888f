"""The contents of a function's zip: lambdamap, the requirements, and the user's own modules.

pip selects wheels for the function's Python version and processor, so nothing is built and Docker is
not needed. Limits, from "Lambda quotas" in AWS's documentation: 250 MB unzipped, 50 MB zipped when
sent with the API call.
"""

from __future__ import annotations

import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lambdamap.deploy.runtime import Runtime
from lambdamap.deploy.wheels import copy_tree, pack_installed, pack_lambdamap, pip_install
from lambdamap.errors import ConfigError

__all__ = [
    "MAX_DIRECT_BYTES",
    "MAX_UNZIPPED_BYTES",
    "Runtime",
    "allow_patterns",
    "build",
    "check_size",
    "compile_sources",
    "find_module",
    "sizes",
    "unzipped_bytes",
    "zip_folder",
    "zipped",
]

MAX_UNZIPPED_BYTES = 250 * 1024 * 1024
MAX_DIRECT_BYTES = 50 * 1024 * 1024
_NAMED = 5  # largest parts, named in the message
_DEPENDENCIES = ("click", "cloudpickle", "h11", "tqdm")  # lambdamap's; all are pure Python


def build(
    folder: Path,
    runtime: Runtime,
    *,
    requirements: Path | None = None,
    modules: Sequence[str] = (),
    wheel: Path | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> None:
    """Fill an empty folder with the contents of the function's zip.

    Parameters
    ----------
    folder
        An empty folder.
    runtime
        The function's Python version and processor.
    requirements
        A requirements file; its packages are installed from wheels.
    modules
        The user's own modules: import names, or paths of files and folders.
    wheel
        lambdamap's wheel for that runtime; default: this installation, or the same release from the
        package index, whichever loads in the function.
    say
        Called with a line for each step.

    Raises
    ------
    ConfigError
        A module or wheel does not exist, or does not load in the function.
    """
    found = [find_module(name) for name in modules]
    with tempfile.TemporaryDirectory(prefix="lambdamap-") as place:
        # First, so that an error is reported before pip has run for minutes.
        own = Path(place)
        pack_lambdamap(own, runtime, wheel, say)
        if requirements is not None:
            say(f"packing {requirements} for {runtime.name} on {runtime.architecture}")
            pip_install(folder, runtime, ["--requirement", str(requirements)])
        # One from the requirements may be another package of that name.
        for path in (folder / "lambdamap", *folder.glob("lambdamap-*.dist-info")):
            shutil.rmtree(path, ignore_errors=True)
        copy_tree(own, folder)
    for name in _DEPENDENCIES:
        if not (folder / name).exists():
            pack_installed(name, folder)
    for path in found:
        if path.is_dir():
            copy_tree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)


def find_module(name: str) -> Path:
    """Return the file or folder of a module, given by its import name or path.

    For a module in a package it is the folder of the top-level package.

    Raises
    ------
    ConfigError
        The module does not exist, or is not Python source.
    """
    path = Path(name)
    if path.exists() and (path.is_dir() or path.suffix == ".py"):
        path = path.resolve()
        if not path.stem.isidentifier():
            raise ConfigError(f"{name} cannot be imported: its name is not a Python identifier")
        return path
    top = name.partition(".")[0]
    here = os.getcwd()
    try:
        found = importlib.machinery.PathFinder.find_spec(top, [here, *sys.path])
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ConfigError(
            f"no module {top} in {here} or on sys.path: pass --module with an import name or a path"
        )
    if found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations)))
    if found.origin is None or not found.origin.endswith(".py"):
        raise ConfigError(
            f"{top} is not Python source ({found.origin}): only modules with source can be packed"
        )
    return Path(found.origin)


def allow_patterns(modules: Sequence[str]) -> str:
    """Return a LAMBDAMAP_ALLOW that allows the functions of these modules and no others."""
    names = [find_module(name).stem for name in modules]
    return " ".join(f"{name}:* {name}.*:*" for name in dict.fromkeys(names))


# --- size -----------------------------------------------------------------------------------------


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each entry of a folder, largest first.

    A package's metadata and bundled libraries count as part of it.
    """
    found: dict[str, int] = {}
    for path in folder.iterdir():
        files = (part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
        name = re.sub(r"(-[^-]+\.dist-info|\.libs|\.py)$", "", path.name)
        found[name] = found.get(name, 0) + sum(file.stat().st_size for file in files)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def unzipped_bytes(folder: Path) -> int:
    """Return the bytes of a folder, as Lambda counts them."""
    return sum(sizes(folder).values())


def check_size(folder: Path) -> int:
    """Return the bytes of a folder.

    Raises
    ------
    ConfigError
        They exceed Lambda's limit; the message names the largest parts.
    """
    total = unzipped_bytes(folder)
    if total <= MAX_UNZIPPED_BYTES:
        return total
    largest = ", ".join(
        f"{name} {size / 2**20:.0f} MB" for name, size in list(sizes(folder).items())[:_NAMED]
    )
    raise ConfigError(
        f"the package of {total / 2**20:.0f} MB exceeds Lambda's limit of 250 MB unzipped; the "
        f"largest parts are {largest}: remove what the function does not import, or deploy a "
        "container image of up to 10 GB (`lambdamap dockerfile`, then --image URI)"
    )


def zip_folder(folder: Path, target: Path) -> None:
    """Zip a folder reproducibly: names in order, and constant dates and permissions."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if path.suffix == ".so" else 0o644) << 16
            with path.open("rb") as source, archive.open(info, "w") as out:
                shutil.copyfileobj(source, out)


def compile_sources(folder: Path, runtime: Runtime) -> bool:
    """Compile the sources to bytecode if this Python is the function's, and return whether it is.

    A function's folder is read-only: without bytecode each cold start compiles what it imports. The
    bytecode is validated by a hash of the source, since a zip does not preserve exact dates.
    """
    if Runtime.here().python != runtime.python or sys.implementation.name != "cpython":
        return False
    # In a separate process, and without paths of this machine, so that it is reproducible.
    subprocess.run(
        [
            *(sys.executable, "-I", "-m", "compileall", "-qq", "-s", str(folder)),
            *("--invalidation-mode", "checked-hash", str(folder)),
        ],
        check=False,  # packages may contain sources for other Python versions
    )
    return True


def _remove_bytecode(folder: Path) -> None:
    """Undo `compile_sources`."""
    for path in list(folder.rglob("__pycache__")):
        shutil.rmtree(path)


def zipped(
    runtime: Runtime,
    *,
    requirements: Path | None = None,
    modules: Sequence[str] = (),
    wheel: Path | None = None,
    max_bytes: int | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> bytes:
    """Return the zip of a function, with bytecode if it fits.

    Parameters
    ----------
    runtime, requirements, modules, wheel, say
        As for `build`.
    max_bytes
        Limit for the zip with bytecode; None: no limit.

    Raises
    ------
    ConfigError
        As for `build` and `check_size`.
    """
    with tempfile.TemporaryDirectory(prefix="lambdamap-") as place:
        folder = Path(place, "function")
        folder.mkdir()
        build(folder, runtime, requirements=requirements, modules=modules, wheel=wheel, say=say)
        check_size(folder)
        compiled = compile_sources(folder, runtime)
        if compiled and unzipped_bytes(folder) > MAX_UNZIPPED_BYTES:
            _remove_bytecode(folder)
        archive = Path(place, "function.zip")
        zip_folder(folder, archive)
        if compiled and max_bytes is not None and archive.stat().st_size > max_bytes:
            _remove_bytecode(folder)
            zip_folder(folder, archive)
        data = archive.read_bytes()
        total = unzipped_bytes(folder)
    say(f"packed {total / 2**20:.1f} MB, {len(data) / 2**20:.1f} MB zipped")
    return data
