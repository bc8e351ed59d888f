"""Plans of what happens to some maps in a simulation, and the promises that are checked of each.

`play` plays one in a `simulated.Simulation` and returns its history. A promise that is broken is an
AssertionError that begins with the promise's name in docs/invariants.md. `python plans.py N [SEED]` plays
N plans and prints the first that breaks one.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import lambdamap
from simulated import LATE, LESS, LOST, MILD, NOT_RUN, RUNS, SIZES, Simulation, work

__all__ = ["Map", "Plan", "explore", "plans", "play"]

# After a deadline. The promise is 0.3 s, and simulated processors are lost for a while.
LATE_S = 1.5
FOR_EVER_S = 100_000.0
_GIVE = ("good", "flaky", "unlucky", "large", "huge")  # kinds of items that may have a result
_RAISE = ("bad", "flaky", "unlucky")
_OF_ITEMS = (  # with on_error="return" they end no map
    ValueError,
    lambdamap.ConnectError,
    lambdamap.ConnectionLostError,
    lambdamap.EncodeError,
    lambdamap.PayloadTooLargeError,
    lambdamap.RemoteError,
    lambdamap.WorkerCrashedError,
    lambdamap.WorkerTimeoutError,
)


@dataclass(frozen=True)
class Map:
    """One map: `invoke_map`, an executor's calls, or `map` or `map_unordered`."""

    count: int
    special: tuple[tuple[int, str], ...] = ()  # index and kind of items that `work` knows
    seconds: float = 0.0  # that each takes
    payloads: bool = False
    calls: bool = False
    ordered: bool = True
    input_ends: int | None = None  # index at which the input raises
    sized: bool = True
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str) -> Any:
        return dict(self.options).get(name)


@dataclass(frozen=True)
class Plan:
    """Maps, what is done with them, and what happens to their requests.

    A step is ("take", map, results), ("close", map), ("abandon", map), ("abort", map),
    ("sleep", seconds), ("interrupt", seconds from then) or ("renew",). A map is opened by its first
    "take". In the end the results that are left are taken."""

    seed: int
    maps: tuple[Map, ...]
    steps: tuple[tuple[Any, ...], ...] = ()
    faults: tuple[str, ...] = ()
    concurrency: int = 1000
    function_timeout: float = 900.0
    lifetime: float = 0.0
    renewed: float = 0.0
    network: tuple[tuple[str, Any], ...] = ()

    @property
    def calm(self) -> bool:
        """Whether nothing can end a map before its time."""
        return (
            set(self.faults) <= set(MILD)
            and not self.lifetime
            and not self.network
            and self.function_timeout >= 60
            and all(step[0] in ("take", "sleep", "renew") for step in self.steps)
        )


def play(plan: Plan) -> str:
    """Play a plan and return its history.

    Raises
    ------
    AssertionError
        A promise was broken.
    """
    simulation = Simulation(
        plan.seed,
        plan.faults,
        concurrency=plan.concurrency,
        function_timeout=plan.function_timeout,
        lifetime=plan.lifetime,
        renewed=plan.renewed,
        network=dict(plan.network),
    )
    with simulation:
        simulation.network.interrupt_at(FOR_EVER_S)
        flights = [
            (_Calls if of.calls else _Flight)(simulation, number, of)
            for number, of in enumerate(plan.maps)
        ]
        for name, *arguments in plan.steps:
            if name == "sleep":
                simulation.network.sleep(*arguments)
            elif name == "interrupt":
                simulation.network.interrupt_at(simulation.now + arguments[0])
            elif name == "renew":
                simulation.renew()
            else:
                getattr(flights[arguments[0]], name)(*arguments[1:])
        for flight in flights:
            flight.take(flight.plan.count + 1)
        left = simulation.left()
        assert not any(left.values()), f"nothing-left: {left}"
        for flight in flights:
            flight.check()
            if plan.calm:
                flight.check_calm()
    return simulation.history


@dataclass
class _Flight:
    """One map, played."""

    simulation: Simulation
    number: int
    plan: Map
    results: Any = None
    taken: list[int] = field(default_factory=list)
    end: str = ""
    error: BaseException | None = None
    late_after: float = FOR_EVER_S
    map_id: int = 0

    def _items(self) -> Iterator[Any]:
        special = dict(self.plan.special)
        for index in range(self.plan.count):
            if index == self.plan.input_ends:
                raise LookupError("input", self.number, index)
            kind = special.get(index, "good")
            item = [self.number, index, kind, self.plan.seconds]
            of = {"item": item} if self.plan.payloads else item
            yield object() if kind == "unpackable" else of

    def _open(self) -> None:
        items: Any = self._items()
        if self.plan.sized and self.plan.input_ends is None:
            items = list(items)
        timeout = self.plan.option("timeout")
        if timeout is not None:
            self.late_after = self.simulation.now + timeout
        options = {**self.simulation.options, **dict(self.plan.options)}
        if self.plan.payloads:
            self.results = lambdamap.invoke_map(options.pop("function"), items, **options)
        else:
            call = lambdamap.map if self.plan.ordered else lambdamap.map_unordered
            self.results = call(work, items, **options)
        self.map_id = self.simulation.maps

    def _say(self, text: str) -> None:
        self.simulation.network.record(f"map {self.number + 1}: {text}")

    # --- steps

    def take(self, count: int) -> None:
        while count > 0 and not self.end:
            count -= 1
            began = self.simulation.now
            try:
                if self.results is None:
                    self._open()
                result = next(self.results)
            except StopIteration:
                self._ends("whole")
            except (Exception, KeyboardInterrupt) as error:
                waited = isinstance(error, KeyboardInterrupt) and self.simulation.now >= FOR_EVER_S
                assert not waited, f"progress: map {self.number + 1} waits for ever"
                self._ends("error", error)
            else:
                self.taken.append(self.place(result))
                self._say(f"result {self.taken[-1]}")
            late = self.simulation.now - max(began, self.late_after)
            assert late <= LATE_S, f"progress: {late:.3f} s after the deadline"

    def close(self) -> None:
        if self.results is not None and not self.end:
            self.results.close()
            self._ends("closed")

    abort = close

    def abandon(self) -> None:
        if self.results is not None and not self.end:
            self.results._engine.abandon("abandoned")

    def _ends(self, how: str, error: BaseException | None = None) -> None:
        self.end, self.results = how, None
        self._say(how if error is None else f"{type(error).__name__}: {error}")
        self.error = error
        if error is not None:
            _forget_frames(error)

    # --- promises

    def place(self, result: Any) -> int:
        """Return the index of the item that a result belongs to."""
        if isinstance(result, BaseException):
            assert self.plan.option("on_error") == "return", "own-reply: an error among the results"
            return self._place_of_error(result)
        number, index, text = result
        kind = dict(self.plan.special).get(index, "good")
        mine = number == self.number and len(text) == SIZES.get(kind, 0) and kind in _GIVE
        assert mine, f"own-reply: {result} is no result of map {self.number}"
        assert isinstance(index, int)
        return index

    def _place_of_error(self, error: BaseException) -> int:
        known = lambdamap.failure(error)
        assert not isinstance(error, CancelledError), f"one-item: {error!r} is in place"
        assert known is not None and len(known.indices) == 1, f"once: {error!r} is of {known}"
        (index,) = known.indices
        kind = dict(self.plan.special).get(index, "good")
        if error.args[:1] == ("asked for",):
            mine = error.args == ("asked for", self.number, index) and kind in _RAISE
            assert mine, f"own-reply: {error!r} at {index}"
        self._check_claims(error, known)
        return int(index)

    def _check_claims(self, error: BaseException, known: lambdamap.Failure) -> None:
        """What it says of its items, as far as it can be known by now."""
        ran = [RUNS[self.number, index] for index in known.indices]
        if known.ran == "NOT":
            assert not any(ran), f"not-means-not: {error!r}, {known}"
        if known.ran == "RAN":
            assert any(ran) or self._refused(known), f"ran-means-ran: {error!r}, {known}"

    def _refused(self, known: lambdamap.Failure) -> bool:
        """Whether a worker was called for these items alone, as far as it is known: it may refuse."""
        return any(
            of == self.map_id and first in known.indices and first + count - 1 in known.indices
            for of, first, count in self.simulation.handled
        )

    def _most_runs(self, index: int) -> int:
        """How often f may run for an item: again only after it has raised, as far as it is asked for."""
        raises = dict(self.plan.special).get(index) in _RAISE or self.plan.payloads
        return 1 + (self.plan.option("retries") or 0) * raises

    def check(self) -> None:
        """Check the map when nothing more can happen."""
        plan, taken = self.plan, self.taken
        runs = [RUNS[self.number, index] for index in range(plan.count)]
        if not plan.option("idempotent"):
            once = all(count <= self._most_runs(index) for index, count in enumerate(runs))
            assert once, f"at-most-once: {runs}"
        assert len(set(taken)) == len(taken), f"once: {taken}"
        if plan.ordered:
            assert taken == list(range(len(taken))), f"order: {taken}"
        if plan.option("on_error") != "return":
            assert all(runs[index] for index in taken), f"ran-means-ran: {taken}, {runs}"
        if self.end == "whole":
            assert len(taken) == plan.count and plan.input_ends is None, f"once: {len(taken)}"
        if self.error is not None:
            self._check_error(self.error, runs)
            if plan.option("on_error") == "return":
                self._check_end(self.error)

    def _check_end(self, error: BaseException) -> None:
        """What concerns single items is in their places, and has ended nothing.

        If a chunk may run twice, its error is the worst of its attempts, not the one that ends the map."""
        if self.plan.option("idempotent"):
            return
        in_place = isinstance(error, _OF_ITEMS) and not isinstance(error, lambdamap.ConfigError)
        if isinstance(error, lambdamap.DeadlineError):
            in_place = self.late_after == FOR_EVER_S
        assert not in_place, f"one-item: {error!r}"

    def _check_error(self, error: BaseException, runs: list[int]) -> None:
        known = lambdamap.failure(error)
        at = self.plan.input_ends
        if isinstance(error, LookupError) and error.args[:1] == ("input",):
            assert error.args == ("input", self.number, at), f"own-reply: {error!r}"
            assert sorted(self.taken) == list(range(at or 0)), f"order: {error!r}, {self.taken}"
        elif known is None:
            assert isinstance(error, CancelledError), f"once: {error!r}"
        if known is None:
            return
        blamed, never, partial = set(known.indices), set(known.not_run), set(known.partial)
        taken = set(self.taken)
        once = not (
            blamed & (taken | partial) or taken & partial or never & (taken | partial | blamed)
        )
        assert once, f"once: {taken} were taken, {known}"
        assert max(blamed | never | partial, default=-1) < len(runs), f"once: {known}"
        places = {index: self.place(result) for index, result in known.partial.items()}
        assert all(index == place for index, place in places.items()), f"own-reply: {known.partial}"
        assert not any(runs[index] for index in never), f"not-means-not: {known}, {runs}"
        self._check_claims(error, known)
        kinds = [dict(self.plan.special).get(index, "good") for index in blamed]
        in_place = kinds in (["bad"], ["flaky"], ["unlucky"], ["unsendable"]) and known.ran == "RAN"
        if in_place and self.plan.ordered and not isinstance(error, lambdamap.WorkerError):
            assert len(taken) == min(blamed), f"order: {error!r} after {len(taken)}"

    def check_calm(self) -> None:
        """Nothing has gone wrong beside what the items do themselves."""
        kinds = {kind for _, kind in self.plan.special} - {"large"}
        if self.plan.option("retries"):
            kinds -= {"unlucky"}
        limited = self.plan.option("timeout") or self.plan.option("invocation_timeout")
        if not kinds and not limited and self.plan.input_ends is None:
            assert self.end == "whole", f"complete: {self.error!r}"


@dataclass
class _Calls(_Flight):
    """The same for the calls of an executor: each ends by itself. "close" cancels those
    that wait, "abort" also those that run, and "abandon" each future that can be."""

    futures: list[Future[Any]] = field(default_factory=list)

    def _open(self) -> None:
        options = {**self.simulation.options, **dict(self.plan.options)}
        del options["progress"]
        self.results = lambdamap.LambdaExecutor(**options)
        self.futures = [self.results.submit(work, item) for item in self._items()]
        self.map_id = self.simulation.maps

    def _done(self) -> int:
        return sum(future.done() for future in self.futures)

    def take(self, count: int) -> None:
        if self.results is None and not self.end:
            self._open()
        wanted = min(self.plan.count, self._done() + count)
        while self._done() < wanted:
            assert self.simulation.now < FOR_EVER_S, f"progress: {self.futures}"
            self.simulation.turn(self.results)
        if wanted == self.plan.count and not self.end:
            self.results.shutdown()
            self.simulation.turn(self.results)
            for future in self.futures:
                error = None if future.cancelled() else future.exception()
                if error is not None:
                    _forget_frames(error)
            self._ends("whole")

    def close(self) -> None:
        if self.results is not None and not self.end:
            self.results.shutdown(wait=False, cancel_futures=True)

    def abandon(self) -> None:
        for future in self.futures:
            future.cancel()

    def abort(self) -> None:
        if self.results is not None and not self.end:
            self.results.abort(0.0)

    def check(self) -> None:
        special = dict(self.plan.special)
        for index, future in enumerate(self.futures):
            runs, kind = RUNS[self.number, index], special.get(index, "good")
            assert future.done(), f"once: {index}, {future}"
            once = runs <= self._most_runs(index) or self.plan.option("idempotent")
            assert once, f"at-most-once: {index}, {runs}"
            if future.cancelled():
                assert runs == 0, f"not-means-not: {index} was cancelled"
                continue
            error = future.exception()
            if error is None:
                assert self.place(future.result()) == index, f"order: {index}, {future}"
                assert runs, f"ran-means-ran: {index}, {future}"
                continue
            known = lambdamap.failure(error)
            if known is None:
                assert isinstance(error, CancelledError), f"once: {error!r}"
                continue
            assert known.ran != "NOT" or not runs, f"not-means-not: {index}, {error!r}"
            ran = runs or self._refused(known)
            assert known.ran != "RAN" or ran, f"ran-means-ran: {index}, {error!r}"
            if error.args[:1] == ("asked for",):
                mine = error.args == ("asked for", self.number, index) and kind in _RAISE
                assert mine, f"own-reply: {error!r} of {index}"

    def check_calm(self) -> None:
        special = dict(self.plan.special)
        for index, future in enumerate(self.futures):
            good = (
                ("good", "large", "unlucky") if self.plan.option("retries") else ("good", "large")
            )
            if special.get(index, "good") in good and not self.plan.option("invocation_timeout"):
                assert future.exception() is None, f"complete: {index}, {future}"


def _forget_frames(first: BaseException) -> None:
    """They would keep the map."""
    errors: list[BaseException | None] = [first]
    seen = set()
    while errors:
        error = errors.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = None
            errors += [error.__cause__, error.__context__]


# --- random plans ---------------------------------------------------------------------------------


class _Choices:
    """Random choices, each one of a sequence, of which the first is the simplest."""

    def __init__(self, choose: Callable[[Sequence[Any]], Any]) -> None:
        self.of = choose

    def rarely(self, values: Sequence[Any], otherwise: Any = None) -> Any:
        return self.of(values) if self.of(range(3)) == 2 else otherwise

    def several(self, most: int, make: Callable[[], Any]) -> tuple[Any, ...]:
        return tuple(make() for _ in range(self.of(range(most + 1))))


_SECONDS = (0.01, 0.1, 0.4, 1.0, 3.0, 20.0)
_KINDS = ("bad", "flaky", "unlucky", "large", "huge", "unsendable", "unpackable")


def _a_map(choices: _Choices, story: bool) -> Map:
    of, rarely = choices.of, choices.rarely
    count, what = of(range(25)), of(("map", "map", "map", "payloads", "calls"))
    options = {
        "idempotent": story or of((False, True)),
        "chunksize": of(("auto", 1, 2, 3, 6, 24)),
        "max_concurrency": 1 if story else of((1, 1, 2, 4, None)),
        "on_error": of(("raise", "raise", "return")),
        "timeout": rarely(_SECONDS),
        "invocation_timeout": rarely(_SECONDS),
        "buffersize": rarely(range(1, 13)),
        "max_attempts": of((None, 1, 2, 5)),
        "max_inflight_bytes": rarely((10_000, 1000)),
        "codec": rarely(("json",)),
        "compression": of((False, True)),
        "retries": of((None, None, 1, 3)),
    }
    if what != "map":
        for name in ("chunksize", "codec", "buffersize", "timeout", "on_error"):
            if what == "calls" or name in ("chunksize", "codec"):
                del options[name]
    place = range(max(1, count))
    special = choices.several(3, lambda: (of(place), of(_KINDS))) if of(range(2)) else ()
    return Map(
        count,
        special=tuple(dict(special).items()),
        seconds=rarely(_SECONDS, 0.0),
        payloads=what == "payloads",
        calls=what == "calls",
        ordered=what != "map" or of((True, False)),
        input_ends=rarely(place) if what != "calls" and count and of(range(3)) == 2 else None,
        sized=of((True, False)),
        options=tuple((name, value) for name, value in options.items() if value is not None),
    )


def _a_plan(choices: _Choices) -> Plan:
    """Return a plan. It has a few kinds of faults, so that they meet each other; or it is the story of
    a chunk whose reply is lost, which is answered in part then, and whose rest is refused."""
    of, rarely = choices.of, choices.rarely
    story = of((False, True))
    maps = tuple(_a_map(choices, story) for _ in range(1 if story else of((1, 2, 3))))
    which = range(len(maps))

    def step() -> tuple[Any, ...]:
        name = of(("take", "take", "sleep", "close", "abandon", "abort", "interrupt", "renew"))
        if name == "take":
            return name, of(which), of(range(13))
        if name == "renew":
            return (name,)
        return name, of(_SECONDS if name in ("sleep", "interrupt") else which)

    def fault(group: dict[str, Any]) -> str:
        return str(of(tuple(group)))

    if story:
        faults = [fault(group) for group in (LOST, LESS, NOT_RUN) for _ in range(of((1, 1, 2)))]
    else:
        kinds = [fault(of((LATE, LESS, LOST, NOT_RUN))) for _ in range(of((0, 2, 3, 4)))]
        faults = [of(kinds) for _ in range(of(range(13)) if kinds else 0)]
    network = {
        "latency_s": rarely((0.02, 0.2)),
        "refuse_one_in": rarely((20, 10, 5, 2)),
        "black_hole_one_in": rarely((20, 10, 5, 2)),
        "small_one_in": rarely((20, 5, 1)),
    }
    troubled = of(range(2))
    return Plan(
        of(range(1 << 32)),
        maps,
        steps=choices.several(6, step) if of(range(2)) else (),
        faults=tuple(faults),
        concurrency=of((1000, 1000, 1, 2)),
        function_timeout=of((900.0, 900.0, 3.0, 1.0)),
        lifetime=rarely(_SECONDS, 0.0) if troubled else 0.0,
        renewed=rarely(_SECONDS[3:], 0.0) if troubled else 0.0,
        network=tuple((name, value) for name, value in network.items() if value)
        if troubled
        else (),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return a strategy of plans."""
    return _a_plan(_Choices(lambda values: draw(st.sampled_from(values))))


def explore(count: int, first: int = 1) -> int:
    """Play so many plans, made of this seed and those after it: three times as fast as hypothesis.

    Prints the first promise that is broken, with seed and plan. Returns the number of plans played."""
    for made in range(first, first + count):
        plan = _a_plan(_Choices(random.Random(made).choice))
        try:
            play(plan)
        except Exception as error:
            print(error if isinstance(error, AssertionError) else repr(error))
            print(f"{plan}  # {made}")
            return made - first
    return count


if __name__ == "__main__":
    wanted, *seeds = map(int, sys.argv[1:])
    sys.exit(explore(wanted, *seeds) < wanted)
