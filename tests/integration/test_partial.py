"""Chunks that are done in part: the rest has not run, is sent again, and runs once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options
from lambdamap.local import LocalLambda
from scripted import Connection, Request, Server, plain_reply, run


def options_of(function: LocalLambda) -> dict[str, Any]:
    return {
        "function": "f",
        "endpoint_url": function.endpoint_url,
        "region": "us-east-1",
        "credentials": (function.access_key, function.secret_key),
        "progress": False,
    }


def one_chunk(tmp_path: Path, kind: Any, timeout_s: float, seconds: float, count: int) -> int:
    """Map so many items that take so long in one chunk; how many requests it took."""
    path = str(tmp_path / "runs")
    with LocalLambda(kind=kind, sandboxes=1, timeout_s=timeout_s) as function:
        items = [(path, i, seconds) for i in range(count)]
        results = lambdamap.map(
            tasks.record_for, items, chunksize=count, allow_pickle=True, **options_of(function)
        )
        assert list(results) == list(range(count))
        assert function.stats["timeouts"] == 0
    runs = Counter(map(int, Path(path).read_text().split()))
    assert runs == dict.fromkeys(range(count), 1)
    stats = results.stats
    assert stats.requests == stats.chunks > 1
    assert stats.retries == 0
    assert stats.items_resent >= count // 2
    return stats.requests


def test_out_of_time(sandbox_kind: str, tmp_path: Path) -> None:
    assert one_chunk(tmp_path, sandbox_kind, 1.5, 0.02, 100) >= 2


@pytest.mark.soak
def test_out_of_time_at_full_length(sandbox_kind: str, tmp_path: Path) -> None:
    # 20 s of work; an invocation has 3 s less what is kept back to answer: 12 items at most.
    assert 8 <= one_chunk(tmp_path, sandbox_kind, 3.0, 0.2, 100) <= 20


def test_out_of_reply(tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    results = lambdamap.map(
        tasks.record_megabyte, [(path, i) for i in range(9)], chunksize=9, backend="local"
    )
    assert [len(result) for result in results] == [1_000_000] * 9
    assert Counter(map(int, Path(path).read_text().split())) == dict.fromkeys(range(9), 1)
    assert results.stats.items_resent > 0


def in_part(connection: Connection, request: Request) -> None:
    """The worker has no time left: it answers its first item."""
    from lambdamap.worker.call import run_request

    event = request.json()
    event["lambdamap"]["left_ms"] = 0
    body = json.dumps(run_request(event)).encode()
    connection.send(plain_reply(body, headers={"Connection": "close"}))


class TestTheRest:
    def test_order_and_counts(self) -> None:
        for ordered in (True, False):
            call = lambdamap.map if ordered else lambdamap.map_unordered
            with Server([in_part] * 6, then=run()) as server:
                results = call(tasks.square, range(20), **api_options(server, chunksize=5))
                found = list(results)
            assert found == [x * x for x in range(20)] if ordered else True
            assert sorted(found) == sorted(x * x for x in range(20))
            assert results.stats.requests == 10
            assert results.stats.items_resent > 6

    def test_it_has_not_run_when_it_cannot_be_sent(self) -> None:
        def last(connection: Connection, request: Request) -> None:
            connection.server.refuse()
            in_part(connection, request)

        with Server([last]) as server, pytest.raises(lambdamap.ConnectError) as caught:
            list(
                lambdamap.map(
                    tasks.square, range(5), **api_options(server, chunksize=5, max_attempts=1)
                )
            )
        assert list(caught.value.indices) == [1, 2, 3, 4]
        assert caught.value.ran == "NOT"

    def test_an_error_in_it(self) -> None:
        with Server([in_part, in_part], then=run()) as server:
            taken = []
            with pytest.raises(ValueError, match="seven") as caught:
                for result in lambdamap.map(
                    tasks.fail_at_seven, range(5, 12), **api_options(server, chunksize=7)
                ):
                    taken.append(result)
        assert taken == [5, 6]
        remote = caught.value.__cause__
        assert isinstance(remote, lambdamap.RemoteError)
        assert (list(remote.indices), list(remote.not_run)) == ([2], [3, 4, 5, 6])

    def test_what_others_have_finished_is_kept(self) -> None:
        """The second chunk is answered in part, its rest fails; the third is done by then."""

        def by_chunk(connection: Connection, request: Request) -> None:
            first = request.envelope["chunk"]
            if first == 2 and request.envelope["items"] == 2:
                server.wait_for(3)
                in_part(connection, request)
            else:
                run()(connection, request)

        with Server(then=by_chunk) as server:
            results = lambdamap.map(
                tasks.fail_at_seven, [0, 1, 2, 7, 4, 5], **api_options(server, chunksize=2)
            )
            taken = []
            with pytest.raises(ValueError, match="seven") as caught:
                for result in results:
                    taken.append(result)
        assert taken == [0, 1, 2]
        remote = caught.value.__cause__
        assert isinstance(remote, lambdamap.RemoteError)
        assert list(remote.indices) == [3]
        assert remote.partial == {4: 4, 5: 5}

    @pytest.mark.parametrize("done", [0, -1, 6, 10**9])
    def test_a_count_that_cannot_be(self, done: int) -> None:
        def lie(answer: dict[str, Any]) -> None:
            answer["lambdamap"]["done"] = done

        with (
            Server(then=run(lie)) as server,
            pytest.raises((lambdamap.ProtocolError, lambdamap.DecodeError)) as caught,
        ):
            list(lambdamap.map(tasks.square, range(5), **api_options(server, chunksize=5)))
        assert caught.value.ran == "RAN"
        assert server.complete == 1
