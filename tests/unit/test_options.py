"""Options: checks before anything is sent, and where values come from."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import lambdamap
from lambdamap import _checks, _variables, options

# Each text of an error of options, once.
FUNCTION = "a name (letters, digits, - and _), name:alias, name:version or ARN"
TENANT = "1 to 256 of the characters A-Z a-z 0-9 . _ : / = + - @ and inner spaces"
BACKENDS = "'auto', 'aws', 'local', 'inline'"
OPTIONS = ", ".join(options.DECLARED)
TEXTS: list[tuple[dict[str, object], str]] = [
    ({"chunksiz": 3}, "unknown option 'chunksiz'; did you mean 'chunksize'?"),
    ({"n_jobs": 3}, "unknown option 'n_jobs'; did you mean 'max_concurrency'?"),
    ({"nonsense": 3}, f"unknown option 'nonsense'; options are: {OPTIONS}"),
    ({"chunksize": 0}, "chunksize must be 'auto' or an integer of at least 1, not 0"),
    ({"max_concurrency": 0}, "max_concurrency must be an integer from 1 to 100,000, not 0"),
    ({"depth": 5}, "depth must be an integer from 0 to 4, not 5"),
    ({"buffersize": 2.0}, "buffersize must be an integer of at least 1, not 2.0"),
    ({"function": "f:"}, f"function must be {FUNCTION}, not 'f:'"),
    ({"function": "f" * 300}, "function has 300 characters, but a name or ARN has at most 256"),
    ({"qualifier": "a b"}, "qualifier must be an alias or a version, not 'a b'"),
    ({"tenant_id": " blue"}, f"tenant_id must be {TENANT}, not ' blue'"),
    ({"client_context": {"x": {1}}}, "client_context is not JSON (Object of type set is not JSON serializable)"),
    ({"client_context": "[1]"}, "client_context must be a dict or the text of a JSON object, not list"),
    (
        {"client_context": {"x": "y" * 3000}},
        "client_context has 4,012 bytes in base64, but Lambda accepts 3,583: send a reference to the data",
    ),
    ({"region": "evil.com/"}, "region must be a region such as 'eu-central-1', not 'evil.com/'"),
    ({"profile": ""}, "profile must be a string of printable characters, not ''"),
    (
        {"backend": "gcp"},
        f"backend must be {BACKENDS} or an instance of concurrent.futures.Executor, not 'gcp'",
    ),
    (
        {"backend": SimpleNamespace(get_executor=1)},
        "backend must be an executor (pass client.get_executor()), not namespace(get_executor=1)",
    ),
    ({"local": "docker"}, "local must be 'builtin' or 'awslambdaric', not 'docker'"),
    ({"compression": 1}, "compression must be 'auto', True or False, not 1"),
    ({"by_value": "yes"}, "by_value must be True, False or a list of modules, not 'yes'"),
    ({"timeout": 0}, "timeout must be a number of seconds above 0 and below 100,000,000, not 0"),
    (
        {"connect_timeout": None},
        "connect_timeout must be a number of seconds above 0 and below 1,000,000, not None",
    ),
    ({"on_error": "ignore"}, "on_error must be 'raise' or 'return', not 'ignore'"),
    ({"retries": -1}, "retries must be an integer from 0 to 100, not -1"),
    ({"retry_on": "x"}, "retry_on must be an exception class or a tuple of them, not 'x'"),
    ({"retry_on": ()}, "retry_on must be an exception class or a tuple of them, not ()"),
    ({"idempotent": 1}, "idempotent must be True or False, not 1"),
    ({"progress": 3}, "progress must be True, False, a tqdm class or a callable, not 3"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "text"), TEXTS, ids=lambda value: str(value)[:30])
def test_what_an_error_says(values: dict[str, object], text: str) -> None:
    with pytest.raises(lambdamap.ConfigError) as caught:
        options.resolve(**values)
    assert str(caught.value) == text
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        lambdamap.map(abs, [1], **values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("chunksize", [-1, 2.5, True, "5", 1 << 32, None]),
        ("function", ["a/../b", "..", "f%2e", "f\r\nX: y", 5]),
        ("qualifier", ["", "v\n"]),
        ("tenant_id", ["", "a" * 257, "a\r\nX: y", "blue ", "tenant\u00e9", 7]),
        (
            "client_context",
            ["{oops", {"x": float("nan")}, {"x": "\ud800"}.items(), '"\ud800"', {"x": "y" * 2700}],
        ),
        ("connect_timeout", [0, "15"]),
        ("region", ["eu-central-1\n", 3]),
        ("ca_bundle", ["a\nb", 3]),
        ("backend", [ThreadPoolExecutor, 3, None]),
        ("compression", ["zlib", None]),
        ("timeout", ["3", float("nan"), float("inf"), True]),
        ("depth", [-1, None]),
    ],
)
def test_what_is_refused(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(lambdamap.ConfigError, match=f"^{name} "):
            options.Options(**{name: value})


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


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("chunksize", " 7 ", 7),
        ("chunksize", "AUTO", "auto"),
        ("compression", "auto", "auto"),
        ("compression", "off", False),
        ("idempotent", "Yes", True),
        ("progress", "0", False),
        ("allow_pickle", "1", True),
        ("timeout", "2.5", 2.5),
        ("max_result_bytes", "1000", 1000),
        ("on_error", "return", "return"),
        ("backend", "inline", "inline"),
        ("client_context", '{"a": 1}', '{"a": 1}'),
    ],
)
def test_values_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"LAMBDAMAP_{name.upper()}", text)
    assert getattr(options.resolve(), name) == value
    monkeypatch.setenv(f"LAMBDAMAP_{name.upper()}", " ")
    assert options.resolve() == options.Options()


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("MAX_CONCURRENCY", "many", "an integer from 1 to 100,000"),
        ("DEPTH", "5", "an integer from 0 to 4"),
        ("IDEMPOTENT", "maybe", "1 or 0"),
        ("COMPRESSION", "zlib", "'auto', 1 or 0"),
        ("TIMEOUT", "nan", "a number of seconds above 0 and below 100,000,000"),
        ("BACKEND", "gcp", "'auto', 'aws', 'local' or 'inline'"),
        ("PROGRESS", "bar", "1 or 0"),
    ],
)
def test_errors_of_the_environment_name_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, wanted: str
) -> None:
    monkeypatch.setenv(f"LAMBDAMAP_{name}", text)
    with pytest.raises(lambdamap.ConfigError) as caught:
        options.resolve()
    assert str(caught.value) == f"LAMBDAMAP_{name} must be {wanted}, not {text!r}"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LAMBDAMAP_CHUNKSZE", "unknown environment variable {} is ignored; did you mean LAMBDAMAP_CHUNKSIZE?"),
        ("LAMBDAMAP_MAX_WORKERS", "unknown environment variable {} is ignored; did you mean LAMBDAMAP_MAX_CONCURRENCY?"),
        ("LAMBDAMAP_ALOW", "unknown environment variable {} is ignored; did you mean LAMBDAMAP_ALLOW?"),
        ("LAMBDAMAP_chunksize", "unknown environment variable {} is ignored; did you mean LAMBDAMAP_CHUNKSIZE?"),
        ("LAMBDAMAP_ZZZ", "unknown environment variable {} is ignored"),
        ("LAMBDAMAP_CREDENTIALS", "{} is ignored: credentials cannot be set in the environment"),
    ],
)  # fmt: skip
def test_unknown_variables_are_told_once(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setattr(_variables, "_warned", set())
    monkeypatch.setenv(variable, "secret")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        list(lambdamap.map(abs, [1], backend="inline"))
        list(lambdamap.map(abs, [1], backend="inline"))
    assert [str(warning.message) for warning in told] == [text.format(variable)]
    assert (told[0].category, told[0].filename) == (UserWarning, __file__)


@pytest.mark.parametrize("variable", _variables.VARIABLES)
def test_variables_of_others_are_known(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    assert options.resolve() == options.Options()


def test_every_variable_is_an_option_or_listed() -> None:
    """In sources, scripts and pages; what is listed is read somewhere."""
    root = Path(__file__).parents[2]
    found: dict[str, set[str]] = {}
    folders = ("pylambdamap", "docs", "examples", "benchmarks", "tests")
    for path in [root / "dev", root / "setup.py", root / "README.md", *(
        path for folder in folders for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".md", ".ipynb", ".toml") and path.name != Path(__file__).name
    )]:  # fmt: skip
        if path.name != "_variables.py":
            for variable in re.findall(r"(?<![A-Z_])LAMBDAMAP_[A-Z_]+\b", path.read_text("utf-8")):
                found.setdefault(variable, set()).add(str(path.relative_to(root)))
    of_options = {
        _variables.variable_of(name)
        for name, option in options.DECLARED.items()
        if option.kind.parse
    }
    known = of_options | _variables.VARIABLES.keys()
    meant = {
        "LAMBDAMAP_NAME",
        "LAMBDAMAP_CHUNKSZE",
        "LAMBDAMAP_CHUNK_SIZE",
    }  # not a variable; wrong
    assert found.keys() - known <= meant, {name: found[name] for name in found.keys() - known}
    assert found.keys() >= _variables.VARIABLES.keys()
    page = (root / "docs" / "options.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(LAMBDAMAP_\w+)` \|", page, re.MULTILINE))
    for_users = ("worker", "Flask and ASGI")
    assert listed == {name for name, by in _variables.VARIABLES.items() if by in for_users}


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
        assert json.loads(base64.b64decode(_checks.encoded_context(context))) == {
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
    assert _checks.qualifier_of(function) == qualifier


# --- what follows from the declarations ---------------------------------------------------------


def test_the_docstring_has_every_option() -> None:
    text = inspect.getdoc(options.Options) or ""
    assert text.startswith("How and where a map runs.\n")
    parameters, raises = text.split("Parameters\n----------\n")[1].split("\n\nRaises\n------\n")
    assert raises.startswith("ConfigError")
    named = [line.partition(" : ") for line in parameters.splitlines() if line[:1].strip()]
    assert [name for name, _, _ in named] == list(options.DECLARED)
    assert named[0][2] == "str, optional"
    assert ("chunksize", "int or \"auto\", default 'auto'") in [(name, of) for name, _, of in named]
    described = " ".join(parameters.split())
    for option in options.DECLARED.values():
        assert f"{option.doc}. " in f"{described} "


@pytest.mark.parametrize(("name", "option"), options.DECLARED.items())
def test_a_declaration_is_whole(name: str, option: _checks.Option) -> None:
    """The first sentence is fit for a command's help, and the default passes the check."""
    assert option.doc[0].isupper() and option.doc[-1] != "."
    assert len(option.summary) <= 80 and "None" not in option.summary
    default = getattr(options.Options(), name)
    assert option.optional == (default is None)
    if default is not None:
        assert option.kind.checked(name, default) is default
    assert option.refused.keys() <= {"LambdaExecutor", "invoke_map", "joblib"}


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("LambdaExecutor", lambdamap.LambdaExecutor),
        ("invoke_map", lambda **given: lambdamap.invoke_map("f", [1], **given)),
    ],
)
def test_calls_refuse_what_they_do_not_take(place: str, call: Callable[..., object]) -> None:
    """And their docstrings name these options, and no others."""
    refused = options.refused(place)
    for name, instead in refused.items():
        with pytest.raises(lambdamap.ConfigError) as caught:
            call(**{name: options.DECLARED[name].kind})
        assert str(caught.value) == f"{place} does not accept {name!r}: {instead}"
    text = inspect.getdoc(getattr(lambdamap, place)) or ""
    sentence = text.split("See `lambdamap.Options`")[1].partition(". ")[0]
    named = set(re.findall(r"``(\w+)``", sentence))
    assert named == refused.keys()


def test_the_executor_refuses_arguments_of_other_executors() -> None:
    with pytest.raises(lambdamap.ConfigError) as caught:
        lambdamap.LambdaExecutor(mp_context=None)
    assert str(caught.value) == (
        "LambdaExecutor does not accept 'mp_context': no process is started on this machine"
    )


def test_options_of_commands() -> None:
    """`map` takes every option that is declared as a flag."""
    common = importlib.import_module("lambdamap.cli.common")
    command = importlib.import_module("lambdamap.cli.map").map
    taken = {parameter.name for parameter in command.params} & options.DECLARED.keys()
    assert taken == set(common.FLAGS) >= {"function", "by_value", "on_error", "progress"}
