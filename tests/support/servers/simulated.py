"""A Lambda in a simulated network: maps run in one thread, in simulated time, the same for the same seed.

`Simulation` replaces the dispatcher of this process by one whose threads, connections and clock are
simulated (tests/sim/), and the clocks that lambdamap reads in Python. A request that is complete is
given to the next *fault*, a step of `scripted` or of `FAULTS`; those that run the function do it by the
worker's own code, at once, and their reply leaves when so much simulated time has passed.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from types import SimpleNamespace, TracebackType
from typing import Any
from unittest import mock

import lambdamap.worker.chunk
import lambdamap.worker.deadline
import simulator
from chunk_faults import ChunkFaults
from lambdamap import ambient
from lambdamap.backends import route
from lambdamap.calls import lane, pump
from lambdamap.flight import engine, feed, retrying
from lambdamap.flight import open as opening
from lambdamap.worker.call import run_request
from scripted import Request, aws_error, fin, function_error, plain_reply, reset, throttle

__all__ = [
    "FAULTS",
    "LATE",
    "LESS",
    "LOST",
    "MILD",
    "NOT_RUN",
    "RUNS",
    "SIZES",
    "Simulation",
    "work",
]

RUNS: Counter[tuple[int, int]] = Counter()  # of `work`, by map and index
RESULTS_BYTES = 4000  # of one reply; a worker's own limit takes too long to reach
SIZES = {"large": 1200, "huge": 5000}  # of results, by kind
_QUIET_S = 10.0  # in which what was sent has arrived
_URL = "http://192.0.2.1:9000"


class _Clock:
    """Python's clocks, simulated. A worker's are ahead by the time that f has taken so far."""

    def __init__(self) -> None:
        self.network: Any = None  # the module _simnet
        self.ahead = 0.0

    def monotonic(self) -> float:
        return float(self.network.now()) + self.ahead

    perf_counter = monotonic

    def time(self) -> float:
        return float(self.network.unix_time())


_clock = _Clock()


@functools.cache
def _modules() -> tuple[Any, Any]:
    path = simulator.extension()
    _clock.network = simulator.load(path, "_simnet")
    net = simulator.load(path, "lambdamap._net")
    return _clock.network, net


def work(item: list[Any]) -> Any:
    """What simulated maps map: it takes so many simulated seconds."""
    number, index, kind, seconds = item
    RUNS[number, index] += 1
    _clock.ahead += seconds
    first = RUNS[number, index] == 1
    if kind == "bad" or (kind == "flaky" and not first) or (kind == "unlucky" and first):
        raise ValueError("asked for", number, index)
    if kind == "unsendable":
        return iter(())
    return [number, index, "x" * SIZES.get(kind, 0)]


class Connection:
    """The server's end of a connection, for the steps of `scripted`. What a step does after it has waited
    happens so much later."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.simulation = simulation
        self.number = number
        self.buffer = b""
        self.fault = ""  # of the request that is being read
        self.later = 0.0
        self.lost = False

    def _do(self, call: Callable[..., None], *args: object) -> None:
        if self.later == 0.0:
            call(self.number, *args)
        else:
            self.simulation.after(self.later, lambda: call(self.number, *args))

    def send(self, data: bytes) -> bool:
        self._do(self.simulation.network.send, data)
        return True

    def wait(self, seconds: float) -> bool:
        self.later += seconds
        return True

    def close(self) -> None:
        self._do(self.simulation.network.close, False)

    def reset(self) -> None:
        self._do(self.simulation.network.close, True)


class _Context:
    """Lambda's context object."""

    def __init__(self, seconds: float) -> None:
        self._ends = _clock.ahead + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - _clock.ahead) * 1000)


class Simulation:
    """A simulated network with a Lambda in it, for the time of a with block.

    Parameters
    ----------
    seed
        Makes every choice of the network and the scheduler.
    faults
        Names in `FAULTS`, one for each request in the order of their first bytes; then "good".
    concurrency
        Runs at once; more are throttled.
    function_timeout
        Seconds after which Lambda ends a run.
    lifetime, renewed
        Credentials expire after so many seconds (0: never); the environment gets others as often.
    network
        Options of `_simnet.begin`.
    """

    _warm: bool | None = None  # whether `_net` has the buffers that it keeps

    def __init__(
        self,
        seed: int,
        faults: Iterable[str] = (),
        *,
        concurrency: int = 1000,
        function_timeout: float = 900.0,
        lifetime: float = 0.0,
        renewed: float = 0.0,
        network: dict[str, Any] | None = None,
    ) -> None:
        self.network, self._net = _modules()
        self.history = ""
        self.requests = 0
        self._seed = seed
        self._faults = iter(faults)
        self._concurrency = concurrency
        self._function_timeout = function_timeout
        self._lifetime, self._renewed = lifetime, renewed
        self._options = network or {}
        self._connections: dict[int, Connection] = {}
        self._running = 0
        self.maps = 0  # opened so far; also the id of the last one
        self.handled: set[tuple[int, int, int]] = set()  # map, first item, items: of requests
        self._patches = contextlib.ExitStack()
        self._broken: BaseException | None = None

    def __enter__(self) -> Simulation:
        if Simulation._warm is None:
            Simulation._warm = False
            with Simulation(0, ["too large"]) as first:
                items = [[0, index, "good", 0.0] for index in range(100)]
                list(lambdamap.map(work, items, chunksize=100, **first.options))
            Simulation._warm = True
        RUNS.clear()
        gc.disable()  # or it would free a map when it likes
        gc.freeze()  # `left` looks only at what comes
        self._patches.callback(gc.enable)
        self._patches.callback(gc.unfreeze)
        self.network.begin(self._seed, self, **self._options)
        replaced: list[tuple[Any, str, Any]] = [
            (lambdamap.worker.chunk, "time", _clock),
            (lambdamap.worker.chunk, "_RESULTS_BYTES", RESULTS_BYTES),
            (route, "time", _clock),
            (opening, "uuid", SimpleNamespace(uuid4=self._uuid)),
            (pump, "uuid", SimpleNamespace(uuid4=self._uuid)),
            (pump.Pump, "_start", lambda pump: None),  # `turn` does what its thread would do
            *((it, "monotonic", _clock.monotonic)
              for it in (ambient, engine, feed, lane, pump, retrying, lambdamap.worker.deadline)),
            (retrying, "random", lambda: 0.5),
        ]  # fmt: skip
        for where, name, other in replaced:
            self._patches.enter_context(mock.patch.object(where, name, other))
        # Not imported by now, perhaps.
        self._patches.enter_context(mock.patch.object(lambdamap, "_net", self._net, create=True))
        self._patches.enter_context(mock.patch.dict("sys.modules", {"lambdamap._net": self._net}))
        self._patches.enter_context(mock.patch.dict(os.environ))
        route._forget()
        self.renew()
        if self._renewed:
            self.after(self._renewed, self._renew_again)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        route._forget()
        self._net.shutdown(10.0)
        self.network.sleep(_QUIET_S)
        self.history, left = self.network.end()
        self._patches.close()
        if error is None:
            if self._broken is not None:
                raise self._broken
            assert not any(left.values()) or not self._warm, f"nothing-left: {left}"

    def _uuid(self) -> Any:
        self.maps += 1
        return SimpleNamespace(hex=f"{self.maps:032x}")

    @property
    def now(self) -> float:
        return float(self.network.now())

    @property
    def options(self) -> dict[str, Any]:
        """Options of maps that go there."""
        return {
            "backend": "aws",
            "function": "f",
            "region": "eu-central-1",
            "endpoint_url": _URL,
            "progress": False,
        }

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it so much later. What it raises is raised at the end of the simulation."""

        def guarded() -> None:
            try:
                call()
            except BaseException as error:
                self._broken = self._broken or error

        self.network.at(self.now + seconds, guarded)

    def turn(self, executor: lambdamap.LambdaExecutor) -> None:
        """Do what the executor's thread does in a second at most, or until a reply comes."""
        found = executor._pump._turn()
        if found is None:  # then the thread ends
            executor._pump._lanes.clear()
        elif found[0]:
            _, *watched = found[0]  # the first is for other threads to wake it
            self.network.wait(watched, 1.0)

    def renew(self) -> None:
        """Put other credentials into the environment; they are named after now."""
        os.environ["AWS_ACCESS_KEY_ID"] = f"AKID{int(self.now * 1000)}"
        os.environ["AWS_SECRET_ACCESS_KEY"] = "secret"
        if self._lifetime:
            ends = datetime.fromtimestamp(_clock.time() + self._lifetime, timezone.utc)
            os.environ["AWS_CREDENTIAL_EXPIRATION"] = ends.isoformat()

    def _renew_again(self) -> None:
        self.renew()
        self.after(self._renewed, self._renew_again)

    def left(self) -> dict[str, int]:
        """What the dispatcher holds when nothing has happened for a while."""
        self.network.sleep(_QUIET_S)
        if self._broken is not None:
            raise self._broken
        gc.collect()  # an exception and a frame that holds it may hold a map
        found = self._net.debug_state()
        return {name: found[name] for name in ("maps", "used_bytes", "in_flight")}

    # --- the server: called by the network

    def accepted(self, number: int) -> None:
        self._connections[number] = Connection(self, number)

    def lost(self, number: int) -> None:
        self._connections[number].lost = True

    def received(self, number: int, data: bytes) -> None:
        connection = self._connections[number]
        try:
            if not connection.buffer:
                connection.fault = next(self._faults, "good")
            connection.buffer += data
            cut = _CUT_REQUESTS.get(connection.fault)
            if cut is not None and len(connection.buffer) >= cut[0]:
                self.network.record(f"connection {number}: {connection.fault}")
                self.network.close(number, cut[1])
            elif (request := self._complete(connection)) is not None:
                connection.later = 0.0
                self._serve(connection, request)
        except BaseException as error:
            self._broken = self._broken or error

    def _complete(self, connection: Connection) -> Request | None:
        head, end, rest = connection.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if not end or len(rest) < int(headers["content-length"]):
            return None
        connection.buffer = b""
        method, target, _ = first.split(" ")
        self.requests += 1
        return Request(self.requests, connection.number, method, target, headers, rest, self.now)

    def _serve(self, connection: Connection, request: Request) -> None:
        about = request.json().get("lambdamap")
        text = "a payload"
        if about is not None:
            text = f"chunk {about['chunk']}+{about['items']} of map {int(about['map'], 16)}"
        key = int(request.headers["authorization"].partition("AKID")[2].partition("/")[0])
        fault = connection.fault
        if self._lifetime and self.now - key / 1000 > self._lifetime:
            fault = "expired"
        elif self._running >= self._concurrency:
            fault = "throttle"
        self.network.record(f"connection {connection.number}: {text}: {fault}")
        FAULTS[fault](connection, request)

    def run(self, connection: Connection, request: Request) -> bytes:
        """Run a request's items and return the reply, to be sent when they have taken their time."""
        before = RUNS.copy()
        _clock.ahead = 0.0
        reply = self._reply(request.json())
        took, _clock.ahead = min(_clock.ahead, self._function_timeout), 0.0
        ran = sorted(key for key in RUNS if RUNS[key] != before[key])
        about = request.json().get("lambdamap")
        if about is not None:
            first, count = about["chunk"], about["items"]
            self.handled.add((int(about["map"], 16), first, count))
            own = about["calls"] != "item" or all(first <= at < first + count for _, at in ran)
            assert own, f"own-request: {ran} ran for {first}+{count}"
        self.network.record(f"connection {connection.number}: ran {ran} in {took} s")
        self._running += 1
        connection.wait(took)
        self.after(connection.later, self._ended)
        return reply

    def _reply(self, body: Any) -> bytes:
        """Return the reply of a worker, or to a payload, which is an item of `work`."""
        error = ""
        if "lambdamap" in body:
            answer: Any = run_request(body, _Context(self._function_timeout))
        else:
            try:
                answer = work(body["item"])
                json.dumps(answer)
            except Exception as raised:
                error = type(raised).__name__
        if _clock.ahead > self._function_timeout:
            error = "Sandbox.Timedout"
        headers = {"x-amzn-RequestId": "request"}
        if error:
            answer = {"errorType": error, "errorMessage": "an error of the function"}
            headers["X-Amz-Function-Error"] = "Unhandled"
        return plain_reply(json.dumps(answer).encode(), headers=headers)

    def _ended(self) -> None:
        self._running -= 1


# --- faults -------------------------------------------------------------------------------------


_chunk = ChunkFaults(lambda connection, request: connection.simulation.run(connection, request))


def _misrouted(connection: Any, request: Request) -> None:
    reply = connection.simulation.run(connection, request)
    if "lambdamap" in request.json():
        reply = reply.replace(request.envelope["map"].encode(), b"f" * 32)
    connection.send(reply)


def _slow(connection: Any, request: Request) -> None:
    reply = connection.simulation.run(connection, request)
    connection.send(reply[:30])
    connection.wait(1.5)
    connection.send(reply[30:])


def _silent(connection: Any, request: Request) -> None:
    connection.simulation.run(connection, request)


_RAISED = {"errorType": "ValueError", "errorMessage": "boom", "stackTrace": []}
_GARBAGE = b"HTTP/1.1 200 OK\r\nbroken\x00\r\n\r\n"

# In groups: the worker is not reached, its reply is lost, it does less than it was asked, it does it late.
NOT_RUN: dict[str, Any] = {
    "throttle": throttle(),
    "rate": throttle("FunctionInvocationRateLimitExceeded"),
    "service": aws_error(500, "ServiceException"),
    "pending": aws_error(409, "ResourceConflictException"),
    "expired": aws_error(403, "ExpiredTokenException"),
    "denied": aws_error(403, "AccessDeniedException"),
    "fin": fin(),
    "reset": reset(),
}
_CUT_REQUESTS = {
    "cut at 1": (1, True),
    "cut in the head": (200, False),
    "cut in the body": (500, True),
}
NOT_RUN |= dict.fromkeys(_CUT_REQUESTS, _chunk.good)  # of a request that is shorter
LOST: dict[str, Any] = {
    "fin after run": _chunk.after_run(fin()),
    "reset after run": _chunk.after_run(reset()),
    "proxy after run": _chunk.after_run(aws_error(502, None)),
    "raised after run": _chunk.after_run(function_error(_RAISED)),
    "garbage after run": _chunk.after_run(fin(_GARBAGE)),
    "cut": _chunk.cut,
    "cut in head": _chunk.cut_in_head,
    "cut in part": _chunk.in_part(_chunk.cut),
    "misrouted": _misrouted,
}
LESS: dict[str, Any] = {"in part": _chunk.in_part(_chunk.good), "too large": _chunk.too_large}
LATE: dict[str, Any] = {"good": _chunk.good, "slow": _slow, "silent": _silent}
FAULTS = NOT_RUN | LOST | LESS | LATE
MILD = ("good", "in part", "too large", "throttle", "rate", "slow")  # a map gets over them
