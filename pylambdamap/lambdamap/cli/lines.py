"""JSON lines in, JSON lines out, for ``lambdamap map`` and ``lambdamap invoke-map``.

The input is read as it arrives, as far ahead as the map has room; each result is written and flushed
as soon as those before it are. Errors contain the number of their line.
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
EPILOG = """Exit status: 0, all lines succeeded; 1, a line failed, or the output cannot be written;
2, the command line or the configuration is invalid; 130, interrupted by Ctrl-C; 141, the output pipe was closed."""
_READ_BYTES = 1 << 16
_MAX_LINE_BYTES = 64 << 20  # far above the limit of an invocation
_ITEMS = re.compile(r"items? \d+(?: to \d+)?: ")
# With --on-error return, the only key of the object written in place of a failed line's result.
ERROR_KEY = "lambdamap_error"

Open = Callable[[AsyncIterator[Any]], "AsyncResults[Any]"]


def line_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument of both commands, and the option that has another meaning for lines."""
    for option in (
        map_option(
            "on_error",
            help='raise: stop at the first line that fails; return: write {"lambdamap_error": ...} '
            "in its place and continue. Default: raise.",
        ),
        click.argument(
            "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-"
        ),
    ):
        command = option(command)
    return command


class _BadLineError(ValueError):
    """A line of the input is not JSON, or too long."""


class _OutputError(Exception):
    """The output cannot be written."""


class Lines:
    """The lines of one input, and their results.

    Parameters
    ----------
    fd, out
        The input and the output.
    read
        Converts a line to an item; raises ValueError.
    write
        Converts a result to a line without its end; raises ValueError or TypeError.
    keep_going
        Write an error in place of an invalid line or a failed item, and continue.
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
        # Numbers of the lines without a result yet, in the order of the input, each with its error
        # if it was not sent.
        self._waiting: deque[tuple[int, ValueError | None]] = deque()
        self._first_item = 0  # index of the first waiting item
        self._out = out
        self.done = 0  # lines written
        self.failed = 0  # of these, errors

    # --- in ---------------------------------------------------------------------------------------

    async def items(self) -> AsyncIterator[Any]:
        """Yield the items of the input, without blank lines."""
        number = 0
        async for line in _lines_of(self._fd):
            number += 1
            if not line.strip():
                continue
            try:
                item = self._read(line)
            except ValueError as error:
                if not self._keep_going:
                    raise _BadLineError(f"line {number} is not JSON: {error}") from None
                self._waiting.append((number, error))
                self._write_bad_lines()
                continue
            self._waiting.append((number, None))
            yield item

    # --- out --------------------------------------------------------------------------------------

    def give(self, result: Any) -> None:
        """Write the result of the next item, after the errors of the lines before it."""
        self._write_bad_lines()
        number, _ = self._waiting.popleft()
        self._first_item += 1
        if isinstance(result, BaseException):
            self._write_error(number, result)
            return
        try:
            self._put(self._write(result))
        except (ValueError, TypeError) as error:
            problem = TypeError(f"the result cannot be converted to JSON: {error}")
            if not self._keep_going:
                raise click.ClickException(f"line {number}: {problem}") from None
            self._write_error(number, problem)

    def end(self) -> None:
        """After the last result, write the errors of the remaining lines, which were not sent."""
        self._write_bad_lines()

    def _write_bad_lines(self) -> None:
        while self._waiting and (error := self._waiting[0][1]) is not None:
            number, _ = self._waiting.popleft()
            self._write_error(number, error)

    def _write_error(self, number: int, error: BaseException) -> None:
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
        self.done += 1

    # --- errors -----------------------------------------------------------------------------------

    def explain(self, error: BaseException) -> str:
        """Return the message of an error that ended the map, with line numbers for items."""
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
        if "\n" in trace:  # that of a builtin function is only its message
            text += "\n" + trace
        return text

    def _numbers_of(self, indices: Any) -> list[int]:
        sent = [number for number, error in self._waiting if error is None]
        places = (index - self._first_item for index in indices)
        return [sent[place] for place in places if 0 <= place < len(sent)]


async def _lines_of(fd: int) -> AsyncIterator[bytes]:
    """Yield lines without their ends, as they arrive."""
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
            raise _BadLineError(f"a line exceeds {_MAX_LINE_BYTES >> 20} MB: split it")
    if rest:
        yield bytes(rest)


async def _readable(fd: int) -> None:
    """Wait until a read does not block, without a thread. Regular files never block."""
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
    """Map the lines of a file, or of stdin for "-", and return the exit status.

    The output of the function, and of importing it, goes to stderr.
    """
    with contextlib.ExitStack() as stack:
        fd = 0 if file == "-" else stack.enter_context(Path(file).open("rb", buffering=0)).fileno()
        out = stack.enter_context(os.fdopen(os.dup(1), "wb"))
        lines = Lines(fd, out, read, write, options.on_error == "return")
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            asyncio.run(_drive(lines, open_map))
        except _OutputError as error:
            with contextlib.suppress(OSError):  # so that the flush at exit does not fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            if isinstance(error.__cause__, BrokenPipeError):
                return PIPE_CLOSED  # as at the end of `| head`: not an error
            click.echo(
                f"Error: cannot write the output: {error}; {lines.done:,} lines written", err=True
            )
            return FAILED
        except KeyboardInterrupt:
            click.echo(f"interrupted: {lines.done:,} lines written", err=True)
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
                raise  # neither f's error nor one of lambdamap's: show the traceback
            click.echo(f"Error: {lines.explain(error)}", err=True)
            return FAILED
    if lines.failed:
        click.echo(f"{lines.failed:,} of {lines.done:,} lines failed", err=True)
    return FAILED if lines.failed else 0


async def _drive(lines: Lines, open_map: Open) -> None:
    async with open_map(lines.items()) as results:
        async for result in results:
            lines.give(result)
    lines.end()
