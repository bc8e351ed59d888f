"""The figures of lambdamap beside its rivals, measured in the same run.

``./dev bench`` runs all; ``./dev bench PART...`` those of `PARTS`; ``--write`` puts the
tables into docs/benchmarks.md with the command and what machine this is. ``./dev bench study`` is
apart from these: it makes docs/scaling.md.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import chunks
import click
import clients
import codec_rows
import interrupt
import journal
import model
import series
import study
from tables import table
from target import Target

import lambdamap

PARTS = (
    "instructions",
    "dispatch",
    "h2",
    "codec",
    "map",
    "journal",
    "model",
    "chunks",
    "tsfresh",
    "interrupt",
    "import",
)
ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"


def _find_what_tests_share() -> None:
    sys.path.extend(str(place) for place in (ROOT / "tests" / "support").iterdir())


def _rounds(rounds: int, jobs: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians of interleaved rounds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            client = job.pop("client", name)
            found[name].append(clients.measure(client, **job))
            job["client"] = client
    return {
        name: {key: median(figures[key] for figures in all_) for key in all_[0]}
        for name, all_ in found.items()
    }


def dispatch(quick: bool) -> str:
    """CPU per signed invocation of 2 KB each way; many at once."""
    rounds, n, slow = (1, 300, 60) if quick else (5, 20_000, 1_500)
    text = ""
    with Target() as target:
        for tls in (False, True):
            url = target.url(tls)
            common = {"url": url, "ca_file": target.ca_file, "at_once": 64, "warm": True}
            jobs = {
                "lambdamap": {**common, "function": "now", "n": n},
                "pycurl + Python signer": {**common, "function": "now", "n": n // 2},
                "aiobotocore": {**common, "function": "now", "n": slow},
                "boto3": {**common, "function": "now", "n": slow},
            }
            found = _rounds(rounds, jobs)
            if shutil.which("wrk"):
                runs = [clients.wrk(url, "now", 1 if quick else 2, 64) for _ in range(rounds)]
                found["wrk, unsigned"] = {
                    k: median(r[k] for r in runs) for k in ("cpu_us", "per_s")
                }
            own = found["lambdamap"]["cpu_us"]
            rows = [
                (name, f"{f['cpu_us']:.1f}", f"{f['cpu_us'] / own:.1f}", f"{f['per_s']:,.0f}")
                for name, f in found.items()
            ]
            goal = "<= 40 us" if tls else "<= 25 us"
            title = "over TLS" if tls else "plain"
            text += f"\n### 64 in flight, {title} (goal {goal})\n\n"
            text += table(("client", "CPU us", "times lambdamap", "per second"), rows)
        text += _many_at_once(target, quick)
    return text


def _many_at_once(target: Target, quick: bool) -> str:
    width = 50 if quick else 1000
    rows = []
    for tls in (False, True):
        for warm in (True, False):
            job = {"url": target.url(tls), "ca_file": target.ca_file, "n": width, "at_once": width}
            jobs = {
                name: {**job, "function": "d100", "warm": warm}
                for name in ("lambdamap", "pycurl + Python signer", "boto3")
            }
            found = _rounds(1 if quick else 3, jobs)
            what = ("TLS" if tls else "plain") + (", warm" if warm else ", cold")
            rows.append(
                (what, *(f"{f['seconds']:.2f} s, {f['rss_mb']:.0f} MB" for f in found.values()))
            )
    text = f"\n### {width:,} invocations of 100 ms at once (goals 0.15 s warm, 0.22 cold; TLS 0.18, 1.0)\n\n"
    text += table(("", "lambdamap", "pycurl + Python signer", "boto3, a thread each"), rows)
    return (
        text
        + _in_flight(target, quick)
        + _for_long(target, quick)
        + _connecting(target, quick)
        + _large(target, quick)
    )


def _bare_mb() -> float:
    """Peak memory of a Python that does nothing."""
    code = "print([line for line in open('/proc/self/status') if 'VmHWM' in line][0].split()[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return int(done.stdout) / 1024


def _in_flight(target: Target, quick: bool) -> str:
    """Whether an invocation costs more when many others wait: connections stand, replies come
    spread over time."""
    steps = ((64, "j100", 20), (256, "j400", 8), (1_000, "j1000", 4), (4_000, "j4000", 2))
    rows = []
    for at_once, function, times in ((20, "j100", 2),) if quick else (*steps, (10_000, "j7500", 1)):
        row = [f"{at_once:,}"]
        for tls in (False, True):
            job = {"url": target.url(tls), "ca_file": target.ca_file, "function": function}
            f = clients.measure("lambdamap", n=at_once * times, at_once=at_once, warm=True, **job)
            row += [f"{f['cpu_us']:.0f}", f"{f['rss_mb'] - _bare_mb():.0f}"]
        rows.append(tuple(row))
    head = ("in flight", "plain: CPU us", "MB over Python", "TLS: CPU us", "MB over Python")
    title = "Many in flight, delays spread by half (goal 50 us plain, 70 TLS; 40 / 100 MB at 1,000)"
    return f"\n### {title}\n\n" + table(head, rows)


def _for_long(target: Target, quick: bool) -> str:
    """So many in flight for so long, from nothing: against the time that the slowest takes."""
    at_once, ms = (50, 200) if quick else (10_000, 10_000)
    rows = []
    for kind, what in (("d", f"{ms / 1000:g} s each"), ("u", f"{ms / 2000:g} to {ms / 1000:g} s")):
        job = {"url": target.url(False), "ca_file": target.ca_file, "function": f"{kind}{ms}"}
        f = clients.measure("lambdamap", n=at_once, at_once=at_once, warm=False, **job)
        over = (f["seconds"] / (ms / 1000) - 1) * 100
        rows.append(
            (
                f"{at_once:,} of {what}",
                f"{f['seconds']:.2f} s",
                f"{over:+.1f} %",
                f"{f['rss_mb']:.0f}",
            )
        )
    title = "All at once, connecting included (goal: within 5 % of the ideal, 300 MB)"
    return f"\n### {title}\n\n" + table(
        ("plain", "lambdamap", "against the ideal", "peak MB"), rows
    )


def _large(target: Target, quick: bool) -> str:
    """6 MB up and down at 64 in flight, and what small invocations of another map see of it."""
    rows = []
    with Target() as other:
        command = [sys.executable, str(Path(__file__).with_name("large.py"))]
        command += [other.url(False), target.url(False), "8" if quick else "256"]
        runs = []
        for _ in range(1 if quick else 3):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout))
        pairs = [
            f"{median(r[key][0] for r in runs):.1f} / {median(r[key][1] for r in runs):.1f} ms"
            for key in ("alone", "beside")
        ]
        added = median(r["beside"][1] - r["alone"][1] for r in runs)
        rate = median(r["mb_per_s"] for r in runs)
        cpu = median(r["cpu_ms"] for r in runs)
        rows.append((*pairs, f"{added:.1f} ms", f"{rate:,.0f} MB/s", f"{cpu:.1f} ms"))
    head = ("small alone, p50 / p99", "beside", "p99 added", "large ones", "CPU each")
    title = "Small invocations beside 64 of 6 MB each way (goal: p99 at most 20 ms more)"
    return f"\n### {title}\n\n" + table(head, rows)


def _connecting(target: Target, quick: bool) -> str:
    """CPU and memory of a new connection with verification: a cold run beside a warm one."""
    n = 50 if quick else 1000
    rows = []
    for name in ("lambdamap", "pycurl + Python signer"):
        job = {"url": target.url(True), "ca_file": target.ca_file, "function": "d1000", "n": n}
        runs: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        for _ in range(1 if quick else 3):
            for warm, found in runs.items():
                found.append(clients.measure(name, at_once=n, warm=warm, **job))
        cold, warm = (median(f["cpu_us"] for f in runs[w]) for w in (False, True))
        few = clients.measure(name, **{**job, "n": 1, "at_once": 1, "warm": False})["rss_mb"]
        many = median(f["rss_mb"] for f in runs[False])
        each = (many - few) * 1024 / n
        rows.append((name, f"{(cold - warm) / 1000:.2f} ms", f"{each:.0f} KB"))
    title = f"A new TLS connection with verification, {n:,} at once (goal 1.6 ms, 80 KB)"
    return f"\n### {title}\n\n" + table(("client", "CPU", "memory, request included"), rows)


def http2(quick: bool) -> str:
    """The dispatcher over HTTP/2 and over HTTP/1.1 with TLS, and h2load, which signs nothing."""
    runs = (
        ("2 KB each way, 64 at once", "now", 20_000, 64, True),
        ("replies after 0.5 to 1.5 s, 1,000 at once", "u1500", 3_000, 1_000, True),
        ("100 ms, 1,000 at once from cold", "d100", 1_000, 1_000, False),
    )
    text = ""
    with Target() as target:
        for title, function, n, at_once, warm in runs:
            n = n // 50 if quick else n
            job = {"ca_file": target.ca_file, "function": function, "n": n, "at_once": at_once}
            found: dict[str, list[dict[str, float]]] = {}
            for _ in range(1 if quick else 5):
                urls = {"lambdamap, HTTP/2": target.http2_url(), "lambdamap": target.url(True)}
                for name, url in urls.items():
                    figures = clients.measure("lambdamap", warm=warm, url=url, **job)
                    found.setdefault(name, []).append(figures)
                if shutil.which("h2load"):
                    streams = max(1, at_once // 8)
                    figures = clients.h2load(target.http2_url(), function, n, streams)
                    found.setdefault("h2load, unsigned", []).append({**figures, "rss_mb": 0.0})
            rows = []
            for name, figures in found.items():
                cpu, seconds, mb = (
                    median(f[what] for f in figures) for what in ("cpu_us", "seconds", "rss_mb")
                )
                rows.append((name, f"{cpu:.0f}", f"{seconds:.2f}", f"{mb:.0f}" if mb else ""))
            text += f"\n### {title}\n\n"
            text += table(("client", "CPU us", "seconds in all", "MB"), rows)
    return text


def codec(quick: bool) -> str:
    """Encode, decode and wire ratios."""
    rows = codec_rows.rows(0.005 if quick else 0.2)
    head = ("workload", "against", "goal", "measured: encode / decode / wire")
    return "\n" + table(head, [tuple(row) for row in rows])


def _map_once(url: str, n: int) -> tuple[float, float]:
    import tasks

    before, started = time.process_time(), time.perf_counter()
    options = {"function": "r", "endpoint_url": url, "region": "us-east-1", "max_concurrency": 64}
    results = lambdamap.map(
        tasks.square, range(n), chunksize=1, credentials=("AKID", "secret"), **options
    )
    assert sum(1 for _ in results) == n
    return (time.process_time() - before) / n * 1e6, n / (time.perf_counter() - started)


def whole_map(quick: bool) -> str:
    """`lambdamap.map` with one small item per invocation."""
    n = 500 if quick else 20_000
    _find_what_tests_share()
    with Target() as target:
        _map_once(target.url(False), 500)
        runs = [_map_once(target.url(False), n) for _ in range(1 if quick else 5)]
    cpu, rate = median(run[0] for run in runs), median(run[1] for run in runs)
    rows = [
        (
            "one item per invocation, 64 in flight",
            "<= 60 us, >= 12,000/s",
            f"{cpu:.1f} us, {rate:,.0f}/s",
        )
    ]
    return "\n" + table(("whole map from Python", "goal", "measured: CPU, rate"), rows)


def journals(quick: bool) -> str:
    """What a journal adds to the caller's CPU time."""
    _find_what_tests_share()
    head = ("", "goal", "without a journal", "with one", "more", "from the journal")
    text = "\nCPU time of the caller per reply; 64 in flight, replies at once.\n\n"
    return text + table(head, journal.rows(quick))


def models(quick: bool) -> str:
    """What `lambdamap.model` predicts, beside the real thing."""
    load = os.getloadavg()[0]
    rows = model.rows(quick)
    text = (
        f"\nnginx takes the place of Lambda, on the same cores, {1 - model.SHARE:.0%} of which the model leaves to it. "
        f"Other work when this began: a load of {load:.1f} processes, which the model does not know of.\n\n"
    )
    return text + table(model.HEAD, rows)


def import_time(quick: bool) -> str:
    """Importing, over starting Python."""

    def best(code: str) -> float:
        times = []
        for _ in range(3 if quick else 15):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - started)
        return min(times) * 1000

    bare = best("pass")
    rows = [
        (name, goal, f"{best(f'import {name}') - bare:.0f} ms")
        for name, goal in (("lambdamap", "<= 20 ms"), ("pycurl", ""), ("boto3", ""))
    ]
    rows.insert(1, ("lambdamap._net", "", f"{best('import lambdamap._net') - bare:.0f} ms"))
    return "\n" + table(("import", "goal", "over bare Python"), rows)


def chunk_sizes(quick: bool) -> str:
    """chunksize="auto" in simulated time: 64 at once, 10 ms an invocation beyond its items."""
    head = ("items", "ideal", "best fixed size", '"auto"', "over the best fixed", "over the ideal")
    goal = "\nGoal: within 10 % of the best fixed size or of the ideal. Simulated time.\n\n"
    return goal + table(head, chunks.rows(quick))


def tsfresh(quick: bool) -> str:
    """Features of the flights by aircraft and day, tsfresh's own processes beside."""
    head = ("", "MultiprocessingDistributor", "LambdaDistributor", "times as fast")
    text = "\nMinimalFCParameters; local Lambda; both on all cores; same result.\n\n"
    return text + table(head, series.rows(quick))


def interrupts(quick: bool) -> str:
    """Ctrl-C in a notebook, as its stop button sends it."""
    head = ("a cell with", "the prompt is back after", "and says")
    text = (
        "\nGoal: 0.3 s. Each item takes 6 s; the kernel's child processes get the signal, too.\n\n"
    )
    return text + table(head, interrupt.rows(quick))


def instructions(quick: bool) -> str:
    """What tests/unit/test_instructions.py holds the dispatcher to. Other suites' rows stay."""
    _find_what_tests_share()
    import tempfile

    import instructions as counting
    from certificates import Authority

    kept = counting.recorded(DOCUMENT.read_text()) if DOCUMENT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        times = range(1 if quick else 3)
        plain = [counting.count() for _ in times]
        tls = [counting.count(authority.context(), authority.ca_file) for _ in times]
    kept[counting.suite()] = [max(plain, key=lambda c: c.all), max(tls, key=lambda c: c.all)]
    rows = [
        (suite, *(f"{c.all:,.0f} / {c.own:,.0f}" for c in counts))
        for suite, counts in sorted(kept.items())
    ]
    text = (
        "\nInstructions per signed invocation of 2 KB each way, in the client, as counted by valgrind: "
        "all / those of this project's code. Most of them are the SHA-256 of the request, for which "
        "valgrind does not use the processor's instructions. `./dev test` fails if a figure grows by "
        "more than 5 %.\n\n"
    )
    return text + table(("suite", "plain", "TLS"), rows)


RUNS = {
    "instructions": instructions,
    "dispatch": dispatch,
    "h2": http2,
    "codec": codec,
    "map": whole_map,
    "journal": journals,
    "model": models,
    "chunks": chunk_sizes,
    "tsfresh": tsfresh,
    "interrupt": interrupts,
    "import": import_time,
}


def machine() -> str:
    """What the figures depend on."""
    model = platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    from lambdamap import _net

    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
        f"libcurl {_net.CURL_VERSION}, {_net.TLS_VERSION}. Client and server share the cores; trust "
        "the ratios of one table, not the microseconds across tables."
    )


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice((*PARTS, "study")))
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that everything runs.")
@click.option("--write", is_flag=True, help="Write docs/benchmarks.md.")
def main(parts: tuple[str, ...], quick: bool, write: bool) -> None:
    """Run the benchmarks named (default: all but the study) and print their tables."""
    if "study" in parts:
        if len(parts) > 1:
            raise click.UsageError("the study runs by itself")
        click.echo(study.study(quick, write, machine()))
        return
    head = "# Benchmarks\n\nMade by `./dev bench --write`; all clients and codecs run in the same run.\n\n"
    head += machine() + "\n"
    click.echo(head)
    for part in parts or PARTS:
        section = f"\n## {part}\n" + RUNS[part](quick)
        click.echo(section)
        if write:
            _write(head, part, section)


def _write(head: str, part: str, section: str) -> None:
    """Replace one section of the document; the others stay as they are. What stands behind a
    section's heading "Notes" is written by hand and stays, too."""
    old = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", old, re.M | re.S))
    body = section.split("\n", 2)[2]
    _, marker, notes = sections.get(part, "").partition("\n### Notes\n")
    sections[part] = body.rstrip("\n") + "\n" + marker + notes
    names = [*(p for p in PARTS if p in sections), *(s for s in sections if s not in PARTS)]
    text = head + "".join(f"\n## {name}\n\n{sections[name].strip()}\n" for name in names)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
