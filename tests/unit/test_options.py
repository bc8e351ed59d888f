"""Options: checks before anything is sent, and where values come from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import lambdamap
from lambdamap import options


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"chunksiz": 3}, "did you mean chunksize"),
        ({"nonsense": 3}, "there are: function, region"),
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
