"""invoke_map: any Lambda function, one invocation per payload; and the errors of the Invoke API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import lambdamap
from lambdamap.local import LocalLambda


@pytest.fixture
def function(sandbox_kind: Any) -> Iterator[LocalLambda]:
    with (
        LocalLambda(
            kind=sandbox_kind, handler="tasks.handler", function_name="f", sandboxes=2, timeout_s=5
        ) as running,
        lambdamap.configure(
            endpoint_url=running.endpoint_url,
            region="us-east-1",
            credentials=(running.access_key, running.secret_key),
        ),
    ):
        yield running


@pytest.mark.usefixtures("function")
class TestInvokeMap:
    def test_replies_in_order(self) -> None:
        payloads = [{"n": i} for i in range(30)]
        replies = lambdamap.invoke_map("f", payloads)
        assert [reply["event"] for reply in replies] == payloads
        assert replies.stats["requests"] == 30

    def test_bytes_there_and_back(self) -> None:
        raw = list(lambdamap.invoke_map("f:$LATEST", iter([b"1", b'"x"']), raw=True))
        assert [json.loads(reply)["event"] for reply in raw] == [1, "x"]
        assert list(lambdamap.invoke_map("f", [])) == []

    def test_what_is_no_json(self) -> None:
        replies = lambdamap.invoke_map("f", [1, {2}, 3])
        assert next(replies)["event"] == 1
        with pytest.raises(lambdamap.EncodeError, match="item 1 cannot be sent: it is not JSON"):
            next(replies)

    def test_the_function_raises(self) -> None:
        with pytest.raises(lambdamap.RemoteError, match="boom") as caught:
            list(lambdamap.invoke_map("f", [{"raise": True}]))
        assert caught.value.remote_type == "ValueError"
        assert "tasks.py" in caught.value.remote_traceback
        assert caught.value.ran == "RAN"

    def test_no_such_function(self) -> None:
        with pytest.raises(lambdamap.FunctionNotFoundError) as caught:
            list(lambdamap.invoke_map("g", range(100)))
        assert caught.value.ran == "NOT"

    def test_wrong_keys(self) -> None:
        with pytest.raises(lambdamap.AccessDeniedError) as caught:
            list(lambdamap.invoke_map("f", [1], credentials=("AKLOCALX", "no")))
        assert "no" not in repr(caught.value.__dict__.get("secret_key", ""))

    def test_a_function_that_does_not_run_lambdamap(self) -> None:
        import tasks

        with pytest.raises(lambdamap.ProtocolError, match="invoke_map"):
            lambdamap.my_map(tasks.square, [1, 2], 1, function="f")

    def test_chunksize_has_no_meaning(self) -> None:
        with pytest.raises(lambdamap.ConfigError, match="chunksize"):
            lambdamap.invoke_map("f", [1], chunksize=3)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://x", "https://host"),
        ("http://user:pw@x", "https://host"),
        ("http://x:99999", "https://host"),
        ("x", "https://host"),
        ("http://x/?a=b", "https://host"),
        ("http://x\ny", "endpoint_url must be"),
    ],
)
def test_hostile_endpoints(url: str, text: str) -> None:
    with pytest.raises(lambdamap.ConfigError, match=text):
        lambdamap.invoke_map("f", [1], endpoint_url=url, region="us-east-1", credentials=("A", "S"))


def test_region_and_arn() -> None:
    arn = "arn:aws:lambda:eu-central-1:123456789012:function:f"
    with pytest.raises(lambdamap.ConfigError, match="ARN is in 'eu-central-1'"):
        lambdamap.invoke_map(arn, [1], region="us-east-1", credentials=("A", "S"))
    with pytest.raises(lambdamap.ConfigError, match="no AWS region"):
        lambdamap.invoke_map("f", [1], credentials=("A", "S"))


def test_a_plain_handler_has_its_functions_time(sandbox_kind: Any) -> None:
    """Maps in a handler that is not wrapped end before Lambda ends it."""
    with LocalLambda(
        kind=sandbox_kind, handler="tasks.plain_handler", function_name="f", sandboxes=1,
        timeout_s=60,
    ) as running:  # fmt: skip
        left, own = lambdamap.invoke_map(
            "f",
            [None, 3],
            endpoint_url=running.endpoint_url,
            region="us-east-1",
            credentials=(running.access_key, running.secret_key),
        )
    assert 30 < left <= 57  # 60 less a twentieth
    assert own == 3
