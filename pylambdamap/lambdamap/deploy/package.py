"""What a function's zip holds: lambdamap, the requirements as wheels, the caller's own modules.

pip does the choosing of wheels, for the function's Python and processor, so that nothing is built
and no Docker is needed. The limits are those of "Lambda quotas" in AWS's documentation: 250 MB
unzipped, 50 MB zipped when it is sent with the call.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lambdamap.errors import ConfigError

__all__ = [
    "MAX_DIRECT_BYTES",
    "MAX_UNZIPPED_BYTES",
    "Runtime",
    "allow_patterns",
    "build",
    "check_size",
    "find_module",
    "sizes",
    "unzipped_bytes",
    "zip_folder",
]

MAX_UNZIPPED_BYTES = 250 * 1024 * 1024
MAX_DIRECT_BYTES = 50 * 1024 * 1024
_NAMED = 5  # largest parts that a refusal names
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # as wheels name them
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyo", ".git", ".venv", "*.egg-info")
# Amazon Linux 2 has glibc 2.26; from Python 3.12 on the runtimes are Amazon Linux 2023 with 2.34.
_GLIBC_MINOR = {"3.10": 26, "3.11": 26}
_GLIBC_MINOR_LATER = 34
_MANYLINUX_2014 = 17


class Runtime(NamedTuple):
    """The function's Python and processor."""

    python: str  # "3.12"
    architecture: str  # as Lambda names it: x86_64, arm64

    @classmethod
    def here(cls) -> Runtime:
        """This interpreter's."""
        machine = platform.machine().lower()
        return cls("%d.%d" % sys.version_info[:2], _ARCHITECTURES.get(machine, machine))

    @classmethod
    def of(cls, python: str | None, architecture: str | None) -> Runtime:
        """From "3.12" or "python3.12" and an architecture; None: as here.

        Raises
        ------
        ConfigError
            There is no such runtime.
        """
        here = cls.here()
        version = (python or here.python).removeprefix("python")
        if re.fullmatch(r"3\.\d{2}", version) is None or int(version[2:]) < 10:
            raise ConfigError(f"the runtime must be python3.10 or later, not {python!r}")
        kind = _ARCHITECTURES.get((architecture or here.architecture).lower())
        if kind is None:
            raise ConfigError(f"the architecture must be x86_64 or arm64, not {architecture!r}")
        return cls(version, kind)

    @property
    def name(self) -> str:
        """As Lambda names it."""
        return f"python{self.python}"

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that it can load, best first."""
        machine = _MACHINES[self.architecture]
        newest = _GLIBC_MINOR.get(self.python, _GLIBC_MINOR_LATER)
        tags = [
            f"manylinux_2_{minor}_{machine}" for minor in range(newest, _MANYLINUX_2014 - 1, -1)
        ]
        return [*tags, f"manylinux2014_{machine}"]

    @property
    def extension(self) -> str:
        """The end of the name of an extension module that it loads."""
        version = self.python.replace(".", "")
        return f".cpython-{version}-{_MACHINES[self.architecture]}-linux-gnu.so"


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
        lambdamap's wheel for that runtime; default: the installation that this code is from.
    say
        Is called with what is being done.

    Raises
    ------
    ConfigError
        A module or wheel that is not there or does not fit; the text names the mend.
    """
    found = [find_module(name) for name in modules]
    if wheel is None:
        check_own_codec(runtime)
    if requirements is not None:
        say(f"packing {requirements} for {runtime.name} on {runtime.architecture}")
        pip_install(folder, runtime, ["--requirement", str(requirements)])
    if wheel is not None:
        pip_install(folder, runtime, ["--no-deps", str(wheel)])
    else:
        copy_own(folder)
    if not (folder / "cloudpickle").exists():  # functions by value need it; it is pure Python
        import cloudpickle

        copy_tree(Path(cloudpickle.__file__).parent, folder / "cloudpickle")
    for path in found:
        if path.is_dir():
            copy_tree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a package without what its use has left behind."""
    shutil.copytree(source, target, ignore=_LEFT_OUT, dirs_exist_ok=True)


def copy_own(folder: Path) -> None:
    """lambdamap, from where this file is."""
    copy_tree(Path(__file__).parents[1], folder / "lambdamap")


def check_own_codec(runtime: Runtime) -> None:
    """Refuse when this installation's codec would not load in the function.

    Raises
    ------
    ConfigError
        It is for another Python, processor or C library.
    """
    if sysconfig.get_config_var("EXT_SUFFIX") == runtime.extension:
        return
    here = Runtime.here()
    raise ConfigError(
        f"the function is to run {runtime.name} on {runtime.architecture} and this installation of "
        f"lambdamap is for Python {here.python} on {platform.system()} {here.architecture}: pass "
        "--wheel with lambdamap's wheel for the function's Python (./dev wheel makes one), run "
        "deploy with that Python, or use --image"
    )


def pip_install(folder: Path, runtime: Runtime, what: Iterable[str]) -> None:
    """Install wheels that fit the runtime into a folder.

    Raises
    ------
    ConfigError
        pip is not there, or found no wheel; its own words are in the text.
    """
    platforms = [word for tag in runtime.platforms for word in ("--platform", tag)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(folder), "--only-binary=:all:", "--no-compile", "--upgrade"),
        *("--implementation", "cp", "--python-version", runtime.python, *platforms, *what),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts: nobody calls them there
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise ConfigError(f"packing needs pip: run {sys.executable} -m ensurepip")
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    text = "; ".join(line.removeprefix("ERROR:").strip() for line in said) or done.stderr.strip()
    raise ConfigError(
        f"pip cannot pack this for {runtime.name} on {runtime.architecture}: {text}. What has no "
        "wheel for it must be built there: use --image. lambdamap itself is packed from this "
        "installation and is not to be among the requirements"
    )


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


def zipped(
    runtime: Runtime,
    *,
    requirements: Path | None,
    modules: Sequence[str],
    wheel: Path | None,
    say: Callable[[str], object],
) -> bytes:
    """Build, check and zip.

    Raises
    ------
    ConfigError
        As `build` and `check_size`.
    """
    with tempfile.TemporaryDirectory(prefix="lambdamap-") as place:
        folder = Path(place, "function")
        folder.mkdir()
        build(folder, runtime, requirements=requirements, modules=modules, wheel=wheel, say=say)
        total = check_size(folder)
        archive = Path(place, "function.zip")
        zip_folder(folder, archive)
        data = archive.read_bytes()
    say(f"packed {total / 2**20:.1f} MB, {len(data) / 2**20:.1f} MB zipped")
    return data
