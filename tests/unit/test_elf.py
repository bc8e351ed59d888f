"""What a shared library needs, as `lambdamap.deploy` reads it and as binutils does."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from lambdamap import _codec
from lambdamap.deploy.elf import needs_of

OWN = Path(_codec.__file__)
LIBRARIES = [
    *OWN.parent.glob("*.so"),
    *sorted(Path(sysconfig.get_path("purelib")).glob("numpy/**/*.so"))[:20],
    *Path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}").glob("lib*ssl.so.*"),
]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_as_objdump_reads_it(library: Path) -> None:
    told = subprocess.run(["objdump", "-p", library], check=True, capture_output=True, text=True)
    needed = re.findall(r"NEEDED +(\S+)", told.stdout)
    versions = told.stdout.partition("Version References:")[2]
    minors = re.findall(r"GLIBC_2\.(\d+)", versions.replace("GLIBC_ABI_DT_RELR", "GLIBC_2.36"))
    assert needs_of(library) == (needed, max(map(int, minors), default=0))


def test_what_is_no_library(tmp_path: Path) -> None:
    """Cut off or changed anywhere: an answer or a ValueError, never anything else."""
    whole = OWN.read_bytes()
    path = tmp_path / "x.so"
    for data in (
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n",
        whole[:6],
        whole[:0x50],
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.so is"):
            needs_of(path)
    chance = random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(8):
            data[chance.randrange(6, 4096)] = chance.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(ValueError):
            needs_of(path)
