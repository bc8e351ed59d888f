"""JSON lines in, JSON lines out, for ``lambdamap map`` and ``lambdamap invoke-map``.

The input is read as it arrives, as far ahead as the map has room; each result is written and flushed
as soon as those before it are. Errors contain the number of their line. Whatever ends the map, results
that had finished are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from lambdamap.cli.common import in_options, map_option
from lambdamap.errors import ConfigError, Failure, LambdaMapError, RemoteError, failure

if TYPE_CHECKING:
    from lambdamap.flight.engine import Engine
    from lambdamap.flight.feed import Feed
    from lambdamap.options import Options

__all__ = [
    "EPILOG",
    "ERROR_KEY",
    "RESULT_KEY",
    "Form",
    "Lines",
    "line_options",
    "on_error_of",
    "run",
]

FAILED, USAGE, PIPE_CLOSED = 1, 2, 141  # exit statuses; 128 and its number after a signal
_STOPPED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
EPILOG = """Exit status: 0, all lines succeeded; 1, a line failed, or the output cannot be written;
2, the command line or the configuration is invalid; 130, interrupted by Ctrl-C; 141, the output pipe was closed;
143, terminated by SIGTERM. Results that had finished are always written."""
_READ_BYTES = 1 << 16
_MAX_LINE_BYTES = 64 << 20  # far above the limit of an invocation
_ITEMS = re.compile(r"items? \d+(?: of items \d+)?(?: to \d+)?: ")
# The only keys of the objects written for a failed line, and for a result that is not in its place.
ERROR_KEY = "lambdamap_error"
RESULT_KEY = "lambdamap_result"

Open = Callable[["Feed"], "Engine"]


def line_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options of both commands that concern lines."""
    for option in (
        click.option(
            "--keys", is_flag=True,
            help='Write {"lambdamap_result": {"line": ..., "input": ..., "result": ...}} per line.',
        ),
        click.option(
            "--unordered", is_flag=True,
            help='Write results as they finish, as {"lambdamap_result": {"line": ..., "result": ...}}.',
        ),
        click.option(
            "--errors", type=click.Path(dir_okay=False), metavar="FILE",
            help="Write errors to FILE instead of the output. Implies --on-error return.",
        ),
        map_option(
            "on_error",
            help='raise: stop at the first line that fails; return: write {"lambdamap_error": ...} '
            "in its place and continue. Default: raise.",
        ),
        click.argument(
            "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-"
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def on_error_of(errors: str | None) -> dict[str, str]:
    """Return the option that --errors implies."""
    return {} if errors is None else {"on_error": "return"}


class _BadLineError(ValueError):
    """A line of the input is not JSON, or too long."""


class _OutputError(Exception):
    """The output cannot be written."""


class _StoppedError(Exception):
    """A signal has asked for the end."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(_STOPPED[number])
        self.status = 128 + number


@dataclasses.dataclass(frozen=True)
class Form:
    """What is written, and where errors go."""

    write: Callable[[Any], bytes]  # a result to a line without its end; ValueError or TypeError
    unordered: bool = False
    keys: bool = False
    errors: str | None = None  # a file; None: among the results


@dataclasses.dataclass(frozen=True)
class _Line:
    number: int
    text: bytes = b""  # kept for `Form.keys`


class Lines:
    """The lines of one input, and their results.

    Parameters
    ----------
    fd
        The input.
    out, errors
        Where results and errors are written.
    read
        Converts a line to an item; raises ValueError.
    form
        How they are written.
    keep_going
        Write an error for an invalid line or a failed item, and continue.
    """

    def __init__(
        self,
        fd: int,
        out: IO[bytes],
        errors: IO[bytes],
        read: Callable[[bytes], Any],
        form: Form,
        keep_going: bool,
    ) -> None:
        self._fd = fd
        self._out = out
        self._errors = errors
        self._read = read
        self._form = form
        self._keep_going = keep_going
        self._sent: dict[int, _Line] = {}  # lines without a result yet, by the index of their item
        self._bad: deque[tuple[_Line, ValueError]] = deque()  # lines that were not sent
        self.done = 0  # lines written
        self.failed = 0  # of these, errors
        self.late = 0  # of these, results that are not in their place because the map has ended

    # --- in ---------------------------------------------------------------------------------------

    async def items(self) -> AsyncIterator[Any]:
        """Yield the items of the input, without blank lines."""
        number = index = 0
        async for text in _lines_of(self._fd):
            number += 1
            if not text.strip():
                continue
            line = _Line(number, text.strip() if self._form.keys else b"")
            try:
                item = self._read(text)
            except ValueError as error:
                if not self._keep_going:
                    raise _BadLineError(f"line {number} is not JSON: {error}") from None
                self._bad.append((line, error))
                self._write_bad_lines()
                continue
            self._sent[index] = line
            index += 1
            yield item

    # --- out --------------------------------------------------------------------------------------

    def give(self, index: int, result: Any) -> None:
        """Write the result of an item, then the errors of invalid lines whose turn has come."""
        line = self._sent.pop(index)
        try:
            self._give(line, result, numbered=self._form.unordered or self._form.keys)
        except (ValueError, TypeError) as error:
            problem = TypeError(f"the result cannot be converted to JSON: {error}")
            if not self._keep_going:
                raise click.ClickException(f"line {line.number}: {problem}") from None
            self._write_error(line, problem, ran="RAN")
        self._write_bad_lines()

    def _give(self, line: _Line, result: Any, numbered: bool) -> None:
        if isinstance(result, BaseException) and failure(result) is not None:  # else f returned it
            self._write_error(line, result)
            return
        text = self._form.write(result)
        if numbered:
            fields = [b'"line": %d' % line.number, b'"result": ' + text]
            if self._form.keys:
                fields.insert(1, b'"input": ' + line.text)
            text = b'{"%s": {%s}}' % (RESULT_KEY.encode(), b", ".join(fields))
        self._put(self._out, text)

    def rescue(self, finished: dict[int, Any]) -> None:
        """Write the results that had finished when the map ended, by the index of their item.

        Those that follow the written ones without a gap are in their places."""
        for index, result in sorted(finished.items()):
            in_place = next(iter(self._sent), None) == index and not self._form.unordered
            line = self._sent.pop(index)
            try:
                self._give(line, result, numbered=self._form.keys or not in_place)
            except (ValueError, TypeError) as error:
                problem = TypeError(f"the result cannot be converted to JSON: {error}")
                self._write_error(line, problem, ran="RAN")
            self.late += not in_place

    def _write_bad_lines(self) -> None:
        """Write the errors of invalid lines that come before all lines without a result."""
        first = next(iter(self._sent.values()), None)
        while self._bad:
            line, error = self._bad[0]
            if first is not None and first.number < line.number and not self._form.unordered:
                return
            self._bad.popleft()
            self._write_error(line, error)

    def _write_error(self, line: _Line, error: BaseException, ran: str = "NOT") -> None:
        """Write an error; ran: of one that is not from the map."""
        known = failure(error)
        described: dict[str, Any] = {
            "line": line.number,
            "type": type(error).__name__,
            "message": _ITEMS.sub("", str(error), count=1),
            "ran": ran if known is None else known.ran,
        }
        if isinstance(error, RemoteError):
            described["type"] = error.remote_type or described["type"]
        if self._form.keys:
            described["input"] = line.text.decode(errors="replace")
        self.failed += 1
        self._put(self._errors, json.dumps({ERROR_KEY: described}).encode())

    def _put(self, where: IO[bytes], line: bytes) -> None:
        try:
            where.write(line + b"\n")
            where.flush()
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
        numbers = [self._sent[index].number for index in known.indices if index in self._sent]
        if numbers:
            several = len(numbers) > 1
            which = f"lines {numbers[0]} to {numbers[-1]}" if several else f"line {numbers[0]}"
            text = f"{which}: {text}"
        trace = known.remote_traceback.rstrip()
        if "\n" in trace:  # that of a builtin function is only its message
            text += "\n" + trace
        return text

    def counts(self, unknown: int) -> str:
        """Return how many lines were written. unknown: how many may have run without a result."""
        text = f"{self.done:,} lines written"
        if self.late:
            text += f" ({self.late:,} of them out of order, with line numbers)"
        return f"{text}; {unknown:,} more may have run" if unknown else text


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


@contextlib.contextmanager
def _on_signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call a function at the first Ctrl-C or SIGTERM; a second one raises KeyboardInterrupt."""
    asked = False

    def handle(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop(signal.Signals(number))

    before = {
        number: signal.signal(number, handle)
        for number in _STOPPED
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    file: str,
    open_map: Open,
    *,
    read: Callable[[bytes], Any],
    form: Form,
    options: Options,
) -> int:
    """Map the lines of a file, or of stdin for "-", and return the exit status.

    The output of the function, and of importing it, goes to stderr.
    """
    with contextlib.ExitStack() as stack:
        fd = 0 if file == "-" else stack.enter_context(Path(file).open("rb", buffering=0)).fileno()
        out = errors = stack.enter_context(os.fdopen(os.dup(1), "wb"))
        if form.errors is not None:
            try:
                errors = stack.enter_context(open(form.errors, "wb"))
            except OSError as error:
                raise click.UsageError(f"cannot write {form.errors}: {error.strerror}") from error
        lines = Lines(fd, out, errors, read, form, options.on_error == "return")
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            ended = asyncio.run(_drive(lines, open_map))
        except KeyboardInterrupt:  # the second
            return 128 + signal.SIGINT
        except _OutputError as error:
            with contextlib.suppress(OSError):  # so that the flush at exit does not fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            if isinstance(error.__cause__, BrokenPipeError):
                return PIPE_CLOSED  # as at the end of `| head`: not an error
            click.echo(f"Error: cannot write the output: {error}; {lines.counts(0)}", err=True)
            return FAILED
    if ended is not None:
        return _say_why(lines, ended)
    if lines.failed:
        click.echo(f"{lines.failed:,} of {lines.done:,} lines failed", err=True)
    return FAILED if lines.failed else 0


class _Ended(NamedTuple):
    """Why a map has ended before its input, and how many of its lines may have run without a result."""

    error: Exception
    unknown: int


def _say_why(lines: Lines, ended: _Ended) -> int:
    """Print why a map has ended and what was written; return the exit status."""
    error = ended.error
    known = failure(error)
    if isinstance(error, _StoppedError):
        text, status = str(error), error.status
    elif isinstance(error, (ConfigError, click.UsageError)):
        text, status = f"Error: {lines.explain(error)}", USAGE
    elif isinstance(error, _BadLineError):
        text, status = f"Error: {error}", FAILED
    elif isinstance(error, click.ClickException):
        text, status = f"Error: {error.message}", FAILED
    elif known is not None and (known.remote_type or isinstance(error, LambdaMapError)):
        text, status = f"Error: {lines.explain(error)}", FAILED
    else:
        raise error  # neither f's error nor one of lambdamap's: show the traceback
    counts = lines.counts(ended.unknown)
    if isinstance(error, _StoppedError):
        text += f": {counts}"
    elif lines.done or ended.unknown:
        text += f"\n{counts}"
    click.echo(text, err=True)
    return status


async def _drive(lines: Lines, open_map: Open) -> _Ended | None:
    """Map the lines; return why not all of them. What had finished is written."""
    from lambdamap.calls.aio import AsyncResults
    from lambdamap.flight.feed import Feed

    loop = asyncio.get_running_loop()
    asked: asyncio.Future[signal.Signals] = loop.create_future()
    feed = Feed()
    engine: Engine | None = None

    def stop(number: signal.Signals) -> None:
        loop.call_soon_threadsafe(asked.set_result, number)

    with _on_signals(stop):
        try:
            engine = open_map(feed)
            async with AsyncResults[Any](engine, lines.items(), feed) as results:
                writing = asyncio.ensure_future(_write(results, engine, lines))
                try:
                    await asyncio.wait((writing, asked), return_when=asyncio.FIRST_COMPLETED)
                    if not writing.done():
                        raise _StoppedError(asked.result())
                    writing.result()
                except Exception as error:
                    engine.end(error)
                    raise
                finally:
                    writing.cancel()
        except _OutputError:
            raise
        except Exception as error:
            known = failure(error) or Failure()
            lines.rescue(known.partial)
            unknown = len(known.indices) if known.ran == "MAYBE" else 0
            return _Ended(error, unknown + (engine.left_items if engine else 0))
    return None


async def _write(results: AsyncIterator[Any], engine: Engine, lines: Lines) -> None:
    async for result in results:
        lines.give(engine.position, result)
