"""What importing costs: nothing is started and nothing heavy is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lambdamap

HEAVY = (
    "lambdamap._net",
    "boto3",
    "botocore",
    "numpy",
    "pandas",
    "asyncio",
    "tqdm",
    "h11",
    "click",
)


def run(code: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    code = f"import lambdamap, sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code).strip() == "[]"


def test_import_loads_nothing_else() -> None:
    """Not typing either, which takes longer than all the rest. Without `site`, whose modules depend
    on the environment."""
    folder = str(Path(lambdamap.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {folder!r}); before = {{*sys.modules}}; import lambdamap;"
        "print(*sorted({*sys.modules} - before))"
    )
    assert run(code, "-S").split() == ["__future__", "lambdamap", "lambdamap._version"]


def test_every_name_is_there() -> None:
    code = (
        "import lambdamap; [getattr(lambdamap, name) for name in lambdamap.__all__];"
        "assert 'map' not in lambdamap.__all__ and 'map' in dir(lambdamap);"
        "from lambdamap import *; assert map([].append, []) is not None and 'my_map' in globals()"
    )
    run(code)


def test_no_thread_and_no_descriptor_before_the_first_map() -> None:
    code = (
        "import os, threading; before = os.listdir('/proc/self/fd');"
        "import lambdamap, lambdamap._net;"
        "assert threading.active_count() == 1 and os.listdir('/proc/self/fd') == before;"
        "assert len(os.listdir('/proc/self/task')) == 1"
    )
    run(code)
