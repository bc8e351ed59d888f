"""The exceptions: their places in the builtin tree, and pickling."""

from __future__ import annotations

import pickle

import pytest

from lambdamap import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("kind", CLASSES)
def test_pickles_with_all_it_knows(kind: type[errors.LambdaMapError]) -> None:
    error = kind(
        "text", indices=range(3, 5), attempts=2, request_id="id", ran="MAYBE",
        partial={0: "a"}, not_run=(9,),
    )  # fmt: skip
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == "text"
    assert vars(again) == vars(error)
    assert again.indices == range(3, 5)


def test_the_tree() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.AccessDeniedError, errors.ConfigError)
    assert issubclass(errors.FunctionNotFoundError, errors.ConfigError)
    assert issubclass(errors.ThrottledError, errors.ServiceError)
    assert issubclass(errors.ConnectionLostError, errors.TransportError)
    assert issubclass(errors.TransportError, ConnectionError)
    assert issubclass(errors.DeadlineError, TimeoutError)
    assert issubclass(errors.EncodeError, TypeError)
    assert issubclass(errors.DecodeError, ValueError)
    assert issubclass(errors.RemoteError, errors.WorkerError)
