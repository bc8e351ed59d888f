"""When the own Lambda function is the default, and what is said when it cannot be."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

import lambdamap
from lambdamap import backends
from lambdamap.worker import wrap


@pytest.fixture
def in_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "mine")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    made = ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, name, made)


def plain(event: Any, context: Any) -> str:
    return "mine"


@pytest.mark.usefixtures("in_lambda")
class TestOwnFunction:
    @pytest.mark.parametrize(
        "handler",
        [
            "lambdamap.worker.entry.handler",
            "lambdamap.worker.handler",
            "zappa.handler.lambda_handler",
        ],
    )
    def test_handlers_that_know_lambdamap(
        self, monkeypatch: pytest.MonkeyPatch, handler: str
    ) -> None:
        monkeypatch.setenv("_HANDLER", handler)
        assert backends.own_function() == "mine:7"  # the version that runs

    def test_the_handler_that_zappa_copies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("_HANDLER", "handler.lambda_handler")
        module(monkeypatch, "zappa")
        module(monkeypatch, "handler", LambdaHandler=object, lambda_handler=plain)
        assert backends.own_function() == "mine:7"

    @pytest.mark.parametrize("name", ["handler", "lambda_function", "app"])
    def test_one_that_is_wrapped(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv("_HANDLER", f"{name}.go")
        module(monkeypatch, name, go=wrap(plain))
        assert backends.own_function() == "mine:7"

    def test_one_in_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("_HANDLER", "src/app.go")
        module(monkeypatch, "src.app", go=wrap(plain))
        assert backends.own_function() == "mine:7"

    @pytest.mark.parametrize("name", ["handler", "lambda_function"])
    def test_one_that_knows_nothing(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv("_HANDLER", f"{name}.go")
        module(monkeypatch, "zappa")  # imported for its tasks alone
        module(monkeypatch, name, go=plain)
        with pytest.raises(lambdamap.ConfigError, match=r"`go = lambdamap\.worker\.wrap\(go\)`"):
            lambdamap.map(abs, [1])

    def test_a_function_that_is_named_needs_no_handler(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("_HANDLER", "lambda_function.go")
        options = lambdamap.Options(function="another")
        assert backends.choose(options) == "aws"

    def test_a_sandbox_of_the_local_lambda_only_looks_like_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LAMBDAMAP_SANDBOX", "builtin")
        assert backends.own_function() is None


def test_outside_of_lambda() -> None:
    assert backends.own_function() is None
