"""chunksize="auto" beside the best fixed size, in simulated time.

The policy is the real one (`_codec.Chunker`), asked as the engine asks it; the world around it is
a discrete simulation: a client that packs and unpacks one chunk after the other, so many
invocations at once, a fixed price for each, and items whose cost is spread by half.
"""

from __future__ import annotations

import heapq
import random
from itertools import accumulate

from lambdamap import _codec

__all__ = ["LOADS", "Load", "fixed_sizes", "ideal", "rows", "simulate"]

WINDOW = 64
PRICE_S = 0.010  # of an invocation, beyond its items: the way there and back, the worker's own work
CLIENT_S = 60e-6  # of the client, a chunk
CLIENT_ITEM_S = 0.3e-6  # of the client, an item, packed and unpacked
SPREAD = 0.5


class Load:
    """So many items of so many seconds each, give or take half."""

    def __init__(self, name: str, item_s: float, count: int) -> None:
        self.name = name
        self.item_s = item_s
        self.count = count
        draw = random.Random(count).uniform
        costs = (item_s * draw(1 - SPREAD, 1 + SPREAD) for _ in range(count))
        self.until = [0.0, *accumulate(costs)]  # seconds of the items before each

    def cost(self, first: int, count: int) -> float:
        return self.until[first + count] - self.until[first]


LOADS = (
    ("0.2 ms", 0.0002, 1_500_000),
    ("5 ms", 0.005, 150_000),
    ("100 ms", 0.1, 10_000),
    ("2 s", 2.0, 1_000),
    ("30 s", 30.0, 320),
)


def ideal(load: Load) -> float:
    """No price, no client, and every invocation as long as the others; but no item is cut."""
    least = load.until[-1] / WINDOW
    longest = max(load.cost(i, 1) for i in range(load.count))
    return max(least, longest)


def simulate(load: Load, size: int, known: bool) -> tuple[float, int]:
    """Seconds until the last result is there, and the chunks. size 0: automatic."""
    chunker = _codec.Chunker(size)
    free = [0.0] * WINDOW  # when each slot is free; what is submitted first starts first
    under_way: list[tuple[float, int, int]] = []  # by end: end, first item, items
    ready: dict[int, int] = {}
    now = 0.0  # the client's clock
    packed = head = chunks = 0
    while head < load.count:
        while packed < load.count and len(under_way) + len(ready) < 2 * WINDOW:
            wanted = chunker.next(WINDOW, load.count - packed if known else -1, -1)
            if wanted == 0:
                break
            count = min(wanted, load.count - packed)
            now += CLIENT_S + count * CLIENT_ITEM_S
            end = max(now, free[0]) + PRICE_S + load.cost(packed, count)
            heapq.heapreplace(free, end)
            heapq.heappush(under_way, (end, packed, count))
            packed += count
            chunks += 1
        now = max(now, under_way[0][0])
        while under_way and under_way[0][0] <= now:
            _, first, count = heapq.heappop(under_way)
            now += CLIENT_S
            chunker.observe(count, int(load.cost(first, count) * 1e6), WINDOW)
            ready[first] = count
        while head in ready:
            head += ready.pop(head)
    return now, chunks


def fixed_sizes(load: Load) -> list[int]:
    most = max(1, load.count // WINDOW)
    least = max(1, load.count // 40_000)  # smaller ones are slower still, and long to simulate
    sizes, size = [], 1.0
    while size <= most:
        sizes.append(int(size))
        size *= 1.5
    return sorted({s for s in [*sizes, most] if s >= least})


def rows(quick: bool) -> list[tuple[str, ...]]:
    """A row for each load, of known and of unknown length."""
    found = []
    for name, item_s, count in LOADS:
        load = Load(name, item_s, count // 20 if quick else count)
        best, best_size = min((simulate(load, s, True)[0], s) for s in fixed_sizes(load))
        least = ideal(load)
        for known in (True, False):
            auto, chunks = simulate(load, 0, known)
            found.append(
                (
                    f"{name}, {load.count:,} items, length {'known' if known else 'unknown'}",
                    f"{least:.2f} s",
                    f"{best:.2f} s at {best_size}",
                    f"{auto:.2f} s in {chunks:,} chunks",
                    f"{100 * (auto / best - 1):+.1f} %",
                    f"{100 * (auto / least - 1):+.1f} %",
                )
            )
    return found
