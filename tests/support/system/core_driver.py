"""Pure parts of the C core behind a pipe (tests/c/core_driver.c), compiled once per test run."""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_CORE = ROOT / "csrc" / "core"
_SOURCES = [
    ROOT / "tests/c/core_driver.c",
    *sorted((_CORE / "base").glob("*.c")),
    _CORE / "transport/sigv4.c",
    _CORE / "policy/outcome.c",
    _CORE / "wire/envelope.c",
    _CORE / "http/http1.c",
    _CORE / "http/head.c",
    _CORE / "http/report.c",
    _CORE / "http/text.c",
    _CORE / "wire/json.c",
]


@functools.cache
def _program() -> str:
    folder = tempfile.mkdtemp(prefix="lambdamap-driver-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = os.path.join(folder, "driver")
    openssl = subprocess.run(
        [os.environ.get("PKG_CONFIG", "pkg-config"), "--cflags", "--libs", "libcrypto"],
        check=True,
        capture_output=True,
        text=True,
    )
    subprocess.run(
        [
            *shlex.split(os.environ.get("CC", "cc")),
            *("-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
            f"-I{_CORE}",
            *map(str, _SOURCES),
            *shlex.split(openssl.stdout),
            *("-o", program),
        ],
        check=True,
    )
    return program


def _argument(value: str | bytes | None) -> str:
    if value is None:
        return "."
    data = value.encode() if isinstance(value, str) else value
    return data.hex() or "-"


def ask(commands: Iterable[Sequence[str | bytes | None]]) -> list[str]:
    """Return the driver's replies, one for each command (its name, then its arguments)."""
    lines = [" ".join([str(name), *map(_argument, rest)]) for name, *rest in commands]
    done = subprocess.run(
        [_program()],
        input="".join(line + "\n" for line in lines),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    answers = done.stdout.splitlines()
    assert len(answers) == len(lines)
    return answers
