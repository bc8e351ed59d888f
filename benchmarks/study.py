"""How it scales: the study of docs/scaling.md, from real runs; ``./dev bench study --write``.

Each measurement is a process of its own: ``python study.py one JSON`` prints its figures. The job is
1,000 series of 100 values, of each the sum or some twenty features.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clients
import study_job
from tables import table
from target import Target

from lambdamap.model import FULL_CPU_MB, PRICES_OF, prices

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "scaling.md"
LITHOPS = ROOT / ".cache" / "lithops" / "bin" / "python"
HANG_S = 240
CHUNKS: tuple[int | str, ...] = (1, 2, 5, 10, 20, 50, 100, 500, "auto")
WIDTHS = (1, 10, 100, 1_000, 10_000)
THREADS_MOST = 1_000  # of boto3's; more do not start within this machine's memory and time
PRICES, MEMORY_GB = prices(), FULL_CPU_MB / 1024
BY_HAND = "\n## A thousand, ten thousand"  # from here on, the page is not made by this program

FUNCTIONS = {"sum": study_job.sum_of, "features": study_job.features}


# --- one measurement, in a process of its own ------------------------------------------------------


def timed(run: Any, times: int) -> float:
    """Seconds of the fastest of some runs, the first one not counted."""
    run()
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def one_builtin(function: str, times: int) -> dict[str, float]:
    data = study_job.items()
    seconds = timed(lambda: list(map(FUNCTIONS[function], data)), times)
    before = time.process_time()
    list(map(FUNCTIONS[function], data))
    return {"seconds": seconds, "cpu_s": time.process_time() - before}


def one_threads(function: str, times: int) -> dict[str, float]:
    data = study_job.items()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {"seconds": timed(lambda: list(pool.map(FUNCTIONS[function], data)), times)}


def one_joblib(function: str, times: int) -> dict[str, float]:
    from joblib import Parallel, delayed

    data = study_job.items()
    with Parallel(n_jobs=os.cpu_count()) as parallel:
        call = delayed(FUNCTIONS[function])
        return {"seconds": timed(lambda: parallel(call(item) for item in data), times)}


def one_lambdamap(
    function: str, times: int, chunksize: int | str, compression: bool
) -> dict[str, float]:
    import lambdamap

    data = study_job.items()
    kept: list[Any] = []

    def run() -> None:
        results = lambdamap.map(
            FUNCTIONS[function],
            data,
            backend="local",
            chunksize=chunksize,
            compression=compression,
            progress=False,
        )
        assert len(list(results)) == len(data)
        kept.append(results.stats)

    seconds = timed(run, times)
    stats = kept[-1]
    return {
        "seconds": seconds,
        "requests": stats["requests"],
        "kb_there": stats["bytes_sent"] / 1e3,
        "kb_back": stats["bytes_received"] / 1e3,
        "worker_s": stats["worker_seconds"],
    }


def one_flight(client: str, url: str, at_once: int, n: int) -> dict[str, float]:
    """One series an invocation, each taking a second at the far end."""
    item = study_job.items()[0]
    run = flight_of_lambdamap if client == "lambdamap" else flight_of_boto3
    before, started = time.process_time(), time.perf_counter()
    run(url, item, at_once, n)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_us": (time.process_time() - before) / n * 1e6,
        "rss_mb": clients.peak_mb(),
    }


def flight_of_lambdamap(url: str, item: Any, at_once: int, n: int) -> None:
    import lambdamap

    results = lambdamap.map(
        study_job.sum_of, (item for _ in range(n)), chunksize=1, max_concurrency=at_once, function="s1000",
        endpoint_url=url, region="us-east-1", credentials=("AKID", "secret"), by_value=False,
        progress=False,
    )  # fmt: skip
    assert sum(1 for _ in results) == n


def flight_of_boto3(url: str, item: Any, at_once: int, n: int) -> None:
    """As the application of old did it: JSON by boto3, a thread for each invocation in flight."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "lambda", endpoint_url=url, region_name="us-east-1", aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(max_pool_connections=at_once, read_timeout=120),
    )  # fmt: skip

    def call(_: int) -> None:
        body = json.dumps({"data": [item]})
        client.invoke(FunctionName="d1000", Payload=body)["Payload"].read()

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(call, range(n)))


LITHOPS_PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from lithops import LocalhostExecutor
import study_job
data = study_job.items()
calls = [(sys.argv[2], data[first:first + 100]) for first in range(0, len(data), 100)]
best = float("inf")
with LocalhostExecutor(log_level="ERROR") as executor:
    for run in range(int(sys.argv[3]) + 1):
        started = time.perf_counter()
        executor.map(study_job.of_all, calls)
        assert sum(map(len, executor.get_result())) == len(data)
        if run:
            best = min(best, time.perf_counter() - started)
print(json.dumps({"seconds": best}))
"""


def lithops(function: str, times: int, folder: Path) -> dict[str, float] | None:
    """Its localhost executor, from an environment of its own; None where that is not there or does
    not come to an end."""
    if not LITHOPS.exists():
        return None
    shutil.copy(study_job.__file__, folder)
    words = [str(LITHOPS), "-c", LITHOPS_PROGRAM, str(folder), function, str(times)]
    # It starts "python" by that name.
    path = os.pathsep.join([str(LITHOPS.parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=HANG_S / 2,
            cwd=folder,
            check=True,
            env={**os.environ, "PATH": path, "TMPDIR": str(folder)},
        )
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"lithops gave no figure: {type(error).__name__}", file=sys.stderr)
        return None


MEASUREMENTS = {
    "builtin": one_builtin,
    "threads": one_threads,
    "joblib": one_joblib,
    "lambdamap": one_lambdamap,
    "flight": one_flight,
}


def measure(kind: str, **arguments: Any) -> dict[str, float]:
    """Run one measurement in a fresh process."""
    words = [sys.executable, __file__, "one", json.dumps([kind, arguments])]
    done = subprocess.run(words, stdout=subprocess.PIPE, timeout=HANG_S, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- the parts of the page ------------------------------------------------------------------------


def on_this_machine(quick: bool, folder: Path) -> tuple[str, dict[str, Any]]:
    """The whole job by everything that runs on this machine's cores."""
    times = 1 if quick else 2
    found: dict[str, dict[str, Any]] = {}
    for name, kind in (
        ("builtin `map`", "builtin"),
        ("`ThreadPoolExecutor`, a thread a core", "threads"),
        ("joblib (loky), a process a core", "joblib"),
        ("lithops, localhost, 10 calls of 100 series", "lithops"),
        ("lambdamap, local Lambda, chunks by themselves", "lambdamap"),
    ):
        for function in FUNCTIONS:
            if kind == "lithops":
                figures = lithops(function, times, folder)
            else:
                more = {"chunksize": "auto", "compression": False} if kind == "lambdamap" else {}
                figures = measure(kind, function=function, times=times, **more)
            found.setdefault(name, {})[function] = figures

    def cell(figures: dict[str, float] | None) -> str:
        return "no figure" if figures is None else f"{figures['seconds'] * 1000:,.0f} ms"

    rows = [(name, cell(row["sum"]), cell(row["features"])) for name, row in found.items()]
    return table(("1,000 series of 100 values", "sum", "features"), rows), found


def by_chunk_size(quick: bool) -> tuple[str, dict[tuple[int | str, bool], dict[str, float]]]:
    """The features on the local Lambda, over chunk sizes, with and without compression."""
    found = {}
    for chunksize in (5, "auto") if quick else CHUNKS:
        for compression in (False, True):
            found[chunksize, compression] = measure(
                "lambdamap",
                function="features",
                times=1 if quick else 2,
                chunksize=chunksize,
                compression=compression,
            )
    rows = []
    for chunksize in dict.fromkeys(size for size, _ in found):
        plain, packed = found[chunksize, False], found[chunksize, True]
        rows.append(
            (
                str(chunksize),
                f"{plain['requests']:,.0f}",
                f"{plain['seconds'] * 1000:,.0f} ms",
                f"{packed['seconds'] * 1000:,.0f} ms",
                f"{plain['kb_there']:,.0f} + {plain['kb_back']:,.0f}",
                f"{packed['kb_there']:,.0f} + {packed['kb_back']:,.0f}",
            )
        )
    head = (
        "series a chunk", "invocations", "time", "time, compressed", "KB there + back",
        "KB there + back, compressed",
    )  # fmt: skip
    return table(head, rows), found


def in_flight(quick: bool) -> tuple[str, dict[tuple[str, int], dict[str, float]]]:
    """Invocations of one second, from one to ten thousand at once."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    rows = []
    with Target() as target:
        for at_once in (1, 20) if quick else WIDTHS:
            n = 3 * at_once
            row = [f"{at_once:,}"]
            for client in ("lambdamap", "boto3"):
                if client == "boto3" and at_once > THREADS_MOST:
                    row += ["not tried", "", ""]
                    continue
                url = target.url(False)
                figures = measure("flight", client=client, url=url, at_once=at_once, n=n)
                found[client, at_once] = figures = {**figures, "per_s": n / figures["seconds"]}
                row += [
                    f"{figures['per_s']:,.1f}",
                    f"{figures['cpu_us']:,.0f}",
                    f"{figures['rss_mb']:,.0f}",
                ]
            rows.append(tuple(row))
    head = (
        "in flight",
        "lambdamap: per second",
        "CPU us",
        "peak MB",
        "boto3: per second",
        "CPU us",
        "peak MB",
    )
    return table(head, rows), found


def cost(cpu_s: float) -> str:
    """A million series that take cpu_s a thousand."""
    rows = []
    for chunksize in (1, 2, 5, 10, 20, 50, 100, 500):
        invocations = 1_000_000 // chunksize
        billed_ms = math.ceil(cpu_s * chunksize + 1)  # of a thousand series in s: of one in ms
        compute = invocations * billed_ms / 1000 * MEMORY_GB * PRICES.gb_second
        asked = invocations * PRICES.request
        dollars = (f"${value:.3f}" for value in (compute, asked, compute + asked))
        rows.append((str(chunksize), f"{invocations:,}", f"{billed_ms} ms", *dollars))
    head = ("series a chunk", "invocations", "billed each", "compute", "requests", "together")
    return table(head, rows)


def draw(
    chunks: dict[tuple[int | str, bool], dict[str, float]],
    flights: dict[tuple[str, int], dict[str, float]],
    engines: dict[str, Any],
    folder: Path,
) -> None:
    """scaling-chunks.svg and scaling-flight.svg."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "lambdamap", "font.size": 10}
    )
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    sizes = [size for size, packed in chunks if not packed and size != "auto"]
    for packed, label in ((False, "plain"), (True, "compressed")):
        times = [chunks[size, packed]["seconds"] * 1000 for size in sizes]
        (line,) = axes.plot(sizes, times, "o-", label=f"chunks of a size, {label}")
        if not packed:
            automatic = chunks["auto", packed]["seconds"] * 1000
            axes.axhline(automatic, color=line.get_color(), ls=":", label='"auto"')
    builtin = engines["builtin `map`"]["features"]["seconds"] * 1000
    axes.axhline(builtin, color="gray", ls="--", label="builtin map")
    axes.set(xscale="log", xlabel="series a chunk", ylabel="ms for 1,000 series", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(folder / "scaling-chunks.svg", metadata={"Date": None})

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    widths = sorted({width for _, width in flights})
    axes.plot(widths, widths, "--", color="gray", label="ideal")
    for client in ("lambdamap", "boto3"):
        points = [
            (width, flights[client, width]["per_s"])
            for width in widths
            if (client, width) in flights
        ]
        axes.plot(*zip(*points, strict=True), "o-", label=client)
    axes.set(xscale="log", yscale="log", xlabel="invocations in flight, of one second each")
    axes.set(ylabel="invocations per second")
    axes.legend(frameon=False)
    figure.savefig(folder / "scaling-flight.svg", metadata={"Date": None})


TEXT = """# How it scales

lambdamap is based on a series of articles that ended before the scaling study that they announced. This is that study. The task is that of
the articles: 1,000 series of 100 values, with the sum of each, and with some twenty features of each (moments, quantiles,
autocorrelations, rolling means, a slope). All figures are from real runs on one machine, made by `./dev bench study --write`; each is
the faster of two runs after a warm-up run.

{machine} Other work on the machine when the study began: a load of {load:.1f} processes; if it exceeds the number of cores, times vary a lot.

## On this machine's cores

{engines}
The sum of a hundred numbers takes a microsecond or two, less than sending them anywhere: nothing is faster than builtin `map` there, on
Lambda or elsewhere. The features take some {each_us:.0f} us per series, which makes a second core worthwhile.
Threads cannot use it, because of the GIL. lithops starts a process for each call, even with a chunk size, so its calls are of a hundred
series each here.

## Chunk sizes and compression

The features on the local Lambda, whose two sandboxes share the cores with the caller:

{chunks}
![Time over chunk size](scaling-chunks.svg)

Each chunk has a fixed cost, so small chunks are slow; large ones leave a core idle at the end. `"auto"`, the default of `lambdamap.map`,
starts with single items and grows chunks towards half a second of work. Random numbers hardly compress, and there is no network on this
machine for which compression would help: by default, lambdamap compresses only if the endpoint is another machine.

## Invocations in flight

nginx takes the place of Lambda and replies to each invocation, of one series, after a second. There are three invocations for each one in
flight; ideally, as many finish per second as are in flight. Client and nginx share the cores, and connecting is included.

{flights}
![Invocations per second over invocations in flight](scaling-flight.svg)

boto3 needs a thread and a connection for each invocation in flight, and more CPU than lambdamap; once the cores are busy, more threads do
not help. On AWS the account's limit is 1,000 concurrent invocations until it is raised.

## What it would cost on Lambda

The cost for a million series with their features. One takes {each_us:.0f} us of CPU on this machine, plus a millisecond per chunk for
decoding and encoding, with one processor (1,769 MB). List prices of us-east-1, x86: $0.0000166667 per GB-second, $0.20 per million
requests ([AWS Lambda pricing](https://aws.amazon.com/lambda/pricing/) as of {year}; see there for current ones). The costs are
calculated, not from a bill, and Lambda's processors differ from this machine's: **not yet confirmed on AWS**.

```text
invocations = series / chunk
billed      = chunk * time of a series + 1 ms, in whole milliseconds
cost        = invocations * (billed * 1.728 GB * $0.0000166667 + $0.0000002)
```

{cost}
With one series per chunk the requests cost more than the work. A caller that itself runs on Lambda pays for its memory while it waits:
1,769 MB for ten seconds cost $0.0003. Data transfer (a NAT gateway, another region) is charged separately.
"""


def study(quick: bool, write: bool, machine: str) -> str:
    """The page; its figures are written beside it when `write` is set."""
    import tempfile

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        engines, engine_figures = on_this_machine(quick, Path(place))
    chunks, chunk_figures = by_chunk_size(quick)
    flights, flight_figures = in_flight(quick)
    cpu_s = engine_figures["builtin `map`"]["features"]["cpu_s"]
    text = TEXT.format(
        machine=machine,
        load=load,
        engines=engines,
        chunks=chunks,
        flights=flights,
        each_us=cpu_s * 1000,
        year=PRICES_OF,
        cost=cost(cpu_s),
    )
    if write:
        draw(chunk_figures, flight_figures, engine_figures, DOCUMENT.parent)
        _, heading, rest = DOCUMENT.read_text().partition(BY_HAND)
        DOCUMENT.write_text(text + heading + rest)
    return text


if __name__ == "__main__":
    assert sys.argv[1] == "one"
    name, given = json.loads(sys.argv[2])
    print(json.dumps(MEASUREMENTS[name](**given)))
