"""JSON lines in, JSON lines out: what ``lambdamap map`` and ``lambdamap invoke-map`` share.

The input is read as it comes and no further ahead than the map has room; each result is written and
flushed as soon as its turn comes. An error is told with the number of its line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from lambdamap.cli.common import in_options, map_option
from lambdamap.errors import ConfigError, Failure, LambdaMapError, RemoteError, failure

if TYPE_CHECKING:
    from lambdamap.calls.aio import AsyncResults
    from lambdamap.options import Options

__all__ = ["EPILOG", "ERROR_KEY", "Lines", "line_options", "run"]

FAILED, USAGE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141  # exit statuses
EPILOG = """Exit status: 0, every line is answered; 1, a line failed, or the output cannot be written;
2, the command line or the configuration cannot work; 130, Ctrl-C; 141, nobody reads the output any more."""
_READ_BYTES = 1 << 16
_MAX_LINE_BYTES = 64 << 20  # far above what an invocation takes
_ITEMS = re.compile(r"items? \d+(?: to \d+)?: ")
# What stands for a line's result under --on-error return; no result of a function's looks so.
ERROR_KEY = "lambdamap_error"

Open = Callable[[AsyncIterator[Any]], "AsyncResults[Any]"]


def line_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument of both commands, and the option that lines give a meaning of its own."""
    for option in (
        map_option(
            "on_error",
            help='raise: stop at the first line that fails; return: write {"lambdamap_error": ...} '
            "in its place and go on. Default: raise.",
        ),
        click.argument(
            "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-"
        ),
    ):
        command = option(command)
    return command


class _BadLineError(ValueError):
    """A line of the input, or what came of it, that is no JSON."""


class _OutputError(Exception):
    """The output takes no more."""


class Lines:
    """The lines of one input and what becomes of them.

    Parameters
    ----------
    fd, out
        The input and the output.
    read
        From a line to an item; raises ValueError.
    write
        From a result to a line without its end; raises ValueError or TypeError.
    keep_going
        Whether a bad line or a failed item is written as an error in its place.
    """

    def __init__(
        self,
        fd: int,
        out: IO[bytes],
        read: Callable[[bytes], Any],
        write: Callable[[Any], bytes],
        keep_going: bool,
    ) -> None:
        self._fd = fd
        self._read = read
        self._write = write
        self._keep_going = keep_going
        # In the input's order, of lines not yet answered: number, and what is wrong if it was not sent.
        self._waiting: deque[tuple[int, ValueError | None]] = deque()
        self._first_item = 0  # index of the first item among those waiting
        self._out = out
        self.answered = 0
        self.failed = 0

    # --- in ---------------------------------------------------------------------------------------

    async def items(self) -> AsyncIterator[Any]:
        """The items of the input; blank lines are skipped."""
        number = 0
        async for line in _lines_of(self._fd):
            number += 1
            if not line.strip():
                continue
            try:
                item = self._read(line)
            except ValueError as error:
                if not self._keep_going:
                    raise _BadLineError(f"line {number} is no JSON: {error}") from None
                self._waiting.append((number, error))
                self._give_bad_lines()
                continue
            self._waiting.append((number, None))
            yield item

    # --- out --------------------------------------------------------------------------------------

    def give(self, result: Any) -> None:
        """Write the result of the next item, behind the errors of the lines before it."""
        self._give_bad_lines()
        number, _ = self._waiting.popleft()
        self._first_item += 1
        if isinstance(result, BaseException):
            self._give_error(number, result)
            return
        try:
            self._put(self._write(result))
        except (ValueError, TypeError) as error:
            problem = TypeError(f"the result is no JSON: {error}")
            if not self._keep_going:
                raise click.ClickException(f"line {number}: {problem}") from None
            self._give_error(number, problem)

    def end(self) -> None:
        """The map is over: what is left are lines that were not sent."""
        self._give_bad_lines()

    def _give_bad_lines(self) -> None:
        while self._waiting and (error := self._waiting[0][1]) is not None:
            number, _ = self._waiting.popleft()
            self._give_error(number, error)

    def _give_error(self, number: int, error: BaseException) -> None:
        known = failure(error)
        described = {
            "line": number,
            "type": type(error).__name__,
            "message": _ITEMS.sub("", str(error), count=1),
            "ran": "NOT" if known is None else known.ran,
        }
        if isinstance(error, RemoteError):
            described["type"] = error.remote_type or described["type"]
        self.failed += 1
        self._put(json.dumps({ERROR_KEY: described}).encode())

    def _put(self, line: bytes) -> None:
        try:
            self._out.write(line + b"\n")
            self._out.flush()
        except OSError as error:
            raise _OutputError(error.strerror) from error
        self.answered += 1

    # --- what went wrong --------------------------------------------------------------------------

    def explain(self, error: BaseException) -> str:
        """The text of an error that ended the map, with lines where it speaks of items."""
        known = failure(error) or Failure()
        text = _ITEMS.sub("", str(error), count=1)
        if not isinstance(error, LambdaMapError):
            text = f"{type(error).__name__}: {text}"
        elif not isinstance(error, RemoteError):
            text = in_options(text)
        numbers = self._numbers_of(known.indices)
        if numbers:
            several = len(numbers) > 1
            which = f"lines {numbers[0]} to {numbers[-1]}" if several else f"line {numbers[0]}"
            text = f"{which}: {text}"
        trace = known.remote_traceback.rstrip()
        if "\n" in trace:  # a builtin's is its message alone
            text += "\n" + trace
        return text

    def _numbers_of(self, indices: Any) -> list[int]:
        sent = [number for number, error in self._waiting if error is None]
        places = (index - self._first_item for index in indices)
        return [sent[place] for place in places if 0 <= place < len(sent)]


async def _lines_of(fd: int) -> AsyncIterator[bytes]:
    """Lines without their ends, as they come."""
    rest = bytearray()
    while True:
        await _readable(fd)
        data = os.read(fd, _READ_BYTES)
        if not data:
            break
        *whole, tail = data.split(b"\n")
        for line in whole:
            yield bytes(rest + line)
            rest.clear()
        rest += tail
        if len(rest) > _MAX_LINE_BYTES:
            raise _BadLineError(f"a line has more than {_MAX_LINE_BYTES >> 20} MB")
    if rest:
        yield bytes(rest)


async def _readable(fd: int) -> None:
    """Wait until a read does not block, without a thread. A regular file cannot be polled, and
    never makes one wait."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:
        await asyncio.sleep(0)
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


def run(
    file: str,
    open_map: Open,
    *,
    read: Callable[[bytes], Any],
    write: Callable[[Any], bytes],
    options: Options,
) -> int:
    """Map the lines of a file, "-" being stdin; the exit status.

    What the function prints, and what importing it prints, goes to stderr.
    """
    with contextlib.ExitStack() as stack:
        fd = 0 if file == "-" else stack.enter_context(Path(file).open("rb", buffering=0)).fileno()
        out = stack.enter_context(os.fdopen(os.dup(1), "wb"))
        lines = Lines(fd, out, read, write, options.on_error == "return")
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            asyncio.run(_drive(lines, open_map))
        except _OutputError as error:
            with contextlib.suppress(OSError):  # what is left is not tried again
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            if isinstance(error.__cause__, BrokenPipeError):
                return PIPE_CLOSED  # nobody reads: the end of `| head`, not an error to speak of
            click.echo(
                f"Error: cannot write the output: {error}; {lines.answered:,} lines are answered",
                err=True,
            )
            return FAILED
        except KeyboardInterrupt:
            click.echo(f"stopped by Ctrl-C: {lines.answered:,} lines are answered", err=True)
            return INTERRUPTED
        except (ConfigError, click.UsageError) as error:
            click.echo(f"Error: {lines.explain(error)}", err=True)
            return USAGE
        except _BadLineError as error:
            click.echo(f"Error: {error}", err=True)
            return FAILED
        except Exception as error:
            known = failure(error)
            if known is None or not (known.remote_type or isinstance(error, LambdaMapError)):
                raise  # neither the function's nor the map's: something to see whole
            click.echo(f"Error: {lines.explain(error)}", err=True)
            return FAILED
    if lines.failed:
        click.echo(f"{lines.failed:,} of {lines.answered:,} lines failed", err=True)
    return FAILED if lines.failed else 0


async def _drive(lines: Lines, open_map: Open) -> None:
    async with open_map(lines.items()) as results:
        async for result in results:
            lines.give(result)
    lines.end()
