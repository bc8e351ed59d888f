"""_codec.pyi and _net.pyi against the extensions: names, signatures, and the types of real values."""

from __future__ import annotations

import collections
import fractions
import inspect
import json
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import tasks
from driver import HANG_S, open_map, open_target, until
from lambdamap import _codec, _net
from scripted import Server, aws_error, fin, reply, run, throttle
from worker_requests import request

MODULES = {"_codec": _codec, "_net": _net}
PACKAGE = Path(__file__).parents[2] / "pylambdamap" / "lambdamap"


@pytest.mark.parametrize("name", MODULES)
def test_names_and_signatures(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--concise", f"lambdamap.{name}"],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stdout


# --- what a stub declares ------------------------------------------------------------------------


def stub(name: str) -> types.SimpleNamespace:
    """A stub, run as if it were a module."""
    names: dict[str, Any] = {}
    source = (PACKAGE / f"{name}.pyi").read_text()
    exec(compile(source, f"{name}.pyi", "exec"), names)
    return types.SimpleNamespace(**names)


STUBS = {name: stub(name) for name in MODULES}


def hints(function: Callable[..., object]) -> dict[str, Any]:
    """Types of a function's parameters and of what it returns."""
    return typing.get_type_hints(function)


def declared(name: str) -> dict[str, Any]:
    """What each function, method and property of a stub returns, by its dotted name."""
    found: dict[str, Any] = {}
    for owner, value in vars(STUBS[name]).items():
        if isinstance(value, types.FunctionType) and value.__code__.co_filename == f"{name}.pyi":
            found[owner] = hints(value)["return"]
        elif isinstance(value, type) and value.__module__ == "builtins":
            for inner, part in vars(value).items():
                function = part.fget if isinstance(part, property) else part
                if isinstance(function, types.FunctionType) and inner != "__init__":
                    found[f"{owner}.{inner}"] = hints(function)["return"]
    return found


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def is_of(value: object, hint: Any) -> bool:
    """Whether a value is of a type of a stub, whose classes are those of the module."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if len(alternatives(hint)) > 1:
        return any(is_of(value, one) for one in alternatives(hint))
    if hint is Any or hint is object:
        return True
    if hint in (None, type(None)):
        return value is None
    if origin is typing.Literal:
        return value in inner
    if origin is tuple:
        return type(value) is tuple and list(map(is_of, value, inner)).count(True) == len(inner)
    if origin is dict:
        return type(value) is dict and all(
            is_of(k, inner[0]) and is_of(v, inner[1]) for k, v in value.items()
        )
    if origin is list:
        return type(value) is list and all(is_of(one, inner[0]) for one in value)
    if origin is collections.abc.Sequence:
        return isinstance(value, (list, tuple)) and all(is_of(one, inner[0]) for one in value)
    if hint is float:
        return type(value) in (float, int)
    return type(value) is getattr(MODULES["_net"], hint.__name__, hint)


# --- real values ---------------------------------------------------------------------------------


class Seen:
    """Values by the dotted name of what has given them."""

    def __init__(self) -> None:
        self.values: dict[str, list[object]] = collections.defaultdict(list)

    def call(self, owner: object, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method, and keep what it returns."""
        prefix = "" if isinstance(owner, types.ModuleType) else f"{type(owner).__name__}."
        value = getattr(owner, name)(*args, **kwargs)
        self.values[prefix + name].append(value)
        return value

    def attributes(self, instance: object) -> None:
        """Keep the value of each attribute, and see that none can be set."""
        for name, member in vars(type(instance)).items():
            if inspect.isgetsetdescriptor(member):
                self.values[f"{type(instance).__name__}.{name}"].append(getattr(instance, name))
                with pytest.raises(AttributeError):
                    setattr(instance, name, 1)

    def check(self, name: str) -> None:
        """All that the stub declares was seen, is of its type, and no type is wider than needed."""
        wanted = declared(name)
        assert set(wanted) == set(self.values)
        for where, hint in wanted.items():
            for value in self.values[where]:
                assert is_of(value, hint), f"{where}: {value!r} is not {hint}"
            for one in alternatives(hint):
                assert any(is_of(value, one) for value in self.values[where]), f"{where} as {one}"


def budget_of(frame: bytes) -> _codec.Budget:
    """The budget of a frame that is being decoded: an argument of what builds rare types."""
    found: list[_codec.Budget] = []

    def look(called: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            found.extend(v for v in called.f_locals.values() if type(v) is _codec.Budget)

    sys.setprofile(look)
    try:
        _codec.decode(frame)
    finally:
        sys.setprofile(None)
    return found[0]


def test_what_the_codec_returns() -> None:
    seen = Seen()
    frame = seen.call(_codec, "encode", [1])
    text = seen.call(_codec, "encode_text", [1])
    for data in (frame, bytearray(frame), memoryview(frame)):
        assert seen.call(_codec, "decode", data, check=int) == [1]
    for data in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        assert seen.call(_codec, "decode_text", data) == [1]
    seen.call(_codec, "encode_json", {"a": 1})

    packer = _codec.ChunkPacker({})
    seen.call(packer, "fill", iter([1, 2]), 5, 1000)
    seen.attributes(packer)
    seen.call(packer, "take")
    seen.call(packer, "skip")
    digester = _codec.Digester(iter([1]), bytes)
    seen.call(digester, "__next__")
    seen.attributes(digester)
    seen.call(digester, "take", 1)
    chunker = _codec.Chunker(0)
    seen.call(chunker, "next", 4, -1, -1)
    seen.call(chunker, "observe", 1, 1000, 4)
    seen.attributes(chunker)

    budget = budget_of(_codec.encode(fractions.Fraction(1, 3)))
    seen.values["Budget.__call__"].append(budget(1))
    seen.call(budget, "keys", ["a", "b"])
    seen.check("_codec")


def _stale(answer: dict[str, Any]) -> None:
    answer["lambdamap"]["code"] = {"module": "tasks", "have": "1" * 64, "want": "0" * 64}


def test_what_the_dispatcher_returns(serve: Callable[..., Server]) -> None:
    server = serve(
        [
            run(),
            run(_stale),
            run(),
            throttle(),
            run(),
            aws_error(403, "AccessDeniedException"),
            fin(),
        ],
        then=reply('{"any": 1}'),
        check_signatures=False,
    )
    seen = Seen()
    before = seen.call(_net, "debug_periods")
    seen.call(_net, "debug_periods", throttle_base_s=0.01)
    seen.call(_net, "debug_state")
    seen.call(_net, "set_budget", 1 << 29)

    def completions(net_map: _net.Map, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            until(lambda body=body: seen.call(net_map, "submit", body, 0, 1))
            while (completion := seen.call(net_map, "take")) is None:
                seen.call(net_map, "wait", HANG_S)
            seen.attributes(completion)
            if completion.body is None and completion.status == 200:
                seen.call(completion, "request_frame")

    target = open_target(server.url, proxy=None)
    seen.values["open_target"].append(target)
    seen.attributes(target)
    seen.call(target, "set_credentials", "AKIA", "secret", None, None)
    for function, item in ((tasks.say, 1), (tasks.square, 2), (tasks.fail_at_seven, 7)):
        native = opened(target, function)
        seen.values["open_map"].append(native)
        seen.attributes(native)
        seen.call(native, "notes")
        seen.call(native, "record", 10)
        seen.call(native, "take")
        seen.call(native, "wait", 0.0)
        completions(native, [frame_of(item)])
        seen.attributes(native)
        seen.call(native, "records")
        seen.call(native, "fileno")
    noted = opened(target, tasks.square)
    completions(noted, [frame_of(1), frame_of(1)])
    seen.call(noted, "notes")
    completions(open_map(target), [b"{}", b"{}"])
    seen.call(noted, "cancel")
    seen.call(noted, "quiesce", HANG_S)
    seen.call(_net, "debug_periods", throttle_base_s=before["throttle_base_s"])
    seen.call(_net, "shutdown", HANG_S)
    seen.check("_net")


def opened(target: _net.Target, function: Callable[..., object]) -> _net.Map:
    head = request(function, [])["lambdamap"]
    for name in ("chunk", "items", "attempt", "left_ms"):  # of each chunk
        del head[name]
    text = json.dumps({"lambdamap": head}, separators=(",", ":"))
    return open_map(target, envelope=text[:-2].encode(), map_id=head["map"], notes=True, trace=True)


def frame_of(item: object) -> bytes:
    packer = _codec.ChunkPacker({})
    packer.fill(iter([item]), 1, 1 << 20)
    return packer.take()


# --- what functions take -------------------------------------------------------------------------

SAMPLES: list[object] = [
    None, "a", b"a", 5, 0.5, True, [("a", "b")], ("http://127.0.0.1:1", "127.0.0.1", 1),
]  # fmt: skip
TARGET: dict[str, Any] = {
    "scheme": "http", "host": "127.0.0.1", "port": 1, "path": "/", "query": "", "region": "r",
    "access_key": "a", "secret_key": "s", "token": None, "expires_at": None, "headers": (),
    "proxy": None, "ca_file": None, "ca_path": None, "max_concurrency": 1, "max_attempts": 1,
    "max_connect_ms": 1, "connect_patience_ms": 1, "http_version": None,
}  # fmt: skip
PARAMETERS = [
    (function, name)
    for function in ("open_target", "open_map")
    for name, parameter in inspect.signature(getattr(STUBS["_net"], function)).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
]


@pytest.mark.parametrize(("function", "name"), PARAMETERS)
def test_what_a_stub_lets_through_is_taken(function: str, name: str) -> None:
    hint = hints(getattr(STUBS["_net"], function))[name]
    for one in alternatives(hint):
        (value, *_) = (value for value in SAMPLES if is_of(value, one))
        try:
            if function == "open_target":
                _net.open_target(**{**TARGET, name: value})
            else:
                open_map(open_target("http://127.0.0.1:1"), **{name: value})
        except ValueError:
            pass  # of the right type, and no such value
