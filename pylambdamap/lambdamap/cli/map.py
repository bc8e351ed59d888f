"""``lambdamap map``: a Python function over JSON lines."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambdamap.cli import lines
from lambdamap.cli.common import map_options, resolved

if TYPE_CHECKING:
    from lambdamap.flight.engine import Engine
    from lambdamap.flight.feed import Feed


@click.command(epilog=lines.EPILOG)
@click.argument("path", metavar="MODULE:FUNCTION")
@lines.line_options
@click.option("--star", is_flag=True, help="Each line is an array of positional arguments.")
@map_options(without={"on_error"})
@click.pass_context
def map(  # noqa: A001  # the command's name
    ctx: click.Context,
    /,
    path: str,
    file: str,
    star: bool,
    errors: str | None,
    unordered: bool,
    keys: bool,
    **given: Any,
) -> None:
    """Call a Python function on each line of FILE (default: stdin).

    Lines are JSON, blank lines are skipped. Results are written as JSON lines in the order of the
    input, each as soon as those before it are. The function runs on a local Lambda unless
    --function or LAMBDAMAP_FUNCTION names one on AWS. For a slow input, --chunksize 1 gives results
    line by line.
    """
    from lambdamap.flight.open import open_engine

    options = resolved(given | lines.on_error_of(errors))
    with contextlib.redirect_stdout(sys.stderr):
        f = find_function(path)

    def open_map(feed: Feed) -> Engine:
        calls = "star" if star else "item"
        return open_engine(f, feed, options, total=None, calls=calls, ordered=not unordered)

    form = lines.Form(_written, unordered, keys, errors)
    ctx.exit(lines.run(file, open_map, read=json.loads, form=form, options=options))


def find_function(path: str) -> Callable[..., Any]:
    """Return the function at ``module:function``; modules of the working directory come first.

    Raises
    ------
    click.UsageError
        There is none.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, _, name = path.partition(":")
    if module.endswith(".py") and name:
        module = _module_of(module)
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
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{module} has no {name}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise click.UsageError(f"{path} is not callable")
    function: Callable[..., Any] = found
    return function


def _module_of(file: str) -> str:
    """Return the module that a file in or below the working directory is imported as."""
    below = os.path.relpath(file)
    if below.startswith(os.pardir):
        name = Path(file).stem
        raise click.UsageError(
            f"{file} is not below the working directory: run it in {Path(file).parent}, as {name}:..."
        )
    return below.removesuffix(".py").replace(os.sep, ".")


def _written(result: Any) -> bytes:
    return json.dumps(result, default=_of_numpy).encode()


def _of_numpy(value: Any) -> Any:
    """Convert numpy's numbers and arrays to types that JSON supports."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"JSON does not support {type(value).__name__}")
