"""Every exception class that can be found, with arguments that its constructor takes: what comes back
is what was raised, wherever pickle would keep it; and a difference is always told."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from lambdamap import _codec, errors
from lambdamap.shipping import exceptions
from lambdamap.shipping.exceptions import classes

# Importing these does something, or asks for what is not there.
_SKIPPED = {"antigravity", "idlelib", "lib2to3", "test", "this", "turtledemo"}
_MODULES = (
    "asyncio", "concurrent.futures", "dbm.dumb", "email.errors", "http.client", "json.decoder",
    "multiprocessing", "unittest.case", "urllib.error", "wsgiref.util", "xml.dom", "xml.etree.ElementTree",
    "xml.parsers.expat", "xml.sax",
    "boto3.exceptions", "botocore.exceptions", "click", "cryptography.exceptions", "fastapi", "h11",
    "jinja2", "jsonschema", "numpy", "pandas.errors", "pydantic", "requests", "sqlalchemy.exc",
    "urllib3.exceptions", "werkzeug.exceptions", "yaml",
)  # fmt: skip
_ARGUMENTS: tuple[tuple[Any, ...], ...] = (
    (),
    ("text",),
    (2, "text"),
    (2, "text", "file"),
    ("text", "document", 3),
    (2, "text", "file", None, "other"),
    ("utf8", b"ab\xff", 1, 2, "why"),
    ("utf8", "ab\xff", 1, 2, "why"),
    ("abc", 0, 1, "why"),
    ("text", [ValueError(1), KeyError("x")]),
    ("text", ("script.py", 1, 2, "text")),
    ({"Error": {"Code": "Throttled", "Message": "slow"}}, "Invoke"),
)
_KEYWORDS: tuple[dict[str, Any], ...] = (
    {"error": "text"},
    {"provider": "env", "cred_var": "key"},
    {"name": "x", "reason": "y"},
    {"report": "text"},
    {"endpoint_url": "http://localhost", "error": "refused"},
)


def _classes() -> list[type[BaseException]]:
    names = [n for n in sys.stdlib_module_names if n[0] != "_" and n not in _SKIPPED]
    for name in (*sorted(names), *_MODULES):
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    found: dict[type[BaseException], None] = {}
    waiting: list[type[BaseException]] = [BaseException]
    while waiting:
        kind = waiting.pop()
        if kind not in found and not kind.__module__.startswith(("lambdamap", "_pytest", "test")):
            found[kind] = None
            waiting += type.__subclasses__(kind)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def _made(kind: type[BaseException]) -> Iterator[BaseException]:
    if kind.__qualname__ == "HTTPError" and kind.__module__ == "urllib.error":
        return  # it is a file, too
    for arguments, keywords in [
        *((arguments, {}) for arguments in _ARGUMENTS),
        *(((), keywords) for keywords in _KEYWORDS),
    ]:
        try:
            error = kind(*arguments, **keywords)
            str(error)
        except Exception:
            continue
        errors.own_dict(error)["row"] = 17
        classes.CAUSE.__set__(error, ValueError("why"))
        errors.note(error, "a note")
        yield error


def _shown(value: object) -> Any:
    """As `repr`; equal sets may show their members in different orders."""
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(member) for member in value)
    return repr(value)


def _state(error: BaseException) -> Any:
    fields = {}
    for name, descriptor, _ in classes.fields_of(type(error)):
        with contextlib.suppress(AttributeError):
            fields[name] = _shown(descriptor.__get__(error))
    own = {name: _shown(value) for name, value in errors.own_dict(error).items()}
    try:
        text = str(error)
    except Exception as broken:
        text = repr(broken)
    return type(error), repr(error.args), own, fields, text


def _pickle_keeps(error: BaseException) -> bool:
    try:
        return bool(_state(pickle.loads(pickle.dumps(error))) == _state(error))
    except Exception:
        return False


def _is_told(error: BaseException, again: BaseException) -> bool:
    """A note says what is not as it was, and it is what an ``except`` for its base catches."""
    told = any(str(note).startswith("lambdamap: it") for note in again.__notes__)  # type: ignore[attr-defined]
    return told and (type(again) is type(error) or isinstance(again, errors.RemoteError))


@pytest.mark.filterwarnings("ignore")
def test_every_class() -> None:
    exact: set[type] = set()
    for kind in _classes():
        for error in _made(kind):
            for allow_pickle in (False, True):
                text = exceptions.pack(error, allow_pickle, 16384)
                again = exceptions.unpack(text, allow_pickle, 16384)
                assert again is not None, kind
                assert repr(again.__cause__) == "ValueError('why')"
                if classes.why_it_stays_remote(kind):
                    assert isinstance(again, errors.RemoteError)
                elif _state(again) == _state(error):
                    exact.add(kind)
                elif allow_pickle:  # parts that pickle itself makes something else of
                    assert not _pickle_keeps(error), (kind, again.__notes__)  # type: ignore[attr-defined]
                else:
                    assert _is_told(error, again), (kind, _state(error), _state(again))
            with contextlib.suppress(_codec.EncodeFailure):
                value = _codec.decode(_codec.encode(error))
                assert _state(value) == _state(error)
                assert repr(value.__cause__) == "ValueError('why')"
    assert len(exact) > 250
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in exact}
    assert names >= {
        "builtins.FileNotFoundError", "json.decoder.JSONDecodeError", "re.error", "xml.etree.ElementTree.ParseError",
        "subprocess.CalledProcessError", "subprocess.TimeoutExpired", "builtins.UnicodeDecodeError",
        "builtins.SyntaxError", "builtins.ImportError", "zipfile.BadZipFile", "sqlite3.OperationalError",
    } - ({"re.error"} if sys.version_info >= (3, 13) else set())  # fmt: skip
    if "botocore" in sys.modules:
        assert names >= {
            "botocore.exceptions.ClientError",
            "botocore.exceptions.PartialCredentialsError",
        }
