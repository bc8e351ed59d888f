"""The build: what it says when a library is missing or too old, and what an sdist holds."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(tmp_path: Path, pkg_config: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "pkg-config"
    script.write_text("#!/bin/sh\n" + pkg_config)
    script.chmod(0o755)
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-temp", str(tmp_path / "t")],
        cwd=ROOT,
        env={**os.environ, "PKG_CONFIG": str(script)},
        capture_output=True,
        text=True,
        check=False,
    )


MISSING = 'case "$*" in *zlib*) exit 0 ;; *msgpack*) exit 0 ;; *) exit 1 ;; esac\n'
TOO_OLD = 'case "$*" in *">="*libcurl*|*libcurl*">="*) exit 1 ;; *modversion*libcurl*) echo 7.68.0 ;; esac\n'
NO_HTTP2 = 'case "$*" in *nghttp2*) exit 1 ;; esac\n'


@pytest.mark.parametrize(
    ("pkg_config", "text"),
    [
        (MISSING, "libcurl 7.76 or newer"),
        (TOO_OLD, "libcurl 7.76 or newer (this is 7.68.0)"),
        (NO_HTTP2, "libnghttp2 1.43 or newer"),
    ],
)
def test_one_message_names_the_packages(tmp_path: Path, pkg_config: str, text: str) -> None:
    done = build(tmp_path, pkg_config)
    assert done.returncode != 0
    assert text in done.stderr
    for line in (
        "apt-get install",
        "libcurl4-openssl-dev",
        "libnghttp2-dev",
        "dnf install",
        "apk add",
        "brew install",
    ):
        assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_no_pkg_config_at_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-temp", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PKG_CONFIG": "no-such-pkg-config"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "pkg-config" in done.stderr
    assert "Traceback" not in done.stderr


def test_sdist_builds_by_itself(tmp_path: Path) -> None:
    """Sources, headers and stubs are all in it: it is unpacked elsewhere and built."""
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path), "egg_info", "-e"]
    subprocess.run([*command, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("lambdamap-*.tar.gz")
    with tarfile.open(archive) as tar:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(tmp_path / "out", **safe)
    (source,) = (tmp_path / "out").iterdir()
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "b")],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = (tmp_path / "b").glob("lib*")
    names = {path.name.split(".")[0] for path in (built / "lambdamap").iterdir()}
    assert {"_codec", "_net", "py", "calls"} <= names
    libraries = {path.name.split(".")[0] for path in built.rglob("*.so")}
    assert libraries == {"_codec", "_net"}  # and not the simulated one of tests/sim
    assert (built / "lambdamap" / "_net.pyi").exists()
    environment = {**os.environ, "PYTHONPATH": str(built)}
    smoke = str(source / "tests" / "support" / "checks" / "smoke.py")
    subprocess.run([sys.executable, smoke], check=True, env=environment, capture_output=True)
