"""Draws a timeline as SVG: no script, no style sheet, no reference to anything else."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdamap.backends.records import ChunkTimes

__all__ = ["draw"]

# Pixels.
_WIDTH, _LEFT, _RIGHT = 960, 64, 16
_PLOT = _WIDTH - _LEFT - _RIGHT
_CURVE_TOP, _CURVE = 44, 96  # chunks in flight
_ROWS_TOP = _CURVE_TOP + _CURVE + 40
_ROWS = 320  # of all rows together, at most
_THICKEST = 14  # of one row
_TICKS = 8  # about

_WAITING, _WARM, _COLD, _FAILED = "#d0d7de", "#4c78a8", "#f58518", "#c4261d"
_NAMES = {_WAITING: "queued", _WARM: "in flight", _COLD: "in flight, cold start", _FAILED: "failed"}
_INK, _GRID = "#24292f", "#e6e8eb"


def draw(recorded: list[ChunkTimes], seen: int) -> str:
    """Return the SVG document of a map's recorded chunks, of those that were seen."""
    chunks = sorted(recorded, key=lambda chunk: (chunk.sent, chunk.first_item))
    end = max((chunk.done for chunk in chunks), default=0.0) or 1e-6
    scale = _PLOT / end
    per_row = max(1, math.ceil(len(chunks) / _ROWS))
    n_rows = math.ceil(len(chunks) / per_row)
    pitch = min(_THICKEST, _ROWS // n_rows) if n_rows else 0
    bottom = _ROWS_TOP + n_rows * pitch
    most, curve = _in_flight(chunks, end)
    share = seen / len(chunks) if chunks else 1
    headline = _headline(len(chunks), seen, end, most * share)
    shown = {_color(chunk) for chunk in chunks} | ({_WAITING} if chunks else set())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 28}" '
        f'viewBox="0 0 {_WIDTH} {bottom + 28}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{headline}</title>",
        f'<rect width="{_WIDTH}" height="{bottom + 28}" fill="#fff"/>',
        _text(_LEFT, 18, headline, size=13),
        *_legend([color for color in _NAMES if color in shown]),
        *_grid(end, scale, bottom),
        _text(_LEFT - 8, _CURVE_TOP + 10, f"{round(most * share):,}", anchor="end"),
        _text(_LEFT - 8, _CURVE_TOP + _CURVE, "0", anchor="end"),
        _text(_LEFT, _CURVE_TOP - 4, "chunks in flight"),
        f'<path d="{_area(curve, most)}" fill="{_WARM}" fill-opacity="0.35" stroke="{_WARM}"/>',
        _text(_LEFT, _ROWS_TOP - 8, _rows_say(per_row, share)),
        *_rows(chunks, per_row, pitch, scale),
        "</svg>",
    ]
    return "\n".join(lines)


def _headline(recorded: int, seen: int, end: float, most: float) -> str:
    noun = "chunk" if seen == 1 else "chunks"
    if recorded == 0:
        return "lambdamap: no finished chunks"
    about = "" if seen == recorded else "about "
    return f"lambdamap: {seen:,} {noun} in {_time(end)}, at most {about}{round(most):,} in flight"


def _rows_say(per_row: int, share: float) -> str:
    if per_row == 1:
        said = "one row per chunk, in the order in which they were sent"
    else:
        said = f"one row per {per_row} chunks, in the order in which they were sent"
    return said if share == 1 else f"{said}; 1 chunk in {round(share)} is recorded"


# --- the curve --------------------------------------------------------------------------------


def _in_flight(chunks: list[ChunkTimes], end: float) -> tuple[int, list[int]]:
    """Return the largest number of chunks in flight, and the largest during each pixel."""
    starts = [chunk.sent for chunk in chunks if chunk.done > chunk.sent]  # sorted
    ends = sorted(chunk.done for chunk in chunks if chunk.done > chunk.sent)
    peaks = [0] * _PLOT
    now = over = 0
    for at in starts:
        while over < len(ends) and ends[over] <= at:
            over += 1
        now = bisect.bisect_right(starts, at) - over
        pixel = min(_PLOT - 1, int(at / end * _PLOT))
        peaks[pixel] = max(peaks[pixel], now)
    for pixel in range(_PLOT):  # what a pixel starts with
        at = pixel * end / _PLOT
        running = bisect.bisect_right(starts, at) - bisect.bisect_right(ends, at)
        peaks[pixel] = max(peaks[pixel], running)
    return max(peaks), peaks


def _area(curve: list[int], most: int) -> str:
    """Return the path of a filled step curve; pixels of the same height share a step."""
    base = _CURVE_TOP + _CURVE
    steps, before = [f"M{_LEFT} {base}"], 0
    for x, height in enumerate(curve):
        if height != before:
            steps.append(f"H{_LEFT + x}V{base - _CURVE * height / max(1, most):.1f}")
            before = height
    return "".join(steps) + f"H{_LEFT + _PLOT}V{base}Z"


# --- the rows ---------------------------------------------------------------------------------


def _color(chunk: ChunkTimes) -> str:
    if chunk.failed:
        return _FAILED
    return _COLD if chunk.cold else _WARM


def _rows(chunks: list[ChunkTimes], per_row: int, pitch: int, scale: float) -> Iterator[str]:
    """Yield the rows' bars: a path per color, or with few chunks an element with a tooltip for each."""
    thick = pitch - 1 if pitch > 2 else pitch
    bars: dict[str, list[str]] = {color: [] for color in _NAMES}
    for row, start in enumerate(range(0, len(chunks), per_row)):
        y = _ROWS_TOP + row * pitch
        for color, low, high in _bars(chunks[start : start + per_row]):
            x = _LEFT + low * scale
            width = max(0.5, (high - low) * scale)
            bars[color].append(f"M{x:.1f} {y}h{width:.1f}v{thick}h-{width:.1f}z")
    for color, paths in bars.items():
        if paths:
            yield f'<path d="{"".join(paths)}" fill="{color}"/>'
    if per_row == 1:
        for row, chunk in enumerate(chunks):
            y = _ROWS_TOP + row * pitch
            x = _LEFT + chunk.queued * scale
            width = max(0.5, (chunk.done - chunk.queued) * scale)
            yield (
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{thick}" fill="#fff" '
                f'fill-opacity="0"><title>{_tooltip(chunk)}</title></rect>'
            )


def _bars(chunks: list[ChunkTimes]) -> Iterator[tuple[str, float, float]]:
    """Yield the bars of a row as color, start and end: what most of its chunks did.

    The wait of the row's chunks comes first, so that what they did is drawn over it."""
    yield _WAITING, min(chunk.queued for chunk in chunks), _middle(chunk.sent for chunk in chunks)
    for color in (_WARM, _COLD, _FAILED):
        those = [chunk for chunk in chunks if _color(chunk) == color and chunk.attempts]
        if those:
            yield color, _middle(c.sent for c in those), _middle(c.done for c in those)


def _middle(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _tooltip(chunk: ChunkTimes) -> str:
    last = chunk.first_item + chunk.n_items - 1
    items = f"item {last}" if chunk.n_items == 1 else f"items {chunk.first_item} to {last}"
    parts = [
        items,
        f"queued at {_time(chunk.queued)}",
        f"sent at {_time(chunk.sent)}",
        f"done at {_time(chunk.done)}",
    ]
    if chunk.attempts > 1:
        parts.append(f"{chunk.attempts} attempts")
    if chunk.cold is not None:
        parts.append("cold start" if chunk.cold else "warm")
    if chunk.failed:
        parts.append("failed")
    return ", ".join(parts)


# --- words and lines --------------------------------------------------------------------------


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{_INK}">{text}</text>'
    )


def _legend(colors: list[str]) -> Iterator[str]:
    x = float(_WIDTH - _RIGHT)
    for color in reversed(colors):
        name = _NAMES[color]
        x -= 7 * len(name)
        yield _text(x, 18, name)
        yield f'<rect x="{x - 16:.1f}" y="8" width="12" height="12" fill="{color}"/>'
        x -= 28


def _grid(end: float, scale: float, bottom: int) -> Iterator[str]:
    step = _step(end / _TICKS)
    for i in range(int(end / step * (1 + 1e-9)) + 1):
        x = _LEFT + i * step * scale
        yield f'<path d="M{x:.1f} {_CURVE_TOP}V{bottom}" stroke="{_GRID}"/>'
        anchor = "start" if i == 0 else "middle" if x < _WIDTH - 2 * _RIGHT else "end"
        yield _text(x, bottom + 18, _time(i * step), anchor)


def _step(least: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


def _time(seconds: float) -> str:
    if seconds == 0:
        return "0"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:,.3g} min" if seconds < 7200 else f"{seconds / 3600:,.3g} h"
