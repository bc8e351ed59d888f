"""Whatever event: the worker answers with an object, and calls what it is allowed to alone. For atheris."""

from __future__ import annotations

import base64
import json
import os
import sys
import types
from typing import Any

import atheris

os.environ["LAMBDAMAP_ALLOW"] = "fuzzed:plain fuzzed:double"
os.environ.pop("LAMBDAMAP_BY_VALUE", None)

with atheris.instrument_imports(include=["lambdamap"]):
    import payloads

    from lambdamap import _codec
    from lambdamap.worker.entry import handler

RAN: list[str] = []
SOURCE = """
def plain(item=None, *rest, **more): RAN.append("plain"); return item
def double(item): RAN.append("double"); return [item, item]
def secret(*_, **__): RAN.append("secret")
class Secret:
    def __init__(self, *_): RAN.append("Secret")
    def run(self, *_): RAN.append("Secret.run")
"""
fuzzed = types.ModuleType("fuzzed")
vars(fuzzed)["RAN"] = RAN
exec(SOURCE, vars(fuzzed))
sys.modules["fuzzed"] = fuzzed

CALLS = ["item", "star", "call", "batch", "each", "group", "other"]
FUNCTIONS = ["fuzzed:plain", "fuzzed:double", "fuzzed:secret", "fuzzed:Secret", "fuzzed:Secret.run", "os:system", "canary:sing",
             "builtins:eval", "fuzzed:plain.__globals__", "lambdamap.worker.calls:caller", "", ":", "a" * 5000]  # fmt: skip
JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**70,
    "",
    "x",
    [],
    {},
    [1],
    {"a": 1},
    "1",
    "\ud800",
    [[[]]],
    10**400,
]


def event_of(data: atheris.FuzzedDataProvider) -> Any:
    """A request, of which some parts are something else."""
    maker = payloads.Maker(data)
    items = [maker.value(3) for _ in range(data.ConsumeIntInRange(0, 3))]
    spec = maker.pick(
        [
            {},
            {"args": (1,)},
            {"kwargs": {"a": 1}},
            {"f": b"x"},
            {"f": "fuzzed:secret"},
            maker.value(2),
        ]
    )
    head: dict[str, Any] = {
        "protocol": _codec.PROTOCOL, "version": "0.1.0", "python": "%d.%d" % sys.version_info[:2], "map": "0" * 32,
        "chunk": 0, "items": len(items), "attempt": 1, "left_ms": 900_000, "function": maker.pick(FUNCTIONS),
        "calls": maker.pick(CALLS), "on_error": maker.pick(["raise", "return"]), "allow_pickle": data.ConsumeIntInRange(0, 1),
    }  # fmt: skip
    if data.ConsumeIntInRange(0, 3) == 0:
        head["codec"] = "json"
        payload: Any = {"items": [maker.pick(JUNK) for _ in items]}
    else:
        try:
            frame = _codec.encode([spec, items], compression=False)
        except _codec.EncodeFailure:
            frame = payloads.frame_of(data)
        payload = "lm1:" + base64.b64encode(frame).decode()
    event: Any = {"lambdamap": head, "p": payload}
    for _ in range(data.ConsumeIntInRange(0, 3)):
        place = maker.pick([head, head, head, event])
        key = maker.pick(
            [*place, "by_value", "depth", "idempotent", "compression", "code", "other"]
        )
        if data.ConsumeBool():
            place[key] = maker.pick(JUNK)
        else:
            place.pop(key, None)
    return event


def test_one_input(data: bytes) -> None:
    event = event_of(atheris.FuzzedDataProvider(data))
    head = event.get("lambdamap")
    function = head.get("function") if isinstance(head, dict) else None
    RAN.clear()
    with payloads.watched(imports=False):
        reply = handler(event, None)
    if not isinstance(reply, dict):
        raise payloads.Broken(f"the answer is {reply!r}")
    json.dumps(reply)
    allowed = {"fuzzed:plain": "plain", "fuzzed:double": "double"}.get(str(function))
    if set(RAN) - {allowed}:
        raise payloads.Broken(f"{RAN} ran for {function!r}")


if __name__ == "__main__":
    payloads.warm()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
