"""Caller and worker under two Pythons: both really run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

import lambdamap
import tasks
from pythons import other_pythons, worker_for

HERE = "%d.%d" % sys.version_info[:2]

SERVER = """
import sys
from lambdamap.local import LocalLambda
with LocalLambda(sandboxes=1, function_name="f") as function:
    print(function.endpoint_url, function.access_key, function.secret_key, flush=True)
    sys.stdin.read()
"""


FOUND = other_pythons()
# The first is enough of a test; the others run when there is time.
OTHERS = [
    pytest.param(other, id=other[0], marks=[pytest.mark.soak] if number else [])
    for number, other in enumerate(FOUND)
]
pytestmark = pytest.mark.skipif(
    not FOUND, reason="no second Python with its headers on this machine: pyenv install 3.12"
)


@pytest.fixture(scope="module", params=OTHERS)
def there(request: pytest.FixtureRequest) -> Iterator[str]:
    """Maps go to a worker of another Python, whose version this is."""
    version, path = request.param
    with subprocess.Popen(
        [path, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=worker_for(path),
    ) as server:
        assert server.stdout is not None
        url, access_key, secret_key = server.stdout.readline().split()
        with lambdamap.configure(
            function="f",
            endpoint_url=url,
            region="us-east-1",
            credentials=(access_key, secret_key),
            chunksize=1,
        ):
            yield version
        server.communicate(timeout=20)


def test_functions_by_path_run(there: str) -> None:
    assert there != HERE
    version = tuple(int(part) for part in there.split("."))
    assert list(lambdamap.map(tasks.python, [0])) == [version]
    assert list(lambdamap.map(tasks.square, [1, 2.5])) == [1, 6.25]


def test_functions_by_value_are_refused(there: str) -> None:
    with pytest.raises(lambdamap.WorkerInitError) as caught:
        list(lambdamap.map(lambda x: x, [1]))
    assert caught.value.ran == "NOT"
    assert f"the caller runs Python {HERE} and this worker {there}" in str(caught.value)


def test_pickles_are_refused_in_both_directions(there: str) -> None:
    """They may hold code of the other Python."""
    with pytest.raises(lambdamap.WorkerInitError, match=f"Python {HERE}.*pickled items"):
        list(lambdamap.map(tasks.identity, [lambda x: x], allow_pickle=True))
    text = f"result cannot be sent back: .*Python {HERE} and this worker {there}.*pickled"
    with pytest.raises(lambdamap.EncodeError, match=text):
        list(lambdamap.map(tasks.Sack, [1], allow_pickle=True))
