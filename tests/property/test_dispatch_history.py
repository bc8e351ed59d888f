"""Random maps over real sockets, against a server that answers each request with a random fault; then the
history of every item is checked.

The simulator (tests/sim/) does this with each fault that there is, and to the byte. Here are those that need
threads, a kernel, TLS and the engine in Python to meet.

What must hold, whatever happened: each item is in the results or in the one error, never in both;
results are right and in order; f ran at most once for an item unless idempotent=True; "NOT" is said
only of items that did not run, "RAN" only of such that did; threads, sockets, maps and bytes are
back where they were. LAMBDAMAP_SEED repeats a run's choices.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import lambdamap
import tasks
from certificates import Authority
from chunk_faults import ChunkFaults
from driver import api_options
from scripted import (
    Connection,
    Request,
    Server,
    Step,
    aws_error,
    fin,
    function_error,
    plain_reply,
    reset,
    run_reply,
    throttle,
)

RAISED = {"errorType": "ValueError", "errorMessage": "boom", "stackTrace": []}


@dataclass
class World:
    """The server's side: what it does to a request depends on the seed, the chunk, and how often
    that was asked for."""

    seed: int
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, connection: Connection, request: Request) -> None:
        body = request.json()
        envelope = body["lambdamap"]
        key = (envelope["map"], envelope["chunk"])
        with self.lock:
            self.asked[key] += 1
            chance = random.Random(f"{self.seed}/{key[1]}/{self.asked[key]}/{len(self.asked)}")
        if chance.random() < 0.1:
            connection.wait(chance.random() * 0.02)
        names = list(FAULTS)
        (fault,) = chance.choices(names, [FAULTS[name][1] for name in names])
        FAULTS[fault][0](connection, request)


def answer(connection: Connection, request: Request) -> bytes:
    """Run it, and the reply."""
    return plain_reply(json.dumps(run_reply(request)).encode())


def late(connection: Connection, request: Request) -> None:
    reply = answer(connection, request)
    connection.wait(0.4)
    connection.send(reply)


CHUNK = ChunkFaults(answer)
FAULTS: dict[str, tuple[Step, int]] = {
    "good": (CHUNK.good, 600),
    "throttle": (throttle(), 40),
    "service": (aws_error(500, "ServiceException"), 30),
    "fin": (fin(), 15),
    "reset": (reset(), 15),
    "fin after run": (CHUNK.after_run(fin()), 20),
    "reset after run": (CHUNK.after_run(reset()), 20),
    "raised after run": (CHUNK.after_run(function_error(RAISED)), 10),
    "cut": (CHUNK.cut, 20),
    "cut in head": (CHUNK.cut_in_head, 15),
    "in part": (CHUNK.in_part(CHUNK.good), 40),
    "too large": (CHUNK.too_large, 30),
    "late": (late, 8),
}


# --- maps ---------------------------------------------------------------------------------------


@dataclass
class Plan:
    """One random map."""

    number: int
    items: list[tuple[int, int, str]]
    ordered: bool
    idempotent: bool
    stop_at: int | None
    options: dict[str, Any]
    taken: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    whole: bool = False  # ended by itself, without an error

    @classmethod
    def random(cls, number: int, chance: random.Random) -> Plan:
        count = chance.choice([0, 1, 2, chance.randint(3, 60)])
        bad = chance.random() < 0.2
        items = [
            (number, index, "bad" if bad and chance.random() < 0.05 else "good")
            for index in range(count)
        ]
        idempotent = chance.random() < 0.4
        options: dict[str, Any] = {
            "chunksize": chance.choice([1, 1, 2, 3, 7, "auto"]),
            "max_concurrency": chance.choice([1, 2, 8, 16]),
            "idempotent": idempotent,
            "invocation_timeout": chance.choice([None, None, 0.25]),
            "timeout": chance.choice([None, None, None, 0.1, 0.5]),
            "on_error": chance.choice(["raise", "raise", "return"]),
            "max_attempts": chance.choice([1, 3, 5]),
        }
        return cls(
            number=number,
            items=items,
            ordered=chance.random() < 0.7,
            idempotent=idempotent,
            stop_at=chance.randint(0, count) if chance.random() < 0.15 else None,
            options=options,
        )

    def run(self, options: dict[str, Any]) -> None:
        call = lambdamap.map if self.ordered else lambdamap.map_unordered
        try:
            with call(tasks.counted, self.items, **{**options, **self.options}) as results:
                for result in results:
                    self.taken.append(result)
                    if len(self.taken) == self.stop_at:
                        return
            self.whole = True
        except Exception as error:
            error.__traceback__ = None
            self.error = error

    def check(self) -> None:
        runs = {index: tasks.RUNS[item] for index, item in enumerate(self.items)}
        if not self.idempotent:
            assert all(count <= 1 for count in runs.values()), runs
        places = [self.place(result) for result in self.taken]
        assert len(set(places)) == len(places)
        if self.ordered:
            assert places == list(range(len(places)))
        for place, result in zip(places, self.taken, strict=True):
            known = lambdamap.failure(result) if isinstance(result, BaseException) else None
            ran = "RAN" if known is None else known.ran
            assert ran == "MAYBE" or (runs[place] > 0) == (ran == "RAN"), (place, ran, runs)
        if self.whole:
            assert len(places) == len(self.items)
        if self.error is not None:
            self.check_error(self.error, set(places), runs)

    def place(self, result: Any) -> int:
        """Which item a result belongs to; it must be right."""
        if isinstance(result, BaseException):
            assert self.options["on_error"] == "return"
            known = lambdamap.failure(result)
            assert known is not None
            (place,) = known.indices
            if isinstance(result, ValueError) and not isinstance(result, lambdamap.LambdaMapError):
                assert result.args[1] == self.items[place]
                assert self.items[place][2] == "bad"
            return place
        assert result == self.items[result[1]]
        index: int = result[1]
        return index

    def check_error(self, error: BaseException, taken: set[int], runs: dict[int, int]) -> None:
        known = lambdamap.failure(error)
        assert known is not None, repr(error)
        blamed, never, partial = set(known.indices), set(known.not_run), set(known.partial)
        assert blamed
        assert not blamed & taken and not blamed & partial and not taken & partial
        assert not never & (taken | partial | blamed)
        assert all(self.place(result) == index for index, result in known.partial.items())
        if known.ran == "NOT":
            assert all(runs[index] == 0 for index in blamed), (known, runs)
        if known.ran == "RAN":  # to the end, or as far as the worker's time went
            assert any(runs[index] >= 1 for index in blamed), (known, runs)
        assert all(runs[index] == 0 for index in never)
        if self.ordered and not known.partial and known.ran != "NOT":
            assert min(blamed) >= len(taken)


@pytest.fixture
def short_periods() -> Iterator[None]:
    from lambdamap import _net

    before = _net.debug_periods(transient_base_s=0.004, throttle_base_s=0.01)
    yield
    _net.debug_periods(**before)


@pytest.mark.usefixtures("short_periods")
@pytest.mark.parametrize("scheme", ["plain", "tls"])
@pytest.mark.parametrize(
    "invocations",
    [300, pytest.param(5_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
def test_every_item_has_one_history(
    serve: Callable[..., Server], authority: Authority, scheme: str, invocations: int
) -> None:
    seed = int(os.environ.get("LAMBDAMAP_SEED", 0)) or random.randrange(1, 1 << 32)
    print(f"LAMBDAMAP_SEED={seed}")
    chance = random.Random(seed)
    world = World(seed)
    tls = authority.context() if scheme == "tls" else None
    server = serve(then=world.step, tls=tls)
    number = 0
    while server.complete < invocations:
        tasks.RUNS.clear()
        options = api_options(server, ca_bundle=str(authority.ca_file))
        plans = []
        for _ in range(chance.randint(1, 4)):
            number += 1
            plans.append(Plan.random(number, chance))
        threads = [threading.Thread(target=plan.run, args=(options,)) for plan in plans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), f"a map hangs; LAMBDAMAP_SEED={seed}"
        for plan in plans:
            plan.check()
