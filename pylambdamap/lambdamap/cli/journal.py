"""``lambdamap journal``: what is in the journal of a map, also while the map runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lambdamap import errors

if TYPE_CHECKING:
    from lambdamap.flight.journal import Reader

_PATH = click.argument("path", type=click.Path(dir_okay=False))
_PICKLE = click.option(
    "--allow-pickle", is_flag=True, help="Unpickle results that are pickles, which may run code."
)


@click.group()
def journal() -> None:
    """Show what is in a journal, the file of the option --journal."""


@contextlib.contextmanager
def _reading(path: str) -> Iterator[Reader]:
    from lambdamap.flight.journal import Reader

    try:
        reader = Reader(path)
    except errors.ConfigError as error:
        raise click.ClickException(str(error)) from error
    with contextlib.closing(reader):
        yield reader


@journal.command()
@_PATH
def show(path: str) -> None:
    """Show the map that PATH is the journal of, and what its items have come to."""
    from lambdamap.flight.journal import DONE, FAILED, MAYBE, MIXED

    with _reading(path) as reader:
        counts = reader.counts()
        begun = sum(row.count for row in reader.unsettled())
        lines = {
            "function": reader.head["function"],
            "called with": reader.head["calls"],
            "finished": counts.get(DONE, 0) + counts.get(MIXED, 0),
            "failed": counts.get(FAILED, 0),
            "may have run": counts.get(MAYBE, 0) + begun,
            "bytes": os.path.getsize(path),
        }
    for name, value in lines.items():
        click.echo(
            f"{name + ':':<14}{value:,}" if isinstance(value, int) else f"{name + ':':<14}{value}"
        )


@journal.command()
@_PATH
@_PICKLE
def results(path: str, allow_pickle: bool) -> None:
    """Print the results as JSON lines, each with the position of its item."""
    for position, outcome, failed in _outcomes(path, allow_pickle):
        if not failed:
            click.echo(json.dumps({"item": position, "result": outcome}, default=_plain))


@journal.command(name="errors")
@_PATH
@_PICKLE
def failed(path: str, allow_pickle: bool) -> None:
    """Print the errors as JSON lines, each with the position of its item and whether it ran."""
    for position, error, is_error in _outcomes(path, allow_pickle):
        if is_error:
            known = errors.failure(error)
            said = {
                "item": position,
                "ran": None if known is None else known.ran,
                "type": type(error).__name__,
                "message": str(error),
                "request_id": None if known is None else known.request_id,
            }
            click.echo(json.dumps(said))


def _outcomes(path: str, allow_pickle: bool) -> Iterator[tuple[int, Any, bool]]:
    from lambdamap.flight.engine import Raised
    from lambdamap.flight.replay import outcomes

    with _reading(path) as reader:
        for position, outcome in outcomes(reader, allow_pickle):
            if isinstance(outcome, Raised):
                yield position, outcome.error, True
            else:
                yield position, outcome, False


def _plain(value: Any) -> Any:
    """Convert what JSON does not support: numpy's values to Python's, and others to their repr."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)
