"""CPython's own tests of concurrent.futures as a package, from wherever they are installed.

A Python built from source has them in its library. Debian and Ubuntu have them in packages such as
libpython3.11-testsuite, which `./dev test` installs and which also work for another build of the
same minor version. `FOLDER` is None if they are not installed.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

__all__ = ["FOLDER", "HOW"]

HOW = f"CPython's tests are not here: install libpython3.{sys.version_info.minor}-testsuite"


def _find() -> Path | None:
    own = Path(sysconfig.get_path("stdlib"))
    for library in (own, Path(f"/usr/lib/python3.{sys.version_info.minor}")):
        tests = library / "test"
        if list(tests.glob("test_concurrent_futures.py")) or list(
            tests.glob("test_concurrent_futures/executor.py")
        ):
            return tests
    return None


FOLDER = _find()
if FOLDER is not None:
    __path__.append(
        str(FOLDER)
    )  # of this package: workers import the tests' functions by this name
