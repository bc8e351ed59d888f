"""A timeline of chunks: what is recorded, the table, and the geometry of the drawing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import lambdamap
from lambdamap.backends.records import RECORD, ChunkTimes, Records
from lambdamap.flight.timeline import Timeline

SVG = "{http://www.w3.org/2000/svg}"
WIDTH = 960
WARM, COLD, FAILED, WAITING = "#4c78a8", "#f58518", "#c4261d", "#d0d7de"


def timeline_of(*chunks: ChunkTimes, seen: int | None = None) -> Timeline:
    records = b"".join(
        RECORD.pack(
            chunk.first_item,
            chunk.queued,
            chunk.sent,
            chunk.done,
            chunk.n_items,
            chunk.attempts,
            chunk.failed,
            0 if chunk.cold is None else 1 + chunk.cold,
        )
        for chunk in chunks
    )
    return Timeline(records, len(chunks) if seen is None else seen)


def chunk(
    i: int,
    sent: float,
    done: float,
    attempts: int = 1,
    failed: bool = False,
    cold: bool | None = None,
) -> ChunkTimes:
    return ChunkTimes(10 * i, 10, sent / 2, sent, done, attempts, failed, cold)


def waves(n: int, at_once: int) -> list[ChunkTimes]:
    return [chunk(i, i // at_once + 0.1, i // at_once + 0.9) for i in range(n)]


class Drawing:
    """A parsed drawing: its texts, and the bars as x, y, width and height by color."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.texts = [element.text or "" for element in self.root.iter(f"{SVG}text")]
        self.bars: dict[str, list[tuple[float, ...]]] = {}
        for path in self.root.iter(f"{SVG}path"):
            found = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+z", path.get("d", ""))
            if found:
                self.bars[path.get("fill", "")] = [tuple(map(float, bar)) for bar in found]

    def curve(self) -> list[tuple[float, float]]:
        """Return the corners of the curve of chunks in flight."""
        (path,) = (p for p in self.root.iter(f"{SVG}path") if p.get("fill-opacity") == "0.35")
        steps = re.findall(r"H([\d.]+)V([\d.]+)", path.get("d", ""))
        return [(float(x), float(y)) for x, y in steps]

    def check(self) -> None:
        """Everything lies inside of the drawing; nothing refers to anything else or could run."""
        height = float(self.root.get("height", "0"))
        for bars in self.bars.values():
            for x, y, width, high in bars:
                assert 0 <= x <= x + width <= WIDTH
                assert 0 <= y <= y + high <= height
        for text in self.root.iter(f"{SVG}text"):
            assert 0 <= float(text.get("x", "-1")) <= WIDTH
            assert 0 <= float(text.get("y", "-1")) <= height
        tags = {element.tag.removeprefix(SVG) for element in self.root.iter()}
        assert tags <= {"svg", "title", "rect", "path", "text"}
        names = {name for element in self.root.iter() for name in element.attrib}
        assert not [name for name in names if name.startswith("on") or "href" in name]


def test_a_row_per_chunk() -> None:
    chunks = [
        chunk(0, 0.0, 1.0, cold=True),
        chunk(1, 1.0, 2.0, cold=False, attempts=3),
        chunk(2, 2.0, 4.0, failed=True),
    ]
    drawing = Drawing(timeline_of(*chunks).svg())
    drawing.check()
    ((x, y, width, _),) = drawing.bars[COLD]
    ((x2, y2, width2, _),) = drawing.bars[WARM]
    ((x3, y3, width3, _),) = drawing.bars[FAILED]
    assert y < y2 < y3
    assert (x2 - x, x3 - x) == pytest.approx((width, 2 * width), abs=0.2)
    assert (width2, width3) == pytest.approx((width, 2 * width), abs=0.2)
    assert len(drawing.bars[WAITING]) == 3
    tooltips = [title.text or "" for title in drawing.root.iter(f"{SVG}title")]
    assert (
        "items 10 to 19, queued at 500 ms, sent at 1 s, done at 2 s, 3 attempts, warm" in tooltips
    )
    assert {"queued", "in flight", "in flight, cold start", "failed"} <= {*drawing.texts}
    assert "lambdamap: 3 chunks in 4 s, at most 1 in flight" in drawing.texts


def test_many_chunks_share_rows() -> None:
    text = timeline_of(*waves(10_000, 250)).svg()
    assert len(text) < 100_000
    drawing = Drawing(text)
    drawing.check()
    assert "one row per 32 chunks, in the order in which they were sent" in drawing.texts
    bars = drawing.bars[WARM]
    assert len(bars) == 313  # of 32 chunks each
    assert len({y for _, y, _, _ in bars}) == 313
    assert [x for x, *_ in bars] == sorted(x for x, *_ in bars)
    assert max(y + height for _, y, _, height in bars) <= float(drawing.root.get("height", "0"))
    assert "250" in drawing.texts
    assert len(drawing.curve()) == 2 * 40  # up and down in each wave


def test_the_curve_is_the_number_in_flight() -> None:
    curve = Drawing(timeline_of(chunk(0, 0, 4), chunk(1, 1, 3), chunk(2, 2, 3)).svg()).curve()
    base = curve[-1][1]
    heights = [round((base - y) / 32) for _, y in curve]  # 96 pixels for 3 chunks
    assert heights == [1, 2, 3, 1, 0]
    quarters = [round((x - 64) / 220) for x, _ in curve]
    assert quarters == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [chunk(0, 0.0, 0.0)],
        [chunk(0, 0.0, 1e-7)],
        [chunk(0, 1e5, 2e5)],
        [chunk(0, 5.0, 5.0, attempts=0, failed=True)],
        waves(321, 7),
        waves(320, 320),
    ],
    ids=["none", "no time", "100 ns", "days", "never sent", "321", "320"],
)
def test_any_timeline_can_be_drawn(chunks: list[ChunkTimes]) -> None:
    drawing = Drawing(timeline_of(*chunks)._repr_html_())
    drawing.check()
    if chunks and not chunks[0].attempts:
        assert set(drawing.bars) == {WAITING}


def test_a_sample_says_so() -> None:
    timeline = timeline_of(*waves(100, 10), seen=400)
    assert repr(timeline) == "<lambdamap timeline: 400 chunks, 100 of them recorded>"
    texts = Drawing(timeline.svg()).texts
    assert any(text.endswith("1 chunk in 4 is recorded") for text in texts)
    assert "lambdamap: 400 chunks in 9.9 s, at most about 40 in flight" in texts


def test_file(tmp_path: Path) -> None:
    timeline = timeline_of(*waves(20, 4))
    timeline.save(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text(encoding="utf-8") == timeline.svg()


def test_frame() -> None:
    pytest.importorskip("pandas")
    frame = timeline_of(
        chunk(0, 0, 1, cold=True), chunk(1, 1, 2), chunk(2, 2, 3, cold=False)
    ).to_frame()
    assert list(frame.columns) == list(ChunkTimes._fields)
    assert list(frame["cold"].isna()) == [False, True, False]
    assert list((frame["done"] - frame["sent"]).round()) == [1, 1, 1]
    assert {str(kind) for kind in timeline_of().to_frame().dtypes} == {
        "int64",
        "float64",
        "bool",
        "boolean",
    }


@pytest.mark.parametrize("backend", ["inline", "local"])
def test_what_is_recorded(backend: str) -> None:
    results = lambdamap.map(abs, range(-40, 0), chunksize=4, backend=backend)
    assert sum(results) == 820
    timeline = results.timeline()
    assert timeline.seen == 10
    assert sorted(chunk.first_item for chunk in timeline.chunks) == list(range(0, 40, 4))
    for found in timeline.chunks:
        assert 0 <= found.queued <= found.sent < found.done
        assert (found.n_items, found.attempts, found.failed) == (4, 1, False)


@pytest.mark.parametrize("backend", ["inline", "local"])
def test_more_chunks_than_are_kept(backend: str) -> None:
    """One in 2, 4, ... is kept: the same ones whatever the limit is."""
    results = lambdamap.map(abs, range(-101, 0), chunksize=1, backend=backend)
    results._engine._port.record(8)
    assert sum(results) == 5151
    records, seen = results._engine._port.records()
    assert seen == 101
    assert len(records) == RECORD.size * 7  # 0, 16, 32, ... 96 of those taken


def test_both_recorders_keep_the_same() -> None:
    for limit in (1, 2, 3, 5, 8):
        records = Records()
        records.start(limit)
        for i in range(50):
            records.add(i, 1, 0.0, 0.0, 0.0, failed=False)
        kept = [chunk.first_item for chunk in Timeline(*records.copy()).chunks]
        results = lambdamap.map(abs, range(-50, 0), chunksize=1, backend="local", max_concurrency=1)
        results._engine._port.record(limit)
        assert sum(results) == 1275
        assert [
            chunk.first_item for chunk in Timeline(*results._engine._port.records()).chunks
        ] == kept
        assert kept[0] == 0 and len(kept) <= limit


def test_a_failed_chunk() -> None:
    results = lambdamap.map(abs, ["x"], backend="local")
    with pytest.raises(TypeError):
        list(results)
    (found,) = results.timeline().chunks
    assert found.failed


def test_executors_record_nothing() -> None:
    with lambdamap.LambdaExecutor(backend="inline") as executor:
        assert executor.submit(abs, -1).result() == 1
        (lane,) = executor._pump._lanes.values()
        assert lane.engine.timeline().seen == 0
