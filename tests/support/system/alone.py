"""An unpacked function run as on Lambda: its folder and AWS's runtime client, nothing else."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest

from lambdamap.local import LocalLambda

HANG_S = 30


def copy_runtime_client(target: Path) -> Path:
    """AWS's runtime client and what it needs, in a folder of their own."""
    for name in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        found = distribution(name)
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if ".." not in file.parts and source.suffix != ".pyc" and source.is_file():
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target / file)
    return target


@contextmanager
def running_alone(
    folder: Path,
    place: Path,
    *,
    function_name: str | None = None,
    auth: bool = True,
    unset: Sequence[str] = (),
    **variables: str,
) -> Iterator[LocalLambda]:
    """A local Lambda whose sandboxes see the folder, AWS's runtime client and Python's own library.

    place: an empty folder for what this needs. unset: variables that a local Lambda sets by itself.
    """
    client = copy_runtime_client(place / "runtime")
    program = place / "python"
    # It gets: -m lambdamap.local.sandbox KIND HANDLER
    program.write_text(
        f'#!/bin/sh\ncd "{folder}"\nunset {" ".join(("PYTHONSAFEPATH", "LAMBDAMAP_SANDBOX", *unset))}\n'
        f'LAMBDA_TASK_ROOT="{folder}" PYTHONPATH="{folder}:{client}" '
        f'exec "{sys.executable}" -S -s -B -m awslambdaric "$4"\n'
    )
    program.chmod(0o755)
    function = LocalLambda(
        kind="awslambdaric",
        sandboxes=1,
        function_name=function_name,
        auth=auth,
        environment=variables,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        function.start()
        try:
            ends = time.monotonic() + HANG_S
            while not function.ready():
                assert time.monotonic() < ends
                time.sleep(0.02)
        except BaseException:
            function.stop()
            raise
    with function:
        yield function
