"""``lambdamap map``: a Python function over JSON lines."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import click

from lambdamap.cli import lines
from lambdamap.cli.common import map_options, resolved


@click.command(epilog=lines.EPILOG)
@click.argument("path", metavar="MODULE:FUNCTION")
@lines.line_options
@click.option("--star", is_flag=True, help="Each line is an array of positional arguments.")
@map_options(without={"on_error"})
@click.pass_context
def map(  # noqa: A001  # the command's name
    ctx: click.Context, /, path: str, file: str, star: bool, **given: Any
) -> None:
    """Call a Python function on each line of FILE (default: stdin).

    Lines are JSON, blank lines are skipped. Results are written as JSON lines in the order of the
    input, each as soon as those before it are. The function runs on a local Lambda unless
    --function or LAMBDAMAP_FUNCTION names one on AWS. For a slow input, --chunksize 1 gives results
    line by line.
    """
    from lambdamap.calls.aio import AsyncResults
    from lambdamap.flight.feed import Feed
    from lambdamap.flight.open import open_engine

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    options = resolved(given)
    with contextlib.redirect_stdout(sys.stderr):
        f = _found(path)

    def open_map(items: AsyncIterator[Any]) -> AsyncResults[Any]:
        feed = Feed()
        return AsyncResults(
            open_engine(f, feed, options, total=None, calls="star" if star else "item"), items, feed
        )

    ctx.exit(lines.run(file, open_map, read=json.loads, write=_written, options=options))


def _found(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    if not name:
        module, _, name = path.rpartition(".")
    if not module or not name:
        raise click.UsageError(f"{path!r} is not the path of a function: use module:function")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise click.UsageError(f"cannot import {module}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{module} has no {name}")
        found = getattr(found, part)
    if not callable(found):
        raise click.UsageError(f"{path} is not callable")
    function: Callable[..., Any] = found
    return function


def _written(result: Any) -> bytes:
    return json.dumps(result, default=_of_numpy).encode()


def _of_numpy(value: Any) -> Any:
    """Convert numpy's numbers and arrays to types that JSON supports."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"JSON does not support {type(value).__name__}")
