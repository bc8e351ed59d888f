"""``python -m lambdamap demo``: maps a real job, compares with builtin map, and provokes two faults."""

from __future__ import annotations

import builtins
import collections
import importlib
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import click

from lambdamap import options
from lambdamap.calls.classic import my_map
from lambdamap.cli.common import map_option
from lambdamap.errors import WorkerCrashedError
from lambdamap.local import LocalLambda, shared
from lambdamap.options import resolve

if TYPE_CHECKING:
    from lambdamap.local.server import Kind

NEXT = """
Next steps

  {python} -m lambdamap serve --help     a standalone local Lambda, for boto3 and the AWS CLI
  {python} -m lambdamap demo --help      this demo with fewer items, or on AWS's own runtime client
  README.md                    options, errors, and how to deploy to AWS
  examples/flask_app           a Flask service that fans out to its own Lambda function
  examples/notebook.ipynb      functions from notebook cells, a DataFrame, a remote traceback

  from lambdamap import my_map
  results = my_map(function, data)
"""


@click.command()
@click.option("--items", type=click.IntRange(min=1), help="Use only the first ITEMS items.")
@map_option("local", default="builtin", show_default=True)
def demo(items: int | None, local: str) -> None:
    """Map a real job on a local Lambda, then provoke two faults."""
    job = _choose_job()
    data = job.items()[:items]
    with options.configure(backend="local", local=local, progress=True):
        agree = _compare_with_builtin_map(job, data)
        once = _kill_a_sandbox(job, data[:400])
        nothing_lost = _throttle(job, data[:400])
    click.echo(NEXT.format(python=Path(sys.executable).name))
    sys.exit(0 if agree and once and nothing_lost else 1)


def _local_lambda() -> LocalLambda:
    """Return the local Lambda that the maps of this demo run on."""
    return shared(cast("Kind", resolve().local))


def _choose_job() -> ModuleType:
    """Return the flights if they and pandas are installed, otherwise the generated series."""
    try:
        flights = importlib.import_module("lambdamap.cli.flights")
        flights.folder()
        return flights
    except ImportError:
        return importlib.import_module("lambdamap.cli.series")


def _compare_with_builtin_map(job: ModuleType, data: list[Any]) -> bool:
    _title(f"{job.TITLE}: {len(data):,} items")

    started = time.perf_counter()
    results = my_map(job.features, data, chunksize="auto")
    lambda_s = time.perf_counter() - started

    started = time.perf_counter()
    expected = list(builtins.map(job.features, data))
    builtin_s = time.perf_counter() - started

    agree = _same_bits(results, expected)
    stats = _local_lambda().stats
    _say(job.rows(results))
    _say(
        f"""
invocations     {stats["invocations"]:,} of {_local_lambda().sandboxes} sandboxes
on the wire     {stats["bytes_in"] / 1e6:.1f} MB sent, {stats["bytes_out"] / 1e6:.1f} MB received
my_map          {lambda_s:.1f} s, including the start of the local Lambda
builtin map     {builtin_s:.1f} s
same results    {"yes, to the bit" if agree else "NO"}"""
    )
    return agree


def _kill_a_sandbox(job: ModuleType, data: list[Any]) -> bool:
    """Kill a sandbox in the middle of a chunk, and show what the caller knows afterwards."""
    _title("A deliberate fault: a sandbox is killed in the middle of a chunk")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "runs")
        log.touch()
        function = partial(counted, function=job.features, log=str(log))
        over = threading.Event()
        killer = threading.Thread(
            target=_kill_when, args=(_local_lambda(), log, len(data) // 8, over)
        )
        killer.start()
        try:
            my_map(function, list(enumerate(data)), chunksize=10)
            raise RuntimeError("the map finished before a sandbox could be killed")
        except WorkerCrashedError as error:
            crash = error
        finally:
            over.set()
            killer.join()
        runs = collections.Counter(int(number) for number in log.read_text().split())

    begun = sum(index in runs for index in crash.indices)
    twice = [index for index, times in runs.items() if times > 1]
    _say(f"{type(crash).__name__}: {crash}")
    _say(
        f"""
items           {_span(crash.indices)} were in that sandbox: .ran is {crash.ran}, {begun} of them began
finished        {len(crash.partial):,} other results are kept in .partial
run twice       {len(twice)}, according to a file to which each run adds a line"""
    )
    return not twice and crash.ran in ("RAN", "MAYBE")


def _throttle(job: ModuleType, data: list[Any]) -> bool:
    """Throttle the function for a second: the map waits and loses nothing."""
    _title("A deliberate fault: the function is throttled for a second")
    refused = _local_lambda().stats["throttles"]
    _local_lambda().throttle(1.0)
    started = time.perf_counter()
    results = my_map(job.features, data, chunksize=10)
    seconds = time.perf_counter() - started
    refused = _local_lambda().stats["throttles"] - refused
    complete = _same_bits(results, list(builtins.map(job.features, data)))
    _say(
        f"""
throttled       {refused} times, and retried after a delay each time
my_map          {seconds:.1f} s
results         {len(results)} of {len(data)}, {"nothing lost" if complete else "NOT the expected ones"}"""
    )
    return complete and refused > 0


def counted(numbered: tuple[int, Any], function: Callable[[Any], Any], log: str) -> Any:
    """Call the function on one item, and record the call in a file."""
    number, item = numbered
    with open(log, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    return function(item)


def _kill_when(function: LocalLambda, log: Path, runs: int, over: threading.Event) -> None:
    """Kill a busy sandbox after this many items, or another one if it had just replied."""
    crashes = function.stats["crashes"]
    while function.stats["crashes"] == crashes and not over.wait(0.002):
        if log.read_text().count("\n") >= runs:
            function.kill_sandbox()


def _same_bits(a: Any, b: Any) -> bool:
    """Return whether two values have the same types and bits; NaN equals itself here."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same_bits(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(builtins.map(_same_bits, a, b))
    return bool(a == b)


def _span(indices: Any) -> str:
    ordered = sorted(indices)
    return f"{ordered[0]}-{ordered[-1]}" if len(ordered) > 1 else str(ordered[0])


def _title(text: str) -> None:
    click.secho(f"\n{text}\n", bold=True)


def _say(text: str) -> None:
    click.echo(text)
