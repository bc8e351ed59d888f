"""f's exceptions come out of a map as builtin map would raise them, and `failure` knows the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

import lambdamap
import tasks
from travelling import raised

pytestmark = pytest.mark.usefixtures("local")

KINDS = ("file", "json", "command", "chain", "frozen", "closed", "own")


def state(error: BaseException) -> Any:
    own = {name: value for name, value in vars(error).items() if name != "__notes__"}
    names = ("errno", "strerror", "filename", "filename2")
    cause = error.__cause__ and state(error.__cause__)
    context = error.__context__ and state(error.__context__)
    fields = [getattr(error, name, None) for name in names]
    return type(error), error.args, str(error), own, fields, cause, context


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_as_builtin_map_raises_them(kind: str, on_error: str) -> None:
    wanted = raised(lambda: list(map(tasks.fail_as, [kind])))
    results = lambdamap.map(tasks.fail_as, [kind], on_error=on_error)
    found: Any = next(results) if on_error == "return" else raised(lambda: next(results))
    assert state(found) == state(wanted)
    known = lambdamap.failure(found)
    assert known is not None
    assert (known.indices, known.ran) == ((0,), "RAN")
    assert known.remote_type == f"{type(wanted).__module__}.{type(wanted).__qualname__}"
    assert "fail_as" in known.remote_traceback
    if sys.version_info >= (3, 11):
        assert "remote traceback" in "".join(traceback.format_exception(found))


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_futures(kind: str) -> None:
    wanted = raised(lambda: tasks.fail_as(kind))
    with lambdamap.LambdaExecutor(backend="inline") as executor:
        found: Any = executor.submit(tasks.fail_as, kind).exception()
        assert executor.submit(tasks.square, 3).result() == 9
    assert state(found) == state(wanted)
    assert lambdamap.failure(found) is not None


def test_those_that_steer_stay_remote() -> None:
    with pytest.raises(lambdamap.RemoteError, match="KeyboardInterrupt: f's own") as caught:
        lambdamap.my_map(tasks.fail_as, ["steer"])
    assert caught.value.remote_type == "builtins.KeyboardInterrupt"
    assert lambdamap.failure(caught.value).indices == (0,)  # type: ignore[union-attr]


def test_as_plain_values() -> None:
    """Items and results, without pickles."""
    errors = [raised(lambda kind=kind: tasks.fail_as(kind)) for kind in KINDS]  # type: ignore[misc]
    found = lambdamap.my_map(tasks.identity, errors, 2, allow_pickle=False)
    assert [state(error) for error in found] == [state(error) for error in errors]
    assert all(lambdamap.failure(error) is None for error in found)


def test_a_base_class_catches_what_cannot_be_rebuilt() -> None:
    with pytest.raises(ValueError, match="item 0: ValueError: <unlocked") as caught:
        lambdamap.my_map(tasks.fail_with_a_lock, [1])
    assert isinstance(caught.value, lambdamap.RemoteError)
    assert caught.value.indices == (0,)
    assert "fail_with_a_lock" in caught.value.remote_traceback


# --- what else ends a map ---------------------------------------------------------------------------


class InputError(BaseException):
    pass


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, InputError])
def test_the_inputs_own(kind: type[BaseException]) -> None:
    """Also what a signal's handler raises: the finished results are not lost."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise kind("no more")

    with pytest.raises(kind) as caught:
        lambdamap.my_map(tasks.square, items(), 1, backend="inline")
    known = lambdamap.failure(caught.value)
    assert known is not None and known.partial == {0: 0, 1: 1, 2: 4}
    if kind is LookupError:
        assert vars(caught.value)["__notes__"] == [
            "lambdamap: finished results are in lambdamap.failure(error).partial"
        ]
    assert caught.value.args == ("no more",)

    with pytest.raises(kind) as caught:
        list(lambdamap.map(tasks.square, items(), chunksize=1, backend="inline"))
    known = lambdamap.failure(caught.value)
    assert known is not None and set(known.partial.items()) <= {(0, 0), (1, 1), (2, 4)}


def test_partial_of_an_exception_that_takes_no_attribute() -> None:
    def items() -> Iterator[str]:
        yield from ("", "closed")

    with pytest.raises(tasks.NoAttributesError) as caught:
        lambdamap.my_map(lambda kind: kind and tasks.fail_as(kind), items(), 1)
    known = lambdamap.failure(caught.value)
    assert known is not None and (known.indices, known.partial) == ((1,), {0: ""})


# --- classes of the script --------------------------------------------------------------------------

SCRIPT = """
    import json, sys
    sys.path[:0] = {path!r}
    import lambdamap

    lambdamap.configure(backend="local", progress=False, allow_pickle={allow_pickle})

    class Gone(Exception):
        def __init__(self, x, why="none"):
            super().__init__(x)
            self.why = why

    class Outer:
        class Over(BaseException):
            pass

    Over = Outer.Over

    class Unused(BaseException):
        pass

    def inner(x):
        if x < 0:
            raise Over(x)
        raise Gone(x, why="far")

    def outer(x):
        try:
            return list(lambdamap.map(inner, [x]))
        except Gone as error:
            return [error.args[0], error.why, lambdamap.failure(error).indices[0]]
        except Over as error:
            return type(error).__name__

    def again(x):
        lambdamap.my_map(inner, [x])

    def local(x):
        class Within(Exception):
            pass
        def fails(x):
            raise Within(x)
        try:
            lambdamap.my_map(fails, [x])
        except Within as error:
            return list(error.args)

    found = [lambdamap.my_map(outer, [7, -1], 1), local(3)]
    for function in (inner, again):
        for x in (5, -5):
            try:
                lambdamap.my_map(function, [x])
            except (Gone, Over) as error:
                found.append([type(error) in (Gone, Over), error.args[0], getattr(error, "why", "")])
    print(json.dumps(found))
"""


@pytest.mark.parametrize("allow_pickle", [True, False])
def test_classes_of_the_script(allow_pickle: bool) -> None:
    text = textwrap.dedent(SCRIPT).format(path=sys.path, allow_pickle=allow_pickle)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [[7, "far", 0], "Over"],
        [3],
        [True, 5, "far"],
        [True, -5, ""],
        [True, 5, "far"],
        [True, -5, ""],
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_groups_meet_except_star() -> None:
    space: dict[str, Any] = {"lambdamap": lambdamap, "tasks": tasks}
    exec(
        textwrap.dedent("""
        def check(row):
            raise ExceptionGroup("row", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])])

        found = []
        try:
            lambdamap.my_map(check, [1])
        except* ValueError as group:
            found.append(group.exceptions[0].args)
        except* KeyError as group:
            found.append(group.exceptions[0].exceptions[0].args)
        """),
        space,
    )
    assert space["found"] == [("a",), ("b",)]


def test_a_context_of_the_caller() -> None:
    """Raised inside an except block, which would set its context: f's stays, and the caller's comes
    before that, as with builtin map."""

    def fail(mapping: Any) -> Any:
        try:
            raise RuntimeError("the caller's")
        except RuntimeError:
            return raised(lambda: list(mapping(tasks.fail_as, ["chain"])))

    wanted, found = fail(map), fail(lambdamap.my_map)
    assert state(found) == state(wanted)
    assert repr(found.__context__.__context__) == """RuntimeError("the caller's")"""
