"""What a function's zip holds: lambdamap, the requirements as wheels, the caller's own modules.

pip does the choosing of wheels, for the function's Python and processor, so that nothing is built
and no Docker is needed. The limits are those of "Lambda quotas" in AWS's documentation: 250 MB
unzipped, 50 MB zipped when it is sent with the call.
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
_NAMED = 5  # largest parts that a refusal names
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
    """Fill an empty folder with what the function's zip is to hold.

    Parameters
    ----------
    folder
        Exists and is empty.
    runtime
        Of the function.
    requirements
        A requirements file; its packages are installed from wheels.
    modules
        The caller's own: import names or paths of files and folders.
    wheel
        lambdamap's wheel for that runtime; default: this installation, or the same release from the
        package index that it came from, whichever the function can load.
    say
        Is called with what is being done.

    Raises
    ------
    ConfigError
        A module or wheel that is not there or does not fit; the text names the mend.
    """
    found = [find_module(name) for name in modules]
    with tempfile.TemporaryDirectory(prefix="lambdamap-") as place:
        # First: what does not fit is told before pip has worked for minutes.
        own = Path(place)
        pack_lambdamap(own, runtime, wheel, say)
        if requirements is not None:
            say(f"packing {requirements} for {runtime.name} on {runtime.architecture}")
            pip_install(folder, runtime, ["--requirement", str(requirements)])
        # The requirements' could be anybody's of that name.
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
    """The file or folder of a module of the caller's: an import name, or a path.

    For a module inside a package it is the whole package's folder.

    Raises
    ------
    ConfigError
        There is none, or it is no Python source.
    """
    path = Path(name)
    if path.exists() and (path.is_dir() or path.suffix == ".py"):
        path = path.resolve()
        if not path.stem.isidentifier():
            raise ConfigError(f"{name} cannot be imported: its name is no Python name")
        return path
    top = name.partition(".")[0]
    here = os.getcwd()
    try:
        found = importlib.machinery.PathFinder.find_spec(top, [here, *sys.path])
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ConfigError(
            f"there is no module {top}: give --module its import name (looked for in {here} and on "
            "sys.path) or its path"
        )
    if found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations)))
    if found.origin is None or not found.origin.endswith(".py"):
        raise ConfigError(f"{top} is no Python source ({found.origin}): only source is packed")
    return Path(found.origin)


def allow_patterns(modules: Sequence[str]) -> str:
    """LAMBDAMAP_ALLOW that lets callers run the functions of these modules and no others."""
    names = [find_module(name).stem for name in modules]
    return " ".join(f"{name}:* {name}.*:*" for name in dict.fromkeys(names))


# --- size -----------------------------------------------------------------------------------------


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each thing at the top of a folder, largest first. What belongs to a package by its
    name (its metadata, its bundled libraries) counts with it."""
    found: dict[str, int] = {}
    for path in folder.iterdir():
        files = (part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
        name = re.sub(r"(-[^-]+\.dist-info|\.libs|\.py)$", "", path.name)
        found[name] = found.get(name, 0) + sum(file.stat().st_size for file in files)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def unzipped_bytes(folder: Path) -> int:
    """As Lambda counts."""
    return sum(sizes(folder).values())


def check_size(folder: Path) -> int:
    """The bytes of a folder.

    Raises
    ------
    ConfigError
        More than Lambda takes; the largest parts and the way out are named.
    """
    total = unzipped_bytes(folder)
    if total <= MAX_UNZIPPED_BYTES:
        return total
    largest = ", ".join(
        f"{name} {size / 2**20:.0f} MB" for name, size in list(sizes(folder).items())[:_NAMED]
    )
    raise ConfigError(
        f"the package has {total / 2**20:.0f} MB unzipped and Lambda takes 250 MB. The largest are "
        f"{largest}. Leave out what the function does not import, or deploy a container image (up "
        "to 10 GB): `lambdamap dockerfile` prints one, --image URI deploys it"
    )


def zip_folder(folder: Path, target: Path) -> None:
    """The same folder makes the same bytes: names in order, one date, plain permissions."""
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
    """Put bytecode beside the sources, if this Python is the function's; whether it is.

    A function's folder is read-only: without it each cold start compiles what it imports. It is
    checked against the source, not its date, which a zip does not keep.
    """
    if Runtime.here().python != runtime.python or sys.implementation.name != "cpython":
        return False
    # In a process of its own, with no path of this machine in it: the same sources, the same bytes.
    subprocess.run(
        [
            *(sys.executable, "-I", "-m", "compileall", "-qq", "-s", str(folder)),
            *("--invalidation-mode", "checked-hash", str(folder)),
        ],
        check=False,  # packages have sources in them that are for other Pythons
    )
    return True


def _remove_bytecode(folder: Path) -> None:
    """The reverse of `compile_sources`."""
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
    """Build, check and zip; with bytecode, where that fits.

    Parameters
    ----------
    runtime, requirements, modules, wheel, say
        As for `build`.
    max_bytes
        How large the zip may become by bytecode.

    Raises
    ------
    ConfigError
        As `build` and `check_size`.
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
