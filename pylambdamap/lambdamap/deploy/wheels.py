"""Installs the requirements and lambdamap itself into the function's folder."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from lambdamap._version import __version__
from lambdamap.deploy.runtime import Runtime
from lambdamap.errors import ConfigError

__all__ = ["copy_tree", "pack_installed", "pack_lambdamap", "pip_install"]

_LEFT_OUT = ("__pycache__", "*.pyc", "*.pyo", ".git", ".venv", "*.egg-info")
_OF_THIS_MACHINE = ("direct_url.json", "REQUESTED")
_PACKAGE = Path(__file__).parents[1]
_WHEEL = "--wheel with lambdamap's wheel for the function's Python (./dev wheel makes one)"


def copy_tree(source: Path, target: Path, *left_out: str) -> None:
    """Copy a folder without bytecode and the like, and without files of these patterns."""
    ignored = shutil.ignore_patterns(*_LEFT_OUT, *left_out)
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def pack_installed(name: str, folder: Path) -> None:
    """Copy an installed pure-Python distribution with its metadata.

    The worker needs the RECORD to know who owns the modules.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            f"the worker needs {name}, which is not installed here: pip install {name}"
        ) from None
    files = [file for file in found.files or () if ".." not in file.parts and file.suffix != ".pyc"]
    for file in files:
        source, target = Path(str(file.locate())), folder / file
        if source.is_file() and file.name not in _OF_THIS_MACHINE:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    if not (folder / name).is_dir():  # an editable installation, or one without a RECORD
        copy_tree(Path(importlib.import_module(name).__file__ or "").parent, folder / name)
        _write_record(folder, name, found.version)


def _write_record(folder: Path, name: str, version: str) -> None:
    """Write metadata for a package that was copied without it: the list of its files."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{path.relative_to(folder)},,\n" for path in files))


def pip_install(folder: Path, runtime: Runtime, what: Iterable[str]) -> None:
    """Install wheels for the runtime into a folder.

    Raises
    ------
    ConfigError
        pip is not installed, or fails; the message includes pip's.
    """
    failure = _pip(folder, runtime, what)
    if failure is not None:
        raise ConfigError(
            f"pip failed for {runtime.name} on {runtime.architecture}: {failure}: use --image for "
            "packages without a wheel for it, and remove lambdamap, which is packed anyway, from the "
            "requirements"
        )


def _pip(folder: Path, runtime: Runtime, what: Iterable[str]) -> str | None:
    """Run pip, and return its error message, or None if it succeeded."""
    platforms = [word for tag in runtime.platforms for word in ("--platform", tag)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(folder), "--only-binary=:all:", "--no-compile", "--upgrade"),
        *("--implementation", "cp", "--python-version", runtime.python, *platforms, *what),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts are of no use in a function
    if done.returncode == 0:
        return None
    if "No module named pip" in done.stderr:
        raise ConfigError(f"packing needs pip: run {sys.executable} -m ensurepip")
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return "; ".join(line.removeprefix("ERROR:").strip() for line in said) or done.stderr.strip()


# --- lambdamap itself -----------------------------------------------------------------------------


def pack_lambdamap(
    folder: Path, runtime: Runtime, wheel: Path | None, say: Callable[[str], object]
) -> None:
    """Install lambdamap into an empty folder, from the first source that works.

    These are the given wheel; this installation, if all of it loads in the function; the same release
    from the package index, if this installation came from one; and this installation without the
    ability to map from inside the function, which is reported.

    Raises
    ------
    ConfigError
        The worker would not run in the function.
    """
    target = folder / "lambdamap"
    if wheel is not None:
        _unpack(wheel, folder)
        source = str(wheel)
    elif _obstacle_here(runtime, "_net") and _from_index(folder, runtime):
        source = "the package index"
    else:
        _check_here(runtime)
        others = [
            library.name
            for library in _PACKAGE.glob("_*.so")
            if not library.name.endswith(runtime.extension)
        ]
        copy_tree(_PACKAGE, target, *others)
        _write_record(folder, "lambdamap", __version__)
        source = "this installation"
    obstacle = runtime.obstacle(target, "_codec")
    if obstacle is not None:
        raise ConfigError(
            f"lambdamap from {source} does not load in the function ({obstacle}): pass {_WHEEL}"
        )
    say(f"packing lambdamap from {source}")
    obstacle = runtime.obstacle(target, "_net")
    if obstacle is not None:
        newer = "" if runtime.is_al2023 else " and --runtime python3.12 or later"
        say(
            f"note: the function cannot call map on Lambda itself ({obstacle}): if it should, pass "
            f"{_WHEEL}{newer}"
        )


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack lambdamap's wheel, even if its tags do not fit.

    They apply to the wheel as a whole: where `_net` does not load, the worker still runs.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError) as error:
        raise ConfigError(f"{wheel} is not a wheel: {error}") from error
    if not (folder / "lambdamap").is_dir():
        raise ConfigError(f"{wheel} is not lambdamap's wheel")


def _check_here(runtime: Runtime) -> None:
    obstacle = _obstacle_here(runtime, "_codec")
    if obstacle is not None:
        raise ConfigError(
            f"{obstacle}: pass {_WHEEL}, run deploy with the function's Python, or use --image"
        )


def _obstacle_here(runtime: Runtime, module: str) -> str | None:
    """Return why an extension module of this installation does not load in the function, or None."""
    # A source folder may contain outdated builds for other Pythons.
    if sysconfig.get_config_var("EXT_SUFFIX") == runtime.extension:
        return runtime.obstacle(_PACKAGE, module)
    here = Runtime.here()
    return (
        f"the function runs {runtime.name} on {runtime.architecture}, but this installation of "
        f"lambdamap is for Python {here.python} on {sys.platform} {here.architecture}"
    )


def _from_index(folder: Path, runtime: Runtime) -> bool:
    """Install the same release from the package index for the function; return whether that worked.

    Only if this installation came from an index: on another one the name may belong to someone else.
    """
    try:
        found = importlib.metadata.distribution("lambdamap")
    except importlib.metadata.PackageNotFoundError:
        return False
    is_this = Path(str(found.locate_file("lambdamap"))).resolve() == _PACKAGE.resolve()
    if not is_this or found.read_text("direct_url.json") or not found.read_text("INSTALLER"):
        return False
    return _pip(folder, runtime, ["--no-deps", f"lambdamap=={__version__}"]) is None
