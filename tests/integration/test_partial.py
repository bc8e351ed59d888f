"""Chunks that are done in part: the rest has not run, is sent again, and runs once."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from chunk_faults import short_of_time
from driver import HANG_S, api_options
from lambdamap.local import LocalLambda
from scripted import Connection, Request, Server, aws_error, fin, plain_reply, reset, run, run_reply


def options_of(function: LocalLambda) -> dict[str, Any]:
    return {
        "function": "f",
        "endpoint_url": function.endpoint_url,
        "region": "us-east-1",
        "credentials": (function.access_key, function.secret_key),
        "progress": False,
    }


def one_chunk(
    tmp_path: Path, kind: Any, timeout_s: float, seconds: float, count: int, sandboxes: int = 1
) -> int:
    """Map so many items that take so long in one chunk; how many requests it took."""
    path = str(tmp_path / "runs")
    with LocalLambda(kind=kind, sandboxes=sandboxes, timeout_s=timeout_s) as function:
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


@pytest.mark.usefixtures("late_kills")
def test_out_of_time(sandbox_kind: str, tmp_path: Path) -> None:
    assert one_chunk(tmp_path, sandbox_kind, 1.5, 0.02, 100) >= 2


@pytest.mark.usefixtures("late_kills")
@pytest.mark.parametrize("sandboxes", [8, pytest.param(1, marks=pytest.mark.soak)])
def test_out_of_time_at_full_length(sandbox_kind: str, tmp_path: Path, sandboxes: int) -> None:
    # 20 s of work; an invocation has 3 s less what is kept back to answer: 12 items at most.
    assert 8 <= one_chunk(tmp_path, sandbox_kind, 3.0, 0.2, 100, sandboxes) <= 20


@pytest.mark.usefixtures("local")
class TestReplySize:
    def test_out_of_reply(self, tmp_path: Path) -> None:
        path = str(tmp_path / "runs")
        items = [(path, i, 1_000_000) for i in range(9)]
        results = lambdamap.map(tasks.record_bytes, items, chunksize=9)
        assert [len(result) for result in results] == [1_000_000] * 9
        assert Counter(map(int, Path(path).read_text().split())) == dict.fromkeys(range(9), 1)
        assert results.stats.items_resent >= 7

    @pytest.mark.parametrize("how", ["raise", "return", "idempotent"])
    def test_a_result_that_only_fits_alone(self, how: str, tmp_path: Path) -> None:
        """It has run before that is known: it is lost, alone, unless it may run again."""
        path = str(tmp_path / "runs")
        sizes = [1_000_000, 4_000_000, 10, 20, 30]
        results = lambdamap.map(
            tasks.record_bytes,
            [(path, i, size) for i, size in enumerate(sizes)],
            chunksize=5,
            on_error="return" if how == "return" else "raise",
            idempotent=how == "idempotent",
        )
        found = []
        error: Any = None
        try:
            for result in results:
                found.append(len(result) if isinstance(result, bytes) else None)
                error = error or (result if isinstance(result, Exception) else None)
        except lambdamap.PayloadTooLargeError as raised:
            error = raised
        runs = Counter(map(int, Path(path).read_text().split()))
        if how == "idempotent":
            assert (found, error) == (sizes, None)
            assert runs == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1}
            return
        assert (list(error.indices), error.ran) == ([1], "RAN")
        assert "idempotent" in str(error)
        if how == "return":
            assert found == [1_000_000, None, 10, 20, 30]
            assert runs == dict.fromkeys(range(5), 1)
        else:
            assert found == [1_000_000]
            assert list(error.not_run) == [2, 3, 4]
            assert runs == {0: 1, 1: 1}

    def test_results_that_are_wide_together(self) -> None:
        items = [1] * 800 + [2, 1]
        results = lambdamap.map(tasks.constant_or_not, items, chunksize=len(items))
        assert list(results) == list(map(tasks.constant_or_not, items))
        assert results.stats.requests == 1


def run_in_part(request: Request) -> bytes:
    """Run it without time left: it does its first item."""
    return json.dumps(run_reply(short_of_time(request))).encode()


def in_part(connection: Connection, request: Request) -> None:
    connection.send(plain_reply(run_in_part(request), headers={"Connection": "close"}))


def in_part_cut_off(connection: Connection, request: Request) -> None:
    """The reply's end is lost, so nobody knows how many items have run."""
    fin(plain_reply(run_in_part(request))[:-5])(connection, request)


def several_in_part(connection: Connection, request: Request) -> None:
    (in_part if request.envelope["items"] > 1 else run())(connection, request)


class TestTheRest:
    @pytest.mark.parametrize(
        ("at_once", "requests"),
        [
            (64, 4 + 16),  # one item was done in time, so the four others go alone
            (2, 4 + 4 * (2 + 2)),  # as two pairs, so that both places have one
        ],
    )
    def test_order_and_counts(self, at_once: int, requests: int) -> None:
        for ordered in (True, False):
            call = lambdamap.map if ordered else lambdamap.map_unordered
            with Server(then=several_in_part) as server:
                options = api_options(server, chunksize=5, max_concurrency=at_once)
                results = call(tasks.square, range(20), **options)
                found = list(results)
            assert (found if ordered else sorted(found)) == [x * x for x in range(20)]
            assert results.stats.requests == requests
            assert results.stats.items_resent == (16 if at_once > 2 else 24)

    def test_it_has_not_run_when_it_cannot_be_sent(self) -> None:
        def last(connection: Connection, request: Request) -> None:
            connection.server.refuse()
            in_part(connection, request)

        with Server([last]) as server, pytest.raises(lambdamap.ConnectError) as caught:
            options = api_options(server, chunksize=5, connect_timeout=0.3)
            list(lambdamap.map(tasks.square, range(5), **options))
        assert list(caught.value.indices) == [1]
        assert caught.value.ran == "NOT"

    @pytest.mark.parametrize("smaller", [in_part, aws_error(413, "RequestEntityTooLargeException")])
    @pytest.mark.parametrize("first", [reset(), in_part_cut_off])
    def test_it_may_have_run_in_an_attempt_for_its_first_chunk(
        self, smaller: Any, first: Any
    ) -> None:
        """That attempt was lost, or ran as far as nobody knows; the last one, for the smaller chunk,
        has not run."""
        missing = aws_error(404, "ResourceNotFoundException", "Function not found")
        with (
            Server([first, smaller, missing, missing]) as server,
            pytest.raises(lambdamap.FunctionNotFoundError) as caught,
        ):
            options = api_options(server, chunksize=4, idempotent=True, max_concurrency=1)
            list(lambdamap.map(tasks.square, range(4), **options))
        assert list(caught.value.indices) == ([1, 2, 3] if smaller is in_part else [0, 1])
        assert caught.value.ran == "MAYBE"
        assert "may" in str(caught.value)

    def test_it_may_have_run_in_the_attempt_before(self) -> None:
        """So the reply does not say which items of the chunk have not run."""
        with Server([reset(), run()]) as server, pytest.raises(ValueError, match="seven") as caught:
            options = api_options(server, chunksize=7, idempotent=True)
            list(lambdamap.map(tasks.fail_at_seven, range(5, 12), **options))
        remote = lambdamap.failure(caught.value)
        assert remote is not None
        assert (list(remote.indices), list(remote.not_run), remote.ran) == ([2], [], "RAN")

    def test_an_error_in_it(self) -> None:
        with Server([in_part], then=run()) as server:
            taken = []
            options = api_options(server, chunksize=7, max_concurrency=2)
            with pytest.raises(ValueError, match="seven") as caught:
                for result in lambdamap.map(tasks.fail_at_seven, range(5, 12), **options):
                    taken.append(result)
        assert taken == [5, 6]
        remote = lambdamap.failure(caught.value)
        assert remote is not None
        assert (list(remote.indices), list(remote.not_run)) == ([2], [3])

    def test_what_others_have_finished_is_kept(self) -> None:
        """The second chunk is answered in part, its rest fails; the third is done by then."""

        def by_chunk(connection: Connection, request: Request) -> None:
            first = request.envelope["chunk"]
            if first == 2 and request.envelope["items"] == 2:
                in_part(connection, request)
                return
            ends = time.monotonic() + HANG_S
            while first == 3 and 4 not in results._engine._ready:
                assert time.monotonic() < ends
                time.sleep(0.01)
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
        remote = lambdamap.failure(caught.value)
        assert remote is not None
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
