"""Wheels into the function's folder: the requirements by pip, and lambdamap itself."""

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


def copy_tree(source: Path, target: Path, *left_out: str) -> None:
    """Copy a package without what its use has left behind, and without these patterns."""
    ignored = shutil.ignore_patterns(*_LEFT_OUT, *left_out)
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def pack_installed(name: str, folder: Path) -> None:
    """Copy a distribution of pure Python that is installed here, with its metadata: by its RECORD the
    worker knows whose the modules are.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            f"{name}, which the worker needs, is not installed here: pip install {name}"
        ) from None
    files = [file for file in found.files or () if ".." not in file.parts and file.suffix != ".pyc"]
    for file in files:
        source, target = Path(str(file.locate())), folder / file
        if source.is_file() and file.name not in _OF_THIS_MACHINE:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    if not (folder / name).is_dir():  # an installation that keeps no RECORD, or an editable one
        copy_tree(Path(importlib.import_module(name).__file__ or "").parent, folder / name)
        _write_record(folder, name, found.version)


def _write_record(folder: Path, name: str, version: str) -> None:
    """Metadata of a package that was copied without it: a list of its files."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{path.relative_to(folder)},,\n" for path in files))


def pip_install(folder: Path, runtime: Runtime, what: Iterable[str]) -> None:
    """Install wheels that fit the runtime into a folder.

    Raises
    ------
    ConfigError
        pip is not there, or found no wheel; its own words are in the text.
    """
    refusal = _pip(folder, runtime, what)
    if refusal is not None:
        raise ConfigError(
            f"pip cannot pack this for {runtime.name} on {runtime.architecture}: {refusal}. What has "
            "no wheel for it must be built there: use --image. lambdamap itself is packed anyway and "
            "is not to be among the requirements"
        )


def _pip(folder: Path, runtime: Runtime, what: Iterable[str]) -> str | None:
    """What pip says against it; None: it is done."""
    platforms = [word for tag in runtime.platforms for word in ("--platform", tag)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(folder), "--only-binary=:all:", "--no-compile", "--upgrade"),
        *("--implementation", "cp", "--python-version", runtime.python, *platforms, *what),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts: nobody calls them there
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
    """Put lambdamap into an empty folder.

    It is the wheel given; else this installation, if it loads there whole; else, if this installation
    came from a package index, the same release from there for the function's platform; else this
    installation without the means to map from inside the function, which is said.

    Raises
    ------
    ConfigError
        No worker would run there: the text says why, and the mend.
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
    mend = "--wheel with lambdamap's wheel for the function's Python (./dev wheel makes one)"
    obstacle = runtime.obstacle(target, "_codec")
    if obstacle is not None:
        raise ConfigError(f"lambdamap from {source} does not run there: {obstacle}. Pass {mend}")
    say(f"packing lambdamap from {source}")
    obstacle = runtime.obstacle(target, "_net")
    if obstacle is not None:
        newer = "" if runtime.is_al2023 else " and --runtime python3.12 or later"
        say(
            f"note: the function runs what it is sent, and cannot itself map on Lambda: {obstacle}. "
            f"If it is to, pass {mend}{newer}"
        )


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack lambdamap's wheel. Not by pip, whose tags speak of the whole wheel: `_net` may need
    more of the system than the function has, and its worker runs all the same."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError) as error:
        raise ConfigError(f"{wheel} is no wheel: {error}") from error
    if not (folder / "lambdamap").is_dir():
        raise ConfigError(f"{wheel} is not lambdamap's wheel")


def _check_here(runtime: Runtime) -> None:
    obstacle = _obstacle_here(runtime, "_codec")
    if obstacle is not None:
        raise ConfigError(
            f"{obstacle}: pass --wheel with lambdamap's wheel for the function's Python (./dev wheel "
            "makes one), run deploy with that Python, or use --image"
        )


def _obstacle_here(runtime: Runtime, module: str) -> str | None:
    """Why this installation's extension module does not load in the function."""
    # A checkout may have builds for other Pythons, too, which are older.
    if sysconfig.get_config_var("EXT_SUFFIX") == runtime.extension:
        return runtime.obstacle(_PACKAGE, module)
    here = Runtime.here()
    return (
        f"the function is to run {runtime.name} on {runtime.architecture} and this installation of "
        f"lambdamap is for Python {here.python} on {sys.platform} {here.architecture}"
    )


def _from_index(folder: Path, runtime: Runtime) -> bool:
    """Whether the release that is installed here was installed into the folder, for the function.

    From an index only if this one came from there: elsewhere the name could be somebody else's.
    """
    try:
        found = importlib.metadata.distribution("lambdamap")
    except importlib.metadata.PackageNotFoundError:
        return False
    is_this = Path(str(found.locate_file("lambdamap"))).resolve() == _PACKAGE.resolve()
    if not is_this or found.read_text("direct_url.json") or not found.read_text("INSTALLER"):
        return False
    return _pip(folder, runtime, ["--no-deps", f"lambdamap=={__version__}"]) is None
