"""codec="json": plain JSON both ways, refused where JSON has no form for a value."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

import lambdamap
import tasks
from lambdamap import _codec
from lambdamap.shipping import json_codec
from lambdamap.worker.entry import handler
from same import same

DATA: list[Any] = [
    None, True, 1, -(10**30), 10**4000, 0.1, -0.0, 1e300, -1.7976931348623157e308, "a\"\\\n\x01ü\U0001f600", [], [1, [2.5]], {},
    {"a": {"b": [None, "x"]}, "": 1},
]  # fmt: skip


def test_values_are_what_python_reads_back() -> None:
    for value in [*DATA, DATA]:
        assert same(json.loads(_codec.encode_json(value)), value)


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ({"a": [1, (2,)]}, "['a'][1]", "represent a tuple"),
        ([math.nan], "[0]", "NaN"),
        ([[1.0, -math.inf]], "[0][1]", "infinity"),
        ({"k": {1: 2}}, "['k']", "keys must be str"),
        ([b"x"], "[0]", "represent bytes"),
        ("\ud800", "", "surrogates"),
        ([{1}], "[0]", "represent set"),
        ({"a": type("Text", (str,), {})("x")}, "['a']", "represent Text"),
        ([True, 10**5000], "[1]", "digits"),
    ],
)
def test_the_rest_is_refused_with_its_place(value: Any, path: str, text: str) -> None:
    with pytest.raises(_codec.EncodeFailure) as caught:
        _codec.encode_json(value)
    message, where = caught.value.args
    assert where == path
    assert text in message


def test_deep_values_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(_codec.EncodeFailure):
        _codec.encode_json(cycle)


def test_packer_fills_by_items_and_bytes() -> None:
    packer = json_codec.JsonPacker(False)
    items = iter(["x" * 40] * 5)
    sizes = []
    while not packer.exhausted:
        if count := packer.fill(items, 3, 100):
            assert packer.chunk_bytes <= 100
            assert len(json_codec.items_of(packer.take())) == count
            sizes.append(count)
    assert sizes == [2, 2, 1]
    assert packer.items_packed == 5


@pytest.mark.usefixtures("local")
class TestMaps:
    def test_the_same_results(self) -> None:
        for chunksize in (1, 5, "auto"):
            options: dict[str, Any] = {"codec": "json", "chunksize": chunksize}
            assert same(list(lambdamap.map(tasks.identity, DATA, **options)), DATA)
        assert list(lambdamap.map(tasks.add, [1, 2], [3, 4], codec="json")) == [4, 6]

    def test_errors(self) -> None:
        with pytest.raises(lambdamap.EncodeError, match=r"item 1\['x'\].*tuple"):
            list(lambdamap.map(tasks.identity, [1, {"x": (1,)}], codec="json"))
        found = list(
            lambdamap.map(tasks.reciprocal, [1, 0, 2], codec="json", on_error="return", chunksize=3)
        )
        assert found[0] == 1.0 and isinstance(found[1], ZeroDivisionError) and found[2] == 0.5
        with pytest.raises(lambdamap.LambdaMapError, match="tuple"):
            list(lambdamap.map(tasks.pair, [1], codec="json"))

    def test_functions_go_by_name(self) -> None:
        with pytest.raises(lambdamap.ConfigError, match="codec"):
            list(lambdamap.map(lambda x: x, [1], codec="json"))


def test_inline_is_the_same() -> None:
    with lambdamap.configure(backend="inline", codec="json"):
        assert same(list(lambdamap.map(tasks.identity, DATA)), DATA)
        with pytest.raises(lambdamap.LambdaMapError, match="tuple"):
            list(lambdamap.map(tasks.pair, [1]))


def test_what_is_on_the_wire() -> None:
    """The whole request and reply are JSON that needs no knowledge of frames."""
    event = {
        "lambdamap": {
            "protocol": 1, "codec": "json", "function": "tasks:add", "map": "0" * 32, "chunk": 0,
            "items": 2, "python": "3.1", "calls": "star",
        },
        "p": {"items": [[1, 2], [3, 4]]},
    }  # fmt: skip
    reply = json.loads(json.dumps(handler(json.loads(json.dumps(event)), None)))
    assert reply["r"] == {"results": [3, 7], "errors": {}}
    assert (reply["lambdamap"]["done"], reply["lambdamap"]["chunk"]) == (2, 0)
    event["lambdamap"]["codec"] = "cbor"  # type: ignore[index]
    refused = handler(event, None)["error"]
    assert refused["kind"] == "protocol"
    assert "'cbor'" in refused["message"] and "'json'" in refused["message"]


@pytest.mark.parametrize(
    "frame", [b"{", b'{"errors": {}}', b'{"results": [], "errors": {"x": {}}}']
)
def test_broken_results(frame: bytes) -> None:
    with pytest.raises(_codec.DecodeFailure):
        json_codec.results_of(frame)
