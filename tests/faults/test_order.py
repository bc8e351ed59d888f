"""Order and fairness of results, maps and bytes. Row 44."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

import lambdamap
import tasks
from driver import collect, open_map
from scripted import Connection, Request, reply, run

ANSWER = b'{"ok":1}'


def test_row_44_replies_in_any_order(plain_site: Any) -> None:
    """1,000 chunks, each answered after a random delay, the first ones last."""
    chance = random.Random(44)
    delays = {number: chance.random() * 0.01 for number in range(1000)}
    running = run()

    def step(connection: Connection, request: Request) -> None:
        first = request.envelope["chunk"]
        connection.wait(delays[first] + (0.3 if first < 8 else 0))
        running(connection, request)

    server = plain_site.server(then=step, check_signatures=False)
    results = plain_site.map(server, tasks.square, range(1000), max_concurrency=32)
    assert list(results) == [x * x for x in range(1000)]
    assert set(server.items.values()) == {1}


def test_row_44_replies_in_reverse(site: Any) -> None:
    """A whole window is held back, then answered in reverse order."""
    held: list[tuple[Connection, Request]] = []
    running = run()
    lock = threading.Lock()

    def step(connection: Connection, request: Request) -> None:
        with lock:
            held.append((connection, request))
            ready = sorted(held, key=lambda pair: -pair[1].envelope["chunk"])
            if len(held) == 16:
                held.clear()
        if len(ready) == 16:
            for late_connection, late in ready:
                running(late_connection, late)

    server = site.server(then=step)
    results = site.map(server, tasks.square, range(64), max_concurrency=16)
    assert list(results) == [x * x for x in range(64)]


def test_short_map_beside_a_long_one(plain_site: Any) -> None:
    """A map of 10 chunks next to one of 10,000 gets every second start until it is done."""
    order: list[str] = []
    gate = threading.Event()

    def step(connection: Connection, request: Request) -> None:
        if not gate.is_set():
            gate.wait(20)
        with connection.server.lock:
            order.append(request.json()["map"])
        reply(ANSWER)(connection, request)

    server = plain_site.server(then=step, check_signatures=False)
    target = plain_site.target(server, max_concurrency=4)
    long, short = open_map(target), open_map(target)
    for number in range(10_000):
        assert long.submit(b'{"map":"long"}', number, 1)
    server.wait_for(4)
    for number in range(10):
        assert short.submit(b'{"map":"short"}', number, 1)
    gate.set()
    assert [end.failure for end in collect(short)] == [""] * 10
    places = [place for place, name in enumerate(order) if name == "short"]
    # The last one's is 28 if the threads run in step. A thread that waits for a core holds back the
    # requests on its connections: three of the four may be late by any amount.
    assert len(places) == 10
    assert places[-4] <= 4 + 2 * 10 + 100
    long.cancel()
    assert long.quiesce(10)
    collect(long)


@pytest.mark.parametrize(
    "rounds", [6, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]
)
def test_small_budget_never_stops_a_map(plain_site: Any, rounds: int) -> None:
    """Replies of random size, up to more than the whole budget, in several maps at once: all end."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    largest = 600_000 if rounds == 6 else 2_000_000  # a reply has room for two of them
    server = plain_site.server(check_signatures=False)
    options = plain_site.options(server, max_inflight_bytes=largest // 2)
    for _ in range(rounds):
        sizes = [
            [int(largest * chance.random() ** 4) for _ in range(chance.randint(1, 30))]
            for _ in range(3)
        ]
        chunksize = chance.choice([1, 2, 5, "auto"])
        found: dict[int, list[int]] = {}

        def one(number: int, chunksize: Any = chunksize, sizes: Any = sizes,
                found: Any = found) -> None:  # fmt: skip
            results = lambdamap.map(
                tasks.blank, sizes[number], **{**options, "chunksize": chunksize}
            )
            found[number] = [len(result) for result in results]

        threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
            assert not thread.is_alive(), "a map hangs"
        assert found == dict(enumerate(sizes))
