"""What the worker says when it refuses a request or fails: the one place that holds its wording."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

import tasks
from lambdamap import _codec
from lambdamap.shipping.envelope import PYTHON
from lambdamap.worker import allow, project
from lambdamap.worker.call import run_request
from lambdamap.worker.entry import handler
from worker_requests import request


def said(event: dict[str, Any]) -> str:
    message = run_request(event)["error"]["message"]
    assert isinstance(message, str)
    return message


def payload(spec: Any, items: list[Any], /, **head: Any) -> dict[str, Any]:
    """A request of which the payload is to be read."""
    event = request(tasks.square, [0] * len(items), **head)
    event["p"] = _codec.encode_text([spec, items], allow_pickle=True)
    return event


NO_CODE = (
    "this worker does not accept functions by value: set LAMBDAMAP_BY_VALUE=1 on it (lambdamap deploy "
    "--by-value does), or move the function into a module deployed with the worker (--module)"
)
NO_PICKLES = (
    "this worker does not accept pickled items: send built-in types, numpy or pandas, or set "
    "LAMBDAMAP_BY_VALUE=1 on it, which allows its callers to send code"
)
OTHER_PYTHON = f"the caller runs Python 3.5 and this worker {PYTHON}, so "
BOTH = "use the same Python on both sides"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (request(tasks.square, [1], left_ms=0), "no time left on the worker to start an item"),
        (request(tasks.square, [1], by_value=1), NO_CODE),
        (payload({}, [tasks.Sack(1)]), NO_PICKLES),
        (
            payload({"args": 5}, [1]),
            "args of the request must be a tuple, and kwargs a dict",
        ),
        (payload({}, [1], items=2), "the request announces 2 items and contains 1"),
        (payload([], [1]), "the request contains no list of items"),
        (
            request(None, [[(5, (), {})]], calls="each"),
            "a function reference must be the path of a function, got int",
        ),
        (
            request(None, [[("tasks:add", 1)]], calls="each"),
            "each call of the request must be a function and its arguments: a call must be a tuple "
            "of 3 parts, not of 2",
        ),
        (
            request(tasks.square, [1], function="tasks"),
            "tasks: is not the path of a function in a module",
        ),
        (
            request(tasks.square, [1], function="lambdamap:my_map"),
            "lambdamap:my_map belongs to lambdamap itself, whose functions no caller may name",
        ),
        (
            request(tasks.square, [1], function="os:system"),
            "os:system is in the standard library: wrap it in a function of your own, or set "
            "LAMBDAMAP_ALLOW=os:system on the worker",
        ),
        (
            request(tasks.square, [1], function="numpy:add"),
            "numpy:add belongs to the installed distribution numpy; by default only functions of the "
            'deployed project are allowed: set LAMBDAMAP_ALLOW="numpy:* numpy.*:*" on the worker',
        ),
        (
            request(tasks.square, [1], function="__main__:f"),
            "__main__:f is in the worker's main program, not in a module of yours: move it into one, or "
            "set LAMBDAMAP_ALLOW=__main__:f on the worker",
        ),
        (
            request(tasks.square, [1], function="not_there:f"),
            "cannot import not_there on the worker (ModuleNotFoundError: No module named 'not_there'): "
            "deploy it with the worker, or send it by value with by_value=[not_there]",
        ),
        (
            request(tasks.square, [1], function="tasks:not_there"),
            "tasks on the worker has no not_there: deploy the caller's version of it",
        ),
        (
            request(tasks.square, [1], function="tasks:sys.exit"),
            "tasks:sys.exit leads through an object that is not a class: name a function defined in "
            "tasks, or a method of a class in it",
        ),
        (request(tasks.square, [1], function="tasks:RUNS"), "tasks:RUNS is not callable"),
    ],
)
def test_refusals(event: dict[str, Any], message: str) -> None:
    assert said(event) == message


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            request(tasks.square, [1], by_value=1, python="3.5"),
            f"{OTHER_PYTHON}functions cannot be sent by value: {BOTH}, or move the function into a "
            "module deployed with the worker",
        ),
        (
            payload({}, [tasks.Sack(1)], python="3.5"),
            f"{OTHER_PYTHON}pickled items are not accepted: send built-in types, numpy or pandas, or "
            f"{BOTH}",
        ),
        (
            payload({"f": b"cnot_there\nf\n."}, [1], by_value=1),
            "cannot load the function sent by value (ModuleNotFoundError: No module named 'not_there'): "
            "deploy not_there with the worker, or send it with by_value=[not_there]",
        ),
        (
            payload({"f": b"csys\nexit\n(I5\ntR."}, [1], by_value=1),
            "cannot load the function sent by value (SystemExit: 5): the modules it uses must be "
            "importable on the worker",
        ),
        (
            payload({"f": pickle.dumps(5)}, [1], by_value=1),
            "the request contains no pickled callable",
        ),
    ],
)
def test_refusals_where_code_is_accepted(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("LAMBDAMAP_BY_VALUE", "1")
    assert said(event) == message


@pytest.mark.parametrize(
    ("patterns", "name", "message"),
    [
        (
            "tasks:sq*",
            "tasks:identity",
            "LAMBDAMAP_ALLOW on the worker does not allow tasks:identity: add it to the variable there "
            "(lambdamap deploy --allow does)",
        ),
        (
            "mine:*",
            "mine:join",
            "mine:join is defined as posixpath:join, which LAMBDAMAP_ALLOW on the worker does not allow: "
            "list mine:join itself in LAMBDAMAP_ALLOW on the worker, without * or ?, or allow "
            "posixpath:join as well",
        ),
        (
            "mine:*",
            "mine:half",
            "mine:half is a partial object or a closure, which is not defined under that name: list "
            "mine:half itself in LAMBDAMAP_ALLOW on the worker, without * or ?",
        ),
        (
            None,
            "mine:join",
            "mine:join is defined as posixpath:join. mine:join is in the standard library: wrap it in a "
            "function of your own, or set LAMBDAMAP_ALLOW=mine:join on the worker",
        ),
    ],
)
def test_names_that_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: str | None, name: str, message: str
) -> None:
    source = "from os.path import join\nfrom functools import partial\nhalf = partial(divmod, 2)\n"
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    if patterns is not None:
        monkeypatch.setenv("LAMBDAMAP_ALLOW", patterns)
    assert said(request(tasks.square, [1], function=name)) == message
    sys.modules.pop("mine", None)


def test_nothing_is_known_of_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "is_stripped", lambda: True)
    assert said(request(tasks.square, [1])) == (
        "tasks:square is not allowed: LAMBDAMAP_ALLOW is not set, and without package metadata "
        "(.dist-info folders) the worker cannot tell the project's modules from installed packages: set "
        'LAMBDAMAP_ALLOW="tasks:* tasks.*:*" on it'
    )
    assert allow.described() == (
        "nothing by name (LAMBDAMAP_ALLOW is not set, and package metadata is not deployed); nothing by "
        "value"
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            [1, 4],
            "f has run, but its result of 5,333,363 bytes exceeds the 6 MB of a Lambda reply together "
            "with the results before it: use a smaller chunksize, or idempotent=True if f may run twice",
        ),
        (
            [9],
            "f has run, but its result of 12,000,030 bytes exceeds the 6 MB of a Lambda reply: return "
            "less, or store the result and return its location",
        ),
    ],
)
def test_results_that_are_too_large(sizes: list[int], message: str) -> None:
    assert said(request(tasks.megabytes, sizes)) == message


def test_an_event_of_somebody_else() -> None:
    assert handler({"other": 1}, None) == {
        "errorType": "NotALambdamapRequest",
        "errorMessage": "not a lambdamap request: call this function through lambdamap.map or my_map; "
        "to serve other events as well, wrap your handler with lambdamap.worker.wrap",
    }


def test_calls_of_another_form() -> None:
    for calls, item, message in (
        ("star", 5, "the arguments of a call must be a tuple or a list, not int"),
        ("call", (1,), "a call must be a tuple of 2 parts, not of 1"),
        ("call", ((), 5), "the keyword arguments of a call must be a dict, not int"),
        ("batch", 5, "the calls of an item must be a list, not int"),
        ("group", 5, "an item must be a pair of key and group, not int"),
        ("group", (1, 5), "a group must be a DataFrame or a Series, not int"),
    ):
        assert said(request(tasks.add, [item], calls=calls)) == message
