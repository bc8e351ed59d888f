"""The function's Python, processor and C library: which wheels and extension modules load there."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import NamedTuple

from lambdamap.deploy import elf
from lambdamap.errors import ConfigError

__all__ = ["Runtime"]

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # as wheels name them
_MANYLINUX_2014 = 17
# Of the libraries that a manylinux wheel may expect of every system, those of an image without X.
_THERE = re.compile(
    r"(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libz|ld-linux-[\w-]+)\.so\.\d+"
)


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
    def is_al2023(self) -> bool:
        """Whether it is Amazon Linux 2023; else 2."""
        return int(self.python.partition(".")[2]) >= 12

    @property
    def glibc_minor(self) -> int:
        """N of the C library's version 2.N."""
        return 34 if self.is_al2023 else 26

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that it can load, best first."""
        machine = _MACHINES[self.architecture]
        minors = range(self.glibc_minor, _MANYLINUX_2014 - 1, -1)
        tags = [f"manylinux_2_{minor}_{machine}" for minor in minors]
        return [*tags, f"manylinux2014_{machine}"]

    @property
    def extension(self) -> str:
        """The end of the name of an extension module that it loads."""
        version = self.python.replace(".", "")
        return f".cpython-{version}-{_MACHINES[self.architecture]}-linux-gnu.so"

    def obstacle(self, package: Path, module: str) -> str | None:
        """Why an extension module in a package's folder does not load in a function; None: it does."""
        library = package / f"{module}{self.extension}"
        if not library.exists():
            return f"{module} is not there for {self.name} on {self.architecture}"
        try:
            needs = elf.needs_of(library)
        except ValueError as error:
            return f"{module} is no library: {error}"
        missing = [name for name in needs.libraries if _THERE.fullmatch(name) is None]
        if missing:
            return f"{module} needs {', '.join(missing)}, which Lambda does not have"
        if needs.glibc_minor > self.glibc_minor:
            return (
                f"{module} needs glibc 2.{needs.glibc_minor} and {self.name} has "
                f"2.{self.glibc_minor}"
            )
        return None
