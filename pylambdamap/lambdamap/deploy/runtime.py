"""The function's Python version, processor and C library: which wheels and extensions load there."""

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
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # Lambda's names: those in wheel tags
_MANYLINUX_2014 = 17
# Libraries that manylinux wheels may use and that Lambda's images have; X11 is not among them.
_THERE = re.compile(
    r"(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libz|ld-linux-[\w-]+)\.so\.\d+"
)


class Runtime(NamedTuple):
    """The function's Python version and processor."""

    python: str  # "3.12"
    architecture: str  # x86_64 or arm64, as in Lambda's settings

    @classmethod
    def here(cls) -> Runtime:
        """Return that of this interpreter."""
        machine = platform.machine().lower()
        return cls("%d.%d" % sys.version_info[:2], _ARCHITECTURES.get(machine, machine))

    @classmethod
    def of(cls, python: str | None, architecture: str | None) -> Runtime:
        """Return one from "3.12" or "python3.12" and an architecture; None: as here.

        Raises
        ------
        ConfigError
            Lambda has no such runtime.
        """
        here = cls.here()
        version = (python or here.python).removeprefix("python")
        if re.fullmatch(r"3\.\d{2}", version) is None or int(version[2:]) < 10:
            raise ConfigError(f"the runtime must be python3.10 or later, got {python!r}")
        kind = _ARCHITECTURES.get((architecture or here.architecture).lower())
        if kind is None:
            raise ConfigError(f"the architecture must be x86_64 or arm64, got {architecture!r}")
        return cls(version, kind)

    @property
    def name(self) -> str:
        """The runtime's name in Lambda's settings."""
        return f"python{self.python}"

    @property
    def is_al2023(self) -> bool:
        """Whether it runs on Amazon Linux 2023, otherwise on Amazon Linux 2."""
        return int(self.python.partition(".")[2]) >= 12

    @property
    def glibc_minor(self) -> int:
        """N of its glibc version 2.N."""
        return 34 if self.is_al2023 else 26

    @property
    def platforms(self) -> list[str]:
        """The platform tags of the wheels that load there, best first."""
        machine = _MACHINES[self.architecture]
        minors = range(self.glibc_minor, _MANYLINUX_2014 - 1, -1)
        tags = [f"manylinux_2_{minor}_{machine}" for minor in minors]
        return [*tags, f"manylinux2014_{machine}"]

    @property
    def extension(self) -> str:
        """The file name suffix of its extension modules."""
        version = self.python.replace(".", "")
        return f".cpython-{version}-{_MACHINES[self.architecture]}-linux-gnu.so"

    def obstacle(self, package: Path, module: str) -> str | None:
        """Return why an extension module in a package's folder does not load there, or None."""
        library = package / f"{module}{self.extension}"
        if not library.exists():
            return f"{module} is missing for {self.name} on {self.architecture}"
        try:
            needs = elf.needs_of(library)
        except ValueError as error:
            return f"{module} is not a library: {error}"
        missing = [name for name in needs.libraries if _THERE.fullmatch(name) is None]
        if missing:
            return f"{module} needs {', '.join(missing)}, which Lambda does not have"
        if needs.glibc_minor > self.glibc_minor:
            return (
                f"{module} needs glibc 2.{needs.glibc_minor}, but {self.name} has "
                f"2.{self.glibc_minor}"
            )
        return None
