"""One worker's share of the requests per second that all may make together, in simulated time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.support.simulated import SimulatedClock, simulate
from worker.api.gate import Gate
from worker.api.patience import Patience
from worker.budget import Budget
from worker.core.errors import LedgerError


class Others:
    """A ledger that knows how many workers live (0: it does not answer)."""

    def __init__(self, living: int) -> None:
        self.alive = living

    async def living(self) -> int:
        if not self.alive:
            raise LedgerError("gone")
        return self.alive


@pytest.mark.parametrize(
    ("then", "starts"),
    [(0.5, [0, 1.5, 3.5, 5.5]), (2, [0, 1, 1.25, 1.75]), (10, [0, 1, 1, 1])],
)
def test_a_change_of_the_budget_holds_at_once_also_for_those_that_wait(then: float, starts: list[float]) -> None:
    async def run() -> list[float]:
        # Given four that ask at once, at one per second
        clock = SimulatedClock()
        gate = Gate(clock, Patience(clock), per_s=1)
        began: list[float] = []

        async def request() -> None:
            await gate.passed()
            began.append(clock.monotonic())

        async def change() -> None:
            await asyncio.sleep(0.5)
            gate.pace(then)

        # When the budget changes after half a second
        await asyncio.gather(*(request() for _ in range(4)), change())
        return began

    # Then whoever waits follows; sooner than it thought, when it looks again
    assert simulate(run()) == pytest.approx(starts, abs=1e-4)


def test_who_was_idle_does_not_catch_up() -> None:
    async def run() -> list[float]:
        clock = SimulatedClock()
        gate = Gate(clock, Patience(clock), per_s=2)
        await asyncio.sleep(10)
        gate.pace(4)
        began = []
        for _ in range(3):
            await gate.passed()
            began.append(clock.monotonic())
        return began

    assert simulate(run()) == pytest.approx([10, 10.25, 10.5], abs=1e-4)


def test_who_joins_others_waits_until_they_have_made_room_and_then_all_have_equal_shares() -> None:
    async def run() -> None:
        # Given
        clock, others, shares = SimulatedClock(), Others(1), list[float]()
        one = Budget(40, others, clock, shares.append)
        await one.join()
        assert (clock.monotonic(), shares) == (0, [40])
        keeping = asyncio.ensure_future(one.keep())
        await asyncio.sleep(5.5)
        # When
        others.alive = 2
        joined: list[float] = []
        began = clock.monotonic()
        await Budget(40, others, clock, joined.append).join()
        # Then it may begin when the first has its new share
        assert clock.monotonic() - began >= 1
        assert (shares[-1], joined) == (20, [20])
        # When the ledger does not answer for a while, and then tells of two more
        others.alive, known = 0, len(shares)
        await asyncio.sleep(5)
        assert len(shares) == known
        others.alive = 4
        await asyncio.sleep(1)
        # Then
        assert shares[-1] == 10
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping

    simulate(run())


def test_who_cannot_learn_its_share_makes_no_request_before_it_can() -> None:
    async def run() -> None:
        clock, ledger, shares = SimulatedClock(), Others(0), list[float]()
        joining = asyncio.ensure_future(Budget(40, ledger, clock, shares.append).join())
        await asyncio.sleep(3.5)
        assert not joining.done()
        ledger.alive = 1
        await joining
        assert (clock.monotonic(), shares) == (4, [40])

    simulate(run())
