"""``lambdamap estimate``: what a map over JSON lines would take and cost."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any, overload

import click

from lambdamap.cli.common import in_options, map_options
from lambdamap.cli.map import find_function
from lambdamap.errors import ConfigError, LambdaMapError, failure

_NOT_FOR_IT = {
    "on_error", "progress", "buffersize", "timeout",
    "journal", "journal_strict", "rerun_maybe", "rerun_failed",
}  # fmt: skip


class _Lines(Sequence[Any]):
    """Lines of JSON, read when they are asked for. Raises click.UsageError for another line."""

    def __init__(self, lines: list[tuple[int, bytes]]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return _Lines(self._lines[at])
        number, line = self._lines[at]
        try:
            return json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"line {number} is not JSON: {error}") from None


@click.command()
@click.argument("path", metavar="MODULE:FUNCTION")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("-n", type=click.IntRange(1), help="Number of lines in all. Default: those of FILE.")
@click.option(
    "--memory",
    type=click.IntRange(128, 32768),
    multiple=True,
    help="Memory size in MB; repeatable.",
)
@click.option(
    "--concurrency", type=click.IntRange(1), multiple=True, help="Invocations at once; repeatable."
)
@click.option("--sample", type=click.IntRange(1), default=20, help="Lines to run. Default: 20.")
@click.option("--architecture", type=click.Choice(("x86_64", "arm64")), default="x86_64")
@map_options(without=_NOT_FOR_IT)
def estimate(
    path: str,
    file: Any,
    n: int | None,
    memory: tuple[int, ...],
    concurrency: tuple[int, ...],
    sample: int,
    architecture: str,
    **given: Any,
) -> None:
    """Run a function on a sample of the lines of FILE (default: stdin), and predict the whole.

    The sample runs where `lambdamap map` would run it: on a local Lambda unless --function or
    LAMBDAMAP_FUNCTION names one on AWS.
    """
    from lambdamap.calls.estimate import estimate as of

    lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
    options = {name: value for name, value in given.items() if value is not None}
    if memory:
        options["memory"] = memory
    if concurrency:
        options["concurrency"] = concurrency
    with contextlib.redirect_stdout(sys.stderr):
        f = find_function(path)
        try:
            result = of(f, _Lines(lines), n, sample=sample, architecture=architecture, **options)
        except ConfigError as error:
            raise click.UsageError(in_options(str(error))) from error
        except Exception as error:
            known = failure(error)
            if known is None or not (known.remote_type or isinstance(error, LambdaMapError)):
                raise  # neither f's error nor one of lambdamap's: show the traceback
            text = f"{type(error).__name__}: {error}\n{known.remote_traceback}"
            raise click.ClickException(text.rstrip()) from error
    click.echo(str(result))
