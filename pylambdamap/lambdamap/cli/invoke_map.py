"""``lambdamap invoke-map``: any Lambda function over JSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import click

from lambdamap.cli import lines
from lambdamap.cli.common import map_options, resolved

# They concern lambdamap's worker or the local Lambda only.
_OF_WORKERS = ("backend", "local", "chunksize", "by_value")


@click.command(epilog=lines.EPILOG)
@click.argument("function")
@lines.line_options
@map_options(without={"function", "on_error", *_OF_WORKERS})
@click.pass_context
def invoke_map(ctx: click.Context, /, function: str, file: str, **given: Any) -> None:
    """Invoke the Lambda function FUNCTION once for each line of FILE (default: stdin).

    Each line is sent unchanged as the event; blank lines are skipped. Replies are written as JSON
    lines in the order of the input, each as soon as those before it are. The function may be in any
    language.
    """
    from lambdamap.calls.aio import AsyncResults
    from lambdamap.flight.feed import Feed
    from lambdamap.flight.open import open_payload_engine

    options = resolved({**given, "function": function, "chunksize": 1})

    def open_map(items: AsyncIterator[Any]) -> AsyncResults[Any]:
        feed = Feed()
        return AsyncResults(open_payload_engine(feed, options, total=None, raw=True), items, feed)

    ctx.exit(lines.run(file, open_map, read=_checked, write=_one_line, options=options))


def _checked(line: bytes) -> bytes:
    json.loads(line)
    return line.strip()


def _one_line(reply: bytes) -> bytes:
    """Return the reply unchanged, or reformatted if it contains line ends."""
    value = json.loads(reply or b"null")
    reply = reply.strip()
    return json.dumps(value).encode() if b"\n" in reply or b"\r" in reply else reply or b"null"
