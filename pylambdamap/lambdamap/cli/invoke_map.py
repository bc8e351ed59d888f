"""``lambdamap invoke-map``: any Lambda function over JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from lambdamap.cli import lines
from lambdamap.cli.common import map_options, resolved

if TYPE_CHECKING:
    from lambdamap.flight.engine import Engine
    from lambdamap.flight.feed import Feed

# They concern lambdamap's worker or the local Lambda only.
_OF_WORKERS = ("backend", "local", "chunksize", "by_value")


@click.command(epilog=lines.EPILOG)
@click.argument("function")
@lines.line_options
@map_options(without={"function", "on_error", *_OF_WORKERS})
@click.pass_context
def invoke_map(
    ctx: click.Context,
    /,
    function: str,
    file: str,
    errors: str | None,
    unordered: bool,
    keys: bool,
    **given: Any,
) -> None:
    """Invoke the Lambda function FUNCTION once for each line of FILE (default: stdin).

    Each line is sent unchanged as the event; blank lines are skipped. Replies are written as JSON
    lines in the order of the input, each as soon as those before it are. The function may be in any
    language.
    """
    from lambdamap.flight.open import open_payload_engine

    fixed = {"function": function, "chunksize": 1}
    options = resolved(given | fixed | lines.on_error_of(errors))

    def open_map(feed: Feed) -> Engine:
        return open_payload_engine(feed, options, total=None, raw=True, ordered=not unordered)

    form = lines.Form(_one_line, unordered, keys, errors)
    ctx.exit(lines.run(file, open_map, read=_checked, form=form, options=options))


def _checked(line: bytes) -> bytes:
    json.loads(line)
    return line.strip()


def _one_line(reply: bytes) -> bytes:
    """Return the reply unchanged, or reformatted if it contains line ends."""
    value = json.loads(reply or b"null")
    reply = reply.strip()
    return json.dumps(value).encode() if b"\n" in reply or b"\r" in reply else reply or b"null"
