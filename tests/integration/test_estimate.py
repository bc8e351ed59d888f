"""`lambdamap.estimate` and ``lambdamap estimate``: the sample, the table, what is assumed."""

from __future__ import annotations

import html.parser
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from commands import run
from lambdamap import model
from lambdamap.calls import estimate as module

INLINE = {"backend": "inline", "memory": (1769,), "concurrency": (10,)}


def test_a_sample_on_the_local_lambda() -> None:
    found = lambdamap.estimate(
        tasks.square,
        range(1000),
        memory=(512, 1769),
        concurrency=(5, 50),
        chunksize=10,
        backend="local",
    )
    assert (found.items, found.sampled) == (1000, 20)
    sizes = [(each.memory_mb, each.max_concurrency) for each in found.predictions]
    assert sizes == [(512, 5), (512, 50), (1769, 5), (1769, 50)]
    assert all(each.outcome.invocations == 100 for each in found.predictions)
    assert found.fastest.seconds == min(each.seconds for each in found.predictions)
    assert found.cheapest.usd == min(each.usd for each in found.predictions)
    assert found.worker.item_bytes > 0 and found.worker.result_bytes > 0


def numbered(count: int) -> tuple[list[int], Iterator[int]]:
    """Return what was read so far, and the items that are read."""
    read: list[int] = []

    def items() -> Iterator[int]:
        for i in range(count):
            read.append(i)
            yield i

    return read, items()


def test_the_sample_is_spread_over_a_sequence() -> None:
    assert list(module._picked(range(1000), 4)) == [0, 250, 500, 750]
    assert list(module._picked([5, 6, 7], 4)) == [5, 6, 7]
    assert list(module._picked(iter(range(1000)), 4)) == [0, 1, 2, 3]


def test_no_more_is_read_than_the_sample_needs() -> None:
    read, items = numbered(1000)
    found = lambdamap.estimate(tasks.square, items, 5000, sample=3, **INLINE)
    assert (found.items, found.sampled, read) == (5000, 3, [0, 1, 2])
    read, items = numbered(1000)
    found = lambdamap.estimate(tasks.square, items, 5000, sample_seconds=0, **INLINE)
    assert found.sampled == 1 and len(read) <= 2


def test_options_apply() -> None:
    options = {"backend": "inline", "memory": [128], "max_concurrency": 7, "region": "af-south-1"}
    found = lambdamap.estimate(tasks.square, [1, 2], architecture="arm64", **options)
    (only,) = found.predictions
    assert (only.memory_mb, only.max_concurrency) == (128, 7)
    assert any("0.0000176800" in text and "af-south-1, arm64" in text for text in found.assumptions)
    free = lambdamap.estimate(tasks.square, [1], price=model.Prices(0, 0), **INLINE)
    assert free.cheapest.usd == 0
    full = lambdamap.estimate(tasks.square, [1], service=model.Lambda(reserved=0), **INLINE)
    assert full.fastest.outcome.gave_up and "gives up" in repr(full)


def test_what_gives_up_is_not_the_cheapest() -> None:
    good, bad = (
        model.simulate(1, service=model.Lambda(reserved=reserved)) for reserved in (None, 0)
    )
    found = lambdamap.Estimate(
        1, 1, model.Worker(), (module.Prediction(128, 1, bad), module.Prediction(512, 1, good)), ()
    )
    assert bad.usd < good.usd
    assert found.cheapest is found.fastest is found.predictions[1]


def test_values_that_are_pickled_have_a_size() -> None:
    items = [Odd(), Odd()]
    found = lambdamap.estimate(tasks.identity, items, allow_pickle=True, **INLINE)
    assert found.worker.item_bytes > 10


class Odd:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Odd, ())


def test_what_f_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        lambdamap.estimate(tasks.reciprocal, [0.0], **INLINE)


def test_a_long_map_is_continued_in_proportion() -> None:
    caller = model.Caller(chunksize=1, max_concurrency=50)
    parts = (caller, model.Network(), model.Lambda(), model.Worker(item_ms=100))
    whole = model.simulate(20_000, *parts)
    found = module._predict(20_000, *parts, model.prices())
    for name in ("seconds", "usd", "gb_seconds", "caller_cpu_seconds", "invocations"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=0.02), name


class Cells(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.found.append((self.open[-1], data))


def test_it_is_a_table() -> None:
    found = lambdamap.estimate(
        tasks.square, range(100), memory=(512, 1769), concurrency=(1, 10), backend="inline"
    )
    cells = Cells()
    cells.feed(found._repr_html_())
    assert not cells.open
    columns = [text for tag, text in cells.found if tag == "th"]
    assert columns[:2] == ["memory", "at once"]
    assert sum(tag == "li" for tag, _ in cells.found) == len(found.assumptions)
    lines = repr(found).splitlines()
    assert lines[0].startswith("100 items of ") and lines[2].split()[0] == "memory"
    assert [line.split()[0] for line in lines[3:7]] == ["512", "512", "1,769", "1,769"]
    assert (
        sum("cheapest" in line for line in lines) == sum("fastest" in line for line in lines) == 1
    )
    assert "\n".join(f"- {text}" for text in found.assumptions) in repr(found)


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(i) + "\n\n" for i in range(40)))
    done = run(
        "estimate", "tasks:square", str(file), "--memory", "512", "--memory", "1769",
        "--concurrency", "4", "--chunksize", "2", "--backend", "local", "--sample", "3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "40 items" in done.stdout and "a sample of 3" in done.stdout
    assert done.stdout.count(" MB ") >= 2 and "List prices" in done.stdout


@pytest.mark.parametrize(
    ("text", "path", "status", "said"),
    [
        ("1\nx\n", "tasks:square", 2, "line 2 is not JSON"),
        ("0\n", "tasks:reciprocal", 1, "ZeroDivisionError"),
        ("", "tasks:square", 2, "at least one item"),
        ("1\n", "tasks:missing", 2, "tasks has no missing"),
    ],
)
def test_the_command_says_what_is_wrong(text: str, path: str, status: int, said: str) -> None:
    done = run("estimate", path, "--backend", "local", text=text)
    assert done.returncode == status and said in done.stderr
    assert "lambdamap/calls" not in done.stderr  # no traceback of the command
