"""The C core's names and outcomes against botocore's model of the Invoke API."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_driver import ask

NOT, MAYBE, RAN = "0", "1", "2"


@functools.cache
def model() -> Any:
    """The Invoke operation as botocore describes it."""
    session = botocore.session.get_session()
    return session.get_service_model("lambda").operation_model("Invoke")


@pytest.fixture
def invoke() -> Any:
    return model()


_alphabet = st.sampled_from([*"aZ0-_.:$/% \n", "arn", "aws", "lambda", "function"])
_made = st.lists(_alphabet, max_size=12).map("".join)
_likely = st.from_regex(
    r"(arn:aws[a-z-]{0,4}:lambda:[a-z]{2}-[a-z]{3,6}-\d:)?(\d{12}:)?(function:)?[\w.-]{1,9}"
    r"(:[\w$-]{1,7})?",
    fullmatch=True,
)


@given(st.lists(_made | _likely, min_size=30, max_size=60))
def test_no_name_beyond_the_model(texts: list[str]) -> None:
    pattern = re.compile(model().input_shape.members["FunctionName"].metadata["pattern"])
    for text, answer in zip(texts, ask(("function", text) for text in texts), strict=True):
        if answer.startswith("refused"):
            continue
        partition, region, account, function, qualifier = answer.split("|")
        known = text.replace(region, "us-east-1", 1) if region else text  # we know no list of them
        assert pattern.fullmatch(known), text
        assert not region or re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d", region)
        assert function not in ("", ".", "..")
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", function)
        front = [part for part in (region, account) if part]
        assert ("arn" in text.split(":")) or not partition
        assert text.endswith(":".join([function, *([qualifier] if qualifier else [])]))
        assert all(part in text for part in front)


def test_plain_names_and_arns_are_taken() -> None:
    arn = "arn:aws:lambda:eu-central-1:123456789012:function:f"
    good = ["f", "f:prod", "f:$LATEST", arn, f"{arn}:$LATEST", "123456789012:function:f"]
    for text, answer in zip(good, ask(("function", text) for text in good), strict=True):
        assert not answer.startswith("refused"), text


@given(st.lists(st.text(max_size=30), min_size=20, max_size=40))
def test_encoding_is_quote(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    answers = ask(("path", text) for text in texts)
    for text, answer in zip(texts, answers, strict=True):
        assert answer == f"/2015-03-31/functions/{quote(text, safe='')}/invocations"


def test_every_modelled_error_has_its_row(invoke: Any) -> None:
    """Whatever Invoke declares is NOT run, but for the one that says otherwise."""
    shapes = [(s.name, s.metadata["error"]["httpStatusCode"]) for s in invoke.error_shapes]
    assert len(shapes) > 30
    answers = ask(("outcome", str(status), "0", name) for name, status in shapes)
    ran = {name: answer.split()[0] for (name, _), answer in zip(shapes, answers, strict=True)}
    expected = dict.fromkeys(ran, NOT)
    expected["EFSIOException"] = MAYBE
    assert ran == expected


def test_an_unknown_server_error_is_not_repeated() -> None:
    answers = ask(
        ("outcome", str(status), "0", name)
        for status in range(500, 600)
        for name in ("", "InternalServerError", "bad_gateway")
    )
    assert {answer.split()[0] for answer in answers} == {MAYBE}
