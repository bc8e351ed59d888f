"""Bytes that are shared out: never more than there are, and in the order in which they were asked for."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from lambdamap.local.budget import Budget, Grant


def test_who_asks_first_is_given_first() -> None:
    async def main() -> list[int]:
        budget, given_to = Budget(100), list[int]()
        grants = [
            budget.ask(size, lambda n=n: given_to.append(n)) for n, size in enumerate((60, 50, 10))
        ]
        assert [grant.given for grant in grants] == [True, False, False]  # the small one waits, too
        grants[0].release()
        assert [grant.given for grant in grants] == [True, True, True]
        await asyncio.sleep(0)
        return given_to

    assert asyncio.run(main()) == [1, 2]


def test_who_leaves_the_queue_lets_the_next_in() -> None:
    async def main() -> None:
        budget = Budget(100)
        first, large, small = (budget.ask(size, lambda: None) for size in (60, 90, 30))
        assert budget.is_exhausted
        large.release()
        assert (small.given, large.given) == (True, False)
        small.release()
        small.release()
        first.shrink(20)
        first.shrink(50)
        assert budget.used == 20
        first.release()
        assert (budget.used, budget.is_exhausted) == (0, False)

    asyncio.run(main())


def test_what_is_there_already_is_counted_beyond_the_limit() -> None:
    budget = Budget(10)
    grant = budget.take(25)
    assert (budget.used, budget.is_exhausted) == (25, True)
    grant.release()
    assert budget.used == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 120)), max_size=60))
def test_never_more_than_there_is(steps: list[tuple[int, int]]) -> None:
    async def main() -> None:
        budget, held = Budget(100), list[Grant]()
        for choice, size in steps:
            if choice < 6 or not held:
                held.append(budget.ask(size, lambda: None))
            elif choice < 8:
                held.pop(size % len(held)).release()
            else:
                held[size % len(held)].shrink(size // 2)
            assert budget.used == sum(grant.size for grant in held if grant.given) <= 100
            given = [grant.given for grant in held]
            assert given == sorted(given, reverse=True)
        while held:
            held.pop(0).release()
        assert budget.used == 0

    asyncio.run(main())
