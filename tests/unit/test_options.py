"""Options: checks before anything is sent, and where values come from."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import lambdamap
from lambdamap import options


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"chunksiz": 3}, "did you mean chunksize"),
        ({"nonsense": 3}, "there are: function, qualifier"),
        ({"chunk_size": 3}, "did you mean chunksize"),
        ({"n_jobs": 3}, "did you mean max_concurrency"),
        ({"chunksize": 0}, "chunksize must be"),
        ({"chunksize": -1}, "chunksize must be"),
        ({"chunksize": 2.5}, "chunksize must be"),
        ({"chunksize": True}, "chunksize must be"),
        ({"chunksize": "5"}, "chunksize must be"),
        ({"function": "a/../b"}, "function must be"),
        ({"function": ".."}, "function must be"),
        ({"function": "f%2e"}, "function must be"),
        ({"function": "f\r\nX: y"}, "function must be"),
        ({"function": "f" * 300}, "300 characters"),
        ({"function": "f:"}, "function must be"),
        ({"function": 5}, "function must be"),
        ({"qualifier": "a b"}, "qualifier must be an alias or a version"),
        ({"qualifier": ""}, "qualifier must be"),
        ({"qualifier": "v\n"}, "qualifier must be"),
        ({"tenant_id": ""}, "tenant_id must be"),
        ({"tenant_id": "a" * 257}, "tenant_id must be"),
        ({"tenant_id": "a\r\nX: y"}, "tenant_id must be"),
        ({"tenant_id": " blue"}, "tenant_id must be .* inner blanks"),
        ({"tenant_id": "blue "}, "tenant_id must be"),
        ({"tenant_id": "tenant\u00e9"}, "tenant_id must be"),
        ({"tenant_id": 7}, "tenant_id must be"),
        ({"client_context": "{oops"}, "client_context is not JSON"),
        ({"client_context": {"x": float("nan")}}, "client_context is not JSON"),
        ({"client_context": {"x": {1}}}, "client_context is not JSON"),
        ({"client_context": {"x": "\ud800"}.items()}, "client_context is not JSON"),
        ({"client_context": "[1]"}, "client_context must be a dict, .* not list"),
        ({"client_context": '"\ud800"'}, "client_context must be a dict"),
        ({"client_context": {"x": "y" * 3000}}, "has 4012 bytes in base64; Lambda takes 3583"),
        ({"connect_timeout": 0}, "connect_timeout must be"),
        ({"connect_timeout": None}, "connect_timeout must be"),
        ({"region": "evil.com/"}, "region must be"),
        ({"region": "eu-central-1\n"}, "region must be"),
        ({"backend": "gcp"}, "backend must be"),
        ({"backend": ThreadPoolExecutor}, "backend must be .* an object"),
        ({"backend": SimpleNamespace(get_executor=1)}, r"pass client.get_executor\(\)"),
        ({"local": "docker"}, "local must be"),
        ({"max_concurrency": 0}, "max_concurrency must be"),
        ({"compression": 1}, "compression must be"),
        ({"compression": "zlib"}, "compression must be"),
        ({"on_error": "ignore"}, "on_error must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": "3"}, "timeout must be"),
        ({"depth": 5}, "depth must be"),
        ({"idempotent": 1}, "idempotent must be"),
        ({"progress": 3}, "progress must be"),
    ],
)
def test_a_wrong_value_names_the_option(values: dict[str, object], text: str) -> None:
    with pytest.raises(lambdamap.ConfigError, match=text):
        options.resolve(**values)
    with pytest.raises(ValueError, match=text):
        lambdamap.map(abs, [1], **values)


@pytest.mark.parametrize(
    "function",
    [
        "f",
        "my-function_2:prod",
        "f:$LATEST",
        "123456789012:function:f",
        "arn:aws:lambda:eu-central-1:123456789012:function:f",
        "arn:aws-cn:lambda:cn-north-1:123456789012:function:f:3",
        "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f:$LATEST",
    ],
)
def test_names_and_arns(function: str) -> None:
    assert options.resolve(function=function).function == function


def test_integers_of_other_types() -> None:
    numpy = pytest.importorskip("numpy")
    found = options.resolve(chunksize=numpy.int64(5), depth=numpy.uint8(1))
    assert (found.chunksize, found.depth) == (5, 1)
    assert type(found.chunksize) is type(found.depth) is int
    for wrong in (numpy.float64(5), numpy.arange(2), numpy.True_):
        with pytest.raises(lambdamap.ConfigError, match="chunksize must be"):
            options.resolve(chunksize=wrong)


def test_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_CHUNKSIZE", "7")
    monkeypatch.setenv("LAMBDAMAP_IDEMPOTENT", "yes")
    assert options.resolve().chunksize == 7
    assert options.resolve().idempotent is True
    with lambdamap.configure(chunksize=8):
        assert options.resolve().chunksize == 8
        with lambdamap.configure(chunksize=9, depth=1):
            assert options.resolve().chunksize == 9
            assert options.resolve(chunksize=10).chunksize == 10
            assert options.resolve().depth == 1
        assert options.resolve().chunksize == 8
    assert options.resolve().chunksize == 7


def test_configure_for_good_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_set", ())
    lambdamap.configure(chunksize=3)
    assert options.resolve().chunksize == 3
    with lambdamap.configure(chunksize=4):
        assert options.resolve().chunksize == 4
    assert options.resolve().chunksize == 3
    for size in range(1, 100):
        lambdamap.configure(chunksize=size, depth=1)
        lambdamap.configure(depth=size % 3)
    found = options.resolve()
    assert (found.chunksize, found.depth) == (99, 0)
    assert len(options._set) < 4
    monkeypatch.setattr(options, "_set", ())
    with pytest.raises(lambdamap.ConfigError):
        lambdamap.configure(chunksize=0)
    assert options.resolve().chunksize == "auto"


def test_two_threads_in_with_statements_leave_nothing_behind() -> None:
    # What they do, in the order in which nothing may be left of it for good.
    one, other = lambdamap.configure(chunksize=1), lambdamap.configure(chunksize=2)
    with one, other:
        assert options.resolve().chunksize == 2
    assert options.resolve().chunksize == "auto"


def test_environment_errors_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_MAX_CONCURRENCY", "many")
    with pytest.raises(lambdamap.ConfigError, match="LAMBDAMAP_MAX_CONCURRENCY"):
        options.resolve()


def test_options_hide_credentials() -> None:
    shown = repr(options.resolve(credentials=("AKID", "topsecret")))
    assert "topsecret" not in shown


def test_limits_of_the_invoke_api_are_botocores() -> None:
    """The patterns and lengths here, against the model that is installed."""
    service = pytest.importorskip("botocore.session").Session().get_service_model("lambda")
    shape = service.shape_for("TenantId")
    assert shape.metadata == {
        "min": 1, "max": 256, "pattern": r"[a-zA-Z0-9\._:\/=+\-@ ]+"
    }  # fmt: skip
    for tenant in ("a", "a" * 256, "a b", "A._:/=+-@ 9"):
        assert options.Options(tenant_id=tenant).tenant_id == tenant
    context = service.operation_model("Invoke").input_shape.members["ClientContext"]
    assert "3,583 bytes of base64" in context.documentation


def test_client_context_as_its_header_has_it() -> None:
    for context in ({"custom": {"a": "\u00e9"}}, '{"custom": {"a": "\u00e9"}}'):
        options.Options(client_context=context)
        assert json.loads(base64.b64decode(options.encoded_context(context))) == {
            "custom": {"a": "\u00e9"}
        }
    assert "custom" not in repr(options.Options(client_context={"custom": "secret"}))


@pytest.mark.parametrize(
    ("function", "qualifier"),
    [
        ("f", None),
        ("f:v1", "v1"),
        ("function:f", None),
        ("123456789012:f", None),
        ("123456789012:function:f:$LATEST", "$LATEST"),
        ("arn:aws:lambda:eu-central-1:123456789012:function:f", None),
        ("arn:aws:lambda:eu-central-1:123456789012:function:f:7", "7"),
    ],
)
def test_qualifier_behind_a_name(function: str, qualifier: str | None) -> None:
    assert options.qualifier_of(function) == qualifier
