"""Functions that tests map, importable here and, through the inherited path, in the sandboxes."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any


def square(x: Any) -> Any:
    return x * x


def identity(x: Any) -> Any:
    return x


def blank(size: int) -> bytes:
    return bytes(size)


def hexadecimal(size: int) -> str:
    return os.urandom(size // 2).hex()


def spaces(size: int) -> str:
    return " " * size


def size(x: Any) -> int:
    return len(x)


def add(x: int, y: int = 0) -> int:
    return x + y


def reciprocal(x: float) -> float:
    return 1 / x


def pair(x: Any) -> tuple[Any, Any]:
    return x, x


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def exit_at_five(x: int) -> int:
    if x == 5:
        os._exit(3)
    return x


def noted(path: str, bad: tuple[int, ...], x: int) -> int:
    """Square x and note the run in a file; fail for some, unless the file PATH.mended exists."""
    with open(path, "a") as file:
        file.write(f"{x}\n")
    if x in bad and not os.path.exists(f"{path}.mended"):
        raise ValueError(x)
    return x * x


def fail_at_seven(x: int) -> int:
    if x == 7:
        raise ValueError("seven is out", x)
    return x


class OddError(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def fail_oddly(x: int) -> int:
    raise OddError(x, x)


def fail_with_a_lock(x: int) -> int:
    raise ValueError(threading.Lock())


def stop(x: int) -> int:
    raise StopIteration(x)


def leave(x: int) -> int:
    sys.exit(x)


def die(code: int) -> None:
    os._exit(code)


def pid(_: Any) -> int:
    return os.getpid()


def python(_: Any) -> tuple[int, int]:
    return sys.version_info[:2]


def say(x: Any) -> Any:
    print("saying", x)
    return x


def nested(n: int) -> list[int]:
    import lambdamap

    return lambdamap.my_map(square, range(n), 2)


def record(item: tuple[str, int]) -> int:
    """Write a line to a file, so that a test can count runs."""
    path, number = item
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return number


def record_slowly(item: tuple[str, int]) -> int:
    number = record(item)
    time.sleep(20)
    return number


def handler(event: Any, context: Any) -> Any:
    """A handler that knows nothing about lambdamap."""
    print("handling", event)
    if event == {"raise": True}:
        raise ValueError("boom")
    if isinstance(event, dict) and "exit" in event:
        os._exit(event["exit"])
    if isinstance(event, dict) and "sleep" in event:
        time.sleep(event["sleep"])
    if isinstance(event, dict) and "until" in event:
        wait_for_file(event["until"])
    if isinstance(event, dict) and "size" in event:
        return "x" * event["size"]
    return {"event": event, "left_ms": context.get_remaining_time_in_millis()}


def plain_handler(event: Any, context: Any) -> Any:
    """Return the time limit of a map in a handler that is not wrapped, in seconds."""
    from lambdamap.options import resolve

    return resolve(timeout=event).timeout


def unsendable(x: int) -> Any:
    return x if x == 1 else (y for y in ())


def megabytes(n: int) -> bytes:
    return b"x" * (n * 1_000_000)


@dataclasses.dataclass
class Point:
    x: int

    def __str__(self) -> str:
        return f"Point({self.x})"

    @classmethod
    def of(cls, x: int) -> Point:
        return cls(x)

    def moved(self, by: int) -> int:
        return self.x + by


class Sack:
    """Has no representation on the wire except a pickle."""

    def __init__(self, content: Any) -> None:
        self.content = content


def first_of(items: list[Any]) -> Any:
    return items[0]


def pid_after_a_moment(_: Any) -> int:
    time.sleep(0.1)
    return os.getpid()


def nested_joblib(n: int) -> tuple[list[int], str]:
    import joblib

    parallel = joblib.Parallel(n_jobs=2)
    found = parallel(joblib.delayed(square)(i) for i in range(n))
    return found, type(parallel._backend).__name__


def act(op: tuple[str, int]) -> int:
    """Do what an item of the property tests says: return a number, or raise."""
    kind, number = op
    if kind == "value":
        raise ValueError("asked for", number)
    if kind == "key":
        raise KeyError(number)
    if kind == "zero":
        return number // 0
    return number * 3 + 1


def risky(kind: str) -> str:
    """Return it, or fail as it says."""
    if kind == "die":
        os._exit(3)
    if kind == "raise":
        raise ValueError("asked for")
    if kind == "large":
        return "x" * 7_000_000
    return kind


def raise_at_first(folder: str, number: int, times: int) -> int:
    """Return the number, after having raised so many times; each run adds a byte to its file."""
    with open(os.path.join(folder, str(number)), "a") as file:
        file.write("x")
        file.flush()
        runs = os.path.getsize(file.name)
    if runs <= times:
        raise ValueError("attempt", runs)
    return number


def act_on_two(op: tuple[str, int], number: int) -> int:
    return act(op) + number


def wait_for_file(path: str) -> bool:
    """Return whether the file exists before a timeout."""
    ends = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < ends:
        time.sleep(0.01)
    return os.path.exists(path)


def record_for(item: tuple[str, int, float]) -> int:
    path, number, seconds = item
    time.sleep(seconds)
    return record((path, number))


def record_bytes(item: tuple[str, int, int]) -> bytes:
    path, number, size = item
    record((path, number))
    return b"x" * size


def constant_or_not(n: int) -> list[int]:
    """Return zeros, or a row with a large number, which makes the whole column wide."""
    return [0] * 1000 if n % 2 else [2**60, *range(999)]


def shout(size: int) -> bytes:
    """Return bytes, and text that takes the most space in JSON."""
    print("\N{GRINNING FACE}\x01" * 8192)
    return b"x" * size


def shout_and_fail(_: int) -> None:
    """Raise an error all parts of which are long and take the most space in JSON."""
    print("\N{GRINNING FACE}\x01" * 8192)
    raise ValueError("\N{GRINNING FACE}\x01" * 8192, "x" * 9000)


def depth_left(_: Any) -> int:
    """Return how many levels of maps inside f may run remotely."""
    from lambdamap.worker.call import depth_left

    left: int | None = depth_left.get()
    assert left is not None
    return left


def depth_of_a_map_inside(wanted: int) -> int:
    """Return the depth left to the f of a map in f, whatever it asks for; -1: that map runs inline."""
    from lambdamap.backends import remote_depth
    from lambdamap.options import resolve

    return remote_depth(resolve(depth=wanted))


RUNS: Counter[Any] = Counter()  # of `counted`, by item
_runs_lock = threading.Lock()


def counted(item: Any) -> Any:
    """Count the runs in this process; an item that ends in "bad" raises."""
    with _runs_lock:
        RUNS[item] += 1
    if item[-1] == "bad":
        raise ValueError("a bad item", item)
    return item


class Gate:
    """What `held` waits for in this process; opened when its with block is left."""

    def __init__(self) -> None:
        self.begun, self._open = threading.Event(), threading.Event()

    def __enter__(self) -> Gate:
        self.begun.clear()
        self._open.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()

    def wait(self) -> None:
        self.begun.set()
        assert self._open.wait(60)


HELD = Gate()


def held(x: Any) -> Any:
    HELD.wait()
    return x


def held_at_one(x: int) -> int:
    return held(x) if x == 1 else x


@functools.cache
def remembered(x: Any) -> Any:
    return x


def settings_of(item: Any, settings: list[str]) -> list[list[str]]:
    return [list(settings)]


def mark_and_wait(path: str, result: Any = None) -> Any:
    """Start, create a file next to the given one, and wait until the given one exists."""
    open(f"{path}.{os.getpid()}.{threading.get_ident()}.begun", "w").close()
    assert wait_for_file(path)
    return result


def meet(mine: str, other: str) -> str:
    """Return when another call is running at the same time."""
    open(mine, "w").close()
    assert wait_for_file(other)
    return mine


class QuotaError(Exception):
    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int
    why: str = ""


class NoAttributesError(Exception):
    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class OwnError(BaseException):
    """Not a subclass of Exception."""


def fail_as(kind: str) -> None:
    """Raise one of many exceptions, by name."""
    if kind == "file":
        Path("missing/table.csv").read_text()
    if kind == "json":
        json.loads("{bad")
    if kind == "command":
        raise subprocess.CalledProcessError(3, ["tool"], "half done", "disk full")
    if kind == "chain":
        try:
            raise KeyError("key")
        except KeyError as error:
            raise QuotaError("slow down", status=429) from error
    if kind == "steer":
        raise KeyboardInterrupt("f's own")
    raise {"frozen": FrozenError, "closed": NoAttributesError, "own": OwnError}[kind](7)


class Unreadable:
    """Its pickle cannot be read."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


class Leaving:
    """Reading its pickle ends the program."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return sys.exit, (self.code,)


class Failing:
    """Reading its pickle fails in Python code."""

    def __reduce__(self) -> Any:
        return fail_at_seven, (7,)


def failing(_: Any) -> Failing:
    return Failing()


def unreadable(_: Any) -> Unreadable:
    return Unreadable()


def leaving(code: int) -> Leaving:
    return Leaving(code)


def sack(content: Any) -> Sack:
    return Sack(content)


def interrupt(_: Any) -> None:
    raise KeyboardInterrupt
