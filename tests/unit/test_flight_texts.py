"""What a map in flight says of its failures: the one place that holds its wording.

The texts of the core and of the worker, which these contain, have tables of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

import lambdamap
import tasks
from lambdamap import _codec, errors, options
from lambdamap.backends.inprocess import InProcessCompletion
from lambdamap.flight import durable, failures, packers, replies
from lambdamap.flight.open import _dispatcher
from lambdamap.shipping import envelope
from lambdamap.shipping.functions import ship


def chunk(count: int = 2, failure: str = "", ran: str = "MAYBE") -> InProcessCompletion:
    """A finished chunk of the items from 4 on."""
    completion = InProcessCompletion(4, count, b"")
    completion.fail(failure, ran, "it broke {here}")
    return completion


def answered(frame: Any, count: int = 2, done: int | None = None) -> InProcessCompletion:
    completion = chunk(count, ran="RAN")
    completion.frame, completion.done = frame, count if done is None else done
    return completion


PLACE = (
    "raise timeout or invocation_timeout (in a Flask request LAMBDAMAP_REQUEST_TIMEOUT), or use a "
    "smaller chunksize"
)
OF_INVOCATIONS: dict[str, tuple[type[BaseException], str]] = {
    "config": (errors.ConfigError, "[f may have run]"),
    "access_denied": (
        errors.AccessDeniedError,
        "[f may have run; check the keys, and that their policy allows lambda:InvokeFunction on it]",
    ),
    "function_not_found": (
        errors.FunctionNotFoundError,
        "[f may have run; check the function's name, the region and the account]",
    ),
    "service": (errors.ServiceError, "[f may have run]"),
    "throttled": (
        errors.ThrottledError,
        "[f may have run; raise the function's reserved concurrency, or lower max_concurrency]",
    ),
    "connect": (
        errors.ConnectError,
        "[f may have run; check the network, the endpoint and the proxy settings]",
    ),
    "connection_lost": (
        errors.ConnectionLostError,
        "[f may have run; set idempotent=True if it may run twice]",
    ),
    "deadline": (errors.DeadlineError, f"[f may have run; {PLACE}]"),
    "remote": (errors.RemoteError, "[f may have run]"),
    "worker_init": (errors.WorkerInitError, "[f may have run]"),
    "worker_timeout": (
        errors.WorkerTimeoutError,
        "[f may have run; raise the function's timeout, or use a smaller chunksize]",
    ),
    "worker_crashed": (
        errors.WorkerCrashedError,
        "[f may have run; it exited, was killed or ran out of memory; see the function's log]",
    ),
    "too_large": (
        errors.PayloadTooLargeError,
        "[f may have run; use a smaller chunksize, or pass a reference to where the data is]",
    ),
    "protocol": (errors.ProtocolError, "[f may have run]"),
}


@pytest.mark.parametrize("failure", failures.INVOCATION)
def test_a_failed_invocation(failure: str) -> None:
    error = failures.of_chunk(chunk(failure=failure))
    if failure in OF_INVOCATIONS:
        kind, known = OF_INVOCATIONS[failure]
        assert (type(error), str(error)) == (kind, f"items 4 to 5: it broke {{here}} {known}")
        assert isinstance(error, errors.LambdaMapError)
        assert (error.indices, error.ran) == (range(4, 6), "MAYBE")
    elif failure == "cancelled":
        assert str(error) == "items 4 to 5: cancelled, f may have run"
    else:
        kinds = {"memory": MemoryError, "system": RuntimeError}
        assert (type(error), str(error)) == (kinds[failure], "it broke {here}")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            lambda: failures.of_chunk(chunk(1, "too_large", "NOT")),
            "item 4: it broke {here} [f did not run; pass a reference to where the data is]",
        ),
        (
            lambda: failures.of_chunk(chunk(1, "connection_lost"), idempotent=True),
            "item 4: it broke {here} [f may have run; it was retried; raise max_attempts for more "
            "attempts]",
        ),
        (
            lambda: failures.of_chunk(chunk(2, "interrupted")),
            "items 4 to 5: it broke {here} [f may have run; set rerun_maybe=True or idempotent=True if it "
            "may run twice]",
        ),
        (
            lambda: failures.of_chunk(chunk(1, "service", "NOT"), before="RAN"),
            "item 4: it broke {here} [f has run]",
        ),
        (
            lambda: failures.of_chunk(chunk(2, "service", "RAN"), at=1),
            "item 5 of items 4 to 5: it broke {here} [f may have run]",
        ),
        (
            lambda: failures.of_chunk(chunk(2, "cancelled", "NOT"), at=0),
            "item 4 of items 4 to 5: cancelled, f did not run",
        ),
        (
            lambda: failures.of_chunk(chunk(1, "service", "RAN"), at=0),
            "item 4: it broke {here} [f has run]",
        ),
        (
            lambda: failures.not_sendable("item 4", _codec.EncodeFailure("too odd", "['a']")),
            "item 4['a'] cannot be sent: too odd",
        ),
        (
            lambda: failures.invalid_reply(envelope.Malformed("it is odd"), chunk()),
            "invalid reply to chunk 4: it is odd",
        ),
        (
            lambda: failures.invalid_reply(_codec.DecodeFailure("it is odd"), chunk()),
            "cannot decode the results of chunk 4: it is odd",
        ),
        (
            lambda: failures.read_too_late(chunk()),
            "deadline exceeded while decoding the results of chunk 4",
        ),
    ],
)
def test_one_failure(error: Callable[[], Exception], message: str) -> None:
    assert str(error()) == message


@pytest.mark.parametrize(
    ("kind", "made", "message"),
    [
        ("function", errors.RemoteError, "item 5: not_here.Odd: it broke"),
        ("encode", errors.EncodeError, "item 5: f's result cannot be sent back: it broke"),
        ("size", errors.PayloadTooLargeError, "item 5: it broke"),
        ("init", errors.WorkerInitError, "it broke"),
        ("refused", errors.WorkerInitError, "it broke"),
        ("protocol", errors.WorkerInitError, "it broke"),
        ("decode", errors.WorkerInitError, "the worker: it broke"),
        ("deadline", errors.DeadlineError, f"item 5: it broke [f has run; {PLACE}]"),
        ("of a later release", errors.RemoteError, "item 5: not_here.Odd: it broke"),
    ],
)
def test_an_error_of_the_worker(kind: str, made: type[Exception], message: str) -> None:
    described: envelope.ErrorObject = {
        "kind": kind, "type": "Odd", "module": "not_here", "message": "it broke",
        "traceback": "one line\n", "index": 1, "exception": None, "ran": "RAN",
    }  # fmt: skip
    error = failures.of_reply(described, chunk())
    assert isinstance(error, made)
    assert str(error) == message
    if made is errors.RemoteError and sys.version_info >= (3, 11):
        assert error.__notes__ == ["item 5; remote traceback:\none line"]


def test_an_error_of_the_worker_in_each_place() -> None:
    described: envelope.ErrorObject = {
        "kind": "encode", "type": "", "module": "", "message": "it broke",
        "traceback": "", "index": None, "exception": None, "ran": "RAN",
    }  # fmt: skip
    error = failures.of_reply(described, chunk(), at=1)
    assert str(error) == "item 5 of items 4 to 5: f's result cannot be sent back: it broke"
    described["index"] = 0
    error = failures.of_reply(described, chunk(), at=1)
    assert str(error) == "item 5 of items 4 to 5: the worker stopped at item 4 [f did not run]"


def test_an_error_here_in_each_place() -> None:
    error = failures.of_chunk(chunk(failure="memory", ran="RAN"), at=1)
    known = errors.failure(error)
    assert type(error) is MemoryError and known is not None
    assert (known.indices, known.ran) == ((5,), "MAYBE")
    assert cast(Any, error).__notes__ == ["item 5 of items 4 to 5: f may have run"]


def coding(**given: Any) -> Any:
    resolved = options.resolve(**given)
    return packers.coding_of(ship(tasks.square, None), resolved, "item", allow_pickle=False)


def unpacked(value: Any, **given: Any) -> Any:
    frame = value if value is None else _codec.encode_text(value)
    return coding(**given).unpack(answered(frame), None)


def results(value: Any, count: int = 2, guarded: bool = False) -> Any:
    completion = answered(_codec.encode_text(value), count)
    return replies.results_of(completion, coding(), guarded=guarded)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: unpacked(None), _codec.DecodeFailure, "the reply contains no results"),
        (
            lambda: unpacked(None, codec="json"),
            _codec.DecodeFailure,
            "the reply contains no results",
        ),
        (
            lambda: unpacked(5),
            _codec.DecodeFailure,
            "the frame is not a pair of results and errors",
        ),
        (
            lambda: unpacked([{1: 2}, {}]),
            _codec.DecodeFailure,
            "the results are not numbered from 0",
        ),
        (
            lambda: unpacked([[1, 2], 5]),
            _codec.DecodeFailure,
            "the results are not a list, or an error does not belong to a result",
        ),
        (
            lambda: results([[1], {}]),
            errors.ProtocolError,
            "invalid reply to chunk 4: 1 results for 2 items",
        ),
        (
            lambda: results([[1, None], {1: {}}]),
            errors.ProtocolError,
            "invalid reply to chunk 4: errors among the results, although on_error is not 'return'",
        ),
        (
            lambda: results([[1, 2], {1: {}}], guarded=True),
            errors.ProtocolError,
            "invalid reply to chunk 4: both a result and an error for item 1",
        ),
        (
            lambda: packers.Payloads(False, None).unpack(body(b"{"), None),
            _codec.DecodeFailure,
            "the reply is not JSON (Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1)): use raw=True",
        ),
        (
            lambda: packers.coding_of(
                ship(tasks.square, True), options.resolve(codec="json"), "item", allow_pickle=True
            ),
            errors.ConfigError,
            'codec="json" sends functions by name only, and tasks:square cannot be sent that way: '
            "define it in a module that both sides import, without partial or by_value",
        ),
        (
            lambda: durable.Names("job"),
            errors.ConfigError,
            "durable_execution_name must be a callable or a string with {index}, not 'job': each "
            "payload needs its own name",
        ),
        (
            lambda: durable.Names("job {index}").make(3, None),
            errors.ConfigError,
            "item 3: durable_execution_name must be 1 to 64 characters of A-Z a-z 0-9 - _, not "
            "'job 3'",
        ),
        (
            lambda: lambdamap.invoke_map(
                "f", [1], durable_execution_name="job {index}", retries=1, backend="aws"
            ),
            errors.ConfigError,
            "retries does not apply to durable executions: Lambda runs each name once",
        ),
        (
            lambda: lambdamap.invoke_map(None, [1], backend="inline"),
            errors.ConfigError,
            "invoke_map needs a Lambda function, not backend='inline'",
        ),
    ],
)
def test_one_problem(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def body(text: bytes) -> Any:
    return SimpleNamespace(body=text, first_item=4, n_items=1)


def test_a_dispatcher_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lambdamap._net", None)
    monkeypatch.delattr(lambdamap, "_net", raising=False)
    with pytest.raises(lambdamap.ConfigError) as caught:
        _dispatcher()
    before, _, after = str(caught.value).partition(" (")
    assert before == "lambdamap's dispatcher does not load"
    assert after.partition("). ")[2] == (
        "On Lambda, pack the wheel that ./dev wheel makes (lambdamap deploy --wheel); elsewhere, "
        "install libcurl 7.76 or later and OpenSSL, then reinstall lambdamap"
    )


@pytest.mark.parametrize(
    ("left", "note"),
    [
        ({}, "lambdamap: map cancelled; nothing is still running"),
        ({"": 3}, "lambdamap: map cancelled; nothing is still running"),
        (
            {"on job": 1},
            "lambdamap: map cancelled; 1 started invocation runs to completion on job",
        ),
        (
            {"on job": 2, "in the executor": 3},
            "lambdamap: map cancelled; 2 started invocations run to completion on job, 3 started "
            "invocations run to completion in the executor",
        ),
    ],
)
def test_what_still_runs_after_ctrl_c(
    left: dict[str, int], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = KeyboardInterrupt()
    failures.say_cancelled(error, "map cancelled", left)
    assert cast(Any, error).__notes__ == [note]
    assert capsys.readouterr().err == ("" if sys.version_info >= (3, 11) else f"{note}\n")


@pytest.mark.parametrize(("raw", "code"), [('{"module": "shop"}', "shop"), ("5", "the code")])
def test_code_that_is_stale(raw: str, code: str) -> None:
    with pytest.warns(lambdamap.StaleCodeWarning) as caught:
        replies.warn_stale(raw)
    assert [str(warning.message) for warning in caught] == [
        f"the worker runs a different version of {code} than this process: deploy the function again, "
        "otherwise results come from the old code"
    ]


def test_output(capsys: pytest.CaptureFixture[str]) -> None:
    completion = chunk()
    completion.output = b'[[1, "one\\ntwo"]]'
    replies.show_output(completion)
    assert capsys.readouterr().out == "[5] one\n[5] two\n"


def test_an_item_and_a_payload_that_cannot_be_sent() -> None:
    with pytest.raises(lambdamap.EncodeError) as caught:
        list(lambdamap.map(tasks.identity, [1, [object()]], backend="inline", allow_pickle=False))
    assert str(caught.value).startswith("item 1[0] cannot be sent: builtins.object needs pickle")
    with pytest.raises(_codec.EncodeFailure) as failed:
        packers.Payloads(False, None).packer.fill(iter([{1}]), 1, 1000)
    assert str(failures.not_sendable("item 0", failed.value)) == (
        "item 0 cannot be sent: it is not JSON (Object of type set is not JSON serializable): pass "
        "JSON-serializable data or bytes"
    )
