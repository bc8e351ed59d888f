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
    """Copy AWS's runtime client and its dependencies to their own folder."""
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
    """Run a local Lambda whose sandboxes see only the folder, AWS's runtime client and the standard
    library.

    place: an empty folder for temporary files. unset: variables that a local Lambda would set.
    """
    client = copy_runtime_client(place / "runtime")
    program = place / "python"
    # its arguments: -m lambdamap.local.sandbox KIND HANDLER
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
