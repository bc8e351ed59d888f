"""What the built extensions need of the system, read out of the files that are loaded."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lambdamap import _codec, _net

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or shutil.which("readelf") is None,
    reason="ELF files are read with readelf",
)


def readelf(path: str, *flags: str) -> str:
    command = ["readelf", "-W", *flags, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(path: str) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.+?)\]", readelf(path, "-d")))


def newest_glibc(path: str) -> tuple[int, ...]:
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)(?:\.(\d+))?", readelf(path, "--version-info"))
    return max(tuple(int(part or 0) for part in version)[:2] for version in versions)


def exported(path: str) -> set[str]:
    lines = readelf(path, "--dyn-syms").splitlines()
    fields = [line.split() for line in lines if re.match(r"\s*\d+:", line)]
    return {f[7] for f in fields if len(f) > 7 and f[4] == "GLOBAL" and f[6] != "UND"}


def test_codec_runs_where_libcurl_is_not() -> None:
    libraries = needed(_codec.__file__)
    assert not [
        name for name in libraries if re.match("lib(curl|ssl|crypto|pthread|msgpack)", name)
    ]
    assert newest_glibc(_codec.__file__) <= (2, 17)


def test_net_on_bookworm_runs_on_glibc_2_34() -> None:
    if "bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip("the promise is for wheels, and those are built on Debian 12")
    assert newest_glibc(_net.__file__) <= (2, 34)


def test_only_the_init_function_is_exported() -> None:
    own = {"_init", "_fini", "_edata", "_end", "__bss_start"}
    assert exported(_codec.__file__) - own == {"PyInit__codec"}
    assert exported(_net.__file__) - own == {"PyInit__net"}
