"""The nine names that existing code calls, with their arguments as they were."""

from __future__ import annotations

import json

import pytest

import lambdamap
import tasks
from lambdamap import (
    decode_payload,
    distribute_to_lambda,
    encode_payload,
    feature_calculation_on_chunks,
    function_in_lambda,
    my_map,
    partition,
    run_lambda,
    send_to_other_lambda,
)
from lambdamap.local import LocalLambda

WANTED = [i * i for i in range(10)]


def test_every_way_to_call_my_map() -> None:
    with lambdamap.configure(backend="inline"):
        assert my_map(tasks.square, range(10), 3) == WANTED
        assert my_map(tasks.square, range(10), 3, True) == WANTED
        assert my_map(tasks.square, range(10), 3, False, False) == WANTED
        assert my_map(f=tasks.square, data=range(10), chunksize=3) == WANTED
        assert my_map(map_function=tasks.square, data=range(10), chunksize=3) == WANTED
        assert my_map(range(10), f=tasks.square, chunksize=3) == WANTED  # type: ignore[arg-type]
        assert (
            my_map(tasks.square, range(10), compression=False, invoke_lambda=None, chunksize=5)
            == WANTED
        )
        assert my_map(tasks.square, (i for i in range(10)), 4) == WANTED
        assert my_map(tasks.square, map(int, "0123456789"), 4) == WANTED
        assert my_map(tasks.square, [], 4) == []


def test_wrong_calls() -> None:
    with pytest.raises(TypeError):
        my_map(tasks.square, [1], 1, f=tasks.square)
    with pytest.raises(TypeError):
        my_map(tasks.square)
    with pytest.raises(lambdamap.ConfigError, match="invoke_lambda"):
        my_map(tasks.square, [1], 1, False, "yes")  # type: ignore[arg-type]


def test_partition() -> None:
    assert list(partition(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(partition([], 3)) == []
    for bad in (0, True, 2.0, "auto"):
        with pytest.raises(lambdamap.ConfigError, match="chunk_size"):
            partition([1], bad)  # type: ignore[arg-type]


def test_payloads() -> None:
    plain = [{"id": 1, "values": [1.5, 2.0], "name": "ä", "none": None, "yes": True}]
    text = encode_payload(plain, False)
    assert json.loads(text) == plain
    assert decode_payload(text, False) == plain
    packed = encode_payload(plain, True)
    assert packed.startswith("lm1:")
    assert decode_payload(packed, True) == plain
    for rich in ([(1, 2)], [float("nan")], {1: 2}, [b"x"], "lm1:text", ["\ud800"]):
        again = decode_payload(encode_payload(rich, False), False)
        assert repr(again) == repr(rich)
    with pytest.raises(lambdamap.EncodeError, match=r"\[1\]"):
        encode_payload([1, object()], False)
    for broken in ("lm1:!!!", "{", "lm1:"):
        with pytest.raises(lambdamap.DecodeError):
            decode_payload(broken, False)


def test_the_parts() -> None:
    assert feature_calculation_on_chunks([1, 2], tasks.square) == [1, 4]
    chunks = list(partition(range(5), 2))
    assert distribute_to_lambda(tasks.square, chunks, False, False) == [[0, 1], [4, 9], [16]]
    assert run_lambda([1, 2, 3], tasks.square, False, False) == [1, 4, 9]
    encoded = encode_payload([1, 2, 3], False)
    assert decode_payload(function_in_lambda(encoded, tasks.square, False), False) == [1, 4, 9]
    assert decode_payload(function_in_lambda(encoded, "tasks.square", False), False) == [1, 4, 9]
    with pytest.raises(lambdamap.WorkerInitError, match="standard library"):
        function_in_lambda(encoded, "os.system", False)


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "[" * 100_000, "[1", None])
def test_payloads_that_are_none(text: str) -> None:
    with pytest.raises(lambdamap.DecodeError):
        decode_payload(text)


def test_send_to_other_lambda_needs_a_function() -> None:
    with pytest.raises(lambdamap.ConfigError, match="LAMBDAMAP_FUNCTION"):
        send_to_other_lambda(tasks.square, 3)


def test_send_to_a_lambda_without_zappa(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalLambda(function_name="plain", sandboxes=1) as function:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", function.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", function.secret_key)
        where = {"endpoint_url": function.endpoint_url, "region": "us-east-1", "function": "plain"}
        with (
            lambdamap.configure(**where),  # type: ignore[arg-type]
            pytest.raises(lambdamap.ProtocolError, match="zappa"),
        ):
            send_to_other_lambda(tasks.square, 3)


def test_a_frame_as_data() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is a test dependency")
    with pytest.raises(TypeError, match="DataFrame"):
        my_map(tasks.square, pandas.DataFrame({"a": [1]}), 1)
