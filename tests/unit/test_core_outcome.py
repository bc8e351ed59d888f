"""The C core's outcomes against botocore's model of the Invoke API."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from core_driver import ask

NOT, MAYBE, RAN = "0", "1", "2"


@pytest.fixture
def invoke() -> Any:
    """The Invoke operation as botocore describes it."""
    session = botocore.session.get_session()
    return session.get_service_model("lambda").operation_model("Invoke")


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
